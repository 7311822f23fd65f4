"""The STAC catalogues that the program knows, and those that a user describes. Pure.

This module is separate from `catalog.items` because the settings need it, and it does not import shapely.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from urllib.parse import urlsplit

from s2async.catalog.assets import is_address
from s2async.clouds import scl
from s2async.errors import ConfigError
from s2async.reflectance import decision
from s2async.reflectance.decision import Convention
from s2async.text import origin

COPERNICUS = "contains modified Copernicus Sentinel data {year}"
"""Attribution that the Sentinel Data Legal Notice requires; ``{year}`` is the year of sensing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Catalog:
    """A STAC API with one collection of Sentinel-2 L2A scenes."""

    name: str
    url: str
    """Root of the API, without a slash at the end."""
    collection: str
    assets: Mapping[str, str]
    """Maps this program's asset keys, at least ``scl``, to those of items; unlisted keys are the same in both."""
    origins: tuple[str, ...] = ()
    """Origins (``https://host``) that assets may come from, in addition to the API's own."""
    listed: tuple[str, ...] = ()
    """Further origins that the user has listed."""
    buckets: Mapping[str, str] = field(default_factory=dict)
    """S3 buckets that are public over https, with their URLs."""
    descending: bool = False
    """True if the API returns the newest items first, so that a search can pass on scenes before it ends."""
    attribution: str = COPERNICUS
    """Source of the pixels, for the tags of the crops; ``{year}`` stands for the year of sensing."""
    offsets: Convention | None = None
    """Convention for the offset of the files according to the user; None to infer it from each href's bucket."""

    @property
    def mirrors(self) -> dict[str, Convention]:
        """The conventions of known buckets that are read from somewhere else, by the URL that stands for them."""
        return {
            url: decision.BUCKETS[bucket]
            for bucket, url in self.buckets.items()
            if bucket in decision.BUCKETS and decision.convention(url) is Convention.UNKNOWN
        }

    def allows(self, href: str) -> bool:
        """Return whether the origin of an http(s) URL is allowed."""
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
        assets={scl.ASSET: "scl"},
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
"""Catalogues that are known by name."""


def custom(
    url: str,
    collection: str,
    assets: Mapping[str, str],
    attribution: str = COPERNICUS,
    buckets: Mapping[str, str] = MappingProxyType({}),
    offsets: Convention | None = None,
) -> Catalog:
    """Describe a STAC API that is not in `KNOWN`.

    Args:
        url: root of the API, http(s).
        collection: id of the collection.
        assets: maps this program's asset keys to those of the items, such as
            ``{"scl": "SCL", "visual": "TCI"}``.
        attribution: source of the pixels; ``{year}`` stands for the year of sensing.
        buckets: S3 buckets that are public over http(s), with their URLs, whose origins become allowed.
        offsets: convention for the offset of reflectance bands in the files; None to infer it from each href.

    Raises:
        ConfigError: the URL is not valid, the collection is empty, or ``scl`` is missing.
    """
    parts = urlsplit(url) if is_address(url) else None
    if parts is None or parts.query:
        raise ConfigError(f"{ascii(url)[:80]} is not the URL of a STAC API, such as https://host/v1")
    if not collection:
        raise ConfigError(f"the catalogue at {url} needs the name of a collection")
    if scl.ASSET not in assets:
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
        origins=tuple(dict.fromkeys(map(origin, buckets.values()))),
        buckets=dict(buckets),
        offsets=offsets,
    )
