"""One kind of fault of the matrix, as data: how it is made, where it can befall, and what may come of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

PLACES: Final[Mapping[str, tuple[str, str]]] = {
    "first": ("", "first"),
    "later": ("", "later"),
    "SCL header": ("SCL", "header"),
    "SCL tile": ("SCL", "tile"),
    "TCI header": ("TCI", "header"),
    "TCI tile": ("TCI", "tile"),
    "any file": (r"\.tif$", ""),
    "half of the files": (r"05_0_L2A/.*\.tif$", ""),
    "anything": ("", ""),
    "the process": ("", ""),
}
"""Positions by name: what is searched in the path of a request, and where it stands, as the sandbox names it."""

PAGES: Final = ("first", "later")
FILES: Final = ("SCL header", "SCL tile", "TCI header", "TCI tile")
HEADERS: Final = ("SCL header", "TCI header")
TILES: Final = ("SCL tile", "TCI tile")
EVERYWHERE: Final = (*PAGES, *FILES)
WHOLE: Final = ("any file", "anything")
"""The faults of a whole server."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """One kind of fault."""

    name: str
    fault: str = ""
    """In the sandbox's table; the empty string where the server is sound."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """In a text, ``FORBIDDEN`` stands for the forbidden origin, and ``WORLDS`` for the folder of all editions."""
    positions: tuple[str, ...] = EVERYWHERE
    count: int | None = 1
    """How often for each file and each search; None for ever."""
    by_range: bool = False
    """So often for each range and each page."""
    skip: int = 0
    """So many requests pass before it begins."""
    seconds: float | None = None
    """It is over so long after it began."""
    onwards: bool = False
    """It lasts for a file that it has met once."""
    always: Mapping[str, str | None] = field(default_factory=dict)
    """Headers that all answers of files have; None: they lack it."""
    network: Mapping[str, Any] = field(default_factory=dict)
    """Settings other than the experiment's, which is in a hurry."""
    unhurried: bool = False
    """With the program's own settings of the network, and its own pauses between tries."""
    limits: tuple[str, ...] = ()
    """What the shell's ``ulimit`` allows the program."""
    verify: bool = False
    """With ``verify = true``."""

    recovers: bool = True
    """The first run ends as if nothing had been; else what it touches may stay without an answer, and is told."""
    by_itself: bool = False
    """Where it does not recover, the next run heals it without ``retry``."""
    missing: bool = False
    """What it touches may be called missing."""
    notice: str = ""
    """What it touches may be left out, where the run says so in these words."""
    later: bool = False
    """What is right of the later edition is right, too."""
    codes: frozenset[int] = frozenset()
    """Exit codes of a run that it touches; empty: any."""

    lasts: float = 0.0
    """Seconds that it lasts, or that the server asks to wait."""
    waits: bool = False
    """Only a time-out shows it."""
    rate: float | None = None
    """Requests a second that the server allows."""
