from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import rasterio.mask
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.io import MemoryFile

from s2async.clouds.rule import VERDICTS
from s2async.clouds.scl import SclRule, measure
from s2async.clouds.shares import bad_pixels, cloud_percent, valid_percent
from s2async.cog.grid import Grid
from s2async.cog.polygon_mask import cutout
from s2async.errors import CorruptFile
from s2async.models import Area, CloudMeasure, Status
from s2async.sandbox.truth.oracle import project

BAD = (1, 3, 8, 9, 10)


# ---- counting ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_the_histogram_is_that_of_what_rasterio_masks(seed: int) -> None:
    generator = np.random.default_rng(seed)
    transform = Affine(20, 0, 399_960, 0, -20, 5_800_020)
    grid = Grid(width=60, height=50, transform=transform, epsg=32633)
    scl = generator.integers(0, [12, 13, 256][seed % 3], (1, 50, 60)).astype("uint8")
    x, y = 13.5405 + generator.uniform(-0.01, 0.01), 52.337 + generator.uniform(-0.005, 0.005)
    polygon = shapely.Point(x, y).buffer(generator.uniform(0.001, 0.006), quad_segs=3)
    with MemoryFile() as file:
        with file.open(
            driver="GTiff",
            width=60,
            height=50,
            count=1,
            dtype="uint8",
            crs="EPSG:32633",
            transform=transform,
            nodata=0,
        ) as raster:
            raster.write(scl)
        with file.open() as raster:
            try:
                masked, _ = rasterio.mask.mask(
                    raster, [project(polygon, raster.crs)], crop=True, nodata=255, filled=False
                )
            except ValueError:
                masked = None
    found = cutout(Area(name="", wkb=polygon.wkb, fingerprint=polygon.wkb_hex, folder=""), grid)
    if masked is None or found is None:
        assert masked is None
        assert found is None
        return
    window = found.window
    pixels = scl[:, window.row : window.row + window.height, window.col : window.col + window.width]
    measured = measure(pixels, found.inside, found.total)

    plain = np.bincount(masked.compressed(), minlength=256)  # all inside but 0, which rasterio takes for nodata
    assert measured.histogram[1:12] == tuple(plain[1:12])
    assert measured.histogram[12] == plain[12:].sum()
    assert measured.valid == plain[1:12].sum()
    assert sum(measured.histogram) == found.inside.sum()
    assert measured == measure(pixels[0], found.inside, found.total)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64"])
def test_values_beyond_the_classes_share_the_last_bin(dtype: str) -> None:
    most = np.iinfo(dtype).max
    pixels = np.array([[0, 11, 12, 13, most], [3, 3, most - 1, 200, 255]], dtype=dtype)
    measured = measure(pixels, np.ones((2, 5), bool), 10)
    assert measured.histogram == (1, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 6)


def test_nothing_inside_is_counted_as_nothing() -> None:
    measured = measure(np.ones((1, 3, 4), np.uint8), np.zeros((3, 4), bool), 0)
    assert measured.histogram == (0,) * 13
    assert (measured.valid, measured.total) == (0, 0)
    assert SclRule(classes=frozenset(BAD), max_cloud=10_000, min_valid=0).verdict(measured) is Status.NODATA


@pytest.mark.parametrize(
    "pixels",
    [
        np.ones((3, 4, 5), np.uint8),
        np.ones((2, 4, 5), np.uint8),
        np.ones((1, 4, 5), np.int16),
        np.ones((1, 4, 5), np.int8),
        np.ones((1, 4, 5), np.float32),
        np.ones((1, 4, 5), np.complex64),
        np.ones((1, 4, 5), bool),
        np.ones(5, np.uint8),
        np.ones((1, 1, 4, 5), np.uint8),
    ],
    ids=lambda pixels: f"{pixels.dtype} {pixels.shape}",
)
def test_what_is_no_scene_classification_is_refused(pixels: NDArray[Any]) -> None:
    with pytest.raises(CorruptFile, match="not a scene classification"):
        measure(pixels, np.ones((4, 5), bool), 20)


