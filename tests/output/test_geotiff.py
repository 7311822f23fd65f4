"""Crops as GeoTIFFs: GDAL reads back what was written, whoever wrote it."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from rasterio.enums import MaskFlags

from s2async.cog.grid import shifted
from s2async.output.geotiff import encode
from tests.support.layouts import NORTH_UP, crop_of, opened


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"])
@pytest.mark.parametrize("bands", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("size", [(1, 1), (300, 517)])
def test_all_types_and_bands_come_back_and_none_hides_another(
    dtype: str, bands: int, size: tuple[int, int]
) -> None:
    pixels = (np.arange(bands * size[0] * size[1]).reshape(bands, *size) % 251 - 100).astype(dtype)
    if dtype.startswith("float"):
        pixels[..., ::3] = np.nan
        pixels /= 7

    with opened(encode(crop_of(pixels))) as raster:
        assert raster.read().tobytes() == pixels.tobytes()
        assert raster.mask_flag_enums == tuple([MaskFlags.all_valid] for _ in range(bands))
        assert raster.tags(ns="IMAGE_STRUCTURE")["PREDICTOR"] == ("3" if dtype.startswith("float") else "2")
        picture = bands == 3 and dtype == "uint8"
        assert raster.colorinterp[0].name == ("red" if picture else "gray")


@pytest.mark.parametrize(
    "transform",
    [NORTH_UP, Affine(10, 0, 3e5, 0, 10, 5.8e6), Affine(8, 3, 3e5, 2, -9, 5.9e6), shifted(NORTH_UP, 0.5, 7)],
)
def test_the_transform_comes_back(transform: Affine) -> None:
    with opened(encode(crop_of(np.ones((1, 3, 4), np.uint8), transform=transform))) as raster:
        assert raster.transform == transform


@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [("uint8", None), ("uint8", 0), ("uint8", 255), ("int8", -128), ("uint16", 65535), ("uint16", 0.5),
     ("int16", -9999), ("uint32", 4294967295), ("float32", float("nan")), ("float32", float("inf")),
     ("float32", -3.4028234663852886e38), ("float64", -1e300), ("float64", float("-inf"))],
)  # fmt: skip
def test_nodata_comes_back(dtype: str, nodata: float | None) -> None:
    with opened(encode(crop_of(np.ones((1, 3, 4), dtype), nodata=nodata))) as raster:
        assert repr(raster.nodata) == repr(nodata if nodata is None else float(nodata))


def test_scales_and_offsets_come_back_each_with_its_band() -> None:
    pixels = np.ones((3, 3, 4), np.uint16)
    scales, offsets = (0.0001, 1 / 3, 1.0), (-0.1, 0.0, 1e-9)

    with opened(encode(crop_of(pixels, scales=scales, offsets=offsets))) as raster:
        assert (raster.scales, raster.offsets) == (scales, offsets)


@pytest.mark.parametrize(
    "text",
    ["a<b>&\"'c", "Gärten 日本 🌳", "a=b;c", "inner\nline", "x" * 40_000, "]]>", "&lt;", "\u2028", "0", "None"],
)
def test_tags_come_back(text: str) -> None:
    with opened(encode(crop_of(np.ones((1, 3, 4), np.uint8), tags={"AREA": text, "LAST": "z"}))) as raster:
        assert raster.tags()["AREA"] == text
        assert raster.tags()["LAST"] == "z"


@pytest.mark.parametrize("text", ["\udce9", "\ud800x", "\x00", "\x01", "\r\n", ""])
def test_tags_that_no_file_can_hold_do_not_stop_a_run(text: str) -> None:
    """An ETag with a byte that is no text comes from the network as a lone surrogate."""

    with opened(encode(crop_of(np.ones((1, 3, 4), np.uint8), tags={"ETAG": text, "LAST": "z"}))) as raster:
        assert raster.tags()["LAST"] == "z"
        assert raster.read().all()


def test_crops_of_one_kind_share_a_header_and_nothing_else() -> None:
    one, other = (np.full((3, 40, 50), value, np.uint8) for value in (7, 8))
    first = encode(crop_of(one, tags={"ITEM_ID": "A", "TIFFTAG_COPYRIGHT": "2021"}, scales=(2.0, 1.0, 1.0)))
    second = encode(crop_of(other, tags={"ITEM_ID": "B", "TIFFTAG_COPYRIGHT": "2022"}, scales=(3.0, 1.0, 1.0)))

    for data, pixels, item, year, scale in ((first, one, "A", "2021", 2.0), (second, other, "B", "2022", 3.0)):
        with opened(data) as raster:
            assert (raster.read() == pixels).all()
            assert (raster.tags()["ITEM_ID"], raster.tags()["TIFFTAG_COPYRIGHT"]) == (item, year)
            assert raster.scales == (scale, 1.0, 1.0)
    assert (
        encode(crop_of(one, tags={"ITEM_ID": "A", "TIFFTAG_COPYRIGHT": "2021"}, scales=(2.0, 1.0, 1.0))) == first
    )


@given(
    arrays(
        st.sampled_from([np.uint8, np.int8, np.uint16, np.int16]),
        st.tuples(st.integers(1, 4), st.integers(1, 40), st.sampled_from([1, 2, 255, 256, 257, 520])),
        fill=st.just(0),
    )
)
def test_any_pixels_come_back(pixels: NDArray[np.generic]) -> None:
    with opened(encode(crop_of(pixels))) as raster:
        assert raster.read().tobytes() == pixels.tobytes()
        assert raster.block_shapes == [(256, 256)] * len(pixels)
        assert raster.profile["compress"] == "deflate"
