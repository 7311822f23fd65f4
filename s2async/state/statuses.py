"""The status of jobs, derived from their facts, the cloud limits and the selection. No file is read for it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from s2async import reasons
from s2async.models import DEFAULT_RULE, CloudMeasure, Lack, Selection, Status
from s2async.state import writer_sql as sql
from s2async.state.database import Connection
from s2async.state.records import OPEN
from s2async.state.serialization import lack, selection_values, unpack_measure

PAGE = 5000
"""Jobs whose status is derived at once."""

Derived = tuple[str, str, str]
"""Status, reason and cause of a job."""


def update_all(
    db: Connection, judge: Callable[[CloudMeasure], Status | None], selection: Selection
) -> dict[tuple[str, str], int]:
    """Derive the status of every job of the active areas again; see `state.writer.State.update_statuses`.

    Args:
        db: the open transaction.
        judge: maps a measurement to CLOUDY, NODATA or OUTSIDE, or to None when it is clear.
        selection: the crops that clear jobs need.

    Returns:
        The number of jobs by old and new status.
    """
    other_rule = [] if selection.rule == DEFAULT_RULE else [selection.rule]
    other_numbers = ["harmonised"] if selection.harmonised else []
    kind = [selection.mask, selection.format, *other_rule, *other_numbers]
    text = json.dumps([sorted(set(selection.assets)), *kind])
    changes: Counter[tuple[str, str]] = Counter()
    page = {"wanted": text, "job": 0, "limit": PAGE}
    while rows := db.execute(sql.STATUS_PAGE, page).fetchall():
        page["job"] = rows[-1][0]
        saved, lacks = _facts(db, rows, selection)
        for job, old, total, histogram, changed in rows:
            measured = unpack_measure(total, histogram, selection.rule)
            not_clear = judge(measured) if measured else None
            known = saved.get(job, set()), lacks.get(job, [])
            if old == Status.DUPLICATE and selection.one_per_overpass and measured and not_clear != Status.NODATA:
                continue  # the choice among its overpass is made later, see `state.overpasses`
            if not_clear:
                status, reason, cause = str(not_clear), "", ""
            elif histogram is not None and not measured:  # another rule has measured it
                status, reason, cause = _kept_or_open(old, changed=bool(changed))
            elif measured or old == Status.SAVED:
                status, reason, cause = _clear(old, selection, *known, changed=bool(changed))
            else:
                status, reason, cause = _unmeasured(old, selection, known[1])
            if status != old or (changed and status == Status.SAVED):  # the reason may be another now
                new = {"status": status, "reason": reason, "cause": cause, "job": job}
                db.execute(sql.SET_STATUS, new)
            if status != old:
                changes[old, str(status)] += 1
    db.execute(sql.SET_SELECTION, {"wanted": text})
    return dict(changes)


def _facts(
    db: Connection, rows: Sequence[Sequence[Any]], selection: Selection
) -> tuple[Mapping[int, set[str]], Mapping[int, list[Lack]]]:
    """Assets of the valid crops, and the missing files, of a page of jobs."""
    span = {"first": rows[0][0], "last": rows[-1][0]}
    saved: dict[int, set[str]] = {}
    which = selection_values(selection)
    for job, asset in db.execute(sql.VALID_PRODUCTS, which | span):
        saved.setdefault(job, set()).add(asset)
    lacks: dict[int, list[Lack]] = {}
    for job, *row in db.execute(sql.MISSING_ASSETS, span):
        lacks.setdefault(job, []).append(lack(row, 0))
    return saved, lacks


def _clear(
    old: str, selection: Selection, saved: Collection[str], lacks: Sequence[Lack], *, changed: bool
) -> Derived:
    """Derive the status of a job whose area is clear; see `settled`.

    Args:
        old: its status until now.
        selection: the crops that it needs.
        saved: assets of the crops that are on disk.
        lacks: assets that are missing.
        changed: the selection is another than when its status was derived last.
    """
    if reasons.covers(selection.assets, saved, {one.asset for one in lacks}):
        return settled(selection, saved, lacks)
    return _kept_or_open(old, changed=changed)


def _kept_or_open(old: str, *, changed: bool) -> Derived:
    """Open a job, unless it is missing or failed and the selection is the same."""
    return (old if old in (Status.MISSING, Status.FAILED) and not changed else OPEN), "", ""


def _unmeasured(old: str, selection: Selection, lacks: Sequence[Lack]) -> Derived:
    """Derive the status of a job that lacks files and was never measured, for a selection that has changed."""
    gone = {one.asset for one in lacks}
    hopeless = bool(selection.assets) and gone.issuperset(selection.assets)
    return (old if gone.intersection(selection.measured) or hopeless else OPEN), "", ""


def settled(selection: Selection, saved: Collection[str], lacks: Sequence[Lack]) -> Derived:
    """Status, reason and cause of a job that has or lacks each selected asset, so that nothing is left to do."""
    gone = [one for one in lacks if one.asset in selection.assets and one.asset not in saved]
    if selection.assets and not any(asset in saved for asset in selection.assets):
        return missing(gone)
    return Status.SAVED, f"without {reasons.told(gone)}" if gone else "", ""


def missing(lacks: Sequence[Lack]) -> Derived:
    """Status, reason and cause of a job that cannot be processed because these assets are missing."""
    return Status.MISSING, reasons.told(lacks), lacks[0].cause
