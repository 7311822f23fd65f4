"""SQL statements that write the state, and those with which a run reads its jobs. Values are always parameters."""

from __future__ import annotations

from s2async.state.reader_sql import (
    ITEM_COLUMNS,
    JOBS_OF_NEWER,
    NEWER_HAS_ANSWER,
    NEWER_HAS_JOB,
    OF_KIND,
    REMOVED,
    WANTED,
)

# ---- runs and searches -----------------------------------------------------------------------------------

HOLDER = "SELECT value FROM meta WHERE key = 'holder'"
SET_HOLDER = "INSERT OR REPLACE INTO meta (key, value) VALUES ('holder', ?)"
SET_OUTPUT = "INSERT OR REPLACE INTO meta (key, value) VALUES ('output', ?)"
SET_CONFIGURATION = "INSERT OR REPLACE INTO meta (key, value) VALUES ('configuration', ?)"
SET_CHANGES = "INSERT OR REPLACE INTO meta (key, value) VALUES ('area-changes', ?)"
BEGIN_RUN = "INSERT INTO runs (started, version, config) VALUES (?, ?, ?)"
END_RUN = "UPDATE runs SET ended = ?, how = ? WHERE id = ?"
ADD_TRAFFIC = """
INSERT INTO traffic (run, stage, asset, use, requests, bytes) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (run, stage, asset, use)
DO UPDATE SET requests = requests + excluded.requests, bytes = bytes + excluded.bytes
"""
ADD_SEARCH = "INSERT OR REPLACE INTO searches (run, key, label, complete, items, reason) VALUES (?, ?, ?, ?, ?, ?)"
SET_ESTIMATE = "INSERT OR REPLACE INTO meta (key, value) VALUES ('estimate:' || ?, ?)"

# ---- areas -----------------------------------------------------------------------------------------------

