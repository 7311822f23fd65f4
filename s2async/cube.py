"""Saved crops as xarray: the crops of one area as time x band x y x x. No other module uses xarray."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS

from s2async.api.reading import CropArray, check_single, read, saved_words
from s2async.api.settings import ConfigLike, load_config
from s2async.cog.grid import shifted
from s2async.config.model import Config
from s2async.errors import ConfigError
from s2async.export.columns import ColumnType, Value, own_columns, own_values
from s2async.maintenance.guards import opened

if TYPE_CHECKING:
    import xarray

WHOLE = 1e-3
"""Maximum distance between a corner of a crop and a corner of the common grid, in pixels."""


def open_crops(
    config: ConfigLike, area: str | None = None, *, asset: str | None = None, reflectance: bool = False
) -> dict[int, xarray.DataArray]:
    """Load an area's crops as arrays ``time x band x y x x``, one per UTM zone.

    Crops of one area and zone share a grid, even if they were cut from different MGRS tiles: the array covers all
    of them, and pixels outside a crop are nodata. Nothing is resampled, so two zones give two arrays. All pixels
    are loaded into memory.

    Each array has the coordinates ``time`` (UTC, ascending; repeated if two MGRS tiles of an overpass contain the
    area), ``band`` (from 1), ``y`` and ``x`` (centres of pixels, metres), and along time ``item_id``,
    ``platform``, ``grid``, ``scene_cloud`` and ``area_cloud`` (per cent), ``scale``, ``offset`` and
    ``offset_basis`` (reflectance = scale * pixel + offset; NaN if unknown), and the areas' own columns, whose
    names get the prefix ``area_`` if they clash with another name. ``spatial_ref`` has the CRS in the form that
    rioxarray and odc-geo read.

    Args:
        config: settings of a run that has ended.
        area: name of the area; may be omitted if there is only one.
        asset: key of one asset; may be omitted if only one is cropped.
        reflectance: return surface reflectance as floats, NaN where there is no data, instead of the pixels of the
            files, which may have different offsets.

    Returns:
        Arrays by EPSG code.

    Raises:
        ConfigError: there is no such area or asset, or no saved crop of it, assets are given as a list, or the
            crops have no common grid (:func:`s2async.read` reads these one by one); with ``reflectance``, also if
            the asset is not a reflectance band, or an offset is unknown.
        ImportError: xarray is not installed: ``pip install 's2async[xarray]'``.

    Example::

        for epsg, crops in s2async.open("fields.toml", "North field").items():
            print(epsg, crops.sel(time="2022-06").mean("time"))
    """
    try:
        import xarray  # noqa: F401 - fails here, before anything is read
    except ImportError as error:
        raise ImportError("s2async.open needs xarray: pip install 's2async[xarray]'") from error
    check_single(area=area, asset=asset)
    settings = load_config(config)
    assets = settings.output.assets
    if asset is None and len(assets) > 1:
        raise ConfigError(f"several assets are cut: say asset= one of {', '.join(assets)}")
    asset = asset or (assets[0] if assets else None)
    if area is None:
        _check_one_area(settings, asset)
    crops = list(read(settings, area=area, asset=asset))
    if not crops:
        with opened(settings) as ledger:
            told = saved_words(ledger, settings, area)
        raise ConfigError(f"no crop of asset {asset!r} was found: {told}; s2async status tells more")
    zones = defaultdict[int, list[CropArray]](list)
    for crop in sorted(crops, key=lambda crop: (crop.datetime, crop.item)):
        zones[crop.epsg].append(crop)
    return {epsg: _stacked(zones[epsg], reflectance=reflectance) for epsg in sorted(zones)}


def _check_one_area(settings: Config, asset: str | None) -> None:
    """Check that all crops are of one area, before any crop is read.

    Raises:
        ConfigError: they are of several areas.
    """
    with opened(settings) as ledger:
        rows = ledger.saved_rows(settings.selection())
        names = sorted({row.area for row in rows if asset in (None, row.asset)})
    if len(names) > 1:
        raise ConfigError(f"there are {len(names):,} areas: say which, such as {names[0]!r}")


def _stacked(crops: Sequence[CropArray], *, reflectance: bool = False) -> xarray.DataArray:
    import xarray

    first = crops[0]
    places = [_place(crop, first) for crop in crops]
    left, top = min(column for column, _ in places), min(row for _, row in places)
    right = max(column + crop.pixels.shape[2] for (column, _), crop in zip(places, crops, strict=True))
    bottom = max(row + crop.pixels.shape[1] for (_, row), crop in zip(places, crops, strict=True))
    shape = (len(crops), first.pixels.shape[0], bottom - top, right - left)
    nodata = np.nan if reflectance else first.nodata or 0
    pixels: NDArray[Any] = np.full(shape, nodata, np.float64 if reflectance else first.pixels.dtype)
    for layer, (column, row), crop in zip(pixels, places, crops, strict=True):
        _, height, width = crop.pixels.shape
        values = crop.reflectance if reflectance else crop.pixels
        layer[:, row - top : row - top + height, column - left : column - left + width] = values
    return xarray.DataArray(
        pixels,
        dims=("time", "band", "y", "x"),
        coords=_coordinates(crops, shifted(first.transform, left, top), shape),
        attrs={"_FillValue": nodata, "grid_mapping": "spatial_ref"},
        name=first.asset,
    )


def _kind(crop: CropArray) -> tuple[object, ...]:
    return crop.pixels.dtype, crop.pixels.shape[0], crop.nodata


def _place(crop: CropArray, first: CropArray) -> tuple[int, int]:
    """Return column and row of a crop's first pixel on the grid of the first crop."""
    here, there = crop.transform, first.transform
    column, row = (here.c - there.c) / there.a, (here.f - there.f) / there.e
    same = _kind(crop) == _kind(first) and (here.a, here.b, here.d, here.e) == (there.a, 0, 0, there.e)
    if not same or max(abs(column - round(column)), abs(row - round(row))) > WHOLE:
        raise ConfigError(f"{crop.path} and {first.path} share no grid: read them one by one with s2async.read")
    return round(column), round(row)


