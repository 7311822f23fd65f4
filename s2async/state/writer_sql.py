"""SQL statements that write the state, and those by which a run reads its jobs. Values are always parameters."""

from __future__ import annotations

from s2async.state.conditions_sql import (
    CROP_COMES_OF_KIND,
    JOBS_OF_NEWER,
    NEWER_HAS_ANSWER,
    NEWER_HAS_JOB,
    OF_KIND,
    WANTED,
    of_area,
    of_job,
)
from s2async.state.reader_sql import ITEM_COLUMNS, REMOVED
from s2async.state.value_cells import HEADER

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

LAST_AREA = "SELECT coalesce(max(id), 0) FROM areas"
ADD_AREA = "INSERT INTO areas (id, fingerprint, polygon, zone, wanted, active) VALUES (?, ?, ?, ?, ?, 1)"
SET_AREA = "UPDATE areas SET active = ?, seasonal = ? WHERE id = ?"
FORGET_PLACES = "DELETE FROM places"
ADD_PLACE = "INSERT INTO places (area, name, since, until, folder, attributes) VALUES (?, ?, ?, ?, ?, ?)"
FORGET_SHELVES = "DELETE FROM shelves WHERE area = ?"
ADD_SHELF = """
INSERT INTO shelves (area, since, until, wanted, folder, name, new_folder, new_name)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
ADD_WHOLE_SHELVES = """
INSERT INTO shelves (area, since, until, wanted, folder, name)
SELECT area, since, until, 1, folder, name FROM places ORDER BY area
"""
"""Adds the shelves of a new state in which each area has one place, with all days."""
PARK_SHELVES = "UPDATE shelves SET parked = 1 WHERE new_folder IS NOT NULL"
SETTLE_SHELVES = """
UPDATE shelves SET folder = new_folder, name = new_name, new_folder = NULL, new_name = NULL, parked = 0
WHERE new_folder IS NOT NULL
"""
SET_TAGGED = "UPDATE products SET bytes = ?, sha256 = ? WHERE job = ? AND asset = ?"
FIND_REMOVED = f"SELECT j.id {REMOVED} AND s.area >= :area ORDER BY s.area"
"""In the order in which they are found: nothing is sorted."""
FORGET_FACTS = (
    "DELETE FROM products WHERE job = ?",
    "DELETE FROM absences WHERE job = ?",
    "DELETE FROM suspects WHERE job = ?",
    "DELETE FROM evidence WHERE job = ?",
)
"""Delete the facts about a job that have rows of their own."""
FORGET_AREAS = (
    "DELETE FROM shelves WHERE area IN (SELECT id FROM areas WHERE NOT active)",
    "DELETE FROM areas WHERE NOT active",
)
"""Delete the areas without a place."""

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
"""Whether another collection had an item with this id before. The recursion jumps from one collection to the next
in the index."""
NEW_EDITION = "UPDATE items SET edition = edition + 1 WHERE id = ?"
SENSED_TOGETHER = f"""
SELECT id, {ITEM_COLUMNS} FROM items WHERE id != :item AND id IN (
    SELECT id FROM items
    WHERE grid = :grid AND datatake = :datatake AND datatake != ''
      AND sensed BETWEEN :sensed - :longest AND :sensed + :longest
    UNION SELECT id FROM items WHERE grid = :grid AND sensed BETWEEN :sensed - :span AND :sensed + :span
)
"""  # noqa: S608
"""Items that may be of the same acquisition: by their datatake, or by their time if one of them has no
datatake."""
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
FORGET_ABSENCES = "DELETE FROM absences WHERE job >= :item << 32 AND job < (:item + 1) << 32"

# ---- jobs to work on -------------------------------------------------------------------------------------

AREAS_OF_NEWER = """
SELECT DISTINCT t.area FROM superseded b CROSS JOIN jobs t ON t.item = b.newer
WHERE b.item = ? AND t.status != 'missing'
"""
OPEN_JOBS = f"""
SELECT j.id, 0
FROM jobs j
CROSS JOIN areas a ON a.id = j.area
CROSS JOIN items i ON i.id = j.item
WHERE instr(j.codes, 'o') > 0 AND j.code = 'o' AND (j.item, j.block, j.slot) > (:item, :block, :slot)
  AND {WANTED} AND NOT (:newest AND {NEWER_HAS_JOB})
