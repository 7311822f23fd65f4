"""The settings: one TOML file as frozen, checked values.

A config is believed only as a whole. Whatever is wrong with it is told in one line, with the place, what is wrong
and what to do, before a single request is made. Nothing is guessed: text is not taken for a number, ``true`` not
for 1, and an unknown key is refused with the nearest known one.
"""

from __future__ import annotations

import json
import os.path
import re
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

from s2async.catalog.items import COPERNICUS, KNOWN, Catalog, custom
from s2async.catalog.periods import why_empty
from s2async.clouds import Limits
from s2async.config import toml
from s2async.config.messages import Misplaced, complaint
from s2async.config.toml import TomlFile
from s2async.config.types import (
    Address,
    AssetKeys,
    AssetNames,
    CatalogName,
    Classes,
    FilePath,
    Interval,
    Memory,
    Origins,
    Percent,
    Period,
    Seconds,
    Size,
    Text,
    normal_origin,
    parse_period,
)
from s2async.errors import ConfigError
from s2async.files import check_names
from s2async.models import Selection
from s2async.text import one_line

# ---- sections ---------------------------------------------------------------------------------------------


class Section(BaseModel):
    """A table of the config: frozen, strict, without unknown keys."""

    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )


class InlineArea(Section):
    """One ``[[areas]]`` table."""

    name: Text = Field(examples=["Tiergarten"])
    """Names its folder and its rows."""
    wkt: Text = Field(examples=["POLYGON ((lon lat, ...))"])
    """POLYGON or MULTIPOLYGON in lon lat degrees, or in ``crs``."""


class CustomCatalog(Section):
    """A STAC API that is not among the known ones."""

    url: Address = Field(examples=["https://stac.example.org/v1"])
    """Root of the API; https unless its origin is listed in ``[network] origins``."""
    collection: Text = Field(examples=["sentinel-2-l2a"])
    """Collection of Sentinel-2 L2A scenes."""
    assets: AssetNames = {"scl": "scl"}
    """Our asset key to the item's; a key that is not named is the same in both."""
    attribution: Text = COPERNICUS
    """Where the pixels come from, for the crops' tags; ``{year}`` stands for the year of sensing."""


def _catalog_kind(value: Any) -> str:
    return "table" if isinstance(value, dict | CustomCatalog) else "name"


def _areas_kind(value: Any) -> str:
    return "tables" if isinstance(value, list | tuple | dict) else "file"


def _area_tables(value: Any) -> Any:
    if isinstance(value, dict):
        raise ValueError("must be a file or several tables; write [[areas]] with double brackets")
    return tuple(value)


class Search(Section):
    """Which scenes are looked at."""

    catalog: Annotated[
        Annotated[CatalogName, Tag("name")] | Annotated[CustomCatalog, Tag("table")], Discriminator(_catalog_kind)
    ] = "earth-search"
    """A known name, or a table ``{ url, collection, assets }``."""
    datetime: Interval = "2022-01-01/2022-12-31"
    """Period in UTC, both days included; ``..`` leaves an end open."""
    max_scene_cloud: Percent = 80
    """Per cent of the whole scene: a first sieve; scenes without a value are kept."""
    reprocessed: Literal["newest", "all"] = "newest"
    """Which items of a scene that was processed several times: the newest, or all."""

    @property
    def period(self) -> Period:
        """What ``datetime`` says."""
        return parse_period(self.datetime)

    def resolve(self) -> Catalog:
        """Describe the catalogue that is meant: a known one, or the table's."""
        if isinstance(self.catalog, str):
            return KNOWN[self.catalog]
        table = self.catalog
        return custom(table.url, table.collection, table.assets, table.attribution)


class Clouds(Section):
    """What counts as a clear area."""

    classes: Classes = (1, 3, 8, 9, 10)
    """SCL classes (1 to 11) that spoil a picture; an empty list: none does."""
    max_area_cloud: Percent = 2
    """Per cent of the area's valid pixels, inclusive."""
    min_area_valid: Percent = 95
    """Per cent of the area's pixels that hold data, inclusive."""


