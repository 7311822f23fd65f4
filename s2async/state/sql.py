"""Every question to the state's tables, in one place: text only, values are always parameters.

Facts (measures, products) carry the edition of the item that they were made of; they are believed only while it
is the item's present one. ``CROSS JOIN`` is SQLite's way to fix the order of a join.
"""

from __future__ import annotations

# ---- runs -------------------------------------------------------------------------------------------------

STATE_ID = "SELECT value FROM meta WHERE key = 'id'"
HOLDER = "SELECT value FROM meta WHERE key = 'holder'"
SET_HOLDER = "INSERT OR REPLACE INTO meta (key, value) VALUES ('holder', ?)"
OUTPUT = "SELECT value FROM meta WHERE key = 'output'"
SET_OUTPUT = "INSERT OR REPLACE INTO meta (key, value) VALUES ('output', ?)"
CONFIGURATION = "SELECT value FROM meta WHERE key = 'configuration'"
SET_CONFIGURATION = "INSERT OR REPLACE INTO meta (key, value) VALUES ('configuration', ?)"
BEGIN_RUN = "INSERT INTO runs (started, version, config) VALUES (?, ?, ?)"
END_RUN = "UPDATE runs SET ended = ?, how = ? WHERE id = ?"
LAST_RUN = "SELECT id, started, ended, how, version FROM runs ORDER BY id DESC LIMIT 1"
RUNS = "SELECT id, started, ended, how, version FROM runs ORDER BY id"
LAST_RUN_ID = "SELECT max(id) FROM runs"
ADD_TRAFFIC = """
INSERT INTO traffic (run, stage, asset, use, requests, bytes) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (run, stage, asset, use)
DO UPDATE SET requests = requests + excluded.requests, bytes = bytes + excluded.bytes
"""
TRAFFIC = """
SELECT stage, asset, use, sum(requests), sum(bytes) FROM traffic
WHERE :run IS NULL OR run = :run GROUP BY stage, asset, use ORDER BY stage, asset, use
"""
ADD_SEARCH = "INSERT OR REPLACE INTO searches (run, key, label, complete, items, reason) VALUES (?, ?, ?, ?, ?, ?)"
SEARCHED = "SELECT DISTINCT key FROM searches WHERE complete"
ESTIMATES = "SELECT substr(key, 10), value FROM meta WHERE key GLOB 'estimate:*'"
SET_ESTIMATE = "INSERT OR REPLACE INTO meta (key, value) VALUES ('estimate:' || ?, ?)"
SEARCHES = "SELECT label, key, complete, items, reason FROM searches WHERE run = ? ORDER BY label, key"

# ---- areas ------------------------------------------------------------------------------------------------

AREAS = "SELECT fingerprint, id, name, active, folder FROM areas"
ACTIVE_BY_FINGERPRINT = "SELECT fingerprint, name FROM areas WHERE active ORDER BY name, id"
AREA = "SELECT name, polygon, fingerprint, folder FROM areas WHERE id = ?"
ADD_AREA = "INSERT INTO areas (fingerprint, name, polygon, folder, active) VALUES (?, ?, ?, ?, 1)"
SET_AREA = "UPDATE areas SET name = ?, active = ? WHERE id = ?"
SET_FOLDER = "UPDATE areas SET folder = ? WHERE fingerprint = ?"
JUDGED_FOR = "UPDATE areas SET wanted = :wanted WHERE active AND wanted IS NOT :wanted"

# ---- items ------------------------------------------------------------------------------------------------