ORDER BY j.item, j.block, j.slot LIMIT :limit
"""  # noqa: S608
_OPEN_JOBS_BY_TIME = f"""
SELECT j.id, i.sensed
FROM items i
CROSS JOIN jobs j ON j.item = i.id AND instr(j.codes, 'o') > 0 AND j.code = 'o'
CROSS JOIN areas a ON a.id = j.area
WHERE i.sensed {{beyond}}= :sensed AND (i.sensed, i.id, j.block) {{beyond}}= (:sensed, :item, :block)
  AND (i.sensed, i.id, j.block, j.slot) {{beyond}} (:sensed, :item, :block, :slot)
  AND {WANTED} AND NOT (:newest AND {NEWER_HAS_JOB})
ORDER BY i.sensed {{way}}, i.id {{way}}, j.block {{way}}, j.slot {{way}} LIMIT :limit
"""  # noqa: S608
"""Rows are in the order in which the joins find them, so nothing is sorted, and the search ends with the last job
of the page. The condition on blocks skips blocks of earlier pages as a whole."""
OPEN_JOBS_NEWEST_FIRST = _OPEN_JOBS_BY_TIME.format(beyond="<", way="DESC")
OPEN_JOBS_OLDEST_FIRST = _OPEN_JOBS_BY_TIME.format(beyond=">", way="ASC")
MARK_CRASHED = f"""
INSERT INTO suspects (job, deaths) SELECT j.id, :deaths FROM jobs j WHERE {of_job(":job")} AND j.status = 'open'
ON CONFLICT (job) DO UPDATE SET deaths = deaths + excluded.deaths
"""  # noqa: S608
DEADLY = f"""
SELECT 1 FROM suspects s CROSS JOIN jobs j ON {of_job("s.job")}
WHERE s.job = :job AND j.status = 'open' AND s.deaths >= :most
"""  # noqa: S608
RESET_COUNT = "UPDATE suspects SET deaths = 0 WHERE job = ?"
CLEAR_MARKS = "DELETE FROM suspects WHERE job IN (SELECT value FROM json_each(?))"
NAMES_OF_JOB = f"""
SELECT coalesce(s.new_name, s.name), i.item FROM jobs j JOIN items i ON i.id = j.item
JOIN shelves s ON s.area = j.area AND s.since <= i.sensed AND s.until > i.sensed WHERE {of_job(":job")}
"""  # noqa: S608
CRASHED_JOBS = f"""
SELECT j.id
FROM suspects s
CROSS JOIN jobs j ON {of_job("s.job")}
CROSS JOIN areas a ON a.id = j.area
CROSS JOIN items i ON i.id = j.item
WHERE j.code = 'o' AND {WANTED} AND NOT (:newest AND {NEWER_HAS_JOB})
ORDER BY j.id
"""  # noqa: S608
VALID_ASSETS = f"""
SELECT p.job, p.asset FROM products p
WHERE p.job BETWEEN :first AND :last AND {OF_KIND.format(crop="p")}
  AND p.edition = (SELECT edition FROM items WHERE id = :item)
