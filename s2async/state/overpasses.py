"""Which item of each overpass counts for an area, according to all that the state knows about these items.

The choice itself is made by `clouds.overpass`. It depends only on facts, not on the order in which they arrived,
so it can be repeated at any time: for the jobs of a batch, and for all jobs when settings have changed.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from s2async import reasons
from s2async.catalog.overpasses import overpasses, zone_number
from s2async.catalog.reprocessing import LONGEST_DATATAKE
from s2async.clouds import scl
from s2async.clouds.overpass import DELAYS, Rules, Standing, View, choose
from s2async.clouds.rule import CloudRule
from s2async.models import CloudMeasure, Job, Selection, Status
from s2async.reasons import is_due
from s2async.state import packed, values
from s2async.state import writer_sql as sql
from s2async.state.database import Connection
from s2async.state.doubts import doubts
from s2async.state.jobs import Answer, answer, reopen
from s2async.state.packed import QUEUED, measure_at
from s2async.state.records import OPEN
from s2async.state.serialization import from_microseconds, lack, selection_values, to_microseconds
from s2async.state.statuses import missing as why_missing
from s2async.zonal.wanted import VALUES

_LONGEST: Final = LONGEST_DATATAKE // timedelta(microseconds=1)
_SETTLED: Final = (Status.DUPLICATE, Status.CLOUDY, Status.SAVED)
"""Statuses of jobs that have to be reopened before they can be processed."""
_ALWAYS: Final = (scl.ASSET, VALUES)
"""What every variable needs in addition to its bands."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sighting:
    """A job, and the properties that determine its overpass."""

    view: View
    collection: str
    platform: str
    datatake: str
    datetime: datetime


def choose_for(db: Connection, jobs: Collection[Job], rules: Rules) -> list[int]:
    """Choose for the overpasses of some jobs, and give the jobs the resulting statuses.

    Args:
        db: the open transaction.
        jobs: jobs of one overpass.
        rules: the rules for the choice.

    Returns:
        The jobs that have to be processed before the choice can be made again.
    """
    times = [to_microseconds(job.scene.datetime) for job in jobs]
    ours = {job.id for job in jobs}
    areas = json.dumps(sorted({packed.area_of(job) for job in ours}))
    which = {"since": min(times) - _LONGEST, "until": max(times) + _LONGEST, "areas": areas}
    rows = db.execute(sql.VIEWS_OF_TIME, selection_values(rules.selection) | which).fetchall()
    found: list[int] = []
    for group in _groups(db, rows, rules, is_running=True):
        if any(one.view.job in ours for one in group):
            found += _apply(db, group, rules)[0]
    return found


def choose_for_all(db: Connection, rules: Rules) -> int:
    """Choose for all overpasses of active areas, and return the number of jobs whose status changed.

    A job that has to be processed is reopened; the following run processes it.

    Args:
        db: the open transaction.
        rules: the rules for the choice.
    """
    changed = 0
    kind = selection_values(rules.selection)
    for doubt in doubts(db, rules):
        since, until = to_microseconds(doubt.since) - _LONGEST, to_microseconds(doubt.until) + _LONGEST
        which = {"since": since, "until": until, "areas": json.dumps(doubt.areas)}
        rows = db.execute(sql.VIEWS_OF_TIME, kind | which).fetchall()
        for group in _groups(db, rows, rules, is_running=False):
            if not any(packed.item_of(one.view.job) in doubt.items for one in group):
                continue
            chosen, statuses = _apply(db, group, rules)
            old = {one.view.job: one.view.status for one in group}
            opened = [job for job in chosen if old[job] in _SETTLED]
            reopen(db, opened)
            changed += statuses + len(opened)
    return changed


def _apply(db: Connection, group: Sequence[_Sighting], rules: Rules) -> tuple[list[int], int]:
    """Choose for an area in an overpass; return the job to process, if any, and how many statuses changed."""
    choice = choose([one.view for one in group], rules.rule.spoilt)
    answer(db, [_answer(db, job, status, rules.selection) for job, status in choice.statuses])
    return [one.view.job for one in group if one.view.job == choice.work], len(choice.statuses)


