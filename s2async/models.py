"""The nouns of the program, as frozen values.

Nothing here does input or output. The order follows the data: areas and scenes make jobs, jobs of one scene make a
batch, and a batch gives outcomes. The module `causes` says why files are not available, `events` what runs report.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from s2async.causes import Cause, Lack, Reason

if TYPE_CHECKING:  # these are types alone: the command status needs no geometry
    from shapely import MultiPolygon, Polygon
    from shapely.geometry.base import BaseGeometry

    from s2async.reflectance.evidence import Evidence
    from s2async.zonal.wanted import Wanted

DEFAULT_RULE: Final = "scl"
"""The cloud rule of measurements that name none: the scene classification."""
DEFAULT_MEASURED: Final = ("scl",)
"""Keys of the assets that this rule measures."""


class Status(StrEnum):
    """The outcome of a job. All but `FAILED` are final answers."""

    SAVED = "saved"
    """Every wanted crop that is available is on disk under its final name, and that is at least one."""
    CLOUDY = "cloudy"
    """The area was measured, and is too cloudy."""
    NODATA = "nodata"
    """Too little of the area holds data."""
    OUTSIDE = "outside"
    """The raster does not touch the polygon."""
    MISSING = "missing"
    """None of the wanted COGs is available (no asset, JPEG 2000 only, 404, 410), until the item is updated. A file
    that its server did not have is still requested again a few times."""
    FAILED = "failed"
    """At least one asset has no answer yet. The next runs try again after transient causes, ``retry`` after final
    ones. Crops of other assets may be on disk, and count."""
    DUPLICATE = "duplicate"
    """The area was measured, and another item of the same overpass counts in its place. Crops of earlier runs may
    be on disk, but do not count. Only with ``overlaps = "one"``."""


Attribute: TypeAlias = str | int | float | bool | date | datetime | None
"""A value of one of the areas' own columns."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Area:
    """An area of interest. Its polygon identifies it; its name appears in folders and tables only."""

    name: str
    """Name as the user gave it."""
    polygon: Polygon | MultiPolygon
    """Normalised and valid, in longitude and latitude (OGC:CRS84), degrees."""
    fingerprint: str
    """Hash of the normalised polygon: 16 hex digits."""
    folder: str
    """Folder of its crops in the output folder: a safe, short name."""
    start: date | None = None
    """First day (UTC) of its season; None if it has no beginning."""
    end: date | None = None
    """Last day (UTC) of its season; None if it has no end."""
    attributes: Mapping[str, Attribute] = field(default_factory=dict, hash=False)
    """Values of the areas' own columns that are carried along, by column in the file's order."""

    def wants(self, day: date) -> bool:
        """Whether a day (UTC) lies in its season."""
        return (self.start is None or self.start <= day) and (self.end is None or day <= self.end)


@dataclass(frozen=True, kw_only=True, slots=True)
class Asset:
    """One readable COG of a scene."""

    key: str
    """The program's name for it, such as ``scl`` or ``visual``: the key in `Scene.assets`."""
    href: str
    """An http(s) URL."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """One STAC item, reduced to what the program uses."""

    id: str
    collection: str
    version: str
    """Identifies the edition of the item's pixels: ``s2:product_uri`` if present, else ``updated``."""
    updated: str
    """The item's ``updated`` as given, or the empty string."""
    datetime: datetime
    """Time of sensing, UTC, aware."""
    platform: str
    """Such as ``sentinel-2a``; the empty string when unknown."""
    grid: str
    """MGRS grid square such as ``33UUU``; the empty string when unknown."""
    cloud: float | None
    """Cloud cover of the whole scene in per cent according to the catalogue; None when unknown."""
    epsg: int | None
    """EPSG code according to the catalogue: only a hint, since the file's own CRS counts."""
    baseline: str
    """Processing baseline such as ``05.09``; the empty string when unknown."""
    generated: str
    """Generation time of the product as given; the empty string when unknown."""
    datastrip: str
    """Start of the datastrip (the ``S20200305T103210`` of its id); the empty string when unknown."""
    footprint: BaseGeometry | None
    """Footprint of the item in longitude and latitude; where it crosses 180 degrees, in one piece that goes on
    beyond them. None when a scene that is read from the state has none there."""
    assets: Mapping[str, Asset]
    """The readable COGs by key."""
    absent: Mapping[str, Reason] = field(default_factory=dict)
    """Why an asset that the item names cannot be read, by key."""
    datatake: str = ""
    """Platform and start of the datatake, such as ``S2B_20240825T173909``; the empty string when unknown."""
    subtracted: bool | None = None
    """Whether the item says that the offset of its reflectance bands was subtracted; None when it does not say."""
    offsets: float | Mapping[str, float] | None = None
    """Offset in reflectance that the item states for its reflectance bands: one number if all have the same, else
    by key; None when it states none. It may contradict the files, see `reflectance.decision`."""

    @property
    def acquisition(self) -> str:
        """Datatake and grid square: equal for all items of one acquisition, in all catalogues and processings.

        Such as ``S2B_20240825T173909_13TDE``; the empty string when one of them is unknown.
        """
        return f"{self.datatake}_{self.grid}" if self.datatake and self.grid else ""