"""  # noqa: S608
"""Valid crops of jobs of one item."""
VALID_ABSENCES = """
SELECT x.job, x.asset, x.cause, x.reason, x.host, x.missing, x.tried, x.due, x.alone FROM absences x
WHERE x.job BETWEEN :first AND :last AND x.edition = (SELECT edition FROM items WHERE id = :item)
"""
"""Absences of jobs of one item; from the second column on, in the order of `serialization.lack`."""

# ---- jobs that are opened again --------------------------------------------------------------------------

JOBS_OF_ITEM = """
SELECT j.id FROM jobs j WHERE j.item = :item AND (j.status = :status OR :status IS NULL) ORDER BY j.id
"""
LACKING_OF_ITEM = f"""
SELECT DISTINCT x.job FROM absences x CROSS JOIN jobs j ON {of_job("x.job")}
WHERE x.job >= :item << 32 AND x.job < (:item + 1) << 32 AND j.status IN ('saved', 'cloudy') ORDER BY x.job
"""  # noqa: S608
WANTED_JOBS = f"""
SELECT j.id FROM json_each(?) e CROSS JOIN jobs j ON {of_job("e.value")} CROSS JOIN areas a ON a.id = j.area
WHERE {WANTED} ORDER BY j.id
"""  # noqa: S608
FAILED_FOR_NOW = f"""
SELECT t.job FROM troubles t CROSS JOIN jobs j ON {of_job("t.job")} CROSS JOIN areas a ON a.id = j.area
WHERE j.status = 'failed' AND t.transient AND (t.attempts <= ? OR t.cause = 'origin') AND {WANTED}
"""  # noqa: S608
"""A retry for an origin that is still not allowed sends no request, so the number of retries is not limited."""
DUE = f"""
SELECT DISTINCT x.job FROM absences x
CROSS JOIN jobs j ON {of_job("x.job")}
CROSS JOIN areas a ON a.id = j.area
CROSS JOIN items i ON i.id = j.item
WHERE x.due IS NOT NULL AND (x.due <= :now OR x.tried > :now) AND x.edition = i.edition AND {WANTED}
  AND (
    j.status IN ('missing', 'saved') AND x.asset IN (SELECT value FROM json_each(:assets))
    OR j.status = 'missing' AND x.asset IN (SELECT value FROM json_each(:measured))
    OR j.status IN ('missing', 'saved', 'cloudy') AND x.asset IN (SELECT value FROM json_each(:valued))
  )
"""  # noqa: S608
TO_RETRY = f"""
SELECT t.job FROM troubles t CROSS JOIN jobs j ON {of_job("t.job")} CROSS JOIN areas a ON a.id = j.area
WHERE {WANTED} AND j.status IN (SELECT value FROM json_each(:again))
UNION
SELECT x.job FROM absences x CROSS JOIN jobs j ON {of_job("x.job")} CROSS JOIN areas a ON a.id = j.area
WHERE :missing AND {WANTED} AND j.status IN ('saved', 'cloudy')
"""  # noqa: S608
FORGET_ANSWERS = f"""
DELETE FROM absences WHERE (:missing OR NOT missing) AND EXISTS (
    SELECT 1 FROM jobs j WHERE {of_job("absences.job")} AND j.status = 'open'
)
"""  # noqa: S608

# ---- answers ---------------------------------------------------------------------------------------------

ADD_PRODUCT = """
INSERT OR REPLACE INTO products (job, asset, edition, mask, format, epsg, bytes, sha256, file, harmonised, says)
SELECT :job, :asset, i.edition, :mask, :format, :epsg, :bytes, :sha256, :file, :harmonised, :says
FROM items i WHERE i.id = :job >> 32
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
DENIED_ALONE = f"""
SELECT x.job, j.item, x.asset, x.reason FROM absences x CROSS JOIN jobs j ON {of_job("x.job")}
CROSS JOIN items i ON i.id = j.item
WHERE x.cause = 'denied' AND NOT x.missing AND x.alone AND x.tries >= :most AND x.edition = i.edition
  AND j.status = 'failed' AND NOT EXISTS (
    SELECT 1 FROM absences y
    WHERE y.run = :run AND y.host = x.host AND y.cause = 'denied' AND NOT y.alone
  )
"""  # noqa: S608
"""Files that were denied often enough while their servers delivered other files."""
SETTLE_ABSENCE = "UPDATE absences SET missing = 1, due = NULL, reason = ? WHERE job = ? AND asset = ?"

# ---- offsets of reflectance bands ------------------------------------------------------------------------

ADD_EVIDENCE = """
INSERT OR REPLACE INTO evidence (job, asset, edition, pixels, dark, wrapped)
SELECT :job, :asset, i.edition, :pixels, :dark, :wrapped FROM items i WHERE i.id = :job >> 32
"""
ADD_BAND = """
INSERT INTO bands (item, asset, edition, stated, dn, basis, doubt)
SELECT i.id, :asset, i.edition, :stated, NULL, 'unknown', '' FROM items i WHERE i.id = :job >> 32
ON CONFLICT (item, asset) DO UPDATE SET
  dn = iif(edition = excluded.edition, dn, NULL), basis = iif(edition = excluded.edition, basis, excluded.basis),
  doubt = iif(edition = excluded.edition, doubt, ''), edition = excluded.edition, stated = excluded.stated
"""
"""A decision stays until it is made again."""
SET_BAND = "UPDATE bands SET dn = ?, basis = ?, doubt = ? WHERE item = ? AND asset = ?"
SET_CONVENTIONS = "INSERT OR REPLACE INTO meta (key, value) VALUES ('conventions', ?)"
SET_REWRITING = "INSERT OR REPLACE INTO meta (key, value) VALUES ('rewriting', ?)"
END_REWRITING = "DELETE FROM meta WHERE key = 'rewriting'"
SET_REWRITTEN = """
UPDATE products SET bytes = ?, sha256 = ?, harmonised = ?, says = ? WHERE job = ? AND asset = ?
"""

