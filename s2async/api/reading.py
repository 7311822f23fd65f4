"""Reads what a run has saved from the disk: crops as arrays, and the table of values."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from s2async.api.settings import ConfigLike, load_config
from s2async.clouds.shares import cloud_percent
from s2async.cog import gdal
from s2async.cog.tiff import Layout
from s2async.config.model import Config
from s2async.errors import ConfigError, CorruptFile, LocalError
from s2async.export import values as value_tables
from s2async.maintenance.guards import opened
from s2async.models import Attribute
from s2async.reflectance import convert
from s2async.reflectance.decision import QUANTIFICATION, is_reflectance
from s2async.state.reader import Ledger
from s2async.state.records import SavedRow
from s2async.text import one_line

NAMED = 10
"""Maximum number of areas that a message names."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CropArray:
    """A saved crop, read from its file."""

    pixels: NDArray[np.generic]
    """(bands, rows, columns), in the dtype of the file."""
    transform: Affine
    """From (column, row) of pixel corners to coordinates of the CRS."""
    epsg: int
    nodata: float | None
    area: str
    item: str
    asset: str
    datetime: datetime
    """Sensing time, UTC, timezone-aware."""
    platform: str
    grid: str
    """MGRS grid square such as ``33UUU``."""
    scene_cloud: float | None
    """Cloud cover of the whole scene in per cent according to the catalogue; None if unknown."""
    area_cloud: float | None
    """Share of the area's valid pixels that are cloudy, in per cent; None if it was not measured."""
    path: Path
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    """Values of the areas' own columns, as in the areas' file; and the first and last day of the area's season, if
    it has one, as ``valid_from`` and ``valid_to``."""
    scale: float | None = None
    """Value of a pixel = scale * pixel + offset: reflectance, for reflectance bands; None if unknown."""
    offset: float | None = None
    """See ``scale``; None if unknown."""
    offset_basis: str = ""
    """For reflectance bands, how the offset was determined, such as ``flag``; otherwise the empty string."""
    offset_doubt: str = ""
    """For reflectance bands, what contradicts the offset; the empty string if nothing does."""

    @property
    def reflectance(self) -> NDArray[np.float64]:
        """Return surface reflectance (bands, rows, columns), NaN where there is no data.

        Raises:
            ConfigError: this is not a crop of a reflectance band, or its offset is unknown.
        """
        if not is_reflectance(self.asset):
            raise ConfigError(f"{self.asset} is no reflectance band, such as red or nir: {self.path}")
        if self.offset is None:
            raise ConfigError(
                f"the offset of {self.path} is unknown, so its pixels mean no reflectance: say offsets = ... in "
                "the table catalog of [search], or for crops of an earlier version run s2async verify"
            )
        if np.issubdtype(self.pixels.dtype, np.floating):  # no DN: reflectance itself, or what its scale says
            found = self.pixels.astype(np.float64) * (self.scale or 1.0) + self.offset
        else:
            found = convert.reflectance(self.pixels, round(self.offset * QUANTIFICATION))
        if self.nodata is not None:
            found[self.pixels == self.nodata] = np.nan
        return found


def read(
    config: ConfigLike, *, area: str | None = None, item: str | None = None, asset: str | None = None
) -> Iterator[CropArray]:
    """Yield the saved crops as arrays, sorted by area, then time. Only the local disk is read, crop by crop.

    Args:
        config: settings of a run that has ended or is in progress.
        area: name of the only area to read.
        item: id of the only item to read.
        asset: key of the only asset to read.

    Raises:
        ConfigError: the configuration cannot be used, there has been no run yet, the state or the output folder
            belongs to another configuration, the last run had no such area, no such asset is configured or saved,
            or an argument is a list.
        StateError: the state cannot be used.
        LocalError: a crop is missing or cannot be read.
        CorruptFile: a crop is damaged.

    Example::

        for crop in s2async.read("fields.toml", area="North field", asset="visual"):
            print(crop.datetime, crop.pixels.shape, crop.area_cloud, crop.attributes)
    """
    check_single(area=area, item=item, asset=asset)
    settings = load_config(config)
    spoilt, found = settings.cloud_rule().spoilt, False
    with opened(settings) as ledger:
        for row in ledger.saved_rows(settings.selection(), area=area):
            if item in (None, row.item) and asset in (None, row.asset):
                found = True
                path = settings.output.folder / row.folder / row.file
                yield _read_crop(path, row, spoilt)
        if not found:
            _check_known(ledger, settings, area, asset)


