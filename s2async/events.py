"""What a run reports while it is in progress, as frozen values: jobs, searches, and messages for the user."""

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
    """How one search ended, for one group of neighbouring areas and one period."""

    label: str
    """Areas and period, for people."""
    key: str
    """Identifies the same search in a later run."""
    complete: bool
    """True only when paging ended normally."""
    items: int
    """Number of distinct items that the search returned."""
    reason: str = ""
    """Why it is not complete, in one line."""
    estimate: Estimate | None = None
    """Set if the catalogue counts more items than it returns although the search is complete."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobsFound:
    """Jobs entered the queue."""

    jobs: int
    resumed: bool
    """True if they were left open by an earlier run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobDone:
    """A job's outcome has been recorded."""

    outcome: Outcome


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchDone:
    """A search has ended, complete or not."""

    report: SearchReport


@dataclass(frozen=True, kw_only=True, slots=True)
class Notice:
    """A message for the user."""

    text: str
    grave: bool = False
    """Results may be wrong: the message is shown even if only failures are shown."""


Event = JobsFound | JobDone | SearchDone | Notice
