"""SQL statements that read the state, and conditions that `writer_sql` shares. Values are always parameters.

An area is a polygon; a place l is an entry of the last run's configuration: a polygon with a name and a season.
The shelves s of an area tell for every time in which folder its crops lie, and whether a place wants them.

Facts (measures, products, absences) carry the edition of the item that they were made from; they are valid only
while it is the item's present one. ``CROSS JOIN`` is SQLite's way to fix the order of a join.
"""

from __future__ import annotations

# ---- runs and searches -----------------------------------------------------------------------------------

STATE_ID = "SELECT value FROM meta WHERE key = 'id'"
OUTPUT = "SELECT value FROM meta WHERE key = 'output'"
CHANGES = "SELECT value FROM meta WHERE key = 'area-changes'"
CONFIGURATION = "SELECT value FROM meta WHERE key = 'configuration'"
LAST_RUN = "SELECT id, started, ended, how, version FROM runs ORDER BY id DESC LIMIT 1"
RUNS = "SELECT id, started, ended, how, version FROM runs ORDER BY id"
LAST_RUN_ID = "SELECT max(id) FROM runs"
TRAFFIC = """
SELECT stage, asset, use, sum(requests), sum(bytes) FROM traffic
WHERE :run IS NULL OR run = :run GROUP BY stage, asset, use ORDER BY stage, asset, use
"""
SEARCHED = "SELECT DISTINCT key FROM searches WHERE complete"
ESTIMATES = "SELECT substr(key, 10), value FROM meta WHERE key GLOB 'estimate:*'"
SEARCHES = "SELECT label, key, complete, items, reason FROM searches WHERE run = ? ORDER BY label, key"

# ---- areas and grid squares ------------------------------------------------------------------------------

AREAS = "SELECT fingerprint, id FROM areas"
PLACES = """
SELECT a.fingerprint, l.name, l.since, l.until, l.folder, l.attributes
FROM places l CROSS JOIN areas a ON a.id = l.area ORDER BY l.id
"""
PLACES_BY_NAME = "SELECT id, area, name, since, until FROM places ORDER BY name, since"
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
"""Folders that move; the last column tells whether nothing else lies in the folder."""
CROPS_IN_SPAN = """
SELECT p.file FROM jobs j CROSS JOIN items i ON i.id = j.item CROSS JOIN products p ON p.job = j.id
WHERE j.area = :area AND i.sensed >= :since AND i.sensed < :until
"""
RENAMED_CROPS = """
SELECT p.job, p.asset, s.new_folder, p.file, p.bytes, p.sha256, s.new_name
FROM shelves s
CROSS JOIN jobs j ON j.area = s.area
CROSS JOIN items i ON i.id = j.item AND i.sensed >= s.since AND i.sensed < s.until
CROSS JOIN products p ON p.job = j.id
WHERE s.new_folder IS NOT NULL AND s.new_name != s.name ORDER BY s.area, s.since, p.job, p.asset
"""
"""Crops whose tags have a former name, and that are in their new folder by now."""
ACTIVE_AREAS = """
SELECT l.name, a.polygon, a.fingerprint, l.folder, l.since, l.until, l.attributes
FROM places l CROSS JOIN areas a ON a.id = l.area ORDER BY l.name, l.since
"""
POLYGON = "SELECT polygon FROM areas WHERE fingerprint = ?"
WANTED = """
a.active AND (NOT a.seasonal OR (
    SELECT w.wanted FROM items d CROSS JOIN shelves w ON w.area = a.id AND w.since <= d.sensed
    WHERE d.id = j.item ORDER BY w.since DESC LIMIT 1
))
"""
"""A place of the last run's configuration has the area a of the job j, and its day."""
SQUARES = f"""
SELECT g.grid, g.items, (
    SELECT h.header FROM items i CROSS JOIN headers h ON h.item = i.id WHERE i.grid = g.grid LIMIT 1
)
FROM (
    SELECT i.grid, count(*) AS items FROM items i WHERE EXISTS (
        SELECT 1 FROM jobs j JOIN areas a ON a.id = j.area WHERE j.item = i.id AND {WANTED}
    ) GROUP BY i.grid
) g ORDER BY g.grid
"""  # noqa: S608

