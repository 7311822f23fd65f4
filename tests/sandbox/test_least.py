"""The least bytes that files can cost: bounds that are bounds."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2async.cog import tiff
from s2async.sandbox.truth import least
from tests.support import worlds


@given(rows=st.integers(1, 64), seed=st.integers(0, 100), grain=st.integers(1, 200))
def test_the_least_prefix_gives_the_rows_and_one_byte_less_does_not(rows: int, seed: int, grain: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, grain, 64 * 64, dtype=np.uint8).tobytes()
    data = zlib.compress(pixels, 1)
    size = least.prefix_size(data, rows * 64)
    assert zlib.decompressobj().decompress(data[:size])[: rows * 64] == pixels[: rows * 64]
    # Some bytes may wait in the decoder's bits: it asks for at most a few more than it needs.
    assert len(zlib.decompressobj().decompress(data[: max(size - 8, 0)])) < rows * 64


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The files of one scene by name."""
    world = worlds.World(tmp_path_factory.mktemp("world"), [worlds.day(0)])
    (item,) = world.items
    return {path.stem: path for path in (world.folder / "cogs" / item).iterdir()}


def test_the_least_of_prefixes_is_less_than_that_of_whole_tiles(files: dict[str, Path]) -> None:
    shapes = [worlds.polygon(name) for name in ("North", "Tall", "South")]
    few = least.least({"TCI": shapes[:1]}, files.__getitem__)
    more = least.least({"TCI": shapes}, files.__getitem__)
    assert 0 < few.prefix_bytes < few.bytes < more.bytes
    assert few.prefix_bytes < more.prefix_bytes < more.bytes
    twice = least.least({"TCI": shapes, "SCL": shapes}, files.__getitem__)
    assert (few.files, few.runs, twice.files) == (1, 1, 2)


def test_a_header_ends_where_the_packages_reader_says(files: dict[str, Path]) -> None:
    for path in files.values():
        layout = tiff.parse(path.read_bytes())
        assert isinstance(layout, tiff.Layout)
        assert least.header_size(path.read_bytes()) == layout.end


def test_a_file_of_another_kind_has_no_least() -> None:
    with pytest.raises(ValueError, match="JFIF"):
        least.header_size(b"JFIF" + bytes(100))
