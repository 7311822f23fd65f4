"""The status of jobs, drawn anew from what is known of them: nothing is read again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from s2async import reasons
from s2async.models import CloudMeasure, Lack, Selection, Status
from s2async.state import sql
from s2async.state.records import OPEN
from s2async.state.rows import lack, selection_values, unpack_measure
from s2async.state.schema import Connection

JUDGED_AT_ONCE = 5000
"""Jobs that are judged again in one page."""

Judged = tuple[str, str, str]
"""Status, reason and cause of a job."""


def judge_all(
    db: Connection, judge: Callable[[CloudMeasure], Status | None], selection: Selection
) -> dict[tuple[str, str], int]:
    """Draw the status of every job of the active areas anew; see `state.writer.State.rejudge`.

    Args:
        db: The open transaction.
        judge: A measurement to CLOUDY, NODATA or OUTSIDE, or to None when it is clear.
        selection: the crops that clear jobs need.

    Returns:
        How many jobs went from one status to another.
    """
    text = json.dumps([sorted(set(selection.assets)), selection.mask, selection.format])
    changes: Counter[tuple[str, str]] = Counter()
    page = {"wanted": text, "job": 0, "limit": JUDGED_AT_ONCE}
    while rows := db.execute(sql.JUDGE_PAGE, page).fetchall():
        page["job"] = rows[-1][0]
        saved, lacks = _facts(db, rows, selection)
        for job, old, total, histogram, other_wanted in rows:
            measured = unpack_measure(total, histogram)
            spoilt = judge(measured) if measured else None
            known = saved.get(job, set()), lacks.get(job, [])
            if spoilt:
                status, reason, cause = str(spoilt), "", ""
            elif measured or old == Status.SAVED:
                status, reason, cause = _clear(old, selection, *known, other_wanted=bool(other_wanted))
            else:
                status, reason, cause = _unseen(old, selection, known[1])
            if status != old or (other_wanted and status == Status.SAVED):  # it may lack others now
                new = {"status": status, "reason": reason, "cause": cause, "job": job}
                db.execute(sql.JUDGE, new)
            if status != old:
                changes[old, str(status)] += 1
    db.execute(sql.JUDGED_FOR, {"wanted": text})
    return dict(changes)


def _facts(
    db: Connection, rows: Sequence[Sequence[Any]], selection: Selection
) -> tuple[Mapping[int, set[str]], Mapping[int, list[Lack]]]:
    """Assets of valid crops, and what is missing, of a page of jobs."""
    span = {"first": rows[0][0], "last": rows[-1][0]}
    saved: dict[int, set[str]] = {}
    kind = selection_values(selection)
    for job, asset in db.execute(sql.VALID_PRODUCTS, kind | span):
        saved.setdefault(job, set()).add(asset)
    lacks: dict[int, list[Lack]] = {}
    for job, *row in db.execute(sql.MISSING_ASSETS, span):
        lacks.setdefault(job, []).append(lack(row, 0))
    return saved, lacks


def _clear(
    old: str, selection: Selection, saved: Collection[str], lacks: Sequence[Lack], *, other_wanted: bool
) -> Judged:
    """What a job is whose area is clear; see `settled`.

    Args:
        old: Its status until now.
        selection: the crops that it needs.
        saved: Assets of those that are on disk.
        lacks: Assets that are missing.
        other_wanted: Other crops were wanted when it was judged last.
    """
    if reasons.covers(selection.assets, saved, {one.asset for one in lacks}):
        return settled(selection, saved, lacks)
    if old in (Status.MISSING, Status.FAILED) and not other_wanted:
        return old, "", ""
    return OPEN, "", ""


def _unseen(old: str, selection: Selection, lacks: Sequence[Lack]) -> Judged:
    """What a job is that was never measured because it lacks files, now that other crops are wanted."""
    gone = {one.asset for one in lacks}
    hopeless = bool(selection.assets) and gone.issuperset(selection.assets)
    return (old if "scl" in gone or hopeless else OPEN), "", ""


def settled(selection: Selection, saved: Collection[str], lacks: Sequence[Lack]) -> Judged:
    """Status, reason and cause of a job of which every wanted asset is on disk or missing."""
    gone = [one for one in lacks if one.asset in selection.assets and one.asset not in saved]
    if selection.assets and not any(asset in saved for asset in selection.assets):
        return missing(gone)
    return Status.SAVED, f"without {reasons.told(gone)}" if gone else "", ""


def missing(lacks: Sequence[Lack]) -> Judged:
    """Status, reason and cause of a job that can have nothing for want of these assets."""
    return Status.MISSING, reasons.told(lacks), lacks[0].cause