ITEM_COLUMNS = (
    "collection, item, version, updated, sensed, platform, grid, cloud, epsg, baseline, generated, datastrip, "
    "base, assets, absent"
)
"""In the order of `state.rows.item_values`."""
FIND_ITEM = f"SELECT id, {ITEM_COLUMNS} FROM items WHERE collection = ? AND item = ?"  # noqa: S608
ITEM = f"SELECT id, {ITEM_COLUMNS} FROM items WHERE id = ?"  # noqa: S608
ITEM_EDITION = "SELECT id, version, base, assets FROM items WHERE collection = ? AND item = ?"
ADD_ITEM = f"INSERT INTO items (edition, {ITEM_COLUMNS}) VALUES (1, {', '.join('?' * 15)})"  # noqa: S608
UPDATE_ITEM = f"UPDATE items SET ({ITEM_COLUMNS}) = ({', '.join('?' * 15)}) WHERE id = ?"  # noqa: S608
NAMESAKE = """
WITH RECURSIVE known (collection) AS (
    SELECT min(collection) FROM items
    UNION ALL SELECT (SELECT min(i.collection) FROM items i WHERE i.collection > known.collection)
    FROM known WHERE known.collection IS NOT NULL
)
SELECT i.collection FROM known CROSS JOIN items i ON i.collection = known.collection AND i.item = ?
WHERE known.collection != ? LIMIT 1
"""
"""Another collection with an item of this id. They are a few: the index tells them one after the other."""
NEW_EDITION = "UPDATE items SET edition = edition + 1 WHERE id = ?"
SENSED_TOGETHER = f"""
SELECT id, {ITEM_COLUMNS} FROM items
WHERE grid = :grid AND sensed BETWEEN :sensed - :span AND :sensed + :span AND id != :item
"""  # noqa: S608
UNLINK_ITEM = """
UPDATE items SET superseded_by = (SELECT x.superseded_by FROM items x WHERE x.id = :item)
WHERE superseded_by = :item
"""
SUPERSEDE = "UPDATE items SET superseded_by = ? WHERE id = ?"

# ---- twins of an item i: each points to the next newer one, and a job j of it has the same area in them ----

_NEWER = """
(
    WITH RECURSIVE newer (item) AS (
        SELECT i.superseded_by
        UNION SELECT s.superseded_by FROM newer CROSS JOIN items s ON s.id = newer.item
    )
    SELECT item FROM newer WHERE item IS NOT NULL
)
"""
_SPOILT = "('cloudy', 'nodata', 'outside')"
"""What was measured, and is not clear: crops of an earlier judgement may be on disk, and do not count."""
_NEWER_HAS_JOB = f"""
i.superseded_by IS NOT NULL AND EXISTS (
    SELECT 1 FROM jobs t WHERE t.item IN {_NEWER} AND t.area = j.area AND t.status != 'missing'
)
"""  # noqa: S608
"""A search may have brought the newer one for other areas only, and a file that is missing is nobody's picture."""
_NEWER_HAS_ANSWER = f"""
i.superseded_by IS NOT NULL AND EXISTS (
    SELECT 1 FROM jobs t
    WHERE t.item IN {_NEWER} AND t.area = j.area AND t.status NOT IN ('open', 'failed', 'missing')
)
"""  # noqa: S608
_NEWER_HAS_CROP = f"""
i.superseded_by IS NOT NULL AND EXISTS (
    SELECT 1 FROM jobs t CROSS JOIN items n ON n.id = t.item
    WHERE t.item IN {_NEWER} AND t.area = j.area AND (
        t.status IN {_SPOILT} OR EXISTS (
            SELECT 1 FROM products q
            WHERE q.job = t.id AND q.asset = p.asset AND q.edition = n.edition {{of_kind}}
        )
    )
)
"""  # noqa: S608
"""A crop p counts no more once a newer twin has one of the same asset, or has found that the area is not clear.
The newer one may lack an asset that the older has."""
_CROP_SUPERSEDED = _NEWER_HAS_CROP.format(of_kind="AND q.mask = :mask AND q.format = :format")
AREAS_OF_NEWER = f"""
SELECT DISTINCT t.area FROM items i CROSS JOIN jobs t ON t.item IN {_NEWER}
WHERE i.id = ? AND t.status != 'missing'
"""  # noqa: S608

# ---- jobs -------------------------------------------------------------------------------------------------

