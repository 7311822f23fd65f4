"""Crops: masking of pixels outside the area, encoding to the bytes of a file, and removal from disk."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from s2async import files
from s2async.models import Numbers, Product
from s2async.output import geotiff, quicklook
from s2async.output.geotiff import Crop
from s2async.reflectance.evidence import Evidence

FORMAT: Final = "gtiff"
"""Name of the file format of crops in the state."""
SUFFIX: Final = ".tif"


def cut(pixels: NDArray[np.generic], inside: NDArray[np.bool_], nodata: float | None) -> NDArray[np.generic]:
    """Set pixels outside the polygon to nodata (0 if the file has none), as ``rasterio.mask`` does.

    Args:
        pixels: (bands, rows, columns).
        inside: (rows, columns), True inside the polygon.
        nodata: nodata value of the file.

    Returns:
        A new array of the same type.
    """
    if not nodata and pixels.dtype.kind in "ui":
        # Takes a tenth of the time of `where`. Not used for floats, because not-a-number times zero is not zero.
        return pixels * inside
    return np.where(inside, pixels, np.asarray(nodata or 0).astype(pixels.dtype))


def file_name(stem: str, asset: str) -> str:
    """Return the name of a crop's file inside its area's folder; for the stem see `models.Job.stem`."""
    return f"{stem}_{asset}{SUFFIX}"


def histogram_tag(rule: str) -> str:
    """Return the name of the tag with the counts of a cloud rule, such as ``SCL_HISTOGRAM``."""
    return f"{rule.upper()}_HISTOGRAM"


def mask_tag(mask: bool) -> str:
    """Return the value of a crop's tag ``MASK``."""
    return "polygon" if mask else "none"


def encode(
    crop: Crop,
    name: str,
    *,
    mask: bool,
    asset: str,
    numbers: Numbers | None = None,
    evidence: Evidence | None = None,
    stated: float | None = None,
) -> tuple[Product, bytes]:
    """Encode a crop in memory.

    Args:
        crop: pixels, georeference and tags.
        name: name of the file, for the record.
        mask: whether pixels outside the area are removed, for the record.
        asset: key of the asset, for the record.
        numbers: what the DN of a reflectance band mean, for the record.
        evidence: what its pixels show about an offset, for the record.
        stated: offset in reflectance that the source file states, for the record.

    Returns:
        The record for the state, which must be written after the file is on disk, and the bytes of the file.
    """
    data = geotiff.encode(crop)
    product = Product(
        asset=asset,
        file=name,
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        mask=mask,
        format=FORMAT,
        epsg=crop.epsg,
        numbers=numbers,
        evidence=evidence,
        stated=stated,
    )
    return product, data


def remove(path: Path) -> None:
    """Remove a crop from disk, and its quicklook, unless that is an image of another program.

    Raises:
        LocalError: a file cannot be removed.
    """
    with files.local_errors("remove", path):
        path.unlink(missing_ok=True)
    image = quicklook.beside(path)
    with files.local_errors("remove", image):
        if image.is_file() and quicklook.is_own(image.read_bytes()):
            image.unlink()