@dataclass(frozen=True, kw_only=True, slots=True)
class CloudMeasure:
    """What a cloud rule counted inside one area."""

    histogram: tuple[int, ...]
    """Pixels inside the polygon by bin of the rule. The first bin counts pixels without data, the last one pixels
    whose value has no meaning. The rule of the scene classification has 13: classes 0 to 11, and other values."""
    total: int
    """Pixel centres inside the polygon on the unbounded grid, whether or not the raster holds them."""
    rule: str = DEFAULT_RULE
    """Name of the rule."""

    def __post_init__(self) -> None:
        if len(self.histogram) < 3 or min(self.histogram) < 0:
            raise ValueError(f"a histogram has at least 3 counts, none negative, not {self.histogram}")
        if sum(self.histogram) > self.total:
            raise ValueError(f"{sum(self.histogram)} pixels counted, {self.total} inside the polygon")

    @property
    def valid(self) -> int:
        """Pixels inside the polygon that hold data: those of all bins but the first and the last."""
        return sum(self.histogram[1:-1])


@dataclass(frozen=True, kw_only=True, slots=True)
class Numbers:
    """What the digital numbers (DN) of one crop of a reflectance band mean: what its tags say."""

    offset: int | None
    """Offset of the source file in DN, by the decision when the crop was written; None when unknown."""
    basis: str
    """Why: one of `reflectance.decision.Basis`."""
    baseline: str
    """Processing baseline of the item; the empty string when unknown."""
    harmonised: bool
    """The offset was subtracted from the pixels, if there was one that is known."""

    @property
    def says(self) -> str:
        """Offset, basis and baseline of the source file as one text, to compare them with those in the state."""
        return f"{'?' if self.offset is None else self.offset} {self.basis} {self.baseline}"

    @property
    def subtracted(self) -> int:
        """What was added to all DN of the crop: 0 or -1000."""
        return (self.offset or 0) if self.harmonised else 0


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
    """EPSG code of the crop's CRS: that of the file from which it was cut."""
    numbers: Numbers | None = None
    """What its DN mean; None if it is no crop of a reflectance band."""
    evidence: Evidence | None = None
    """What its pixels, as they were published, show of an offset."""
    stated: float | None = None
    """Offset in reflectance that its source file states; None when it states none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Which crops count: a clear job needs them, and tables, reports and `s2async.read` list them.

    A crop of another mask or format does not count, even if it is on disk.
    """

    assets: tuple[str, ...]
    """Asset keys; empty when jobs only measure cloud cover."""
    mask: bool
    """True when pixels outside the polygon are nodata, False for the plain rectangle."""
    format: str
    """Name of the writer, such as ``gtiff``."""
    newest_only: bool = True
    """Of a scene that was processed several times, only the newest item counts; else all of them do."""
    rule: str = DEFAULT_RULE
    """Name of the cloud rule: measurements of other rules do not count."""
    measured: tuple[str, ...] = DEFAULT_MEASURED
    """Keys of the assets that the cloud rule measures."""
    harmonised: bool = False
    """True when crops of reflectance bands have no offset, False when their pixels are as published."""
    one_per_overpass: bool = False
    """Of all items of one overpass, one counts for an area; else all of them do. See `clouds.overpass`."""
    values: Wanted | None = None
    """Values that every job needs whose measurement the rule of values accepts; None when none are wanted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One question: is this area clear in this scene, and if so, where is its crop?"""

    id: int
    """Row of the job in the state."""
    area: Area
    scene: Scene
    measure: CloudMeasure | None = None
    """A measurement of this version of the scene, if an earlier run made one: it is not made again."""
    saved: frozenset[str] = frozenset()
    """Assets whose crop of this version, mask and format is on disk already."""
    products: tuple[Product, ...] = ()
    """Crops that this run has written and not recorded yet: the batch was stopped before its last asset."""
    lacks: tuple[Lack, ...] = ()
    """Assets that it lacked before. Those that are not due again (`Lack.again`) are not requested."""
    results: tuple[object, ...] = ()
    """Results of further kinds of steps that this run has and has not recorded yet; see `Outcome.results`."""
    alias: str = ""
    """What the names of its crops begin with instead of the item's id: where items of two collections have the
    same id, those of the second collection have an alias."""
    valued: frozenset[str] = frozenset()
    """What was asked of this edition and has an answer (`zonal.wanted.Wanted.key`): it is not computed again."""
    clear_pixels: bytes | None = None
    """The pixels of the area that are clear, and those that have data, when this run has read the classification
    before: as `engine.clear_pixels` packs them, on the grid on which values are counted."""

    @property
    def stem(self) -> str:
        """What the names of its crops begin with."""
        return self.alias or self.scene.id


