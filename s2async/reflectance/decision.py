"""Decides which offset the digital numbers (DN) of a file have. Pure.

Reflectance is DN * 0.0001 + offset, and DN 0 means no data. Since processing baseline 04.00 (2022-01-25), ESA adds
1000 to all DN of Sentinel-2 L2A, so that reflectances below zero can be stored. Some archives subtract this number
again, and the metadata of an item may be wrong either way: it may state an offset that the file does not have, or
omit one that the file has. The decision is a table: the first row that matches decides, and its name is stored as
the basis. The date of sensing only decides which of two rows applies for one archive; it never replaces the
baseline, because old scenes are reprocessed with new baselines.

Sources of the table: pixels of 48 scenes of Earth Search and of two granules compared with ESA's JPEG 2000, in the
issues earth-search#9, #66, #71, #78 and cirrus-earth-search#21, #26, #33; ESA's product specification 14.9 (2021).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # the settings need the conventions, but no numpy
    from s2async.reflectance.evidence import Evidence

QUANTIFICATION: Final = 10_000
"""DN of reflectance 1 without an offset (QUANTIFICATION_VALUE of the product)."""
OFFSET: Final = -1000
"""Offset in DN since baseline 04.00 (BOA_ADD_OFFSET of the product, the same for all bands)."""
FIRST_WITH_OFFSET: Final = (4, 0)
"""First baseline whose DN have an offset."""
UNSETTLED: Final = (datetime(2022, 1, 25, tzinfo=UTC), datetime(2022, 3, 1, tzinfo=UTC))
"""Period of sensing whose files in ``sentinel-cogs`` may or may not have the offset (cirrus-earth-search#21)."""
_NOT_OF_ESA: Final = (99, 99)
"""Baseline that Sen2Cor writes into products made outside ESA. It does not tell whether they have the offset."""
LARGEST: Final = 32_767
"""Largest DN of a reflectance band (2^15 - 1); larger numbers are negative numbers that wrapped around
(earth-search#78)."""

_NAMES = ("coastal", "blue", "green", "red", "rededge1", "rededge2", "rededge3", "nir", "nir08", "nir09", "swir16")
_NUMBERS = (f"b{number:{width}}" for number in range(1, 13) for width in ("", "02"))
BANDS: Final = frozenset((*_NAMES, "swir22", *_NUMBERS, "b8a"))
"""Keys of reflectance bands in lower case, without a resolution such as ``_10m``."""


@lru_cache(maxsize=256)
def plain_key(key: str) -> str:
    """Return the key of an asset in lower case, without resolution or format: ``b04`` for ``B04_10m``."""
    return re.sub(r"[_-]\d+m$", "", key.casefold()).removesuffix("-jp2")


def is_reflectance(key: str) -> bool:
    """Return whether an asset with this key (the program's or the item's) contains surface reflectance.

    Examples of such keys are ``red`` and ``B04``.
    """
    return plain_key(key) in BANDS


class Convention(StrEnum):
    """How an archive treats the offset of baseline 04.00 and later."""

    ESA = "esa"
    """The archive keeps ESA's DN, which have the offset."""
    EARTH_SEARCH = "earth-search"
    """As in the bucket ``sentinel-cogs``: the offset was subtracted, except in some scenes of early 2022."""
    NONE = "none"
    """No file has an offset."""
    UNKNOWN = "unknown"


class Basis(StrEnum):
    """Why an offset was chosen: the row of the table."""

    RULE = "rule"
    """The asset is not a reflectance band."""
    BASELINE = "baseline"
    """The processing baseline is older than the offset."""
    TAG = "tag"
    """The file states its offset."""
    SOURCE = "source"
    """The archive keeps ESA's DN, or has no offsets according to the user."""
    FLAG = "flag"
    """The item states that the offset was subtracted (``earthsearch:boa_offset_applied``)."""
    BUCKET = "bucket"
    """The archive subtracts the offset, whatever the item states."""
    PIXELS = "pixels"
    """Pixels are darker than is possible with an offset."""
    DOUBTFUL = "doubtful"
    """Files of this time may or may not have the offset, and the pixels do not show which."""
    UNKNOWN = "unknown"
    """Baseline or archive is unknown, and therefore the meaning of the DN."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What is known about the files of one item."""

    convention: Convention
    baseline: tuple[int, ...] = ()
    """Processing baseline such as (5, 11); empty if unknown."""
    subtracted: bool | None = None
    """The item's flag that the offset was subtracted; None if the item has no flag."""
    sensed: datetime | None = None
    """Time of sensing, aware."""
    tag: float | None = None
    """Offset in reflectance that the TIFF states; None if it states none or was not read."""
    stated: float | None = None
    """Offset in reflectance that the item states for the asset (``raster:offset``)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Offset:
    """The offset of the DN of one file, and its basis."""

    dn: int | None
    """Number to add to a DN: 0 or -1000; None if unknown."""
    basis: Basis
    doubt: str = ""
    """Description of what contradicts the offset; empty if nothing does."""

    @property
    def reflectance(self) -> float | None:
        """Number to add to DN * 0.0001: 0.0 or -0.1; None if unknown."""
        return None if self.dn is None else self.dn / QUANTIFICATION

    @property
    def is_certain(self) -> bool:
        """Whether reflectances computed with this offset need no warning."""
        return self.dn is not None and self.basis is not Basis.DOUBTFUL and not self.doubt


def decide(key: str, facts: Facts, evidence: Evidence | None = None) -> Offset:
    """Decide on the offset of one file, by the first row of the table that matches.

    Args:
        key: key of the asset.
        facts: facts about the item and the file.
        evidence: evidence from the pixels read so far, of all reflectance bands and areas of the item.
    """
    if not is_reflectance(key):
        return Offset(dn=0, basis=Basis.RULE)
    offset = _decided(facts, evidence)
    return replace(offset, doubt=_doubt(offset, facts, evidence))


def _decided(facts: Facts, evidence: Evidence | None) -> Offset:
    dark = evidence is not None and evidence.proves_none
    if facts.baseline and facts.baseline < FIRST_WITH_OFFSET:
        return Offset(dn=0, basis=Basis.BASELINE)
    if facts.convention is Convention.NONE:
        return Offset(dn=0, basis=Basis.SOURCE)
    # A file that states its offset was written with care, even if the archive is not known. But GDAL writes an
    # offset of 0 beside every scale, so 0 does not outweigh the rule of an archive that keeps ESA's DN.
    dn = _in_dn(facts.tag)
    if dn is not None and (facts.convention is Convention.UNKNOWN or (facts.convention is Convention.ESA and dn)):
        return Offset(dn=dn, basis=Basis.TAG)
    # If the item states an offset but no baseline, the stated offset decides.
    dn = OFFSET if facts.baseline else _in_dn(facts.stated)
    if facts.convention is Convention.ESA and dn is not None:
        return Offset(dn=dn, basis=Basis.SOURCE)
    if facts.convention is Convention.EARTH_SEARCH:
        if facts.subtracted:
            return Offset(dn=0, basis=Basis.FLAG)
        if facts.baseline and facts.sensed is not None:
            if not UNSETTLED[0] <= facts.sensed < UNSETTLED[1]:
                return Offset(dn=0, basis=Basis.BUCKET)
            return Offset(dn=0, basis=Basis.PIXELS) if dark else Offset(dn=OFFSET, basis=Basis.DOUBTFUL)
    return Offset(dn=0, basis=Basis.PIXELS) if dark else Offset(dn=None, basis=Basis.UNKNOWN)


def _in_dn(stated: float | None) -> int | None:
    """Return a stated offset in DN: 0 or -1000; None for any other number, because no archive has it."""
    if stated is None:
        return None
    return next((dn for dn in (0, OFFSET) if abs(stated * QUANTIFICATION - dn) < 0.5), None)


def _doubt(offset: Offset, facts: Facts, evidence: Evidence | None) -> str:
    if evidence is not None and evidence.wrapped:
        return (
            f"the file is corrupt: {evidence.wrapped:,} pixels are above {LARGEST}, which are wrapped below zero"
        )
    # Areas may be lakes or shadows: dark pixels raise a doubt about an archive's rule or a tag, but do not
    # overrule it.
    if offset.dn == OFFSET and evidence is not None and evidence.proves_none:
        return "pixels are darker than files with an offset of -1000 have them"
    # The item's flag and its raster:offset raise no doubt, because both are known to be wrong in this archive.
    if offset.dn is not None and facts.tag is not None and _in_dn(facts.tag) != offset.dn:
        return f"the file states an offset of {facts.tag:g}"
    return ""


def baseline(*texts: str) -> tuple[int, ...]:
    """Return the processing baseline of an item, from the first of its properties and names that contains it.

    Args:
        texts: texts in order of trust: ``s2:processing_baseline`` or ``processing:version`` such as ``05.11``,
            product names or ids with a part such as ``_N0511_``.

    Returns:
        The baseline, such as (5, 11); empty if no text contains it, or if the first one says that the product was
        made outside ESA.
    """
    for text in texts:
        match = re.fullmatch(r"0*(\d{1,2})\.(\d{2})(?:\.\d+)?", text.strip()) or re.search(
            r"(?:^|_)N(\d{2})\.?(\d{2})(?=_|\.|$)", text.strip()
        )
        if match:
            found = int(match[1]), int(match[2])
            return () if found == _NOT_OF_ESA else found
    return ()


BUCKETS: Final[Mapping[str, Convention]] = {
    "sentinel-cogs": Convention.EARTH_SEARCH,
    "e84-earth-search-sentinel-data": Convention.ESA,
    "sentinel-s2-l2a": Convention.ESA,
    "sentinel2l2a01": Convention.ESA,
    "eodata": Convention.ESA,
}
"""Convention of public archives: AWS buckets, the Azure account of Planetary Computer, the bucket of CDSE."""


def convention(href: str) -> Convention:
    """Return the convention of the archive to which an href points.

    Args:
        href: http(s) or s3 URL of a file.
    """
    match = re.match(r"(?:s3://|https?://)([^/?#]*)/?([^/?#]*)", href)
    if not match:
        return Convention.UNKNOWN
    host, folder = match[1].casefold().removesuffix(":443"), match[2]
    bucket, _, domain = host.partition(".")
    if not domain:
        return BUCKETS.get(host, Convention.UNKNOWN)  # s3://bucket/...
    if re.fullmatch(r"s3[.-].*amazonaws\.com|eodata\.dataspace\.copernicus\.eu", host):
        bucket = folder
    elif not domain.endswith(("amazonaws.com", "blob.core.windows.net")):
        return Convention.UNKNOWN
    return BUCKETS.get(bucket, Convention.UNKNOWN)
