"""Interprets the tags of GeoTIFF and GDAL for transform, CRS, nodata, scales and offsets. Pure."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
from affine import Affine

from s2async.cog.grid import shifted
from s2async.errors import UnsupportedLayout


def nodata_of(text: str, dtype: np.dtype[Any]) -> float | None:
    """Return nodata as rasterio does: as a value of the pixels' type, or None if no pixel can have it."""
    if not text.strip():
        return None
    value = float(text)
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return float(dtype.type(value))
    limits = np.iinfo(dtype)
    return value if limits.min <= value <= limits.max else None


def scaling(xml: str, bands: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return scales and offsets of the bands from GDAL's metadata tag: XML with an element for each item.

    Raises:
        ValueError: one of them is not a finite number.
    """
    values = {"scale": [1.0] * bands, "offset": [0.0] * bands}
    for attributes, value in re.findall(r"<Item\s([^>]*)>([^<]*)</Item>", xml):
        role, sample = re.search(r'role="(scale|offset)"', attributes), re.search(r'sample="(\d+)"', attributes)
        if role and sample and int(sample[1]) < bands:
            number = float(value)
            if not math.isfinite(number):
                raise ValueError(f"{role[1]} {value}")
            values[role[1]][int(sample[1])] = number
    return tuple(values["scale"]), tuple(values["offset"])


def georeference(
    scale: tuple[float, ...], ties: tuple[float, ...], matrix: tuple[float, ...], keys: list[int]
) -> tuple[Affine, int]:
    """Return the transform (of pixel corners) and the EPSG code of the CRS.

    Source: GeoTIFF 1.1, sections 7.1 (keys) and 7.3 (raster to model).

    Raises:
        UnsupportedLayout: the CRS has no EPSG code, or there is no affine transform.
        ValueError: the transform cannot be inverted.
    """
    # Each key has four numbers: its ID, the tag that contains its value (0: the key itself), count, and value.
    named = {keys[i]: keys[i + 3] for i in range(4, len(keys) - 3, 4) if keys[i + 1] == 0}
    model, projected, geographic, raster = (named.get(key, 0) for key in (1024, 3072, 2048, 1025))
    epsg = projected if model == 1 else geographic if model == 2 else 0
    if not 0 < epsg < 32767:
        raise UnsupportedLayout("unsupported layout: its CRS has no EPSG code")
    if len(scale) >= 2 and scale[0] and scale[1] and len(ties) >= 6:
        # A negative scale is a common mistake, which GDAL reads as north-up.
        across, down = scale[0], -abs(scale[1])
        transform = Affine(across, 0.0, ties[3] - ties[0] * across, 0.0, down, ties[4] - ties[1] * down)
    elif len(matrix) == 16:
        transform = Affine(matrix[0], matrix[1], matrix[3], matrix[4], matrix[5], matrix[7])
    else:
        raise UnsupportedLayout("unsupported layout: no transform from pixels to coordinates")
    if raster == 2:  # PixelIsPoint: the tie point is the centre of a pixel
        transform = shifted(transform, -0.5, -0.5)
    if transform.determinant == 0 or not np.isfinite(transform[:6]).all():
        raise ValueError(f"a transform of {tuple(transform)[:6]}")
    return transform, epsg
