"""The basic values of the program, as frozen dataclasses.

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

if TYPE_CHECKING:  # these are only types: the command status needs no geometry library
    from shapely import MultiPolygon, Polygon
    from shapely.geometry.base import BaseGeometry

    from s2async.reflectance.evidence import Evidence
    from s2async.zonal.wanted import Wanted

DEFAULT_RULE: Final = "scl"
"""Name of the cloud rule of measurements that name no rule: the scene classification."""
DEFAULT_MEASURED: Final = ("scl",)
"""Keys of the assets that this rule measures."""


class Status(StrEnum):
    """The status of a job. All but `FAILED` are final."""

    SAVED = "saved"
    """At least one wanted crop is available, and all that are available are on disk under their final names."""
    CLOUDY = "cloudy"
    """The area was measured, and is too cloudy."""
    NODATA = "nodata"
    """Too little of the area has data."""
    OUTSIDE = "outside"
    """The raster does not touch the polygon."""
    MISSING = "missing"
    """None of the wanted COGs is available (no asset, JPEG 2000 only, 404, 410), until the item is updated. If the
    server did not have a file, later runs still request it a few times."""
    FAILED = "failed"
    """At least one asset could not be read. The next runs try again after transient causes, ``retry`` after final
    ones. Crops of other assets may be on disk, and count."""
    DUPLICATE = "duplicate"
    """The area was measured, and another item of the same overpass counts in place of this one. Crops of earlier
    runs may be on disk, but do not count. Only with ``overlaps = "one"``."""


Attribute: TypeAlias = str | int | float | bool | date | datetime | None
"""A value of one of the areas' own columns."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Area:
    """An area of interest. Its polygon identifies it; its name appears in folders and tables only."""

    name: str
    """Name as the user gave it."""
    wkb: bytes
    """Its polygon as WKB: normalised and valid, in longitude and latitude (OGC:CRS84), in degrees. A field of six
    vertices takes 176 bytes of memory, as a geometry object 440: with 100,000 areas, that saves 26 MB."""
    fingerprint: str
    """Hash of the normalised polygon: 16 hex digits."""
    folder: str
    """Name of the folder of its crops in the output folder: a safe, short name."""
    start: date | None = None
    """First day (UTC) of its season; None if the season has no beginning."""
    end: date | None = None
    """Last day (UTC) of its season; None if the season has no end."""
    attributes: Mapping[str, Attribute] = field(default_factory=dict, hash=False)
    """Values of the areas' own columns, keyed by column, in the order of the file."""

    @property
    def polygon(self) -> Polygon | MultiPolygon:
        """The polygon as a new object for every call; `geo.polygons` makes those of many areas at once."""
        import shapely

        polygon: Polygon | MultiPolygon = shapely.from_wkb(self.wkb)  # type: ignore[assignment]
        return polygon

    def wants(self, day: date) -> bool:
        """Return whether a day (UTC) lies in the season of the area."""
        return (self.start is None or self.start <= day) and (self.end is None or day <= self.end)


@dataclass(frozen=True, kw_only=True, slots=True)
class Asset:
    """One readable COG of a scene."""

    key: str
    """The program's name for the asset, such as ``scl`` or ``visual``: the key in `Scene.assets`."""
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
    """Sensing time, UTC, timezone-aware."""
    platform: str
    """Such as ``sentinel-2a``; the empty string if unknown."""
    grid: str
    """MGRS grid square such as ``33UUU``; the empty string if unknown."""
    cloud: float | None
    """Cloud cover of the whole scene in per cent according to the catalogue; None if unknown."""
    epsg: int | None
    """EPSG code according to the catalogue: only a hint, because the CRS of the file takes precedence."""
    baseline: str
    """Processing baseline such as ``05.09``; the empty string if unknown."""
    generated: str
    """Generation time of the product as given; the empty string if unknown."""
    datastrip: str
    """Start of the datastrip (the ``S20200305T103210`` of its id); the empty string if unknown."""
    footprint: BaseGeometry | None
    """Footprint of the item in longitude and latitude. If it crosses 180 degrees, it is one piece whose longitudes
    continue beyond 180 degrees. None if the scene was read from the state, which has no footprint for it."""
    assets: Mapping[str, Asset]
    """The readable COGs, keyed by asset."""
    absent: Mapping[str, Reason] = field(default_factory=dict)
    """Why an asset that the item names cannot be read, keyed by asset."""
    datatake: str = ""
    """Platform and start of the datatake, such as ``S2B_20240825T173909``; the empty string if unknown."""
    subtracted: bool | None = None
    """Whether the item says that the offset of its reflectance bands was subtracted; None if it does not say."""
    offsets: float | Mapping[str, float] | None = None
    """Offset in reflectance that the item states for its reflectance bands: one number if all bands have the same,
    otherwise a mapping by key; None if it states none. It may contradict the files, see `reflectance.decision`."""

    @property
    def acquisition(self) -> str:
        """Datatake and grid square: equal for all items of one acquisition, in all catalogues and processings.

        Such as ``S2B_20240825T173909_13TDE``; the empty string if one of them is unknown.
        """
        return f"{self.datatake}_{self.grid}" if self.datatake and self.grid else ""


