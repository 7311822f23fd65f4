"""What a crop says of itself, read from a file in part as from all of its bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from affine import Affine

from s2async.output import crops, tags
from s2async.output.geotiff import Crop

TAGS = {"ITEM_ID": 'S2A "odd" <&>', "AREA": "Müggelsee", "MASK": "polygon"}


def crop(side: int) -> bytes:
    pixels = np.random.default_rng(side).integers(0, 255, (3, side, side), dtype=np.uint8)
    made = Crop(
        pixels=pixels,
        transform=Affine(10, 0, 300_000, 0, -10, 5_800_020),
        epsg=32633,
        nodata=0,
        scales=(1.0,) * 3,
        offsets=(0.0,) * 3,
        tags=TAGS,
    )
    return crops.encode(made, "x.tif", mask=True, asset="visual")[1]


@pytest.mark.parametrize("side", [3, 700])
def test_tags_behind_any_number_of_pixels(tmp_path: Path, side: int) -> None:
    """The larger one is of 1.5 MB: more than a header may be long."""
    data = crop(side)
    path = tmp_path / "x.tif"
    path.write_bytes(data)
    assert TAGS.items() <= tags.read(data).items()
    assert tags.of_file(path) == tags.read(data)
    layout = tags.layout_of(path)
    assert layout is not None
    assert (layout.grid.width, layout.bands) == (side, 3)


def test_no_tags_where_there_is_no_crop(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    assert tags.of_file(path) == {}
    for data in (b"", b"II*\0", b"no crop at all", crop(3)[:-1], crop(3)[:400]):
        path.write_bytes(data)
        assert tags.of_file(path) == tags.read(data) == {}
    assert tags.of_file(tmp_path) == {}
