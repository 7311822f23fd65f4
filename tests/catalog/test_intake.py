"""Items in, scenes out: what a search says whose items cannot be used, or are not those that were asked for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from s2async.catalog.intake import Intake, identity
from s2async.catalog.providers import KNOWN
from s2async.errors import BadAnswer
from s2async.models import Scene
from tests.support.items import an_item

CATALOG = KNOWN["earth-search"]
BAD: dict[str, dict[str, Any]] = {
    "an id that is a path": {"id": "../x"},
    "an id that is a number": {"id": 7},
    "no id": {"id": None},
    "no properties": {"properties": None},
    "no datetime": {"properties": {"datetime": None}},
    "a datetime that is none": {"properties": {"datetime": "yesterday"}},
    "no place": {"geometry": None, "bbox": None},
}


def taken(*found: Any) -> tuple[Intake, list[Scene]]:
    """An intake of 2022 that took these items, and the scenes that it gave."""
    year = datetime(2022, 1, 1, tzinfo=UTC), datetime(2023, 1, 1, tzinfo=UTC)
    intake = Intake(CATALOG, *year, max_scene_cloud=80, newest_only=False)
    scenes = [scene for item in found for scene in intake.add(identity(item, CATALOG), item)]
    return intake, [*scenes, *intake.rest()]


def good(count: int) -> list[dict[str, Any]]:
    return [an_item(id=f"good{n}") for n in range(count)]


def bad(count: int, **changes: Any) -> list[dict[str, Any]]:
    return [an_item(**({"id": f"bad{n}"} | (changes or {"properties": {"datetime": None}}))) for n in range(count)]


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("count", [1, 3])
def test_items_of_which_none_can_be_used_are_a_fault(kind: str, count: int) -> None:
    changes = BAD[kind]
    if "id" in changes:  # each another one
        found = [an_item(id=f"../{n}" if isinstance(changes["id"], str) else n) for n in range(count)]
    else:
        found = bad(count, **changes)
    intake, scenes = taken(*found)
    assert scenes == []
    assert intake.fault().startswith(f"none of its {count} items can be used; the first that cannot: ")
    assert "\n" not in intake.fault()
    assert intake.notices() == [], "the fault says it"


def test_what_is_no_object_at_all_is_a_fault() -> None:
    assert "an item that is not an object" in taken(None, 5, "x", [])[0].fault()


@pytest.mark.parametrize(
    ("unusable", "usable", "hopeless"),
    [(8, 0, True), (19, 1, True), (18, 1, False), (95, 5, True), (94, 6, False), (7, 1, False), (1, 1, False),
     (0, 3, False), (0, 0, False)],
)  # fmt: skip
def test_almost_all_that_cannot_be_used_is_a_fault_too(unusable: int, usable: int, hopeless: bool) -> None:
    intake, scenes = taken(*good(usable), *bad(unusable))
    assert len(scenes) == usable, "the others are handed out all the same"
    assert bool(intake.fault()) is hopeless
    skipped = [text for text in intake.notices() if "unusable items, skipped, such as item bad0: " in text]
    assert bool(skipped) is (unusable > 0 and not hopeless)
    if hopeless and usable:
        count = unusable + usable
        assert intake.fault().startswith(f"only {usable} of its {count} items can be used; ")


def test_items_of_other_collections_only_are_a_fault() -> None:
    intake, scenes = taken(*(an_item(id=f"l{n}", collection="landsat-c2-l2") for n in range(3)))
    assert scenes == []
    assert intake.fault() == (
        "all its items are of other collections, such as 'landsat-c2-l2', not of sentinel-2-l2a; is that the "
        "collection's name?"
    )
    assert intake.notices() == []
    beside, scenes = taken(an_item(id="l", collection="landsat-c2-l2"), *good(1))
    assert (len(scenes), beside.fault()) == (1, "")
    assert beside.notices() == ["1 items of other collections, ignored"]


@pytest.mark.parametrize("collection", ["Sentinel-2-L2A", "", "a\nb" * 500, 7, ["sentinel-2-l2a"], {"a": "b"}])
def test_a_collection_that_is_another_by_a_hair_or_none_at_all(collection: Any) -> None:
    intake, _ = taken(an_item(collection=collection))
    assert intake.fault().startswith("all its items are of other collections, such as ")
    assert "\n" not in intake.fault()
    assert len(intake.fault()) < 250


def test_one_unusable_item_of_ours_beside_others_is_still_a_fault() -> None:
    intake, _ = taken(*(an_item(id=f"l{n}", collection="landsat") for n in range(9)), *bad(1))
    assert intake.fault().startswith("none of its 1 items can be used")
    assert intake.notices() == ["9 items of other collections, ignored"]


def test_items_of_other_times_only_are_told() -> None:
    """A server that knows no datetime gives all it has for each span."""
    old = an_item(id="old", properties={"datetime": "2019-01-01T00:00:00Z"})
    border = an_item(id="border", properties={"datetime": "2023-01-01T00:00:00Z"})
    intake, scenes = taken(old, border)
    assert (scenes, intake.fault()) == ([], "")
    assert intake.notices() == ["2 items, all of other times, ignored"]
    assert taken(old, *good(1))[0].notices() == []


def test_the_whole_of_an_item_tells_it_from_others_where_the_id_does_not() -> None:
    a, b = {"id": 1, "x": 1}, {"x": 1, "id": 1}
    assert identity(a, CATALOG) == identity(b, CATALOG) != identity({"id": 1, "x": 2}, CATALOG)
    deep: Any = []
    for _ in range(200):
        deep = {"in": deep}
    with pytest.raises(BadAnswer, match="nested too deeply"):
        identity(deep, CATALOG)
    assert identity({"id": "a", "deep": deep}, CATALOG) == "sentinel-2-l2a/a"