FORMER_NAMES: Final[Mapping[toml.Key, str]] = {("search", "twins"): "reprocessed"}
"""Settings that had another name in earlier versions, with their present name; `Config.notices` tells the user."""
TABLE: Final = "overview.csv"
"""The table of the saved crops, in the output folder, which every run writes anew."""


class Output(Section):
    """What is written, and where."""

    folder: FilePath = Field(default=Path("data"), validate_default=True)
    """Crops go to ``<folder>/<area>/<item id>_<asset>.tif``."""
    assets: AssetKeys = ("visual",)
    """Asset keys of the item that are cropped; an empty list measures only."""
    mask: bool = True
    """True: outside the polygon is nodata; false keeps the rectangle."""
    quicklook: bool = False
    """True: with each crop that is written a small PNG of it, ``<item id>_<asset>.png``, to look at."""


class Network(Section):
    """How servers are asked."""

    origins: Origins = ()
    """More ``scheme://host[:port]`` that an API or an href may point to; https unless listed here."""
    private_origins: Origins = ()
    """The same for servers of your own, whose names may stand for addresses of a private network."""
    connections: int = Field(default=64, ge=1, le=256)
    """Most requests under way at once to one host; a run begins with 8 and finds out how many the host bears."""
    connect_timeout: Seconds = 10
    """Seconds to get a connection."""
    idle_timeout: Seconds = 30
    """Seconds without a byte."""
    total_timeout: Seconds = 300
    """Seconds for one try of a request."""
    attempts: int = Field(default=5, ge=1, le=20)
    """Tries of one request."""
    patience: Seconds = 300
    """Seconds that a host which only fails is left alone and tried now and then; after them the run ends."""

    @property
    def listed(self) -> tuple[str, ...]:
        """All origins that the user listed."""
        return (*self.origins, *self.private_origins)


class Run(Section):
    """How a run works on this machine."""

    state: FilePath = Field(default=Path("data/state.sqlite"), validate_default=True)
    """File that remembers what is done; must be on a local disk."""
    queue: int = Field(default=1000, ge=1, le=1_000_000)
    """Jobs that wait between search and workers."""
    memory: Memory = 48 << 20
    """Bytes of tiles and pixels in memory at once; a number, or a size such as ``48 MiB``. More gains nothing.

    Where scenes have many areas, up to half as much is kept beyond that, of tiles that others may want."""
    reserve: Size = 256 << 20
    """Bytes of free disk that are never used up; a number, or a size such as ``256 MiB``."""
    verify: bool = False
    """True: whole tiles of pictures are read, too, and their streams' checksums checked."""
    confirm_above: Size = 50 << 30
    """Bytes above which ``run`` asks, or wants ``--yes``: a number, or a size such as ``50 GiB``."""
    log: FilePath | None = Field(default=None, examples=["s2async.log"])
    """File that the run logs to, one JSON object a line; in an existing folder. Unset: no log."""


