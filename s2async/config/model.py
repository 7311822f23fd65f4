"""The settings: one TOML file, checked and frozen.

A configuration is valid as a whole or not at all. Whatever is wrong is reported before the first request, in one
line: where, what, and what to do. Nothing is guessed: text is not converted to a number, nor ``true`` to 1, and an
unknown key is an error that names the nearest known one.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PrivateAttr,
    Tag,
    ValidationError,
    model_validator,
)
from yarl import URL

from s2async.catalog.periods import why_empty
from s2async.catalog.providers import COPERNICUS, KNOWN, Catalog, custom
from s2async.clouds import scl
from s2async.clouds.rule import CloudRule
from s2async.clouds.scl import SclRule
from s2async.config import headers, toml
from s2async.config.headers import Headers
from s2async.config.messages import Misplaced, error_message
from s2async.config.toml import TomlFile
from s2async.config.types import (
    Address,
    AssetKeys,
    AssetNames,
    Buckets,
    CatalogName,
    Classes,
    Columns,
    Day,
    FilePath,
    Interval,
    Invalid,
    Memory,
    Origins,
    Percent,
    Period,
    Seconds,
    Size,
    Text,
    listed,
    normal_origin,
    parse_period,
)
from s2async.config.values import BandKeys, FormulaText, IndexName, OwnName, Statistics, fault, wanted
from s2async.errors import ConfigError
from s2async.files import check_names
from s2async.models import Order, Selection
from s2async.net.settings import ClientSettings
from s2async.reflectance.decision import Convention
from s2async.text import one_line
from s2async.zonal.wanted import Wanted, Weights

# ---- sections ---------------------------------------------------------------------------------------------


class Section(BaseModel):
    """A table of the configuration: frozen, strict, and without unknown keys."""

    # use_attribute_docstrings is off: pydantic would parse this source again, a third of the import time
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class InlineArea(Section):
    """One ``[[areas]]`` table."""

    name: Text = Field(examples=["Tiergarten"])
    """Name of the area, for its folder and in tables."""
    wkt: Text = Field(examples=["POLYGON ((lon lat, ...))"])
    """POLYGON or MULTIPOLYGON, in degrees (lon lat) or in ``crs``; with ``buffer``, points and lines, too."""
    valid_from: Day | None = Field(default=None, examples=["2024-04-01"])
    """First day of its season, UTC. If unset, the season has no beginning."""
    valid_to: Day | None = Field(default=None, examples=["2024-09-30"])
    """Last day of its season, UTC. If unset, the season has no end."""


class CustomCatalog(Section):
    """A STAC API that s2async does not know by name."""

    url: Address = Field(examples=["https://stac.example.org/v1"])
    """Root of the API; must be https unless ``[network] origins`` lists its origin."""
    collection: Text = Field(examples=["sentinel-2-l2a"])
    """Id of a collection of Sentinel-2 L2A scenes."""
    assets: AssetNames = {scl.ASSET: scl.ASSET}
    """Maps our asset keys to those of the items; keys that are not listed are the same."""
    attribution: Text = COPERNICUS
    """Source of the pixels, for the tags of the crops; ``{year}`` stands for the year of sensing."""
    buckets: Buckets = {}
    """S3 buckets that are public over http(s), with their URL; hrefs ``s3://<bucket>/...`` are read from there."""
    offsets: Literal["earth-search", "esa", "none"] | None = None
    """What the files do with the offset of processing baseline 04.00 and later: subtract it, as Earth Search does,
    keep it, as ESA does, or never have one. If unset, the bucket of each href tells, where it is a known one."""


def _catalog_kind(value: Any) -> str:
    return "table" if isinstance(value, dict | CustomCatalog) else "name"


def _areas_kind(value: Any) -> str:
    return "tables" if isinstance(value, list | tuple | dict) else "file"


def _area_tables(value: Any) -> Any:
    if isinstance(value, dict):
        raise ValueError("must be a file or several tables; write [[areas]] with double brackets")
    return tuple(value)