# ---- the status of jobs ----------------------------------------------------------------------------------

ROWS_TO_JUDGE = """
SELECT p.item, p.block, p.codes, m.cells
FROM asked p CROSS JOIN items i ON i.id = p.item
LEFT JOIN answers m ON m.item = p.item AND m.block = p.block AND m.step = 'clouds' AND m.asked = :rule
  AND m.edition = i.edition
WHERE (p.item, p.block) > (:item, :block) ORDER BY p.item, p.block LIMIT :limit
"""
OTHER_CELLS = """
SELECT m.cells FROM answers m CROSS JOIN items i ON i.id = m.item AND i.edition = m.edition
WHERE m.item = :item AND m.block = :block AND m.step = 'clouds' AND m.asked != :rule
"""
"""Measurements by rules other than the selected one."""
HAS_OTHER_CELLS = "SELECT 1 FROM answers WHERE step = 'clouds' AND asked != :rule LIMIT 1"
VALID_PRODUCTS = f"""
SELECT p.job FROM products p CROSS JOIN items i ON i.id = p.job >> 32
WHERE p.job BETWEEN :first AND :last AND p.asset = :asset AND p.edition = i.edition AND {OF_KIND.format(crop="p")}
ORDER BY p.job
"""  # noqa: S608
MISSING_ASSETS = """
SELECT x.job, x.asset, x.cause, x.reason, x.host, x.missing, x.tried, x.due, x.alone FROM absences x
CROSS JOIN items i ON i.id = x.job >> 32
WHERE x.job BETWEEN :first AND :last AND x.edition = i.edition AND x.missing
"""
JUDGED_AREAS = "SELECT id, wanted IS NOT ? FROM areas WHERE active"
JUDGED = "SELECT value FROM meta WHERE key = 'judged'"
FORGET_JUDGED = "DELETE FROM meta WHERE key = 'judged'"
SET_JUDGED = "INSERT OR REPLACE INTO meta (key, value) VALUES ('judged', ?)"
TROUBLED = "SELECT job FROM troubles WHERE job BETWEEN :first AND :last"
_VIEWS = f"""
SELECT j.id, j.item, j.area, j.status, j.attempts, j.transient, j.code, a.zone,
  i.collection, i.item, i.sensed, i.datatake, i.platform, i.grid, i.epsg, j.slot, m.cells,
  (SELECT json_group_array(p.asset) FROM products p
   WHERE p.job = j.id AND p.edition = i.edition AND {CROP_COMES_OF_KIND}),
  (SELECT json_group_array(json_array(x.asset, x.due, x.tried)) FROM absences x
   WHERE x.job = j.id AND x.edition = i.edition AND x.missing),
  (SELECT json_group_array(t.id) FROM {JOBS_OF_NEWER} WHERE b.item = i.id)
{{jobs}}
CROSS JOIN areas a ON a.id = j.area
LEFT JOIN answers m ON m.item = j.item AND m.block = j.block AND m.step = 'clouds' AND m.asked = :rule
  AND m.edition = i.edition
WHERE {{which}} AND a.active AND {WANTED}
  AND NOT (:newest AND ({NEWER_HAS_ANSWER} OR j.status != 'saved' AND {NEWER_HAS_JOB}))
"""  # noqa: S608
"""Jobs that may count for their overpass. If a better edition of their item has a job, that job replaces them."""
_BLOCKS_OF_AREAS = """
WITH blocks AS (
    SELECT value >> 8 AS block, json_group_array(value) AS areas FROM json_each(:areas) GROUP BY value >> 8
)
"""
VIEWS_OF_TIME = _BLOCKS_OF_AREAS + _VIEWS.format(
    jobs="FROM items i CROSS JOIN blocks b CROSS JOIN asked k ON k.item = i.id AND k.block = b.block "
    f"CROSS JOIN json_each(b.areas) e CROSS JOIN jobs j ON j.item = i.id AND {of_area('e.value')}",
    which="i.sensed BETWEEN :since AND :until",
)
"""Areas are looked up only in rows that exist: most of the items of an overpass show none of them."""
ITEMS_BY_TIME = """
SELECT i.id, i.collection, i.item, i.sensed, i.datatake, i.platform, i.grid, i.epsg,
  EXISTS (SELECT 1 FROM superseded b WHERE b.item = i.id)
  OR EXISTS (SELECT 1 FROM superseded b WHERE b.newer = i.id)
FROM items i ORDER BY i.sensed
"""
"""The last column says whether other editions of the item exist."""
ROWS_OF_ITEM = """
SELECT p.block, p.codes, m.cells FROM asked p CROSS JOIN items i ON i.id = p.item
LEFT JOIN answers m ON m.item = p.item AND m.block = p.block AND m.step = 'clouds' AND m.asked = :rule
  AND m.edition = i.edition
WHERE p.item = :item
"""
ANY_ABSENCES = "SELECT DISTINCT job FROM absences WHERE job BETWEEN :first AND :last ORDER BY job"
AREAS_TO_CHOOSE = "SELECT id, seasonal, zone FROM areas WHERE active"
ACTIVE_AREAS = "SELECT id FROM areas WHERE active ORDER BY id"
SETTLED = "SELECT value FROM meta WHERE key = 'overpasses'"
SET_SETTLED = "INSERT OR REPLACE INTO meta (key, value) VALUES ('overpasses', ?)"
UNSETTLE = "DELETE FROM meta WHERE key = 'overpasses'"
ANSWERS = f"""
SELECT j.id, j.status, j.reason, j.cause FROM json_each(?) e CROSS JOIN jobs j ON {of_job("e.value")}
"""  # noqa: S608
SET_SELECTION = "UPDATE areas SET wanted = :wanted WHERE active AND wanted IS NOT :wanted"

