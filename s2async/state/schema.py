"""The tables of the state file, and the migrations that update older files.

The names used here (tables, columns, stored values) are a file format: they stay when the code is renamed.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING

from s2async.state import packing

if TYPE_CHECKING:
    from sqlite3 import Connection

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
    wanted TEXT                         -- the selection that the status of its jobs is for
);
CREATE INDEX areas_name ON areas (name);
CREATE TABLE items (
    id INTEGER PRIMARY KEY,
    collection TEXT NOT NULL,
    item TEXT NOT NULL,
    edition INTEGER NOT NULL,           -- counts the versions seen; facts of an older one are invalid
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
REQUIRED = frozenset(("areas", "files", "items", "jobs", "meta", "products", "runs", "searches", "traffic"))
"""Tables of every version; ``jobs`` is a view since rows are packed."""


def _first_tables(db: Connection) -> None:
    for statement in TABLES.split(";\n"):
        if statement.strip():
            db.execute(statement)
    db.execute("INSERT INTO meta VALUES ('id', ?)", (secrets.token_hex(4),))


def _headers(db: Connection) -> None:
    # Not in the table of files, which is read as a whole to sum up sizes.
    db.execute("""
    CREATE TABLE headers (
        id INTEGER PRIMARY KEY,
        item INTEGER NOT NULL REFERENCES items,
        asset TEXT NOT NULL,
        address BLOB NOT NULL,          -- hash of the file's address
        header BLOB NOT NULL,           -- of the version of the file that is in the table files
        UNIQUE (item, asset)
    )
    """)


def _crashed(db: Connection) -> None:
    db.execute("""
    CREATE TABLE suspects (
        job INTEGER PRIMARY KEY REFERENCES jobs,
        deaths INTEGER NOT NULL         -- kills of the program while it decoded only this job
    )
    """)


def _absences(db: Connection) -> None:
    """Add why jobs lack files and when to request them again, by asset; before, there was one line for a job."""
    db.execute("ALTER TABLE jobs ADD COLUMN cause TEXT NOT NULL DEFAULT ''")
    db.execute("""
    CREATE TABLE absences (
        job INTEGER NOT NULL REFERENCES jobs,
        asset TEXT NOT NULL,
        edition INTEGER NOT NULL,       -- of the item; invalid once there is a newer one
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
        reasons = {key: [_old_cause(text, passing=False), text] for key, text in json.loads(absent).items()}
        text = json.dumps(reasons, separators=(",", ":"))
        db.execute("UPDATE items SET absent = ? WHERE id = ?", (text, item))
    answered = db.execute("SELECT id, status, reason, transient FROM jobs WHERE status IN ('missing', 'failed')")
    for job, status, reason, transient in answered.fetchall():
        asset, _, text = reason.partition(": ")
        cause = _old_cause(text or reason, passing=bool(transient))
        # Older versions gave up after an unexpected response; now the file is requested again.
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
"""Beginnings of reasons from before the state stored their causes. Never change it."""
_PASSING = frozenset({"denied", "refused", "answer", "damaged", "origin"})


def _old_cause(text: str, *, passing: bool) -> str:
    if passing and not text.startswith("the file changed"):
        return "network"
    return next((cause for words, cause in _OLD_WORDS.items() if text.startswith(words)), "damaged")


def _places(db: Connection) -> None:
    """Add the places of areas (name, season, columns) and the shelves with their crops, by time.

    Older versions had one name and one folder for each area, in the area's own row.
    """
    db.execute("""
    CREATE TABLE places (
        id INTEGER PRIMARY KEY,         -- in the order of the configuration of the last run
        area INTEGER NOT NULL REFERENCES areas,
        name TEXT NOT NULL,
        since INTEGER NOT NULL,         -- first microsecond of its season, like items.sensed
        until INTEGER NOT NULL,         -- first microsecond after it
        folder TEXT NOT NULL,           -- of its name
        attributes TEXT NOT NULL        -- JSON: the areas' own columns
    )
    """)
    db.execute("""
    CREATE TABLE shelves (
        area INTEGER NOT NULL REFERENCES areas,
        since INTEGER NOT NULL,         -- the shelves of an area cover all time
        until INTEGER NOT NULL,
        wanted INTEGER NOT NULL,        -- a place has these days
        folder TEXT NOT NULL,           -- of the crops that were sensed in this time
        name TEXT NOT NULL,             -- in the tags of these crops
        new_folder TEXT,                -- null: they lie and are named as they are to be
        new_name TEXT,
        parked INTEGER NOT NULL DEFAULT 0,  -- the folder has its temporary name
        PRIMARY KEY (area, since)
    ) WITHOUT ROWID
    """)
    ends = (-(1 << 63), (1 << 63) - 1)
    db.execute(
        "INSERT INTO places (area, name, since, until, folder, attributes) "
        "SELECT id, name, ?, ?, folder, '{}' FROM areas WHERE active ORDER BY name, id",
        ends,
    )
    db.execute(
        "INSERT INTO shelves (area, since, until, wanted, folder, name) "
        "SELECT id, ?, ?, active, folder, name FROM areas ORDER BY id",
        ends,
    )
    # SQLite cannot drop a unique column. The name of the table stays, and with it all references.
    db.execute("""
    CREATE TABLE polygons (
        id INTEGER PRIMARY KEY,
        fingerprint TEXT NOT NULL UNIQUE,
        polygon BLOB NOT NULL,          -- WKB, lon/lat
        active INTEGER NOT NULL,        -- has a place
        seasonal INTEGER NOT NULL DEFAULT 0,  -- its places do not have all days
        wanted TEXT                     -- the selection that the status of its jobs is for
    )
    """)
    db.execute("INSERT INTO polygons SELECT id, fingerprint, polygon, active, 0, wanted FROM areas ORDER BY id")
    db.execute("DROP TABLE areas")
    db.execute("ALTER TABLE polygons RENAME TO areas")
    db.execute("CREATE INDEX places_name ON places (name, since)")
    db.execute("CREATE INDEX places_area ON places (area)")
    db.execute("CREATE INDEX shelves_folder ON shelves (folder)")
    db.execute("CREATE INDEX shelves_moving ON shelves (area) WHERE new_folder IS NOT NULL")


def _acquisitions(db: Connection) -> None:
    """Add what distinguishes acquisitions and offsets, if older versions stored it, and links between editions.

    Editions that older versions did not recognise are linked when a search returns their items again; footprints,
    flags and offsets are added then, too.
    """
    db.execute("ALTER TABLE items ADD COLUMN datatake TEXT NOT NULL DEFAULT ''")  # such as S2B_20240825T173909
    db.execute("ALTER TABLE items ADD COLUMN subtracted INTEGER")  # 1: the item says that no offset remains
    db.execute("ALTER TABLE items ADD COLUMN offsets TEXT")  # JSON: a number, or key to number
    db.execute("ALTER TABLE items ADD COLUMN footprint BLOB")  # WKB, lon/lat
    db.execute("CREATE INDEX items_datatake ON items (grid, datatake, sensed)")
    db.execute("""
    CREATE TABLE superseded (
        item INTEGER NOT NULL REFERENCES items,
        newer INTEGER NOT NULL REFERENCES items,    -- a better edition of its acquisition
        PRIMARY KEY (item, newer)
    ) WITHOUT ROWID
    """)
    db.execute("CREATE INDEX superseded_newer ON superseded (newer)")
    for row, item, version, baseline in db.execute("SELECT id, item, version, baseline FROM items").fetchall():
        named = next(filter(None, map(_OLD_PRODUCT.fullmatch, (version, item))), None)
        if named:
            level = named["baseline"]
            known = baseline or (f"{level[:2]}.{level[2:]}" if level else "")
            update = "UPDATE items SET datatake = ?, baseline = ? WHERE id = ?"
            db.execute(update, (f"{named['platform']}_{named['start']}", known, row))
    db.execute("""
    INSERT INTO superseded (item, newer)
    WITH RECURSIVE newer (item, other) AS (
        SELECT id, superseded_by FROM items WHERE superseded_by IS NOT NULL
        UNION SELECT n.item, i.superseded_by FROM newer n CROSS JOIN items i ON i.id = n.other
        WHERE i.superseded_by IS NOT NULL
    )
    SELECT item, other FROM newer WHERE item != other
    """)
    # The column stays, because old versions of SQLite cannot drop it.
    db.execute("DROP INDEX items_superseded")
    db.execute("UPDATE items SET superseded_by = NULL WHERE superseded_by IS NOT NULL")


_OLD_PRODUCT = re.compile(
    r"(?P<platform>S2[A-Z])_MSIL[12][A-Z]_(?P<start>\d{8}T\d{6})_(?:N(?P<baseline>\d{4})_)?\w+_\d{8}T\d{6}(?:\.SAFE)?"
)
"""Names of products from before the state stored datatakes. Never change it."""


def _offsets(db: Connection) -> None:
    """Add the offsets of reflectance bands, the evidence for them, and what the tags of crops say about them.

    Crops of older versions have no such tags until `verify` adds them.
    """
    db.execute("""
    CREATE TABLE bands (
        item INTEGER NOT NULL REFERENCES items,
        asset TEXT NOT NULL,            -- a reflectance band
        edition INTEGER NOT NULL,       -- of the item; invalid once there is a newer one
        stated REAL,                    -- offset in reflectance that its file states; null: none
        dn INTEGER,                     -- the offset in DN; null: unknown
        basis TEXT NOT NULL,
        doubt TEXT NOT NULL,
        PRIMARY KEY (item, asset)
    ) WITHOUT ROWID
    """)
    db.execute("""
    CREATE TABLE evidence (
        job INTEGER NOT NULL REFERENCES jobs,
        asset TEXT NOT NULL,
        edition INTEGER NOT NULL,
        pixels INTEGER NOT NULL,        -- valid ones of the crop, as they were published
        dark INTEGER NOT NULL,
        wrapped INTEGER NOT NULL,
        PRIMARY KEY (job, asset)
    ) WITHOUT ROWID
    """)
    db.execute("ALTER TABLE products ADD COLUMN harmonised INTEGER")  # null: not a reflectance band
    db.execute("ALTER TABLE products ADD COLUMN says TEXT")  # what its tags say about the offset; null: nothing
    db.execute("CREATE INDEX products_bands ON products (job, asset) WHERE harmonised IS NOT NULL")
    for (asset,) in db.execute("SELECT DISTINCT asset FROM products").fetchall():
        if _OLD_BAND.fullmatch(asset):
            db.execute("UPDATE products SET harmonised = 0 WHERE asset = ?", (asset,))


_OLD_BAND = re.compile(
    r"(coastal|blue|green|red|rededge[123]|nir|nir08|nir09|swir16|swir22|b0[1-9]|b1[0-2]|b8a)(-jp2)?([_-]\d+m)?",
    re.IGNORECASE,
)
"""Keys of reflectance bands from before the state stored offsets. Never change it."""


def _home_zones(db: Connection) -> None:
    """Add the home UTM zone of each area, and an index of the times of items.

    Each area keeps its zone even if later versions would choose another one, so that its crops of all years share
    a grid.
    """
    from shapely import from_wkb

    from s2async.catalog.zones import home_zone

    db.execute("ALTER TABLE areas ADD COLUMN zone INTEGER")  # 1 to 60; null if unknown
    zones = [
        (home_zone(from_wkb(polygon)), area)
        for area, polygon in db.execute("SELECT id, polygon FROM areas").fetchall()
    ]
    db.executemany("UPDATE areas SET zone = ? WHERE id = ?", zones)
    db.execute("CREATE INDEX items_time ON items (sensed)")


MIGRATIONS: list[Callable[[Connection], None]] = [
    _first_tables,
    _headers,
    _crashed,
    _absences,
    _places,
    _acquisitions,
    _offsets,
    _home_zones,
    packing.pack,
]
"""The migration at each index updates a file from that version to the next. Never change a released migration."""