def _coordinates(crops: Sequence[CropArray], transform: Affine, shape: tuple[int, ...]) -> dict[str, Any]:
    def along(values: Sequence[Any], dtype: Any) -> tuple[str, NDArray[Any]]:
        return "time", np.array(values, dtype)

    def number(value: float | None) -> float:
        return np.nan if value is None else value

    code = CRS.from_epsg(crops[0].epsg)
    place = " ".join(map(repr, (transform.c, transform.a, transform.b, transform.f, transform.d, transform.e)))
    fixed: dict[str, Any] = {
        "time": along([crop.datetime.astimezone(UTC).replace(tzinfo=None) for crop in crops], "datetime64[ns]"),
        "band": np.arange(1, shape[1] + 1),
        "y": ("y", transform.f + (np.arange(shape[2]) + 0.5) * transform.e, {"units": "metre"}),
        "x": ("x", transform.c + (np.arange(shape[3]) + 0.5) * transform.a, {"units": "metre"}),
        "item_id": along([crop.item for crop in crops], str),
        "platform": along([crop.platform for crop in crops], str),
        "grid": along([crop.grid for crop in crops], str),
        "scene_cloud": along([number(crop.scene_cloud) for crop in crops], float),
        "area_cloud": along([number(crop.area_cloud) for crop in crops], float),
        "scale": along([number(crop.scale) for crop in crops], float),
        "offset": along([number(crop.offset) for crop in crops], float),
        "offset_basis": along([crop.offset_basis for crop in crops], str),
        "spatial_ref": ((), 0, {"crs_wkt": code.to_wkt(), "spatial_ref": code.to_wkt(), "GeoTransform": place}),
    }
    own = own_columns((crop.attributes for crop in crops), taken=fixed.keys())
    rows = [own_values(crop.attributes, own) for crop in crops]
    for column, one in own.items():
        values = [row[column] for row in rows]
        if one.type == "utc":  # as for the coordinate ``time``
            values = [value.replace(tzinfo=None) if isinstance(value, datetime) else value for value in values]
        fixed[column] = along(values, _dtype(one.type, values))
    return fixed


def _dtype(kind: ColumnType, values: Sequence[Value]) -> Any:
    """Return the numpy type of an own column: objects if no other type can hold all values, or missing ones."""
    if kind in _DAYS:
        fit = all(_FIRST <= value.year <= _LAST for value in values if isinstance(value, date))
        return "datetime64[ns]" if fit else object
    return object if None in values and kind != "float64" else _DTYPES[kind]


_DTYPES: Final[Mapping[str, str]] = {
    "text": "U",
    "int64": "int64",
    "float64": "float64",
    "bool": "bool",
}
"""Numpy types of the areas' own columns. If a value is missing, columns of integers, texts and the like are
objects."""
_DAYS: Final = frozenset({"date", "time", "utc"})
_FIRST, _LAST = 1678, 2261
"""Years of which `datetime64[ns]` has all days. It silently turns other years, such as 9999, into one of these."""
