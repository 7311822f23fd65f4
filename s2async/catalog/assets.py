"""Finds the assets of a STAC item that are readable COGs, and their URLs. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from s2async.causes import Cause, Reason
from s2async.clouds import scl
from s2async.models import Asset
from s2async.reflectance.decision import is_reflectance
from s2async.text import listing, origin

if TYPE_CHECKING:
    from s2async.catalog.providers import Catalog

ONLY_JP2 = Reason(Cause.JPEG2000, "only as JPEG 2000")
NO_TIFF = Reason(Cause.FORMAT, "not a TIFF")
NO_ADDRESS = Reason(Cause.ADDRESS, "no address")
UNUSABLE = Reason(Cause.ADDRESS, "unusable address")
NO_ASSET = Reason(Cause.NO_ASSET, "the item has no such asset")
_LARGEST_OFFSET = 10.0
"""Maximum absolute offset in reflectance; numbers beyond it have no meaning."""


def sort_assets(
    entries: Mapping[str, Any], catalog: Catalog, *, base: str, folder: str, schemes: object
) -> tuple[dict[str, Asset], dict[str, Reason]]:
    """Sort an item's assets into readable COGs, and unreadable assets with the reason.

    Earth Search lists each raster twice, for example as ``visual`` and ``visual-jp2``; if an item has only the
    latter, the former is absent. If ``scl`` or ``visual`` is not listed at all, its URL is derived from the folder
    of the catalogue's COGs (always SCL.tif and TCI.tif): some tools drop entries of items, and a request for a
    missing file only gets a 404.

    Args:
        entries: the item's assets whose keys can be part of a file name.
        catalog: source of the item.
        base: the item's own URL, to resolve relative hrefs; the empty string if unknown.
        folder: value of ``earthsearch:s3_path``, or the empty string.
        schemes: value of ``storage:schemes``.

    Returns:
        The readable assets, and the reasons for the absent ones, both by key.
    """
    assets: dict[str, Asset] = {}
    absent: dict[str, Reason] = {}
    for key, name in _our_keys(entries, catalog).items():
        found = _choose(mapping(entries[name]), base, mapping(schemes), catalog)
        if isinstance(found, Reason):
            absent[key] = found
        else:
            assets[key] = Asset(key=key, href=found)
    for key in entries:
        if key.endswith("-jp2"):
            plain = key.removesuffix("-jp2")
            if plain not in assets:
                absent.setdefault(plain, ONLY_JP2)
    for key, file in ((scl.ASSET, "SCL.tif"), ("visual", "TCI.tif")):
        if folder and key not in assets and key not in absent:
            found = _address({"href": f"{folder}/{file}"}, "", catalog)
            if not isinstance(found, Reason):
                assets[key] = Asset(key=key, href=found)
    return assets, absent


def stated_offsets(entries: Mapping[str, Any], catalog: Catalog) -> float | dict[str, float] | None:
    """Return the offsets that an item states for its reflectance bands; see `Scene.offsets`.

    Args:
        entries: the item's assets whose keys can be part of a file name.
        catalog: source of the item.
    """
    keys = {key: name for key, name in _our_keys(entries, catalog).items() if is_reflectance(key)}
    found = {key: _stated_offset(mapping(entries[name])) for key, name in keys.items()}
    stated = {key: offset for key, offset in found.items() if offset is not None}
    alike = len(stated) == len(keys) and len(set(stated.values())) == 1
    return next(iter(stated.values())) if alike else stated or None


def _stated_offset(entry: Mapping[str, Any]) -> float | None:
    """Return the offset of an asset's first band, from the raster extension of any version."""
    former, since = _first_band(entry, "raster:bands"), _first_band(entry, "bands")
    for value in (former.get("offset"), entry.get("raster:offset"), since.get("raster:offset")):
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST_OFFSET:
            return float(value)  # the comparison above is also false for not-a-number
    return None