# ---- values of areas -------------------------------------------------------------------------------------

_OF_ROW = """
FROM answers m CROSS JOIN items i ON i.id = m.item AND i.edition = m.edition
WHERE m.item = ? AND m.block = ? AND m.step = 'values'
"""
VALUES = f"SELECT m.cells {_OF_ROW} AND m.asked = ?"
VALUES_ROW = f"SELECT m.id, m.cells {_OF_ROW} AND m.asked = ?"
VALUE_ROWS = "SELECT id, asked, cells FROM answers WHERE item = ? AND block = ? AND step = 'values'"
VALUE_ROWS_OF_ITEM = "SELECT id, block, cells FROM answers WHERE item = ? AND step = 'values'"
VALUE_SLOTS = f"SELECT m.asked, substr(m.cells, 1, {HEADER}) {_OF_ROW}"
VALUE_SLOTS_OF_PAGE = f"""
SELECT m.item, m.block, m.asked, substr(m.cells, 1, {HEADER})
FROM answers m CROSS JOIN items i ON i.id = m.item AND i.edition = m.edition
WHERE (m.item, m.block) > (?, ?) AND (m.item, m.block) <= (?, ?) AND m.step = 'values'
"""  # noqa: S608
PUT_ANSWER = """
INSERT INTO answers (item, block, step, asked, edition, cells)
SELECT i.id, :block, :step, :asked, i.edition, :cells FROM items i WHERE i.id = :item
ON CONFLICT (item, block, step, asked) DO UPDATE SET edition = excluded.edition, cells = excluded.cells
"""
SET_CELLS = "UPDATE answers SET cells = ? WHERE id = ?"
DROP_CELLS = "DELETE FROM answers WHERE id = ?"
EVIDENCE_CELLS = """
SELECT m.cells FROM answers m CROSS JOIN items i ON i.id = m.item AND i.edition = m.edition
WHERE m.item = ? AND m.block = ? AND m.step = 'evidence' AND m.asked = ?
"""
ALL_EVIDENCE_CELLS = """
SELECT m.asked, m.cells FROM items i CROSS JOIN answers m ON m.item = i.id AND m.edition = i.edition
WHERE i.id = ? AND m.step = 'evidence'
"""