ADD_AREA = "INSERT INTO areas (fingerprint, polygon, zone, active) VALUES (?, ?, ?, 1)"
SET_AREA = "UPDATE areas SET active = ?, seasonal = ? WHERE id = ?"
FORGET_PLACES = "DELETE FROM places"
ADD_PLACE = "INSERT INTO places (area, name, since, until, folder, attributes) VALUES (?, ?, ?, ?, ?, ?)"
FORGET_SHELVES = "DELETE FROM shelves WHERE area = ?"
ADD_SHELF = """
INSERT INTO shelves (area, since, until, wanted, folder, name, new_folder, new_name)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
PARK_SHELVES = "UPDATE shelves SET parked = 1 WHERE new_folder IS NOT NULL"
SETTLE_SHELVES = """
UPDATE shelves SET folder = new_folder, name = new_name, new_folder = NULL, new_name = NULL, parked = 0
WHERE new_folder IS NOT NULL
"""
SET_TAGGED = "UPDATE products SET bytes = ?, sha256 = ? WHERE job = ? AND asset = ?"
FIND_REMOVED = f"CREATE TEMP TABLE removed AS SELECT j.id AS job {REMOVED}"
FORGET_REMOVED = (
    "DELETE FROM measures WHERE job IN (SELECT job FROM removed)",
    "DELETE FROM products WHERE job IN (SELECT job FROM removed)",
    "DELETE FROM absences WHERE job IN (SELECT job FROM removed)",
    "DELETE FROM suspects WHERE job IN (SELECT job FROM removed)",
    "DELETE FROM evidence WHERE job IN (SELECT job FROM removed)",
    "DELETE FROM jobs WHERE id IN (SELECT job FROM removed)",
    "DELETE FROM shelves WHERE area IN (SELECT id FROM areas WHERE NOT active)",
    "DELETE FROM areas WHERE NOT active",
    "DROP TABLE removed",
)
"""After `FIND_REMOVED`: everything about jobs that no place wants, and areas without a place."""

# ---- items -----------------------------------------------------------------------------------------------

_ITEM_VALUES = ", ".join("?" for _ in ITEM_COLUMNS.split(","))
ADD_ITEM = f"INSERT INTO items (edition, {ITEM_COLUMNS}) VALUES (1, {_ITEM_VALUES})"  # noqa: S608
UPDATE_ITEM = f"UPDATE items SET ({ITEM_COLUMNS}) = ({_ITEM_VALUES}) WHERE id = ?"  # noqa: S608
NAMESAKE = """
WITH RECURSIVE known (collection) AS (
    SELECT min(collection) FROM items
    UNION ALL SELECT (SELECT min(i.collection) FROM items i WHERE i.collection > known.collection)
    FROM known WHERE known.collection IS NOT NULL
)
SELECT EXISTS (
    SELECT 1 FROM known CROSS JOIN items i ON i.collection = known.collection AND i.item = :name WHERE i.id < :item
)
"""
"""Whether another collection had an item of this id before. The recursion jumps in the index from one collection
to the next."""
NEW_EDITION = "UPDATE items SET edition = edition + 1 WHERE id = ?"
SENSED_TOGETHER = f"""
SELECT id, {ITEM_COLUMNS} FROM items WHERE id != :item AND id IN (
    SELECT id FROM items
    WHERE grid = :grid AND datatake = :datatake AND datatake != ''
      AND sensed BETWEEN :sensed - :longest AND :sensed + :longest
    UNION SELECT id FROM items WHERE grid = :grid AND sensed BETWEEN :sensed - :span AND :sensed + :span
)
"""  # noqa: S608
"""Items that may be of the same acquisition: by their datatake, and by their time where one has none."""
UNLINK_ITEM = "DELETE FROM superseded WHERE item = :item OR newer = :item"
SUPERSEDE = "INSERT INTO superseded (item, newer) VALUES (?, ?)"
ADD_FILE = "INSERT OR REPLACE INTO files (item, asset, size, etag) VALUES (?, ?, ?, ?)"
ADD_HEADER = "INSERT OR REPLACE INTO headers (item, asset, address, header) VALUES (?, ?, ?, ?)"
KNOWN_HEADERS = """
SELECT h.asset, h.address, f.size, f.etag, h.header
FROM items i
CROSS JOIN headers h ON h.item = i.id
CROSS JOIN files f ON f.item = h.item AND f.asset = h.asset
WHERE i.collection = ? AND i.item = ? AND f.etag != ''
"""
FORGET_FILES = "DELETE FROM files WHERE item = ?"
FORGET_HEADERS = "DELETE FROM headers WHERE item = ?"
FORGET_ABSENCES = "DELETE FROM absences WHERE job IN (SELECT id FROM jobs WHERE item = ?)"

# ---- jobs to work on -------------------------------------------------------------------------------------

ADD_JOB = "INSERT INTO jobs (item, area, status, found) VALUES (?, ?, 'open', ?) ON CONFLICT DO NOTHING"
AREAS_OF_NEWER = """
SELECT DISTINCT t.area FROM superseded b CROSS JOIN jobs t ON t.item = b.newer
WHERE b.item = ? AND t.status != 'missing'
"""
OPEN_JOBS = f"""
SELECT j.id, j.item, j.area
FROM jobs j
CROSS JOIN areas a ON a.id = j.area
CROSS JOIN items i ON i.id = j.item
WHERE j.status = 'open' AND (j.item, j.id) > (:item, :job) AND j.found < :run
  AND {WANTED} AND NOT (:newest AND {NEWER_HAS_JOB})
ORDER BY j.item, j.id LIMIT :limit
"""  # noqa: S608
_OPEN_JOBS_BY_TIME = f"""
SELECT j.id, j.item, j.area, i.sensed
FROM items i
CROSS JOIN jobs j ON j.item = i.id AND j.status = 'open'
CROSS JOIN areas a ON a.id = j.area
WHERE (i.sensed, j.item, j.id) {{beyond}} (:sensed, :item, :job) AND j.found < :run
  AND {WANTED} AND NOT (:newest AND {NEWER_HAS_JOB})
