"""The status of jobs, derived from their facts, the cloud limits and the selection, without reading any file.

Most jobs are judged with arrays, row by row; only jobs that lack files are judged individually.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from s2async import reasons
from s2async.causes import Lack
from s2async.clouds.rule import VERDICTS
from s2async.models import DEFAULT_RULE, Selection, Status
from s2async.state import jobs, packed, watch
from s2async.state import writer_sql as sql
from s2async.state.database import Connection
from s2async.state.packed import BLOCK, CODES, QUEUED, STATUSES
from s2async.state.records import OPEN
from s2async.state.serialization import hash_address, lack, selection_values
from s2async.state.values import Stock

PAGE: Final = 500
"""Number of rows of jobs, of 256 areas each, that are judged together."""

Derived = tuple[Status, str, str]
"""Status, reason and cause of a job that is not open."""

Judge: TypeAlias = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.uint8]]
"""Judges histograms and totals; see `clouds.rule.CloudRule.verdicts`."""

_Flags: TypeAlias = NDArray[np.bool_]
"""(256,) one flag for each area of a block."""
_Codes: TypeAlias = NDArray[np.uint8]
"""(256,) letters of `state.packed.CODES`."""


def _code(status: str) -> int:
    return ord(CODES[status])


_SAVED, _MISSING, _FAILED, _OUTSIDE = map(_code, (Status.SAVED, Status.MISSING, Status.FAILED, Status.OUTSIDE))
_DUPLICATE, _OPEN, _QUEUED, _NO_JOB = _code(Status.DUPLICATE), _code(OPEN), ord(QUEUED), ord(packed.NO_JOB)
_ANSWERED = np.array([_SAVED, _MISSING, _code(Status.CLOUDY)], np.uint8)
"""Statuses that are reopened if the job lacks values; failed jobs are retried by other rules."""
_VERDICT_CODES = np.array([0 if status is None else _code(status) for status in VERDICTS], np.uint8)
_NODATA = VERDICTS.index(Status.NODATA)


@dataclass(frozen=True, slots=True)
class _Block:
    """The active areas of a block."""

    active: _Flags
    changed: _Flags
    """Whether the selection differs from the one for which the status of the area's jobs was last derived."""


@dataclass(frozen=True, slots=True)
class _Facts:
    """What is known about the jobs of a page, apart from their measurements."""

    crops: Mapping[str, NDArray[np.int64]]
    """Jobs with a valid crop, ascending, by selected asset."""
    lacks: Mapping[int, list[Lack]]
    troubled: Collection[int]
    """Jobs with recorded reasons."""

    def has_crop(self, asset: str, first: int) -> _Flags:
        """Return which jobs of a row, given the first possible job number, have a crop of an asset."""
        found = np.zeros(BLOCK, bool)
        numbers = self.crops.get(asset)
        if numbers is not None:
            low, high = numbers.searchsorted([first, first + BLOCK])
            found[numbers[low:high] - first] = True
        return found

    def lacks_of(self, first: int) -> Iterator[tuple[int, list[Lack]]]:
        """Yield the jobs of a row that lack files, with their lacks."""
        if self.lacks:
            yield from ((job, self.lacks[job]) for job in range(first, first + BLOCK) if job in self.lacks)

    def saved(self, selection: Selection, job: int) -> set[str]:
        """Return the selected assets of which a job has a crop."""
        first, slot = job - packed.slot_of(job), packed.slot_of(job)
        return {asset for asset in selection.assets if self.has_crop(asset, first)[slot]}


def needed(selection: Selection) -> str:
    """Return what jobs need to be saved, as text. Areas store the text for which their status was derived."""
    other_rule = [] if selection.rule == DEFAULT_RULE else [selection.rule]
    other_numbers = ["harmonised"] if selection.harmonised else []
    kind = [selection.mask, selection.format, *other_rule, *other_numbers]
    return json.dumps([sorted(set(selection.assets)), *kind])


def update_all(
    db: Connection, judge: Judge, selection: Selection, settings: str, judge_values: Judge | None = None
) -> dict[tuple[str, str], int]:
    """Derive the status of every job of the active areas again; see `state.writer.State.update_statuses`.

    Args:
        db: the open transaction.
        judge: returns verdicts on measurements.
        selection: the crops that clear jobs need, and the values.
        settings: settings of both judges, as text. If they have not changed since the last call, nothing is done;
            if empty, all jobs are judged.
        judge_values: returns the verdicts that decide on values; None if no values are requested.

    Returns:
        The number of jobs by old and new status.
    """
    text = needed(selection)
    areas = db.execute(sql.JUDGED_AREAS, (text,)).fetchall()
    key = f"{selection!r} {settings} {hash_address(repr([area for area, _ in areas])).hex()}" if settings else ""
    if key and db.execute(sql.JUDGED).fetchone() == (key,) and not any(changed for _, changed in areas):
        return {}
    blocks = _blocks(areas)
    has_others = db.execute(sql.HAS_OTHER_CELLS, {"rule": selection.rule}).fetchone() is not None
    changes: Counter[tuple[str, str]] = Counter()
    before = 0, 0
    page: dict[str, object] = {"rule": selection.rule, "limit": PAGE}
    while rows := db.execute(sql.ROWS_TO_JUDGE, page | {"item": before[0], "block": before[1]}).fetchall():
        first, last = packed.job_number(rows[0][0], 0), packed.job_number(rows[-1][0] + 1, 0) - 1
        facts = _facts(db, first, last, selection)
        wanted = None
        if selection.values is not None and judge_values is not None:
            stock = Stock(db, selection.values, before, rows[-1][:2])
            wanted = _Values(judge_values, stock)
        for item, block, codes, cells in rows:
            if block in blocks:
                others = _others(db, item, block, selection.rule) if has_others else np.zeros(BLOCK, bool)
                row = _Row(item, block, codes, cells, others)
                changes += _judge_row(db, row, blocks[block], facts, judge, selection, wanted)
        before = rows[-1][:2]
    if any(changed for _, changed in areas):
        with watch.paused(db, "areas"):
            db.execute(sql.SET_SELECTION, {"wanted": text})
    db.execute(sql.SET_JUDGED, (key,))
    return dict(changes)