def _first_band(entry: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    bands = entry.get(name)
    return mapping(bands[0]) if isinstance(bands, list) and bands else {}


def _our_keys(entries: Mapping[str, Any], catalog: Catalog) -> dict[str, str]:
    """Map this program's asset keys to those of the item; no other asset may use a name from the catalogue."""
    ours = {key: name for key, name in catalog.assets.items() if name in entries}
    taken = {*catalog.assets, *catalog.assets.values()}
    return ours | {name: name for name in entries if name not in taken}


def _choose(entry: Mapping[str, Any], base: str, schemes: Mapping[str, Any], catalog: Catalog) -> str | Reason:
    """Choose the URL of a COG: an allowed URL, otherwise the asset's own, otherwise the reason why there is none.

    If the asset's own URL is not usable or not allowed, its alternates are tried (alternate assets extension);
    each entry under ``alternate`` lists what differs from the asset. Alternates for which the requester pays are
    skipped.
    """
    main = _address(entry, base, catalog)
    if not isinstance(main, Reason) and catalog.allows(main):
        return main
    foreign = ""
    for told in mapping(entry.get("alternate")).values():
        other = {key: value for key, value in entry.items() if key != "href"} | dict(mapping(told))
        if _is_paid_for(mapping(told), schemes):
            continue
        found = _address(other, base, catalog)
        if isinstance(found, Reason):
            continue
        if catalog.allows(found):
            return found
        foreign = foreign or origin(found)
    if isinstance(main, Reason) and foreign:
        return Reason(Cause.ORIGIN, f"{main.text}; an alternate is on {foreign}: {listing(foreign)}", foreign)
    return main


def _is_paid_for(told: Mapping[str, Any], schemes: Mapping[str, Any]) -> bool:
    """Return whether the requester pays, according to the storage extension of any version."""
    named = told.get("storage:refs")
    refs = [schemes.get(ref) for ref in named if isinstance(ref, str)] if isinstance(named, list) else []
    paid = (told.get("storage:requester_pays"), *(mapping(ref).get("requester_pays") for ref in refs))
    return any(value is True for value in paid)


def _address(entry: Mapping[str, Any], base: str, catalog: Catalog) -> str | Reason:
    """Return the http(s) URL of a COG, or the reason why there is none."""
    href, media = entry.get("href"), str(entry.get("type") or "").lower()
    if not isinstance(href, str) or not href:
        return NO_ADDRESS
    path = href.partition("?")[0].lower()
    if media.startswith(("image/jp2", "image/jpx", "image/jpeg2000")) or path.endswith((".jp2", ".jpx", ".j2k")):
        return ONLY_JP2
    if not (media.startswith(("image/tiff", "image/vnd.stac.geotiff")) or path.endswith((".tif", ".tiff"))):
        return NO_TIFF
    if not _is_clean(href):
        return UNUSABLE
    if href.lower().startswith("s3://"):
        bucket, _, key = href[5:].partition("/")
        if bucket not in catalog.buckets:
            return Reason(Cause.SCHEME, f"s3:// bucket {bucket[:63]} is not public over https")
        href = f"{catalog.buckets[bucket]}/{key}"
    elif base:
        try:
            href = urljoin(base, href)
        except ValueError:  # for example, brackets around something that is not an IPv6 address
            return UNUSABLE
    return href if is_address(href) else UNUSABLE


def _is_clean(text: str) -> bool:
    """Return whether text is ASCII without blanks, quotes or backslashes, so that all parsers agree on it."""
    return re.fullmatch(r"[!#-&(-;=?-\[\]-_a-z~]{1,2000}", text) is not None


def is_address(text: object) -> bool:
    """Return whether a value is a plain http(s) URL: with a host, but without user or fragment."""
    if not isinstance(text, str) or not _is_clean(text):
        return False
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises ValueError if the port is not a number
    except ValueError:
        return False
    return (
        parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc and "#" not in text
    )


def at_origin_of(asked: str, href: str) -> str:
    """Return an http(s) URL with scheme and host replaced by those of the requested URL; path and query are kept.

    A URL with a user name is returned unchanged; it is refused later.

    Args:
        asked: the requested URL.
        href: the URL to change.
    """
    parts, own = urlsplit(href), urlsplit(asked)
    if "@" in parts.netloc or origin(href) == origin(asked):
        return href
    return parts._replace(scheme=own.scheme, netloc=own.netloc).geturl()


_INNER = (".local", ".localdomain", ".localhost", ".internal", ".intranet", ".lan", ".svc")
"""Suffixes of host names that exist only in private networks (RFC 6762, appendix G, and Kubernetes)."""


def means_origin_of(asked: str, href: str) -> bool:
    """Return whether an http(s) URL probably refers to the origin of the requested URL.

    Servers behind a proxy write their own URLs with the scheme, port or host name that they know themselves: the
    host is the same, or it is a name or address in a private network.

    Args:
        asked: the requested URL.
        href: the URL that the server wrote.
    """
    host, own = urlsplit(href).hostname or "", urlsplit(asked).hostname
    try:
        return host == own or not ip_address(host).is_global
    except ValueError:
        return "." not in host or host.endswith(_INNER)


def mapping(value: object) -> Mapping[str, Any]:
    """Return a JSON object unchanged; for any other value, return an empty object."""
    return value if isinstance(value, Mapping) else {}
