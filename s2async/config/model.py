"""The settings: one TOML file, checked and frozen.

A configuration is valid as a whole or not at all. Whatever is wrong is reported before the first request, in one
line: where, what, and what to do. Nothing is guessed: text is not converted to a number, nor ``true`` to 1, and an
unknown key is an error that names the nearest known one. The tables of the file are in
:mod:`s2async.config.sections`; this module has the complete configuration and the values derived from it.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Discriminator, Field, PrivateAttr, Tag, ValidationError, model_validator
from yarl import URL

from s2async.catalog.periods import why_empty
from s2async.catalog.providers import Catalog
from s2async.clouds.rule import CloudRule
from s2async.clouds.scl import SclRule
from s2async.config import headers, toml
from s2async.config.messages import Misplaced, error_message
from s2async.config.sections import (
    FORMER_NAMES,
    TABLE,
    VALUES_TABLE,
    Clouds,
    CustomCatalog,
    InlineArea,
    Network,
    Output,
    Run,
    Search,
    Section,
    Values,
)
from s2async.config.toml import TomlFile
from s2async.config.types import Columns, FilePath, Invalid, Text, normal_origin
from s2async.config.values import fault, wanted
from s2async.errors import ConfigError
from s2async.files import check_names
from s2async.models import Selection
from s2async.net.settings import ClientSettings
from s2async.reflectance.decision import is_reflectance
from s2async.text import one_line
from s2async.zonal.wanted import Wanted


def _areas_kind(value: Any) -> str:
    return "tables" if isinstance(value, list | tuple | dict) else "file"


def _area_tables(value: Any) -> Any:
    if isinstance(value, dict):
        raise ValueError("must be a file or several tables; write [[areas]] with double brackets")
    return tuple(value)


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
    """Encoding of the areas file. If unset, UTF-8 if the file is valid UTF-8, otherwise what the file declares."""
    invalid: Invalid = "refuse"
    """What happens to areas that cannot be used: ``refuse`` reports them all and stops, ``skip`` leaves them out,
    ``repair`` fixes defects that are smaller than a pixel and refuses the rest."""
    buffer: float | None = Field(default=None, gt=0, le=100_000, examples=[50])
    """Distance in metres by which to enlarge all areas; needed for points and lines."""
    columns: Columns | None = Field(default=None, examples=[["crop", "owner"]])
    """Columns of the areas file to include in tables and exports. If unset, all but the name."""
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
        """Read and check a configuration file. Paths in it are relative to its folder, and become absolute.

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
        if folder is not None:
            config._source = source
        config._notices = (*notices, *config._misnamed_bands())
        return config

    def _misnamed_bands(self) -> Iterator[str]:
        """Yield a line for each reflectance band that is cropped under a name by which it is not known as one."""
        catalog = self.search.catalog
        for key, name in catalog.assets.items() if isinstance(catalog, CustomCatalog) else ():
            if key in self.output.assets and is_reflectance(name) and not is_reflectance(key):
                place = self.place("search", "catalog", "assets")
                yield (
                    f'{place}: [search] catalog.assets: "{one_line(key)}" is no name of a reflectance band, so '
                    f'the offset of {one_line(name)} is ignored; call it "{one_line(name)}", or by its name in '
                    'STAC, such as "red"'
                )

    @property
    def notices(self) -> tuple[str, ...]:
        """What the user should change in the long run, such as settings with former names: one line each."""
        return self._notices

    @property
    def file(self) -> Path | None:
        """The file that the configuration was read from, as the user wrote it; None for a mapping."""
        return self._source.path if self._source else None

    @property
    def path(self) -> Path | None:
        """Absolute path of `file`, which stays valid if the working directory changes."""
        return self._path

    def named_state(self) -> Path | None:
        """Return the path of the state as the file gives it; only symbolic links to the file are resolved.

        Returns:
            None for a mapping.
        """
        if self._source is None or self._path is None:
            return None
        written = self._source.data.get("run", {}).get("state", Run.model_fields["state"].default)
        return Path(os.path.realpath(self._path.parent)) / Path(written).expanduser()

    def command(self, name: str) -> str:
        """Return a command for this configuration, as the user would type it."""
        return f"s2async {name} {shlex.quote(str(self.file)) if self.file else 'CONFIG'}"

    def place(self, *key: str | int) -> str:
        """Return where a key is, for messages: ``file:line``, or ``config`` for a mapping."""
        return self._source.place(key) if self._source else "config"

    def check_period(self, now: datetime) -> None:
        """Check that the period can contain scenes: it may not begin after ``now`` or end before the first launch.

        Raises:
            ConfigError: it cannot; the message says why in one line.
        """
        if why := why_empty(self.search.period.start, self.search.period.end, now=now):
            place = self.place("search", "datetime")
            raise ConfigError(f'{place}: [search] datetime: "{one_line(self.search.datetime)}" {why}')

    def cloud_rule(self) -> CloudRule:
        """Return the rule that decides which areas are clear."""
        clouds = self.clouds
        return SclRule.from_percent(
            classes=clouds.classes, max_cloud=clouds.max_area_cloud, min_valid=clouds.min_area_valid
        )

    def values_rule(self) -> CloudRule | None:
        """Return the rule that decides which areas and dates have values: those without a verdict.

        Returns:
            None if no values are wanted.
        """
        if self.values is None:
            return None
        clouds = self.clouds
        return SclRule.from_percent(
            classes=clouds.classes, max_cloud=self.values.max_area_cloud, min_valid=clouds.min_area_valid
        )

    def wanted_values(self) -> Wanted | None:
        """Return the values that are wanted for every area and date; None if there are none."""
        return None if self.values is None else wanted(self.values, self.clouds.classes)

    def is_one_per_overpass(self) -> bool:
        """Return whether one item of each overpass counts for an area; otherwise, all of them do."""
        return (self.search.overlaps or ("all" if self.values is None else "one")) == "one"

    def selection(self) -> Selection:
        """Return the crops, measurements and values that count."""
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
        """Return the catalogue, with the origins that the user lists for its assets."""
        return replace(self.search.resolve(), listed=self.network.listed)

    def allowed_origins(self) -> tuple[str, ...]:
        """Return all ``scheme://host[:port]`` that may be contacted: of the API, its assets, and listed ones."""
        return tuple(dict.fromkeys((self._api(), *self.search.resolve().origins, *self.network.listed)))

    def _api(self) -> str:
        """Return the origin of the catalogue."""
        return normal_origin(str(URL(self.search.resolve().url).origin()))

    def api_headers(self) -> Mapping[str, Mapping[str, str]]:
        """Return headers of searches by origin: those of ``headers``, for the origin of the catalogue only.

        Raises:
            ConfigError: a header refers to an environment variable that is missing, or cannot be sent.
        """
        try:
            found = headers.resolved(self.network.headers, os.environ)
        except ValueError as error:
            raise ConfigError(f"{self.place('network', 'headers')}: [network] headers: {error}") from None
        return {self._api(): found} if found else {}

    def client_settings(self, *, searches: bool = True) -> ClientSettings:
        """Return the settings of the client for all servers that may be contacted.

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
