"""Turns items of STAC catalogues into scenes.

Pure: no I/O. Items are checked strictly if the program relies on a value (the id becomes a file name, time and
footprint define jobs, hrefs are requested). Everything else is checked leniently: an odd value counts as unknown
and is never an error.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import shapely
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from s2async.catalog import product_names
from s2async.catalog.assets import at_origin_of, is_address, mapping, means_origin_of, sort_assets, stated_offsets
from s2async.catalog.providers import Catalog
from s2async.errors import BadAnswer
from s2async.models import Scene
from s2async.reflectance import decision

# ---- an item as a scene -----------------------------------------------------------------------------------


def to_scene(item: Mapping[str, Any], catalog: Catalog) -> Scene:
    """Reduce a STAC item to what the program uses.

    Args:
        item: the decoded JSON of one item (any STAC 1.x version).
        catalog: source of the item, which defines the names of assets and the public buckets.

    Raises:
        BadAnswer: the item is unusable, because its id cannot be a file name, or it has no time or footprint.
    """
    name = _checked_id(item.get("id"))
    properties = mapping(item.get("properties"))
    sensed = instant(properties.get("datetime")) or instant(properties.get("start_datetime"))
    if sensed is None:
        raise BadAnswer(f"item {name}: neither datetime nor start_datetime is a time")
    own = next((link["href"] for link in links(item, "self") if is_address(link.get("href"))), "")
    if own and not catalog.allows(own) and means_origin_of(catalog.url, own):
        own = at_origin_of(catalog.url, own)
    entries = {key: entry for key, entry in mapping(item.get("assets")).items() if _is_safe_name(str(key))}
    folder = _text(properties, "earthsearch:s3_path")
    assets, absent = sort_assets(
        entries, catalog, base=own, folder=folder, schemes=properties.get("storage:schemes")
    )
    updated = _text(properties, "updated")
    generated = _text(properties, "s2:generation_time", "sentinel2:generation_time")
    names = [*(_text(properties, key) for key in _PRODUCT_NAMES), name]
    return Scene(
        id=name,
        collection=_text(item, "collection") or catalog.collection,
        version=_text(properties, "s2:product_uri") or updated or generated,
        updated=updated,
        datetime=sensed,
        platform=_text(properties, "platform").lower(),
        grid=_grid(name, properties),
        cloud=_cloud(properties.get("eo:cloud_cover")),
        epsg=_epsg(properties),
        baseline=_baseline(properties, names),
        generated=generated or product_names.processed(*names),
        datastrip=product_names.datastrip(_text(properties, "s2:datastrip_id", "eopf:datastrip_id"), name),
        footprint=_footprint(name, item),
        assets=assets,
        absent=absent,
        datatake=product_names.datatake(_text(properties, "s2:datatake_id", "eopf:datatake_id"), *names),
        subtracted=_flag(properties, "earthsearch:boa_offset_applied", "sentinel:boa_offset_applied"),
        offsets=stated_offsets(entries, catalog),
    )


_PRODUCT_NAMES = ("s2:product_uri", "sentinel:product_id", "sentinel2:product_title")
"""Properties with the product's name: in items since 2022, older ones of Earth Search, and of other converters."""
_BASELINES = ("s2:processing_baseline", "sentinel:processing_baseline", "sentinel2:processing_baseline")


def _baseline(properties: Mapping[str, Any], names: Sequence[str]) -> str:
    """Return the processing baseline such as ``05.11``, from a property or a name; the empty string if unknown."""
    known = (_text(properties, *_BASELINES), *names, _text(properties, "processing:version"))
    return ".".join(f"{number:02}" for number in decision.baseline(*known))


def _flag(properties: Mapping[str, Any], *keys: str) -> bool | None:
    return next((value for value in map(properties.get, keys) if isinstance(value, bool)), None)


def _checked_id(name: object) -> str:
    if not isinstance(name, str):
        raise BadAnswer(f"an item whose id is not a text: {_shown(name)}")
    if not _is_safe_name(name):
        raise BadAnswer(f"item {_shown(name)}: its id cannot name a file")
    return name


