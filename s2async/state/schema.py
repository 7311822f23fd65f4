"""The state file: its tables, how older files are brought up to date, and how a file is opened and judged.

A state file is an SQLite database with our application id in its header. It is made under another name and then
renamed, so whatever is found under its own name is whole, or is damaged, or is not ours: never replaced.
"""

from __future__ import annotations

import contextlib
import json
import logging
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from s2async import files
from s2async.errors import LocalError, StateDamaged, StateError, StateInUse
from s2async.log import log

Connection = sqlite3.Connection
"""For the annotations of other modules: this one is the only door to SQLite."""
APPLICATION_ID = 0x53324153
"""``S2AS`` in the header of the file: tells a state from other people's databases."""
BUSY_SECONDS = 0.5
SLOW = 1.0
"""Seconds of a transaction that are worth a warning in the log: the disk, or another program, is busy."""
_log = logging.getLogger("s2async.state")
"""Longest wait for another program (such as a database viewer) that holds the file."""
_PLACE = (
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
"""What network shares answer that lack what SQLite needs: locks, and memory that processes share."""
_LOCAL_DISK = "put `state` under [run] on a local disk"
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)

TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    started TEXT NOT NULL,
    ended TEXT NOT NULL DEFAULT '',
    how TEXT NOT NULL DEFAULT '',
    version TEXT NOT NULL,
    config TEXT NOT NULL
);
CREATE TABLE areas (
    id INTEGER PRIMARY KEY,
    fingerprint TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    polygon BLOB NOT NULL,              -- WKB, lon/lat
    folder TEXT NOT NULL UNIQUE,
    active INTEGER NOT NULL,            -- in the configuration of the last run
    wanted TEXT                         -- the crops for which its jobs were judged last
);
CREATE INDEX areas_name ON areas (name);
CREATE TABLE items (
    id INTEGER PRIMARY KEY,
    collection TEXT NOT NULL,
    item TEXT NOT NULL,
    edition INTEGER NOT NULL,           -- counts the versions seen: facts of an older one are not believed
    version TEXT NOT NULL,
    updated TEXT NOT NULL,
    sensed INTEGER NOT NULL,            -- microseconds since 1970, UTC
    platform TEXT NOT NULL,
    grid TEXT NOT NULL,
    cloud REAL,
    epsg INTEGER,
    baseline TEXT NOT NULL,
    generated TEXT NOT NULL,
    datastrip TEXT NOT NULL,
    base TEXT NOT NULL,                 -- what the addresses of its assets have in common
    assets TEXT NOT NULL,               -- JSON: key to the rest of the address
    absent TEXT NOT NULL,               -- JSON: key to reason
    superseded_by INTEGER REFERENCES items,
    UNIQUE (collection, item)
);
CREATE INDEX items_sensed ON items (grid, sensed);
CREATE INDEX items_superseded ON items (superseded_by) WHERE superseded_by IS NOT NULL;
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY,
    item INTEGER NOT NULL REFERENCES items,
    area INTEGER NOT NULL REFERENCES areas,
    status TEXT NOT NULL,
    found INTEGER NOT NULL,             -- the run whose search put it into the queue last
    attempts INTEGER NOT NULL DEFAULT 0,
    transient INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '',
    UNIQUE (item, area)
);
CREATE INDEX jobs_open ON jobs (item) WHERE status = 'open';
CREATE INDEX jobs_area ON jobs (area, status);
CREATE TABLE measures (
    job INTEGER PRIMARY KEY REFERENCES jobs,
    edition INTEGER NOT NULL,
    total INTEGER NOT NULL,
    histogram BLOB NOT NULL             -- 13 little-endian numbers of 1, 2, 4 or 8 bytes
);
CREATE TABLE products (
    job INTEGER NOT NULL REFERENCES jobs,
    asset TEXT NOT NULL,
    edition INTEGER NOT NULL,
    mask INTEGER NOT NULL,
    format TEXT NOT NULL,
    epsg INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    sha256 BLOB NOT NULL,
    file TEXT NOT NULL,
    PRIMARY KEY (job, asset)
) WITHOUT ROWID;
CREATE TABLE files (
    item INTEGER NOT NULL REFERENCES items,
    asset TEXT NOT NULL,
    size INTEGER NOT NULL,
    etag TEXT NOT NULL,
    PRIMARY KEY (item, asset)
) WITHOUT ROWID;
CREATE TABLE traffic (
    run INTEGER NOT NULL REFERENCES runs,
    stage TEXT NOT NULL,
    asset TEXT NOT NULL,
    use TEXT NOT NULL,
    requests INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (run, stage, asset, use)
) WITHOUT ROWID;
CREATE TABLE searches (
    run INTEGER NOT NULL REFERENCES runs,
    key TEXT NOT NULL,
    label TEXT NOT NULL,
    complete INTEGER NOT NULL,
    items INTEGER NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (run, key)
) WITHOUT ROWID;
"""
_NEEDED = frozenset(
    ("areas", "files", "items", "jobs", "measures", "meta", "products", "runs", "searches", "traffic")
)
"""Tables of every version."""


def _first_tables(db: sqlite3.Connection) -> None:
    for statement in TABLES.split(";\n"):
        if statement.strip():
            db.execute(statement)
    db.execute("INSERT INTO meta VALUES ('id', ?)", (secrets.token_hex(4),))


def _headers(db: sqlite3.Connection) -> None:
    # not in the table of files, which is read as a whole to sum up sizes
    db.execute("""
    CREATE TABLE headers (
        id INTEGER PRIMARY KEY,
        item INTEGER NOT NULL REFERENCES items,
        asset TEXT NOT NULL,
        address BLOB NOT NULL,          -- hash of the file's address
        header BLOB NOT NULL,           -- of the version of the file that the table of files tells
        UNIQUE (item, asset)
    )
    """)


def _suspects(db: sqlite3.Connection) -> None:
    db.execute("""
    CREATE TABLE suspects (
        job INTEGER PRIMARY KEY REFERENCES jobs,
        deaths INTEGER NOT NULL         -- of the program while this job alone was decoded
    )
    """)


def _absences(db: sqlite3.Connection) -> None:
    """Why jobs lack files, by asset, and when it may be asked again; until then a line of the job told it."""
    db.execute("ALTER TABLE jobs ADD COLUMN cause TEXT NOT NULL DEFAULT ''")
    db.execute("""
    CREATE TABLE absences (
        job INTEGER NOT NULL REFERENCES jobs,
        asset TEXT NOT NULL,
        edition INTEGER NOT NULL,       -- of the item; not believed once there is a newer one
        cause TEXT NOT NULL,
        reason TEXT NOT NULL,
        host TEXT NOT NULL,             -- origin of the file's server
        missing INTEGER NOT NULL,       -- 1: there is no such file; 0: it failed
        tries INTEGER NOT NULL,         -- how often in a row this was the answer
        tried INTEGER NOT NULL,         -- when that was last, seconds since 1970, UTC
        due INTEGER,                    -- when a missing one may be asked for again; null: never
        run INTEGER NOT NULL,           -- the run that asked last
        alone INTEGER NOT NULL,         -- 1: in a run that asked, its server gave others
        PRIMARY KEY (job, asset)
    ) WITHOUT ROWID
    """)
    db.execute("CREATE INDEX absences_due ON absences (due) WHERE due IS NOT NULL")
    for item, absent in db.execute("SELECT id, absent FROM items WHERE absent != '{}'").fetchall():
        told = {key: [_old_cause(text, passing=False), text] for key, text in json.loads(absent).items()}
        text = json.dumps(told, separators=(",", ":"))
        db.execute("UPDATE items SET absent = ? WHERE id = ?", (text, item))
    answered = db.execute("SELECT id, status, reason, transient FROM jobs WHERE status IN ('missing', 'failed')")
    for job, status, reason, transient in answered.fetchall():
        asset, _, text = reason.partition(": ")
        cause = _old_cause(text or reason, passing=bool(transient))
        # an odd answer was final, and is now held for one that may pass
        again = transient or (status == "failed" and cause in _PASSING)
        db.execute("UPDATE jobs SET cause = ?, transient = ? WHERE id = ?", (cause, again, job))
        if status == "missing" and text:
            due = 0 if cause == "not-there" else None
            db.execute(
                "INSERT INTO absences SELECT j.id, ?, i.edition, ?, ?, '', 1, 1, 0, ?, 0, 0 "
                "FROM jobs j JOIN items i ON i.id = j.item WHERE j.id = ?",
                (asset, cause, text, due, job),
            )


_OLD_WORDS = {
    "only as JPEG 2000": "jpeg2000",
    "the item has no such asset": "no-asset",
    "not there (": "not-there",
    "not a TIFF": "format",
    "unusable address": "address",
    "no address": "address",
    "s3:// bucket": "scheme",
    "not an allowed origin": "origin",
    "access denied": "denied",
    "unsupported layout": "layout",
    "the file changed": "changed",
    "set aside": "crash",
    "decoding it": "crash",
    "the server does not serve ranges": "refused",
    "TLS failed": "refused",
    "the server answers": "answer",
    "asked for bytes": "answer",
    "expected part of a file": "answer",
}
"""How reasons began before the state knew their causes; not to be changed any more."""
_PASSING = frozenset({"denied", "refused", "answer", "damaged", "origin"})


def _old_cause(text: str, *, passing: bool) -> str:
    if passing and not text.startswith("the file changed"):
        return "network"
    return next((cause for words, cause in _OLD_WORDS.items() if text.startswith(words)), "damaged")


MIGRATIONS: list[Callable[[sqlite3.Connection], None]] = [_first_tables, _headers, _suspects, _absences]
"""Each brings a file from the version of its place in the list to the next; never changed once released."""


@contextlib.contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn what SQLite says about the file and its disk into our errors of one line; bugs stay what they are."""
    try:
        yield
    except sqlite3.Error as error:
        whole = getattr(error, "sqlite_errorcode", 0)
        code = whole & 0xFF
        if whole in _LOCKING:
            raise LocalError(
                f"cannot use the state {path}: {error}; its file system lacks what a state needs: {_LOCAL_DISK}"
            ) from error
        if code in _PLACE:
            raise LocalError(f"cannot use the state {path}: {error}; mend that and run again") from error
        if code in _DAMAGE:
            raise damaged(path, str(error)) from error
        if code in _BUSY:
            files.check_locks(path.with_name(path.name + ".lock"), what=f"the state {path}")
            raise StateInUse(f"the state {path} is held by another program ({error}); close it there") from error
        raise


