"""Parts of the state's transactions about items: their editions and reprocessings, and the jobs to process."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from itertools import groupby
from typing import Protocol

from s2async.catalog.reprocessing import LONGEST_DATATAKE, TOLERANCE_SECONDS, are_editions, processing_order
from s2async.causes import Cause, Lack
from s2async.models import Area, Job, Scene, Selection, Status
from s2async.state import jobs, measures, packed, reader_sql, values
from s2async.state import writer_sql as sql
from s2async.state.database import Connection
from s2async.state.packed import item_of
from s2async.state.serialization import (
    is_update,
    item_values,
    lack,
    namesake,
    same_edition,
    selection_values,
    to_microseconds,
    to_scene,
)

MOST_KILLS = 3
"""Number of times in a row that the program may be killed while it decodes only this job before the job is set
aside. The kernel may have killed it for lack of memory, or a person with ``kill -9``; it is unknown which. A crash
in native code is unambiguous, so one crash is enough."""


class Interrupted(Protocol):
    """What a killed or crashed run left behind; see `engine.crash_marker.Left`."""

    @property
    def jobs(self) -> Collection[int]:
        """Jobs that were being decoded at that moment."""

    @property
    def alone(self) -> bool:
        """Whether only one job at a time was being decoded."""

    @property
    def crash(self) -> str:
        """Name of the fatal signal; empty if the process was killed from outside."""


# ---- items ------------------------------------------------------------------------------------------------


def add_item(db: Connection, scene: Scene, measured: Collection[str]) -> int:
    """Add a new item and return its row. See `processing_order` for the measured assets."""
    item = db.execute(sql.ADD_ITEM, item_values(scene)).lastrowid or 0
    link_reprocessings(db, item, scene, measured)
    return item


def update_item(db: Connection, item: int, old: Scene, new: Scene, measured: Collection[str]) -> list[int]:
    """Update a known item. See `processing_order` for the measured assets.

    Returns:
        The jobs of active areas that this reopened.
    """
    if old == new:
        return []
    db.execute(sql.UPDATE_ITEM, (*item_values(new), item))
    link_reprocessings(db, item, new, measured)
    hrefs = {key: asset.href for key, asset in old.assets.items()}
    if not same_edition(old.version, hrefs, new):
        db.execute(sql.NEW_EDITION, (item,))
        db.execute(sql.FORGET_FILES, (item,))
        db.execute(sql.FORGET_HEADERS, (item,))
        db.execute(sql.FORGET_ABSENCES, {"item": item})
        return _reopen(db, item, None)
    again: list[int] = []
    if is_update(old, new):
        again += _reopen(db, item, Status.MISSING)
        lacking = [job for (job,) in db.execute(sql.LACKING_OF_ITEM, {"item": item})]
        jobs.reopen(db, lacking, queued=True)
        again += _wanted(db, lacking)
        db.execute(sql.FORGET_ABSENCES, {"item": item})
    if any(key in hrefs and hrefs[key] != asset.href for key, asset in new.assets.items()):
        again += _reopen(db, item, Status.FAILED)  # an old signed URL may have expired
    return again


def _reopen(db: Connection, item: int, status: Status | None) -> list[int]:
    """Reopen the jobs of an item that have a status, or all its jobs; return the jobs of active areas."""
    found = [job for (job,) in db.execute(sql.JOBS_OF_ITEM, {"item": item, "status": status})]
    jobs.reopen(db, found, queued=True)
    return _wanted(db, found)


def _wanted(db: Connection, found: Sequence[int]) -> list[int]:
    return [job for (job,) in db.execute(sql.WANTED_JOBS, (json.dumps(found),))]


def link_reprocessings(db: Connection, item: int, scene: Scene, measured: Collection[str]) -> None:
    """Link an item to the other editions of its acquisition: the better one supersedes the other."""
    which = {
        "item": item,
        "grid": scene.grid,
        "datatake": scene.datatake,
        "sensed": to_microseconds(scene.datetime),
        "span": round(TOLERANCE_SECONDS * 1_000_000),
        "longest": LONGEST_DATATAKE // timedelta(microseconds=1),
    }
    db.execute(sql.UNLINK_ITEM, {"item": item})
    own, links = processing_order(scene, measured), []
    for row, *columns in db.execute(sql.SENSED_TOGETHER, which):
        other = to_scene(columns)
        if are_editions(scene, other):
            links.append((item, row) if processing_order(other, measured) > own else (row, item))
    db.executemany(sql.SUPERSEDE, links)


def alias_of(db: Connection, item: int, scene: Scene) -> str:
    """Return the alias of an item for its file names (`Job.alias`); empty unless an earlier item has its id."""
    (is_taken,) = db.execute(sql.NAMESAKE, {"name": scene.id, "item": item}).fetchone()
    return namesake(scene.id, scene.collection) if is_taken else ""


# ---- jobs to work on --------------------------------------------------------------------------------------


def known_jobs(
    db: Connection,
    wanted: Sequence[int],
    area_of: Callable[[int, Scene], Area],
    selection: Selection,
    now: int,
) -> list[Job]:
    """Return jobs with the facts that earlier attempts recorded for the current editions of their items.

    Args:
        db: the open transaction.
        wanted: the jobs; jobs of one item are adjacent.
        area_of: returns the area for a row and a scene.
        selection: which crops and measurements count.
        now: seconds since 1970, UTC.
    """
    found = []
    for item, several in groupby(wanted, key=item_of):
        scene = to_scene(db.execute(reader_sql.ITEM, (item,)).fetchone()[1:])
        found += jobs_of_item(db, list(several), scene, area_of, selection, now)
    return found


def jobs_of_item(
    db: Connection,
    wanted: Sequence[int],
    scene: Scene,
    area_of: Callable[[int, Scene], Area],
    selection: Selection,
    now: int,
) -> list[Job]:
    """Return jobs of one item with what is known about them; see `known_jobs`."""
    if not wanted:
        return []
    item = item_of(wanted[0])
    which = selection_values(selection) | {"item": item, "first": min(wanted), "last": max(wanted)}
    lacks: dict[int, list[Lack]] = defaultdict(list)
    for job, *columns in db.execute(sql.VALID_ABSENCES, which):
        lacks[job].append(lack(columns, now))
    measured = measures.of_jobs(db, wanted, selection.rule)
    valued = values.of_jobs(db, measured, selection.values)
    saved: dict[int, set[str]] = defaultdict(set)
    if measured:  # a job without a measurement has no crops
        for job, asset in db.execute(sql.VALID_ASSETS, which):
            saved[job].add(asset)
    alias = alias_of(db, item, scene)
    return [
        Job(
            id=job,
            area=area_of(packed.area_of(job), scene),
            scene=scene,
            measure=measured.get(job),
            saved=frozenset(saved.get(job, ())) if job in measured else frozenset(),
            lacks=tuple(lacks.get(job, ())),
            alias=alias,
            valued=valued.get(job, frozenset()),
        )
        for job in wanted
    ]


def mark_crashed(db: Connection, left: Interrupted) -> list[tuple[str, str, str]]:
    """Mark the jobs that were being decoded when a run was killed or crashed; set aside those that caused it.

    Returns:
        Area, item and reason of the jobs that were set aside.
    """
    kills = (MOST_KILLS if left.crash else 1) if left.alone else 0
    how = f"crashed the program ({left.crash})" if left.crash else f"saw the program killed {MOST_KILLS} times"
    reason = f"set aside: decoding it {how}; retry brings it back"
    aside = []
    for job in sorted(left.jobs):
        db.execute(sql.MARK_CRASHED, {"job": job, "deaths": kills})
        if db.execute(sql.DEADLY, {"job": job, "most": MOST_KILLS}).fetchone():
            jobs.answer(db, [jobs.Answer(job, Status.FAILED, reason, Cause.CRASH)])
            db.execute(sql.RESET_COUNT, (job,))  # the mark stays, so the job runs alone again after a retry
            aside.append((*db.execute(sql.NAMES_OF_JOB, {"job": job}).fetchone(), reason))
    return aside
