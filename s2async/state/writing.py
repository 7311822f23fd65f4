"""A state file that is open for writing: its lock, its transactions, and the record of runs."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self

from s2async.areas.faults import Changes
from s2async.catalog.facts import Conventions
from s2async.errors import LocalError
from s2async.events import SearchReport
from s2async.models import Area, Scene, Traffic
from s2async.state import database, jobs, reader_sql, seals, serialization, watch
from s2async.state import writer_sql as sql
from s2async.state.lock import take_lock
from s2async.state.reader import Ledger

if TYPE_CHECKING:
    from filelock import FileLock


class Writing(Ledger):
    """A state file that no other process can write until `close` is called."""

    def __init__(self, path: Path, db: database.Connection, lock: FileLock) -> None:
        super().__init__(path, db)
        self._lock = lock
        self._inode = _inode(path)
        self._run: int | None = None
        self._is_ended = False
        """Whether the run of this process has ended, so that the file should be sealed; see `state.seals`."""
        self._areas: dict[int, Area] = {}
        """The first place of each area in this run, by row of the area."""
        self._namesakes: dict[int, list[Area]] = {}
        """All places of areas that have several places, in the order of the configuration."""
        self._rows: dict[str, int] = {}
        noted = self._first(reader_sql.CONVENTIONS)
        self.conventions = Conventions.of_text(noted[0] if noted else "")
        """What the user says about the offsets of archives."""
        self._settled = ""
        """The settings and areas for which all overpasses have been decided."""
        self.is_regrouped = False
        """Whether items have changed since then so that they may be of other overpasses."""
        self.dropped = 0
        """Number of jobs that have lost values since statuses were last derived: a band has another offset."""

    @classmethod
    def create_or_open(cls, path: Path) -> Self:
        """Take the lock and open the state; create it only if no file exists.

        A file of an older version is first copied to a file next to it (``<name>.v1``) and then migrated.

        Raises:
            StateInUse: another process holds the lock; raised within a second.
            StateError: the file is empty or damaged, belongs to another program, or was written by a newer
                version.
            LocalError: this machine cannot write there.
        """
        path = Path(path)
        lock = take_lock(path)
        db = None
        try:
            is_sealed = not seals.is_broken(path)
            db = database.open_for_writing(path, is_sound=is_sealed)
            with database.state_errors(path):
                watch.begin(db, is_sealed=is_sealed)
                since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
                db.execute(sql.SET_HOLDER, (f"pid {os.getpid()} since {since}",))
                return cls(path, db, lock)
        except BaseException:
            if db is not None:
                db.close()
            lock.release()
            raise

    def close(self) -> None:
        """Close the file and release its lock. Further calls do nothing."""
        super().close()
        if self._is_ended:
            self._is_ended = False
            seals.put(self.path)
        self._lock.release()

    # ---- runs ----

    def begin_run(self, config: str, version: str) -> int:
        """Record that a run begins, to which searches, traffic and new jobs belong.

        Args:
            config: the settings, as text without secrets.
            version: version of the program.

        Returns:
            The number of the run.
        """
        with self._writing() as db:
            self._run = db.execute(sql.BEGIN_RUN, (_now(), version, config)).lastrowid
            jobs.begin_run(db)
            db.execute(sql.UNSETTLE)  # what a killed run leaves undecided is decided by the next run
        return self._this_run

    def note_output(self, folder: Path) -> None:
        """Record the folder into which crops are written; see `output`."""
        if folder != self.output():
            with self._writing() as db:
                db.execute(sql.SET_OUTPUT, (str(folder),))

    def note_configuration(self, path: str) -> None:
        """Record the configuration that the state belongs to; see `configuration`."""
        if path != self.configuration():
            with self._writing() as db:
                db.execute(sql.SET_CONFIGURATION, (path,))

    def shows(self, table: str) -> bool:
        """Return whether a table that was written earlier is still up to date.

        Args:
            table: the text that was passed to `note_table`.
        """
        noted = self._first(watch.NOTED)
        return noted is not None and noted[0] == table

    def note_table(self, table: str) -> None:
        """Record that a table of the crops was written; a change of its data makes this record void.

        Args:
            table: text that identifies the file and what it depends on besides the state.
        """
        with self._writing() as db:
            watch.note(db, table)

    def note_changes(self, changes: Changes) -> None:
        """Record which areas of the configuration were skipped or repaired; see `changes`."""
        if changes != self.changes():
            with self._writing() as db:
                db.execute(sql.SET_CHANGES, (serialization.pack_changes(changes),))

    def end_run(self, how: str) -> None:
        """Record how the run ended."""
        with self._writing() as db:
            db.execute(sql.END_RUN, (_now(), how, self._this_run))
            if how == "finished" and self._settled and not self.is_regrouped:
                db.execute(sql.SET_SETTLED, (self._settled,))
        self._is_ended = True

    def add_traffic(self, traffic: Sequence[Traffic]) -> None:
        """Add requests and bytes to the traffic of this run."""
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

    # ---- helpers ----

    @contextlib.contextmanager
    def _writing(self) -> Iterator[database.Connection]:
        if _inode(self.path) != self._inode:  # SQLite would continue to write to a file without a name
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
        """Return the place that gets the crop of a job: the first place that includes the day."""
        first = self._areas[row]
        if row not in self._namesakes:
            return first
        day = scene.datetime.astimezone(UTC).date()
        return next((place for place in self._namesakes[row] if place.wants(day)), first)

    def _row(self, area: Area) -> int:
        if area.fingerprint not in self._rows:
            raise ValueError(f"area {area.name!r} is not one of this run: sync_areas comes first")
        return self._rows[area.fingerprint]


# ---- small decisions --------------------------------------------------------------------------------------


def _inode(path: Path) -> int | None:
    """Return the inode of the file that currently has this path, or None if there is none."""
    try:
        return os.stat(path).st_ino  # noqa: PTH116 - called before every commit; takes half the time of Path.stat
    except OSError:
        return None


def seconds() -> int:
    """Return the seconds since 1970, UTC."""
    return int(time.time())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
