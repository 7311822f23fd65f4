"""What crops of reflectance bands say about their numbers."""

from __future__ import annotations

import numpy as np
import pytest

from s2async.cog import tiff
from s2async.cog.tiff import Layout
from s2async.models import Numbers
from s2async.output import band_tags
from s2async.output.geotiff import encode, retagged, with_pixels
from tests.support.layouts import crop_of, opened

PIXELS = np.arange(1, 301 * 270 + 1, dtype=np.uint16).reshape(1, 301, 270)


def numbers(offset: int | None, basis: str = "source", *, harmonised: bool = False) -> Numbers:
    return Numbers(offset=offset, basis=basis, baseline="05.09", harmonised=harmonised)


def layout_of(scale: float = 1.0, offset: float = 0.0) -> Layout:
    layout = tiff.parse(encode(crop_of(PIXELS, scales=(scale,), offsets=(offset,))))
    assert isinstance(layout, Layout)
    return layout


@pytest.mark.parametrize("harmonised", [False, True])
@pytest.mark.parametrize("offset", [None, 0, -1000])
def test_tags_are_read_back(offset: int | None, harmonised: bool) -> None:
    told = numbers(offset, "unknown" if offset is None else "flag", harmonised=harmonised)
    assert band_tags.read(band_tags.tags(told)) == told


def test_a_harmonised_crop_has_no_offset_left_and_says_what_was_removed() -> None:
    told = band_tags.tags(numbers(-1000, harmonised=True))
    assert (told["OFFSET_DN"], told["OFFSET_REMOVED"], told["REFLECTANCE"]) == ("0", "-1000", "harmonised")
    told = band_tags.tags(numbers(-1000))
    assert (told["OFFSET_DN"], told["REFLECTANCE"], "OFFSET_REMOVED" in told) == ("-1000", "published", False)


@pytest.mark.parametrize("key", ["REFLECTANCE", "OFFSET_BASIS", "OFFSET_DN", "OFFSET_REMOVED"])
@pytest.mark.parametrize("text", ["x", "", "-1", None])
def test_damaged_tags_are_errors(key: str, text: str | None) -> None:
    damaged = band_tags.tags(numbers(-1000, harmonised=True))
    del damaged[key]
    with pytest.raises(ValueError):
        band_tags.read(damaged | ({} if text is None else {key: text}))


def test_other_crops_say_nothing() -> None:
    assert band_tags.read({"ITEM_ID": "x"}) is None


@pytest.mark.parametrize(
    ("asset", "told", "scaling"),
    [
        ("red", numbers(-1000), ((0.0001,), (-0.1,))),
        ("red", numbers(0), ((0.0001,), (0.0,))),
        ("red", numbers(-1000, harmonised=True), ((0.0001,), (0.0,))),
        ("red", numbers(None), ((1.0,), (0.0,))),
        ("aot", None, ((0.001,), (0.0,))),
        ("WVP_10m", None, ((0.001,), (0.0,))),
        ("visual", None, ((1.0,), (0.0,))),
    ],
)
def test_scale_and_offset(asset: str, told: Numbers | None, scaling: object) -> None:
    assert band_tags.scaling(asset, told, layout_of()) == scaling


def test_other_assets_keep_the_scale_of_their_file() -> None:
    assert band_tags.scaling("wvp", None, layout_of(0.5, 2.0)) == ((0.5,), (2.0,))


@pytest.mark.parametrize("scaling", [((1.0,), (0.0,)), ((0.01,), (0.5,))])
def test_floats_are_no_dn_and_keep_the_scale_of_their_file(
    scaling: tuple[tuple[float], tuple[float]],
) -> None:
    layout = tiff.parse(encode(crop_of(PIXELS.astype(np.float32), scales=scaling[0], offsets=scaling[1])))
    assert isinstance(layout, Layout)
    assert band_tags.scaling("red", numbers(0), layout) == scaling


@pytest.mark.parametrize(
    ("scale", "offset", "dn"), [(0.0001, -0.1, -1000), (0.0001, 0.0, 0), (1.0, -1000.0, -1000), (0.01, -10, -1000)]
)
def test_what_a_file_states(scale: float, offset: float, dn: int) -> None:
    stated = band_tags.stated(layout_of(scale, offset))
    assert stated is not None
    assert round(stated * 10_000) == dn


def test_a_file_without_scale_and_offset_states_nothing() -> None:
    assert band_tags.stated(layout_of()) is None


ITEMS = {"AREA": "a<b>&\"'c Gärten", "ITEM_ID": "S2A", "OFFSET_DN": "0"}


def test_new_tags_give_the_file_that_is_written_anew() -> None:
    old = crop_of(PIXELS, nodata=0, tags={**ITEMS, "TIFFTAG_SOFTWARE": "s2async 1"})
    new = crop_of(
        PIXELS,
        nodata=0,
        tags={"AREA": ITEMS["AREA"], "OFFSET_DN": "-1000", "TIFFTAG_SOFTWARE": "s2async 1"},
        scales=(0.0001,),
        offsets=(-0.1,),
    )
    made = retagged(encode(old), (0.0001,), (-0.1,), {"AREA": ITEMS["AREA"], "OFFSET_DN": "-1000"})
    assert made == encode(new)
    with opened(encode(new)) as raster:
        assert (raster.scales, raster.offsets) == ((0.0001,), (-0.1,))


def test_new_pixels_give_the_file_that_is_written_anew() -> None:
    other = PIXELS[:, ::-1] // 3
    old, new = crop_of(PIXELS, nodata=0, tags=ITEMS), crop_of(other, nodata=0, tags=ITEMS)
    assert with_pixels(encode(old), other) == encode(new)


def test_what_is_no_crop_is_not_tagged() -> None:
    assert retagged(encode(crop_of(PIXELS))[:-40], (1.0,), (0.0,), {}) is None