# ---- items -----------------------------------------------------------------------------------------------

ITEM_COLUMNS = (
    "collection, item, version, updated, sensed, platform, grid, cloud, epsg, baseline, generated, datastrip, "
    "base, assets, absent, datatake, subtracted, offsets, footprint"
)
"""In the order of `serialization.item_values`."""
FIND_ITEM = f"SELECT id, {ITEM_COLUMNS} FROM items WHERE collection = ? AND item = ?"  # noqa: S608
ITEM = f"SELECT id, {ITEM_COLUMNS} FROM items WHERE id = ?"  # noqa: S608
ITEM_EDITION = "SELECT id, version, base, assets FROM items WHERE collection = ? AND item = ?"
NEWEST_KEYS = "SELECT assets FROM items ORDER BY id DESC LIMIT ?"
HAS_KEY = """
SELECT EXISTS (SELECT 1 FROM items i CROSS JOIN json_each(i.assets) e WHERE e.key = ?)
"""

# ---- conditions on crops ---------------------------------------------------------------------------------

OF_KIND = (
    "{crop}.mask = :mask AND {crop}.format = :format AND coalesce({crop}.harmonised, :harmonised) = :harmonised"
)
"""A crop counts for the selection."""
_CROP_OF_KIND = OF_KIND.format(crop="p")
_JOB_CROP_OF_KIND = OF_KIND.format(crop="q")
SAYS = "(coalesce(r.dn, '?') || ' ' || r.basis || ' ' || i.baseline)"
"""What the tags of crops of the band r of the item i are to say: `models.Numbers.says`."""

# ---- conditions on reprocessings -------------------------------------------------------------------------

# The table `superseded` names the better editions of an item. In the conditions below, i is an item, j a job of
# it, and p a crop of the job; b names a better edition of i, and t is its job for the same area.

SPOILT = "('cloudy', 'nodata', 'outside', 'duplicate')"
"""Measured, and not clear or not the one that counts. Crops of other settings may be on disk, but do not count."""
JOBS_OF_NEWER = "superseded b CROSS JOIN jobs t ON t.item = b.newer AND t.area = j.area"
NEWER_HAS_JOB = f"""
EXISTS (SELECT 1 FROM {JOBS_OF_NEWER} WHERE b.item = i.id AND t.status != 'missing')
"""  # noqa: S608
"""A newer item may have jobs for other areas only; and a job whose file is missing cannot replace anything."""
NEWER_HAS_ANSWER = f"""
EXISTS (SELECT 1 FROM {JOBS_OF_NEWER} WHERE b.item = i.id AND t.status NOT IN ('open', 'failed', 'missing'))
"""  # noqa: S608
NEWER_HAS_CROP = f"""
EXISTS (
    SELECT 1 FROM {JOBS_OF_NEWER} CROSS JOIN items n ON n.id = t.item
    WHERE b.item = i.id AND (
        t.status IN {SPOILT} OR EXISTS (
            SELECT 1 FROM products q
            WHERE q.job = t.id AND q.asset = p.asset AND q.edition = n.edition {{of_kind}}
        )
    )
)
"""  # noqa: S608
"""A crop p is replaced once a newer item has a crop of the same asset, or a measurement that is not clear. A newer
item may lack an asset that the older one has: then the older crop still counts."""
CROP_SUPERSEDED = NEWER_HAS_CROP.format(of_kind=f"AND {_JOB_CROP_OF_KIND}")

# ---- counts and reasons ----------------------------------------------------------------------------------

