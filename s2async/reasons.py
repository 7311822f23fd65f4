"""Why jobs lack files: the cause of an error, who can correct it, and when to request the file again. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from s2async.causes import Cause, Lack
from s2async.errors import (
    AccessDenied,
    BadAnswer,
    CorruptFile,
    FileChanged,
    NotAllowed,
    NotFound,
    Refused,
    RemoteError,
    UnsupportedLayout,
)

SETTINGS: Final = frozenset(
    {Cause.NO_ASSET, Cause.JPEG2000, Cause.FORMAT, Cause.ADDRESS, Cause.SCHEME, Cause.ORIGIN}
)
"""Causes that do not pass with time: only other settings help, or a catalogue that changes its items."""
FINAL: Final = frozenset({Cause.ADDRESS, Cause.LAYOUT, Cause.CRASH})
"""Failures that would happen again in the next run."""
GONE: Final = frozenset({Cause.NOT_THERE})
"""Errors that make a file count as missing; a file with any other error may exist."""
OUTAGE: Final = frozenset({Cause.NOT_THERE, Cause.DENIED, Cause.REFUSED, Cause.ANSWER, Cause.DAMAGED})
"""Causes that point to a fault of a server. (A server that does not respond is suspended and waited for.)"""
DENIALS: Final = 5
"""Number of runs in which a server must deny a file, but return others, before the file counts as missing."""
DAY: Final = 86_400
"""Seconds between two requests for a file that did not exist, from the second request on."""
_QUESTIONS: Final = 4
"""How often a missing file is requested: by the run that finds this, by the next, and twice after that."""


def cause_of(error: RemoteError) -> Cause:
    """Return the cause that stands for an error about a file."""
    if isinstance(error, NotFound):
        return Cause.NOT_THERE
    if isinstance(error, NotAllowed):
        return Cause.ORIGIN
    if isinstance(error, FileChanged):
        return Cause.CHANGED
    if isinstance(error, UnsupportedLayout):
        return Cause.LAYOUT
    if isinstance(error, CorruptFile):
        return Cause.DAMAGED
    if isinstance(error, AccessDenied):
        return Cause.DENIED
    if isinstance(error, Refused):
        return Cause.REFUSED
    return Cause.ANSWER if isinstance(error, BadAnswer) else Cause.NETWORK


def due(cause: Cause, tries: int, tried: int) -> int | None:
    """Return when a missing file may be requested again.

    Args:
        cause: why it is missing.
        tries: how often it was requested.
        tried: time of the last request, in seconds since 1970.

    Returns:
        Seconds since 1970; 0 for the next run; None for never: it is settled until its item is updated.
    """
    if cause not in GONE or tries >= _QUESTIONS:
        return None
    return 0 if tries <= 1 else tried + DAY


def is_due(when: int | None, tried: int, now: int) -> bool:
    """Return whether the time of `due` has come, or the clock was set back, so that this cannot be known."""
    return when is not None and (when <= now or now < tried)


@dataclass(frozen=True, kw_only=True, slots=True)
class Again:
    """When files that could not be read are requested again, in numbers of jobs."""

    next: int = 0
    """Requested by the next run."""
    later: int = 0
    """Requested by runs on a later day."""
    earliest: int = 0
    """When the first of these are due, in seconds since 1970."""
    never: int = 0
    """Settled: not requested by any run until the item is updated."""

    @property
    def words(self) -> str:
        """The same for people, and how to request the files earlier; the empty string if there are none."""
        count = self.next + self.later + self.never
        if not count:
            return ""
        if self.next == count:
            return "the next run asks again"
        day = f"runs from {datetime.fromtimestamp(self.earliest, UTC):%Y-%m-%d %H:%M} UTC on" if self.later else ""
        if self.later == count:
            when = f"{day} ask again"
        elif self.never == count:
            when = "they count as settled: no run asks again until their items are updated"
        else:
            parts = (
                (self.next, f"the next run asks again for {self.next:,} of them"),
                (self.later, f"{day} {'' if self.next else 'ask again '}for {self.later:,}"),
                (self.never, f"{self.never:,} count as settled until their items are updated"),
            )
            when = ", ".join(text for jobs, text in parts if jobs)
        return f"{when}; s2async retry --missing has the next run ask for all"


def told(lacks: Iterable[Lack]) -> str:
    """Return in one line what is missing; assets with the same reason are listed together."""
    by_text: dict[str, list[str]] = {}
    for lack in lacks:
        by_text.setdefault(lack.text, []).append(lack.asset)
    return "; ".join(f"{', '.join(assets)}: {text}" for text, assets in by_text.items())


def counted(by_cause: Mapping[Cause, int]) -> str:
    """Return counts in words, the most frequent cause first."""
    ordered = sorted(by_cause.items(), key=lambda entry: (-entry[1], entry[0]))
    return ", ".join(f"{count:,} {cause.words}" for cause, count in ordered if count)


def covers(wanted: Sequence[str], on_disk: Collection[str], missing: Collection[str]) -> bool:
    """Return whether every wanted asset is on disk or known to be missing."""
    return all(asset in on_disk or asset in missing for asset in wanted)