ORDER BY i.sensed {{way}}, j.item {{way}}, j.id {{way}} LIMIT :limit
"""  # noqa: S608
OPEN_JOBS_NEWEST_FIRST = _OPEN_JOBS_BY_TIME.format(beyond="<", way="DESC")
OPEN_JOBS_OLDEST_FIRST = _OPEN_JOBS_BY_TIME.format(beyond=">", way="ASC")
MARK_CRASHED = """
INSERT INTO suspects (job, deaths) SELECT id, :deaths FROM jobs WHERE id = :job AND status = 'open'
ON CONFLICT (job) DO UPDATE SET deaths = deaths + excluded.deaths
"""
SET_ASIDE = """
UPDATE jobs SET status = 'failed', reason = :reason, cause = 'crash', transient = 0
WHERE id = :job AND status = 'open' AND (SELECT deaths FROM suspects WHERE job = :job) >= :most
"""
RESET_COUNT = "UPDATE suspects SET deaths = 0 WHERE job = ?"
CLEAR_MARK = "DELETE FROM suspects WHERE job = ?"
NAMES_OF_JOB = """
SELECT coalesce(s.new_name, s.name), i.item FROM jobs j JOIN items i ON i.id = j.item
JOIN shelves s ON s.area = j.area AND s.since <= i.sensed AND s.until > i.sensed WHERE j.id = ?
"""
CRASHED_JOBS = f"""
SELECT j.id, j.item, j.area
FROM suspects s
CROSS JOIN jobs j ON j.id = s.job
CROSS JOIN areas a ON a.id = j.area
CROSS JOIN items i ON i.id = j.item
WHERE j.status = 'open' AND j.found < :run AND {WANTED} AND NOT (:newest AND {NEWER_HAS_JOB})
ORDER BY j.item, j.id
"""  # noqa: S608
VALID_MEASURE = """
SELECT m.total, m.histogram FROM measures m
WHERE m.job = :job AND m.edition = (SELECT edition FROM items WHERE id = :item)
"""
VALID_ASSETS = f"""
SELECT p.asset FROM products p
WHERE p.job = :job AND {OF_KIND.format(crop="p")}
  AND p.edition = (SELECT edition FROM items WHERE id = :item)
"""  # noqa: S608
VALID_ABSENCES = """
SELECT x.asset, x.cause, x.reason, x.host, x.missing, x.tried, x.due, x.alone FROM absences x
WHERE x.job = :job AND x.edition = (SELECT edition FROM items WHERE id = :item)
"""
"""In the order of `serialization.lack`."""

# ---- jobs that are opened again --------------------------------------------------------------------------

REOPEN_JOBS = """
UPDATE jobs SET status = 'open', found = :run, attempts = 0, transient = 0, reason = '', cause = ''
WHERE item = :item AND (status = :status OR :status IS NULL)
"""
JOBS_TO_REOPEN = f"""
SELECT j.id, j.area FROM jobs j JOIN areas a ON a.id = j.area
WHERE j.item = :item AND (j.status = :status OR :status IS NULL) AND {WANTED} ORDER BY j.id
"""  # noqa: S608
REOPEN_LACKING = """
UPDATE jobs SET status = 'open', found = :run, attempts = 0, transient = 0, reason = '', cause = ''
WHERE item = :item AND status = 'saved' AND EXISTS (SELECT 1 FROM absences x WHERE x.job = jobs.id)
"""
LACKING_TO_REOPEN = f"""
SELECT j.id, j.area FROM jobs j JOIN areas a ON a.id = j.area
WHERE j.item = :item AND j.status = 'saved' AND EXISTS (SELECT 1 FROM absences x WHERE x.job = j.id)
  AND {WANTED} ORDER BY j.id
"""  # noqa: S608
REOPEN_TRANSIENT = f"""
UPDATE jobs SET status = 'open', transient = 0, reason = '', cause = '' WHERE id IN (
    SELECT j.id FROM areas a CROSS JOIN jobs j ON j.area = a.id
    WHERE j.status = 'failed' AND j.transient AND (j.attempts <= ? OR j.cause = 'origin') AND {WANTED}
)
"""  # noqa: S608
"""A retry for an origin that is still not listed sends no request, so it is free and has no limit."""
REOPEN_DUE = f"""
UPDATE jobs SET status = 'open', attempts = 0, reason = '', cause = '' WHERE id IN (
    SELECT x.job FROM absences x
    CROSS JOIN jobs j ON j.id = x.job
    CROSS JOIN areas a ON a.id = j.area
    CROSS JOIN items i ON i.id = j.item
    WHERE x.due IS NOT NULL AND (x.due <= :now OR x.tried > :now) AND x.edition = i.edition AND {WANTED}
      AND (
        j.status IN ('missing', 'saved') AND x.asset IN (SELECT value FROM json_each(:assets))
        OR j.status = 'missing' AND x.asset IN (SELECT value FROM json_each(:measured))
      )
)
"""  # noqa: S608
RETRY = f"""
UPDATE jobs SET status = 'open', attempts = 0, transient = 0, reason = '', cause = '' WHERE id IN (
    SELECT j.id FROM areas a CROSS JOIN jobs j ON j.area = a.id
    WHERE {WANTED} AND (
        j.status IN (SELECT value FROM json_each(:again))
        OR :missing AND j.status = 'saved' AND EXISTS (SELECT 1 FROM absences x WHERE x.job = j.id)
    )
)
"""  # noqa: S608
FORGET_ANSWERS = """
DELETE FROM absences
WHERE job IN (SELECT id FROM jobs WHERE status = 'open') AND (:missing OR NOT missing)
"""
UNSAVE_JOB = "UPDATE jobs SET status = 'open' WHERE id = ? AND status IN ('saved', 'failed')"

# ---- answers ---------------------------------------------------------------------------------------------

ANSWER_JOB = """
UPDATE jobs SET status = ?, reason = ?, cause = ?, transient = ?, attempts = attempts + 1
WHERE id = ? AND item = ?
"""
ADD_MEASURE = """
INSERT OR REPLACE INTO measures (job, edition, total, histogram)
SELECT j.id, i.edition, ?, ? FROM jobs j JOIN items i ON i.id = j.item WHERE j.id = ?
"""
ADD_PRODUCT = """
INSERT OR REPLACE INTO products (job, asset, edition, mask, format, epsg, bytes, sha256, file, harmonised, says)
SELECT j.id, ?, i.edition, ?, ?, ?, ?, ?, ?, ?, ? FROM jobs j JOIN items i ON i.id = j.item WHERE j.id = ?
"""
DROP_PRODUCT = "DELETE FROM products WHERE job = ? AND asset = ?"
DROP_OTHER_KIND = """
DELETE FROM products
WHERE job = :job AND asset = :asset
  AND (mask, format, coalesce(harmonised, :harmonised)) != (:mask, :format, :harmonised)