COUNTS = "SELECT area, status, count(*) FROM jobs GROUP BY area, status"
SUPERSEDED_COUNTS = f"""
SELECT j.area, j.status, count(*)
FROM (SELECT DISTINCT item FROM superseded) x
CROSS JOIN items i ON i.id = x.item
CROSS JOIN jobs j ON j.item = i.id
WHERE j.status IN ('open', 'failed') AND {NEWER_HAS_JOB} GROUP BY j.area, j.status
"""  # noqa: S608
_PRESENT = f"""
CROSS JOIN jobs j ON j.area = l.area
CROSS JOIN items i ON i.id = j.item AND i.sensed >= l.since AND i.sensed < l.until
  AND NOT (:newest AND j.status IN ('open', 'failed') AND {NEWER_HAS_JOB})
"""
SEASON_COUNTS = f"""
SELECT l.id, j.status, count(*) FROM places l CROSS JOIN areas a ON a.id = l.area {_PRESENT}
WHERE l.since > :first OR l.until < :last GROUP BY l.id, j.status
"""  # noqa: S608
"""Jobs of each place that has a season."""
SEASONAL_TOTAL = f"""
SELECT j.status, count(*) FROM areas a CROSS JOIN shelves l ON l.area = a.id AND l.wanted {_PRESENT}
WHERE a.active AND a.seasonal GROUP BY j.status
"""  # noqa: S608
"""Jobs of areas that are not wanted on all days: each job once, however many places want it."""
ALWAYS_WANTED = "SELECT id FROM areas WHERE active AND NOT seasonal"
CAUSES = f"""
SELECT j.status, j.cause, count(*)
FROM areas a
CROSS JOIN jobs j ON j.area = a.id AND j.status IN ('failed', 'missing')
CROSS JOIN items i ON i.id = j.item
WHERE {WANTED} AND NOT (:newest AND j.status = 'failed' AND {NEWER_HAS_JOB})
GROUP BY j.status, j.cause ORDER BY j.status, j.cause
"""  # noqa: S608
SCENES = f"""
SELECT count(DISTINCT j.item) FROM areas a CROSS JOIN jobs j ON j.area = a.id
WHERE (:status IS NULL OR j.status IN (SELECT value FROM json_each(:status))) AND {WANTED}
"""  # noqa: S608
CLEAR_DAYS = f"""
SELECT count(*) FROM (
    SELECT DISTINCT j.area, i.sensed / 86400000000
    FROM areas a CROSS JOIN jobs j ON j.area = a.id AND j.status = 'saved' CROSS JOIN items i ON i.id = j.item
    WHERE {WANTED}
)
"""  # noqa: S608
LACKING_COUNTS = f"""
SELECT x.asset, x.cause, count(*), count(DISTINCT j.item)
FROM absences x
CROSS JOIN jobs j ON j.id = x.job AND j.status = 'saved'
CROSS JOIN areas a ON a.id = j.area
CROSS JOIN items i ON i.id = j.item
WHERE x.edition = i.edition AND x.missing AND x.asset IN (SELECT value FROM json_each(:assets)) AND {WANTED}
GROUP BY x.asset, x.cause ORDER BY x.asset, x.cause
"""  # noqa: S608
LACKING = """
SELECT s.name, i.item, j.status, x.asset, x.cause, x.reason, x.tries
FROM absences x
CROSS JOIN jobs j ON j.id = x.job
CROSS JOIN items i ON i.id = j.item
CROSS JOIN shelves s ON s.area = j.area AND s.since <= i.sensed AND s.until > i.sensed
WHERE s.wanted AND x.edition = i.edition AND j.status IN ('saved', 'missing', 'failed')
  AND (
    x.asset IN (SELECT value FROM json_each(:assets))
    OR x.asset IN (SELECT value FROM json_each(:measured)) AND j.status != 'saved'
  )
ORDER BY s.name, i.item, x.asset
"""
FORBIDDEN_HOSTS = """
SELECT DISTINCT x.host FROM absences x CROSS JOIN jobs j ON j.id = x.job CROSS JOIN items i ON i.id = j.item
WHERE x.cause = 'origin' AND x.host != '' AND x.edition = i.edition ORDER BY x.host LIMIT ?
"""
AGAIN = f"""
WITH bad (due) AS (
    SELECT CASE
      WHEN j.status = 'failed' THEN iif(j.transient AND j.attempts <= :attempts, 0, NULL)
      ELSE (
        SELECT min(iif(x.due <= :now OR x.tried > :now, 0, x.due)) FROM absences x
        WHERE x.job = j.id AND x.edition = i.edition
          AND x.asset IN (SELECT value FROM json_each(:measured) UNION SELECT value FROM json_each(:assets))
      ) END
    FROM areas a CROSS JOIN jobs j ON j.area = a.id CROSS JOIN items i ON i.id = j.item
    WHERE {WANTED} AND j.status IN ('missing', 'failed')
      AND j.cause NOT IN (SELECT value FROM json_each(:settings))
      AND (:host IS NULL OR EXISTS (
        SELECT 1 FROM absences y
        WHERE y.job = j.id AND y.host = :host AND y.edition = i.edition AND y.run = (SELECT max(id) FROM runs)
      ))
)
SELECT count(*) FILTER (WHERE due = 0), count(*) FILTER (WHERE due > 0),
  coalesce(min(due) FILTER (WHERE due > 0), 0), count(*) FILTER (WHERE due IS NULL)
FROM bad
"""  # noqa: S608
"""In the order of `reasons.Again`."""
PROBLEMS = """
SELECT s.name, i.item, j.status, j.reason, j.cause
FROM areas a
CROSS JOIN jobs j ON j.area = a.id AND j.status IN ('failed', 'missing')
CROSS JOIN items i ON i.id = j.item
CROSS JOIN shelves s ON s.area = j.area AND s.since <= i.sensed AND s.until > i.sensed
WHERE a.active AND s.wanted ORDER BY j.status, s.name, i.item LIMIT ?
"""
NEVER_HELD = """
SELECT a.id, l.name FROM areas a CROSS JOIN places l ON l.area = a.id
WHERE a.active
  AND EXISTS (SELECT 1 FROM jobs j WHERE j.area = a.id AND j.status IN ('nodata', 'outside'))
  AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.area = a.id AND j.status IN ('saved', 'cloudy'))
  AND (SELECT sum(iif(j.status IN ('nodata', 'outside'), 1, -1)) FROM jobs j WHERE j.area = a.id) >= 0
GROUP BY l.name, a.id ORDER BY l.name, a.id
"""
"""Areas whose answers are all nodata or outside, and that have at least as many answers as jobs without one."""
MEASURES_OF_AREA = """
SELECT m.total, m.histogram FROM jobs j CROSS JOIN items i ON i.id = j.item
CROSS JOIN measures m ON m.job = j.id AND m.edition = i.edition
WHERE j.area = ?
"""

