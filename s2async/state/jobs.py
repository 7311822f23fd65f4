"""The codes of jobs in the state: which jobs exist, their statuses, and the reasons of the few jobs that need one.

Each function takes the open transaction. Every failed or missing job has a row in the table ``troubles``, as has
every other job with a reason or with failed attempts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from s2async.models import Status
from s2async.state import packed
from s2async.state.database import Connection
from s2async.state.packed import CODES, NO_JOB, QUEUED
from s2async.state.records import OPEN

_CODES = "SELECT codes FROM asked WHERE item = ? AND block = ?"
_PUT = "INSERT OR REPLACE INTO asked (item, block, codes) VALUES (?, ?, ?)"
_DROP = "DELETE FROM asked WHERE item = ? AND block = ?"
_FORGET = "DELETE FROM troubles WHERE job = ?"
_FORGET_ALL = "DELETE FROM troubles WHERE job IN (SELECT value FROM json_each(?))"
_EXPLAIN = """
INSERT INTO troubles (job, attempts, transient, reason, cause) VALUES (:job, :failed, :transient, :reason, :cause)
ON CONFLICT (job) DO UPDATE SET
  attempts = attempts + excluded.attempts, transient = excluded.transient,
  reason = excluded.reason, cause = excluded.cause
"""
_QUIET = "UPDATE troubles SET transient = 0, reason = '', cause = '' WHERE job = ?"
_UNQUEUE = "UPDATE asked SET codes = replace(codes, 'O', 'o') WHERE instr(codes, 'O') > 0"


class Answer(NamedTuple):
    """What is recorded about a job that is not open."""

    job: int
    status: Status
    reason: str = ""
    cause: str = ""
    transient: bool = False
    tried: bool = False
    """Whether a run has just tried the job, so that a failure counts as one more attempt."""


def codes_of(db: Connection, item: int, block: int) -> str:
    """Return the codes of the jobs of an item and a block."""
    row = db.execute(_CODES, (item, block)).fetchone()
    return row[0] if row else ""


def put_codes(db: Connection, changes: Mapping[int, str]) -> None:
    """Set the codes of jobs, all of which are known."""
    for (item, block), jobs in packed.by_row(changes).items():
        old = codes_of(db, item, block)
        put_row(db, item, block, packed.with_codes(old, {packed.slot_of(job): changes[job] for job in jobs}))


def put_row(db: Connection, item: int, block: int, codes: str) -> None:
    """Set the codes of an item and a block; delete the row if it has no jobs."""
    if codes:
        db.execute(_PUT, (item, block, codes))
    else:
        db.execute(_DROP, (item, block))


def add(db: Connection, item: int, areas: Iterable[int]) -> list[int]:
    """Add the jobs of an item for some areas as queued, and return those that are new."""
    added: list[int] = []
    for (_, block), jobs in packed.by_row(packed.job_number(item, area) for area in areas).items():
        old = codes_of(db, item, block)
        new = [job for job in jobs if packed.code_at(old, packed.slot_of(job)) == NO_JOB]
        if new:
            put_row(db, item, block, packed.with_codes(old, dict.fromkeys(map(packed.slot_of, new), QUEUED)))
            added += new
    return added


def begin_run(db: Connection) -> None:
    """Turn all queued jobs into open jobs of earlier runs."""
    db.execute(_UNQUEUE)


def are_known(db: Connection, jobs: Iterable[int]) -> bool:
    """Return whether all these jobs are in the state."""
    return all(
        packed.code_at(codes, packed.slot_of(job)) != NO_JOB
        for (item, block), several in packed.by_row(jobs).items()
        for codes in (codes_of(db, item, block),)
        for job in several
    )


def answer(db: Connection, answers: Sequence[Answer]) -> None:
    """Record the statuses of jobs that are not open, and their reasons."""
    put_codes(db, {one.job: CODES[one.status] for one in answers})
    explain(db, answers)


def explain(db: Connection, answers: Sequence[Answer]) -> None:
    """Record the reasons of jobs that are not open, without their statuses."""
    forgotten = []
    for one in answers:
        if one.reason or one.cause or one.status in (Status.FAILED, Status.MISSING):
            failed = one.tried and one.status is Status.FAILED
            values = {"job": one.job, "failed": failed, "transient": one.transient}
            db.execute(_EXPLAIN, values | {"reason": one.reason, "cause": one.cause})
        else:
            forgotten.append(one.job)
    forget_reasons(db, forgotten)


def reopen(db: Connection, jobs: Collection[int], *, queued: bool = False, counting: bool = False) -> None:
    """Reopen jobs, and forget why they were closed.

    Args:
        db: the open transaction.
        jobs: the jobs.
        queued: whether the current run puts them into its queue.
        counting: whether their failed attempts still count.
    """
    put_codes(db, dict.fromkeys(jobs, QUEUED if queued else CODES[OPEN]))
    db.executemany(_QUIET if counting else _FORGET, [(job,) for job in jobs])


def unsave(db: Connection, jobs: Iterable[int], *, queued: bool = False) -> None:
    """Reopen those of the jobs that are saved or failed, because one of their crops is gone."""
    done = {CODES[Status.SAVED], CODES[Status.FAILED]}
    replace_codes(db, jobs, lambda code: (QUEUED if queued else CODES[OPEN]) if code in done else code)


def replace_codes(db: Connection, jobs: Iterable[int], change: Callable[[str], str]) -> None:
    """Replace the codes of some jobs by new codes that depend on them."""
    for (item, block), several in packed.by_row(jobs).items():
        old = codes_of(db, item, block)
        slots = map(packed.slot_of, several)
        put_row(
            db, item, block, packed.with_codes(old, {slot: change(packed.code_at(old, slot)) for slot in slots})
        )


def forget_reasons(db: Connection, jobs: Iterable[int]) -> None:
    """Forget the reasons of jobs, and their failed attempts."""
    db.execute(_FORGET_ALL, (json.dumps([*jobs]),))


def forget(db: Connection, jobs: Collection[int]) -> None:
    """Remove jobs and their reasons."""
    put_codes(db, dict.fromkeys(jobs, NO_JOB))
    forget_reasons(db, jobs)