@dataclass(frozen=True, slots=True)
class _Row:
    """Jobs of an item and a block."""

    item: int
    block: int
    codes: str
    cells: bytes | None
    """Measurements by the selected rule."""
    others: _Flags
    """Which jobs another rule has measured."""

    @property
    def first(self) -> int:
        """Number of the job at the first slot."""
        return packed.job_number(self.item, self.block * BLOCK)


@dataclass(frozen=True, slots=True)
class _Values:
    """What is needed to judge the values of the jobs of a page."""

    judge: Judge
    stock: Stock

    def lacking(self, row: _Row, touched: _Flags, cells: packed.Cells, facts: _Facts) -> _Flags:
        """Return which jobs of a row lack values that can be computed."""
        histograms = np.zeros((BLOCK, cells.values.shape[1] - 1), np.int64)
        histograms[cells.slots] = cells.values[:, 1:]
        needing = np.zeros(BLOCK, bool)
        needing[cells.slots] = self.judge(cells.values[:, 1:], cells.values.sum(axis=1)) == 0
        needing &= touched
        gone = {
            packed.slot_of(job): {one.asset for one in lacks}
            for job, lacks in facts.lacks_of(row.first)
            if needing[packed.slot_of(job)]
        }
        return self.stock.lacking(row.item, row.block, needing, histograms, gone)


def _judge_row(
    db: Connection,
    row: _Row,
    areas: _Block,
    facts: _Facts,
    judge: Judge,
    selection: Selection,
    wanted: _Values | None,
) -> Counter[tuple[str, str]]:
    """Derive the status of the jobs of a row again; return the number of jobs by old and new status."""
    old = np.frombuffer(row.codes.encode().ljust(BLOCK), np.uint8)
    is_measured, verdicts = np.zeros(BLOCK, bool), np.zeros(BLOCK, np.uint8)
    cells = None if row.cells is None else packed.unpack_cells(row.cells)
    if cells is not None:
        is_measured[cells.slots] = True
        verdicts[cells.slots] = judge(cells.values[:, 1:], cells.values.sum(axis=1))
    has_facts = is_measured | row.others | (old == _SAVED) | ((old == _MISSING) & areas.changed)
    touched = (old != _NO_JOB) & (old != _OUTSIDE) & areas.active & has_facts
    if selection.one_per_overpass:  # the choice within the overpass is made later, see `state.overpasses`
        touched &= ~((old == _DUPLICATE) & is_measured & (verdicts != _NODATA))
    if not touched.any():
        return Counter()
    new = old.copy()
    spoilt = touched & is_measured & (verdicts > 0)
    new[spoilt] = _VERDICT_CODES[verdicts[spoilt]]
    rest = touched & ~spoilt
    clear = rest & (is_measured | ((old == _SAVED) & ~row.others))
    complete = clear.copy()
    for asset in selection.assets:
        complete &= facts.has_crop(asset, row.first)
    new[complete] = _SAVED
    lacking = np.zeros(BLOCK, bool)
    if facts.lacks:
        lacking[[slot for slot in np.flatnonzero(rest).tolist() if row.first + slot in facts.lacks]] = True
    other = rest & row.others & ~is_measured
    plain = ((clear & ~complete & ~lacking) | other) & ~_is_kept(old, areas.changed)
    new[plain & (old != _QUEUED)] = _OPEN
    told: list[jobs.Answer] = []
    one_by_one = rest & ~complete & ~other & (lacking | ~clear)
    for slot in np.flatnonzero(one_by_one).tolist():
        job, status = row.first + slot, STATUSES[chr(old[slot])]
        known = facts.saved(selection, job), facts.lacks.get(job, [])
        if clear[slot]:
            found = _clear(status, selection, *known, changed=bool(areas.changed[slot]))
        else:
            found = _unmeasured(status, selection, known[1])
        if isinstance(found, str):
            new[slot] = _code(found) if found != STATUSES[chr(old[slot])] else old[slot]
        else:
            new[slot] = _code(found[0])
            if new[slot] != old[slot] or (areas.changed[slot] and new[slot] == _SAVED):
                told.append(jobs.Answer(job, *found))
    if wanted and cells is not None:
        lacking = wanted.lacking(row, touched, cells, facts) & np.isin(new, _ANSWERED)
        new[lacking] = np.where(old[lacking] == _QUEUED, _QUEUED, _OPEN)
        told = [one for one in told if not lacking[packed.slot_of(one.job)]]
    _write(db, row, old, new, facts, told, areas.changed & touched & (new == _SAVED))
    slots = np.flatnonzero(new != old).tolist()
    return Counter((STATUSES[chr(old[slot])], STATUSES[chr(new[slot])]) for slot in slots)


