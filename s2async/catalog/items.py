"""The known STAC catalogues as data, and their items as scenes.

Pure: no I/O. A catalogue is an entry of `KNOWN`, or what a user describes to `custom`. An item is judged strictly
where the program relies on it (its id becomes a file name, its time and place make jobs, its addresses are asked)
and leniently in everything else: what is odd there is unknown, never an error.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import shapely
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from s2async.catalog.assets import is_address, mapping, sort_assets
from s2async.errors import BadAnswer, ConfigError
from s2async.models import Scene
from s2async.text import origin

COPERNICUS = "contains modified Copernicus Sentinel data {year}"
"""How the Sentinel Data Legal Notice asks to be named; ``{year}`` is that of the sensing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Catalog:
    """A STAC API with one collection of Sentinel-2 L2A scenes."""

    name: str
    url: str
    """Root of the API, without a slash at the end."""
    collection: str
    assets: Mapping[str, str]
    """Our asset key to the item's: at least ``scl``. A key that is not named here is the same in both."""
    origins: tuple[str, ...] = ()
    """Origins (``https://host``) that assets may come from, besides the API's own."""
    listed: tuple[str, ...] = ()
    """Further ones that the user listed."""
    buckets: Mapping[str, str] = field(default_factory=dict)
    """S3 buckets that are public over https, and under which address."""
    descending: bool = False
    """True when answers are known to come newest first; then a search
    can release the newest of several reprocessings before it ends."""
    attribution: str = COPERNICUS
    """Where the pixels come from, for the crops' tags; ``{year}`` stands for the year of sensing."""

    def allows(self, href: str) -> bool:
        """Whether an http(s) address is of an origin that may be asked."""
        return origin(href) in _origins((self.url, *self.origins, *self.listed))


@lru_cache(maxsize=16)
def _origins(addresses: tuple[str, ...]) -> frozenset[str]:
    return frozenset(filter(None, map(origin, addresses)))


_S3 = {
    bucket: f"https://{bucket}.s3.us-west-2.amazonaws.com"
    for bucket in ("sentinel-cogs", "e84-earth-search-sentinel-data")
}


def _earth_search(name: str, collection: str) -> Catalog:
    return Catalog(
        name=name,
        url="https://earth-search.aws.element84.com/v1",
        collection=collection,
        assets={"scl": "scl"},
        origins=tuple(_S3.values()),
        buckets=_S3,
        descending=True,
    )


KNOWN: Mapping[str, Catalog] = MappingProxyType(
    {
        catalog.name: catalog
        for catalog in (
            _earth_search("earth-search", "sentinel-2-l2a"),
            _earth_search("earth-search-c1", "sentinel-2-c1-l2a"),
        )
    }
)
"""Catalogues that need no more than their name."""


def custom(url: str, collection: str, assets: Mapping[str, str], attribution: str = COPERNICUS) -> Catalog:
    """Describe a STAC API that is not in `KNOWN`.

    Args:
        url: Root of the API, http(s).
        collection: Name of the collection in it.
        assets: Our asset key to the item's, such as ``{"scl": "SCL", "visual": "TCI"}``.
        attribution: Where the pixels come from; ``{year}`` stands for the year of sensing.

    Raises:
        ConfigError: The URL is not one, the collection is empty, or ``scl`` is not named.
    """
    parts = urlsplit(url) if is_address(url) else None
    if parts is None or parts.query:
        raise ConfigError(f"{_shown(url)} is not the address of a STAC API, such as https://host/v1")
    if not collection:
        raise ConfigError(f"the catalogue at {url} needs the name of a collection")
    if "scl" not in assets:
        raise ConfigError(
            f"the catalogue at {url} must say which asset holds the scene classification: "
            'assets = { scl = "..." }'
        )
    return Catalog(
        name=parts.netloc,
        url=url.rstrip("/"),
        collection=collection,
        assets=dict(assets),
        attribution=attribution,
    )


# ---- an item as a scene -----------------------------------------------------------------------------------


def to_scene(item: Mapping[str, Any], catalog: Catalog) -> Scene:
    """Reduce a STAC item to what the program uses.

    Args:
        item: The decoded JSON of one item (any STAC 1.x version).
        catalog: Where it came from: tells how assets are named and which buckets are public.

    Raises:
        BadAnswer: The item cannot be a job: an id that cannot name a file, no time, or no place.
    """
    name = _checked_id(item.get("id"))
    properties = mapping(item.get("properties"))
    sensed = instant(properties.get("datetime")) or instant(properties.get("start_datetime"))
    if sensed is None:
        raise BadAnswer(f"item {name}: neither datetime nor start_datetime is a time")
    own = next((link["href"] for link in links(item, "self") if is_address(link.get("href"))), "")
    entries = {key: entry for key, entry in mapping(item.get("assets")).items() if _is_safe_name(str(key))}
    folder = _text(properties, "earthsearch:s3_path")
    assets, absent = sort_assets(
        entries, catalog, base=own, folder=folder, schemes=properties.get("storage:schemes")
    )
    updated = _text(properties, "updated")
    generated = _text(properties, "s2:generation_time", "sentinel2:generation_time")
    strip = re.search(r"_(S\d{8}T\d{6})", _text(properties, "s2:datastrip_id"))
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
        baseline=_text(properties, "s2:processing_baseline", "sentinel2:processing_baseline"),
        generated=generated,
        datastrip=strip[1] if strip else "",
        footprint=_footprint(name, item),
        assets=assets,
        absent=absent,
    )


