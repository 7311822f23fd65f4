"""SQL statements that read the state. Values are always parameters; see `conditions_sql` for the names used here.

Facts (answers, products, absences) store the edition of the item that they were derived from; they are valid only
while this is the item's current edition. ``CROSS JOIN`` is SQLite's way to fix the order of a join.
"""

from __future__ import annotations

from s2async.state.conditions_sql import (
    CROP_OF_KIND,
    CROP_SUPERSEDED,
    JOB_CROP_OF_KIND,
    NEWER_HAS_ANSWER,
    NEWER_HAS_CROP,
    NEWER_HAS_JOB,
    SAYS,
    SPOILT,
    WANTED,
    of_area,
    of_job,
)
from s2async.state.value_cells import HEADER

# ---- runs and searches -----------------------------------------------------------------------------------

STATE_ID = "SELECT value FROM meta WHERE key = 'id'"
OUTPUT = "SELECT value FROM meta WHERE key = 'output'"
CHANGES = "SELECT value FROM meta WHERE key = 'area-changes'"
CONFIGURATION = "SELECT value FROM meta WHERE key = 'configuration'"
LAST_RUN = "SELECT id, started, ended, how, version FROM runs ORDER BY id DESC LIMIT 1"
RUNS = "SELECT id, started, ended, how, version FROM runs ORDER BY id"
SEARCHED = "SELECT DISTINCT key FROM searches WHERE complete"
ESTIMATES = "SELECT substr(key, 10), value FROM meta WHERE key GLOB 'estimate:*'"

# ---- areas and grid squares ------------------------------------------------------------------------------

AREAS = "SELECT fingerprint, id FROM areas"
PLACES = """
SELECT a.fingerprint, l.name, l.since, l.until, l.folder, l.attributes
FROM places l CROSS JOIN areas a ON a.id = l.area ORDER BY l.id
"""
ATTRIBUTES = "SELECT DISTINCT attributes, since, until FROM places"
SHELVES = """
SELECT a.fingerprint, s.since, s.until, s.wanted, s.folder, s.name
FROM shelves s JOIN areas a ON a.id = s.area ORDER BY s.area, s.since
"""
IS_MOVING = "SELECT 1 FROM shelves WHERE new_folder IS NOT NULL LIMIT 1"
FOLDERS = "SELECT folder FROM shelves UNION SELECT new_folder FROM shelves WHERE new_folder IS NOT NULL"
MOVES = """
SELECT a.fingerprint, s.area, s.since, s.until, s.folder, s.new_folder, s.parked, NOT EXISTS (
    SELECT 1 FROM shelves o
    WHERE o.folder = s.folder AND NOT (o.area = s.area AND o.new_folder IS s.new_folder)
)
FROM shelves s JOIN areas a ON a.id = s.area
WHERE s.new_folder IS NOT NULL AND s.new_folder != s.folder ORDER BY s.area, s.since
"""
"""Folders that move; the last column says whether nothing else is in the folder."""
CROPS_IN_SPAN = f"""
SELECT p.file FROM jobs j CROSS JOIN items i ON i.id = j.item CROSS JOIN products p ON p.job = j.id
WHERE {of_area(":area")} AND i.sensed >= :since AND i.sensed < :until
"""  # noqa: S608
RENAMED_CROPS = f"""
SELECT p.job, p.asset, s.new_folder, p.file, p.bytes, p.sha256, s.new_name
FROM shelves s
CROSS JOIN jobs j ON {of_area("s.area")}
CROSS JOIN items i ON i.id = j.item AND i.sensed >= s.since AND i.sensed < s.until
CROSS JOIN products p ON p.job = j.id
WHERE s.new_folder IS NOT NULL AND s.new_name != s.name ORDER BY s.area, s.since, p.job, p.asset
"""  # noqa: S608
"""Crops whose tags have a former name and that are already in their new folder."""
ACTIVE_AREAS = """
SELECT l.name, a.polygon, a.fingerprint, l.folder, l.since, l.until, l.attributes
FROM places l CROSS JOIN areas a ON a.id = l.area ORDER BY l.name, l.since
"""
POLYGON = "SELECT polygon FROM areas WHERE fingerprint = ?"
SQUARES = f"""
SELECT g.grid, g.items, (
    SELECT h.header FROM items i CROSS JOIN headers h ON h.item = i.id WHERE i.grid = g.grid LIMIT 1
)
FROM (
    SELECT i.grid, count(*) AS items FROM items i WHERE EXISTS (
        SELECT 1 FROM jobs j CROSS JOIN areas a ON a.id = j.area WHERE j.item = i.id AND {WANTED}
    ) GROUP BY i.grid
) g ORDER BY g.grid
"""  # noqa: S608

