"""The tables of the TOML file, each a frozen value: every setting with its type, its default and what it means.

The settings above all tables, and values derived from several tables, are in :mod:`s2async.config.model`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

from s2async.catalog.providers import COPERNICUS, KNOWN, Catalog, custom
from s2async.clouds import scl
from s2async.config import toml
from s2async.config.headers import Headers
from s2async.config.types import (
    Address,
    AssetKeys,
    AssetNames,
    Buckets,
    CatalogName,
    Classes,
    Day,
    FilePath,
    Interval,
    Memory,
    Origins,
    Percent,
    Period,
    Seconds,
    Size,
    Text,
    listed,
    parse_period,
)
from s2async.config.values import BandKeys, FormulaText, IndexName, OwnName, Statistics
from s2async.models import Order
from s2async.reflectance.decision import Convention
from s2async.zonal.wanted import Weights

FORMER_NAMES: Final[Mapping[toml.Key, str]] = {("search", "twins"): "reprocessed"}
"""Settings that had another name in earlier versions, with their present name; `Config.notices` tells the user."""
TABLE: Final = "overview.csv"
"""The table of the saved crops in the output folder; every run overwrites it."""
VALUES_TABLE: Final = "values.csv"
"""The table of values in the output folder; every run with ``[values]`` overwrites it."""


class Section(BaseModel):
    """A table of the configuration: frozen, strict, and without unknown keys."""

    # use_attribute_docstrings is off: pydantic would parse this source again, a third of the import time
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class InlineArea(Section):
    """One ``[[areas]]`` table."""

    name: Text = Field(examples=["Tiergarten"])
    """Name of the area, for its folder and in tables."""
    wkt: Text = Field(examples=["POLYGON ((lon lat, ...))"])
    """POLYGON or MULTIPOLYGON, in degrees (lon lat) or in ``crs``; with ``buffer``, also a point or a line."""
    valid_from: Day | None = Field(default=None, examples=["2024-04-01"])
    """First day of the area's season, UTC. If unset, the season has no beginning."""
    valid_to: Day | None = Field(default=None, examples=["2024-09-30"])
    """Last day of the area's season, UTC. If unset, the season has no end."""


class CustomCatalog(Section):
    """A STAC API that s2async does not know by name."""

    url: Address = Field(examples=["https://stac.example.org/v1"])
    """Root of the API; must be https unless ``[network] origins`` lists its origin."""
    collection: Text = Field(examples=["sentinel-2-l2a"])
    """Id of a collection of Sentinel-2 L2A scenes."""
    assets: AssetNames = {scl.ASSET: scl.ASSET}
    """Maps the asset keys of s2async to those of the items; keys that are not listed are the same."""
    attribution: Text = COPERNICUS
    """Source of the pixels, for the tags of the crops; ``{year}`` stands for the year of sensing."""
    buckets: Buckets = {}
    """S3 buckets that are public over http(s), with their URL; hrefs ``s3://<bucket>/...`` are read from there."""
    offsets: Literal["earth-search", "esa", "none"] | None = None
    """What the files do with the offset of processing baseline 04.00 and later: subtract it, as Earth Search does,
    keep it, as ESA does, or never have one. If unset, this follows from the bucket of each href, if it is a known
    one."""


def _catalog_kind(value: Any) -> str:
    return "table" if isinstance(value, dict | CustomCatalog) else "name"


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
    """Which items of a scene to use if it was processed several times: the newest, or all."""
    overlaps: Literal["all", "one"] | None = Field(default=None, examples=["one"])
    """Which items to use if several show an area in one overpass: all, or only the best one. If unset, the best
    one with ``[values]``, otherwise all."""
    order: Order | None = None
    """Which scenes come first, quarter by quarter. If unset, scenes come in the order of the search results."""

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
    """Maximum percentage of the area's valid pixels that may be cloudy."""
    min_area_valid: Percent = 95
    """Minimum percentage of the area's pixels that must have data."""