@dataclass(frozen=True, kw_only=True, slots=True)
class CloudMeasure:
    """The pixel counts of a cloud rule in one area."""

    histogram: tuple[int, ...]
    """Pixels inside the polygon by bin of the rule. The first bin counts pixels without data, the last one pixels
    whose value has no meaning. The scene classification has 13 bins: classes 0 to 11, and other values."""
    total: int
    """Pixel centres inside the polygon on the unbounded grid, whether or not the raster contains them."""
    rule: str = DEFAULT_RULE
    """Name of the rule."""

    def __post_init__(self) -> None:
        if len(self.histogram) < 3 or min(self.histogram) < 0:
            raise ValueError(f"a histogram has at least 3 counts, none negative, not {self.histogram}")
        if sum(self.histogram) > self.total:
            raise ValueError(f"{sum(self.histogram)} pixels counted, {self.total} inside the polygon")

    @property
    def valid(self) -> int:
        """Pixels inside the polygon that have data: those of all bins except the first and the last."""
        return sum(self.histogram[1:-1])


@dataclass(frozen=True, kw_only=True, slots=True)
class Numbers:
    """What the digital numbers (DN) of one crop of a reflectance band mean, according to its tags."""

    offset: int | None
    """Offset of the source file in DN, as decided when the crop was written; None if unknown."""
    basis: str
    """How the offset was determined: one of `reflectance.decision.Basis`."""
    baseline: str
    """Processing baseline of the item; the empty string if unknown."""
    harmonised: bool
    """Whether the offset, if there is a known one, was subtracted from the pixels."""

    @property
    def says(self) -> str:
        """Offset, basis and baseline of the source file as one text, for comparison with those in the state."""
        return f"{'?' if self.offset is None else self.offset} {self.basis} {self.baseline}"

    @property
    def subtracted(self) -> int:
        """The number that was added to all DN of the crop: 0 or -1000."""
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
    """True if pixels outside the polygon are nodata, False for the plain rectangle."""
    format: str
    """Name of the writer, such as ``gtiff``."""
    epsg: int
    """EPSG code of the crop's CRS, which is that of the source file."""
    numbers: Numbers | None = None
    """What its DN mean; None if it is not a crop of a reflectance band."""
    evidence: Evidence | None = None
    """What its pixels, as published, reveal about an offset."""
    stated: float | None = None
    """Offset in reflectance that the source file states; None if it states none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Which crops count: clear jobs need them, and tables, reports and `s2async.read` list them.

    A crop of another mask or format does not count, even if it is on disk.
    """

    assets: tuple[str, ...]
    """Asset keys; empty if jobs only measure cloud cover."""
    mask: bool
    """True if pixels outside the polygon are nodata, False for the plain rectangle."""
    format: str
    """Name of the writer, such as ``gtiff``."""
    newest_only: bool = True
    """If a scene was processed several times, only its newest item counts; if False, all of its items count."""
    rule: str = DEFAULT_RULE
    """Name of the cloud rule; measurements of other rules do not count."""
    measured: tuple[str, ...] = DEFAULT_MEASURED
    """Keys of the assets that the cloud rule measures."""
    harmonised: bool = False
    """True if the offset is removed from crops of reflectance bands, False if their pixels are as published."""
    one_per_overpass: bool = False
    """Only one of all items of an overpass counts for an area; if False, all of them do. See `clouds.overpass`."""
    values: Wanted | None = None
    """Values that every job needs whose measurement the rule for values accepts; None if no values are wanted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One question: is this area clear in this scene, and if so, where is its crop?"""

    id: int
    """Row of the job in the state."""
    area: Area
    scene: Scene
    measure: CloudMeasure | None = None
    """A measurement of this version of the scene by an earlier run, if there is one; it is not repeated."""
    saved: frozenset[str] = frozenset()
    """Assets whose crop of this version, mask and format is already on disk."""
    products: tuple[Product, ...] = ()
    """Crops that this run has written but not recorded yet: the batch was stopped before its last asset."""
    lacks: tuple[Lack, ...] = ()
    """Assets that were missing before. Those that are not due again (`Lack.again`) are not requested."""
    results: tuple[object, ...] = ()
    """Results of further kinds of steps that this run has computed but not recorded yet; see `Outcome.results`."""
    alias: str = ""
    """The prefix of its crops' names, in place of the item's id: if items of two collections have the same id,
    those of the second collection have an alias."""
    valued: frozenset[str] = frozenset()
    """Keys (`zonal.wanted.Wanted.key`) of values that are known for this edition, and not computed again."""
    clear_pixels: bytes | None = None
    """The pixels of the area that are clear, and those that have data, if this run has already read the
    classification: as packed by `engine.clear_pixels`, on the grid on which values are computed."""

    @property
    def stem(self) -> str:
        """The prefix of the names of its crops."""
        return self.alias or self.scene.id


