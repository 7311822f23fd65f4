"""Which item of an overpass counts for an area if several items show it. Pure.

Grid squares overlap, so an area is often in several items of one overpass: the same image on other grids, or cut
off. One of these items counts. It is chosen from the measurements of all of them, before any asset is cut, by the
following criteria in order:

1. It is complete: enough of the area has data (`CloudRule.verdict` is not NODATA).
2. It is clear. Each item has its own classification, and near the limit one item may pass while another does not.
   Therefore every overpass that would have a crop if all its items counted still has one.
3. It has values, if values are requested: the rule of values accepts it, and not all bands are missing.
4. It is in the UTM zone of the area, so that all crops of an area share a grid.
5. It has the largest fraction of valid pixels, then the smallest fraction of cloudy pixels.
6. Its id comes first.

All crops and values of an overpass are from the same item.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from fractions import Fraction
from typing import Final

from s2async.clouds.rule import CloudRule
from s2async.clouds.shares import bad_pixels
from s2async.models import CloudMeasure, Selection, Status

DELAYS: Final = 1
"""Number of runs for which an item that fails in a transient way delays its overpass."""
_ANSWERS: Final = frozenset(map(str, Status))
"""Statuses of jobs that are not open."""


class Standing(Enum):
    """What is known about one area in one item."""

    EXPECTED = auto()
    """It may be measured later in this run or in the next one, so its overpass waits."""
    OUT = auto()
    """It cannot take part: it is not complete, is missing, or has failed for good."""
    BARE = auto()
    """It is clear, but none of its crops is available. It may have values, and counts if no other item does."""
    CLOUDY = auto()
    """It is complete and not clear."""
    CLEAR = auto()
    """It is clear, and its crops still have to be cut."""
    DELAYED = auto()
    """It is clear, and its crops failed in a transient way, so its overpass waits."""
    SAVED = auto()
    """It is clear, and it has all crops that are available."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """The rules for the choice."""

    rule: CloudRule
    """Judges measurements."""
    selection: Selection
    """Which crops and values count."""
    values_rule: CloudRule | None = None
    """Decides which measurements have values; None if no values are requested."""


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """One area in one item of an overpass."""

    job: int
    """Row of the job in the state."""
    status: str
    """Current status of the job: one of `models.Status`, or ``open``."""
    standing: Standing
    measure: CloudMeasure | None = None
    is_home: bool = False
    """Whether it is in the UTM zone of the area."""
    item: str = ""
    """Collection and id of the item."""
    better: frozenset[int] = frozenset()
    """Jobs of better editions of the item."""
    has_values: bool = False
    """Whether it has or can have values: the rule of values accepts it, and not all its bands are missing."""
    lacks_values: bool = False
    """Whether values of it still have to be computed, and their files may be read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """What follows for the jobs of one area in one overpass."""

    work: int | None = None
    """The job whose crops have to be cut and values computed now; the choice is made again afterwards."""
    statuses: tuple[tuple[int, Status], ...] = ()
    """Jobs whose status changes, with the new status."""


def rank(view: View, spoilt: Collection[int]) -> tuple[bool, bool, bool, Fraction, Fraction, str]:
    """Return the sort key of complete views, of which the first counts.

    Args:
        view: a complete view, which therefore has a measurement with valid pixels.
        spoilt: bins of the cloud rule whose pixels count as cloudy.
    """
    measure = view.measure
    if measure is None or not measure.valid:
        raise ValueError(f"job {view.job} was not measured, or holds no data")
    bad = Fraction(bad_pixels(measure, spoilt), measure.valid)
    is_cloudy = view.standing is Standing.CLOUDY
    share = -Fraction(measure.valid, measure.total)
    return is_cloudy, not view.has_values, not view.is_home, share, bad, view.item


def choose(views: Sequence[View], spoilt: Collection[int]) -> Choice:
    """Decide which view of one overpass counts.

    While an item is expected, nothing is done, and everything keeps its status. A crop from an earlier run also
    stays until the item that replaces it has an answer, so that no date is without a crop in between.

    Args:
        views: all views of one area in one overpass.
        spoilt: bins of the cloud rule whose pixels count as cloudy.
    """
    bare = [view for view in views if view.standing is Standing.BARE]
    complete = [view for view in views if view.standing not in (Standing.EXPECTED, Standing.OUT, Standing.BARE)]
    if not (complete or bare) or any(view.standing is Standing.EXPECTED for view in views):
        return Choice()
    # The crop of a former edition is kept until a better edition has an answer, but does not compete with it.
    jobs = {view.job for view in complete or bare}
    best, *others = sorted(
        (view for view in complete or bare if not view.better & jobs), key=lambda view: rank(view, spoilt)
    )
    if best.standing is Standing.DELAYED:
        return Choice()
    if best.standing is Standing.CLEAR or best.lacks_values:
        return Choice(work=best.job)
    missing = [(view.job, Status.MISSING) for view in bare if view.status not in _ANSWERS]
    if not complete:
        return Choice(statuses=tuple(missing))
    counts = Status.SAVED if best.standing is Standing.SAVED else Status.CLOUDY
    if best.status == Status.FAILED:  # one of its assets is missing, and may still become available
        counts = Status.FAILED
    wanted = [(best, counts), *((other, Status.DUPLICATE) for other in others)]
    changes = [(view.job, status) for view, status in wanted if view.status != status]
    return Choice(statuses=(*changes, *missing))
