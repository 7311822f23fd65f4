"""The newest or the oldest scenes first: searches by quarter, scenes by time, in a first run and in the next."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from shapely import box

from s2async.catalog.overpasses import Together
from s2async.catalog.search import Search
from s2async.engine.ordering import Arranged, rounds
from s2async.events import JobDone
from s2async.models import Order, Scene
from tests.support import worlds
from tests.support.states import make_scene
from tests.support.worlds import Ran, Stage


def search(label: str, year: int, month: int, day: int = 1) -> Search:
    start = datetime(year, month, day, tzinfo=UTC)
    return Search(label=label, key=label, geometry=box(0, 0, 1, 1), start=start, end=start + timedelta(days=20))


PLAN = [
    search("a1", 2022, 1),
    search("a2", 2022, 4),
    search("a3", 2023, 1),
    search("b1", 2022, 2, 14),
    search("b2", 2022, 4),
]


def labels(order: Order | None) -> list[list[str]]:
    return [[one.label for one in together] for together in rounds(PLAN, order)]


def test_searches_of_a_quarter_are_a_round() -> None:
    assert labels("oldest") == [["a1", "b1"], ["a2", "b2"], ["a3"]]
    assert labels("newest") == [["a3"], ["a2", "b2"], ["a1", "b1"]]
    assert labels(None) == [["a1", "a2", "a3", "b1", "b2"]], "no search waits for another one"


DAYS = [make_scene(f"day {day}", minutes=1440 * day) for day in range(6)]
PAIRS = [make_scene(f"pass {day}{part}", minutes=1440 * day + part) for day in range(4) for part in range(2)]


def arranged(
    scenes: Sequence[Scene], order: Order | None, *, descending: bool = False, by_overpass: bool = False
) -> tuple[list[list[str]], int]:
    """What comes out, and how much of it before the end."""
    them = Arranged(order, descending=descending, by_overpass=by_overpass)
    found = [passed for scene in scenes for passed in them.add(scene)]
    early = len(found)
    return [[scene.id for scene in passed] for passed in found + them.rest()], early


def test_scenes_of_any_order_come_in_the_wanted_one() -> None:
    mixed = random.Random(3).sample(DAYS, len(DAYS))
    names = [[f"day {day}"] for day in range(6)]
    assert arranged(mixed, "oldest") == (names, 0)
    assert arranged(mixed, "newest") == (names[::-1], 0)
    assert arranged(mixed, None) == ([[scene.id] for scene in mixed], 6)


def test_scenes_that_come_in_the_wanted_order_do_not_wait() -> None:
    assert arranged(DAYS[::-1], "newest", descending=True) == ([[f"day {day}"] for day in range(5, -1, -1)], 6)
    assert arranged(DAYS[::-1], "oldest", descending=True) == ([[f"day {day}"] for day in range(6)], 0)


def test_scenes_of_an_overpass_stay_together() -> None:
    days = [{f"pass {day}0", f"pass {day}1"} for day in range(4)]
    mixed = random.Random(3).sample(PAIRS, len(PAIRS))
    for order, expected in (("oldest", days), ("newest", days[::-1]), (None, days[::-1])):
        found, early = arranged(mixed, order, by_overpass=True)  # type: ignore[arg-type]  # a literal
        assert ([set(one) for one in found], early) == (expected, 0)
    found, early = arranged(PAIRS[::-1], "newest", descending=True, by_overpass=True)
    assert ([set(one) for one in found], early) == (days[::-1], 3)


def test_overpasses_of_items_that_ascend_are_released_as_they_are_complete() -> None:
    together = Together[Scene](ascending=True)
    released = [[one.id for one in found] for scene in PAIRS for found in together.add(scene)]
    assert [sorted(one) for one in released] == [[f"pass {day}0", f"pass {day}1"] for day in range(3)]
    assert [sorted(one.id for one in found) for found in together.rest()] == [["pass 30", "pass 31"]]
    broken = Together[Scene](ascending=True)
    assert not [found for scene in (PAIRS[2], PAIRS[0], PAIRS[6]) for found in broken.add(scene)], (
        "they do not ascend"
    )


# ---- runs -------------------------------------------------------------------------------------------------

DATES = 12


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Any:
    yield from worlds.staged(
        tmp_path_factory.mktemp("world"), [worlds.day(12 * number + 1) for number in range(DATES)]
    )


def days(ran: Ran) -> list[datetime]:
    return [event.outcome.job.scene.datetime for event in ran.events if isinstance(event, JobDone)]


@pytest.mark.slow
@pytest.mark.parametrize("overlaps", ["all", "one"])
@pytest.mark.parametrize("order", ["newest", "oldest"])
def test_a_run_and_the_next_one_keep_the_order(tmp_path: Path, stage: Stage, order: str, overlaps: str) -> None:
    """With one batch at a time, the order of answers is that of the queue."""
    how: dict[str, Any] = {
        "areas": {"North": worlds.polygon("North")},
        "search": {"order": order, "overlaps": overlaps, "datetime": "2022-01-01/2022-12-31"},
        "network": {"connections": 1},
    }
    path = worlds.write_config(tmp_path, stage.sandbox, **how, output={"assets": []})
    measured = days(worlds.run(path, stage.sandbox, limit=5)) + days(worlds.run(path, stage.sandbox))
    worlds.write_config(tmp_path, stage.sandbox, **how)
    cut = days(worlds.run(path, stage.sandbox))  # these jobs are open from the start
    for told in (measured, cut):
        assert len(told) == DATES
        expected = sorted(told, reverse=order == "newest")
        moved = [abs(told.index(day) - place) for place, day in enumerate(expected)]
        assert max(moved) <= 1, "a batch may overtake one"