ADD_JOB = "INSERT INTO jobs (item, area, status, found) VALUES (?, ?, 'open', ?) ON CONFLICT DO NOTHING"
REOPEN_JOBS = """
UPDATE jobs SET status = 'open', found = :run, attempts = 0, transient = 0, reason = '', cause = ''
WHERE item = :item AND (status = :status OR :status IS NULL)
"""
JOBS_TO_REOPEN = """
SELECT j.id, j.area FROM jobs j JOIN areas a ON a.id = j.area
WHERE j.item = :item AND (j.status = :status OR :status IS NULL) AND a.active ORDER BY j.id
"""
REOPEN_LACKING = """
UPDATE jobs SET status = 'open', found = :run, attempts = 0, transient = 0, reason = '', cause = ''
WHERE item = :item AND status = 'saved' AND EXISTS (SELECT 1 FROM absences x WHERE x.job = jobs.id)
"""
LACKING_TO_REOPEN = """
SELECT j.id, j.area FROM jobs j JOIN areas a ON a.id = j.area
WHERE j.item = :item AND j.status = 'saved' AND EXISTS (SELECT 1 FROM absences x WHERE x.job = j.id)
  AND a.active ORDER BY j.id
"""
FORGET_ABSENCES = "DELETE FROM absences WHERE job IN (SELECT id FROM jobs WHERE item = ?)"
FORGET_FILES = "DELETE FROM files WHERE item = ?"
FORGET_HEADERS = "DELETE FROM headers WHERE item = ?"
OPEN_JOBS = f"""
SELECT j.id, j.item, j.area
FROM jobs j
CROSS JOIN areas a ON a.id = j.area
CROSS JOIN items i ON i.id = j.item
WHERE j.status = 'open' AND (j.item, j.id) > (:item, :job) AND j.found < :run
  AND a.active AND NOT (:newest AND {_NEWER_HAS_JOB})
ORDER BY j.item, j.id LIMIT :limit
"""  # noqa: S608
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
SELECT a.name, i.item FROM jobs j JOIN areas a ON a.id = j.area JOIN items i ON i.id = j.item WHERE j.id = ?
"""
CRASHED_JOBS = f"""
SELECT j.id, j.item, j.area
FROM suspects s
CROSS JOIN jobs j ON j.id = s.job
CROSS JOIN areas a ON a.id = j.area
CROSS JOIN items i ON i.id = j.item
WHERE j.status = 'open' AND j.found < :run AND a.active AND NOT (:newest AND {_NEWER_HAS_JOB})
ORDER BY j.item, j.id
"""  # noqa: S608
VALID_MEASURE = """
SELECT m.total, m.histogram FROM measures m
WHERE m.job = :job AND m.edition = (SELECT edition FROM items WHERE id = :item)
"""
VALID_ASSETS = """
SELECT p.asset FROM products p
WHERE p.job = :job AND p.mask = :mask AND p.format = :format
  AND p.edition = (SELECT edition FROM items WHERE id = :item)
"""
ANSWER_JOB = """
UPDATE jobs SET status = ?, reason = ?, cause = ?, transient = ?, attempts = attempts + 1
WHERE id = ? AND item = ?
"""
VALID_ABSENCES = """
SELECT x.asset, x.cause, x.reason, x.host, x.missing, x.tried, x.due, x.alone FROM absences x
WHERE x.job = :job AND x.edition = (SELECT edition FROM items WHERE id = :item)
"""
"""In the order of `state.rows.lack`."""
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
"""Files that were denied often enough, while their servers gave others; not while a server denies everything."""
SETTLE_ABSENCE = "UPDATE absences SET missing = 1, due = NULL, reason = ? WHERE job = ? AND asset = ?"
SETTLE_JOB = "UPDATE jobs SET status = ?, reason = ?, cause = ?, transient = 0 WHERE id = ?"
ADD_MEASURE = """
INSERT OR REPLACE INTO measures (job, edition, total, histogram)
SELECT j.id, i.edition, ?, ? FROM jobs j JOIN items i ON i.id = j.item WHERE j.id = ?
"""
ADD_PRODUCT = """
INSERT OR REPLACE INTO products (job, asset, edition, mask, format, epsg, bytes, sha256, file)
SELECT j.id, ?, i.edition, ?, ?, ?, ?, ?, ? FROM jobs j JOIN items i ON i.id = j.item WHERE j.id = ?
"""
STORED_CROPS = f"""
SELECT p.job, p.asset, a.folder, p.file, p.bytes, p.sha256, p.mask, i.item, a.fingerprint,
  a.active AND (j.status IN {_SPOILT} OR :newest AND {_NEWER_HAS_CROP.format(of_kind="")})
