"""Crops as GeoTIFFs: GDAL reads back what was written, whoever wrote it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from rasterio.enums import MaskFlags
from rasterio.io import DatasetReader, MemoryFile

from s2async.cog import directories, tiff
from s2async.cog.grid import shifted
from s2async.output import geotiff
from s2async.output.geotiff import Crop, encode, is_own
from tests.support.lanes import few_quick
from tests.support.layouts import NORTH_UP, crop_of, opened, with_tag


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"])
@pytest.mark.parametrize("bands", few_quick([3, 1, 2, 4, 5]))
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
        assert raster.block_shapes == [(256, 256) if max(raster.shape) > 512 else raster.shape] * len(pixels)
        assert raster.profile["compress"] == "deflate"


# ---- as GDAL writes them -----------------------------------------------------------------------------------


def by_gdal(crop: Crop) -> bytes:
    """The same crop, written by GDAL alone."""
    bands, height, width = crop.pixels.shape
    profile = {
        "driver": "GTiff",
        "count": bands,
        "height": height,
        "width": width,
        "dtype": crop.pixels.dtype.name,
    }
    profile |= {
        "crs": f"EPSG:{crop.epsg}",
        "transform": crop.transform,
        "nodata": crop.nodata,
        "compress": "deflate",
    }
    profile |= {"interleave": "pixel", "predictor": 3 if crop.pixels.dtype.kind == "f" else 2}
    picture = bands == 3 and crop.pixels.dtype == np.uint8
    with MemoryFile() as memory:
        with memory.open(**profile, photometric="rgb" if picture else "minisblack") as raster:
            raster.write(crop.pixels)
            if set(crop.scales) != {1.0} or any(crop.offsets):
                raster.scales, raster.offsets = crop.scales, crop.offsets
            raster.update_tags(**crop.tags)
        return bytes(memory.getbuffer())


def facts(raster: DatasetReader) -> dict[str, Any]:
    """All that a reader sees of a file, but for the size of its blocks."""
    profile = {key: value for key, value in raster.profile.items() if not key.startswith("block")}
    named = {"DERIVED_SUBDATASETS"}  # holds the name of the file
    spaces = sorted({*raster.tag_namespaces(), "IMAGE_STRUCTURE", "TIFF", "COLOR_PROFILE"} - named)
    return {
        "pixels": raster.read().tobytes(),
        "profile": repr({**profile, "tiled": None}),
        "crs": raster.crs.to_wkt(),
        "bounds": raster.bounds,
        "tags": raster.tags(),
        "spaces": {space: raster.tags(ns=space) for space in spaces},
        "tags of bands": [raster.tags(band) for band in raster.indexes],
        "descriptions": raster.descriptions,
        "units": raster.units,
        "scales": raster.scales,
        "offsets": raster.offsets,
        "colours": raster.colorinterp,
        "nodata": repr(raster.nodatavals),
        "mask flags": raster.mask_flag_enums,
        "mask": raster.dataset_mask().tobytes(),
        "masks": raster.read_masks().tobytes(),
        "points": raster.gcps,
        "overviews": [raster.overviews(band) for band in raster.indexes],
    }


TYPES = ("uint8", "uint16", "int16", "int8", "uint32", "float32")
"""Those of Sentinel-2 first."""
PLACES: dict[int, tuple[float, float, float, float]] = {
    32633: (10, -10, 300_000, 5_900_040), 32733: (20, -20, 499_980.5, 6_000_000), 3857: (10, -10, 1e6, 7e6),
    4326: (1e-4, -2e-4, 13.1, 52.6), 3035: (60, -60, 4_321_000, 3_210_000), 2154: (10, 10, 652_000, 6_862_000),
}  # fmt: skip
"""By EPSG code a pixel's width and height, and the corner of the first one; one has rows that run north."""
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="\ufffe\uffff"))


@st.composite
def any_crop(draw: st.DrawFn) -> Crop:
    """Crops of all kinds that the program could cut."""
    dtype, bands = draw(st.sampled_from(TYPES)), draw(st.integers(1, 4))
    shape = (
        bands,
        *draw(st.sampled_from([(1, 1), (1, 300), (300, 1), (30, 30), (17, 260), (300, 300), (8, 513)])),
    )
    pixels = np.random.default_rng(draw(st.integers(0, 99))).integers(0, draw(st.sampled_from([2, 120])), shape)
    epsg = draw(st.sampled_from(sorted(PLACES)))
    width, height, west, north = PLACES[epsg]
    step, turn = draw(st.integers(0, 9999)), draw(st.sampled_from([0, 0, 0, width / 7]))
    return crop_of(
        pixels.astype(dtype),
        transform=Affine(width, turn, west + width * step, turn, height, north - height * step),
        epsg=epsg,
        nodata=draw(st.sampled_from([None, 0, 1, 100])),
        scales=draw(st.sampled_from([(1.0, 1.0, 1.0, 1.0), (0.0001, 1 / 3, 1.0, 2.0)]))[:bands],
        offsets=draw(st.sampled_from([(0.0, 0.0, 0.0, 0.0), (-0.1, 0.0, 1e-9, 7.0)]))[:bands],
        tags=draw(st.dictionaries(st.sampled_from(["AREA", "ETAG", "TIFFTAG_SOFTWARE", "Länge"]), TEXT)),
    )


