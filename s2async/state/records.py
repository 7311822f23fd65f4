"""The values that the state returns, in addition to those of `models`. Pure.

Exports and reports use them without a connection to the state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, NamedTuple

from s2async.causes import Cause
from s2async.models import Attribute, CloudMeasure, Numbers, Status

if TYPE_CHECKING:  # records are pure: they only contain paths that other code uses
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

OPEN = "open"
"""Status of a job without an answer, which is still to be processed; the other statuses are in `models.Status`."""
ATTEMPTS = 5
"""Maximum number of runs that try a job which fails for a transient cause."""


class Cursor(NamedTuple):
    """Last entry of a page of open jobs."""

    sensed: int
    """Time of its item, in microseconds since 1970; 0 if pages are not in chronological order."""
    job: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRow:
    """One run."""

    id: int
    started: str
    """UTC, ISO 8601."""
    ended: str
    """UTC, ISO 8601; empty while the run is in progress, and if it was killed."""
    how: str
    """How it ended, such as ``finished`` or ``stopped``; empty while it is in progress."""
    version: str
    """Version of the program."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AreaCounts:
    """Jobs of one area."""

    name: str
    by_status: Mapping[str, int]
    """Number of jobs by status: the values of `models.Status`, and ``open``. Zeros are omitted."""
    start: date | None = None
    """First day of its season; None if the season has no beginning."""
    end: date | None = None
    """Last day of its season; None if the season has no end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """Jobs of the active areas."""

    total: Mapping[str, int]
    """Number of jobs by status, as in `AreaCounts`. A job of several areas with one polygon counts once."""
    areas: tuple[AreaCounts, ...]
    """All areas of the configuration, sorted by name, then season."""

    @property
    def open(self) -> int:
        """Number of jobs that the next run processes."""
        return self.total.get(OPEN, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Unheld:
    """An area that no raster so far covers sufficiently, nor will rasters of the same squares on other dates."""

    name: str
    share: float
    """Largest fraction of its pixels in one raster, from 0 to below 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """A job that failed or is missing."""

    area: str
    item: str
    status: str
    reason: str
    cause: Cause | None = None
    """Category of the reason; None if unknown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LackRow:
    """An asset that a job lacks. The job is failed or missing, or it is saved without the asset."""

    area: str
    item: str
    status: str
    """Status of the job."""
    asset: str
    cause: Cause
    reason: str
    tries: int
    """Number of consecutive attempts with this cause."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Without:
    """Number of jobs that lack files, by cause."""

    by_status: Mapping[str, Mapping[Cause, int]]
    """Number of jobs by status (``missing`` or ``failed``) and cause."""
    saved: Mapping[tuple[str, Cause], int]
    """Number of jobs that are saved without an asset, by asset and cause."""
    scenes: Mapping[str, int]
    """Number of their scenes, by asset."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FileSum:
    """Total size of whole remote files; each file counts once."""

    files: int
    bytes: int
    """Total of the files whose size is known or estimated."""
    estimated: int = 0
    """Number of files that were never opened; their sizes are estimated as the median of their asset."""
    unknown: int = 0
    """Number of files that were never opened, of an asset without any known size; not included in ``bytes``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WholeFiles:
    """Total sizes of the files of which runs read parts."""

    opened: FileSum
    """Files of which at least the header was read; the sizes were reported by their servers."""
    all: FileSum
    """SCL and the selected assets of every item with a job of an active area: a full download."""
    saved: FileSum
    """The same, only for items with a saved job of an active area: a download of the clear scenes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredCrop:
    """A crop that is recorded as being on disk, whether or not it still counts."""

    job: int
    asset: str
    folder: str
    """Folder of the area, relative to the output folder."""
    file: str
    bytes: int
    sha256: str
    mask: bool
    item: str
    fingerprint: str
    """Fingerprint of the area."""
    unwanted: bool
    """Whether its area is not clear by the current limits, or a newer reprocessing of its item replaces it."""
    removed: bool = False
    """Whether no area of the last run's configuration has its polygon and its day."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RenamedCrop:
    """A crop whose tags have a former name of its area."""

    job: int
    asset: str
    path: Path
    """Where it is now, relative to the output folder."""
    bytes: int
    sha256: str
    name: str
    """The name that its tags should have."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BandCrop:
    """A crop of a reflectance band that is of another kind than required, or whose tags differ from the state."""

    job: int
    asset: str
    path: str
    """Path relative to the output folder."""
    bytes: int
    sha256: str
    harmonised: bool
    """Whether its offset, if known, was subtracted."""
    subtracted: int
    """The value that was added to its DN: 0 or -1000."""
    untold: bool
    """Whether it is a crop of an earlier version, which has no tags about the offset."""
    numbers: Numbers | None
    """What the DN of its band mean according to the state, as published; None if nothing has been decided yet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Doubt:
    """Crops of reflectance bands whose offset is uncertain, for one reason."""

    crops: int
    scenes: int
    item: str
    """Id of one of the scenes."""
    basis: str
    """`reflectance.decision.Basis`; empty if nothing has been decided."""
    reason: str
    """What contradicts the offset; empty if nothing does."""
    untold: bool
    """Whether these are crops of an earlier version, which have no tags about the offset."""
    what: str = "crop"
    """What is counted: ``crop``, or ``date`` for values."""

    @property
    def text(self) -> str:
        """The reason in words, and what to do about it."""
        if self.untold:
            return "crops of an earlier version say no offset; s2async verify gives them tags"
        if self.reason:
            return self.reason
        if self.basis == "doubtful":
            return "files of this time may or may not have an offset, and no pixel decides; -1000 is taken"
        return "neither bucket nor baseline tell the offset; say offsets = ... in the table catalog of [search]"