# ---- sizes of whole files --------------------------------------------------------------------------------

_NEEDED = f"""
WITH needed (item) AS (
    SELECT i.id FROM items i WHERE EXISTS (
        SELECT 1 FROM jobs j JOIN areas a ON a.id = j.area
        WHERE j.item = i.id AND (NOT :saved OR j.status = 'saved') AND {WANTED}
    )
)
"""  # noqa: S608
NEEDED_FILES = f"""
{_NEEDED}
SELECT count(*), count(f.size), coalesce(sum(f.size), 0)
FROM needed n JOIN items i ON i.id = n.item JOIN json_each(i.assets) e ON e.key = :asset
LEFT JOIN files f ON f.item = i.id AND f.asset = :asset
"""  # noqa: S608
OPENED_FILES = "SELECT count(*), coalesce(sum(size), 0) FROM files"
KNOWN_SIZES = "SELECT count(*) FROM files WHERE asset = ?"
MIDDLE_SIZE = """
SELECT avg(size) FROM (SELECT size FROM files WHERE asset = ? ORDER BY size LIMIT ? OFFSET ?)
"""

# ---- rows of tables, and crops ---------------------------------------------------------------------------

KNOWN_JOBS = f"""
SELECT a.fingerprint, j.status,
  j.status = 'failed' AND NOT (j.transient AND (j.attempts <= :attempts OR j.cause = 'origin')),
  m.total, m.histogram,
  (SELECT json_group_array(p.asset) FROM products p
   WHERE p.job = j.id AND p.edition = i.edition AND {_CROP_OF_KIND}),
  (SELECT json_group_array(json_array(x.asset, x.due, x.tried)) FROM absences x
   WHERE x.job = j.id AND x.edition = i.edition AND x.missing)
FROM items i
CROSS JOIN jobs j ON j.item = i.id
CROSS JOIN areas a ON a.id = j.area
LEFT JOIN measures m ON m.job = j.id AND m.edition = i.edition
WHERE i.id = :item
"""  # noqa: S608
NEWEST_MEASURES = """
SELECT i.item, i.cloud, m.total, m.histogram
FROM measures m
CROSS JOIN jobs j ON j.id = m.job
CROSS JOIN items i ON i.id = j.item AND i.edition = m.edition
ORDER BY m.job DESC LIMIT ?
"""
JOB_COLUMNS = (
    "l.name, l.attributes, l.since, l.until, l.folder, a.fingerprint, s.folder, i.item, i.collection, i.sensed, "
    "i.platform, i.grid, i.baseline, i.cloud, m.total, m.histogram"
)
"""What `serialization` makes a job of, without commas in an expression: it counts them."""
_CROP_COLUMNS = """
p.asset, coalesce(i.base || (SELECT e.value FROM json_each(i.assets) e WHERE e.key = p.asset), ''),
  p.file, p.bytes, p.sha256, p.epsg, p.harmonised, p.says, r.dn, r.basis, r.doubt
"""
_BAND = "LEFT JOIN bands r ON r.item = i.id AND r.asset = p.asset AND r.edition = i.edition"
_OF_PLACES = """
FROM places l
CROSS JOIN areas a ON a.id = l.area
CROSS JOIN jobs j ON j.area = a.id
CROSS JOIN items i ON i.id = j.item AND i.sensed >= l.since AND i.sensed < l.until
CROSS JOIN shelves s ON s.area = j.area AND s.since <= i.sensed AND s.until > i.sensed
"""
"""The jobs of each place l, with the shelf s of their crops."""
_BY_TIME = "ORDER BY l.name, l.since, i.sensed, i.item, i.collection, p.asset"
"""Places of one name follow one another in time, so their rows are in order of time, too."""
SAVED_ROWS = f"""
SELECT {JOB_COLUMNS}, {_CROP_COLUMNS} {_OF_PLACES}
CROSS JOIN products p ON p.job = j.id AND p.edition = i.edition AND {_CROP_OF_KIND}
{_BAND}
LEFT JOIN measures m ON m.job = j.id AND m.edition = i.edition
WHERE j.status IN ('saved', 'missing', 'failed', 'open') AND (:area IS NULL OR l.name = :area)
  AND NOT (:newest AND {CROP_SUPERSEDED})
{_BY_TIME}
"""
_ALL_JOBS = f"""
SELECT {JOB_COLUMNS}, j.status, j.reason, {_CROP_COLUMNS} {_OF_PLACES}
LEFT JOIN products p ON p.job = j.id AND j.status NOT IN {SPOILT}
  AND p.edition = i.edition AND {_CROP_OF_KIND}
  AND NOT (:newest AND {CROP_SUPERSEDED})
{_BAND}
LEFT JOIN measures m ON m.job = j.id AND m.edition = i.edition
WHERE NOT (
  p.job IS NULL AND :newest AND EXISTS (SELECT 1 FROM superseded b WHERE b.item = i.id) AND (
    j.status IN ('open', 'failed') AND {NEWER_HAS_JOB} OR {NEWER_HAS_ANSWER}
    OR j.status NOT IN {SPOILT} AND EXISTS (
      SELECT 1 FROM products q
      WHERE q.job = j.id AND q.edition = i.edition AND {_JOB_CROP_OF_KIND}
    )
  )
)
"""  # noqa: S608
JOB_ROWS = f"{_ALL_JOBS} {_BY_TIME}"
JOB_ROWS_OF_PLACE = f"{_ALL_JOBS} AND l.name = :area AND l.since = :since {_BY_TIME}"
STORED_CROPS = f"""
SELECT p.job, p.asset, s.folder, p.file, p.bytes, p.sha256, p.mask, i.item, a.fingerprint,
  s.wanted AND (j.status IN {SPOILT} OR :newest AND {NEWER_HAS_CROP.format(of_kind="")}), NOT s.wanted
FROM products p
CROSS JOIN jobs j ON j.id = p.job
CROSS JOIN areas a ON a.id = j.area
CROSS JOIN items i ON i.id = j.item
CROSS JOIN shelves s ON s.area = j.area AND s.since <= i.sensed AND s.until > i.sensed
ORDER BY s.folder, p.file
"""  # noqa: S608
REMOVED = """
FROM shelves s
CROSS JOIN jobs j ON j.area = s.area
CROSS JOIN items i ON i.id = j.item
WHERE NOT s.wanted AND i.sensed >= s.since AND i.sensed < s.until
"""
"""Jobs that no place wants."""
REMOVED_JOBS = f"SELECT count(*) {REMOVED}"
DOUBTS = f"""
SELECT r.basis, r.doubt, p.says IS NULL, count(*), count(DISTINCT i.id), min(i.item)
FROM products p
CROSS JOIN jobs j ON j.id = p.job
CROSS JOIN items i ON i.id = j.item
{_BAND}
CROSS JOIN shelves s ON s.area = j.area AND s.since <= i.sensed AND s.until > i.sensed
WHERE p.harmonised IS NOT NULL AND p.edition = i.edition AND {_CROP_OF_KIND} AND s.wanted
  AND j.status NOT IN {SPOILT} AND NOT (:newest AND {CROP_SUPERSEDED})
  AND (p.says IS NULL OR r.basis IS NULL OR r.basis IN ('doubtful', 'unknown') OR r.doubt != '')
GROUP BY r.basis, r.doubt, p.says IS NULL ORDER BY count(*) DESC, r.basis, r.doubt
"""  # noqa: S608
"""Crops whose offset is not certain, by reason; the third column tells that their tags say nothing."""
BAND_CROPS = f"""
SELECT p.job, p.asset, s.folder, p.file, p.bytes, p.sha256, p.harmonised, p.says, r.dn, r.basis, i.baseline
FROM products p
CROSS JOIN jobs j ON j.id = p.job
CROSS JOIN items i ON i.id = j.item
{_BAND}
CROSS JOIN shelves s ON s.area = j.area AND s.since <= i.sensed AND s.until > i.sensed
WHERE p.harmonised IS NOT NULL AND p.edition = i.edition AND (
    p.harmonised != :harmonised OR p.says IS NOT NULL AND p.says IS NOT {SAYS} OR :untold AND p.says IS NULL
)
ORDER BY j.item, p.job, p.asset
"""  # noqa: S608
"""Crops of reflectance bands that are of another kind, or whose tags do not say what the state says."""
BANDS = """
SELECT r.asset, r.stated, r.dn, r.basis, r.doubt FROM bands r CROSS JOIN items i ON i.id = r.item
WHERE r.item = ? AND r.edition = i.edition
"""
EVIDENCE = """
SELECT coalesce(sum(e.pixels), 0), coalesce(sum(e.dark), 0), coalesce(sum(e.wrapped), 0)
FROM jobs j CROSS JOIN items i ON i.id = j.item CROSS JOIN evidence e ON e.job = j.id AND e.edition = i.edition
WHERE j.item = ?
"""
"""Of all areas and reflectance bands of an item together."""
ITEMS_WITH_BANDS = "SELECT DISTINCT item FROM bands ORDER BY item"
CONVENTIONS = "SELECT value FROM meta WHERE key = 'conventions'"
REWRITING = "SELECT value FROM meta WHERE key = 'rewriting'"
CROP_PATHS = """
SELECT s.folder, p.file, s.new_folder, iif(
  s.new_folder IS NULL, '', (SELECT a.fingerprint FROM areas a WHERE a.id = s.area)
)
FROM products p CROSS JOIN jobs j ON j.id = p.job CROSS JOIN items i ON i.id = j.item
CROSS JOIN shelves s ON s.area = j.area AND s.since <= i.sensed AND s.until > i.sensed
"""
FILES_IN_FOLDER = """
SELECT p.file FROM shelves s CROSS JOIN jobs j ON j.area = s.area
CROSS JOIN items i ON i.id = j.item AND i.sensed >= s.since AND i.sensed < s.until
CROSS JOIN products p ON p.job = j.id
WHERE s.folder = ?
"""
