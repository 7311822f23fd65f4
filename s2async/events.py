"""What a run reports while it goes on, as frozen values: jobs, searches, and lines that a person should read."""

from __future__ import annotations

from dataclasses import dataclass

from s2async.models import Outcome


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A catalogue's count of items that is higher than the number it returns.

    A second search, with a different page size, returned the same items.
    """

    counted: int
    """The catalogue's count."""
    ids: str
    """Hash of the items that were returned."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchReport:
    """How one search ended, for one group of neighbouring areas and one span of time."""

    label: str
    """Areas and span, for people."""
    key: str
    """Identifies the same search in a later run."""
    complete: bool
    """True only when paging ended normally."""
    items: int
    """Number of distinct items that the search returned."""
    reason: str = ""
    """Why it is not complete, in one line."""
    estimate: Estimate | None = None
    """Set when the catalogue counts more items than it returns even though the search is complete."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobsFound:
    """Jobs entered the queue."""

    jobs: int
    resumed: bool
    """True when they were open from an earlier run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobDone:
    """A job's outcome has been recorded."""

    outcome: Outcome


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchDone:
    """A search ended, complete or not."""

    report: SearchReport


@dataclass(frozen=True, kw_only=True, slots=True)
class Notice:
    """A line that a person should read."""

    text: str
    grave: bool = False
    """Results may be wrong: shown even where only failures are shown."""


Event = JobsFound | JobDone | SearchDone | Notice