def _answer(db: Connection, job: int, status: Status, selection: Selection) -> Answer:
    if status is not Status.MISSING:
        return Answer(job, status)
    lacks = [lack(row, 0) for _, *row in db.execute(sql.MISSING_ASSETS, {"first": job, "last": job})]
    return Answer(job, *why_missing([one for one in lacks if one.asset in selection.assets]))


def _groups(
    db: Connection, rows: Sequence[Sequence[Any]], rules: Rules, *, is_running: bool
) -> Iterator[list[_Sighting]]:
    """Yield the jobs of each area by overpass, also single jobs, because facts alone may change their status."""
    by_area: Mapping[int, list[_Sighting]] = defaultdict(list)
    valued = values.of_jobs(db, [row[0] for row in rows], rules.selection.values)
    for row in rows:
        one = _sighting(row, rules, valued.get(row[0], frozenset()), is_running=is_running)
        by_area[packed.area_of(one.view.job)].append(one)
    for sightings in by_area.values():
        yield from overpasses(sightings)


def _sighting(columns: Sequence[Any], rules: Rules, valued: AbstractSet[str], *, is_running: bool) -> _Sighting:
    """Convert a row of `writer_sql.VIEWS_OF_TIME`; an item that a run has queued is expected to be measured.

    Args:
        columns: columns of the row.
        rules: the rules for the choice.
        valued: keys of the values that have been answered.
        is_running: whether a run is processing the jobs that it has queued.
    """
    rule, selection = rules.rule, rules.selection
    job, _, _, status, attempts, transient, code, zone, *columns = columns
    collection, name, sensed, datatake, platform, grid, epsg, slot, cells, saved, lacks, better = columns
    measure = measure_at(cells, slot, rule.name)
    now = int(time.time())
    missing = [asset for asset, due, tried in json.loads(lacks) if status != OPEN or not is_due(due, tried, now)]
    is_expected = (
        (not is_running or code == QUEUED)
        if status == OPEN
        else status == Status.FAILED and _is_delay(transient, attempts)
    )
    standing = (
        _measured(measure, status, rule, selection, json.loads(saved), missing, is_expected=is_expected)
        if measure
        else Standing.EXPECTED
        if is_expected
        else Standing.OUT
    )
    accepted = measure and rules.values_rule and rules.values_rule.verdict(measure) is None
    possible = _possible_values(selection, valued, missing) if accepted else set()
    view = View(
        job=job,
        status=status,
        standing=standing,
        measure=measure,
        is_home=zone is not None and zone_number(grid, epsg) == zone,
        item=f"{name} {collection}",
        better=frozenset(json.loads(better)) if selection.newest_only else frozenset(),
        has_values=bool(possible),
        lacks_values=status != Status.FAILED and not possible <= valued,
    )
    return _Sighting(
        view=view,
        collection=collection,
        platform=platform,
        datatake=datatake,
        datetime=from_microseconds(sensed),
    )


def _possible_values(selection: Selection, valued: AbstractSet[str], missing: Collection[str]) -> set[str]:
    """Return the keys of values that are answered or can be: none of their files is known to be missing."""
    wanted = selection.values
    if wanted is None:
        return set()
    return {
        key
        for variable in wanted.variables
        for key in (wanted.key(variable),)
        if key in valued or not {*_ALWAYS, *variable.bands}.intersection(missing)
    }


def _is_delay(transient: int, attempts: int) -> bool:
    """Return whether it is worth waiting for a failed job."""
    return bool(transient) and attempts <= DELAYS


def _measured(
    measure: CloudMeasure,
    status: str,
    rule: CloudRule,
    selection: Selection,
    saved: Collection[str],
    lacks: Collection[str],
    *,
    is_expected: bool,
) -> Standing:
    """Return the standing of a job that was measured."""
    if verdict := rule.verdict(measure):
        return Standing.CLOUDY if verdict is Status.CLOUDY else Standing.OUT
    has_crop = not selection.assets or any(asset in saved for asset in selection.assets)
    if reasons.covers(selection.assets, saved, lacks):
        return Standing.SAVED if has_crop else Standing.BARE
    if status == Status.FAILED:
        return Standing.SAVED if has_crop else Standing.DELAYED if is_expected else Standing.OUT
    return Standing.OUT if status == Status.MISSING else Standing.CLEAR