class Search(Section):
    """Which scenes to search for."""

    catalog: Annotated[
        Annotated[CatalogName, Tag("name")] | Annotated[CustomCatalog, Tag("table")], Discriminator(_catalog_kind)
    ] = "earth-search"
    """Name of a known catalogue, or a table ``{ url, collection, assets, buckets, offsets }``."""
    datetime: Interval = "2022-01-01/2022-12-31"
    """Period in UTC; both days are included, and ``..`` leaves an end open."""
    max_scene_cloud: Percent = 80
    """Maximum cloud cover of a whole scene, in per cent; scenes without a value are kept."""
    reprocessed: Literal["newest", "all"] = "newest"
    """Which items of a scene count if it was processed several times: the newest, or all."""
    overlaps: Literal["all", "one"] | None = Field(default=None, examples=["one"])
    """Which items count where several show an area in one overpass: all, or the best one. If unset, all, or with
    ``[values]`` the best one."""
    order: Order | None = None
    """Which scenes come first, quarter by quarter; if not set, those that a search returns first."""

    @property
    def period(self) -> Period:
        """The period of ``datetime``."""
        return parse_period(self.datetime)

    def resolve(self) -> Catalog:
        """Return the catalogue: a known one, or that of the table."""
        if isinstance(self.catalog, str):
            return KNOWN[self.catalog]
        table = self.catalog
        offsets = Convention(table.offsets) if table.offsets else None
        return custom(table.url, table.collection, table.assets, table.attribution, table.buckets, offsets)


class Clouds(Section):
    """What counts as a clear area."""

    classes: Classes = (1, 3, 8, 9, 10)
    """SCL classes (1 to 11) that count as cloudy; with an empty list no pixel is cloudy."""
    max_area_cloud: Percent = 2
    """Maximum share of cloudy pixels, in per cent of the area's valid pixels."""
    min_area_valid: Percent = 95
    """Minimum share of pixels with data, in per cent of the area's pixels."""


FORMER_NAMES: Final[Mapping[toml.Key, str]] = {("search", "twins"): "reprocessed"}
"""Settings that had another name in earlier versions, with their present name; `Config.notices` tells the user."""
TABLE: Final = "overview.csv"
"""The table of the saved crops in the output folder; every run overwrites it."""
VALUES_TABLE: Final = "values.csv"
"""The table of values in the output folder; every run with ``[values]`` overwrites it."""


class Output(Section):
    """Which crops to write, and where."""

    folder: FilePath = Field(default=Path("data"), validate_default=True)
    """Output folder; crops are ``<folder>/<area>/<item id>_<asset>.tif``."""
    assets: AssetKeys = ("visual",)
    """Asset keys to crop; with an empty list, a run measures cloud cover and saves no crops."""
    mask: bool = True
    """True sets pixels outside the polygon to nodata; false keeps the whole rectangle."""
    quicklook: bool = False
    """True writes a small PNG beside each crop, ``<item id>_<asset>.png``."""
    reflectance: Literal["published", "harmonised"] = "published"
    """Pixels of reflectance bands: as they are in the files, or without the offset of baseline 04.00 and later."""


class OwnIndex(Section):
    """An index of the user's own."""

    name: OwnName = Field(examples=["MY"])
    """Name of the index in tables."""
    formula: FormulaText = Field(examples=["(nir - red) / (nir + red + 0.5)"])
    """Names of bands, numbers, ``+ - * / **`` and brackets."""


def _index_kind(value: Any) -> str:
    return "table" if isinstance(value, dict | OwnIndex) else "name"


class Values(Section):
    """Statistics of bands and indices for every area and date."""

    bands: BandKeys = ()
    """Keys of reflectance bands, such as ``red``."""
    indices: Annotated[
        tuple[
            Annotated[
                Annotated[IndexName, Tag("name")] | Annotated[OwnIndex, Tag("table")], Discriminator(_index_kind)
            ],
            ...,
        ],
        BeforeValidator(listed),
    ] = ("NDVI",)
    """Names of Awesome Spectral Indices, or tables ``{ name, formula }``; formulas have STAC's names of bands."""
    statistics: Statistics = ("mean", "stdev", "median", "p10", "p90", "min", "max")
    """Statistics of every band and index, beside the counts of pixels; ``p10`` is the tenth percentile."""
    max_area_cloud: Percent = 80
    """A date has values up to this share of cloudy pixels, in per cent of the area's valid pixels."""
    weights: Weights = "centre"
    """Which pixels count: those whose centre lies in the area, or by ``coverage`` all that it touches, each by the
    share that the area covers."""