FROM products p
CROSS JOIN jobs j ON j.id = p.job
CROSS JOIN areas a ON a.id = j.area
CROSS JOIN items i ON i.id = j.item
ORDER BY a.folder, p.file
"""  # noqa: S608
CROP_PLACES = """
SELECT a.folder, p.file FROM products p CROSS JOIN jobs j ON j.id = p.job CROSS JOIN areas a ON a.id = j.area
"""
FILES_IN_FOLDER = """
SELECT p.file FROM areas a CROSS JOIN jobs j ON j.area = a.id CROSS JOIN products p ON p.job = j.id
WHERE a.folder = ?
"""
DROP_PRODUCT = "DELETE FROM products WHERE job = ? AND asset = ?"
DROP_OTHER_KIND = "DELETE FROM products WHERE job = ? AND asset = ? AND (mask, format) != (?, ?)"
UNSAVE_JOB = "UPDATE jobs SET status = 'open' WHERE id = ? AND status IN ('saved', 'failed')"
ADD_FILE = "INSERT OR REPLACE INTO files (item, asset, size, etag) VALUES (?, ?, ?, ?)"
ADD_HEADER = "INSERT OR REPLACE INTO headers (item, asset, address, header) VALUES (?, ?, ?, ?)"
KNOWN_HEADERS = """
SELECT h.asset, h.address, f.size, f.etag, h.header
FROM items i
CROSS JOIN headers h ON h.item = i.id
CROSS JOIN files f ON f.item = h.item AND f.asset = h.asset
WHERE i.collection = ? AND i.item = ? AND f.etag != ''
"""
REOPEN_TRANSIENT = """
UPDATE jobs SET status = 'open', transient = 0, reason = '', cause = ''
WHERE area IN (SELECT id FROM areas WHERE active)
  AND status = 'failed' AND transient AND (attempts <= ? OR cause = 'origin')
"""
"""Whom the user has not listed is not asked, so to try that again costs nothing."""
REOPEN_DUE = """
UPDATE jobs SET status = 'open', attempts = 0, reason = '', cause = '' WHERE id IN (
    SELECT x.job FROM absences x
    CROSS JOIN jobs j ON j.id = x.job
    CROSS JOIN areas a ON a.id = j.area
    CROSS JOIN items i ON i.id = j.item
    WHERE x.due IS NOT NULL AND (x.due <= :now OR x.tried > :now) AND x.edition = i.edition AND a.active
      AND (
        j.status IN ('missing', 'saved') AND x.asset IN (SELECT value FROM json_each(:assets))
        OR j.status = 'missing' AND x.asset = 'scl'
      )
)
"""
RETRY = """
UPDATE jobs SET status = 'open', attempts = 0, transient = 0, reason = '', cause = ''
WHERE area IN (SELECT id FROM areas WHERE active) AND (
    status IN (SELECT value FROM json_each(:again))
    OR :missing AND status = 'saved' AND EXISTS (SELECT 1 FROM absences x WHERE x.job = jobs.id)
)
"""
FORGET_ANSWERS = """
DELETE FROM absences
WHERE job IN (SELECT id FROM jobs WHERE status = 'open') AND (:missing OR NOT missing)
"""

# ---- judging again ----------------------------------------------------------------------------------------

JUDGE_PAGE = """
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
VALID_PRODUCTS = """
SELECT p.job, p.asset FROM products p
CROSS JOIN jobs j ON j.id = p.job
CROSS JOIN items i ON i.id = j.item
WHERE p.job BETWEEN :first AND :last AND p.edition = i.edition AND p.mask = :mask AND p.format = :format
"""
MISSING_ASSETS = """
SELECT x.job, x.asset, x.cause, x.reason, x.host, x.missing, x.tried, x.due, x.alone FROM absences x
CROSS JOIN jobs j ON j.id = x.job
CROSS JOIN items i ON i.id = j.item
WHERE x.job BETWEEN :first AND :last AND x.edition = i.edition AND x.missing
"""
JUDGE = """
UPDATE jobs SET status = :status, reason = :reason, cause = :cause, transient = 0,
  attempts = CASE :status WHEN 'open' THEN 0 ELSE attempts END
WHERE id = :job
"""

# ---- what the state tells ---------------------------------------------------------------------------------