"""
TRIES = """
SELECT x.tries FROM absences x
WHERE x.job = :job AND x.asset = :asset AND x.cause = :cause
  AND x.edition = (SELECT edition FROM items WHERE id = :item)
"""
ADD_ABSENCE = """
INSERT INTO absences (job, asset, edition, cause, reason, host, missing, tries, tried, due, run, alone)
SELECT :job, :asset, i.edition, :cause, :reason, :host, :missing, :tries, :tried, :due, :run, 0
FROM items i WHERE i.id = :item
ON CONFLICT (job, asset) DO UPDATE SET
  alone = alone AND edition = excluded.edition AND cause = excluded.cause,
  edition = excluded.edition, cause = excluded.cause, reason = excluded.reason, host = excluded.host,
  missing = excluded.missing, tries = excluded.tries, tried = excluded.tried, due = excluded.due,
  run = excluded.run
"""
DROP_ABSENCE = "DELETE FROM absences WHERE job = ? AND asset = ?"
SERVED_OTHERS = """
UPDATE absences SET alone = 1 WHERE run = ? AND host IN (SELECT value FROM json_each(?))
"""
DENIED_ALONE = """
SELECT x.job, j.item, x.asset, x.reason FROM absences x CROSS JOIN jobs j ON j.id = x.job
CROSS JOIN items i ON i.id = j.item
WHERE x.cause = 'denied' AND NOT x.missing AND x.alone AND x.tries >= :most AND x.edition = i.edition
  AND j.status = 'failed' AND NOT EXISTS (
    SELECT 1 FROM absences y
    WHERE y.run = :run AND y.host = x.host AND y.cause = 'denied' AND NOT y.alone
  )