class Network(Section):
    """How to use the network."""

    origins: Origins = ()
    """Additional origins (``scheme://host[:port]``) that APIs and hrefs may point to; only these may use http."""
    private_origins: Origins = ()
    """Like ``origins``, for your own servers: their names may resolve to private addresses."""
    headers: Headers = {}
    """Headers of searches, sent to the catalogue only; ``env:NAME`` is the value of an environment variable."""
    connections: int = Field(default=64, ge=1, le=256)
    """Maximum concurrent requests to one host, besides up to four searches; a run starts with 8 and adapts."""
    connect_timeout: Seconds = 10
    """Seconds allowed for opening a connection."""
    idle_timeout: Seconds = 30
    """A request fails after this many seconds without receiving a byte."""
    total_timeout: Seconds = 300
    """An attempt at a request fails after this many seconds."""
    attempts: int = Field(default=5, ge=1, le=20)
    """Maximum attempts per request."""
    patience: Seconds = 300
    """Seconds to wait for a host whose requests all fail, trying it now and then; after that the run ends."""

    @property
    def listed(self) -> tuple[str, ...]:
        """All origins that the user lists."""
        return (*self.origins, *self.private_origins)


class Run(Section):
    """How a run uses this machine."""

    state: FilePath = Field(default=Path("data/state.sqlite"), validate_default=True)
    """SQLite file with all results; must be on a local disk."""
    queue: int = Field(default=1000, ge=1, le=1_000_000)
    """Maximum number of jobs that wait between the search and the workers.

    The jobs of a scene go in together: when they are more, they wait alone."""
    memory: Memory = 48 << 20
    """Maximum memory for blocks and pixels: a number of bytes, or a size such as ``48 MiB``. More brings no gain.

    For scenes with many areas, up to half as much again caches blocks that other areas may need. With
    ``[values]``, as much again holds pixels until their statistics are computed."""
    reserve: Size = 256 << 20
    """Disk space to leave free: a number of bytes, or a size such as ``256 MiB``."""
    verify: bool = False
    """True also reads image blocks whole and verifies their checksums."""
    confirm_above: Size = 50 << 30
    """Bytes above which ``run`` asks first, or needs ``--yes``: a number, or a size such as ``50 GiB``."""
    log: FilePath | None = Field(default=None, examples=["s2async.log"])
    """Log file of runs, one JSON object per line; its folder must exist. If unset, no log is written."""