ACTIVE_NAMES = "SELECT id, name FROM areas WHERE active ORDER BY name, id"
COUNTS = "SELECT area, status, count(*) FROM jobs GROUP BY area, status"
SUPERSEDED_COUNTS = f"""
SELECT j.area, j.status, count(*) FROM items i CROSS JOIN jobs j ON j.item = i.id
WHERE j.status IN ('open', 'failed') AND {_NEWER_HAS_JOB} GROUP BY j.area, j.status
"""  # noqa: S608
CAUSES = f"""
SELECT j.status, j.cause, count(*)
FROM areas a
CROSS JOIN jobs j ON j.area = a.id AND j.status IN ('failed', 'missing')
CROSS JOIN items i ON i.id = j.item
WHERE a.active AND NOT (:newest AND j.status = 'failed' AND {_NEWER_HAS_JOB})
GROUP BY j.status, j.cause ORDER BY j.status, j.cause
"""  # noqa: S608
SCENES = """
SELECT count(DISTINCT j.item) FROM areas a CROSS JOIN jobs j ON j.area = a.id
WHERE a.active AND (:status IS NULL OR j.status IN (SELECT value FROM json_each(:status)))
"""
LACKING_COUNTS = """
SELECT x.asset, x.cause, count(*), count(DISTINCT j.item)
FROM absences x
CROSS JOIN jobs j ON j.id = x.job AND j.status = 'saved'
CROSS JOIN areas a ON a.id = j.area
CROSS JOIN items i ON i.id = j.item
WHERE a.active AND x.edition = i.edition AND x.missing AND x.asset IN (SELECT value FROM json_each(:assets))
GROUP BY x.asset, x.cause ORDER BY x.asset, x.cause
"""
LACKING = """
SELECT a.name, i.item, j.status, x.asset, x.cause, x.reason, x.tries
FROM absences x
CROSS JOIN jobs j ON j.id = x.job
CROSS JOIN areas a ON a.id = j.area
CROSS JOIN items i ON i.id = j.item
WHERE a.active AND x.edition = i.edition AND j.status IN ('saved', 'missing', 'failed')
  AND (x.asset IN (SELECT value FROM json_each(:assets)) OR x.asset = 'scl' AND j.status != 'saved')
ORDER BY a.name, i.item, x.asset
"""
FORBIDDEN_HOSTS = """
SELECT DISTINCT x.host FROM absences x CROSS JOIN jobs j ON j.id = x.job CROSS JOIN items i ON i.id = j.item
WHERE x.cause = 'origin' AND x.host != '' AND x.edition = i.edition ORDER BY x.host LIMIT ?
"""
AGAIN = """
WITH bad (due) AS (
    SELECT CASE
      WHEN j.status = 'failed' THEN iif(j.transient AND j.attempts <= :attempts, 0, NULL)
      ELSE (
        SELECT min(iif(x.due <= :now OR x.tried > :now, 0, x.due)) FROM absences x
        WHERE x.job = j.id AND x.edition = i.edition
          AND (x.asset = 'scl' OR x.asset IN (SELECT value FROM json_each(:assets)))
      ) END
    FROM areas a CROSS JOIN jobs j ON j.area = a.id CROSS JOIN items i ON i.id = j.item
    WHERE a.active AND j.status IN ('missing', 'failed')
      AND j.cause NOT IN (SELECT value FROM json_each(:settings))
      AND (:host IS NULL OR EXISTS (
        SELECT 1 FROM absences y
        WHERE y.job = j.id AND y.host = :host AND y.edition = i.edition AND y.run = (SELECT max(id) FROM runs)
      ))
)
SELECT count(*) FILTER (WHERE due = 0), count(*) FILTER (WHERE due > 0),
  coalesce(min(due) FILTER (WHERE due > 0), 0), count(*) FILTER (WHERE due IS NULL)
FROM bad
"""
"""In the order of `reasons.Again`."""
NEWEST_KEYS = "SELECT assets FROM items ORDER BY id DESC LIMIT ?"
HAS_KEY = """
SELECT EXISTS (SELECT 1 FROM items i CROSS JOIN json_each(i.assets) e WHERE e.key = ?)
"""
PROBLEMS = """
SELECT a.name, i.item, j.status, j.reason, j.cause
FROM areas a
CROSS JOIN jobs j ON j.area = a.id AND j.status IN ('failed', 'missing')
CROSS JOIN items i ON i.id = j.item
WHERE a.active ORDER BY j.status, a.name, i.item LIMIT ?
"""
_NEEDED = """
WITH needed (item) AS (
    SELECT i.id FROM items i WHERE EXISTS (
        SELECT 1 FROM jobs j JOIN areas a ON a.id = j.area
        WHERE j.item = i.id AND a.active AND (NOT :saved OR j.status = 'saved')
    )
)
"""
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
KNOWN_JOBS = """
SELECT a.fingerprint, j.status,
  j.status = 'failed' AND NOT (j.transient AND (j.attempts <= :attempts OR j.cause = 'origin')),
  m.total, m.histogram,
  (SELECT json_group_array(p.asset) FROM products p
   WHERE p.job = j.id AND p.edition = i.edition AND p.mask = :mask AND p.format = :format),
  (SELECT json_group_array(json_array(x.asset, x.due, x.tried)) FROM absences x
   WHERE x.job = j.id AND x.edition = i.edition AND x.missing)
FROM items i
CROSS JOIN jobs j ON j.item = i.id
CROSS JOIN areas a ON a.id = j.area
LEFT JOIN measures m ON m.job = j.id AND m.edition = i.edition
WHERE i.id = :item
"""
NEWEST_MEASURES = """
SELECT i.item, i.cloud, m.total, m.histogram
FROM measures m
CROSS JOIN jobs j ON j.id = m.job
CROSS JOIN items i ON i.id = j.item AND i.edition = m.edition
ORDER BY m.job DESC LIMIT ?
"""
_JOB_COLUMNS = """
a.name, a.fingerprint, a.folder, i.item, i.collection, i.sensed, i.platform, i.grid, i.baseline, i.cloud,
  m.total, m.histogram
"""
_CROP_COLUMNS = """
p.asset, coalesce(i.base || (SELECT e.value FROM json_each(i.assets) e WHERE e.key = p.asset), ''),
  p.file, p.bytes, p.sha256, p.epsg
"""
SAVED_ROWS = f"""
SELECT {_JOB_COLUMNS}, {_CROP_COLUMNS}
FROM areas a
CROSS JOIN jobs j ON j.area = a.id AND j.status IN ('saved', 'missing', 'failed', 'open')
CROSS JOIN items i ON i.id = j.item
CROSS JOIN products p ON p.job = j.id AND p.edition = i.edition AND p.mask = :mask AND p.format = :format
LEFT JOIN measures m ON m.job = j.id AND m.edition = i.edition
WHERE a.active AND (:area IS NULL OR a.name = :area)
  AND NOT (:newest AND {_CROP_SUPERSEDED})
ORDER BY a.name, a.id, i.sensed, i.item, p.asset
"""  # noqa: S608
_ALL_JOBS = f"""
SELECT {_JOB_COLUMNS}, j.status, j.reason, {_CROP_COLUMNS}
FROM areas a
CROSS JOIN jobs j ON j.area = a.id
CROSS JOIN items i ON i.id = j.item
LEFT JOIN products p ON p.job = j.id AND j.status NOT IN {_SPOILT}
  AND p.edition = i.edition AND p.mask = :mask AND p.format = :format
  AND NOT (:newest AND {_CROP_SUPERSEDED})
LEFT JOIN measures m ON m.job = j.id AND m.edition = i.edition
WHERE a.active AND NOT (
  p.job IS NULL AND :newest AND i.superseded_by IS NOT NULL AND (
    j.status IN ('open', 'failed') AND {_NEWER_HAS_JOB} OR {_NEWER_HAS_ANSWER}
    OR j.status NOT IN {_SPOILT} AND EXISTS (
      SELECT 1 FROM products q
      WHERE q.job = j.id AND q.edition = i.edition AND q.mask = :mask AND q.format = :format
    )
  )
)
"""  # noqa: S608
_BY_TIME = "ORDER BY a.name, a.id, i.sensed, i.item, p.asset"
JOB_ROWS = f"{_ALL_JOBS} {_BY_TIME}"
JOB_ROWS_OF_AREA = f"{_ALL_JOBS} AND a.fingerprint = :area {_BY_TIME}"
NEVER_HELD = """
SELECT a.id, a.name FROM areas a
WHERE a.active
  AND EXISTS (SELECT 1 FROM jobs j WHERE j.area = a.id AND j.status IN ('nodata', 'outside'))
  AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.area = a.id AND j.status IN ('saved', 'cloudy'))
  AND (SELECT sum(iif(j.status IN ('nodata', 'outside'), 1, -1)) FROM jobs j WHERE j.area = a.id) >= 0
ORDER BY a.name, a.id
"""
"""Areas of which nothing but nodata was ever read, and no fewer scenes read than not (failed, missing, open)."""
MEASURES_OF_AREA = """
SELECT m.total, m.histogram FROM jobs j CROSS JOIN items i ON i.id = j.item
CROSS JOIN measures m ON m.job = j.id AND m.edition = i.edition
WHERE j.area = ?
"""
POLYGON = "SELECT polygon FROM areas WHERE fingerprint = ?"
ACTIVE_AREAS = "SELECT name, polygon, fingerprint, folder FROM areas WHERE active ORDER BY name, id"
SQUARES = """
SELECT g.grid, g.items, (
    SELECT h.header FROM items i CROSS JOIN headers h ON h.item = i.id WHERE i.grid = g.grid LIMIT 1
)
FROM (
    SELECT i.grid, count(*) AS items FROM items i WHERE EXISTS (
        SELECT 1 FROM jobs j JOIN areas a ON a.id = j.area WHERE j.item = i.id AND a.active
    ) GROUP BY i.grid
) g ORDER BY g.grid
"""
