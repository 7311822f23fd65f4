"""Why jobs lack files: the cause of an error, who can correct it, and when to ask again. Pure."""

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
"""What no time heals: only other settings do, or a catalogue that changes its items."""
FINAL: Final = frozenset({Cause.ADDRESS, Cause.LAYOUT, Cause.CRASH})
"""Failures that the next run would meet again."""
GONE: Final = frozenset({Cause.NOT_THERE})
"""Errors that make a file count as missing; a file with any other error may exist."""
OUTAGE: Final = frozenset({Cause.NOT_THERE, Cause.DENIED, Cause.REFUSED, Cause.ANSWER, Cause.DAMAGED})
"""What the files of a server that is not itself look like. (One that gives no answer is parked and waited for.)"""
DENIALS: Final = 5
"""Runs to which a server must deny a file, while it gives others, until the file counts as missing."""
DAY: Final = 86_400
"""Seconds between two questions for a file that was not there, from the second answer on."""
_QUESTIONS: Final = 4
"""How often a file that is not there is asked for: by the run that finds it, by the next, and twice after that."""


def cause_of(error: RemoteError) -> Cause:
    """What an error about a file comes down to."""
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
    """When a file that is missing may be asked for again.

    Args:
        cause: Why it is missing.
        tries: How often its server was asked.
        tried: When that was last, in seconds since 1970.

    Returns:
        Seconds since 1970; 0 for the next run; None for never: it is settled until its item is updated.
    """
    if cause not in GONE or tries >= _QUESTIONS:
        return None
    return 0 if tries <= 1 else tried + DAY


def is_due(when: int | None, tried: int, now: int) -> bool:
    """Whether the time of `due` has come. A clock that went backwards tells nothing, so then it has."""
    return when is not None and (when <= now or now < tried)


@dataclass(frozen=True, kw_only=True, slots=True)
class Again:
    """When files that could not be had are asked for again, in numbers of jobs."""

    next: int = 0
    """By the next run."""
    later: int = 0
    """By runs of a later day."""
    earliest: int = 0
    """When that begins for the first of these, in seconds since 1970."""
    never: int = 0
    """Settled: by no run, until the item is updated."""

    @property
    def words(self) -> str:
        """The same for people, and how to have them asked for earlier; the empty string where there are none."""
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
    """What is lacking, in one line: assets of the same reason together."""
    by_text: dict[str, list[str]] = {}
    for lack in lacks:
        by_text.setdefault(lack.text, []).append(lack.asset)
    return "; ".join(f"{', '.join(assets)}: {text}" for text, assets in by_text.items())


def counted(by_cause: Mapping[Cause, int]) -> str:
    """Counts in words, the most frequent first."""
    ordered = sorted(by_cause.items(), key=lambda entry: (-entry[1], entry[0]))
    return ", ".join(f"{count:,} {cause.words}" for cause, count in ordered if count)


def covers(wanted: Sequence[str], on_disk: Collection[str], missing: Collection[str]) -> bool:
    """Whether every wanted asset is on disk or known to be missing."""
    return all(asset in on_disk or asset in missing for asset in wanted)