def damaged(path: Path, what: str) -> StateDamaged:
    """The error for a file that is a state no longer."""
    return StateDamaged(
        f"the state {path} cannot be used: {what}; put a good copy in its place, or let `s2async rebuild` make "
        "one from the crops"
    )


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """All of it or nothing, on disk when it ends."""
    begun = time.monotonic()
    db.execute("BEGIN IMMEDIATE")
    try:
        yield db
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # SQLite itself rolls back when the disk is full
            db.execute("ROLLBACK")
        raise
    seconds = time.monotonic() - begun
    if seconds >= SLOW:
        log(_log, logging.WARNING, "slow_transaction", {"seconds": seconds})


def open_for_writing(path: Path) -> sqlite3.Connection:
    """Open the state, made anew if there is none, up to date and checked. The caller holds its lock.

    Raises:
        StateError: damaged, foreign, or written by a newer program.
        LocalError: this machine cannot read or write it.
    """
    with told(path):
        if not path.exists():
            _create(path)
        _check_header(path)
        db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            version = _checked_version(db, path)
            verdict = db.execute("PRAGMA quick_check(1)").fetchone()[0]
            if verdict != "ok":
                raise damaged(path, " ".join(verdict.split()))
            names = {name for (name,) in db.execute("SELECT name FROM sqlite_schema")}
            if not names.issuperset(_NEEDED):
                raise damaged(path, "tables are missing")
            if version < len(MIGRATIONS):
                _copy_beside(db, path, version)
                _migrate(db, version)
                log(_log, logging.INFO, "state_migrated", {"path": path, "from": version, "to": len(MIGRATIONS)})
            (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode != "wal":
                raise LocalError(f"the file system of the state {path} cannot share memory: {_LOCAL_DISK}")
            db.execute(
                "PRAGMA synchronous = NORMAL"
            )  # survives a killed process; a power cut may cost last commits
            db.execute("PRAGMA foreign_keys = ON")
        except BaseException:
            db.close()
            raise
        log(_log, logging.INFO, "state_opened", {"path": path, "bytes": path.stat().st_size})
        return db


def move_aside(path: Path) -> Path:
    """Give a damaged state and its journals other names beside it; tells the state's. Nothing is deleted.

    Raises:
        LocalError: they cannot be renamed.
    """
    number = 1
    while any(path.with_name(f"{path.name}.damaged{number}{end}").exists() for end in ("", "-wal", "-shm")):
        number += 1
    aside = path.with_name(f"{path.name}.damaged{number}")
    with files.local_errors("move aside", path):
        for end in ("-wal", "-shm", ""):  # a state is never seen without its journal
            old = path.with_name(path.name + end)
            if old.exists():
                old.replace(aside.with_name(aside.name + end))
        files.sync_folder(path.parent)
    return aside


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open the state without changing it, also while a run writes it.

    Raises:
        StateError: none there, damaged, foreign, or not of this program's version.
        LocalError: this machine cannot read it.
    """
    with told(path):
        if not path.exists():
            raise StateError(f"there is no state {path} yet: `run` makes it")
        _check_header(path)
        db = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS, isolation_level=None
        )
        try:
            if _checked_version(db, path) < len(MIGRATIONS):
                raise StateError(f"the state {path} is of an older version: `run` brings it up to date")
        except BaseException:
            db.close()
            raise
        return db


def _create(path: Path) -> None:
    journal = path.with_name(path.name + "-wal")
    if journal.exists() and journal.stat().st_size:
        # SQLite would play the journal of the lost file into the new one.
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
        finally:
            db.close()
        new.replace(path)
        files.sync_folder(path.parent)


def _migrate(db: sqlite3.Connection, version: int) -> None:
    for number in range(version, len(MIGRATIONS)):
        with transaction(db):
            MIGRATIONS[number](db)
            db.execute(f"PRAGMA user_version = {number + 1}")


def _copy_beside(db: sqlite3.Connection, path: Path, version: int) -> None:
    """Keep the file as it was; through SQLite, because a plain copy would miss what is still in the journal."""
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


def _checked_version(db: sqlite3.Connection, path: Path) -> int:
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise StateError(f"{path} is a database of another program: name another file as the state")
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        raise StateError(
            f"the state {path} was written by a newer version of the program (its format {version}, known here "
            f"{len(MIGRATIONS)}): update the program, or name another state"
        )
    if version < 1:
        raise damaged(path, "it has no version")
    return version
