"""Overpasses whose choice may be another: leaving out all others changes nothing."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest

from s2async.catalog.overpasses import same_overpass
from s2async.causes import Cause, Lack
from s2async.clouds.overpass import Rules
from s2async.clouds.scl import SclRule
from s2async.models import BatchResult, CloudMeasure, Job, Outcome, Scene, Selection, Status
from s2async.state import database, doubts, item_groups
from s2async.state.item_groups import Item
from s2async.state.writer import State
from s2async.zonal.wanted import AreaValues, Variable, Wanted
from tests.support.lanes import few_quick
from tests.support.states import (
    VISUAL,
    add,
    failed,
    make_area,
    make_product,
    make_scene,
    missing,
    new_state,
    start,
)

RULE = SclRule.from_percent(classes=[9], max_cloud=2, min_valid=95)
ONE = replace(VISUAL, one_per_overpass=True)
RED = Variable(name="red", formula="red", bands=("red",))
NO_RED = Lack(asset="red", cause=Cause.NOT_THERE, text="not there")
WANTED = Wanted(variables=(RED,), statistics=("mean",), classes=(9,))
VALUED = replace(ONE, values=WANTED)
VALUES_RULE = SclRule.from_percent(classes=[9], max_cloud=10, min_valid=95)
AREAS = [make_area(f"a{number}") for number in range(300)]
"""More than a block of the state."""


def scenes() -> list[Scene]:
    """Overpasses of one item, of two zones, of three items, with an edition of one, and one that is a chain."""
    found = []
    for number, names in enumerate((("home",), ("home", "far"), ("home", "far", "near"), ("old", "new", "far"))):
        for minutes, name in enumerate(names):
            datatake = f"S2A_2022011{number}T095000"
            scene = make_scene(f"{name}{number}", minutes=number * 1440 + minutes / 10, datatake=datatake)
            if name in ("far", "near"):
                scene = replace(scene, grid="32UQD" if name == "far" else "33UVU", epsg=32632)
            found.append(replace(scene, baseline="05.09") if name == "new" else scene)
    for minutes, name in enumerate(("first", "middle", "last")):
        scene = make_scene(name, minutes=9 * 1440 + 30 * minutes)
        found.append(replace(scene, grid=f"33UV{'UVW'[minutes]}", datatake=""))
    return found


def measure(chance: random.Random) -> CloudMeasure:
    nodata, cloudy = chance.choice((0, 0, 5, 200)), chance.choice((0, 0, 4, 5, 20, 30))
    return CloudMeasure(histogram=(nodata, 0, 0, 0, 250 - nodata - cloudy, *[0] * 4, cloudy, 0, 0, 0), total=250)


def values(chance: random.Random) -> tuple[AreaValues, ...]:
    """The mean of the band, or nothing."""
    key = WANTED.key(RED)
    counts = (250.0, 250.0, 240.0, 240.0, 0.0)
    found = AreaValues.of(key=key, counts=counts, offsets=(0,), statistics=(0.1,))
    return (found,) if chance.random() < 0.7 else ()


def outcome(job: Job, chance: random.Random, selection: Selection) -> Outcome | None:
    """A random answer, which mostly is one that a run may give."""
    measured = measure(chance)
    verdict = RULE.verdict(measured)
    match chance.randrange(12):
        case 0:
            return failed(job, transient=chance.random() < 0.5, measure=chance.choice((None, measured)))
        case 1:
            return missing(job, measure=chance.choice((None, measured)))
        case 2:
            return None
        case 3:
            return Outcome(job=job, status=Status.OUTSIDE)
        case 4:
            return Outcome(job=job, status=Status.NODATA)
    crop = (make_product(job),) if verdict is None else ()
    results = values(chance) if selection.values and VALUES_RULE.verdict(measured) is None else ()
    lacks = (NO_RED,) if selection.values and not results and chance.random() < 0.5 else ()
    if chance.random() < 0.4:
        return Outcome(
            job=job,
            status=Status.DUPLICATE,
            measure=measured,
            products=crop if chance.random() < 0.7 else (),
            results=results,
            lacks=lacks,
        )
    status = verdict or Status.SAVED
    return Outcome(job=job, status=status, measure=measured, products=crop, results=results, lacks=lacks)


def fill(path: Path, chance: random.Random, selection: Selection) -> None:
    """A state as one that runs have left which were killed, or had other settings."""
    with new_state(path) as state:
        start(state, AREAS, selection)
        for scene in scenes():
            jobs = add(state, scene, [area for area in AREAS if chance.random() < 0.9], selection)
            outcomes = tuple(one for job in jobs if (one := outcome(job, chance, selection)))
            done = {one.job.id for one in outcomes}
            undecided = [job for job in jobs if job.id not in done and chance.random() < 0.5]
            state.record(
                BatchResult(
                    outcomes=outcomes, undecided=tuple(replace(job, measure=measure(chance)) for job in undecided)
                ),
                [],
            )


def choose(path: Path, selection: Selection) -> dict[int, str]:
    """The statuses of all jobs after the choice."""
    with State.create_or_open(path) as state:
        state.sync_areas(AREAS)
        state.choose_for_all(RULE, selection, VALUES_RULE if selection.values else None)
    with closing(sqlite3.connect(path)) as db:
        return dict(db.execute("SELECT id, status FROM jobs"))


@pytest.mark.parametrize(
    ("seed", "selection"),
    [
        *few_quick((seed, ONE) for seed in range(3)),
        *few_quick((seed, VALUED) for seed in range(4)),
    ],
)
def test_what_is_not_in_doubt_would_stay_as_it_is(
    tmp_path: Path, seed: int, selection: Selection, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other = tmp_path / "state.sqlite", tmp_path / "other.sqlite"
    fill(path, random.Random(seed), selection)
    shutil.copy(path, other)
    found = choose(path, selection)

    plain = doubts._overpasses

    def all_in_doubt(db: database.Connection) -> Iterator[tuple[list[Item], bool]]:
        for items, _ in plain(db):
            yield items, False

    monkeypatch.setattr(doubts, "_overpasses", all_in_doubt)
    assert choose(other, selection) == found


def test_nothing_is_in_doubt_once_all_is_decided(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    with new_state(path) as state:
        start(state, AREAS, ONE)
        for number, minutes in enumerate((0, 0.1, 1440, 1440.1, 2880)):
            scene = make_scene(
                f"scene{number}", minutes=minutes, datatake=f"S2A_2022010{minutes // 1440:.0f}T095000"
            )
            jobs = add(state, replace(scene, grid=f"33UV{'UV'[number % 2]}"), AREAS, ONE)
            chance = random.Random(number)
            answers = [(job, measure(chance)) for job in jobs]
            state.record(
                BatchResult(
                    outcomes=tuple(
                        Outcome(
                            job=job,
                            status=RULE.verdict(one) or Status.SAVED,
                            measure=one,
                            products=(make_product(job),),
                        )
                        for job, one in answers
                    )
                ),
                [],
            )
        with closing(sqlite3.connect(path)) as db:
            assert sum(len(doubt.areas) for doubt in doubts.doubts(db, Rules(rule=RULE, selection=ONE))) > 300
        assert state.choose_for_all(RULE, ONE) > 0
    with closing(sqlite3.connect(path)) as db:
        assert list(doubts.doubts(db, Rules(rule=RULE, selection=ONE))) == []
        duplicates = "SELECT id FROM jobs WHERE status = 'duplicate'"
        assert db.execute(f"DELETE FROM products WHERE job IN ({duplicates})").rowcount > 300
        assert list(doubts.doubts(db, Rules(rule=RULE, selection=ONE))) == []  # most have none from the beginning
        db.execute("DELETE FROM products WHERE job = (SELECT min(id) FROM jobs WHERE status = 'saved')")
        assert sum(len(doubt.areas) for doubt in doubts.doubts(db, Rules(rule=RULE, selection=ONE))) == 1


@pytest.mark.parametrize("rows", [1, 7])
def test_rows_are_looked_at_some_at_a_time(tmp_path: Path, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.sqlite"
    fill(path, random.Random(5), ONE)
    with closing(sqlite3.connect(path)) as db:
        found = list(doubts.doubts(db, Rules(rule=RULE, selection=ONE)))
        monkeypatch.setattr(doubts, "PAGE", rows)
        assert list(doubts.doubts(db, Rules(rule=RULE, selection=ONE))) == found != []


# ---- overpasses -------------------------------------------------------------------------------------------


def fill_items(db: sqlite3.Connection, items: Iterable[tuple[float, str, str]]) -> None:
    """Add items by their minute, datatake and platform."""
    columns = "collection, item, edition, version, updated, sensed, datatake, platform, grid, baseline, generated"
    rows = [
        ("c", str(number), 1, "", "", round(minute * 60_000_000), datatake, platform, *[""] * 5, "{}", "{}")
        for number, (minute, datatake, platform) in enumerate(items)
    ]
    db.executemany(
        f"INSERT INTO items ({columns}, datastrip, base, assets, absent) VALUES ({', '.join('?' * 15)})", rows
    )


def overpasses_of(path: Path) -> list[tuple[list[Item], bool]]:
    with closing(sqlite3.connect(path)) as db:
        return list(doubts._overpasses(db))


@pytest.mark.parametrize("seed", range(8))
def test_overpasses_are_what_items_are_joined_to_one_by_one(tmp_path: Path, seed: int) -> None:
    """Items of some satellites, many of which do not name their datatake, over ten hours."""
    chance, path = random.Random(seed), tmp_path / "state.sqlite"
    with State.create_or_open(path) as state:
        items = []
        for _ in range(60):
            minute, platform = chance.uniform(0, 600), chance.choice(("a", "b", ""))
            named = f"{platform}{minute // chance.choice((50, 100)):.0f}" if chance.random() < 0.6 else ""
            items.append((minute, named, platform))
        fill_items(state._db, items)
    found = overpasses_of(path)
    left = sorted((item for items, _ in found for item in items), key=lambda item: item.id)
    assert len(left) == 60
    expected = []
    while left:
        part, edge = [], [left.pop()]
        while edge:
            part.append(one := edge.pop())
            edge += [other for other in left if same_overpass(one, other)]
            left = [other for other in left if other not in edge]
        whole = all(same_overpass(one, other) for one, other in combinations(part, 2))
        expected.append((sorted(item.id for item in part), whole))
    assert sorted((sorted(item.id for item in items), plain) for items, plain in found) == sorted(expected)
    assert {plain for _, plain in found} == {True, False}


def test_where_one_overpass_follows_the_other_around_the_globe_few_items_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, compared = tmp_path / "state.sqlite", list[None]()
    with State.create_or_open(path) as state:
        minutes = [number / 2 for number in range(2_000)]
        fill_items(state._db, ((minute, f"take{minute // 30:.0f}", "sentinel-2a") for minute in minutes))

    def counted(one: Item, other: Item) -> bool:
        compared.append(None)
        return same_overpass(one, other)

    monkeypatch.setattr(item_groups, "same_overpass", counted)
    assert [len(items) for items, _ in overpasses_of(path)] == [60] * 33 + [20]
    assert len(compared) < 10 * 2_000
