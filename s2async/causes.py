"""Why a file or an asset is not available, as frozen values. `reasons` decides what follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Cause(StrEnum):
    """Why a file is not available: a category of the reasons, for counting."""

    NO_ASSET = "no-asset"
    JPEG2000 = "jpeg2000"
    FORMAT = "format"
    ADDRESS = "address"
    SCHEME = "scheme"
    ORIGIN = "origin"
    NOT_THERE = "not-there"
    DENIED = "denied"
    REFUSED = "refused"
    ANSWER = "answer"
    DAMAGED = "damaged"
    LAYOUT = "layout"
    CHANGED = "changed"
    NETWORK = "network"
    CRASH = "crash"
    SMALL = "small"
    LARGE = "large"

    @property
    def words(self) -> str:
        """A short description for people."""
        return _CAUSES[self]


_CAUSES: Final = {
    Cause.NO_ASSET: "no such asset",
    Cause.JPEG2000: "only as JPEG 2000",
    Cause.FORMAT: "not a TIFF",
    Cause.ADDRESS: "unusable address",
    Cause.SCHEME: "not public over https",
    Cause.ORIGIN: "origin not allowed",
    Cause.NOT_THERE: "not there",
    Cause.DENIED: "access denied",
    Cause.REFUSED: "refused",
    Cause.ANSWER: "odd answer",
    Cause.DAMAGED: "damaged",
    Cause.LAYOUT: "unsupported layout",
    Cause.CHANGED: "changed while it was read",
    Cause.NETWORK: "no answer from the server",
    Cause.CRASH: "set aside after a crash",
    Cause.SMALL: "area too small",
    Cause.LARGE: "area too large",
}


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an asset cannot be read."""

    cause: Cause
    text: str
    """One line for people."""
    host: str = ""
    """For `Cause.ORIGIN`: the origin that the user may add to the list."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lack:
    """An asset that is not available to one job."""

    asset: str
    cause: Cause
    text: str
    """The reason, in one line."""
    host: str = ""
    """Origin of the file's server, or the origin that is not allowed; the empty string without a server."""
    missing: bool = True
    """The file does not exist. If False, it may exist, but could not be read."""
    transient: bool = False
    """If it is not missing: the next run should try again."""
    known: bool = False
    """It is already recorded in the state."""
    again: bool = False
    """If it is known: it is time to request it again."""
    alone: bool = False
    """If it is known: its server returned other files at that time."""