def test_more_pixels_than_the_area_has_are_refused() -> None:
    with pytest.raises(ValueError, match="20 pixels counted, 19 inside"):
        measure(np.ones((1, 4, 5), np.uint8), np.ones((4, 5), bool), 19)


# ---- the verdict -------------------------------------------------------------------------------------------

counts = st.one_of(st.integers(0, 3), st.integers(0, 400), st.integers(0, 10**9))
percents = st.one_of(
    st.sampled_from([0, 0.01, 0.5, 2, 2.0, 33.33, 50, 95, 99.99, 100]),
    st.integers(0, 10_000).map(lambda hundredths: hundredths / 100),
)
classes_ = st.frozensets(st.integers(1, 11))


@st.composite
def measures(draw: st.DrawFn) -> CloudMeasure:
    histogram = tuple(draw(st.lists(counts, min_size=13, max_size=13)))
    return CloudMeasure(histogram=histogram, total=sum(histogram) + draw(counts))


def plain_verdict(
    measured: CloudMeasure, classes: frozenset[int], max_cloud: Fraction, min_valid: Fraction
) -> Status | None:
    """The rule as the issue words it, in fractions."""
    valid = sum(measured.histogram[1:12])
    if not valid or Fraction(valid, measured.total) * 100 < min_valid:
        return Status.NODATA
    bad = sum(count for value, count in enumerate(measured.histogram) if value in classes)
    return Status.CLOUDY if Fraction(bad, valid) * 100 > max_cloud else None


@given(measures(), classes_, percents, percents)
def test_the_verdict_is_that_of_fractions(
    measured: CloudMeasure, classes: frozenset[int], max_cloud: float, min_valid: float
) -> None:
    rule = SclRule.from_percent(classes=classes, max_cloud=max_cloud, min_valid=min_valid)
    expected = plain_verdict(measured, classes, Fraction(str(max_cloud)), Fraction(str(min_valid)))
    assert rule.verdict(measured) is expected


@given(st.integers(0, 10_000), st.integers(1, 10**6), st.booleans())
def test_exactly_at_the_limit_is_clear_and_one_pixel_more_is_not(hundredths: int, scale: int, cloud: bool) -> None:
    bad, valid = hundredths * scale, 10_000 * scale  # exactly so many hundredths of a per cent

    def judged(bad: int, valid: int, total: int, rule: SclRule) -> Status | None:
        histogram = [0] * 13
        histogram[9], histogram[4], histogram[0] = bad, valid - bad, total - valid
        return rule.verdict(CloudMeasure(histogram=tuple(histogram), total=total))

    if cloud:
        rule = SclRule(classes=frozenset({9}), max_cloud=hundredths, min_valid=0)
        assert judged(bad, valid, valid, rule) is None
        if bad < valid:
            assert judged(bad + 1, valid, valid, rule) is Status.CLOUDY
    else:
        rule = SclRule(classes=frozenset({9}), max_cloud=10_000, min_valid=hundredths)
        assert judged(0, bad, valid, rule) is (None if bad else Status.NODATA)
        if bad:
            assert judged(0, bad - 1, valid, rule) is Status.NODATA


@given(
    st.lists(
        st.lists(st.integers(0, 9) | st.integers(0, 2**57), min_size=13, max_size=13), min_size=1, max_size=20
    ),
    st.integers(0, 9),
    st.sets(st.sampled_from(range(1, 12))),
    st.sampled_from([0, 1, 100, 5000, 9999, 10_000]),
    st.sampled_from([0, 1, 100, 5000, 9999, 10_000]),
)
def test_many_verdicts_are_those_of_each(
    counts: list[list[int]], unseen: int, classes: set[int], max_cloud: int, min_valid: int
) -> None:
    rule = SclRule(classes=frozenset(classes), max_cloud=max_cloud, min_valid=min_valid)
    measures = [CloudMeasure(histogram=tuple(row), total=sum(row) + unseen) for row in counts]
    for some in (measures, [one for one in measures if one.total < 10**9]):
        histograms = np.array([one.histogram for one in some], np.int64).reshape(-1, 13)
        totals = np.array([one.total for one in some], np.int64)
        assert [VERDICTS[code] for code in rule.verdicts(histograms, totals)] == [
            rule.verdict(one) for one in some
        ]


