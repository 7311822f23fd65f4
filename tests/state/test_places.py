from __future__ import annotations

import random
import sqlite3
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import shapely
from shapely import box

from s2async.areas.folders import FIRST, LAST
from s2async.catalog.zones import home_zone
from s2async.errors import AreaError
from s2async.models import Area
from s2async.state import places, watch
from s2async.state.packed import BLOCK
from s2async.state.serialization import place_values
from s2async.state.writer import State
from tests.support.states import VISUAL, A, B, C, add, each, judge, make_area, make_scene, start, steps_of


def test_areas_of_a_block_are_neighbours(state: State) -> None:
    """Areas of four regions come in any order; each region fits into two blocks."""
    corners = {"a": (-170, -60), "b": (170, -60), "c": (-170, 60), "d": (13, 52)}
    areas = [
        replace(
            make_area(f"{region} {number}"), wkb=box(x + number / 100, y, x + number / 100 + 0.001, y + 0.001).wkb
        )
        for region, (x, y) in corners.items()
        for number in range(BLOCK)
    ]
    random.Random(1).shuffle(areas)
    state.sync_areas(areas)
    places = "SELECT l.name, a.id FROM places l JOIN areas a ON a.id = l.area"
    blocks: dict[str, set[int]] = {}
    for name, row in state._db.execute(places):
        blocks.setdefault(name[0], set()).add(row // BLOCK)
    assert all(len(several) <= 2 for several in blocks.values()), blocks
    assert [place.name for place in state.places()] == [area.name for area in areas], "tables keep the order"


def test_few_areas_keep_their_order(state: State) -> None:
    areas = [
        replace(make_area(name), wkb=box(x, 50, x + 0.1, 50.1).wkb) for name, x in (("c", 9), ("a", 1), ("b", 5))
    ]
    state.sync_areas(areas)
    rows = state._db.execute("SELECT fingerprint FROM areas ORDER BY id").fetchall()
    assert rows == [(area.fingerprint,) for area in areas]


# ---- what is written --------------------------------------------------------------------------------------

TABLES = (
    "SELECT id, fingerprint, polygon, zone, active, seasonal FROM areas ORDER BY id",
    "SELECT id, area, name, since, until, folder, attributes FROM places ORDER BY id",
    "SELECT area, since, until, wanted, folder, name, new_folder, new_name, parked FROM shelves ORDER BY area, 2",
)


def tables(state: State) -> list[list[Any]]:
    return [state._db.execute(table).fetchall() for table in TABLES]


def many(count: int) -> list[Area]:
    corners = random.Random(2).sample(range(-1_700_000, 1_700_000), count)
    return [
        replace(
            make_area(f"area {number}"),
            wkb=box(corner / 1e4, 50, corner / 1e4 + 0.01, 50.01).wkb,
            attributes={"crop": "rye" if number % 2 else None, "code": number},
        )
        for number, corner in enumerate(corners)
    ]


def test_a_new_state_has_the_rows_of_each_area(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each area has its WKB and zone, its place, and a shelf for all time."""
    monkeypatch.setattr(places, "PAGE", 100)
    areas = many(BLOCK + 50)
    state.sync_areas(areas)
    known, written, shelves = tables(state)
    rows = {fingerprint: row for row, fingerprint, *_ in known}
    assert sorted(rows.values()) == list(range(1, len(areas) + 1))
    by_key = {area.fingerprint: area for area in areas}
    for _, key, polygon, zone, active, seasonal in known:
        assert polygon == shapely.to_wkb(by_key[key].polygon)
        assert (zone, active, seasonal) == (home_zone(by_key[key].polygon), 1, 0)
    assert written == [
        (number, rows[area.fingerprint], *place_values(area)) for number, area in enumerate(areas, 1)
    ]
    assert shelves == sorted(
        (rows[area.fingerprint], FIRST, LAST, 1, area.folder, area.name, None, None, 0) for area in areas
    )


def in_summer(area: Area) -> Area:
    return replace(area, start=date(2022, 5, 1), end=date(2022, 9, 30))


@pytest.mark.parametrize(
    "areas",
    [
        [A, B, C],
        [A, replace(A, name="twin", folder="twin"), B],
        [in_summer(A), B],
        [A, in_summer(replace(B, fingerprint=A.fingerprint))],
    ],
    ids=["plain", "twins", "a season", "twins of which one has a season"],
)
def test_a_new_state_has_the_rows_of_one_that_gets_its_areas_later(
    state: State, tmp_path: Path, areas: list[Area]
) -> None:
    """The quick way, for an empty state, writes what the general one does."""
    first = make_area("first")
    state.sync_areas(areas)
    with State.create_or_open(tmp_path / "other.sqlite") as other:
        other.sync_areas([first])
        other.sync_areas(areas)
        (row,) = other._db.execute("SELECT id FROM areas WHERE fingerprint = ?", (first.fingerprint,)).fetchone()
        assert row == 1
        own, (known, written, shelves) = tables(state), tables(other)
    assert own == [
        [(number - 1, *rest) for number, *rest in known[1:]],
        [(number, area - 1, *rest) for number, area, *rest in written],
        [(area - 1, *rest) for area, *rest in shelves if area != 1],
    ]


def changes(state: State) -> int:
    return state._db.total_changes


def test_the_places_of_the_last_run_are_not_written_again(path: Path) -> None:
    areas = many(20)
    with State.create_or_open(path) as state:
        state.sync_areas(areas)
        state.update_statuses(each(judge), VISUAL, "limits")
    with State.create_or_open(path) as state:
        before, told = changes(state), list[str]()
        state.sync_areas(areas, told.append)
        state.update_statuses(each(judge), VISUAL, "limits")
        assert (changes(state), told) == (before, [])
        state.sync_areas([*areas[1:], areas[0]], told.append)
        assert changes(state) > before, "another order is another table"
        assert told == []


def test_new_areas_are_written_once(state: State, tmp_path: Path) -> None:
    """For which selection jobs are judged is noted with the area, or when they are judged for the first time."""
    noted = "SELECT id, wanted FROM areas ORDER BY id"
    areas = many(20)
    state.sync_areas(areas, selection=VISUAL)
    before = changes(state)
    state.update_statuses(each(judge), VISUAL, "limits")
    assert changes(state) == before + 1, "that they were judged, and with which limits"
    with State.create_or_open(tmp_path / "other.sqlite") as other:
        other.sync_areas(areas)
        other.update_statuses(each(judge), VISUAL, "limits")
        assert other._db.execute(noted).fetchall() == state._db.execute(noted).fetchall()


def test_what_has_changed_is_told_once(state: State) -> None:
    told: list[str] = []
    state.sync_areas([A, B], told.append)
    assert told == [], "nothing is told of the first areas"
    state.sync_areas([A, C], told.append)
    state.sync_areas([A, C], told.append)
    assert [line.split(":")[0] for line in told] == [
        "1 area is new",
        "1 area of the last run is no longer in the configuration",
    ]
    told.clear()
    state.sync_areas([A, replace(C, attributes={"crop": "rye"})], told.append)
    assert [line.split(":")[0] for line in told] == ["the columns of 1 area have changed"]


def test_to_remove_twice_as_many_areas_takes_twice_as_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "PAGE", 30)
    steps = []
    for count in (256, 512):
        areas = many(count)
        with State.create_or_open(tmp_path / f"{count}.sqlite") as state:
            start(state, areas)
            for number in range(4):
                add(state, make_scene(f"scene{number}", minutes=1440 * number), areas)
            start(state, areas[::2])
            assert state.removed_jobs() == 2 * count
            steps.append(steps_of(state, state.forget_removed))
            assert state._db.execute("SELECT count(*) FROM jobs").fetchone() == (2 * count,)
            assert state._db.execute("SELECT count(*) FROM areas").fetchone() == (count // 2,)
    assert steps[1] < 2.5 * steps[0]


def settings(db: sqlite3.Connection) -> list[Any]:
    return [db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("foreign_keys", "cache_size")]


def test_references_are_right_and_looked_up_again_afterwards(state: State) -> None:
    before = settings(state._db)
    assert before[0] == 1
    state.sync_areas([A, B])
    state.sync_areas([replace(A, name="Nord", folder="Nord"), C])
    assert state._db.execute("PRAGMA foreign_key_check").fetchall() == []
    with pytest.raises(RuntimeError, match="moves are left"):
        state.sync_areas([A])
    state.commit_folders()
    with pytest.raises(AreaError):
        state.sync_areas([A, replace(B, name=A.name, folder=A.folder)])
    assert settings(state._db) == before


def triggers(db: sqlite3.Connection) -> set[str]:
    return {name for (name,) in db.execute("SELECT name FROM sqlite_temp_schema WHERE type = 'trigger'")}


def test_changes_are_watched_again_after_many_rows_were_written(state: State) -> None:
    """A table of crops that was written before is void when areas change, and also when they change row by row."""
    before = triggers(state._db)
    state.note_table("a")
    state.sync_areas([A, B])
    assert not state.shows("a")
    assert triggers(state._db) == before
    state.note_table("a")
    state.sync_areas([A])
    assert not state.shows("a")
    state.note_table("a")
    state._db.execute("UPDATE places SET name = 'b'")
    assert not state.shows("a")


def test_changes_are_watched_again_after_a_transaction_that_failed(state: State) -> None:
    before = triggers(state._db)
    state.note_table("a")

    def fail() -> None:
        with state._writing() as db, watch.paused(db, "areas"):
            assert triggers(db) < before
            db.execute("INSERT INTO nowhere VALUES (1)")

    with pytest.raises(sqlite3.OperationalError):
        fail()
    assert triggers(state._db) == before
    assert state.shows("a")