def _is_safe_name(name: str) -> bool:
    """Return whether text can be part of a file name on every system, as ids of Sentinel-2 items can."""
    hidden = any(unicodedata.category(c).startswith("C") for c in name)  # control, format, surrogate, unassigned
    if not name or hidden or re.search(r'[/\\:*?"<>|]', name):
        return False
    return len(name.encode()) <= 200 and name == name.strip() and name[0] != "." and name[-1] != "."


def _shown(value: object) -> str:
    """Return any value as a short line of ASCII."""
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _text(properties: Mapping[str, Any], *keys: str) -> str:
    """Return the first of these properties that is one line of ASCII text, or the empty string."""
    for key in keys:
        value = properties.get(key)
        if isinstance(value, str) and len(value) <= 500 and value.isprintable() and value.isascii():
            return value.strip()
    return ""


def instant(value: object) -> datetime | None:
    """Parse a time according to RFC 3339, in UTC if it has no time zone; return None if it is not valid."""
    if not isinstance(value, str):
        return None
    try:
        time = datetime.fromisoformat(value.strip().upper())
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _cloud(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:
        return None
    return float(value)


def _epsg(properties: Mapping[str, Any]) -> int | None:
    """Return the number in ``proj:epsg`` (projection extension before 2.0) or ``proj:code`` (since 2.0)."""
    for value in (properties.get("proj:epsg"), properties.get("proj:code")):
        if match := re.fullmatch(r"(?:EPSG:)?(\d{4,6})", str(value)):
            return int(match[1])
    return None


def _grid(name: str, properties: Mapping[str, Any]) -> str:
    """Return the MGRS tile without a leading zero, from a property or otherwise from the id."""
    parts = (properties.get(f"mgrs:{part}", "") for part in ("utm_zone", "latitude_band", "grid_square"))
    candidates = (
        _text(properties, "grid:code").removeprefix("MGRS-"),
        "".join(map(str, parts)),
        _text(properties, "s2:mgrs_tile"),
    )
    for text in candidates:
        if match := re.fullmatch(product_names.SQUARE, text):
            return match[1]
    return product_names.square(name)


def _footprint(name: str, item: Mapping[str, Any]) -> BaseGeometry:
    """Return the item's geometry, or its bbox if the geometry is not valid; see `Scene.footprint`."""
    for key, read in (("geometry", shape), ("bbox", _box)):
        try:
            footprint: BaseGeometry = shapely.make_valid(_unwrapped(shapely.force_2d(read(item[key]))))
            west, south, east, north = footprint.bounds
        except (shapely.errors.ShapelyError, AttributeError, KeyError, TypeError, ValueError, IndexError):
            continue
        if -360 <= west <= east <= 360 and -90 <= south <= north <= 90:  # false for NaN: an empty geometry
            return footprint
    raise BadAnswer(f"item {name}: neither geometry nor bbox is valid")


def _box(bbox: Any) -> BaseGeometry:
    """Return a GeoJSON bbox of 4 or 6 numbers as a box; it crosses 180 degrees if its west exceeds its east."""
    west, south, east, north = bbox if len(bbox) == 4 else (bbox[0], bbox[1], bbox[3], bbox[4])
    box: BaseGeometry = shapely.box(west, south, east if east >= west else east + 360, north)
    return box


def _unwrapped(footprint: BaseGeometry) -> BaseGeometry:
    """Join a footprint that crosses 180 degrees by moving its western part beyond 180, up to about 182."""
    west, _, east, _ = footprint.bounds
    if east - west <= 180:
        return footprint
    moved: BaseGeometry = shapely.transform(footprint, lambda xy: xy + (xy[:, :1] < 0) * (360.0, 0.0))
    return moved


def links(thing: Mapping[str, Any], rel: str) -> list[Mapping[str, Any]]:
    """Return the links of an item or a page with the given relation."""
    listed = thing.get("links")
    everything = listed if isinstance(listed, list) else []
    return [link for link in everything if isinstance(link, Mapping) and link.get("rel") == rel]
