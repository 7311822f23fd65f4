"""Steps of the state's transactions: items with their editions and reprocessings, jobs, and answers.

Each function takes the open transaction; `state.writer.State` calls them.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Protocol

from shapely import to_wkb

from s2async import reasons
from s2async.areas.folders import Shelf, arrange, clash
from s2async.catalog.facts import Conventions, facts
from s2async.catalog.reprocessing import LONGEST_DATATAKE, TOLERANCE_SECONDS, are_editions, processing_order
from s2async.catalog.zones import home_zone
from s2async.errors import AreaError
from s2async.models import (
    Area,
    CloudMeasure,
    FileFact,
    FolderMove,
    Job,
    Lack,
    Outcome,
    Product,
    Scene,
    Selection,
    Status,
)
from s2async.reflectance.decision import decide, is_reflectance
from s2async.reflectance.evidence import Evidence
from s2async.state import reader_sql, statuses
from s2async.state import writer_sql as sql
from s2async.state.database import Connection
from s2async.state.serialization import (
    hash_address,
    is_update,
    item_values,
    lack,
    namesake,
    pack_counts,
    place_values,
    same_edition,
    selection_values,
    to_microseconds,
    to_scene,
    unpack_measure,
)

MOST_KILLS = 3
"""Times in a row that the program may be killed while it decodes a job alone, before the job is set aside. The
kernel may have killed it for want of memory, or a person by ``kill -9``: nothing shows which. A crash in native
code is certain, so one is enough."""


class Interrupted(Protocol):
    """What a run left behind that was killed or crashed; see `engine.crash_marker.Left`."""

    @property
    def jobs(self) -> Collection[int]:
        """Jobs that were being decoded at that moment."""

    @property
    def alone(self) -> bool:
        """Whether only one job at a time was being decoded."""

    @property
    def crash(self) -> str:
        """Name of the fatal signal; empty when the process was killed from outside."""


# ---- areas ------------------------------------------------------------------------------------------------


def sync_areas(db: Connection, areas: Sequence[Area]) -> dict[str, int]:
    """Make these the places of the state; see `state.writer.State.sync_areas`.

    Returns:
        The rows of the areas by fingerprint.

    Raises:
        AreaError: two places have the same name and folder on the same day.
    """
    if both := clash(areas):
        one, other = both
        raise AreaError(
            f"the areas {one.name!r} and {other.name!r} have the same name or folder, and seasons that overlap; "
            "rename one of them"
        )
    places = [(area.fingerprint, *place_values(area)) for area in areas]
    former = db.execute(reader_sql.PLACES).fetchall()
    rows: dict[str, int] = dict(db.execute(reader_sql.AREAS))
    if places == former:
        return rows
    for area in areas:
        if area.fingerprint not in rows:
            rows[area.fingerprint] = (
                db.execute(
                    sql.ADD_AREA, (area.fingerprint, to_wkb(area.polygon), home_zone(area.polygon))
                ).lastrowid
                or 0
            )
    db.execute(sql.FORGET_PLACES)
    db.executemany(sql.ADD_PLACE, [(rows[key], *place) for key, *place in places])
    if [place[:-1] for place in places] == [place[:-1] for place in former]:  # only their columns have changed
        return rows
    known: dict[str, list[Shelf]] = defaultdict(list)
    for key, since, until, wanted, folder, name in db.execute(reader_sql.SHELVES):
        known[key].append(
            Shelf(
                since=since,
                until=until,
                wanted=bool(wanted),
                folder=folder,
                name=name,
                new_folder=folder,
                new_name=name,
            )
        )
    changed = {rows[key]: shelves for key, shelves in arrange(known, areas).items() if shelves != known.get(key)}
    db.executemany(sql.SET_AREA, [(*_days(shelves), area) for area, shelves in changed.items()])
    db.executemany(sql.FORGET_SHELVES, [(area,) for area in changed])
    values = [(area, *_shelf_values(shelf)) for area, shelves in changed.items() for shelf in shelves]
    db.executemany(sql.ADD_SHELF, values)
    return rows


def _days(shelves: Sequence[Shelf]) -> tuple[bool, bool]:
    """Whether any days are wanted, and whether only some are."""
    wanted = [shelf.wanted for shelf in shelves]
    return any(wanted), any(wanted) and not all(wanted)


def _shelf_values(shelf: Shelf) -> tuple[object, ...]:
    moves = (shelf.folder, shelf.name) != (shelf.new_folder, shelf.new_name)
    new = (shelf.new_folder, shelf.new_name) if moves else (None, None)
    return (shelf.since, shelf.until, shelf.wanted, shelf.folder, shelf.name, *new)


def folder_moves(db: Connection) -> list[FolderMove]:
    """The moves of folders that are recorded and not done yet; several spans of an area may move together."""
    spans: dict[tuple[str, str, str, bool, bool], list[tuple[int, int, int]]] = defaultdict(list)
    for key, area, since, until, old, new, parked, whole in db.execute(reader_sql.MOVES):
        spans[key, old, new, bool(parked), bool(whole)].append((area, since, until))
    return [
        FolderMove(fingerprint=key, old=old, new=new, parked=parked, files=_files_in(db, several), whole=whole)
        for (key, old, new, parked, whole), several in spans.items()
    ]


def _files_in(db: Connection, spans: Sequence[tuple[int, int, int]]) -> tuple[str, ...]:
    which = [dict(zip(("area", "since", "until"), one, strict=True)) for one in spans]
    return tuple(file for one in which for (file,) in db.execute(reader_sql.CROPS_IN_SPAN, one))


def forget_removed(db: Connection) -> None:
    """Delete everything about jobs that no place wants, and the areas without a place."""
    db.execute(sql.FIND_REMOVED)
    for statement in sql.FORGET_REMOVED:
        db.execute(statement)


# ---- items ------------------------------------------------------------------------------------------------


def add_item(db: Connection, scene: Scene, measured: Collection[str]) -> int:
    """Add a new item; returns its row. For the assets that are measured, see `processing_order`."""
    item = db.execute(sql.ADD_ITEM, item_values(scene)).lastrowid or 0
    link_reprocessings(db, item, scene, measured)
    return item


def update_item(
    db: Connection, run: int, item: int, old: Scene, new: Scene, measured: Collection[str]
) -> list[tuple[int, int]]:
    """Bring a known item up to date. For the assets that are measured, see `processing_order`.

    Returns:
        The rows (job, area) of the jobs of active areas that this opened again.
    """
    if old == new:
        return []
    db.execute(sql.UPDATE_ITEM, (*item_values(new), item))
    link_reprocessings(db, item, new, measured)
    which: dict[str, int | str | None] = {"item": item, "run": run}
    hrefs = {key: asset.href for key, asset in old.assets.items()}
    if not same_edition(old.version, hrefs, new):
        db.execute(sql.NEW_EDITION, (item,))
        db.execute(sql.FORGET_FILES, (item,))
        db.execute(sql.FORGET_HEADERS, (item,))
        db.execute(sql.FORGET_ABSENCES, (item,))
        return _reopen(db, which | {"status": None})
    again = []
    if is_update(old, new):
        again += _reopen(db, which | {"status": Status.MISSING})
        again += db.execute(sql.LACKING_TO_REOPEN, {"item": item}).fetchall()
        db.execute(sql.REOPEN_LACKING, {"item": item, "run": run})
        db.execute(sql.FORGET_ABSENCES, (item,))
    if any(key in hrefs and hrefs[key] != asset.href for key, asset in new.assets.items()):
        again += _reopen(db, which | {"status": Status.FAILED})  # an old signed URL may have expired
    return again


def _reopen(db: Connection, which: Mapping[str, int | str | None]) -> list[tuple[int, int]]:
    again: list[tuple[int, int]] = db.execute(sql.JOBS_TO_REOPEN, which).fetchall()
    db.execute(sql.REOPEN_JOBS, which)
    return again


def link_reprocessings(db: Connection, item: int, scene: Scene, measured: Collection[str]) -> None:
    """Link an item with the other editions of its acquisition: of two, the better one supersedes the other."""
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
    """What its crops are called instead of its id (`Job.alias`): empty unless an earlier item has the same id."""
    (is_taken,) = db.execute(sql.NAMESAKE, {"name": scene.id, "item": item}).fetchone()
    return namesake(scene.id, scene.collection) if is_taken else ""


# ---- jobs to work on --------------------------------------------------------------------------------------


def add_job(db: Connection, item: int, area: int, run: int) -> int | None:
    """Add a job; returns its row, or None when it is known already."""
    added = db.execute(sql.ADD_JOB, (item, area, run))
    return added.lastrowid if added.rowcount == 1 else None


def known_job(
    db: Connection, item: int, job: int, area: Area, scene: Scene, selection: Selection, now: int, *, alias: str
) -> Job:
    """A job with the facts that earlier attempts recorded for the present edition of its item.

    Args:
        db: the open transaction.
        item: row of its item.
        job: its own row.
        area: its area.
        scene: its scene.
        selection: which crops and measurements count.
        now: seconds since 1970, UTC.
        alias: of its item, see `alias_of`.
    """
    which = selection_values(selection) | {"item": item, "job": job}
    lacks = tuple(lack(row, now) for row in db.execute(sql.VALID_ABSENCES, which))
    measure = db.execute(sql.VALID_MEASURE, which).fetchone()
    if measure is None:  # without a measurement there are no crops
        return Job(id=job, area=area, scene=scene, lacks=lacks, alias=alias)
    saved = frozenset(asset for (asset,) in db.execute(sql.VALID_ASSETS, which))
    return Job(
        id=job,
        area=area,
        scene=scene,
        measure=unpack_measure(measure[0], measure[1], selection.rule),
        saved=saved,
        lacks=lacks,
        alias=alias,
    )


def known_jobs(
    db: Connection,
    rows: Sequence[tuple[int, int, int]],
    area_of: Callable[[int, Scene], Area],
    selection: Selection,
    now: int,
) -> list[Job]:
    """The jobs of rows (job, item, area); see `known_job`."""
    scenes: dict[int, Scene] = {}
    aliases: dict[int, str] = {}
    for item in {item for _, item, _ in rows}:
        scenes[item] = to_scene(db.execute(reader_sql.ITEM, (item,)).fetchone()[1:])
        aliases[item] = alias_of(db, item, scenes[item])
    return [
        known_job(db, item, job, area_of(area, scenes[item]), scenes[item], selection, now, alias=aliases[item])
        for job, item, area in rows
    ]


def mark_crashed(db: Connection, left: Interrupted) -> list[tuple[str, str, str]]:
    """Mark the jobs that were being decoded when a run was killed or crashed; set those aside that caused it.

    Returns:
        Area, item and reason of the jobs that were set aside.
    """
    kills = (MOST_KILLS if left.crash else 1) if left.alone else 0
    how = f"crashed the program ({left.crash})" if left.crash else f"saw the program killed {MOST_KILLS} times"
    reason = f"set aside: decoding it {how}; retry brings it back"
    aside = []
    for job in sorted(left.jobs):
        db.execute(sql.MARK_CRASHED, {"job": job, "deaths": kills})
        if db.execute(sql.SET_ASIDE, {"job": job, "reason": reason, "most": MOST_KILLS}).rowcount:
            db.execute(sql.RESET_COUNT, (job,))  # the mark stays: after a retry the job runs alone again
            aside.append((*db.execute(sql.NAMES_OF_JOB, (job,)).fetchone(), reason))
    return aside


# ---- answers ----------------------------------------------------------------------------------------------


def add_files(db: Connection, item: int, facts: Sequence[FileFact]) -> None:
    """Record sizes and headers of files of the present edition of an item."""
    db.executemany(sql.ADD_FILE, [(item, fact.asset, fact.size, fact.etag) for fact in facts])
    headers = [(item, fact.asset, hash_address(fact.href), fact.header) for fact in facts if fact.header]
    db.executemany(sql.ADD_HEADER, headers)


def accept(db: Connection, item: int, outcome: Outcome, measured: Collection[str], run: int, now: int) -> None:
    """Record an answer about the present edition of its item.

    Args:
        db: the open transaction.
        item: row of the item.
        outcome: the answer.
        measured: keys of the assets that the cloud rule measures.
        run: row of the run that got it.
        now: seconds since 1970, UTC.

    Raises:
        ValueError: the job is not one of this state.
    """
    job, measure = outcome.job, outcome.measure
    answer = (outcome.status, outcome.reason, outcome.cause or "", outcome.transient, job.id, item)
    if db.execute(sql.ANSWER_JOB, answer).rowcount != 1:
        raise ValueError(f"job {job.id} of {job.scene.id} is not in this state")
    if outcome.status is not Status.FAILED:  # a failed job was perhaps not decoded at all
        db.execute(sql.CLEAR_MARK, (job.id,))
    keep(db, job.id, measure, outcome.products)
    for absence in outcome.lacks:
        if not absence.known:
            _add_absence(db, item, job.id, absence, run, now)
    if job.lacks:
        lacking = {absence.asset for absence in outcome.lacks}
        there = {crop.asset for crop in outcome.products}.union(measured if measure else ())
        db.executemany(sql.DROP_ABSENCE, [(job.id, asset) for asset in there - lacking])


def keep(db: Connection, job: int, measure: CloudMeasure | None, products: Iterable[Product]) -> None:
    """Record what was measured and saved for a job, about the present edition of its item.

    `decide_offsets` must follow where a product has numbers.
    """
    if measure is not None:
        db.execute(sql.ADD_MEASURE, (measure.total, pack_counts(measure), job))
    for crop in products:
        made = (crop.mask, crop.format, crop.epsg, crop.bytes, bytes.fromhex(crop.sha256), crop.file)
        # A band without numbers is rebuilt from a crop of an earlier version, which says nothing.
        harmonised = crop.numbers.harmonised if crop.numbers else False if is_reflectance(crop.asset) else None
        says = crop.numbers.says if crop.numbers else None
        db.execute(sql.ADD_PRODUCT, (crop.asset, *made, harmonised, says, job))
        if crop.numbers:
            add_evidence(db, job, crop.asset, crop.evidence, crop.stated)


def add_evidence(db: Connection, job: int, asset: str, evidence: Evidence | None, stated: float | None) -> None:
    """Record what a crop shows of the offset of its band, and what its source file states.

    `decide_offsets` must follow. Pixels of a crop that was cut again replace its former ones.
    """
    if evidence is not None:
        db.execute(sql.ADD_EVIDENCE, (asset, evidence.pixels, evidence.dark, evidence.wrapped, job))
    db.execute(sql.ADD_BAND, (asset, stated, job))


def decide_offsets(db: Connection, item: int, conventions: Conventions) -> None:
    """Decide again on the offsets of the bands of an item of which crops were cut.

    Args:
        db: the open transaction.
        item: row of the item.
        conventions: what the user says about archives.
    """
    bands = db.execute(reader_sql.BANDS, (item,)).fetchall()
    if not bands:
        return
    scene = to_scene(db.execute(reader_sql.ITEM, (item,)).fetchone()[1:])
    override = conventions.of(scene)
    evidence = Evidence(*db.execute(reader_sql.EVIDENCE, (item,)).fetchone())
    for asset, stated, *before in bands:
        found = decide(asset, facts(scene, asset, convention_override=override, tag=stated), evidence)
        now = [found.dn, str(found.basis), found.doubt]
        if now != before:
            db.execute(sql.SET_BAND, (*now, item, asset))


def note_measures(db: Connection, jobs: Collection[Job]) -> None:
    """Record measurements of jobs of present editions that have no answer yet."""
    rows = [(job.measure.total, pack_counts(job.measure), job.id) for job in jobs if job.measure]
    db.executemany(sql.ADD_MEASURE, rows)


def _add_absence(db: Connection, item: int, job: int, absence: Lack, run: int, now: int) -> None:
    which = {"item": item, "job": job, "asset": absence.asset, "cause": absence.cause}
    before = db.execute(sql.TRIES, which).fetchone()
    tries = before[0] + 1 if before else 1
    due = reasons.due(absence.cause, tries, now) if absence.missing else None
    why = {"reason": absence.text, "host": absence.host, "missing": absence.missing}
    when = {"tries": tries, "tried": now, "due": due, "run": run}
    db.execute(sql.ADD_ABSENCE, which | why | when)


def settle_denied(
    db: Connection, run: int, served: Collection[str], selection: Selection
) -> list[tuple[str, str]]:
    """Mark files as missing that were denied often enough, while their servers deliver others.

    Args:
        db: the open transaction.
        run: row of the run that ends.
        served: origins of servers that delivered a file in this run.
        selection: which crops count.

    Returns:
        Asset and reason of each.
    """
    db.execute(sql.SERVED_OTHERS, (run, json.dumps(sorted(served))))
    denied = db.execute(sql.DENIED_ALONE, {"most": reasons.DENIALS, "run": run}).fetchall()
    settled = [(job, asset, f"missing or not public: {reason}") for job, _, asset, reason in denied]
    db.executemany(sql.SETTLE_ABSENCE, [(reason, job, asset) for job, asset, reason in settled])
    for job, item in {(job, item) for job, item, *_ in denied}:
        which = selection_values(selection) | {"item": item, "job": job}
        lacks = [lack(row, 0) for row in db.execute(sql.VALID_ABSENCES, which)]
        needed = [one for one in lacks if one.asset in (*selection.measured, *selection.assets)]
        if all(one.missing for one in needed):
            row = db.execute(sql.VALID_MEASURE, which).fetchone()
            measured = unpack_measure(row[0], row[1], selection.rule) if row else None
            saved = {asset for (asset,) in db.execute(sql.VALID_ASSETS, which)}
            status = statuses.settled(selection, saved, needed) if measured else statuses.missing(needed)
            db.execute(sql.SETTLE_JOB, (*status, job))
    return [(asset, reason) for _, asset, reason in settled]


def reject(db: Connection, job: int, products: Iterable[Product]) -> None:
    """Reject what is about an edition that was replaced: remove only the records of crops that it overwrote."""
    for crop in products:
        if db.execute(sql.DROP_PRODUCT, (job, crop.asset)).rowcount:
            db.execute(sql.UNSAVE_JOB, (job,))