class Config(Section):
    """All settings of a run."""

    areas: Annotated[
        Annotated[FilePath, Tag("file")]
        | Annotated[tuple[InlineArea, ...], BeforeValidator(_area_tables), Tag("tables")],
        Discriminator(_areas_kind),
    ] = Field(examples=["parks.geojson"])
    """GeoJSON, CSV with a wkt column, any vector file (extra ``vector``); or ``[[areas]]`` with name and wkt."""
    name_field: Text = "name"
    """Field or column of the areas file that holds an area's name."""
    crs: Annotated[str, Field(pattern=r"^[A-Za-z]+:[A-Za-z0-9]+$")] | None = Field(
        default=None, examples=["EPSG:25833"]
    )
    """CRS of the areas such as ``EPSG:25833``, whatever their file says; unset: the file's own, else lon/lat."""
    search: Search = Field(default_factory=Search)
    """Which scenes are looked at."""
    clouds: Clouds = Field(default_factory=Clouds)
    """What counts as a clear area."""
    output: Output = Field(default_factory=Output)
    """What is written, and where."""
    network: Network = Field(default_factory=Network)
    """How servers are asked."""
    run: Run = Field(default_factory=Run)
    """How a run works on this machine."""

    _source: TomlFile | None = PrivateAttr(default=None)
    _path: Path | None = PrivateAttr(default=None)
    _notices: tuple[str, ...] = PrivateAttr(default=())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read and check a config file. Paths in it are relative to its folder, and absolute from here on.

        Raises:
            ConfigError: one line: ``<file>:<line>: [section] key: what; what to do``.
        """
        try:
            check_names([path.absolute()])
        except FileNotFoundError:
            raise ConfigError("the current folder is no longer there; change to another one") from None
        config = cls._checked(toml.read(path), folder=path.absolute().parent)
        config._path = path.absolute()
        return config

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """Check settings that are given as a mapping; paths in it are relative to the current folder.

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
            data = {"output": {}, "run": {}} | data  # so that their default paths are resolved here, too
        try:
            config = cls.model_validate(data, context={"folder": folder} if folder else None)
        except ValidationError as error:
            raise ConfigError(complaint(error, cls, source)) from None
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
        """The file that it was read from, as the user named it; None when it was given as a mapping."""
        return self._source.path if self._source else None

    @property
    def path(self) -> Path | None:
        """The same as `file`, absolute: whatever folder is the current one by now."""
        return self._path

    def named_state(self) -> Path | None:
        """The state's place as the file names it: only the symbolic links to the file itself are followed.

        Returns:
            None when it was given as a mapping.
        """
        if self._source is None or self._path is None:
            return None
        written = self._source.data.get("run", {}).get("state", Run.model_fields["state"].default)
        return Path(os.path.realpath(self._path.parent)) / Path(written).expanduser()

    def command(self, name: str) -> str:
        """A command about this job, as one types it."""
        return f"s2async {name} {shlex.quote(str(self.file)) if self.file else 'CONFIG'}"

    def place(self, *key: str | int) -> str:
        """Name the place of a key for people: ``file:line``, or ``config`` when it was not read from a file."""
        return self._source.place(key) if self._source else "config"

    def check_period(self, now: datetime) -> None:
        """Refuse a period that cannot hold a scene: it begins after ``now``, or ends before Sentinel-2's launch.

        Raises:
            ConfigError: what is wrong with it, in one line.
        """
        if why := why_empty(self.search.period.start, self.search.period.end, now=now):
            place = self.place("search", "datetime")
            raise ConfigError(f'{place}: [search] datetime: "{one_line(self.search.datetime)}" {why}')

    def limits(self) -> Limits:
        """The cloud limits."""
        told = self.clouds
        return Limits.from_percent(
            classes=told.classes, max_cloud=told.max_area_cloud, min_valid=told.min_area_valid
        )

    def selection(self) -> Selection:
        """The crops that count."""
        return Selection(
            assets=tuple(self.output.assets),
            mask=self.output.mask,
            format="gtiff",
            newest_only=self.search.reprocessed == "newest",
        )

    def catalog(self) -> Catalog:
        """Describe the catalogue that is meant, and whom its assets may be on."""
        return replace(self.search.resolve(), listed=self.network.listed)

    def allowed_origins(self) -> tuple[str, ...]:
        """List every ``scheme://host[:port]`` that may be asked: the API's, its assets', and the listed ones."""
        catalog = self.search.resolve()
        api = normal_origin(str(URL(catalog.url).origin()))
        return tuple(dict.fromkeys((api, *catalog.origins, *self.network.listed)))

    @model_validator(mode="after")
    def _sections_agree(self) -> Self:
        catalog = self.search.catalog
        if isinstance(catalog, CustomCatalog):
            origin = str(URL(catalog.url).origin())
            if not origin.startswith("https:") and origin not in self.network.listed:
                raise Misplaced(
                    ("search", "catalog", "url"),
                    f'is not https; use https, or add "{origin}" to origins in [network] if you trust it',
                )
        if self.run.state == self.output.folder:
            raise Misplaced(
                ("run", "state"), "is the output folder itself; name a file, such as data/state.sqlite"
            )
        if self.run.log is not None and self.output.folder in self.run.log.parent.parents:
            raise Misplaced(("run", "log"), "is in a folder of crops; name a file elsewhere, such as s2async.log")
        index = self.output.folder / TABLE
        named = ((("areas",), self.areas), (("run", "state"), self.run.state), (("run", "log"), self.run.log))
        for key, path in named:
            if path == index:
                raise Misplaced(key, "is the table that every run writes anew; name another file")
        return self


