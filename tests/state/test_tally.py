"""Counts made from packed rows are those that SQL makes job by job."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from s2async.areas.folders import FIRST, LAST
from s2async.clouds.scl import SclRule
from s2async.errors import LocalError
from s2async.models import CloudMeasure, Outcome, Status
from s2async.state import totals_sql
from s2async.state.conditions_sql import NEWER_HAS_JOB, WANTED
from s2async.state.packed import CODES, QUEUED
from s2async.state.records import OPEN
from s2async.state.tally import STATUSES, Tally, tally
from s2async.state.writer import State
from tests.support.lanes import few_quick
from tests.support.states import (
    EMPTY,
    VISUAL,
    add,
    cloudy,
    make_area,
    make_scene,
    read_while,
    record,
    saved,
    start,
)

COUNTED = f"""
SELECT j.area, j.status, {WANTED}, :newest AND j.status IN ('open', 'failed') AND {NEWER_HAS_JOB},
  i.id, i.sensed FROM jobs j JOIN areas a ON a.id = j.area JOIN items i ON i.id = j.item WHERE a.active
"""
DAY = 86_400_000_000


def fill(state: State, chance: random.Random) -> None:
    """Areas of several blocks, some without a place, some with shelves; items, some of which replace others."""
    db = state._db
    for area in chance.sample(range(1, 900), 150):
        seasonal = chance.random() < 0.3
        row = (area, f"{area:016x}", b"", chance.random() < 0.9, seasonal)
        db.execute("INSERT INTO areas (id, fingerprint, polygon, active, seasonal) VALUES (?, ?, ?, ?, ?)", row)
        ends = sorted(chance.sample(range(1, 30), 2)) if seasonal else []
        spans = zip([FIRST, *(DAY * end for end in ends)], [*(DAY * end for end in ends), LAST], strict=True)
        for number, (since, until) in enumerate(spans):
            wanted = not seasonal or number == 1
            db.execute(
                "INSERT INTO shelves (area, since, until, wanted, folder, name) VALUES (?, ?, ?, ?, ?, '')",
                (area, since, until, wanted, str(area)),
            )
            if wanted:
                place = (
                    "INSERT INTO places (area, name, since, until, folder, attributes) VALUES (?, ?, ?, ?, '', '')"
                )
                db.execute(place, (area, str(area), since, until))
    letters = [*CODES.values(), QUEUED, " ", " "]
    for item in range(1, 40):
        columns = "collection, item, edition, version, updated, sensed, platform, grid, baseline, generated"
        values = ("c", str(item), 1, "", "", chance.randrange(30 * DAY), "", "", "", "", "", "", "{}", "{}")
        db.execute(
            f"INSERT INTO items ({columns}, datastrip, base, assets, absent) VALUES ({', '.join('?' * 14)})",
            values,
        )
        for block in range(4):
            codes = "".join(chance.choices(letters, k=chance.randrange(257))).rstrip()
            if codes and chance.random() < 0.8:
                db.execute("INSERT INTO asked (item, block, codes) VALUES (?, ?, ?)", (item, block, codes))
    # a slot is a job only where there is an area
    for item, block, codes in db.execute("SELECT item, block, codes FROM asked").fetchall():
        known = {area for (area,) in db.execute("SELECT id FROM areas")}
        kept = "".join(code if block * 256 + slot in known else " " for slot, code in enumerate(codes)).rstrip()
        db.execute("UPDATE asked SET codes = ? WHERE item = ? AND block = ?", (kept, item, block))
    for item, newer in {tuple(chance.sample(range(1, 40), 2)) for _ in range(12)}:
        db.execute("INSERT INTO superseded (item, newer) VALUES (?, ?)", (item, newer))


def by_status(rows: Iterator[str]) -> list[int]:
    found = list(rows)
    return [found.count(status) for status in STATUSES]


def listed(counts: NDArray[np.int32] | None) -> list[int]:
    return [0] * len(STATUSES) if counts is None else counts.tolist()


@pytest.mark.parametrize("seed", few_quick(range(8), 2))
def test_all_counts_are_those_of_sql(state: State, seed: int) -> None:
    fill(state, random.Random(seed))
    for newest in (True, False):
        found: Tally = tally(state._each, newest=newest)
        rows = state._all(COUNTED, {"newest": newest})
        assert rows
        assert found.total.tolist() == by_status(row[1] for row in rows if row[2] and not row[3])
        for area in {row[0] for row in rows}:
            ours = [row for row in rows if row[0] == area]
            assert listed(found.of_area(area, replaced=True)) == by_status(row[1] for row in ours)
            present = by_status(row[1] for row in ours if not row[3])
            assert listed(found.of_area(area)) == present
        for place, area, since, until in state._all("SELECT id, area, since, until FROM places").copy():
            inside = [row for row in rows if row[0] == area and since <= row[5] < until and not row[3]]
            if (since, until) != (FIRST, LAST) and inside:
                assert found.by_place[place].tolist() == by_status(row[1] for row in inside)
        for status in STATUSES:
            assert found.scenes[status] == {row[4] for row in rows if row[2] and row[1] == status}
        assert found.clear_days == len({(row[0], row[5] // DAY) for row in rows if row[2] and row[1] == "saved"})


def test_counts_follow_what_is_written(state: State) -> None:
    areas = [make_area(f"area {number}") for number in range(300)]
    start(state, areas)
    jobs = add(state, make_scene(), areas)
    assert state.counts(VISUAL).total == {OPEN: 300}
    record(state, saved(jobs[0]), cloudy(jobs[299]))
    assert state.counts(VISUAL).total == {"saved": 1, "cloudy": 1, OPEN: 298}
    assert (state.clear_days(), state.scenes("saved"), state.scenes("failed"), state.scenes()) == (1, 1, 0, 1)
    with State.read(state.path) as other:
        assert other.counts(VISUAL).total == {"saved": 1, "cloudy": 1, OPEN: 298}
        record(state, saved(jobs[1]))
        assert other.counts(VISUAL).total == {"saved": 2, "cloudy": 1, OPEN: 297}


def test_what_a_run_writes_while_jobs_are_counted_is_counted_next_time(state: State) -> None:
    areas = [make_area(f"a{number}") for number in range(3)]
    start(state, areas)
    record(state, *map(saved, add(state, make_scene("first"), areas)))

    later = iter(range(1, 3))

    def write() -> None:
        for number in itertools.islice(later, 1):
            scene = make_scene(f"later{number}", minutes=1440 * number)
            record(state, *map(saved, add(state, scene, areas)))

    with read_while(state.path, write, after=totals_sql.ITEMS) as ledger:
        assert [ledger.counts(VISUAL).total for _ in range(3)] == [{"saved": 3}, {"saved": 6}, {"saved": 9}]


def test_a_disk_that_fails_while_jobs_are_counted_is_told_as_such(state: State) -> None:
    """SQLite ends the transaction by itself then."""

    def fail() -> None:
        ledger._db.execute("ROLLBACK")
        raise LocalError("the disk fails")

    start(state, [make_area("a")])
    with read_while(state.path, fail, after=totals_sql.ITEMS) as ledger, pytest.raises(LocalError, match="disk"):
        ledger.counts(VISUAL)


def test_an_area_of_two_places_is_told_of_both_when_no_raster_holds_it(state: State) -> None:
    rule = SclRule.from_percent(classes=[9], max_cloud=10, min_valid=60)
    spring = make_area("field", key="x")
    areas = [make_area("a"), spring]
    start(state, areas)
    jobs = add(state, make_scene(), areas)
    half = CloudMeasure(histogram=(0, 0, 0, 0, 100, *[0] * 8), total=250)
    record(state, *(Outcome(job=job, status=Status.NODATA, measure=half) for job in jobs))
    assert [(one.name, one.share) for one in state.unheld(rule)] == [("a", 0.4), ("field", 0.4)]
    (job,) = add(state, make_scene("S2", minutes=60), areas[:1])
    record(state, Outcome(job=job, status=Status.NODATA, measure=EMPTY))
    assert [one.name for one in state.unheld(rule)] == ["a", "field"]
    (job,) = add(state, make_scene("S3", minutes=120), areas[:1])
    record(state, cloudy(job))
    assert [one.name for one in state.unheld(rule)] == ["field"]


def test_a_state_without_jobs_counts_none(state: State) -> None:
    assert state.counts(VISUAL).total == {}
    assert state.clear_days() == 0
    start(state, [make_area("a")])
    assert state.counts(VISUAL).areas[0].by_status == {}
