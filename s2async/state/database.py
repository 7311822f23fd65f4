"""The state file as an SQLite database: opening, creating, checking, and a single transaction.

A state has the application id of s2async in its header. It is created under another name and then renamed, so a
file with its final name is either complete, or damaged, or belongs to another program. It is never replaced.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from sqlite3 import Connection
from typing import Any, Self

from s2async import disk_checks, files
from s2async.errors import LocalError, StateDamaged, StateError, StateInUse
from s2async.log import log
from s2async.state import schema

__all__ = [
    "Connection",
    "StateFile",
    "check_place",
    "damaged",
    "many_rows",
    "move_aside",
    "open_for_reading",
    "open_for_writing",
    "state_errors",
    "transaction",
]

APPLICATION_ID = 0x53324153
"""``S2AS`` in the header of the file, which distinguishes a state from other SQLite databases."""
BUSY_SECONDS = 0.5
"""Maximum wait for another program (such as a database viewer) that locks the file."""
SLOW_SECONDS = 1.0
"""A longer transaction is logged as a warning: the disk is busy, or another program is using the file."""
_ROOM = 16 << 20
"""Size of the page cache in bytes while many rows are written."""
_log = logging.getLogger("s2async.state")
_MACHINE = (
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
)
_LOCKING = (
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOLFS,
    sqlite3.SQLITE_IOERR_LOCK,
    sqlite3.SQLITE_IOERR_UNLOCK,
    sqlite3.SQLITE_IOERR_RDLOCK,
    sqlite3.SQLITE_IOERR_CHECKRESERVEDLOCK,
    sqlite3.SQLITE_IOERR_SHMOPEN,
    sqlite3.SQLITE_IOERR_SHMLOCK,
    sqlite3.SQLITE_IOERR_SHMMAP,
)
"""Errors of network shares that do not provide what SQLite needs: locks, and memory shared by processes."""
_LOCAL_DISK = "put `state` under [run] on a local disk"
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


@contextlib.contextmanager
def state_errors(path: Path) -> Iterator[None]:
    """Convert SQLite's errors about the file and its disk into errors of one line; other errors pass unchanged.

    Raises:
        StateError: the file is damaged or locked by another program.
        LocalError: this machine cannot use the file.
    """
    try:
        yield
    except sqlite3.Error as error:
        whole = getattr(error, "sqlite_errorcode", 0)
        code = whole & 0xFF
        if whole in _LOCKING:
            raise LocalError(
                f"cannot use the state {path}: {error}; its file system lacks what a state needs: {_LOCAL_DISK}"
            ) from error
        if code in _MACHINE:
            raise LocalError(f"cannot use the state {path}: {error}; solve that and run again") from error
        if code in _DAMAGE:
            raise damaged(path, str(error)) from error
        if code in _BUSY:
            disk_checks.check_locks(path.with_name(path.name + ".lock"), what=f"the state {path}")
            raise StateInUse(f"the state {path} is held by another program ({error}); close it there") from error
        raise


def damaged(path: Path, what: str) -> StateDamaged:
    """Return the error for a damaged state."""
    return StateDamaged(
        f"the state {path} cannot be used: {what}; put a good copy in its place, or let `s2async rebuild` make "
        "one from the crops"
    )


@contextlib.contextmanager
def transaction(db: Connection) -> Iterator[Connection]:
    """Commit everything when the block ends, or nothing if it raises an error."""
    begun = time.monotonic()
    db.execute("BEGIN IMMEDIATE")
    try:
        yield db
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # SQLite itself rolls back when the disk is full
            db.execute("ROLLBACK")
        raise
    if (seconds := time.monotonic() - begun) >= SLOW_SECONDS:
        log(_log, logging.WARNING, "slow_transaction", {"seconds": seconds})


@contextlib.contextmanager
def many_rows(db: Connection) -> Iterator[None]:
    """Context for a transaction that writes hundreds of thousands of rows whose references are known to be valid.

    The cache has room for all pages of an index, which would be written repeatedly with SQLite's default of 2 MB,
    and references are not checked. Together this saves a sixth of the time.
    """
    (usual,) = db.execute("PRAGMA cache_size").fetchone()
    db.execute("PRAGMA foreign_keys = OFF")
    db.execute(f"PRAGMA cache_size = -{_ROOM // 1024}")
    try:
        yield
    finally:
        db.execute(f"PRAGMA cache_size = {usual}")
        db.execute("PRAGMA foreign_keys = ON")


def open_for_writing(path: Path, *, is_sound: bool = False) -> Connection:
    """Open the state, check it, and migrate it if needed; create a missing one. The caller holds its lock.

    Args:
        path: path of the file.
        is_sound: skip the check of the whole file, because nothing has changed it since it was closed; see
            `seals`.

    Raises:
        StateError: the file is damaged, belongs to another program, or was written by a newer version.
        LocalError: this machine cannot read or write it.
    """
    with state_errors(path):
        if not path.exists():
            _create(path)
        _check_header(path)
        # A run starts and ends in one thread and uses the state in another one in between, never in both at once.
        db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            version = _checked_version(db, path)
            check = "ok" if is_sound else db.execute("PRAGMA quick_check(1)").fetchone()[0]
            if check != "ok":
                raise damaged(path, " ".join(check.split()))
            names = {name for (name,) in db.execute("SELECT name FROM sqlite_schema")}
            if not names.issuperset(schema.REQUIRED):
                raise damaged(path, "tables are missing")
            if version < len(schema.MIGRATIONS):
                _copy_beside(db, path, version)
                _migrate(db, version)
                fields = {"path": path, "from": version, "to": len(schema.MIGRATIONS)}
                log(_log, logging.INFO, "state_migrated", fields)
            (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode != "wal":
                raise LocalError(f"the file system of the state {path} cannot share memory: {_LOCAL_DISK}")
            # Survives a killed process; a power cut may lose the last commits, but never damages the file.
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("PRAGMA foreign_keys = ON")
        except BaseException:
            db.close()
            raise
        log(_log, logging.INFO, "state_opened", {"path": path, "bytes": path.stat().st_size})
        return db


def move_aside(path: Path) -> Path:
    """Rename a damaged state and its journals. Nothing is deleted.

    Returns:
        The new path of the state.

    Raises:
        LocalError: the files cannot be renamed.
    """
    number = 1
    while any(path.with_name(f"{path.name}.damaged{number}{end}").exists() for end in ("", "-wal", "-shm")):
        number += 1
    aside = path.with_name(f"{path.name}.damaged{number}")
    with files.local_errors("move aside", path):
        for end in ("-wal", "-shm", ""):  # the state itself comes last, so it is never left without its journal
            old = path.with_name(path.name + end)
            if old.exists():
                old.replace(aside.with_name(aside.name + end))
        files.sync_folder(path.parent)
    return aside


def open_for_reading(path: Path) -> Connection:
    """Open the state read-only. A run may write it at the same time.

    Raises:
        StateError: the file does not exist, is damaged, or belongs to another program or version.
        LocalError: this machine cannot read it.
    """
    with state_errors(path):
        if not path.exists():
            raise StateError(f"there is no state {path} yet: `run` makes it")
        _check_header(path)
        _roll_back(path)
        db = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS, isolation_level=None
        )
        try:
            if _checked_version(db, path) < len(schema.MIGRATIONS):
                raise StateError(f"the state {path} is of an older version: `run` brings it up to date")
        except BaseException:
            db.close()
            raise
        return db


def _create(path: Path) -> None:
    journal = path.with_name(path.name + "-wal")
    if journal.exists() and journal.stat().st_size:
        # SQLite would apply the journal of the lost file to the new file.
        raise StateDamaged(
            f"the state {path} is gone, but its journal {journal.name} is there: put the state back, or let "
            "`s2async rebuild` make one from the crops"
        )
    new = path.with_name(path.name + ".new")
    with files.local_errors("make the state", path):
        for left in (new, new.with_name(new.name + "-journal"), journal):
            left.unlink(missing_ok=True)
        db = sqlite3.connect(new, isolation_level=None)
        try:
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            _migrate(db, 0)
            # Set here, while no other process can see the file: a process that is killed while it sets the mode
            # leaves a rollback journal, and a file with such a journal cannot be opened read-only.
            # `open_for_writing` checks the mode.
            db.execute("PRAGMA journal_mode = WAL")
        finally:
            db.close()
        new.replace(path)
        files.sync_folder(path.parent)


def _migrate(db: Connection, version: int) -> None:
    for number in range(version, len(schema.MIGRATIONS)):
        with transaction(db):
            schema.MIGRATIONS[number](db)
            db.execute(f"PRAGMA user_version = {number + 1}")


def _roll_back(path: Path) -> None:
    """Undo changes that a killed process left incomplete outside the write-ahead log, such as a migration.

    Only a connection that may write can do this; SQLite sees from its locks whether the process is still alive.
    """
    journal = path.with_name(path.name + "-journal")
    if journal.exists():
        uri = f"{path.absolute().as_uri()}?mode=rw"
        with (
            contextlib.suppress(sqlite3.OperationalError),  # opening it read-only then reports the problem
            contextlib.closing(sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS)) as db,
        ):
            db.execute("SELECT count(*) FROM sqlite_schema").fetchone()


def _copy_beside(db: Connection, path: Path, version: int) -> None:
    """Store a copy of the file, made by SQLite because a plain copy would miss what is still in the journal."""
    copy = path.with_name(f"{path.name}.v{version}")
    part = copy.with_name(copy.name + ".new")
    with files.local_errors("copy the state to", copy):
        part.unlink(missing_ok=True)
        with contextlib.closing(sqlite3.connect(part)) as target:
            db.backup(target)
        part.replace(copy)


def _check_header(path: Path) -> None:
    with files.local_errors("read the state", path), path.open("rb") as file:
        start = file.read(16)
    if not start:
        raise damaged(path, "it is empty")
    if start != b"SQLite format 3\0":
        raise damaged(path, "it is not a state file")


def _checked_version(db: Connection, path: Path) -> int:
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise StateError(f"{path} is a database of another program: name another file as the state")
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    if version > len(schema.MIGRATIONS):
        raise StateError(
            f"the state {path} was written by a newer version of the program (its format {version}, known here "
            f"{len(schema.MIGRATIONS)}): update the program, or name another state"
        )
    if version < 1:
        raise damaged(path, "it has no version")
    return version


class StateFile:
    """An open state file. Statements run through it raise the errors of `state_errors`.

    Args:
        path: path of the file.
        db: an open connection to the file, which `close` closes.
    """

    def __init__(self, path: Path, db: Connection) -> None:
        self.path = path
        self._db = db

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. Further calls do nothing."""
        self._db.close()

    @contextlib.contextmanager
    def _at_one_moment(self) -> Iterator[None]:
        """Context in which all statements see the state as the first one does, whatever a run writes meanwhile."""
        if self._db.in_transaction:
            yield
            return
        with state_errors(self.path):
            self._db.execute("BEGIN")
            try:
                yield
            finally:
                if self._db.in_transaction:  # SQLite itself ends it when the disk fails
                    self._db.execute("COMMIT")

    def _all(self, statement: str, values: _Values = ()) -> list[Any]:
        """Return all rows of a statement."""
        with state_errors(self.path):
            return self._db.execute(statement, values).fetchall()

    def _each(self, statement: str, values: _Values = ()) -> Iterator[Any]:
        """Yield the rows of a statement one by one, as SQLite finds them."""
        with state_errors(self.path):
            # Not `yield from`: it closes the cursor with the generator, which fails once the database is closed.
            for row in self._db.execute(statement, values):  # noqa: UP028
                yield row

    def _first(self, statement: str, values: _Values = ()) -> Any:
        """Return the first row of a statement, or None if it has none."""
        with state_errors(self.path):
            return self._db.execute(statement, values).fetchone()


_Values = Sequence[Any] | Mapping[str, Any]


def check_place(folder: Path) -> None:
    """Check that a folder can contain a state: create a small database there, lock it, and remove it.

    Raises:
        LocalError: files cannot be created or locked there, or processes cannot share memory.
    """
    path = files.temporary(folder / "state", files.PROBE)
    lock = path.with_name(path.name + ".lock")
    try:
        disk_checks.check_locks(lock, what=f"a file in {folder}", make=True)
        with state_errors(path), contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
            (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode != "wal":
                raise LocalError(f"the file system of {folder} cannot share memory: {_LOCAL_DISK}")
            with transaction(db):
                db.execute("CREATE TABLE probe (number INTEGER)")
    finally:
        for end in ("", "-wal", "-shm", "-journal", ".lock"):
            with contextlib.suppress(OSError):
                path.with_name(path.name + end).unlink(missing_ok=True)
