"""Parts of the state's transactions about answers: what was measured, saved and missing, and offsets of bands."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from s2async import reasons
from s2async.catalog.facts import Conventions, facts
from s2async.causes import Cause, Lack
from s2async.models import BandEvidence, BatchResult, FileFact, Job, Outcome, Product, Selection, Status
from s2async.reflectance.decision import decide, is_reflectance
from s2async.reflectance.evidence import Evidence
from s2async.state import jobs, measures, reader_sql, statuses, values
from s2async.state import writer_sql as sql
from s2async.state.database import Connection
from s2async.state.packed import item_of
from s2async.state.serialization import hash_address, lack, selection_values, to_scene
from s2async.zonal.wanted import AreaValues, Wanted


def add_files(db: Connection, item: int, facts: Sequence[FileFact]) -> None:
    """Record sizes and headers of files of the current edition of an item."""
    db.executemany(sql.ADD_FILE, [(item, fact.asset, fact.size, fact.etag) for fact in facts])
    headers = [(item, fact.asset, hash_address(fact.href), fact.header) for fact in facts if fact.header]
    db.executemany(sql.ADD_HEADER, headers)


def accept(
    db: Connection, item: int, outcomes: Sequence[Outcome], measured: Collection[str], run: int, now: int
) -> None:
    """Record answers about the current edition of an item.

    Args:
        db: the open transaction.
        item: row of the item.
        outcomes: the answers.
        measured: keys of the assets that the cloud rule measures.
        run: row of the run that produced the answers.
        now: seconds since 1970, UTC.

    Raises:
        ValueError: a job is not in this state or not of this item.
    """
    numbers = [outcome.job.id for outcome in outcomes]
    if any(item_of(job) != item for job in numbers) or not jobs.are_known(db, numbers):
        raise ValueError(f"jobs of {outcomes[0].job.scene.id} are not in this state")
    jobs.answer(db, [_answer(outcome) for outcome in outcomes])
    # A failed job may not have been decoded at all.
    marked = [outcome.job.id for outcome in outcomes if outcome.status is not Status.FAILED]
    db.execute(sql.CLEAR_MARKS, (json.dumps(marked),))
    measures.note(db, [(outcome.job.id, outcome.measure) for outcome in outcomes if outcome.measure])
    for outcome in outcomes:
        job = outcome.job
        keep(db, job.id, outcome.products)
        for absence in outcome.lacks:
            if not absence.known:
                _add_absence(db, item, job.id, absence, run, now)
        if job.lacks:
            lacking = {absence.asset for absence in outcome.lacks}
            there = {crop.asset for crop in outcome.products}.union(measured if outcome.measure else ())
            there |= {result.asset for result in outcome.results if isinstance(result, BandEvidence)}
            db.executemany(sql.DROP_ABSENCE, [(job.id, asset) for asset in there - lacking])


def without_premature(db: Connection, item: int, result: BatchResult) -> BatchResult:
    """Reopen the jobs of a result that lack an asset which their item did not offer before, but offers now."""
    lacking = {
        lack.asset
        for outcome in result.outcomes
        for lack in outcome.lacks
        if lack.cause is Cause.NO_ASSET and not lack.known
    }
    named = {key for (key,) in db.execute(reader_sql.ASSETS_OF_ITEM, (item,))} & lacking if lacking else set()
    if not named:
        return result
    done: list[Outcome] = []
    left = [*result.left]
    for outcome in result.outcomes:
        if any(lack.asset in named and lack.cause is Cause.NO_ASSET for lack in outcome.lacks):
            products, results = outcome.products, outcome.results
            left.append(replace(outcome.job, measure=outcome.measure, products=products, results=results))
        else:
            done.append(outcome)
    return replace(result, outcomes=tuple(done), left=tuple(left))


def _answer(outcome: Outcome) -> jobs.Answer:
    return jobs.Answer(
        outcome.job.id, outcome.status, outcome.reason, outcome.cause or "", outcome.transient, tried=True
    )


def keep(db: Connection, job: int, products: Iterable[Product]) -> None:
    """Record what was saved for a job, for the current edition of its item.

    If a product has numbers, `decide_offsets` must be called afterwards.
    """
    for crop in products:
        values = {
            "job": job,
            "asset": crop.asset,
            "mask": crop.mask,
            "format": crop.format,
            "epsg": crop.epsg,
            "bytes": crop.bytes,
            "sha256": bytes.fromhex(crop.sha256),
            "file": crop.file,
            # A band without numbers was rebuilt from a crop of an earlier version, which has no tags about the
            # offset.
            "harmonised": (
                crop.numbers.harmonised if crop.numbers else False if is_reflectance(crop.asset) else None
            ),
            "says": crop.numbers.says if crop.numbers else None,
        }
        db.execute(sql.ADD_PRODUCT, values)
        if crop.numbers:
            add_evidence(db, job, crop.asset, crop.evidence, crop.stated)


def add_evidence(db: Connection, job: int, asset: str, evidence: Evidence | None, stated: float | None) -> None:
    """Record what a crop shows about the offset of its band, and what its source file states.

    `decide_offsets` must be called afterwards. The pixels of a crop that is cut again replace the former pixels.
    """
    which = {"job": job, "asset": asset}
    if evidence is not None:
        seen = {"pixels": evidence.pixels, "dark": evidence.dark, "wrapped": evidence.wrapped}
        db.execute(sql.ADD_EVIDENCE, which | seen)
    db.execute(sql.ADD_BAND, which | {"stated": stated})


def keep_results(
    db: Connection, item: int, found: Iterable[tuple[Job, Sequence[object]]], wanted: Wanted | None
) -> bool:
    """Record the results of jobs of one item other than crops: values, and evidence of offsets.

    Args:
        db: the open transaction.
        item: row of the item.
        found: results by job.
        wanted: the requested values.

    Returns:
        Whether `decide_offsets` must be called afterwards.
    """
    results = [(job.id, several) for job, several in found if several]
    values.note(db, item, results, wanted)
    stated = values.note_evidence(db, item, results)
    known = {asset: old for asset, old, *_ in db.execute(reader_sql.BANDS, (item,))} if stated else {}
    for asset, offset in stated.items():
        if asset not in known or known[asset] != offset:
            db.execute(sql.ADD_BAND, {"job": results[0][0], "asset": asset, "stated": offset})
    return bool(stated)


def evidence(db: Connection, item: int) -> Evidence:
    """Return the combined evidence from all pixels of an item that were cut or read for values.

    For a band that was both cut and read, the evidence with more pixels is used, because the pixels are mostly the
    same.
    """
    cut = {asset: Evidence(*sums) for asset, *sums in db.execute(reader_sql.EVIDENCE, (item,))}
    read = values.evidence(db, item)
    both = ((cut.get(asset, Evidence()), read.get(asset, Evidence())) for asset in cut.keys() | read.keys())
    return sum((max(pair, key=lambda one: one.pixels) for pair in both), Evidence())


def offsets_used(
    found: Iterable[tuple[Job, Sequence[object]]], wanted: Wanted | None
) -> set[tuple[str, int | None]]:
    """Return the bands from which the results of jobs were computed, each with the offset that was used."""
    bands = {wanted.key(variable): variable.bands for variable in wanted.variables} if wanted else {}
    several = (result for _, results in found for result in results if isinstance(result, AreaValues))
    return {pair for one in several for pair in zip(bands.get(one.key, ()), one.offsets, strict=False)}


def decide_offsets(
    db: Connection, item: int, conventions: Conventions, used: Collection[tuple[str, int | None]] = ()
) -> int:
    """Decide again on the offsets of the bands of an item from which crops were cut or values computed.

    Values that were computed with another offset are dropped; the next judgement reopens their jobs.

    Args:
        db: the open transaction.
        item: row of the item.
        conventions: what the user says about archives.
        used: bands and offsets of the values that were recorded last. Another batch may have changed the decision
            since they were computed.

    Returns:
        The number of jobs that lose values.
    """
    bands = db.execute(reader_sql.BANDS, (item,)).fetchall()
    if not bands:
        return 0
    scene = to_scene(db.execute(reader_sql.ITEM, (item,)).fetchone()[1:])
    seen, offsets = evidence(db, item), dict[str, int | None]()
    for asset, stated, *before in bands:
        override = conventions.of(scene, asset)
        found = decide(asset, facts(scene, asset, convention_override=override, tag=stated), seen)
        now = [found.dn, str(found.basis), found.doubt]
        if now != before:
            db.execute(sql.SET_BAND, (*now, item, asset))
        if now != before or any(band == asset and dn != found.dn for band, dn in used):
            offsets[asset] = found.dn
    lost = values.follow_offsets(db, item, offsets) if offsets else 0
    if lost:
        db.execute(sql.FORGET_JUDGED)
    return lost


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
    """Mark files as missing that were denied often enough while their servers delivered other files.

    Args:
        db: the open transaction.
        run: row of the run that ends.
        served: origins of servers that delivered a file in this run.
        selection: which crops count.

    Returns:
        Asset and reason of each file that was marked.
    """
    db.execute(sql.SERVED_OTHERS, (run, json.dumps(sorted(served))))
    denied = db.execute(sql.DENIED_ALONE, {"most": reasons.DENIALS, "run": run}).fetchall()
    settled = [(job, asset, f"missing or not public: {reason}") for job, _, asset, reason in denied]
    db.executemany(sql.SETTLE_ABSENCE, [(reason, job, asset) for job, asset, reason in settled])
    for job, item in {(job, item) for job, item, *_ in denied}:
        which = selection_values(selection) | {"item": item, "first": job, "last": job}
        lacks = [lack(columns, 0) for _, *columns in db.execute(sql.VALID_ABSENCES, which)]
        needed = [one for one in lacks if one.asset in (*selection.measured, *selection.assets)]
        if all(one.missing for one in needed):
            saved = {asset for _, asset in db.execute(sql.VALID_ASSETS, which)}
            is_measured = measures.of_jobs(db, [job], selection.rule)
            found = statuses.settled(selection, saved, needed) if is_measured else statuses.missing(needed)
            jobs.answer(db, [jobs.Answer(job, *found)])
    return [(asset, reason) for _, asset, reason in settled]


def reject(db: Connection, job: int, products: Iterable[Product]) -> None:
    """Reject a result for an edition that was replaced: only remove the records of crops that it overwrote."""
    for crop in products:
        if db.execute(sql.DROP_PRODUCT, (job, crop.asset)).rowcount:
            jobs.unsave(db, [job], queued=True)