@dataclass(frozen=True, kw_only=True, slots=True)
class ValueTotals:
    """The number of values."""

    dates: int
    """Number of dates with values, summed over areas."""
    rows: int
    """Number of rows in the long table: a date has one row for each band and index."""
    scenes: int
    doubts: tuple[Doubt, ...]
    """Dates whose offset is uncertain, by reason."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Square:
    """An MGRS tile (grid square) with scenes."""

    grid: str
    """Name, such as ``33UUU``; empty if unknown."""
    items: int
    header: bytes
    """Header of one of their files, as `cog.headers.pack` stores it; empty if no file was opened."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownJob:
    """The state of one area in a scene."""

    fingerprint: str
    """Fingerprint of the area."""
    status: str
    """One of the values of `models.Status`, or ``open``."""
    measure: CloudMeasure | None
    saved: frozenset[str]
    """Assets whose crop, with the selected mask and format, is on disk."""
    given_up: bool = False
    """Whether it failed, and no run retries it automatically."""
    lacks: frozenset[str] = frozenset()
    """Assets that are missing and not yet due for another request."""
    valued: frozenset[str] = frozenset()
    """Requested values that it has, as keys of `zonal.wanted.Wanted.key`."""


@dataclass(frozen=True, slots=True)
class ValuePlace:
    """A place of the last run, as needed for its values."""

    area: int
    """Row of its polygon."""
    since: int
    """First microsecond of its season, since 1970."""
    until: int
    """First microsecond after its season."""
    name: str
    fingerprint: str
    columns: str
    """The users' own columns, packed; see `state.serialization.row_attributes`."""


@dataclass(frozen=True, slots=True)
class BandOffset:
    """The offset that was decided for a band."""

    dn: int | None
    """The offset in DN; None if unknown."""
    basis: str
    """Reason of the decision: one of `reflectance.decision.Basis`."""
    doubt: str
    """What contradicts the offset; empty if nothing does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ValueItem:
    """An item with values."""

    item: str
    collection: str
    datetime: datetime
    """Sensing time, UTC, aware."""
    platform: str
    tile: str
    baseline: str
    bands: Mapping[str, BandOffset]
    """Offsets by asset key."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ValuePage:
    """Values of some places: n rows, by place, then time, item and variable."""

    places: Sequence[ValuePlace]
    items: Sequence[ValueItem]
    """Items in chronological order."""
    place: NDArray[np.intp]
    """(n,) index of the place."""
    item: NDArray[np.intp]
    """(n,) index of the item."""
    variable: NDArray[np.intp]
    """(n,) index of the band or index among `Wanted.variables`."""
    counts: NDArray[np.float64]
    """(n, 5), columns as in `zonal.wanted.COUNTS`."""
    offset: NDArray[np.float64]
    """(n,) offset in DN of all bands of the variable; NaN if one is unknown or they differ."""
    statistics: NDArray[np.float64]
    """(n, statistics), columns as in `Wanted.statistics`; NaN if no pixel is valid."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobRow:
    """One job with its facts: a row of an export."""

    area: str
    fingerprint: str
    folder: str
    """Folder of its crops, relative to the output folder."""
    home: str
    """Folder of the area's name. It differs from `folder` only if an area with the same polygon has the crops."""
    item: str
    collection: str
    datetime: datetime
    """Sensing time, UTC, aware."""
    platform: str
    grid: str
    baseline: str
    scene_cloud: float | None
    """Cloud cover of the scene in per cent, according to the catalogue."""
    measure: CloudMeasure | None
    status: str = Status.SAVED
    """One of `models.Status`, or ``open``."""
    reason: str = ""
    """Why it has no answer or no file."""
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    """Values of the user's own columns, and the season as ``valid_from`` and ``valid_to`` if the area has one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SavedRow(JobRow):
    """One valid crop on disk: a row of the index."""

    asset: str
    href: str
    """URL of its source file; empty if the item no longer has this asset."""
    file: str
    """File name inside the area's folder."""
    bytes: int
    sha256: str
    epsg: int
    """EPSG code of the crop's CRS."""
    offset: int | None = None
    """Offset to be added to its DN; None if unknown, and for reflectance bands of earlier versions."""
    offset_basis: str = ""
    """Reason of the offset: one of `reflectance.decision.Basis`; empty if nothing has been decided."""
    doubt: str = ""
    """What contradicts the offset; empty if nothing does."""

    @property
    def stem(self) -> str:
        """Start of the names of its files: its item's id, or the former `models.Job.stem`."""
        name, separator, _ = self.file.rpartition(f"_{self.asset}.")
        return name if separator else self.item
