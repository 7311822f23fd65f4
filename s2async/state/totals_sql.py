"""SQL statements that count the contents of the state. Values are always parameters.

Counts of all jobs are not computed by SQL; see `state.tally`. Failed jobs and missing files have tables of their
own.
"""

from __future__ import annotations

from s2async.state.conditions_sql import (
    CROP_OF_KIND,
    CROP_SUPERSEDED,
    NEWER_HAS_JOB,
    SPOILT,
    WANTED,
    of_area,
    of_job,
)

TRAFFIC = """
SELECT stage, asset, use, sum(requests), sum(bytes) FROM traffic
WHERE :run IS NULL OR run = :run GROUP BY stage, asset, use ORDER BY stage, asset, use
"""
SEARCHES = "SELECT label, key, complete, items, reason FROM searches WHERE run = ? ORDER BY label, key"
LAST_RUN_ID = "SELECT max(id) FROM runs"
PLACES_BY_NAME = "SELECT id, area, name, since, until FROM places ORDER BY name, since"

# ---- what all jobs are counted by ------------------------------------------------------------------------

AREAS = "SELECT id, active, seasonal FROM areas ORDER BY id"
WANTED_SHELVES = """
SELECT s.area, s.since, s.until FROM areas a CROSS JOIN shelves s ON s.area = a.id
WHERE a.active AND a.seasonal AND s.wanted
"""
ITEMS = "SELECT id, sensed FROM items ORDER BY id"
SUPERSEDED = "SELECT item, newer FROM superseded"
BLOCKS = "SELECT DISTINCT block FROM asked ORDER BY block"
CODES_OF_BLOCK = "SELECT item, codes FROM asked WHERE block = ? ORDER BY item"

# ---- reasons ---------------------------------------------------------------------------------------------

