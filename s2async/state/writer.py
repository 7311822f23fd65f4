"""The state file for writing: the jobs of all runs, and their answers. One process at a time writes it.

Every call is one short transaction. It is on disk when the call returns, and a killed process leaves either all of
it or nothing. Areas are identified by the fingerprint of their polygon, items by collection and id; a job is one
area in one item. Facts of an older edition of an item are kept, but are not valid. The status of a job follows
from its facts, the cloud limits and the selection; `State.update_statuses` derives it again.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from s2async.areas.faults import Changes
from s2async.catalog.facts import Conventions
from s2async.clouds.rule import CloudRule
from s2async.errors import LocalError
from s2async.models import (
    DEFAULT_MEASURED,
    Area,
    BatchResult,
    CloudMeasure,
    FileFact,
    FolderMove,
    Job,
    Numbers,
    Order,
    Scene,
    SearchReport,
    Selection,
    Status,
    Traffic,
)
from s2async.reflectance.decision import Convention
from s2async.reflectance.evidence import Evidence
from s2async.state import database, overpasses, reader_sql, serialization, statuses, transactions
from s2async.state import writer_sql as sql
from s2async.state.reader import Ledger
from s2async.state.records import ATTEMPTS, BandCrop, Cursor, RenamedCrop, StoredCrop
from s2async.state.serialization import hash_address, selection_values, to_scene

if TYPE_CHECKING:
    from filelock import FileLock

__all__ = ["Cursor", "Ledger", "Selection", "State"]


class State(Ledger):
    """The state file; no other process can write it until `close`."""

    def __init__(self, path: Path, db: database.Connection, lock: FileLock) -> None:
        super().__init__(path, db)
        self._lock = lock
        self._inode = _inode(path)
        self._run: int | None = None
        self._areas: dict[int, list[Area]] = {}
        """Places of this run by the row of their area, in the order of the configuration."""
        self._rows: dict[str, int] = {}
        noted = self._first(reader_sql.CONVENTIONS)
        self.conventions = Conventions.of_text(noted[0] if noted else "")
        """What the user says about the offsets of archives."""
        self._settled = ""
        """For which settings and areas all overpasses are decided."""

    @classmethod
    def create_or_open(cls, path: Path) -> State:
        """Take the lock and open the state; create it only if there is no file at all.

        A file of an older version is copied beside itself (``<name>.v1``) and then brought up to date.

        Raises:
            StateInUse: another process holds it; raised within a second.
            StateError: the file is empty, damaged, of another program, or written by a newer version.
            LocalError: this machine cannot write there.
        """
        path = Path(path)
        lock = database.take_lock(path)
        db = None
        try:
            db = database.open_for_writing(path)
            with database.state_errors(path):
                since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
                db.execute(sql.SET_HOLDER, (f"pid {os.getpid()} since {since}",))
                return cls(path, db, lock)
        except BaseException:
            if db is not None:
                db.close()
            lock.release()
            raise

    def close(self) -> None:
        """Close the file and release its lock; a second call does nothing."""
        super().close()
        self._lock.release()

    # ---- runs ----

    def begin_run(self, config: str, version: str) -> int:
        """Record that a run begins; searches, traffic and new jobs belong to it.

        Args:
            config: the settings, as text without secrets.
            version: version of the program.

        Returns:
            The number of the run.
        """
        with self._writing() as db:
            self._run = db.execute(sql.BEGIN_RUN, (_now(), version, config)).lastrowid
            db.execute(sql.UNSETTLE)  # what a run leaves that is killed is decided by the next one
        return self._this_run

    def note_output(self, folder: Path) -> None:
        """Record where crops are written; see `output`."""
        if folder != self.output():
            with self._writing() as db:
                db.execute(sql.SET_OUTPUT, (str(folder),))

    def note_configuration(self, path: str) -> None:
        """Record which configuration the state belongs to; see `configuration`."""
        if path != self.configuration():
            with self._writing() as db:
                db.execute(sql.SET_CONFIGURATION, (path,))

    def note_changes(self, changes: Changes) -> None:
        """Record which areas of the configuration were left out or repaired; see `changes`."""
        if changes != self.changes():
            with self._writing() as db:
                db.execute(sql.SET_CHANGES, (serialization.pack_changes(changes),))

    def end_run(self, how: str) -> None:
        """Record how the run ended."""
        with self._writing() as db:
            db.execute(sql.END_RUN, (_now(), how, self._this_run))
            if how == "finished" and self._settled:
                db.execute(sql.SET_SETTLED, (self._settled,))

    def add_traffic(self, traffic: Sequence[Traffic]) -> None:
        """Add requests and bytes to those of this run."""
        with self._writing() as db:
            self._add_traffic(db, traffic)

    def record_search(self, report: SearchReport) -> None:
        """Record how a search of this run ended."""
        row = (report.key, report.label, report.complete, report.items, report.reason)
        with self._writing() as db:
            db.execute(sql.ADD_SEARCH, (self._this_run, *row))
            if report.estimate is not None:
                estimate = f"{report.estimate.counted} {report.estimate.ids}"
                db.execute(sql.SET_ESTIMATE, (report.key, estimate))

    # ---- areas ----

    def sync_areas(self, areas: Sequence[Area]) -> None:
        """Make these the places of the state. Other areas keep their jobs, but runs and counts leave them out.

        Which folders and tags have to follow is recorded in the same transaction; `maintenance.moving` moves them.
        Where crops lie changes only in `commit_folders`, so nothing is lost if the run is killed in between.

        Raises:
            AreaError: two of them have the same name and folder on the same day.
            RuntimeError: moves of an earlier call are left.
        """
        if self.is_moving():
            raise RuntimeError("moves are left: finish them first")
        with self._writing() as db:
            rows = transactions.sync_areas(db, areas)
        self._rows = {area.fingerprint: rows[area.fingerprint] for area in areas}
        self._areas = defaultdict(list)
        for area in areas:
            self._areas[rows[area.fingerprint]].append(area)

    def is_moving(self) -> bool:
        """Whether crops are still to follow their areas."""
        return self._first(reader_sql.IS_MOVING) is not None

    def folder_moves(self) -> list[FolderMove]:
        """The moves of folders that the last run has recorded and not finished."""
        with database.state_errors(self.path):
            return transactions.folder_moves(self._db)

    def renamed_crops(self) -> list[RenamedCrop]:
        """The crops whose tags have a former name, while these are to be written anew."""
        return [
            RenamedCrop(job=job, asset=asset, path=Path(folder, file), bytes=size, sha256=sha256.hex(), name=name)
            for job, asset, folder, file, size, sha256, name in self._all(reader_sql.RENAMED_CROPS)
        ]

    def park_folders(self) -> None:
        """Record that the folders that move have their temporary names."""
        with self._writing() as db:
            db.execute(sql.PARK_SHELVES)

    def note_tags(self, crops: Sequence[RenamedCrop]) -> None:
        """Record size and hash of crops whose tags are about to be written anew, as they will be."""
        rows = [(crop.bytes, bytes.fromhex(crop.sha256), crop.job, crop.asset) for crop in crops]
        with self._writing() as db:
            db.executemany(sql.SET_TAGGED, rows)

    def commit_folders(self) -> None:
        """Record that all crops lie where they are to be, with the tags that they are to have."""
        with self._writing() as db:
            db.execute(sql.SETTLE_SHELVES)

    def forget_removed(self) -> None:
        """Remove the records of all jobs and crops that belong to no place, and of areas without one."""
        with self._writing() as db:
            transactions.forget_removed(db)

    # ---- the status of jobs ----

    def update_statuses(
        self, judge: Callable[[CloudMeasure], Status | None], selection: Selection
    ) -> dict[tuple[str, str], int]:
        """Derive the status of every measured job of the active areas again; no file is read for it.

        - The measurement is not clear: the status that ``judge`` returns.
        - It is clear, and every selected crop is valid or known to be missing: saved if there is any, or missing.
        - It is clear otherwise: open. Missing and failed jobs keep their status while the selection is the same.
        - It is of another cloud rule than the selection's: open, with the same exceptions.
        - OUTSIDE does not depend on limits and stays.
        - A saved job without a measurement depends on its crops only. A missing one is opened for another
          selection, unless it lacks an asset of the cloud rule.

        Args:
            judge: maps a measurement to CLOUDY, NODATA or OUTSIDE, or to None when it is clear.
            selection: the crops that clear jobs need from now on.

        Returns:
            The number of jobs by old and new status, such as ``{("cloudy", "open"): 310}``.
        """
        with self._writing() as db:
            return statuses.update_all(db, judge, selection)

    def choose_for_all(self, rule: CloudRule, selection: Selection) -> int:
        """Choose again, by the facts that are known, which items count for their overpasses; no file is read.

        Nothing is done where the last run ended with the same settings and areas, and where all items count.

        Args:
            rule: judges measurements.
            selection: which crops count.

        Returns:
            The number of jobs that got another status.
        """
        if not selection.one_per_overpass:
            return 0
        with self._writing() as db:
            areas = db.execute(sql.ACTIVE_AREAS).fetchall()
            self._settled = f"{selection!r} {rule!r} {hash_address(repr(areas)).hex()}"
            if db.execute(sql.SETTLED).fetchone() == (self._settled,):
                return 0
            return overpasses.choose_for_all(db, rule, selection)

    def choose(self, jobs: Collection[Job], rule: CloudRule, selection: Selection) -> list[Job]:
        """Choose which items count for the overpasses of some jobs, and record it.

        Args:
            jobs: jobs of one overpass, measured by this run or before.
            rule: judges measurements.
            selection: which crops count.

        Returns:
            The jobs that are to be cut first: the choice is made again when they have an answer.
        """
        with self._writing() as db:
            rows = overpasses.choose_for(db, jobs, rule, selection, self._this_run)
        return self._jobs(rows, selection)

    def answers(self, jobs: Collection[int]) -> dict[int, tuple[str, str]]:
        """Status and reason of jobs by row."""
        return {job: (status, reason) for job, status, reason in self._all(sql.ANSWERS, (json.dumps([*jobs]),))}

    def reopen_transient(self, limit: int = ATTEMPTS) -> int:
        """Open the jobs again that failed for a transient cause in at most ``limit`` runs; returns how many."""
        with self._writing() as db:
            return db.execute(sql.REOPEN_TRANSIENT, (limit,)).rowcount

    def reopen_due(self, selection: Selection, now: int | None = None) -> int:
        """Open the jobs again that lack a selected file, if it is time to ask its server once more.

        A file may be published later than its item, and a server may err; see `reasons.due`.

        Args:
            selection: which crops count; only its assets matter.
            now: seconds since 1970, UTC; by default this machine's clock.

        Returns:
            The number of jobs.
        """
        with self._writing() as db:
            which = selection_values(selection) | {"now": _seconds() if now is None else now}
            return db.execute(sql.REOPEN_DUE, which).rowcount

    def settle_denied(self, served: Collection[str], selection: Selection) -> list[tuple[str, str]]:
        """Mark files as missing that five runs were denied, while their servers delivered others.

        Call it when a run ends.

        Args:
            served: origins of servers that delivered a file in this run.
            selection: which crops count.

        Returns:
            Asset and reason of each that was settled.
        """
        with self._writing() as db:
            return transactions.settle_denied(db, self._this_run, served, selection)

    def retry(self, *, missing: bool = False) -> int:
        """Open all failed jobs of the active areas again; returns their number.

        Args:
            missing: open also the jobs that lack a file; all their files are requested again.
        """
        again = [Status.FAILED, Status.MISSING] if missing else [Status.FAILED]
        with self._writing() as db:
            opened = db.execute(sql.RETRY, {"again": json.dumps(again), "missing": missing}).rowcount
            db.execute(sql.FORGET_ANSWERS, {"missing": missing})
        return opened

    def forget_crops(self, gone: Sequence[StoredCrop]) -> None:
        """Remove the records of crops that are not on disk any more; their jobs are open again."""
        with self._writing() as db:
            db.executemany(sql.DROP_PRODUCT, [(crop.job, crop.asset) for crop in gone])
            db.executemany(sql.UNSAVE_JOB, [(crop.job,) for crop in gone])

    # ---- jobs to work on ----

    def open_jobs(
        self, selection: Selection, after: Cursor | None = None, limit: int = 500, *, order: Order | None = None
    ) -> tuple[list[Job], Cursor | None]:
        """Return the next page of the jobs that were open when this run began; jobs of one item are adjacent.

        Where one item of each overpass counts, they are in order of time, and those of an overpass are adjacent.

        Jobs that this run's searches added or opened are left out, so that none is queued twice. Call it after
        `sync_areas`, `update_statuses` and `begin_run`.

        Args:
            selection: which crops count; see `add_scene` for ``newest_only``.
            after: where the last page ended; None for the first page.
            limit: maximum number of jobs of the page.
            order: which items come first; if None, those that were found first, or the newest where one item of
                each overpass counts.

        Returns:
            The jobs, and where the next page begins; None when there is none.
        """
        kind = selection_values(selection) | {"run": self._this_run, "limit": limit}
        if order or selection.one_per_overpass:
            oldest_first = order == "oldest"
            sensed, item, job = after or Cursor(*[-sys.maxsize if oldest_first else sys.maxsize] * 3)
            statement = sql.OPEN_JOBS_OLDEST_FIRST if oldest_first else sql.OPEN_JOBS_NEWEST_FIRST
            found = self._all(statement, kind | {"sensed": sensed, "item": item, "job": job})
            rows, last = [row[:3] for row in found], [(row[3], row[1], row[0]) for row in found[-1:]]
        else:
            _, item, job = after or Cursor(0, 0, 0)
            rows = self._all(sql.OPEN_JOBS, kind | {"item": item, "job": job})
            last = [(0, row[1], row[0]) for row in rows[-1:]]
        return self._jobs(rows, selection), Cursor(*last[0]) if len(rows) == limit else None

    def mark_crashed(self, left: transactions.Interrupted) -> list[tuple[str, str, str]]:
        """Mark the jobs that were being decoded when a run was killed or crashed; see `crashed_jobs`.

        Returns:
            Area, item and reason of the jobs that were set aside as failed; `retry` opens them again.
        """
        with self._writing() as db:
            return transactions.mark_crashed(db, left)

    def crashed_jobs(self, selection: Selection) -> list[Job]:
        """Return the open jobs that are marked as crashed: a run decodes them first, one by one.

        An answer clears the mark. See `open_jobs` for the selection.
        """
        which = selection_values(selection) | {"run": self._this_run}
        return self._jobs(self._all(sql.CRASHED_JOBS, which), selection)

    def _jobs(self, rows: Sequence[tuple[int, int, int]], selection: Selection) -> list[Job]:
        with database.state_errors(self.path):
            return transactions.known_jobs(self._db, rows, self._area_of, selection, _seconds())

    def add_scene(self, scene: Scene, areas: Sequence[Area], selection: Selection) -> list[Job]:
        """Record a scene that a search returned, and its jobs: one for each area that it may cover.

        A new edition of a known item (or other hrefs of its assets) opens all its jobs again and makes what
        was known of them invalid; a mere update opens the jobs that lack a file.

        Args:
            scene: the item.
            areas: areas that it may cover.
            selection: with ``newest_only``, an area gets no job where a newer reprocessing of the item has one,
                unless the file of that is missing.

        Returns:
            The jobs to work on: the new ones, and those of active areas that were opened again. Empty when the
            same scene comes a second time.

        Raises:
            ValueError: an area was not given to `sync_areas`.
        """
        area_rows = [self._row(area) for area in areas]
        with self._writing() as db:
            known = db.execute(reader_sql.FIND_ITEM, (scene.collection, scene.id)).fetchone()
            if known is None and not areas:
                return []
            if known is None:
                item, again = transactions.add_item(db, scene, selection.measured), []
            else:
                item, *columns = known
                old = to_scene(columns)
                again = transactions.update_item(db, self._this_run, item, old, scene, selection.measured)
                if old != scene:
                    transactions.decide_offsets(db, item, self.conventions)
            newer = (
                {area_row for (area_row,) in db.execute(sql.AREAS_OF_NEWER, (item,))}
                if selection.newest_only
                else set()
            )
            alias = transactions.alias_of(db, item, scene)
            jobs = [
                transactions.known_job(
                    db, item, job, self._area_of(area_row, scene), scene, selection, _seconds(), alias=alias
                )
                for job, area_row in again
                if area_row not in newer
            ]
            for area, area_row in zip(areas, area_rows, strict=True):
                job = None if area_row in newer else transactions.add_job(db, item, area_row, self._this_run)
                if job is not None:
                    jobs.append(Job(id=job, area=area, scene=scene, alias=alias))
        return jobs

    def known_files(self, scene: Scene) -> tuple[FileFact, ...]:
        """The scene's files whose headers this run or an earlier one has read."""
        headers = self._all(sql.KNOWN_HEADERS, (scene.collection, scene.id))
        return tuple(
            FileFact(asset=key, href=scene.assets[key].href, size=size, etag=etag, header=header)
            for key, address, size, etag, header in headers
            if key in scene.assets and hash_address(scene.assets[key].href) == address
        )

    # ---- answers ----

    def begin(self, jobs: Sequence[Job], selection: Selection) -> bool:
        """Note that a run starts to work on jobs of one scene; call it before it writes their first crop.

        Crops of another mask or format may have the same file names as those to be written. Their records are
        removed now: if a run stops between a new file and its record, the record of the old one would be wrong.

        Returns:
            False when a search has replaced the edition of their item meanwhile and opened the jobs again. Do not
            work on them then: they would overwrite crops of the new edition.
        """
        if self._present(jobs[0].scene) is None:
            return False
        kind = {"mask": selection.mask, "format": selection.format, "harmonised": selection.harmonised}
        written = [
            kind | {"job": job.id, "asset": asset}
            for job in jobs
            for asset in selection.assets
            if asset not in job.saved
        ]
        with self._writing() as db:
            db.executemany(sql.DROP_OTHER_KIND, written)
        return True

    def record(
        self, result: BatchResult, traffic: Sequence[Traffic], measured: Collection[str] = DEFAULT_MEASURED
    ) -> None:
        """Record the answers of a batch and its traffic, and the traffic beside it since the last call.

        Jobs that are left stay open, with what was measured and saved, so that no run does this again. Jobs that
        are undecided stay open, with their measurements.

        An answer is rejected when a search has replaced the edition of its item meanwhile: the job stays open. Its
        crops may have overwritten crops of the new edition, so the records of these are also removed.

        Args:
            result: of the batch.
            traffic: beside that of the batch.
            measured: keys of the assets that the cloud rule measures.
        """
        with self._writing() as db:
            self._add_traffic(db, [*result.traffic, *traffic])
            jobs = [*(outcome.job for outcome in result.outcomes), *result.left, *result.undecided]
            if not jobs:
                return
            item = self._present(jobs[0].scene)
            if item is not None:
                transactions.note_measures(db, result.undecided)
                transactions.add_files(db, item, result.files)
                for outcome in result.outcomes:
                    transactions.accept(db, item, outcome, measured, self._this_run, _seconds())
                for job in result.left:
                    transactions.keep(db, job.id, job.measure, job.products)
                cut = [crop for outcome in result.outcomes for crop in outcome.products]
                cut += [crop for job in result.left for crop in job.products]
                if any(crop.numbers for crop in cut):
                    transactions.decide_offsets(db, item, self.conventions)
            else:
                for outcome in result.outcomes:
                    transactions.reject(db, outcome.job.id, outcome.products)
                for job in result.left:
                    transactions.reject(db, job.id, job.products)

    # ---- offsets of reflectance bands ----

    def evidence(self, scene: Scene) -> Evidence:
        """What the pixels of all areas and reflectance bands of a scene that were cut so far show together."""
        item = self._present(scene)
        return Evidence() if item is None else Evidence(*self._first(reader_sql.EVIDENCE, (item,)))

    def note_convention(self, collection: str, convention: Convention | None) -> None:
        """Record what the user says about the offsets of a catalogue's files; if it is new, decide again on all.

        Args:
            collection: the one that is searched now. Items of others keep what was said when they were searched.
            convention: of its files; None to conclude it from hrefs.
        """
        conventions = self.conventions.noted(collection, convention)
        if conventions == self.conventions:
            return
        self.conventions = conventions
        with self._writing() as db:
            db.execute(sql.SET_CONVENTIONS, (conventions.text(),))
            for (item,) in db.execute(reader_sql.ITEMS_WITH_BANDS).fetchall():
                transactions.decide_offsets(db, item, conventions)

    def note_evidence(self, found: Sequence[tuple[BandCrop, Evidence, float | None]]) -> None:
        """Record what crops of earlier versions show and state, and decide on the offsets of their bands."""
        with self._writing() as db:
            for crop, evidence, stated in found:
                transactions.add_evidence(db, crop.job, crop.asset, evidence, stated)
            items = {db.execute(sql.ITEM_OF_JOB, (crop.job,)).fetchone()[0] for crop, *_ in found}
            for item in sorted(items):
                transactions.decide_offsets(db, item, self.conventions)

    def begin_rewriting(self, *, harmonised: bool, untold: bool) -> None:
        """Record that crops of reflectance bands are about to be written anew; see `rewriting`."""
        with self._writing() as db:
            db.execute(sql.SET_REWRITING, (f"{harmonised:d}{untold:d}",))

    def note_rewritten(self, crops: Sequence[tuple[BandCrop, Numbers]]) -> None:
        """Record crops that were written anew, with what their tags say now."""
        rows = [
            (crop.bytes, bytes.fromhex(crop.sha256), numbers.harmonised, numbers.says, crop.job, crop.asset)
            for crop, numbers in crops
        ]
        with self._writing() as db:
            db.executemany(sql.SET_REWRITTEN, rows)

    def end_rewriting(self) -> None:
        """Record that all crops of reflectance bands are as they are to be."""
        with self._writing() as db:
            db.execute(sql.END_REWRITING)

    def forget_bands(self, lost: Sequence[BandCrop]) -> None:
        """Remove the records of crops whose pixels must be read again; their jobs are open again."""
        with self._writing() as db:
            db.executemany(sql.DROP_PRODUCT, [(crop.job, crop.asset) for crop in lost])
            db.executemany(sql.UNSAVE_JOB, [(crop.job,) for crop in lost])

    # ---- helpers ----

    @contextlib.contextmanager
    def _writing(self) -> Iterator[database.Connection]:
        if _inode(self.path) != self._inode:  # SQLite would go on writing to a file without a name
            raise LocalError(f"the state {self.path} has vanished; put it back and run again")
        with database.state_errors(self.path), database.transaction(self._db) as db:
            yield db

    @property
    def _this_run(self) -> int:
        if self._run is None:
            raise RuntimeError("begin_run comes first")
        return self._run

    def _add_traffic(self, db: database.Connection, traffic: Sequence[Traffic]) -> None:
        rows = [(self._this_run, t.stage, t.asset, t.use, t.requests, t.bytes) for t in traffic]
        db.executemany(sql.ADD_TRAFFIC, rows)

    def _area_of(self, row: int, scene: Scene) -> Area:
        """The place that gets the crop of a job: the first one that wants the day."""
        places = self._areas[row]
        if len(places) == 1:
            return places[0]
        day = scene.datetime.astimezone(UTC).date()
        return next((place for place in places if place.wants(day)), places[0])

    def _row(self, area: Area) -> int:
        if area.fingerprint not in self._rows:
            raise ValueError(f"area {area.name!r} is not one of this run: sync_areas comes first")
        return self._rows[area.fingerprint]


# ---- small decisions --------------------------------------------------------------------------------------


def _inode(path: Path) -> int | None:
    """The file that has this name at the moment; None when there is none."""
    try:
        return os.stat(path).st_ino  # noqa: PTH116 - before every commit: half the time of Path.stat
    except OSError:
        return None


def _seconds() -> int:
    """Seconds since 1970, UTC."""
    return int(time.time())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
