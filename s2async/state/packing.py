"""The migration that packs jobs and measurements; earlier files have one row for each. Never change it."""

from __future__ import annotations

import json
import struct
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from s2async.models import CloudMeasure
from s2async.state.packed import measure_cells, pack_cells

if TYPE_CHECKING:
    from sqlite3 import Connection


def pack(db: Connection) -> None:
    """Pack jobs and measurements into one row for each item and block of 256 areas; see `state.packed`.

    The number of a job consists of the rows of its item and area, so no row needs to name it. Only jobs that have
    failed or need a reason have rows of their own.
    """
    db.execute("""
    CREATE TABLE asked (
        item INTEGER NOT NULL REFERENCES items,
        block INTEGER NOT NULL,         -- rows of the areas, divided by 256
        codes TEXT NOT NULL,            -- a letter for each area's job; a space where there is none
        PRIMARY KEY (item, block)
    ) WITHOUT ROWID
    """)
    db.execute("""
    CREATE TABLE answers (
        id INTEGER PRIMARY KEY,
        item INTEGER NOT NULL REFERENCES items,
        block INTEGER NOT NULL,
        step TEXT NOT NULL,             -- which kind of numbers
        asked TEXT NOT NULL,            -- what was asked: of clouds, the name of the rule
        edition INTEGER NOT NULL,       -- of the item; invalid once there is a newer one
        cells BLOB NOT NULL,            -- see state.packed
        UNIQUE (item, block, step, asked)
    )
    """)
    db.execute("""
    CREATE TABLE troubles (
        job INTEGER PRIMARY KEY,
        attempts INTEGER NOT NULL,      -- failed ones in a row
        transient INTEGER NOT NULL,
        reason TEXT NOT NULL,
        cause TEXT NOT NULL
    )
    """)
    db.execute("CREATE TABLE slots (slot INTEGER PRIMARY KEY)")
    db.executemany("INSERT INTO slots (slot) VALUES (?)", [(slot,) for slot in range(256)])
    _pack_jobs(db)
    job = "(SELECT (j.item << 32) | j.area FROM jobs j WHERE j.id = job)"
    db.execute("""
    INSERT INTO troubles (job, attempts, transient, reason, cause)
    SELECT (item << 32) | area, attempts, transient, reason, cause FROM jobs
    WHERE status IN ('failed', 'missing') OR reason != '' OR cause != '' OR (status = 'open' AND attempts > 0)
    """)
    db.execute("""
    CREATE TABLE new_products (
        job INTEGER NOT NULL,
        asset TEXT NOT NULL,
        edition INTEGER NOT NULL,
        mask INTEGER NOT NULL,
        format TEXT NOT NULL,
        epsg INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        sha256 BLOB NOT NULL,
        file TEXT NOT NULL,
        harmonised INTEGER,             -- null: no reflectance band
        says TEXT,                      -- what its tags say of the offset; null: nothing
        PRIMARY KEY (job, asset)
    ) WITHOUT ROWID
    """)
    columns = "asset, edition, mask, format, epsg, bytes, sha256, file, harmonised, says"
    db.execute(f"INSERT INTO new_products (job, {columns}) SELECT {job}, {columns} FROM products")  # noqa: S608
    db.execute("""
    CREATE TABLE new_absences (
        job INTEGER NOT NULL,
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
    columns = "asset, edition, cause, reason, host, missing, tries, tried, due, run, alone"
    db.execute(f"INSERT INTO new_absences (job, {columns}) SELECT {job}, {columns} FROM absences")  # noqa: S608
    db.execute("""
    CREATE TABLE new_suspects (
        job INTEGER PRIMARY KEY,
        deaths INTEGER NOT NULL         -- kills of the program while it decoded only this job
    )
    """)
    db.execute(f"INSERT INTO new_suspects (job, deaths) SELECT {job}, deaths FROM suspects")  # noqa: S608
    db.execute("""
    CREATE TABLE new_evidence (
        job INTEGER NOT NULL,
        asset TEXT NOT NULL,
        edition INTEGER NOT NULL,
        pixels INTEGER NOT NULL,        -- valid ones of the crop, as they were published
        dark INTEGER NOT NULL,
        wrapped INTEGER NOT NULL,
        PRIMARY KEY (job, asset)
    ) WITHOUT ROWID
    """)
    columns = "asset, edition, pixels, dark, wrapped"
    db.execute(f"INSERT INTO new_evidence (job, {columns}) SELECT {job}, {columns} FROM evidence")  # noqa: S608
    for name in ("products", "absences", "suspects", "evidence"):
        db.execute(f"DROP TABLE {name}")
        db.execute(f"ALTER TABLE new_{name} RENAME TO {name}")
    db.execute("DROP TABLE measures")
    db.execute("DROP TABLE jobs")
    db.execute("CREATE INDEX products_bands ON products (job, asset) WHERE harmonised IS NOT NULL")
    db.execute("CREATE INDEX absences_due ON absences (due) WHERE due IS NOT NULL")
    db.execute("CREATE INDEX asked_block ON asked (block)")
    db.execute("""
    CREATE VIEW jobs AS
    SELECT (a.item << 32) | (a.block << 8) | s.slot AS id, a.item, (a.block << 8) | s.slot AS area,
      a.block, s.slot, a.codes, substr(a.codes, s.slot + 1, 1) AS code,
      CASE substr(a.codes, s.slot + 1, 1) WHEN 's' THEN 'saved' WHEN 'c' THEN 'cloudy' WHEN 'n' THEN 'nodata'
        WHEN 'x' THEN 'outside' WHEN 'm' THEN 'missing' WHEN 'f' THEN 'failed' WHEN 'd' THEN 'duplicate'
        ELSE 'open' END AS status,
      coalesce((
        SELECT t.attempts FROM troubles t WHERE t.job = ((a.item << 32) | (a.block << 8) | s.slot)
      ), 0) AS attempts,
      coalesce((
        SELECT t.transient FROM troubles t WHERE t.job = ((a.item << 32) | (a.block << 8) | s.slot)
      ), 0) AS transient,
      coalesce((
        SELECT t.reason FROM troubles t WHERE t.job = ((a.item << 32) | (a.block << 8) | s.slot)
      ), '') AS reason,
      coalesce((
        SELECT t.cause FROM troubles t WHERE t.job = ((a.item << 32) | (a.block << 8) | s.slot)
      ), '') AS cause
    FROM asked a CROSS JOIN slots s ON s.slot < length(a.codes)
    WHERE substr(a.codes, s.slot + 1, 1) != ' '
    """)


_OLD_CODES = {
    "open": "o",
    "saved": "s",
    "cloudy": "c",
    "nodata": "n",
    "outside": "x",
    "missing": "m",
    "failed": "f",
    "duplicate": "d",
}
"""Codes of the statuses at the time when jobs were packed."""


def _pack_jobs(db: Connection) -> None:
    """Pack jobs and measurements, item by item and block by block."""
    rows = db.execute("""
    SELECT j.item, j.area >> 8, j.area & 255, j.status, m.edition, m.total, m.histogram
    FROM jobs j LEFT JOIN measures m ON m.job = j.id ORDER BY j.item, j.area
    """)
    for (item, block), jobs in groupby(rows, key=itemgetter(0, 1)):
        codes = [" "] * 256
        tables: dict[tuple[str, int], dict[int, CloudMeasure]] = {}
        for _, _, slot, status, edition, total, histogram in jobs:
            codes[slot] = _OLD_CODES[status]
            if total is not None:
                rule, counts = _old_counts(histogram)
                measure = CloudMeasure(histogram=counts, total=total, rule=rule)
                tables.setdefault((rule, edition), {})[slot] = measure
        db.execute(
            "INSERT INTO asked (item, block, codes) VALUES (?, ?, ?)", (item, block, "".join(codes).rstrip())
        )
        for (rule, edition), measures in sorted(
            tables.items()
        ):  # the newest edition of a rule replaces the others
            cells = pack_cells(measure_cells(measures))
            db.execute(
                "INSERT OR REPLACE INTO answers (item, block, step, asked, edition, cells) "
                "VALUES (?, ?, 'clouds', ?, ?, ?)",
                (item, block, rule, edition, cells),
            )


def _old_counts(column: bytes | str) -> tuple[str, tuple[int, ...]]:
    """Return rule and counts of a column ``histogram``: 13 numbers of one width, or JSON that names the rule."""
    if isinstance(column, str):
        rule, *counts = json.loads(column)
        return rule, tuple(counts)
    code = {1: "B", 2: "H", 4: "I", 8: "Q"}[len(column) // 13]
    return "scl", struct.unpack(f"<13{code}", column)
