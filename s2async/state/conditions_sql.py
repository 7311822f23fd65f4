"""Conditions and joins that the SQL statements of the state share. Values are always parameters.

An area is a polygon; a place l is an entry of the last run's configuration: a polygon with a name and a season.
The shelves s of an area tell for every time in which folder its crops lie, and whether a place wants them.

Jobs are a view of packed rows: a statement finds those of an item by ``j.item``, others as `of_area` and `of_job`
do.
"""

from __future__ import annotations


def of_area(area: str, job: str = "j") -> str:
    """The condition that a job is one of an area, so that its packed rows are found by an index.

    Args:
        area: SQL of the area's row.
        job: alias of the view ``jobs``.
    """
    return f"{job}.block = {area} >> 8 AND {job}.slot = {area} & 255"


def of_job(number: str, job: str = "j") -> str:
    """The condition that a job has a number; see `of_area`.

    Args:
        number: SQL of the job's number.
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
"""A place of the last run's configuration has the area a of the job j, and its day."""

# ---- conditions on crops ---------------------------------------------------------------------------------

OF_KIND = (
    "{crop}.mask = :mask AND {crop}.format = :format AND coalesce({crop}.harmonised, :harmonised) = :harmonised"
)
"""A crop counts for the selection."""
CROP_OF_KIND = OF_KIND.format(crop="p")
JOB_CROP_OF_KIND = OF_KIND.format(crop="q")
SAYS = "(coalesce(r.dn, '?') || ' ' || r.basis || ' ' || i.baseline)"
"""What the tags of crops of the band r of the item i are to say: `models.Numbers.says`."""

# ---- conditions on reprocessings -------------------------------------------------------------------------

# The table `superseded` names the better editions of an item. In the conditions below, i is an item, j a job of
# it, and p a crop of the job; b names a better edition of i, and t is its job for the same area.

SPOILT = "('cloudy', 'nodata', 'outside', 'duplicate')"
"""Measured, and not clear or not the one that counts. Crops of other settings may be on disk, but do not count."""
JOBS_OF_NEWER = "superseded b CROSS JOIN jobs t ON t.item = b.newer AND t.block = j.block AND t.slot = j.slot"
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
CROP_SUPERSEDED = NEWER_HAS_CROP.format(of_kind=f"AND {JOB_CROP_OF_KIND}")
