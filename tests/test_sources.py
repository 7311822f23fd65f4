from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp

from s2async import raster, sources
from s2async.budget import Budget
from s2async.errors import BadAnswer, CorruptFile, NotFound, RemoteError, UnsupportedLayout
from s2async.sources import FIRST_READ, Source
from s2async.transport import Transport
from tests.fault_server import FaultServer
from tests.served import COG, TILED, asset, booked, cutout, header_end, make, read_all, run, server_etag, spans

# ---- headers ----------------------------------------------------------------------------------------------


def test_a_long_header_is_read_on_and_nothing_twice(server: FaultServer) -> None:
    path = server.folder / "long.tif"
    pixels = make(path, **TILED | {"blockxsize": 16, "blockysize": 16})
    end = header_end(path)
    assert end > 6 * FIRST_READ
    [[array]], meter = read_all(server, "long.tif", [[cutout(700, 700, 40, 40)]])
    np.testing.assert_array_equal(array, pixels[:, 700:740, 700:740])
    header = [span for span in spans(server) if span[0] < end]
    assert header[0] == (0, FIRST_READ)
    assert [a for a, _ in header[1:]] == [b for _, b in header[:-1]]
    assert header[-1][1] >= end
    assert len(header) <= 4
    assert all("if-match" in entry["headers"] for entry in server.log[1:])
    counts = booked(meter, "header")
    assert counts.pop("useful") == (len(header), end)
    assert sum(size for _, size in counts.values()) == header[-1][1] - end


def test_a_header_that_tells_its_length_bit_by_bit_is_read_in_few_requests(server: FaultServer) -> None:
    path = server.folder / "chain.tif"
    make(path, side=512, **TILED | {"compress": "NONE"})
    with rasterio.open(path, "r+") as file:  # the directories of overviews come behind all tiles
        file.build_overviews([2, 4, 8, 16], rasterio.enums.Resampling.nearest)
    run(server, lambda transport, pool: sources.open_source(transport, asset(server, "chain.tif")))
    assert spans(server)[-1][1] > 16 * FIRST_READ
    assert len(server.log) <= 3


def test_a_file_smaller_than_the_first_read(server: FaultServer) -> None:
    path = server.folder / "tiny.tif"
    pixels = make(path, side=40, driver="GTiff", compress="DEFLATE")
    size = path.stat().st_size
    assert size < FIRST_READ

    async def work(transport: Transport, pool: ThreadPoolExecutor) -> tuple[Source, list[NDArray[Any]]]:
        source = await sources.open_source(transport, asset(server, "tiny.tif"))
        return source, await raster.read(transport, source, [cutout(0, 0, 40, 40)], budget=Budget(1), pool=pool)

    (source, [array]), meter = run(server, work)
    np.testing.assert_array_equal(array, pixels)
    assert source.fact.size == source.size == size
    assert source.fact.etag == source.etag == server_etag(path)
    assert booked(meter, "header") == {"useful": (1, header_end(path)), "wasted": (0, size - header_end(path))}


def masked(path: Path) -> None:
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        make(path, side=64, **TILED | {"nodata": None})
        with rasterio.open(path, "r+") as file:
            file.write_mask(np.eye(64, dtype="uint8") * 255)


def with_alpha(path: Path) -> None:
    make(path, side=64, driver="GTiff", count=4, photometric="RGB", alpha="YES", nodata=None)
    with rasterio.open(path) as file:
        assert file.colorinterp[3] is ColorInterp.alpha


def beyond(path: Path) -> None:
    make(path, **COG)
    os.truncate(path, path.stat().st_size - 20)


def cut_header(path: Path) -> None:
    make(path, **COG)
    os.truncate(path, 200)


@pytest.mark.parametrize(
    ("write", "kind", "text"),
    [
        (lambda path: path.write_text("<html>" * 99), CorruptFile, "not a TIFF: it starts with '<html>"),
        (lambda path: path.write_bytes(b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(99)), CorruptFile, "not a TIFF"),
        (lambda path: path.write_bytes(b"II*\0"), CorruptFile, "goes on beyond its end"),
        (lambda path: path.write_bytes(b"II*\0" + b"\xff" * 9000), UnsupportedLayout, "not a cloud-optimised"),
        (lambda path: path.write_bytes(b""), BadAnswer, "416"),
        (masked, UnsupportedLayout, "unsupported layout: an internal mask"),
        (with_alpha, UnsupportedLayout, "unsupported layout: an alpha band"),
        (lambda path: make(path, side=64, driver="GTiff", crs=None), UnsupportedLayout, "no EPSG code"),
        (beyond, CorruptFile, "beyond its end at"),
        (cut_header, CorruptFile, "its header goes on beyond its end"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_read_are_named(
    server: FaultServer, write: Callable[[Path], object], kind: type[RemoteError], text: str
) -> None:
    write(server.folder / "strange.tif")
    with pytest.raises(kind, match=text) as caught:
        run(
            server,
            lambda transport, pool: sources.open_source(transport, asset(server, "strange.tif", sig="canary")),
        )
    assert type(caught.value) is kind
    assert str(caught.value).endswith("/strange.tif")
    assert "canary" not in str(caught.value)


def test_a_file_that_is_not_there(server: FaultServer) -> None:
    with pytest.raises(NotFound, match=r"absent\.tif"):
        run(server, lambda transport, pool: sources.open_source(transport, asset(server, "absent.tif")))
    assert server.totals()[0] == 1
