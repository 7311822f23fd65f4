"""Editions of an acquisition in the state: whatever order they come in, the same ones count."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from shapely import box

from s2async.models import Scene
from s2async.state import schema
from s2async.state.writer import State
from tests.support.examples import examples
from tests.support.states import (
    CLEAR,
    VISUAL,
    A,
    B,
    add,
    make_scene,
    missing,
    new_state,
    open_jobs,
    record,
    saved,
    start,
)

TAKE = "S2B_20171219T095409"
OLD = make_scene("S2B_33UUU_20171219_0_L2A", baseline="02.06", datatake=TAKE)
NEW = make_scene("S2B_33UUU_20171219_1_L2A", baseline="05.00", datatake=TAKE, minutes=208.6 / 60)
WEST = replace(
    make_scene("west", baseline="05.10", datatake=TAKE, datastrip="S1"), footprint=box(12, 51, 13.1, 53)
)
EAST = replace(make_scene("east", baseline="05.10", datatake=TAKE, datastrip="S2"), footprint=box(13, 51, 14, 53))
OTHER = replace(NEW, id="other", datatake="S2A_20171219T095609")
C1 = replace(NEW, id="S2B_T33UUU_20171219T095408_L2A", collection="sentinel-2-c1-l2a", baseline="05.11")
NAMELESS = replace(OLD, id="nameless", datatake="", baseline="03.00", footprint=None)


def counting(state: State) -> set[tuple[str, str]]:
    """Area and item of the crops that count."""
    return {(row.area, row.item) for row in state.saved_rows(VISUAL)}


def test_editions_minutes_apart_in_two_runs(state: State) -> None:
    start(state, [A])
    record(state, *map(saved, add(state, OLD, [A])))
    start(state, [A])
    record(state, *map(saved, add(state, NEW, [A])))
    assert counting(state) == {("a", NEW.id)}
    assert add(state, OLD, [A]) == []


def test_another_collection_has_editions_of_it_too(state: State) -> None:
    start(state, [A, B])
    record(state, *map(saved, add(state, C1, [A])))
    assert [job.area.name for job in add(state, NEW, [A, B])] == ["b"]


def test_halves_count_beside_each_other_and_replace_the_whole_together(state: State) -> None:
    start(state, [A, B])
    record(state, *map(saved, add(state, OLD, [A, B])))
    record(state, *map(saved, add(state, WEST, [A])))
    assert counting(state) == {("a", WEST.id), ("b", OLD.id)}
    record(state, *map(saved, add(state, EAST, [A, B])))
    assert counting(state) == {("a", WEST.id), ("a", EAST.id), ("b", EAST.id)}


SCENES: Mapping[str, tuple[Scene, list[str]]] = {
    scene.id: (scene, areas)
    for scene, areas in (
        (OLD, ["a", "b"]),
        (NEW, ["a", "b"]),
        (WEST, ["a"]),
        (EAST, ["b"]),
        (OTHER, ["a", "b"]),
        (C1, ["b"]),
        (NAMELESS, ["a"]),
    )
}


@given(st.permutations(list(SCENES)), st.sets(st.sampled_from(list(SCENES))))
@examples(30)
def test_the_order_of_arrival_does_not_matter(order: list[str], lacking: set[str]) -> None:
    """Each item comes in a run of its own, and the files of some are missing."""
    areas = {"a": A, "b": B}
    with tempfile.TemporaryDirectory() as folder, new_state(Path(folder, "state.sqlite")) as state:
        for name in order:
            scene, where = SCENES[name]
            start(state, [A, B])
            for job in (*open_jobs(state), *add(state, scene, [areas[area] for area in where])):
                record(state, missing(job, measure=CLEAR) if name in lacking else saved(job))
        links = set(
            state._db.execute(
                "SELECT i.item, n.item FROM superseded s "
                "JOIN items i ON i.id = s.item JOIN items n ON n.id = s.newer"
            ).fetchall()
        )
        found = counting(state)
    better = {
        OLD.id: {NEW.id, WEST.id, EAST.id, C1.id, NAMELESS.id},
        NEW.id: {WEST.id, EAST.id, C1.id},
        WEST.id: {C1.id},
        EAST.id: {C1.id},
        C1.id: set[str](),
        NAMELESS.id: {WEST.id, EAST.id},  # of the same second, without a datastrip
        OTHER.id: set[str](),
    }
    assert links == {(older, newer) for older, several in better.items() for newer in several}
    pictures = {name: set(where) for name, (_, where) in SCENES.items() if name not in lacking}
    assert found == {
        (area, name)
        for name, where in pictures.items()
        for area in where
        if not any(area in pictures.get(newer, ()) for newer in better[name])
    }


def test_what_older_versions_knew_is_kept_and_completed(path: Path) -> None:
    """Links as they were, and datatakes and baselines from the names of products that were stored as versions."""
    third = replace(NEW, id="third")
    with State.create_or_open(path) as state:
        start(state, [A])
        for scene in (OLD, NEW, third):
            record(state, *map(saved, add(state, replace(scene, datatake="", datetime=OLD.datetime), [A])))
    names = {
        OLD.id: ("S2B_MSIL2A_20171219T095409_N0206_R079_T33UUU_20171219T120000.SAFE", ""),
        NEW.id: ("S2B_MSIL2A_20171219T095409_R079_T33UUU_20231219T120000", "05.00"),
        "third": ("2022-01-02T00:00:00Z", "05.09"),
    }
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("DROP TABLE superseded")
        db.execute("DROP INDEX items_datatake")
        for column in ("datatake", "subtracted", "offsets", "footprint"):
            db.execute(f"ALTER TABLE items DROP COLUMN {column}")
        db.execute("CREATE INDEX items_superseded ON items (superseded_by)")
        for name, (version, baseline) in names.items():
            db.execute("UPDATE items SET version = ?, baseline = ? WHERE item = ?", (version, baseline, name))
        ids = dict(db.execute("SELECT item, id FROM items").fetchall())
        for older, newer in itertools.pairwise((OLD.id, NEW.id, "third")):
            db.execute("UPDATE items SET superseded_by = ? WHERE id = ?", (ids[newer], ids[older]))
        schema._acquisitions(db)
        db.commit()
    with State.create_or_open(path) as state:
        assert counting(state) == {("a", "third")}
        stored = state._db.execute("SELECT item, datatake, baseline FROM items ORDER BY id").fetchall()
        assert stored == [(OLD.id, TAKE, "02.06"), (NEW.id, TAKE, "05.00"), ("third", "", "05.09")]
        assert len(state._db.execute("SELECT * FROM superseded").fetchall()) == 3
        start(state, [A])
        again = replace(OLD, version=names[OLD.id][0])
        assert add(state, again, [A]) == [], "it opens no job, and brings its footprint"
        assert state.scene(again.collection, again.id) == again
        late = replace(NEW, id="late", baseline="05.10", datetime=OLD.datetime + timedelta(minutes=12))
        record(state, *map(saved, add(state, late, [A])))
        assert counting(state) == {("a", "late"), ("a", "third")}, "of the third no datatake is known"
