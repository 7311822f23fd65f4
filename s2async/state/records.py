"""What the state is asked and what it tells, as frozen values; beside the nouns of `models`.

Pure, so that the index and the report need not know how the state is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from s2async.models import Cause, CloudMeasure, Status

OPEN = "open"
"""Beside the values of `models.Status`: no answer yet, and to be worked on."""
ATTEMPTS = 5
"""Runs that try a job which fails for a cause that may pass."""


class Cursor(NamedTuple):
    """Where a page of open jobs ended: rows of the item and of the job."""

    item: int
    job: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRow:
    """One run, as the state remembers it."""

    id: int
    started: str
    """UTC, ISO 8601."""
    ended: str
    """UTC, ISO 8601; the empty string while it goes on, and for a run that was killed."""
    how: str
    """How it ended, in the words of whoever ended it."""
    version: str
    """Version of the program."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AreaCounts:
    """Jobs of one area."""

    name: str
    by_status: Mapping[str, int]
    """Jobs by status (the values of `models.Status`, and ``open``); only those that occur."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """Jobs of the active areas."""

    total: Mapping[str, int]
    """Jobs by status, as in `AreaCounts`."""
    areas: tuple[AreaCounts, ...]
    """By name; also areas without a job."""

    @property
    def open(self) -> int:
        """Jobs without an answer that the next run works on."""
        return self.total.get(OPEN, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Unheld:
    """An area that no raster read so far holds enough of: no other date of them can change that."""

    name: str
    share: float
    """The largest part of its pixels that lies in one raster, from 0 to below 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """A job that failed, or whose file is missing."""

    area: str
    item: str
    status: str
    reason: str
    cause: Cause | None = None
    """What the reason comes down to; None when unknown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LackRow:
    """An asset that a job lacks: a job that failed or is missing, or one that is saved without it."""

    area: str
    item: str
    status: str
    """Of the job."""
    asset: str
    cause: Cause
    reason: str
    tries: int
    """How often in a row this was the answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Without:
    """Why jobs lack files, in numbers."""

    by_status: Mapping[str, Mapping[Cause, int]]
    """Jobs by status (``missing``, ``failed``) and cause."""
    saved: Mapping[tuple[str, Cause], int]
    """Jobs that are saved without an asset, by asset and cause."""
    scenes: Mapping[str, int]
    """Scenes of those, by asset."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FileSum:
    """Sizes of whole remote files, each distinct file once."""

    files: int
    bytes: int
    """Of the files whose size is known or estimated."""
    estimated: int = 0
    """Files never opened, taken as large as the median of the known files of their asset."""
    unknown: int = 0
    """Files never opened, of an asset of which no file was: not in ``bytes``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WholeFiles:
    """What the whole files would weigh that a run reads in part."""

    opened: FileSum
    """Files of which at least a header was read: sizes as their servers told."""
    all: FileSum
    """SCL and the wanted assets of every item with a job of an active area: all that a person would download."""
    saved: FileSum
    """The same of every item with a saved job of an active area: only the scenes that turned out to be clear."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredCrop:
    """One crop that the state believes to be on disk, whether or not it still counts."""

    job: int
    asset: str
    folder: str
    """Of the area, inside the output folder."""
    file: str
    bytes: int
    sha256: str
    mask: bool
    item: str
    fingerprint: str
    """Of the area."""
    unwanted: bool
    """Its area is too cloudy by the present limits, or a newer twin of its item has an answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Square:
    """A grid square in which scenes were found."""

    grid: str
    """Such as ``33UUU``; the empty string when unknown."""
    items: int
    header: bytes
    """Of one of their files, as `cog.headers.pack` keeps it; none when no file was opened."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownJob:
    """What the state says of one area in a scene."""

    fingerprint: str
    """Of the area."""
    status: str
    """One of the values of `models.Status`, or ``open``."""
    measure: CloudMeasure | None
    saved: frozenset[str]
    """Assets whose crop, of the wanted kind, is on disk."""
    given_up: bool = False
    """It failed, and no run tries it again by itself."""
    lacks: frozenset[str] = frozenset()
    """Assets that are missing, and not to be asked for again by now."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobRow:
    """One job with what is known of it: a row of an export."""

    area: str
    fingerprint: str
    folder: str
    """Of the area, inside the output folder."""
    item: str
    collection: str
    datetime: datetime
    """Time of sensing, UTC, aware."""
    platform: str
    grid: str
    baseline: str
    scene_cloud: float | None
    """Per cent, as the catalogue says."""
    measure: CloudMeasure | None
    status: str = Status.SAVED
    """Of `models.Status`, or ``open``."""
    reason: str = ""
    """Why there is no answer or no file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SavedRow(JobRow):
    """One crop that is on disk and counts: a row of the index."""

    asset: str
    href: str
    """Of the file it was cut from; the empty string when the item does not name it any more."""
    file: str
    """File name inside the area's folder."""
    bytes: int
    sha256: str
    epsg: int
    """Of the crop."""