def _write(
    db: Connection, row: _Row, old: _Codes, new: _Codes, facts: _Facts, told: Sequence[jobs.Answer], again: _Flags
) -> None:
    """Record the new codes of a row, and the reasons of jobs whose status or reason has changed."""
    is_other = new != old
    if is_other.any():
        jobs.put_row(db, row.item, row.block, new.tobytes().decode().rstrip(packed.NO_JOB))
    explained = {one.job for one in told}
    renewed = (row.first + slot for slot in np.flatnonzero(is_other | again).tolist())
    jobs.forget_reasons(db, [job for job in renewed if job in facts.troubled and job not in explained])
    jobs.explain(db, told)


def _is_kept(old: _Codes, changed: _Flags) -> _Flags:
    """Return which jobs are missing or failed with an unchanged selection; these are not reopened."""
    kept: _Flags = ((old == _MISSING) | (old == _FAILED)) & ~changed
    return kept


def _blocks(areas: Sequence[tuple[int, int]]) -> Mapping[int, _Block]:
    """Return active areas by block.

    Args:
        areas: rows of active areas, and whether their selection has changed since last time.
    """
    rows = np.array([area for area, _ in areas], np.int64)
    blocks = rows.max(initial=0) // BLOCK + 1
    active, changed = np.zeros((2, blocks, BLOCK), bool)
    active.flat[rows] = True
    changed.flat[rows] = [changed for _, changed in areas]
    return {block: _Block(active[block], changed[block]) for block in np.unique(rows // BLOCK).tolist()}


def _others(db: Connection, item: int, block: int, rule: str) -> _Flags:
    found = np.zeros(BLOCK, bool)
    for (cells,) in db.execute(sql.OTHER_CELLS, {"item": item, "block": block, "rule": rule}):
        found[packed.unpack_cells(cells).slots] = True
    return found


def _facts(db: Connection, first: int, last: int, selection: Selection) -> _Facts:
    """Return valid crops, missing files and reasons of the jobs of some items."""
    span = {"first": first, "last": last}
    which = selection_values(selection) | span
    crops = {
        asset: np.fromiter((job for (job,) in db.execute(sql.VALID_PRODUCTS, which | {"asset": asset})), np.int64)
        for asset in selection.assets
    }
    lacks: dict[int, list[Lack]] = {}
    for job, *row in db.execute(sql.MISSING_ASSETS, span):
        lacks.setdefault(job, []).append(lack(row, 0))
    return _Facts(crops, lacks, {job for (job,) in db.execute(sql.TROUBLED, span)})


def _clear(
    old: str, selection: Selection, saved: Collection[str], lacks: Sequence[Lack], *, changed: bool
) -> Derived | str:
    """Derive the status of a job whose area is clear; see `settled`. A status alone leaves the reason as is.

    Args:
        old: its current status.
        selection: the crops that it needs.
        saved: assets of the crops that are on disk.
        lacks: assets that are missing.
        changed: whether the selection has changed since its status was last derived.
    """
    if reasons.covers(selection.assets, saved, {one.asset for one in lacks}):
        return settled(selection, saved, lacks)
    return _kept_or_open(old, changed=changed)


def _kept_or_open(old: str, *, changed: bool) -> str:
    """Return the status of an open job, or keep a missing or failed status if the selection is unchanged."""
    return old if old in (Status.MISSING, Status.FAILED) and not changed else OPEN


def _unmeasured(old: str, selection: Selection, lacks: Sequence[Lack]) -> str:
    """Derive the status of a job that lacks files and was never measured, for a selection that has changed."""
    gone = {one.asset for one in lacks}
    hopeless = bool(selection.assets) and gone.issuperset(selection.assets)
    return old if gone.intersection(selection.measured) or hopeless else OPEN


def settled(selection: Selection, saved: Collection[str], lacks: Sequence[Lack]) -> Derived:
    """Return status, reason and cause of a job that has or lacks each selected asset, so nothing is left to do."""
    gone = [one for one in lacks if one.asset in selection.assets and one.asset not in saved]
    if selection.assets and not any(asset in saved for asset in selection.assets):
        return missing(gone)
    return Status.SAVED, f"without {reasons.told(gone)}" if gone else "", ""


def missing(lacks: Sequence[Lack]) -> Derived:
    """Return status, reason and cause of a job that cannot be processed because these assets are missing."""
    return Status.MISSING, reasons.told(lacks), lacks[0].cause
