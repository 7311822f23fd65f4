"""The values of an area, computed in a simple way from local files: rasterio's mask, numpy's statistics.

Nothing here uses the package's own reading, drawing or counting, so that an agreement is meaningful. The counts
are defined in the README's section on values.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import geometry_mask
from rasterio.io import DatasetReader
from rasterio.windows import Window
from shapely.geometry.base import BaseGeometry

from s2async.sandbox.truth import oracle
from s2async.sandbox.truth.oracle import project

PIXEL: Final = 10.0
"""Size in metres of the pixels on which everything is counted."""
Floats = NDArray[np.float64]
Formula = Callable[[Mapping[str, Floats]], tuple[Floats, NDArray[np.bool_]]]
"""Returns an index from reflectances by band, and a mask of the pixels where it has no value."""


def ndvi(found: Mapping[str, Floats]) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the normalised difference of near infrared and red."""
    return ratio(found["nir"] - found["red"], found["nir"] + found["red"])


def ratio(above: Floats, below: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the quotients of two arrays, and a mask of the pixels where the second is 0."""
    undefined = below == 0
    return above / np.where(undefined, 1.0, below), undefined


@dataclass(frozen=True, kw_only=True)
class Look:
    """The 10 m pixels of one area in the files of one scene."""

    classes: NDArray[Any]
    """Scene classification, (pixels,)."""
    dn: Mapping[str, NDArray[Any]]
    """Digital numbers as published, (pixels,), by band."""


def look(scl: Path, bands: Mapping[str, Path], polygon: BaseGeometry) -> Look | None:
    """Return the pixels of one area; see `looks`."""
    return looks(scl, bands, [polygon])[0]


def looks(scl: Path, bands: Mapping[str, Path], polygons: Sequence[BaseGeometry]) -> list[Look | None]:
    """Return the pixels of areas whose centres are inside; None if the scene does not reach an area.

    Args:
        scl: the scene classification.
        bands: files by key.
        polygons: areas in longitude and latitude.
    """
    with ExitStack() as opened:
        classes = opened.enter_context(rasterio.open(scl))
        files = {key: opened.enter_context(rasterio.open(path)) for key, path in bands.items()}
        return [_look(classes, files, project(polygon, classes.crs)) for polygon in polygons]


def _look(scl: DatasetReader, bands: Mapping[str, DatasetReader], shape: BaseGeometry) -> Look | None:
    place, step = scl.transform, round(scl.transform.a / PIXEL)
    fine = Affine(place.a / step, 0, place.c, 0, place.e / step, place.f)
    around = oracle.window(shape, fine, scl.width * step, scl.height * step)
    if around is None:
        return None
    left, top, width, height = around.flatten()
    corner = Affine(fine.a, 0, fine.c + left * fine.a, 0, fine.e, fine.f + top * fine.e)
    inside = geometry_mask([shape], out_shape=(height, width), transform=corner, invert=True)

    def pixels(raster: DatasetReader) -> NDArray[Any]:
        size = round(raster.transform.a / fine.a)
        rows, columns = np.arange(top, top + height) // size, np.arange(left, left + width) // size
        window = Window(columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1)
        found = raster.read(1, window=window)
        return np.asarray(found[rows - rows[0]][:, columns - columns[0]][inside])

    return Look(classes=pixels(scl), dn={key: pixels(raster) for key, raster in bands.items()})


def summary(
    found: Look,
    classes: Collection[int],
    bands: Sequence[str],
    formula: Formula | None,
    statistics: Sequence[str],
    offsets: Mapping[str, int] | None = None,
) -> tuple[list[float], list[float]]:
    """Return the numbers of one band or index for one area.

    Args:
        found: its pixels.
        classes: classes that make a pixel unusable.
        bands: the bands that the formula needs, or the band.
        formula: formula of the index; None for a band.
        statistics: names, as in the configuration.
        offsets: numbers to be added to DN, by band; 0 by default.

    Returns:
        The numbers of all pixels, and of those with data, clear, valid and undefined; and the statistics.
    """
    data = found.classes != 0
    clear = data & ~np.isin(found.classes, list(classes))
    valid = clear.copy()
    for band in bands:
        valid &= found.dn[band] != 0
    reflectances = {}
    for band in bands:
        dn, shift = found.dn[band][valid].astype(np.int64), (offsets or {}).get(band, 0)
        reflectances[band] = (np.maximum(dn + shift, 1) if shift else dn) / 10_000
    if formula is None:
        values, undefined = reflectances[bands[0]], np.zeros(int(valid.sum()), np.bool_)
    else:
        values, undefined = formula(reflectances)
    values = values[~undefined]
    counts = [len(data), data.sum(), clear.sum(), len(values), undefined.sum()]
    return [float(number) for number in counts], [statistic(name, values) for name in statistics]


def statistic(name: str, values: Floats) -> float:
    """Return one statistic of the values, computed by numpy; NaN if there are no values."""
    if not len(values):
        return float("nan")
    plain: dict[str, Callable[[Floats], Any]] = {
        "mean": np.mean,
        "stdev": np.std,
        "median": np.median,
        "min": np.min,
        "max": np.max,
    }
    return float(plain[name](values) if name in plain else np.percentile(values, float(name[1:])))