# ---- the example ------------------------------------------------------------------------------------------


def _example() -> str:
    """The text of config.example.toml: in the package's folder in a wheel, at the top level in a work tree."""
    name, here = "config.example.toml", Path(__file__).resolve().parents[1]
    path = here / name
    return (path if path.is_file() else here.parent / name).read_text(encoding="utf-8")


EXAMPLE: Final = _example()
"""The commented config that ``s2async init`` writes: nine parks of Berlin, 2022, Earth Search."""


def render(
    *,
    catalog_url: str,
    origin: str,
    collection: str = "sentinel-2-l2a",
    assets: Mapping[str, str] | None = None,
    attribution: str = COPERNICUS,
) -> str:
    """Point the example at another catalogue; every other word of it stays.

    Args:
        catalog_url: root of a STAC API.
        origin: ``scheme://host[:port]`` that the API and its assets live on.
        collection: collection in it.
        assets: our asset key to the item's; scl and visual under their own names by default.
        attribution: where its pixels come from; ``{year}`` stands for the year of sensing.
    """
    names = assets or {"scl": "scl", "visual": "visual"}
    entries = {
        "url": _quoted(catalog_url),
        "collection": _quoted(collection),
        "assets": _inline({key: _quoted(value) for key, value in names.items()}),
    }
    if attribution != COPERNICUS:
        entries["attribution"] = _quoted(attribution)
    text = EXAMPLE
    for key, value in (("catalog", _inline(entries)), ("origins", f"[{_quoted(origin)}]")):
        line = f"{key} = {value}".replace("\\", r"\\")
        text, count = re.subn(rf"(?m)^{key} = .*?(?=\s+#|$)", line, text)
        if count != 1:
            raise ValueError(f"the example has {count} lines that set {key}")
    return text


def with_areas(file: str) -> str:
    """The example with a file of areas in place of its parks.

    Args:
        file: as it will stand in the configuration: relative to that, or absolute.
    """
    text = EXAMPLE.partition("\n[[areas]]")[0]
    about = '# GeoJSON, CSV with a wkt column, any vector file (extra "vector")'
    text = re.sub(r"(?m)^# Here: .*$", "# The year 2022, from Earth Search.", text)
    return re.sub(r"(?m)^# areas = .*$", lambda _: f"areas = {_quoted(file)}  {about}", text)


def with_places(text: str, name: str) -> str:
    """A text of `EXAMPLE` with a folder and a state of its own: two configurations side by side share none then.

    Args:
        text: the example, or what `with_areas` made of it.
        name: of the folder, beside the configuration.
    """
    for old, new in (
        ('folder = "data"', f"folder = {_quoted(name)}"),
        ('state = "data/state.sqlite"', f"state = {_quoted(f'{name}/state.sqlite')}"),
    ):
        before, found, after = text.partition(f"\n{old}")
        if not found:
            raise ValueError(f"the example does not say {old}")
        comment = after.lstrip(" ")
        width = len(old) + len(after) - len(comment)  # comments stay where they are
        text = f"{before}\n{new.ljust(width - 1)} {comment}"
    return text


def _inline(entries: Mapping[str, str]) -> str:
    return "{ " + ", ".join(f"{key} = {value}" for key, value in entries.items()) + " }"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