def test_too_little_data_is_told_before_too_many_clouds() -> None:
    measured = CloudMeasure(histogram=(90, 0, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0), total=100)
    rule = SclRule.from_percent(classes=[9], max_cloud=2, min_valid=10)
    assert rule.verdict(measured) is Status.CLOUDY
    assert SclRule.from_percent(classes=[9], max_cloud=2, min_valid=10.01).verdict(measured) is Status.NODATA


def test_pixels_that_the_raster_does_not_hold_count_as_no_data() -> None:
    half = CloudMeasure(histogram=(0, 0, 0, 0, 50, 0, 0, 0, 0, 0, 0, 0, 0), total=100)
    assert SclRule.from_percent(classes=[9], max_cloud=2, min_valid=50).verdict(half) is None
    assert SclRule.from_percent(classes=[9], max_cloud=2, min_valid=50.01).verdict(half) is Status.NODATA


@given(measures(), classes_)
def test_per_cents_for_people_are_numbers_or_none(measured: CloudMeasure, classes: frozenset[int]) -> None:
    cloud, valid = cloud_percent(measured, classes), valid_percent(measured)
    assert (cloud is None) == (measured.valid == 0)
    assert (valid is None) == (measured.total == 0)
    for percent in (cloud, valid):
        assert percent is None or (math.isfinite(percent) and 0 <= percent <= 100.0000001)
    if cloud is not None:  # the plain method's number, to the last bit
        plain = np.array(measured.histogram, dtype=np.int64)
        assert cloud == float(plain[list(classes)].sum() / plain[1:12].sum() * 100)
        assert bad_pixels(measured, classes) == plain[list(classes)].sum()


# ---- limits ----------------------------------------------------------------------------------------------


@given(st.integers(0, 10_000))
def test_two_decimals_are_kept_exactly(hundredths: int) -> None:
    rule = SclRule.from_percent(
        classes=[1], max_cloud=hundredths / 100, min_valid=float(f"{hundredths / 100:.2f}")
    )
    assert rule.max_cloud == rule.min_valid == hundredths


@pytest.mark.parametrize(
    "percent", [-0.01, 100.01, 101, 0.005, 1.001, 1e-9, float("nan"), float("inf"), -float("inf"), 1e300, -1]
)
def test_other_per_cents_are_refused(percent: float) -> None:
    for name in ("max_cloud", "min_valid"):
        with pytest.raises(ValueError):
            SclRule.from_percent(**{"classes": [9], "max_cloud": 2, "min_valid": 95, name: percent})  # type: ignore[arg-type]


@pytest.mark.parametrize("classes", [[0], [0, 8], [12], [-1], [255]])
def test_classes_that_spoil_nothing_are_refused(classes: list[int]) -> None:
    with pytest.raises(ValueError, match="of 1 to 11"):
        SclRule.from_percent(classes=classes, max_cloud=2, min_valid=95)


@pytest.mark.parametrize("value", [12, 77, 255])
def test_values_that_are_no_classes_are_no_data(value: int) -> None:
    """Of a file that is filled with another value, nothing is known: least of all that it is clear."""
    inside = np.ones((10, 10), bool)
    measured = measure(np.full((10, 10), value, "uint8"), inside, 100)
    assert (measured.valid, valid_percent(measured)) == (0, 0)
    for least in (0, 50, 100):
        rule = SclRule.from_percent(classes=BAD, max_cloud=100, min_valid=least)
        assert rule.verdict(measured) == Status.NODATA
    half = np.full((10, 10), 4, "uint8")
    half[:5] = value
    assert valid_percent(measure(half, inside, 100)) == 50
