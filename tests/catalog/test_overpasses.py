"""Overpasses: which items are of one, when they are complete, and in which zone an area is at home."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from shapely import MultiPolygon, box
from shapely.geometry.base import BaseGeometry

from s2async.catalog.overpasses import Together, overpasses, same_overpass, zone_number
from s2async.catalog.zones import home_zone, home_zones
from s2async.models import Scene
from tests.support.states import make_scene

FIRST, SECOND = "S2A_20220101T095000", "S2B_20220101T102000"


@pytest.mark.parametrize(
    ("polygon", "zone"),
    [
        (box(13.0, 52.0, 13.1, 52.1), 33),
        (box(11.9, 52.0, 12.05, 52.1), 32),
        (box(11.95, 52.0, 12.1, 52.1), 33),
        (box(11.9, 52.0, 12.1, 52.1), 32),  # as much of both: the smaller number
        (MultiPolygon([box(11.0, 52.0, 11.1, 52.1), box(13.0, 52.0, 13.2, 52.1)]), 33),
        (box(3.5, 60.0, 5.5, 60.1), 32),  # off Norway, where zone 31 is narrow
        (box(5.9, 63.9, 6.0, 64.05), 32),
        (box(5.9, 63.95, 6.0, 64.1), 31),
        (box(8.0, 78.0, 10.5, 78.1), 33),  # Svalbard has no zone 32
        (box(-0.1, 60.0, 0.05, 60.1), 30),
        (box(179.9, 10.0, 180.3, 10.1), 1),
        (box(-180.0, -1.0, -179.0, 2.0), 1),
        (box(174.0, -10.0, 180.0, -9.0), 60),
    ],
)
def test_an_area_is_at_home_in_the_zone_that_holds_most_of_it(polygon: BaseGeometry, zone: int) -> None:
    assert home_zone(polygon) == zone


@pytest.mark.parametrize(
    ("grid", "epsg", "zone"),
    [
        ("33UUU", 32632, 33),
        ("5VNK", None, 5),
        ("", 32632, 32),
        ("", 32760, 60),
        ("", 3857, None),
        ("", None, None),
    ],
)
def test_the_zone_of_an_item_is_that_of_its_square_or_else_of_its_crs(
    grid: str, epsg: int | None, zone: int | None
) -> None:
    assert zone_number(grid, epsg) == zone


def seen(minutes: float, *, datatake: str = "", platform: str = "sentinel-2a", name: str = "") -> Scene:
    return replace(make_scene(name or f"at {minutes}", minutes=minutes, datatake=datatake), platform=platform)


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (seen(0, datatake=FIRST), seen(3.5, datatake=FIRST), True),
        (seen(0, datatake=FIRST), seen(0, datatake=SECOND), False),
        (seen(0, datatake=FIRST), seen(41, datatake=FIRST), False),  # whatever they say
        (seen(0, datatake=FIRST), seen(0.2), True),
        (seen(0), seen(39), True),
        (seen(0), seen(100), False),  # the next orbit
        (seen(0), seen(5, platform="sentinel-2b"), False),  # another satellite, minutes later
        (seen(0, platform=""), seen(0, platform=""), False),
        (seen(0), replace(seen(0), collection="sentinel-2-c1-l2a"), False),
    ],
)
def test_items_of_one_datatake_or_of_one_satellite_in_its_time_are_of_one_overpass(
    a: Scene, b: Scene, same: bool
) -> None:
    assert same_overpass(a, b) is same_overpass(b, a) is same


def a_year(seed: int) -> list[list[Scene]]:
    """Overpasses, the newest first, of two satellites that may follow each other within minutes."""
    chosen = random.Random(seed)
    found = []
    for day in range(30, 0, -1):
        for platform, start in (("sentinel-2a", 5.0), ("sentinel-2b", 0.0)):
            if chosen.random() < 0.6:
                datatake = f"{platform} {day}" if chosen.random() < 0.7 else ""
                times = sorted((chosen.uniform(0, 0.3) for _ in range(chosen.randint(1, 5))), reverse=True)
                at = day * 1440 + start
                scenes = [
                    seen(at + time, datatake=datatake, platform=platform, name=f"{platform} {day} {number}")
                    for number, time in enumerate(times)
                ]
                found.append(scenes)
    return found


def names(groups: Sequence[Sequence[Scene]]) -> list[list[str]]:
    return [sorted(scene.id for scene in group) for group in groups]


@pytest.mark.parametrize("seed", range(20))
def test_whatever_their_order_items_are_grouped_by_overpass(seed: int) -> None:
    year = a_year(seed)
    scenes = [scene for overpass in year for scene in overpass]
    random.Random(seed).shuffle(scenes)
    assert names(overpasses(scenes)) == names(year)
    together = Together[Scene](descending=True)  # which turns out not to be so
    released = [group for scene in scenes for group in together.add(scene)] + together.rest()
    assert sorted(scene.id for group in released for scene in group) == sorted(scene.id for scene in scenes)


@pytest.mark.parametrize("seed", range(20))
def test_an_overpass_is_released_whole_and_as_soon_as_the_next_one_comes(seed: int) -> None:
    year = a_year(seed)
    together = Together[Scene](descending=True)
    released: list[list[Scene]] = []
    scenes = sorted(itertools.chain.from_iterable(year), key=lambda scene: scene.datetime, reverse=True)
    for number, scene in enumerate(scenes, 1):
        released += together.add(scene)
        free = {other.id for group in released for other in group}
        held = [other for other in scenes[:number] if other.id not in free]
        assert all(other.datetime - scene.datetime <= timedelta(minutes=40) for other in held)
    assert len(released) >= len(year) - 2
    assert names(released + together.rest()) == names(year)


def test_a_search_in_another_order_releases_nothing_before_its_end() -> None:
    together = Together[Scene](descending=False)
    scenes = [seen(day * 1440, datatake=f"d{day}") for day in (1, 2, 3)]
    assert [group for scene in scenes for group in together.add(scene)] == []
    assert names(together.rest()) == [["at 4320"], ["at 2880"], ["at 1440"]]


def test_overpasses_that_follow_each_other_without_a_gap_are_released_one_by_one() -> None:
    """As those of areas all around the globe do."""
    scenes = [seen(minute, datatake=f"d{minute // 25}", name=f"{minute}") for minute in range(0, 3000, 5)]
    together = Together[Scene](descending=True)
    released: list[list[Scene]] = []
    for number, scene in enumerate(reversed(scenes), 1):
        released += together.add(scene)
        held = number - sum(map(len, released))
        assert held * 5 <= 3 * 40, "minutes"
    assert names(released + together.rest()) == names(overpasses(scenes))


def test_few_items_are_compared_where_overpasses_follow_each_other_around_the_globe(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scenes = [seen(number / 2, datatake=f"take{number // 60}", name=str(number)) for number in range(2_000)]
    compared = 0

    def counted(one: Scene, other: Scene) -> bool:
        nonlocal compared
        compared += 1
        return same_overpass(one, other)

    monkeypatch.setattr("s2async.catalog.overpasses.same_overpass", counted)
    assert [len(group) for group in overpasses(scenes)] == [20, *[60] * 33]
    assert compared < 10 * len(scenes)


def test_many_home_zones_are_those_of_each() -> None:
    chance = np.random.default_rng(1)
    corners = np.column_stack([chance.uniform(-190, 190, 400), chance.uniform(-80, 83, 400)])
    edges = np.array([[x, y] for x in (-180, -6, 0, 3, 6, 9, 12, 174, 180) for y in (55.5, 56, 60, 72, 84 - 0.1)])
    polygons = np.array([box(x, y, x + 0.1, y + 0.1) for x, y in np.concatenate([corners, edges])], object)
    assert home_zones(polygons) == [home_zone(polygon) for polygon in polygons]
    assert home_zones(polygons[:0]) == []