# ---- items -----------------------------------------------------------------------------------------------

ITEM_COLUMNS = (
    "collection, item, version, updated, sensed, platform, grid, cloud, epsg, baseline, generated, datastrip, "
    "base, assets, absent, datatake, subtracted, offsets, footprint"
)
"""Columns in the order of `serialization.item_values`."""
FIND_ITEM = f"SELECT id, {ITEM_COLUMNS} FROM items WHERE collection = ? AND item = ?"  # noqa: S608
ITEM = f"SELECT id, {ITEM_COLUMNS} FROM items WHERE id = ?"  # noqa: S608
ASSETS_OF_ITEM = "SELECT e.key FROM items i CROSS JOIN json_each(i.assets) e WHERE i.id = ?"
ITEM_EDITION = "SELECT id, version, base, assets FROM items WHERE collection = ? AND item = ?"

# ---- rows of tables, and crops ---------------------------------------------------------------------------

_MEASURE = """
LEFT JOIN answers m ON m.item = j.item AND m.block = j.block AND m.step = 'clouds' AND m.asked = :rule
  AND m.edition = i.edition
"""
"""The measurements of all jobs of a row by the selected rule; see `state.packed.measure_at`."""
CELLS = "SELECT cells FROM answers WHERE id = ?"
KNOWN_JOBS = f"""
SELECT j.id, a.fingerprint, j.status,
  j.status = 'failed' AND NOT (j.transient AND (j.attempts <= :attempts OR j.cause = 'origin')),
  j.slot, m.cells,
  (SELECT json_group_array(p.asset) FROM products p
   WHERE p.job = j.id AND p.edition = i.edition AND {CROP_OF_KIND}),
  (SELECT json_group_array(json_array(x.asset, x.due, x.tried)) FROM absences x
   WHERE x.job = j.id AND x.edition = i.edition AND x.missing)
FROM items i
CROSS JOIN jobs j ON j.item = i.id
CROSS JOIN areas a ON a.id = j.area
{_MEASURE}WHERE i.id = :item
"""  # noqa: S608
NEWEST_MEASURES = """
SELECT i.item, i.cloud, m.cells FROM items i
CROSS JOIN answers m ON m.item = i.id AND m.step = 'clouds' AND m.asked = ? AND m.edition = i.edition
ORDER BY i.id DESC
"""
JOB_COLUMNS = "l.name, l.attributes, l.since, l.until, l.folder, a.fingerprint, s.folder, i.id, j.slot, m.id"
"""The columns from which `crop_rows` makes a job. Expressions must not contain commas, because it counts them.
Facts about items and measurements are read once for many rows; see `ITEM_OF_ROWS` and `CELLS`."""
ITEM_OF_ROWS = (
    "SELECT item, collection, sensed, platform, grid, baseline, cloud, base, assets FROM items WHERE id = ?"
)
_CROP_COLUMNS = "p.asset, p.file, p.bytes, p.sha256, p.epsg, p.harmonised, p.says, r.dn, r.basis, r.doubt"
_BAND = "LEFT JOIN bands r ON r.item = i.id AND r.asset = p.asset AND r.edition = i.edition"
_OF_PLACES = f"""
FROM places l
CROSS JOIN areas a ON a.id = l.area
CROSS JOIN jobs j ON {of_area("a.id")}
CROSS JOIN items i ON i.id = j.item AND i.sensed >= l.since AND i.sensed < l.until
CROSS JOIN shelves s ON s.area = j.area AND s.since <= i.sensed AND s.until > i.sensed
"""
"""The jobs of each place l, with the shelf s of their crops."""
_BY_TIME = "ORDER BY l.name, l.since, i.sensed, i.item, i.collection, p.asset"
"""Places of one name follow one another in time, so their rows are also in chronological order."""
SAVED_ROWS = f"""
SELECT {JOB_COLUMNS}, {_CROP_COLUMNS} {_OF_PLACES}
CROSS JOIN products p ON p.job = j.id AND p.edition = i.edition AND {CROP_OF_KIND}
{_BAND}
{_MEASURE}WHERE j.status IN ('saved', 'missing', 'failed', 'open') AND (:area IS NULL OR l.name = :area)
  AND NOT (:newest AND {CROP_SUPERSEDED})
{_BY_TIME}
"""
_ALL_JOBS = f"""
SELECT {JOB_COLUMNS}, j.status, j.reason, {_CROP_COLUMNS} {_OF_PLACES}
LEFT JOIN products p ON p.job = j.id AND j.status NOT IN {SPOILT}
  AND p.edition = i.edition AND {CROP_OF_KIND}
  AND NOT (:newest AND {CROP_SUPERSEDED})
{_BAND}
{_MEASURE}WHERE NOT (
  p.job IS NULL AND :newest AND EXISTS (SELECT 1 FROM superseded b WHERE b.item = i.id) AND (
    j.status IN ('open', 'failed') AND {NEWER_HAS_JOB} OR {NEWER_HAS_ANSWER}
    OR j.status NOT IN {SPOILT} AND EXISTS (
      SELECT 1 FROM products q
      WHERE q.job = j.id AND q.edition = i.edition AND {JOB_CROP_OF_KIND}
    )
  )
)
"""  # noqa: S608
JOB_ROWS = f"{_ALL_JOBS} {_BY_TIME}"
JOB_ROWS_OF_PLACE = f"{_ALL_JOBS} AND l.name = :area AND l.since = :since {_BY_TIME}"
VALUE_PLACES = """
SELECT l.area, l.since, l.until, l.name, a.fingerprint, l.attributes
FROM places l CROSS JOIN areas a ON a.id = l.area WHERE :area IS NULL OR l.name = :area
ORDER BY l.name, l.since, l.id
"""
SENSED = "SELECT id, sensed FROM items"
ITEMS_BY_BLOCK = "SELECT block, count(*) FROM asked GROUP BY block"
SUPERSEDED_ITEMS = "SELECT item, newer FROM superseded"
JUDGED_OF_BLOCK = """
SELECT j.item, j.codes, m.cells FROM asked j CROSS JOIN items i ON i.id = j.item
LEFT JOIN answers m ON m.item = j.item AND m.block = j.block AND m.step = 'clouds' AND m.asked = :rule
  AND m.edition = i.edition
WHERE j.block = :block
"""
VALUES_OF_BLOCK = """
SELECT m.item, m.asked, m.cells FROM asked j CROSS JOIN items i ON i.id = j.item
CROSS JOIN answers m ON m.item = j.item AND m.block = j.block AND m.step = 'values' AND m.edition = i.edition
WHERE j.block = ? ORDER BY m.item, m.asked
"""
SLOTS_OF_BLOCK = f"""
SELECT m.item, m.asked, substr(m.cells, 1, {HEADER}) FROM asked j CROSS JOIN items i ON i.id = j.item
CROSS JOIN answers m ON m.item = j.item AND m.block = j.block AND m.step = 'values' AND m.edition = i.edition
WHERE j.block = ?
"""  # noqa: S608
SIGHTINGS = """
SELECT i.id, i.collection, i.item, i.sensed, i.datatake, i.platform, i.grid, i.epsg
FROM json_each(?) e CROSS JOIN items i ON i.id = e.value
"""
"""What tells the overpasses of items."""
ZONES_OF_BLOCK = """
SELECT id & 255, zone FROM areas WHERE id >= :block << 8 AND id < (:block + 1) << 8 AND zone IS NOT NULL
"""
MISSING_FOR_VALUES = """
SELECT DISTINCT x.job FROM absences x CROSS JOIN items i ON i.id = x.job >> 32
WHERE x.missing AND x.edition = i.edition AND x.asset IN (SELECT value FROM json_each(?))
"""
STORED_CROPS = f"""
SELECT p.job, p.asset, s.folder, p.file, p.bytes, p.sha256, p.mask, i.item, a.fingerprint,
  s.wanted AND (j.status IN {SPOILT} OR :newest AND {NEWER_HAS_CROP.format(of_kind="")}), NOT s.wanted
FROM products p
CROSS JOIN jobs j ON {of_job("p.job")}
CROSS JOIN areas a ON a.id = j.area
CROSS JOIN items i ON i.id = j.item
CROSS JOIN shelves s ON s.area = j.area AND s.since <= i.sensed AND s.until > i.sensed
ORDER BY s.folder, p.file
"""  # noqa: S608
REMOVED = f"""
FROM shelves s
CROSS JOIN jobs j ON {of_area("s.area")}
CROSS JOIN items i ON i.id = j.item
WHERE NOT s.wanted AND i.sensed >= s.since AND i.sensed < s.until
"""
"""Jobs that no place includes."""
REMOVED_JOBS = f"SELECT count(*) {REMOVED}"
BAND_CROPS = f"""
SELECT p.job, p.asset, s.folder, p.file, p.bytes, p.sha256, p.harmonised, p.says, r.dn, r.basis, i.baseline
FROM products p
CROSS JOIN items i ON i.id = p.job >> 32
{_BAND}
CROSS JOIN shelves s ON s.area = p.job & 4294967295 AND s.since <= i.sensed AND s.until > i.sensed
WHERE p.harmonised IS NOT NULL AND p.edition = i.edition AND (
    p.harmonised != :harmonised OR p.says IS NOT NULL AND p.says IS NOT {SAYS} OR :untold AND p.says IS NULL
)
ORDER BY p.job, p.asset
"""  # noqa: S608
"""Crops of reflectance bands that are of another kind, or whose tags differ from the state."""
BANDS = """
SELECT r.asset, r.stated, r.dn, r.basis, r.doubt FROM bands r CROSS JOIN items i ON i.id = r.item
WHERE r.item = ? AND r.edition = i.edition
"""
EVIDENCE = """
SELECT e.asset, sum(e.pixels), sum(e.dark), sum(e.wrapped)
FROM items i CROSS JOIN evidence e ON e.job >= i.id << 32 AND e.job < (i.id + 1) << 32 AND e.edition = i.edition
WHERE i.id = ? GROUP BY e.asset
"""
"""The evidence of the crops of all areas of an item, by reflectance band."""
ITEMS_WITH_BANDS = "SELECT DISTINCT item FROM bands ORDER BY item"
CONVENTIONS = "SELECT value FROM meta WHERE key = 'conventions'"
REWRITING = "SELECT value FROM meta WHERE key = 'rewriting'"
CROP_PATHS = """
SELECT s.folder, p.file, s.new_folder, iif(
  s.new_folder IS NULL, '', (SELECT a.fingerprint FROM areas a WHERE a.id = s.area)
)
FROM products p CROSS JOIN items i ON i.id = p.job >> 32
CROSS JOIN shelves s ON s.area = p.job & 4294967295 AND s.since <= i.sensed AND s.until > i.sensed
"""
FILES_IN_FOLDER = f"""
SELECT p.file FROM shelves s CROSS JOIN jobs j ON {of_area("s.area")}
CROSS JOIN items i ON i.id = j.item AND i.sensed >= s.since AND i.sensed < s.until
CROSS JOIN products p ON p.job = j.id
WHERE s.folder = ?
"""  # noqa: S608
