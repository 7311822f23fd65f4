"""The nouns of the program, as frozen values.

Nothing here does I/O or knows another module of the package. The order is that of the data's way: areas and
scenes make jobs, jobs of one scene make a batch, a batch gives outcomes, and events tell of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # these are types alone: the command status needs no geometry
    from shapely import MultiPolygon, Polygon
    from shapely.geometry.base import BaseGeometry

HISTOGRAM_BINS = 13
"""Bins of an SCL histogram: the classes 0 to 11, and one for every other value."""


class Status(StrEnum):
    """What became of a job."""

    SAVED = "saved"
    """Every wanted crop that can be had is on disk under its final name, and that is at least one."""
    CLOUDY = "cloudy"
    """Measured, too cloudy: an answer."""
    NODATA = "nodata"
    """Too little of the area holds data: an answer."""
    OUTSIDE = "outside"
    """The raster does not touch the polygon: an answer."""
    MISSING = "missing"
    """None of the wanted COGs can be had (no asset, JPEG 2000 only, 404, 410): an answer until the item is
    updated. What its server said was not there is asked for again a few times all the same."""
    FAILED = "failed"
    """At least one asset has no answer yet: transient causes are tried again by the next runs, final ones by
    ``retry``. Crops of other assets may be on disk, and count."""


class Cause(StrEnum):
    """Why a file cannot be had: what the reasons in words have in common, to be counted."""

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

    @property
    def words(self) -> str:
        """A few words for people."""
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
    Cause.NETWORK: "no answer of the server",
    Cause.CRASH: "set aside after a crash",
    Cause.SMALL: "area too small",
}


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an asset cannot be read."""

    cause: Cause
    text: str
    """One line for people."""
    host: str = ""
    """For `Cause.ORIGIN`: the origin that the user may list."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Area:
    """A place to watch. Its identity is its polygon; the name only names a folder and rows."""

    name: str
    """The user's name for it, as given."""
    polygon: Polygon | MultiPolygon
    """Normalised, valid, in lon/lat (OGC:CRS84), degrees."""
    fingerprint: str
    """Hash of the normalised polygon: 16 hex digits."""
    folder: str
    """Folder of its crops inside the output folder: a safe, short name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asset:
    """One readable COG of a scene."""

    key: str
    """The program's name for it, such as ``scl`` or ``visual``: the key in `Scene.assets`."""
    href: str
    """An http(s) address."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """One STAC item, reduced to what the program uses."""

    id: str
    collection: str
    version: str
    """Tells one edition of the item's pixels from another: ``s2:product_uri`` if present, else ``updated``."""
    updated: str
    """The item's ``updated`` as given, or the empty string."""
    datetime: datetime
    """Time of sensing, UTC, aware."""
    platform: str
    """Such as ``sentinel-2a``; the empty string when unknown."""
    grid: str
    """MGRS grid square such as ``33UUU``; the empty string when unknown."""
    cloud: float | None
    """Cloud cover of the whole scene in per cent as the catalogue says; None when unknown."""
    epsg: int | None
    """EPSG code as the catalogue says: a hint only, the file's own CRS counts."""
    baseline: str
    """Processing baseline such as ``05.09``; the empty string when unknown."""
    generated: str
    """Generation time of the product as given; the empty string when unknown."""
    datastrip: str
    """Start of the datastrip (the ``S20200305T103210`` of its id); the empty string when unknown."""
    footprint: BaseGeometry | None
    """Where the item says that it lies, lon/lat, in one piece beyond 180 degrees if it crosses them; None for
    scenes read back from the state."""
    assets: Mapping[str, Asset]
    """The readable COGs by key."""
    absent: Mapping[str, Reason] = field(default_factory=dict)
    """Why an asset that the item names cannot be read, by key."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CloudMeasure:
    """What the scene classification says inside one area."""

    histogram: tuple[int, ...]
    """Pixels inside the polygon by SCL class: classes 0 to 11, then all other values (13 numbers)."""
    total: int
    """Pixel centres inside the polygon on the unbounded grid, whether or not the raster holds them."""

    def __post_init__(self) -> None:
        if len(self.histogram) != HISTOGRAM_BINS or min(self.histogram) < 0:
            raise ValueError(f"a histogram has {HISTOGRAM_BINS} counts, not {self.histogram}")
        if sum(self.histogram) > self.total:
            raise ValueError(f"{sum(self.histogram)} pixels counted, {self.total} inside the polygon")

    @property
    def valid(self) -> int:
        """Pixels inside the polygon that hold data: class 0 is none, nor is a value that is no class at all."""
        return sum(self.histogram[1:-1])


@dataclass(frozen=True, kw_only=True, slots=True)
class Product:
    """One crop on disk."""

    asset: str
    """Asset key."""
    file: str
    """File name inside the area's folder."""
    bytes: int
    """Size of the file."""
    sha256: str
    """Hash of the file, 64 hex digits."""
    mask: bool
    """True when pixels outside the polygon are nodata, False for the plain rectangle."""
    format: str
    """Name of the writer, such as ``gtiff``."""
    epsg: int
    """EPSG code of the crop's CRS, which is that of the file it was cut from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lack:
    """An asset that one job lacks."""

    asset: str
    cause: Cause
    text: str
    """One line: why."""
    host: str = ""
    """Origin of the file's server, or the one that is not allowed; the empty string when nobody was asked."""
    missing: bool = True
    """There is no such file: an answer. Else it may be there, but could not be had."""
    transient: bool = False
    """For what is not missing: worth another try by the next run."""
    known: bool = False
    """It is in the state already."""
    again: bool = False
    """For what is known: it is time to ask for it again."""
    alone: bool = False
    """For what is known: its server gave others at the time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Which crops count: a clear job needs them, and tables, reports and `api.read` list them.

    A crop of another mask or format does not count, even if it is on disk.
    """

    assets: tuple[str, ...]
    """Asset keys; empty when jobs only measure clouds."""
    mask: bool
    """True when pixels outside the polygon are nodata, False for the plain rectangle."""
    format: str
    """Name of the writer, such as ``gtiff``."""
    newest_only: bool = True
    """Of a scene that was processed several times, only the newest item counts; else all of them do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One question: is this area clear in this scene, and if so, where is its crop?"""

    id: int
    """Row of the job in the state."""
    area: Area
    scene: Scene
    measure: CloudMeasure | None = None
    """A measurement of this very version, if an earlier run made one: then SCL is not read again."""
    saved: frozenset[str] = frozenset()
    """Assets whose crop of this version, mask and format is on disk already."""
    products: tuple[Product, ...] = ()
    """Crops of them that this run has written, and not recorded yet: it was stopped before the last."""
    lacks: tuple[Lack, ...] = ()
    """Assets that it lacked before; those that are not to be asked for again are not."""