"""
"""Files that were denied often enough while their servers delivered others."""
SETTLE_ABSENCE = "UPDATE absences SET missing = 1, due = NULL, reason = ? WHERE job = ? AND asset = ?"
SETTLE_JOB = "UPDATE jobs SET status = ?, reason = ?, cause = ?, transient = 0 WHERE id = ?"

# ---- offsets of reflectance bands ------------------------------------------------------------------------

ADD_EVIDENCE = """
INSERT OR REPLACE INTO evidence (job, asset, edition, pixels, dark, wrapped)
SELECT j.id, ?, i.edition, ?, ?, ? FROM jobs j JOIN items i ON i.id = j.item WHERE j.id = ?
"""
ADD_BAND = """
INSERT OR REPLACE INTO bands (item, asset, edition, stated, dn, basis, doubt)
SELECT i.id, ?, i.edition, ?, NULL, 'unknown', '' FROM jobs j JOIN items i ON i.id = j.item WHERE j.id = ?
"""
SET_BAND = "UPDATE bands SET dn = ?, basis = ?, doubt = ? WHERE item = ? AND asset = ?"
SET_CONVENTIONS = "INSERT OR REPLACE INTO meta (key, value) VALUES ('conventions', ?)"
SET_REWRITING = "INSERT OR REPLACE INTO meta (key, value) VALUES ('rewriting', ?)"
END_REWRITING = "DELETE FROM meta WHERE key = 'rewriting'"
ITEM_OF_JOB = "SELECT item FROM jobs WHERE id = ?"
SET_REWRITTEN = """
UPDATE products SET bytes = ?, sha256 = ?, harmonised = ?, says = ? WHERE job = ? AND asset = ?
"""

# ---- the status of jobs ----------------------------------------------------------------------------------

STATUS_PAGE = """
SELECT j.id, j.status, m.total, m.histogram, a.wanted IS NOT :wanted
FROM jobs j
CROSS JOIN areas a ON a.id = j.area
CROSS JOIN items i ON i.id = j.item
LEFT JOIN measures m ON m.job = j.id AND m.edition = i.edition
WHERE j.id > :job AND a.active AND j.status != 'outside' AND (
    m.job IS NOT NULL OR j.status = 'saved' OR j.status = 'missing' AND a.wanted IS NOT :wanted
)
ORDER BY j.id LIMIT :limit
"""
VALID_PRODUCTS = f"""
SELECT p.job, p.asset FROM products p
CROSS JOIN jobs j ON j.id = p.job
CROSS JOIN items i ON i.id = j.item
WHERE p.job BETWEEN :first AND :last AND p.edition = i.edition AND {OF_KIND.format(crop="p")}
"""  # noqa: S608
MISSING_ASSETS = """
SELECT x.job, x.asset, x.cause, x.reason, x.host, x.missing, x.tried, x.due, x.alone FROM absences x
CROSS JOIN jobs j ON j.id = x.job
CROSS JOIN items i ON i.id = j.item
WHERE x.job BETWEEN :first AND :last AND x.edition = i.edition AND x.missing
"""
SET_STATUS = """
UPDATE jobs SET status = :status, reason = :reason, cause = :cause, transient = 0,
  attempts = CASE :status WHEN 'open' THEN 0 ELSE attempts END
WHERE id = :job
"""
_VIEWS = f"""
SELECT j.id, j.item, j.area, j.status, j.attempts, j.transient, j.found, a.zone,
  i.collection, i.item, i.sensed, i.datatake, i.platform, i.grid, i.epsg, m.total, m.histogram,
  (SELECT json_group_array(p.asset) FROM products p
   WHERE p.job = j.id AND p.edition = i.edition AND {OF_KIND.format(crop="p")}),
  (SELECT json_group_array(json_array(x.asset, x.due, x.tried)) FROM absences x
   WHERE x.job = j.id AND x.edition = i.edition AND x.missing),
  (SELECT json_group_array(t.id) FROM {JOBS_OF_NEWER} WHERE b.item = i.id)
{{jobs}}
CROSS JOIN areas a ON a.id = j.area
LEFT JOIN measures m ON m.job = j.id AND m.edition = i.edition
WHERE {{which}} AND a.active AND {WANTED}
  AND NOT (:newest AND ({NEWER_HAS_ANSWER} OR j.status != 'saved' AND {NEWER_HAS_JOB}))
"""  # noqa: S608
"""Jobs that may count for their overpass: where a better edition of their item has a job, it takes their place."""
VIEWS_OF_TIME = _VIEWS.format(
    jobs="FROM items i CROSS JOIN jobs j ON j.item = i.id",
    which="i.sensed BETWEEN :since AND :until AND j.area IN (SELECT value FROM json_each(:areas))",
)
VIEWS_OF_AREA = _VIEWS.format(
    jobs="FROM jobs j CROSS JOIN items i ON i.id = j.item", which="j.area = :area AND j.status != 'outside'"
)
AREAS_OF_JOBS = "SELECT DISTINCT area FROM jobs WHERE id IN (SELECT value FROM json_each(?))"
ACTIVE_AREAS = "SELECT id FROM areas WHERE active ORDER BY id"
SET_CHOICE = "UPDATE jobs SET status = ?, reason = '', cause = '', transient = 0 WHERE id = ?"
SETTLED = "SELECT value FROM meta WHERE key = 'overpasses'"
SET_SETTLED = "INSERT OR REPLACE INTO meta (key, value) VALUES ('overpasses', ?)"
UNSETTLE = "DELETE FROM meta WHERE key = 'overpasses'"
ANSWERS = "SELECT id, status, reason FROM jobs WHERE id IN (SELECT value FROM json_each(?))"
SET_SELECTION = "UPDATE areas SET wanted = :wanted WHERE active AND wanted IS NOT :wanted"
