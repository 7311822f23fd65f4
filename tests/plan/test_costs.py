"""What reading costs: ranges that hold what was measured, and no nonsense at their ends."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely import MultiPolygon, Polygon, box

from s2async.areas.loader import fingerprint
from s2async.models import Area
from s2async.plan import costs
from s2async.plan.costs import Experience, Range

shares = st.floats(0, 1)
percents = st.floats(0, 100)


def area(polygon: Polygon | MultiPolygon) -> Area:
    return Area(name="a", wkb=polygon.wkb, fingerprint=fingerprint(polygon), folder="a")


def test_ranges_add_and_scale() -> None:
    assert Range(1, 2) + Range(10, 20) == Range(11, 22)
    assert Range(1, 2).times(3) == Range(3, 6)
    assert Range(1, 2).times(3, 5) == Range(3, 10)


def test_kinds_are_told_by_asset_and_an_unknown_one_may_be_any() -> None:
    assert (costs.kind_of("scl").side, costs.kind_of("visual").side) == (10_240, 10_240)
    assert (costs.kind_of("red").metres, costs.kind_of("swir16").metres) == (10, 20)
    unknown = costs.kind_of("something")
    for kind in costs.KINDS.values():
        if kind is not costs.SCL:
            assert (
                unknown.block_bytes.low <= kind.block_bytes.low < kind.block_bytes.high <= unknown.block_bytes.high
            )
        assert 100 * kind.block_bytes.low < kind.file_bytes.high


# ---- clouds -----------------------------------------------------------------------------------------------


@given(percents, percents)
def test_the_chance_falls_with_the_scenes_cloud(one: float, other: float) -> None:
    low, high = sorted((one, other))
    clearer, duller = costs.chance_of_clear(low), costs.chance_of_clear(high)
    assert 0 <= duller.low <= duller.high <= 1
    assert clearer.low >= duller.low
    assert clearer.high >= duller.high


def test_of_a_scene_that_tells_nothing_nothing_is_known() -> None:
    assert costs.chance_of_clear(None) == Range(0, 1)
    assert costs.chance_of_clear(0) == Range(1, 1)
    assert costs.chance_of_clear(50) == Range(0.125, 0.5)


@given(shares, st.integers(1, 10_000))
def test_what_was_seen_often_is_known_well(share: float, count: int) -> None:
    seldom, often = costs.spread(share, count), costs.spread(share, 100 * count)
    assert 0 <= seldom.low <= seldom.high <= 1
    assert often.high - often.low < seldom.high - seldom.low
    assert often.low - 1e-9 <= share <= often.high + 1e-9


def test_experience_replaces_the_guess_where_there_is_enough_of_it() -> None:
    experience = Experience()
    for number in range(40):
        for _ in range(9):
            experience.add(f"s{number}", 30.0, clear=number % 4 == 0)
    assert experience.scenes == 40
    seen = experience.chance(40.0)
    assert seen == costs.spread(0.25, 40)
    assert seen.low < 0.25 < seen.high < 0.42
    assert experience.chance(1.0) == costs.chance_of_clear(1.0), "of other skies nothing was seen"
    assert experience.chance(None) == Range(0, 1)


# ---- time -------------------------------------------------------------------------------------------------


def test_a_narrow_link_a_long_one_and_a_slow_machine() -> None:
    def seconds(jobs: int = 0, requests: float = 0, size: float = 0) -> Range:
        ranges = Range(requests, requests), Range(size, size)
        return costs.seconds(jobs=jobs, requests=ranges[0], size=ranges[1], connections=10, bandwidth=1e6)

    assert seconds(size=60e6) == Range(60, 60)
    assert seconds(requests=1000).low == 1000 * costs.ANSWER.low / 10
    assert seconds(jobs=1000).low == 1000 * costs.JOB.low
    together = seconds(1000, 1000, 60e6)
    assert together.low == 60
    assert together.high == 60 + 1000 * costs.ANSWER.high / 10 + 1000 * costs.JOB.high


# ---- before any search ------------------------------------------------------------------------------------


def rough(
    *polygons: Polygon | MultiPolygon, days: float = 365, assets: tuple[str, ...] = ("visual",)
) -> costs.Rough:
    areas = [area(polygon) for polygon in polygons]
    return costs.rough(areas, np.full(len(areas), days, float), assets, max_scene_cloud=80)


def test_a_park_of_berlin_for_a_year_is_what_it_was() -> None:
    """The nine parks: 1,428 jobs and 437 MB in five tiles, by README."""
    park = box(13.35, 52.51, 13.36, 52.515)
    found = rough(park)
    assert 100 < found.jobs < 220
    assert 30e6 < found.bytes < 200e6


def test_neighbours_share_tiles_and_strangers_do_not() -> None:
    near = [box(10.0 + i / 1000, 50.01, 10.0005 + i / 1000, 50.0105) for i in range(9)]
    far = [box(10.0 + i, 50.01, 10.0005 + i, 50.0105) for i in range(9)]
    assert rough(*near).bytes == pytest.approx(rough(near[0]).bytes, rel=0.01)
    assert rough(*far).bytes == pytest.approx(9 * rough(far[0]).bytes, rel=0.01)
    assert rough(*far).jobs == pytest.approx(9 * rough(far[0]).jobs, rel=0.01)
    crowd = [box(10 + i * 1e-4, 50.01, 10 + i * 1e-4 + 5e-5, 50.0101) for i in range(640)]
    assert rough(*crowd).bytes == pytest.approx(2 * rough(crowd[0]).bytes, rel=0.01), "they lie in two tiles"


def test_it_grows_with_days_size_and_assets() -> None:
    small = box(10.01, 50.02, 10.02, 50.03)  # in one cell
    assert rough(small, days=730).bytes == pytest.approx(2 * rough(small).bytes)
    assert rough(small, assets=()).bytes < rough(small).bytes / 10
    assert rough(small, assets=("visual", "red")).bytes > 1.5 * rough(small).bytes
    country = box(8.0, 48.0, 12.0, 53.0)
    assert 1000 < rough(country).bytes / rough(small).bytes < 2500


@given(st.floats(-180, 179), st.floats(-80, 83), st.floats(1e-5, 1), st.floats(1e-5, 1))
def test_any_area_gives_a_sensible_number(west: float, south: float, wide: float, high: float) -> None:
    found = rough(box(west, south, west + wide, min(84.0, south + high)))
    assert 0 < found.jobs < 2000
    assert 1e6 < found.bytes < 1e13


def test_both_sides_of_the_antimeridian_are_two_small_places() -> None:
    both = MultiPolygon([box(179.99, 0.0, 180.0, 0.01), box(-180.0, 0.0, -179.99, 0.01)])
    assert rough(both).bytes < 5 * rough(box(179.98, 0.0, 179.99, 0.01)).bytes


def test_days_outside_a_season_cost_nothing() -> None:
    here, there = box(10.01, 50.02, 10.02, 50.03), box(12.01, 50.02, 12.02, 50.03)
    both, alone = [area(here), area(there)], [area(here)]

    def cost(areas: list[Area], *days: float) -> costs.Rough:
        return costs.rough(areas, np.array(days), ("visual",), max_scene_cloud=80)

    assert cost(both, 365, 0).bytes == pytest.approx(cost(alone, 365).bytes)
    assert cost(both, 365, 0).jobs == pytest.approx(cost(alone, 365).jobs)
    assert cost(both, 0, 0) == costs.Rough(0.0, 0.0)
    assert cost(alone, 73).jobs == pytest.approx(cost(alone, 365).jobs / 5)
    twice = [area(here), area(here)]
    assert cost(twice, 365, 100).bytes == pytest.approx(cost(alone, 365).bytes), "blocks are shared"
    assert cost(twice, 365, 100).jobs == pytest.approx(cost(alone, 465).jobs)


@pytest.mark.parametrize("cloud", [0.0, 10.0, 50.0, 80.0, 100.0])
def test_values_are_at_least_as_likely_as_crops_and_certain_where_nothing_is_cloudy(cloud: float) -> None:
    crop = costs.chance_of_clear(cloud)
    chances = [costs.chance_of_values(cloud, most=most) for most in (0, 20, 80, 100)]
    assert chances[0] == crop
    for fewer, more in pairwise(chances):
        assert 0 <= fewer.low <= more.low + 1e-9
        assert fewer.high <= more.high + 1e-9 <= 1 + 2e-9
        assert more.low <= more.high + 1e-9
    if not cloud:
        assert chances[2] == costs.Range(1, 1)
