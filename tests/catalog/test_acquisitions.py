"""Acquisitions and their editions: all recorded items, and made ones for what no recorded item shows."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely import GeometryCollection, MultiLineString, Polygon, box
from shapely.affinity import translate
from shapely.geometry.base import BaseGeometry

from s2async.catalog.items import to_scene
from s2async.catalog.providers import KNOWN, Catalog, custom
from s2async.catalog.reprocessing import NewestOnly, are_editions, processing_order, same_acquisition
from s2async.models import Scene
from tests.support.items import EARTH_SEARCH, a_scene, an_item

V0 = custom("https://earth-search.aws.element84.com/v0", "sentinel-s2-l2a-cogs", {"scl": "SCL"})
C1 = KNOWN["earth-search-c1"]
PLANETARY = custom("https://planetarycomputer.microsoft.com/api/stac/v1", "sentinel-2-l2a", {"scl": "SCL"})


def found(document: Any) -> Iterator[dict[str, Any]]:
    """All items anywhere in a JSON document."""
    if isinstance(document, list):
        yield from itertools.chain.from_iterable(map(found, document))
    elif isinstance(document, dict):
        if document.get("type") == "Feature" and isinstance(document.get("assets"), dict):
            yield document
        else:
            yield from found(list(document.values()))


def catalog_of(item: dict[str, Any]) -> Catalog:
    if "cogs" in item.get("collection", ""):
        return V0
    return PLANETARY if "msft:" in json.dumps(item) or "Sentinel-2" in item["properties"]["platform"] else C1


@pytest.fixture(scope="module")
def optical(real_data: Path) -> list[Scene]:
    """Every recorded L2A item once."""
    items = {
        (item.get("collection"), item["id"]): item
        for path in sorted(real_data.rglob("*.json"))
        for item in found(json.loads(path.read_text()))
        if item.get("properties", {}).get("platform", "").lower().startswith("sentinel-2")
        and item.get("collection") != "sentinel-2-l1c"
        and item.get("geometry")
    }
    return [to_scene(item, catalog_of(item)) for item in items.values()]


# ---- recorded items ---------------------------------------------------------------------------------------


def test_keys_of_all_recorded_items(optical: list[Scene]) -> None:
    assert len(optical) > 90
    without = [scene.id for scene in optical if not scene.acquisition]
    assert without == ["S2A_T19TDJ_20260823T153829_L2A"], "an excerpt that leaves its datatake out"
    for scene in optical:
        if scene.acquisition:
            platform, start, grid = scene.acquisition.split("_")
            assert platform == scene.platform.upper().replace("ENTINEL-", "")
            assert grid == scene.grid
            since = scene.datetime - datetime.strptime(f"{start}+0000", "%Y%m%dT%H%M%S%z")
            assert timedelta(0) <= since < timedelta(minutes=40), scene.id


def test_one_acquisition_has_one_key_in_all_catalogues(optical: list[Scene]) -> None:
    by_key: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
    for scene in optical:
        by_key[scene.acquisition].add((scene.collection, scene.id))
    assert by_key["S2B_20250731T131909_20EPT"] == {
        ("sentinel-s2-l2a-cogs", "S2B_20EPT_20250731_0_L2A"),
        ("sentinel-2-l2a", "S2B_20EPT_20250731_0_L2A"),
        ("sentinel-2-c1-l2a", "S2B_T20EPT_20250731T131905_L2A"),
    }
    assert by_key["S2A_20200714T115221_28QCH"] == {
        ("sentinel-s2-l2a-cogs", "S2A_28QCH_20200714_0_L2A"),
        ("sentinel-2-l2a", "S2A_28QCH_20200714_0_L2A"),
    }
    assert by_key["S2A_20200305T103021_32TMT"] == {
        ("sentinel-2-l2a", "S2A_32TMT_20200305_0_L2A"),
        ("sentinel-2-l2a", "S2A_32TMT_20200305_1_L2A"),
    }
    assert by_key["S2A_20220808T104631_31TCJ"] == {
        ("sentinel-2-l2a", "S2A_31TCJ_20220808_0_L2A"),
        ("sentinel-2-l2a", "S2A_31TCJ_20220808_1_L2A"),
    }
    assert by_key["S2B_20240825T173909_13TDE"] == {
        ("sentinel-2-l2a", "S2B_MSIL2A_20240825T173909_R098_T13TDE_20240825T215747")
    }, "the Planetary Computer"


def test_recorded_editions_overlap_whole_and_halves_do_not(optical: list[Scene]) -> None:
    pairs = [pair for pair in itertools.combinations(optical, 2) if same_acquisition(*pair)]
    halves = {scene.id for pair in pairs if not are_editions(*pair) for scene in pair}
    assert halves == {f"S2A_31TCJ_202208{day}_{part}_L2A" for day in ("08", "28") for part in (0, 1)}
    assert len(pairs) > 15


def test_of_one_product_in_several_catalogues_the_order_is_total(optical: list[Scene]) -> None:
    same = [scene for scene in optical if scene.acquisition == "S2B_20250731T131909_20EPT"]
    best, *others = sorted(same, key=lambda scene: processing_order(scene, ()), reverse=True)
    assert best.collection == "sentinel-2-c1-l2a"
    keys = [processing_order(scene, ())[1:3] for scene in same]
    assert keys == [keys[0]] * 3, "equal baseline and time of processing, also where only a name says it"
    assert [scene.collection for scene in others] == ["sentinel-s2-l2a-cogs", "sentinel-2-l2a"]


# ---- made by their facts ----------------------------------------------------------------------------------


def edition(name: str, **properties: Any) -> Scene:
    """An item of Earth Search with other properties."""
    return to_scene(an_item(id=name, properties=properties), EARTH_SEARCH)


def of_2017(name: str, at: str, baseline: str, made: str) -> Scene:
    """One of the two items of 33TWM, 2017-12-19: by their facts (datatake, baselines, times), not recorded."""
    return edition(
        name,
        **{
            "datetime": at,
            "grid:code": "MGRS-33TWM",
            "s2:datatake_id": f"GS2B_20171219T095409_004109_N{baseline}",
            "s2:processing_baseline": baseline,
            "s2:generation_time": made,
            "s2:product_uri": None,
            "s2:datastrip_id": None,
        },
    )


OLD = of_2017("S2B_33TWM_20171219_0_L2A", "2017-12-19T09:54:10.458Z", "02.06", "2017-12-19T12:00:00Z")
NEW = of_2017("S2B_33TWM_20171219_1_L2A", "2017-12-19T09:57:39.058Z", "05.00", "2023-11-01T12:00:00Z")


def test_editions_that_lie_minutes_apart() -> None:
    assert (NEW.datetime - OLD.datetime).total_seconds() == pytest.approx(208.6)
    assert OLD.acquisition == NEW.acquisition == "S2B_20171219T095409_33TWM"
    assert are_editions(OLD, NEW)
    assert processing_order(NEW) > processing_order(OLD)
    held = NewestOnly(descending=True)
    later = a_scene(id="later", datatake="", datetime=NEW.datetime - timedelta(days=2))
    assert [scene.id for one in (NEW, OLD, later) for scene in held.add(one)] == [NEW.id]


def test_a_square_at_midnight_is_one_acquisition() -> None:
    """Orbits 030, 073 and 116 pass midnight (UTC): the datatake starts on the day before."""
    start = "GS2B_20220608T235959_001234_N0"
    before, after = (
        edition(
            name,
            **{
                "datetime": at,
                "s2:datatake_id": f"{start}{level}",
                "s2:product_uri": None,
                "s2:processing_baseline": f"0{level}",
            },
        )
        for name, at, level in (
            ("S2B_33UUU_20220608_0_L2A", "2022-06-08T23:59:59.024Z", "4.00"),
            ("S2B_33UUU_20220609_0_L2A", "2022-06-09T00:02:10.000Z", "5.10"),
        )
    )
    assert before.acquisition == after.acquisition == "S2B_20220608T235959_33UUU"
    assert are_editions(before, after)


def test_two_orbits_minutes_apart_are_two_acquisitions() -> None:
    """At high latitudes, satellites pass within minutes of each other, and one of them every 100 minutes."""
    first = a_scene(datatake="S2A_20220609T100559", platform="sentinel-2a")
    others = [
        a_scene(id="b", datatake="S2B_20220609T100759", datetime=first.datetime + timedelta(minutes=2)),
        a_scene(id="c", datatake="S2B_20220609T100600"),
        a_scene(id="d", datatake="S2A_20220609T114639", datetime=first.datetime + timedelta(minutes=100.6)),
    ]
    assert not any(same_acquisition(a, b) for a, b in itertools.combinations([first, *others], 2))
    held = NewestOnly(descending=False)
    assert not any(held.add(scene) for scene in (first, *others))
    assert held.rest() == [first, *others]


@pytest.mark.parametrize(("minutes", "expected"), [(40, True), (-40, True), (40.1, False)])
def test_no_datatake_lasts_longer_than_forty_minutes(minutes: float, expected: bool) -> None:
    """A catalogue may write one id on everything."""
    a = a_scene()
    b = a_scene(id="b", datetime=a.datetime + timedelta(minutes=minutes))
    assert same_acquisition(a, b) is same_acquisition(b, a) is expected
    held = NewestOnly(descending=False)
    assert [held.add(a), held.add(b)] == [[], []]
    assert held.rest() == ([b] if expected else [a, b])


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (box(12, 52, 14, 53), True),
        (box(12, 52, 13.01, 53), True),
        (box(13, 52, 15, 53), True),
        (box(13.01, 52, 15.01, 53), False),
        (box(13.9, 52, 14.1, 53), True),
        (box(13.91, 52, 14.11, 53), False),
        (box(14, 52, 15, 53), False),
        (translate(box(12, 52, 14, 53), 360), True),
        (translate(box(13, 52, 15, 53), -360), True),
        (GeometryCollection([box(12, 52, 14, 53), MultiLineString([[(0, 0), (20, 60)]])]), True),
        (Polygon([(12, 52), (14, 52), (13, 52), (12, 52)]), True),
        (Polygon([(15, 52), (16, 52), (17, 52), (15, 52)]), False),
    ],
)
def test_footprints_of_editions_overlap_by_half_of_the_smaller(other: BaseGeometry, expected: bool) -> None:
    a, b = a_scene(footprint=box(12, 52, 14, 53)), a_scene(id="b", datastrip="S2", footprint=other)
    assert are_editions(a, b) is are_editions(b, a) is expected


def test_without_a_footprint_datastrips_decide() -> None:
    a = a_scene(footprint=None)
    assert are_editions(a, a_scene(id="b"))
    assert are_editions(a, a_scene(id="b", datastrip=""))
    assert not are_editions(a_scene(), a_scene(id="b", datastrip="S2", footprint=None))
    assert are_editions(a, a_scene(id="b", footprint=None))
    assert not are_editions(replace(a, datastrip=""), a_scene(id="b", datastrip="", footprint=None)), (
        "perhaps halves"
    )


def test_what_better_editions_leave_uncovered_still_counts() -> None:
    whole = a_scene(id="whole", baseline="02.14", footprint=box(12, 52, 14, 53))
    west = a_scene(id="west", baseline="05.00", datastrip="S1", footprint=box(12, 52, 13.001, 53))
    east = a_scene(id="east", baseline="05.00", datastrip="S2", footprint=box(13, 52, 14, 53))

    def left(*scenes: Scene) -> list[str]:
        held = NewestOnly(descending=False)
        for scene in scenes:
            held.add(scene)
        return [scene.id for scene in held.rest()]

    assert left(whole, west) == ["whole", "west"]
    assert left(whole, west, east) == ["west", "east"]
    sliver = a_scene(id="sliver", baseline="05.00", footprint=box(12, 52, 13.99, 53))
    assert left(whole, sliver) == ["sliver"], "footprints of editions differ a little"


MADE = [
    OLD,
    NEW,
    a_scene(id="whole", baseline="02.14", footprint=box(12, 52, 14, 53)),
    a_scene(id="west", baseline="05.00", footprint=box(12, 52, 13, 53)),
    a_scene(id="east", baseline="05.00", datastrip="S2", footprint=box(13, 52, 14, 53)),
    a_scene(id="whole", collection="sentinel-2-c1-l2a", baseline="02.14", footprint=box(12, 52, 14, 53)),
    a_scene(id="unreadable", baseline="05.11", assets={}),
    a_scene(id="nameless", baseline="05.10", datatake="", footprint=None),
]


@given(st.permutations(MADE))
def test_the_order_of_arrival_does_not_matter(scenes: list[Scene]) -> None:
    held = NewestOnly(descending=False)
    for scene in scenes:
        assert held.add(scene) == []
    assert {scene.id for scene in held.rest()} == {NEW.id, "east", "nameless"}