_TROUBLED = f"""
FROM troubles t
CROSS JOIN jobs j ON {of_job("t.job")} AND j.status IN ('failed', 'missing')
CROSS JOIN areas a ON a.id = j.area
CROSS JOIN items i ON i.id = j.item
"""
"""All jobs that are failed or missing."""
CAUSES = f"""
SELECT j.status, t.cause, count(*) {_TROUBLED}
WHERE {WANTED} AND NOT (:newest AND j.status = 'failed' AND {NEWER_HAS_JOB})
GROUP BY j.status, t.cause ORDER BY j.status, t.cause
"""
LACKING_COUNTS = f"""
SELECT x.asset, x.cause, count(*), count(DISTINCT j.item)
FROM absences x
CROSS JOIN jobs j ON {of_job("x.job")} AND j.status = 'saved'
CROSS JOIN areas a ON a.id = j.area
CROSS JOIN items i ON i.id = j.item
WHERE x.edition = i.edition AND x.missing AND {WANTED}
  AND x.asset IN (SELECT value FROM json_each(:assets) UNION SELECT value FROM json_each(:valued))
GROUP BY x.asset, x.cause ORDER BY x.asset, x.cause
"""  # noqa: S608
LACKING = f"""
SELECT s.name, i.item, j.status, x.asset, x.cause, x.reason, x.tries
FROM absences x
CROSS JOIN jobs j ON {of_job("x.job")}
CROSS JOIN items i ON i.id = j.item
CROSS JOIN shelves s ON s.area = j.area AND s.since <= i.sensed AND s.until > i.sensed
WHERE s.wanted AND x.edition = i.edition AND j.status IN ('saved', 'cloudy', 'missing', 'failed')
  AND (
    x.asset IN (SELECT value FROM json_each(:assets)) AND j.status != 'cloudy'
    OR x.asset IN (SELECT value FROM json_each(:measured)) AND j.status NOT IN ('saved', 'cloudy')
    OR x.asset IN (SELECT value FROM json_each(:valued))
  )
ORDER BY s.name, i.item, x.asset
"""  # noqa: S608
FORBIDDEN_HOSTS = """
SELECT DISTINCT x.host FROM absences x CROSS JOIN items i ON i.id = x.job >> 32
WHERE x.cause = 'origin' AND x.host != '' AND x.edition = i.edition ORDER BY x.host LIMIT ?
"""
AGAIN = f"""
WITH bad (due) AS (
    SELECT CASE
      WHEN j.status = 'failed' THEN iif(t.transient AND t.attempts <= :attempts, 0, NULL)
      ELSE (
        SELECT min(iif(x.due <= :now OR x.tried > :now, 0, x.due)) FROM absences x
        WHERE x.job = t.job AND x.edition = i.edition
          AND x.asset IN (SELECT value FROM json_each(:measured) UNION SELECT value FROM json_each(:assets))
      ) END
    {_TROUBLED}
    WHERE {WANTED} AND t.cause NOT IN (SELECT value FROM json_each(:settings))
      AND (:host IS NULL OR EXISTS (
        SELECT 1 FROM absences y
        WHERE y.job = t.job AND y.host = :host AND y.edition = i.edition AND y.run = (SELECT max(id) FROM runs)
      ))
)
SELECT count(*) FILTER (WHERE due = 0), count(*) FILTER (WHERE due > 0),
  coalesce(min(due) FILTER (WHERE due > 0), 0), count(*) FILTER (WHERE due IS NULL)
FROM bad
"""  # noqa: S608
"""Columns are in the order of `reasons.Again`."""
PROBLEMS = f"""
SELECT s.name, i.item, j.status, t.reason, t.cause {_TROUBLED}
CROSS JOIN shelves s ON s.area = j.area AND s.since <= i.sensed AND s.until > i.sensed
WHERE a.active AND s.wanted ORDER BY j.status, s.name, i.item LIMIT ?
"""
MEASURES_OF_AREA = f"""
SELECT j.slot, m.cells FROM jobs j CROSS JOIN items i ON i.id = j.item
CROSS JOIN answers m ON m.item = j.item AND m.block = j.block AND m.step = 'clouds' AND m.asked = :rule
  AND m.edition = i.edition
WHERE {of_area(":area")}
"""  # noqa: S608
DOUBTS = f"""
SELECT r.basis, r.doubt, p.says IS NULL, count(*), count(DISTINCT i.id), min(i.item)
FROM products p
CROSS JOIN items i ON i.id = p.job >> 32
CROSS JOIN jobs j ON {of_job("p.job")}
LEFT JOIN bands r ON r.item = i.id AND r.asset = p.asset AND r.edition = i.edition
CROSS JOIN shelves s ON s.area = j.area AND s.since <= i.sensed AND s.until > i.sensed
WHERE p.harmonised IS NOT NULL AND p.edition = i.edition AND {CROP_OF_KIND} AND s.wanted
  AND j.status NOT IN {SPOILT} AND NOT (:newest AND {CROP_SUPERSEDED})
  AND (p.says IS NULL OR r.basis IS NULL OR r.basis IN ('doubtful', 'unknown') OR r.doubt != '')
GROUP BY r.basis, r.doubt, p.says IS NULL ORDER BY count(*) DESC, r.basis, r.doubt
"""  # noqa: S608
"""Crops whose offset is uncertain, by reason; the third column says whether their tags say nothing about it."""

# ---- scenes, and sizes of whole files --------------------------------------------------------------------

NEWEST_KEYS = "SELECT assets FROM items ORDER BY id DESC LIMIT ?"
ITEMS_WITH_VALUES = """
SELECT DISTINCT m.item FROM answers m CROSS JOIN items i ON i.id = m.item AND i.edition = m.edition
WHERE m.step = 'values'
"""
DOUBTFUL_ITEMS = """
SELECT i.id, i.item, max(r.basis), max(r.doubt) FROM json_each(:items) e CROSS JOIN items i ON i.id = e.value
CROSS JOIN bands r ON r.item = i.id AND r.edition = i.edition
WHERE r.asset IN (SELECT value FROM json_each(:bands)) AND (r.basis IN ('doubtful', 'unknown') OR r.doubt != '')
GROUP BY i.id ORDER BY i.id
"""
HAS_KEY = """
SELECT EXISTS (SELECT 1 FROM items i CROSS JOIN json_each(i.assets) e WHERE e.key = ?)
"""
NEEDED_FILES = """
SELECT count(*), count(f.size), coalesce(sum(f.size), 0)
FROM json_each(:items) n JOIN items i ON i.id = n.value JOIN json_each(i.assets) e ON e.key = :asset
LEFT JOIN files f ON f.item = i.id AND f.asset = :asset
"""
OPENED_FILES = "SELECT count(*), coalesce(sum(size), 0) FROM files"
KNOWN_SIZES = "SELECT count(*) FROM files WHERE asset = ?"
MIDDLE_SIZE = """
SELECT avg(size) FROM (SELECT size FROM files WHERE asset = ? ORDER BY size LIMIT ? OFFSET ?)
"""