def _checked_id(name: object) -> str:
    if not isinstance(name, str):
        raise BadAnswer(f"an item whose id is not a text: {_shown(name)}")
    if not _is_safe_name(name):
        raise BadAnswer(f"item {_shown(name)}: its id cannot name a file")
    return name


def _is_safe_name(name: str) -> bool:
    """Whether a text can be part of a file name on every system: Sentinel-2 ids always can."""
    hidden = any(unicodedata.category(c).startswith("C") for c in name)  # control, format, surrogate, unassigned
    if not name or hidden or re.search(r'[/\\:*?"<>|]', name):
        return False
    return len(name.encode()) <= 200 and name == name.strip() and name[0] != "." and name[-1] != "."


def _shown(value: object) -> str:
    """Any value as a short line of plain ASCII."""
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _text(properties: Mapping[str, Any], *keys: str) -> str:
    """The first of these properties that is a sensible line of text, else the empty string."""
    for key in keys:
        value = properties.get(key)
        if isinstance(value, str) and len(value) <= 500 and value.isprintable() and value.isascii():
            return value.strip()
    return ""


def instant(value: object) -> datetime | None:
    """A time as RFC 3339 writes it; a time without a zone is UTC."""
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
    """The number in ``proj:epsg`` (projection extension before 2.0) or ``proj:code`` (since)."""
    for value in (properties.get("proj:epsg"), properties.get("proj:code")):
        found = re.fullmatch(r"(?:EPSG:)?(\d{4,6})", str(value))
        if found:
            return int(found[1])
    return None


_SQUARE = r"0?([1-9]\d?[C-HJ-NP-X][A-HJ-NP-Z][A-HJ-NP-V])"


def _grid(name: str, properties: Mapping[str, Any]) -> str:
    """The MGRS square without a leading zero, from wherever the item tells it; as a last resort from its id."""
    parts = (properties.get(f"mgrs:{part}", "") for part in ("utm_zone", "latitude_band", "grid_square"))
    told = (
        _text(properties, "grid:code").removeprefix("MGRS-"),
        "".join(map(str, parts)),
        _text(properties, "s2:mgrs_tile"),
    )
    for text in told:
        if found := re.fullmatch(_SQUARE, text):
            return found[1]
    found = re.search(rf"(?:^|_)T?{_SQUARE}(?=_|$)", name)
    return found[1] if found else ""


def _footprint(name: str, item: Mapping[str, Any]) -> BaseGeometry:
    """The item's geometry, or its bbox where it has none that can be understood; see `Scene.footprint`."""
    for key, read in (("geometry", shape), ("bbox", _box)):
        try:
            footprint: BaseGeometry = shapely.make_valid(_unwrapped(shapely.force_2d(read(item[key]))))
            west, south, east, north = footprint.bounds
        except (shapely.errors.ShapelyError, AttributeError, KeyError, TypeError, ValueError, IndexError):
            continue
        if -360 <= west <= east <= 360 and -90 <= south <= north <= 90:  # false for NaN, so for an empty one
            return footprint
    raise BadAnswer(f"item {name}: neither geometry nor bbox says where it lies")


def _box(bbox: Any) -> BaseGeometry:
    """A GeoJSON bbox of 4 or 6 numbers; one whose west is greater than its east crosses 180 degrees."""
    west, south, east, north = bbox if len(bbox) == 4 else (bbox[0], bbox[1], bbox[3], bbox[4])
    box: BaseGeometry = shapely.box(west, south, east if east >= west else east + 360, north)
    return box


def _unwrapped(footprint: BaseGeometry) -> BaseGeometry:
    """A scene that crosses 180 degrees, and so seems to span the globe, in one piece: up to 182 degrees or so."""
    west, _, east, _ = footprint.bounds
    if east - west <= 180:
        return footprint
    moved: BaseGeometry = shapely.transform(footprint, lambda xy: xy + (xy[:, :1] < 0) * (360.0, 0.0))
    return moved


def links(thing: Mapping[str, Any], rel: str) -> list[Mapping[str, Any]]:
    """The links of an item or a page that have this relation."""
    listed = thing.get("links")
    everything = listed if isinstance(listed, list) else []
    return [link for link in everything if isinstance(link, Mapping) and link.get("rel") == rel]