Order = Literal["newest", "oldest"]
"""Which scenes a run works on first."""

LONGEST_BATCH: Final = 4096
"""Maximum number of jobs of one scene that are processed together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Jobs of one scene: they share headers and tiles."""

    scene: Scene
    jobs: tuple[Job, ...]
    files: tuple[FileFact, ...] = ()
    """Facts that earlier batches learned about the scene's files: headers that need not be read again."""
    shared: bool = False
    """Other batches have jobs of the same scene: blocks and headers are kept for them."""
    evidence: Evidence | None = None
    """What the pixels of the scene's reflectance bands that were read so far show of an offset."""
    measuring: bool = False
    """Jobs are only measured: which of the clear ones are cut is decided when all of their overpass are."""


class BandEvidence(NamedTuple):
    """What pixels of a band in one area show of an offset, where no crop tells it: one of `Outcome.results`."""

    asset: str
    """Key of the band."""
    evidence: Evidence
    """Of the area's pixels, as they were published."""
    stated: float | None = None
    """Offset in reflectance that the file states; None when it states none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """The outcome of one job, with everything that the state stores."""

    job: Job
    status: Status
    measure: CloudMeasure | None = None
    """The measurement, when one was made or known before."""
    products: tuple[Product, ...] = ()
    """Crops written by this attempt, even when another asset of the job failed."""
    reason: str = ""
    """One line. For MISSING and FAILED: what happened to which asset and URL; for SAVED: what is lacking; for
    NODATA: why, when the area is too small."""
    cause: Cause | None = None
    """Category of the reason, for MISSING and FAILED, and for NODATA when the area is too small."""
    transient: bool = False
    """For FAILED: the next run should try again."""
    lacks: tuple[Lack, ...] = ()
    """Wanted assets that it lacks, and assets of the cloud rule where that is what it lacks."""
    results: tuple[object, ...] = ()
    """Results of further kinds of steps; the state stores each by its type."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FileFact:
    """What was learned about a remote file."""

    asset: str
    href: str
    size: int
    """Bytes of the whole file, from Content-Range."""
    etag: str
    """ETag as the server sent it; the empty string when it sent none."""
    header: bytes = b""
    """Its header, packed by `cog.headers.pack`; empty without a strong ETag to check it by."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchResult:
    """What a worker returns: an outcome for every job that it could finish, and facts for later batches."""

    outcomes: tuple[Outcome, ...]
    files: tuple[FileFact, ...] = ()
    left: tuple[Job, ...] = ()
    """Jobs without an outcome, with what is known: a server is not asked at present, or the batch was stopped."""
    parked: str = ""
    """That server's origin, when jobs are left because of it."""
    undecided: tuple[Job, ...] = ()
    """Jobs of a batch that only measures (`Batch.measuring`) that are clear, with their measurements."""
    traffic: tuple[Traffic, ...] = ()
    """What was requested and received for the batch."""


class Use(StrEnum):
    """Whether a request or a byte was of use."""

    USEFUL = "useful"
    """Needed and used."""
    RETRIED = "retried"
    """Part of an attempt that failed, and was repeated or given up."""
    WASTED = "wasted"
    """Part of a good response, but not needed: the rest of a header read, gaps between blocks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderMove:
    """A move of one area's crops to another folder in the output folder."""

    fingerprint: str
    old: str
    new: str
    files: tuple[str, ...] = ()
    """Names of the recorded crops that move."""
    whole: bool = True
    """All else in the folder moves with them. False when other crops in the folder stay, or move elsewhere."""
    parked: bool = False
    """An earlier run, which was killed, has done its first step; see `output.folder_moves`."""


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
    """Body bytes as they were transferred (compressed, where the body was)."""