def values(config: ConfigLike, *, area: str | None = None, wide: bool = False) -> Any:
    """Read the values of all areas: a row for each area, date, and band or index, sorted by area, then time.

    Args:
        config: settings of a run that has ended or is in progress, with ``[values]``.
        area: name of the only area to read.
        wide: return one row for each area and date instead, with columns such as ``NDVI_mean``; needs pyarrow.

    Returns:
        A pyarrow table, whose ``to_pandas()`` returns a data frame; without pyarrow (extra ``parquet``), a list of
        `ValueRow`.

    Raises:
        ConfigError: the configuration cannot be used or requests no values, there has been no run yet, the state
            or the output folder belongs to another configuration, or the last run had no such area.
        StateError: the state cannot be used.

    Example::

        table = s2async.values("fields.toml").to_pandas()
        ndvi = table[table.name == "NDVI"].pivot(index="date", columns="area", values="mean")
    """
    check_single(area=area)
    settings = load_config(config)
    with opened(settings) as ledger:
        found = value_tables.table(ledger, settings, wide=wide, area=area)
        if area is not None:
            _check_known(ledger, settings, area, None)
        try:
            from s2async.export import values_arrow
        except ImportError:
            if wide:
                raise ConfigError("wide = True needs pyarrow: pip install 's2async[parquet]'") from None
            return list(value_tables.value_rows(found))
        return values_arrow.read(found)


def check_single(**arguments: object) -> None:
    """Check that each argument is a string or None.

    Raises:
        ConfigError: one of them is a list or the like.
    """
    for name, value in arguments.items():
        if not (value is None or isinstance(value, str)):
            raise ConfigError(f"{name} is {one_line(repr(value))}: give one {name} as a text, such as 'A'")


def saved_assets(ledger: Ledger, settings: Config, area: str | None = None) -> list[str]:
    """Return the keys of the assets with saved crops, of one area or of all, in alphabetical order."""
    return sorted({row.asset for row in ledger.saved_rows(settings.selection(), area=area)})


def _check_known(ledger: Ledger, settings: Config, area: str | None, asset: str | None) -> None:
    """Check the names for which no crop was found.

    Raises:
        ConfigError: there is no such area, or no such asset is configured or saved.
    """
    areas = list(dict.fromkeys(place.name for place in ledger.places()))
    if area is not None and area not in areas:
        shown = ", ".join(map(repr, areas[:NAMED])) + ", ..." * (len(areas) > NAMED)
        raise ConfigError(f"the last run had no area of the name {area!r}; there are: {shown or 'none'}")
    if asset is None or asset in settings.output.assets or asset in saved_assets(ledger, settings):
        return
    raise ConfigError(
        f"the asset {asset!r} is neither configured nor saved; {saved_words(ledger, settings, area)}"
    )


def saved_words(ledger: Ledger, settings: Config, area: str | None) -> str:
    """Return which assets are saved, for one area or for all."""
    saved, whose = saved_assets(ledger, settings, area), f"of area {area!r} " if area else ""
    return f"saved {whose}are crops of: {', '.join(saved)}" if saved else f"no crop {whose}is saved"


def _read_crop(path: Path, row: SavedRow, spoilt: Collection[int]) -> CropArray:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise LocalError(
            f"cannot read the crop {path}: {error.strerror}; s2async verify opens it again"
        ) from error
    try:
        layout, pixels = gdal.whole(data)
    except CorruptFile as error:
        raise CorruptFile(f"the crop {path} {error}; try s2async verify") from error
    return CropArray(
        pixels=pixels,
        transform=layout.grid.transform,
        epsg=layout.grid.epsg,
        nodata=layout.nodata,
        area=row.area,
        item=row.item,
        asset=row.asset,
        datetime=row.datetime,
        platform=row.platform,
        grid=row.grid,
        scene_cloud=row.scene_cloud,
        area_cloud=cloud_percent(row.measure, spoilt) if row.measure else None,
        path=path,
        attributes=row.attributes,
        **_numbers(row, layout),
    )


def _numbers(row: SavedRow, layout: Layout) -> dict[str, Any]:
    """Return scale and offset of a crop: of a reflectance band from the state, otherwise from its file."""
    if not is_reflectance(row.asset):
        return {"scale": layout.scales[0], "offset": layout.offsets[0]}
    about = {"offset_basis": row.offset_basis, "offset_doubt": row.doubt}
    if row.offset is None:
        return about
    if layout.dtype.startswith("float"):
        return about | {"scale": layout.scales[0], "offset": layout.offsets[0]}
    return about | {"scale": convert.SCALE, "offset": row.offset / QUANTIFICATION}