Order = Literal["newest", "oldest"]
"""Which scenes a run works on first."""

LONGEST_BATCH: Final = 4096
"""Maximum number of jobs of one scene that are processed together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Jobs of one scene, which share headers and tiles."""

    scene: Scene
    jobs: tuple[Job, ...]
    files: tuple[FileFact, ...] = ()
    """Facts that earlier batches learned about the scene's files, so that headers need not be read again."""
    shared: bool = False
    """Other batches have jobs of the same scene, so blocks and headers are kept for them."""
    evidence: Evidence | None = None
    """What the pixels of the scene's reflectance bands that were read so far reveal about an offset."""
    measuring: bool = False
    """Jobs are only measured; which clear ones are cut is decided when all jobs of their overpass are measured."""


class BandEvidence(NamedTuple):
    """What pixels of a band in one area reveal about an offset if no crop records it: one of `Outcome.results`."""

    asset: str
    """Key of the band."""
    evidence: Evidence
    """From the area's pixels, as published."""
    stated: float | None = None
    """Offset in reflectance that the file states; None if it states none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """The outcome of one job, with everything that the state stores."""

    job: Job
    status: Status
    measure: CloudMeasure | None = None
    """The measurement, if one was made or already known."""
    products: tuple[Product, ...] = ()
    """Crops written by this attempt, even if another asset of the job failed."""
    reason: str = ""
    """One line. For MISSING and FAILED: what happened to which asset and URL; for SAVED: what is missing; for
    NODATA: why, if the area is too small."""
    cause: Cause | None = None
    """Category of the reason, for MISSING and FAILED, and for NODATA if the area is too small."""
    transient: bool = False
    """For FAILED: the next run should try again."""
    lacks: tuple[Lack, ...] = ()
    """Wanted assets that are missing, and missing assets of the cloud rule."""
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
    """ETag as the server sent it; the empty string if it sent none."""
    header: bytes = b""
    """Its header, packed by `cog.headers.pack`; empty if there is no strong ETag for checking it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchResult:
    """What a worker returns: an outcome for every job that it could finish, and facts for later batches."""

    outcomes: tuple[Outcome, ...]
    files: tuple[FileFact, ...] = ()
    left: tuple[Job, ...] = ()
    """Jobs without an outcome, with what is known: requests were suspended, or the batch was stopped."""
    parked: str = ""
    """Origin of that server, if jobs are left because of it."""
    undecided: tuple[Job, ...] = ()
    """Clear jobs of a batch that only measures (`Batch.measuring`), with their measurements."""
    traffic: tuple[Traffic, ...] = ()
    """What was requested and received for the batch."""


class Use(StrEnum):
    """Whether a request or a byte was useful."""

    USEFUL = "useful"
    """Needed and used."""
    RETRIED = "retried"
    """Part of an attempt that failed and was repeated or given up."""
    WASTED = "wasted"
    """Part of a good response, but not needed: the rest of a header read, or gaps between blocks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderMove:
    """A move of one area's crops to another folder in the output folder."""

    fingerprint: str
    old: str
    new: str
    files: tuple[str, ...] = ()
    """Names of the recorded crops that move."""
    whole: bool = True
    """Everything else in the folder moves as well. False if other crops in the folder stay, or move elsewhere."""
    parked: bool = False
    """The first step was done by an earlier run that was killed; see `output.folder_moves`."""


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
    """Body bytes as transferred (compressed, if the body was)."""