@given(any_crop())
def test_a_reader_sees_what_gdal_would_have_written(crop: Crop) -> None:
    with opened(encode(crop)) as raster, opened(by_gdal(crop)) as expected:
        assert facts(raster) == facts(expected)


@pytest.mark.parametrize("size", [(30, 30), (300, 517)])
def test_gdal_opens_a_crop_without_a_warning(size: tuple[int, int], caplog: pytest.LogCaptureFixture) -> None:
    crop = crop_of(np.ones((3, *size), np.uint8), nodata=0, tags={"AREA": "Gärten", "TIFFTAG_SOFTWARE": "s2async"})
    data = encode(crop)
    caplog.set_level(logging.WARNING, logger="rasterio")
    with opened(data) as raster:
        raster.read()
    assert caplog.records == []
    with opened(with_tag(data, 258, 12, 1, bytes(8), at=directories.GDAL_NODATA)):
        pass
    assert caplog.records, "a damaged tag gives one"


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_other_programs_can_change_the_tags_of_a_crop(tmp_path: Path, dtype: str) -> None:
    pixels = (np.arange(1800) % 251).reshape(2, 30, 30).astype(dtype)
    crop = crop_of(pixels, nodata=0, tags={"AREA": "old", "ETAG": "1"})
    path = tmp_path / "crop.tif"
    path.write_bytes(encode(crop))
    with rasterio.open(path, "r+") as raster:
        raster.update_tags(AREA="Gärten " * 99, NEW="x")
        raster.scales = (0.5, 2.0)
    with rasterio.open(path) as raster:
        assert raster.read().tobytes() == crop.pixels.tobytes()
        expected = {"AREA": "Gärten " * 99, "ETAG": "1", "NEW": "x", "AREA_OR_POINT": "Area"}
        assert (raster.tags(), raster.scales, raster.nodata) == (expected, (0.5, 2.0), 0)


@pytest.mark.parametrize("size", [(30, 30), (300, 517)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_another_text_in_a_tag_gives_what_encode_gives_for_it(size: tuple[int, int], dtype: str) -> None:
    before, after = (
        crop_of(np.full((3, *size), 7, dtype), tags={"ITEM_ID": "A", "AREA": text, "TIFFTAG_SOFTWARE": "s2async"})
        for text in ("old <", "Gärten & mehr")
    )
    assert geotiff.with_tag(encode(before), "AREA", "Gärten & mehr") == encode(after)
    assert geotiff.with_tag(encode(before), "NAME", "Gärten") is None


def test_gdal_writes_a_crop_that_may_need_a_bigtiff(monkeypatch: pytest.MonkeyPatch) -> None:
    crop = crop_of(np.ones((3, 30, 600), np.uint16), nodata=0, tags={"AREA": "Gärten"})
    monkeypatch.setattr(geotiff, "_LARGEST", crop.pixels.nbytes)
    with opened(encode(crop)) as raster, opened(by_gdal(crop)) as expected:
        assert facts(raster) == facts(expected)


def test_a_crop_of_an_earlier_version_is_recognised() -> None:
    """They were tiles whatever the size."""
    pixels = np.ones((3, 40, 50), np.uint8)
    profile = {"driver": "GTiff", "count": 3, "height": 40, "width": 50, "dtype": "uint8", "crs": "EPSG:32633"}
    profile |= {"transform": NORTH_UP, "compress": "deflate", "predictor": 2, "interleave": "pixel"}
    found = {}
    for name, blocks in {
        "tiles": {"tiled": True, "blockxsize": 256, "blockysize": 256},
        "small tiles": {"tiled": True, "blockxsize": 64, "blockysize": 64},
        "strip": {"blockysize": 40},
        "strips": {"blockysize": 8},
    }.items():
        with MemoryFile() as memory:
            with memory.open(**profile, **blocks, photometric="rgb") as raster:
                raster.write(pixels)
            layout = tiff.parse(bytes(memory.getbuffer()))
        assert isinstance(layout, tiff.Layout)
        found[name] = is_own(layout)
    assert found == {"tiles": True, "small tiles": False, "strip": True, "strips": False}