class Config(Section):
    """All settings."""

    areas: Annotated[
        Annotated[FilePath, Tag("file")]
        | Annotated[tuple[InlineArea, ...], BeforeValidator(_area_tables), Tag("tables")],
        Discriminator(_areas_kind),
    ] = Field(examples=["parks.geojson"])
    """GeoJSON, CSV, KML, GeoParquet (extra ``parquet``), any vector file (extra ``vector``), or ``[[areas]]`` with
    name and wkt."""
    name_field: Text = "name"
    """Field or column of the areas file that contains the name of each area."""
    crs: Annotated[str, Field(pattern=r"^[A-Za-z]+:[A-Za-z0-9]+$")] | None = Field(
        default=None, examples=["EPSG:25833"]
    )
    """CRS of the areas, such as ``EPSG:25833``. If unset, the CRS of the file, or else lon/lat in degrees."""
    layer: Text | None = Field(default=None, examples=["fields"])
    """Layer of the areas file; needed only if it has several."""
    encoding: Text | None = Field(default=None, examples=["cp1252"])
    """Encoding of the areas file. If unset, UTF-8 if the text is valid UTF-8, or else what the file declares."""
    invalid: Invalid = "refuse"
    """What happens to areas that cannot be used: ``refuse`` reports them all and stops, ``skip`` leaves them out,
    ``repair`` mends what is smaller than a pixel and refuses the rest."""
    buffer: float | None = Field(default=None, gt=0, le=100_000, examples=[50])
    """Metres by which all areas grow; with it, points and lines are areas, too."""
    columns: Columns | None = Field(default=None, examples=[["crop", "owner"]])
    """Columns of the areas file that are carried into tables and exports. If unset, all but the name."""
    search: Search = Field(default_factory=Search)
    """Which scenes to search for."""
    clouds: Clouds = Field(default_factory=Clouds)
    """What counts as a clear area."""
    output: Output = Field(default_factory=Output)
    """Which crops to write, and where."""
    values: Values | None = Field(default=None, examples=[{"indices": ["NDVI"]}])
    """Statistics of bands and indices for every area and date. If unset, none."""
    network: Network = Field(default_factory=Network)
    """How to use the network."""
    run: Run = Field(default_factory=Run)
    """How a run uses this machine."""

    _source: TomlFile | None = PrivateAttr(default=None)
    _path: Path | None = PrivateAttr(default=None)
    _notices: tuple[str, ...] = PrivateAttr(default=())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read and check a configuration file. Paths in it are relative to its folder; here they become absolute.

        Raises:
            ConfigError: one line: ``<file>:<line>: [section] key: what; what to do``.
        """
        try:
            check_names([path.absolute()])
        except FileNotFoundError:
            raise ConfigError("the current folder no longer exists; change to another one") from None
        config = cls._checked(toml.read(path), folder=path.absolute().parent)
        config._path = path.absolute()
        return config

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """Check settings that are given as a mapping. Paths in it are relative to the current folder.

        Raises:
            ConfigError: one line: ``config: [section] key: what; what to do``.
        """
        return cls._checked(TomlFile(path=Path("config"), data=settings, lines={}), folder=None)

    @classmethod
    def _checked(cls, source: TomlFile, folder: Path | None) -> Self:
        """Check settings; ``folder`` is that of the file, None for a mapping."""
        source, notices = toml.renamed(source, FORMER_NAMES)
        data = dict(source.data)
        if folder is not None:
            data = {"output": {}, "run": {}} | data  # so that their default paths are also resolved here
        try:
            config = cls.model_validate(data, context={"folder": folder} if folder else None)
        except ValidationError as error:
            raise ConfigError(error_message(error, cls, source)) from None
        config._notices = notices
        if folder is not None:
            config._source = source
        return config

    @property
    def notices(self) -> tuple[str, ...]:
        """What the user should change some time, such as settings with former names: one line each."""
        return self._notices

    @property
    def file(self) -> Path | None:
        """The file that it was read from, as the user wrote it; None for a mapping."""
        return self._source.path if self._source else None

    @property
    def path(self) -> Path | None:
        """Absolute path of `file`, which stays valid if the working directory changes."""
        return self._path

    def named_state(self) -> Path | None:
        """The path of the state as the file gives it; of its symbolic links, only those to the file are resolved.

        Returns:
            None for a mapping.
        """
        if self._source is None or self._path is None:
            return None
        written = self._source.data.get("run", {}).get("state", Run.model_fields["state"].default)
        return Path(os.path.realpath(self._path.parent)) / Path(written).expanduser()

    def command(self, name: str) -> str:
        """A command for this configuration, as the user would type it."""
        return f"s2async {name} {shlex.quote(str(self.file)) if self.file else 'CONFIG'}"

    def place(self, *key: str | int) -> str:
        """Where a key is, for messages: ``file:line``, or ``config`` for a mapping."""
        return self._source.place(key) if self._source else "config"

    def check_period(self, now: datetime) -> None:
        """Check that the period can contain scenes: it may not begin after ``now`` or end before the first launch.

        Raises:
            ConfigError: it cannot; one line says why.
        """
        if why := why_empty(self.search.period.start, self.search.period.end, now=now):
            place = self.place("search", "datetime")
            raise ConfigError(f'{place}: [search] datetime: "{one_line(self.search.datetime)}" {why}')

    def cloud_rule(self) -> CloudRule:
        """The rule that decides which areas are clear."""
        clouds = self.clouds
        return SclRule.from_percent(
            classes=clouds.classes, max_cloud=clouds.max_area_cloud, min_valid=clouds.min_area_valid
        )

    def values_rule(self) -> CloudRule | None:
        """The rule that decides which areas and dates have values: those without a verdict. None: no values."""
        if self.values is None:
            return None
        clouds = self.clouds
        return SclRule.from_percent(
            classes=clouds.classes, max_cloud=self.values.max_area_cloud, min_valid=clouds.min_area_valid
        )

    def wanted_values(self) -> Wanted | None:
        """The values that are wanted of every area and date; None for none."""
        return None if self.values is None else wanted(self.values, self.clouds.classes)

    def is_one_per_overpass(self) -> bool:
        """Whether one item of each overpass counts for an area; else all of them do."""
        return (self.search.overlaps or ("all" if self.values is None else "one")) == "one"

    def selection(self) -> Selection:
        """The crops, measurements and values that count."""
        rule = self.cloud_rule()
        return Selection(
            assets=tuple(self.output.assets),
            mask=self.output.mask,
            format="gtiff",
            newest_only=self.search.reprocessed == "newest",
            one_per_overpass=self.is_one_per_overpass(),
            rule=rule.name,
            measured=rule.assets,
            harmonised=self.output.reflectance == "harmonised",
            values=self.wanted_values(),
        )

    def catalog(self) -> Catalog:
        """The catalogue, with the origins that the user lists for its assets."""
        return replace(self.search.resolve(), listed=self.network.listed)

    def allowed_origins(self) -> tuple[str, ...]:
        """All ``scheme://host[:port]`` that may be contacted: of the API, of its assets, and the listed ones."""
        return tuple(dict.fromkeys((self._api(), *self.search.resolve().origins, *self.network.listed)))

    def _api(self) -> str:
        """Origin of the catalogue."""
        return normal_origin(str(URL(self.search.resolve().url).origin()))

    def api_headers(self) -> Mapping[str, Mapping[str, str]]:
        """Headers of searches by origin: those of ``headers``, for the origin of the catalogue only.

        Raises:
            ConfigError: one is to be read from an environment variable that is missing, or cannot be sent.
        """
        try:
            found = headers.resolved(self.network.headers, os.environ)
        except ValueError as error:
            raise ConfigError(f"{self.place('network', 'headers')}: [network] headers: {error}") from None
        return {self._api(): found} if found else {}

    def client_settings(self, *, searches: bool = True) -> ClientSettings:
        """Settings of the client for all servers that may be contacted.

        Args:
            searches: whether the catalogue will be searched, which may need headers from the environment.

        Raises:
            ConfigError: as for :meth:`api_headers`.
        """
        network = self.network.model_dump(exclude={"origins", "private_origins", "headers"})
        return ClientSettings(
            origins=self.allowed_origins(),
            private_origins=self.network.private_origins,
            api_headers=self.api_headers() if searches else {},
            **network,
        )

    @model_validator(mode="after")
    def _sections_agree(self) -> Self:
        catalog = self.search.catalog
        if isinstance(catalog, CustomCatalog):
            buckets = ((("search", "catalog", "buckets", name), url) for name, url in catalog.buckets.items())
            for key, url in ((("search", "catalog", "url"), catalog.url), *buckets):
                origin = str(URL(url).origin())
                if not origin.startswith("https:") and origin not in self.network.listed:
                    raise Misplaced(
                        key, f'is not https; use https, or add "{origin}" to origins in [network] if you trust it'
                    )
        if self.run.state == self.output.folder:
            raise Misplaced(
                ("run", "state"), "is the output folder itself; name a file, such as data/state.sqlite"
            )
        if self.run.log is not None and self.output.folder in self.run.log.parent.parents:
            raise Misplaced(("run", "log"), "is in a folder of crops; name a file elsewhere, such as s2async.log")
        tables = [self.output.folder / name for name in (TABLE, VALUES_TABLE)]
        named = ((("areas",), self.areas), (("run", "state"), self.run.state), (("run", "log"), self.run.log))
        for key, path in named:
            if path in tables:
                raise Misplaced(key, "is the table that every run overwrites; name another file")
        if self.values is not None and (wrong := fault(self.values)):
            raise Misplaced(("values", "indices"), wrong)
        return self