LONGEST_BATCH: Final = 64
"""Jobs of one scene that are worked on together, at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Jobs of one scene: they share headers and tiles."""

    scene: Scene
    jobs: tuple[Job, ...]
    files: tuple[FileFact, ...] = ()
    """What earlier batches learnt of the scene's files: headers that need not be read again."""
    shared: bool = False
    """Other batches want the same scene: what this one fetches is worth keeping for them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of one job, with everything the state wants to keep."""

    job: Job
    status: Status
    measure: CloudMeasure | None = None
    """The measurement, when one was made or was at hand."""
    products: tuple[Product, ...] = ()
    """Crops written by this attempt, also when another asset of the job failed."""
    reason: str = ""
    """One line for MISSING and FAILED: what, and which asset and address; for SAVED, what it lacks; for NODATA
    where that is odd."""
    cause: Cause | None = None
    """What that comes down to, for MISSING and FAILED; for NODATA where that is odd."""
    transient: bool = False
    """For FAILED: worth another try by the next run."""
    lacks: tuple[Lack, ...] = ()
    """Selected assets that it lacks, and the classification if it lacks that."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FileFact:
    """What was learnt of a remote file on the way."""

    asset: str
    href: str
    size: int
    """Bytes of the whole file, from Content-Range."""
    etag: str
    """As the server gave it; the empty string when it gave none."""
    header: bytes = b""
    """Its header as `cog.headers.pack` keeps it; none where no strong ETag tells whether it still holds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchResult:
    """What a worker hands back: one outcome for every job that it could answer, and facts for later."""

    outcomes: tuple[Outcome, ...]
    files: tuple[FileFact, ...] = ()
    left: tuple[Job, ...] = ()
    """Jobs that nothing was learnt of but their measure perhaps: the server they need is not asked at present."""
    parked: str = ""
    """That server's origin, when jobs are left."""
    traffic: tuple[Traffic, ...] = ()
    """What was requested and received for the batch."""


class Use(StrEnum):
    """What a request or a byte was good for."""

    USEFUL = "useful"
    """Needed, and used."""
    RETRIED = "retried"
    """Part of an attempt that failed and was made again, or given up."""
    WASTED = "wasted"
    """Received in a good answer, but not needed: the rest of a header read, gaps between tiles."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderMove:
    """The crops of one area are to live in another folder of the output folder."""

    fingerprint: str
    old: str
    new: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Traffic:
    """Requests and body bytes of one kind."""

    stage: str
    """``search``, ``header`` or ``tiles``."""
    asset: str
    """Asset key; the empty string for searches."""
    use: Use
    requests: int
    bytes: int
    """Body bytes as they came over the wire (compressed, where the body was)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A count that is larger than what the catalogue gives: pages of another size brought the same items."""

    counted: int
    ids: str
    """Hash of the items that came."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchReport:
    """How one search ended: one group of neighbouring areas, one span of time."""

    label: str
    """Names the areas and the span, for people."""
    key: str
    """Identifies the same search in a later run."""
    complete: bool
    """True only when paging ended normally."""
    items: int
    """Distinct items that the search returned."""
    reason: str = ""
    """Why it is not complete; one line."""
    estimate: Estimate | None = None
    """Set when the catalogue counts more items than it gives, and the search is complete all the same."""


# ---- events: facts that the pipeline tells while it runs --------------------------------------------------


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
    """A search ended, well or not."""

    report: SearchReport


@dataclass(frozen=True, kw_only=True, slots=True)
class Notice:
    """Something a person should read: one line."""

    text: str
    grave: bool = False
    """Results may be wrong: also told where only failures are told."""


Event = JobsFound | JobDone | SearchDone | Notice