class Output(Section):
    """Which crops to write, and where."""

    folder: FilePath = Field(default=Path("data"), validate_default=True)
    """Output folder; crops are ``<folder>/<area>/<item id>_<asset>.tif``."""
    assets: AssetKeys = ("visual",)
    """Asset keys to crop; with an empty list, a run measures cloud cover and saves no crops."""
    mask: bool = True
    """True sets pixels outside the polygon to nodata; false keeps the whole rectangle."""
    quicklook: bool = False
    """True writes a small PNG next to each crop, ``<item id>_<asset>.png``."""
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
    """Names from the Awesome Spectral Indices catalogue, or tables ``{ name, formula }``; formulas use STAC's
    names of bands."""
    statistics: Statistics = ("mean", "stdev", "median", "p10", "p90", "min", "max")
    """Statistics of every band and index; pixel counts are always included. Percentiles are ``p10`` and the like,
    from ``p0`` to ``p100``."""
    max_area_cloud: Percent = 80
    """Values are computed for a date if at most this percentage of the area's valid pixels is cloudy."""
    weights: Weights = "centre"
    """Which pixels count: with ``centre``, those whose centre lies in the area; with ``coverage``, all that the
    area touches, each weighted by the fraction that the area covers."""


class Network(Section):
    """How to use the network."""

    origins: Origins = ()
    """Additional origins (``scheme://host[:port]``) that may be contacted for the API or for hrefs; http is
    allowed only for origins listed here or in ``private_origins``."""
    private_origins: Origins = ()
    """Like ``origins``, for your own servers: unlike other hosts, these may resolve to private addresses."""
    headers: Headers = {}
    """Additional headers of search requests, sent to the catalogue only; ``env:NAME`` is the value of an
    environment variable."""
    connections: int = Field(default=64, ge=1, le=4096)
    """Maximum concurrent requests to one host, in addition to at most four concurrent searches; a run starts with
    8 and adapts. One process never sends more than 256; a higher limit is useful only for a cluster, whose workers
    share it."""
    connect_timeout: Seconds = 10
    """Seconds allowed for opening a connection."""
    idle_timeout: Seconds = 30
    """An attempt fails if no byte arrives for this many seconds."""
    total_timeout: Seconds = 300
    """Maximum duration of one attempt, in seconds."""
    attempts: int = Field(default=5, ge=1, le=20)
    """Maximum attempts per request."""
    patience: Seconds = 300
    """If all requests to a host fail, the run retries for this many seconds and then ends."""

    @property
    def listed(self) -> tuple[str, ...]:
        """All origins that the user lists."""
        return (*self.origins, *self.private_origins)


class Run(Section):
    """How a run uses this machine."""

    state: FilePath = Field(default=Path("data/state.sqlite"), validate_default=True)
    """SQLite file that records all results; must be on a local disk."""
    queue: int = Field(default=1000, ge=1, le=1_000_000)
    """Maximum number of jobs found by searches that wait to be processed.

    The jobs of a scene enter the queue together; if there are more of them than this, they wait alone."""
    memory: Memory = 48 << 20
    """Maximum memory for blocks and pixels: a number of bytes, or a size such as ``48 MiB``. More gives no gain.

    For scenes with many areas, up to half as much again is used to cache blocks that other areas may need. With
    ``[values]``, as much again is used for pixels until their statistics are computed."""
    reserve: Size = 256 << 20
    """Disk space to leave free: a number of bytes, or a size such as ``256 MiB``."""
    verify: bool = False
    """True reads image blocks in full and verifies their checksums, as is always done for the classification."""
    confirm_above: Size = 50 << 30
    """Bytes above which ``run`` asks for confirmation or, without a terminal, needs ``--yes``: a number, or a size
    such as ``50 GiB``."""
    log: FilePath | None = Field(default=None, examples=["s2async.log"])
    """Log file of runs, one JSON object per line; its folder must exist. If unset, no log is written."""
