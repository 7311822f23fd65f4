"""Conditions and joins that the SQL statements of the state share. Values are always parameters.

An area is a polygon. A place l is an entry of the last run's configuration: a polygon with a name and a season.
The shelves s of an area cover all time; each shelf records in which folder the crops of its period lie, and
whether a place includes the period.

Jobs are a view of packed rows. A statement finds the jobs of an item by ``j.item``, and other jobs with the
conditions of `of_area` and `of_job`.
"""

from __future__ import annotations


def of_area(area: str, job: str = "j") -> str:
    """Return the condition that a job belongs to an area, written so that its packed rows are found by an index.

    Args:
        area: SQL expression for the area's row.
        job: alias of the view ``jobs``.
    """
    return f"{job}.block = {area} >> 8 AND {job}.slot = {area} & 255"


def of_job(number: str, job: str = "j") -> str:
    """Return the condition that a job has a number; see `of_area`.

    Args:
        number: SQL expression for the job's number.
        job: alias of the view ``jobs``.
    """
    block = f"({number} & 4294967295) >> 8"
    return f"{job}.item = {number} >> 32 AND {job}.block = {block} AND {job}.slot = {number} & 255"


# ---- conditions on jobs -----------------------------------------------------------------------------------

WANTED = """
a.active AND (NOT a.seasonal OR (
    SELECT w.wanted FROM items d CROSS JOIN shelves w ON w.area = a.id AND w.since <= d.sensed
    WHERE d.id = j.item ORDER BY w.since DESC LIMIT 1
))
"""
"""A place of the last run's configuration has the area a of the job j and includes its day."""

# ---- conditions on crops ---------------------------------------------------------------------------------

OF_KIND = (
    "{crop}.mask = :mask AND {crop}.format = :format AND coalesce({crop}.harmonised, :harmonised) = :harmonised"
)
"""The crop is of the kind that the selection requires."""
CROP_OF_KIND = OF_KIND.format(crop="p")
CROP_COMES_OF_KIND = f"""
({CROP_OF_KIND} OR :harmonised AND p.mask = :mask AND p.format = :format AND instr(p.says, ' doubtful ')
  AND j.status != 'open')
"""
"""The same, or the job is answered and its crop p becomes of this kind when the run ends: a crop whose offset is
in doubt is cut as published, see `engine.cut`."""
JOB_CROP_OF_KIND = OF_KIND.format(crop="q")
SAYS = "(coalesce(r.dn, '?') || ' ' || r.basis || ' ' || i.baseline)"
"""What the tags of crops of the band r of the item i should say: `models.Numbers.says`."""

# ---- conditions on reprocessings -------------------------------------------------------------------------

# The table `superseded` contains the better editions of an item. In the conditions below, i is an item, j one of
# its jobs, and p a crop of this job; b refers to a better edition of i, and t is that edition's job for the area.

SPOILT = "('cloudy', 'nodata', 'outside', 'duplicate')"
"""Statuses of jobs that were measured and are not clear or not chosen. Crops from other settings do not count."""
JOBS_OF_NEWER = "superseded b CROSS JOIN jobs t ON t.item = b.newer AND t.block = j.block AND t.slot = j.slot"
NEWER_HAS_JOB = f"""
EXISTS (SELECT 1 FROM {JOBS_OF_NEWER} WHERE b.item = i.id AND t.status != 'missing')
"""  # noqa: S608
"""A newer item may have jobs only for other areas, and a job whose file is missing cannot replace anything."""
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
"""A crop p is replaced if a newer item has a crop of the same asset, or a measurement that is not clear. A
newer item may lack an asset that the older item has; the older crop then still counts."""
CROP_SUPERSEDED = NEWER_HAS_CROP.format(of_kind=f"AND {JOB_CROP_OF_KIND}")
