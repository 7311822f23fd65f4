"""Which item of one overpass counts for an area, where several show it. Pure.

Grid squares overlap, so an area is often in several items of one overpass: the same picture in other grids, or cut
off. One of them counts. It is chosen by what all of them were measured to hold, before any asset is cut:

1. It is complete: enough of the area has data (`CloudRule.verdict` is not NODATA).
2. It is clear. Each item has a classification of its own, and near the limit one may pass where the other does
   not: no overpass is lost of which all items together would leave a crop.
3. It has values, where they are wanted: the rule of values accepts it, and not all bands are missing.
4. It is in the UTM zone of the area, so that all crops of an area fit on each other.
5. It has the largest share of valid pixels, then the smallest share of spoilt ones.
6. Its id comes first.

Crops and values of an overpass are those of one item.
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
"""Runs that an item which fails in a way that may pass delays its overpass."""


class Standing(Enum):
    """What is known of one area in one item."""

    EXPECTED = auto()
    """It may be measured later in this run, or in the next one: its overpass waits."""
    OUT = auto()
    """It cannot take part: it is not complete, missing, or has failed for good."""
    CLOUDY = auto()
    """It is complete, and not clear."""
    CLEAR = auto()
    """It is clear, and its crops are still to be cut."""
    DELAYED = auto()
    """It is clear, and its crops failed in a way that may pass: its overpass waits."""
    SAVED = auto()
    """It is clear, and it has all crops that can be had."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """By what is chosen."""

    rule: CloudRule
    """Judges measurements."""
    selection: Selection
    """Which crops and values count."""
    values_rule: CloudRule | None = None
    """Judges which measurements have values; None when none are wanted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """One area in one item of an overpass."""

    job: int
    """Row of the job in the state."""
    status: str
    """Present status of the job: one of `models.Status`, or ``open``."""
    standing: Standing
    measure: CloudMeasure | None = None
    is_home: bool = False
    """It is in the UTM zone of the area."""
    item: str = ""
    """Collection and id of the item."""
    better: frozenset[int] = frozenset()
    """Jobs of better editions of the item."""
    has_values: bool = False
    """Values of it are there, or may be had: the rule of values accepts it, and not all its bands are missing."""
    lacks_values: bool = False
    """Values of it are still to be computed, and their files may be read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """What follows for the jobs of one area in one overpass."""

    work: int | None = None
    """The job whose crops are to be cut now, and its values computed; the choice is made again after that."""
    statuses: tuple[tuple[int, Status], ...] = ()
    """Jobs that get another status."""


def rank(view: View, spoilt: Collection[int]) -> tuple[bool, bool, bool, Fraction, Fraction, str]:
    """Sort key of complete views: the first one counts.

    Args:
        view: complete, so that it has a measurement with valid pixels.
        spoilt: bins of the cloud rule whose pixels spoil a crop.
    """
    measure = view.measure
    if measure is None or not measure.valid:
        raise ValueError(f"job {view.job} was not measured, or holds no data")
    bad = Fraction(bad_pixels(measure, spoilt), measure.valid)
    is_cloudy = view.standing is Standing.CLOUDY
    share = -Fraction(measure.valid, measure.total)
    return is_cloudy, not view.has_values, not view.is_home, share, bad, view.item


def choose(views: Sequence[View], spoilt: Collection[int]) -> Choice:
    """Decide which of the views of one overpass counts.

    While an item is expected, nothing is done, and everything keeps its status. So does a crop from an earlier run
    until the item that replaces it has an answer: no date is without a crop in between.

    Args:
        views: all views of one area in one overpass.
        spoilt: bins of the cloud rule whose pixels spoil a crop.
    """
    complete = [view for view in views if view.standing not in (Standing.EXPECTED, Standing.OUT)]
    is_waiting = len(complete) < len(views) and any(view.standing is Standing.EXPECTED for view in views)
    if not complete or is_waiting:
        return Choice()
    # The crop of a former edition is kept until a better one has an answer, but does not take part against it.
    jobs = {view.job for view in complete}
    best, *others = sorted(
        (view for view in complete if not view.better & jobs), key=lambda view: rank(view, spoilt)
    )
    if best.standing is Standing.DELAYED:
        return Choice()
    if best.standing is Standing.CLEAR or best.lacks_values:
        return Choice(work=best.job)
    counts = Status.SAVED if best.standing is Standing.SAVED else Status.CLOUDY
    if best.status == Status.FAILED:  # one of its assets is lacking, and may still be had
        counts = Status.FAILED
    wanted = [(best, counts), *((other, Status.DUPLICATE) for other in others)]
    return Choice(statuses=tuple((view.job, status) for view, status in wanted if view.status != status))
