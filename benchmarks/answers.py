"""What became of a job, in a form in which contenders are compared."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from rasterio.io import DatasetReader

from benchmarks.peers.rules import is_clear


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What became of one job."""

    item: str
    area: str
    bad: int
    """Pixels of classes that spoil a picture."""
    valid: int
    """Pixels with data; both inside the polygon, at 20 m."""
    digest: str | None = None
    """Of the crop as it was saved; None when none was."""

    @property
    def clear(self) -> bool:
        """Whether the picture is wanted."""
        return is_clear(self.bad, self.valid)


def answer_of(item: str, area: str, bad: int, valid: int, file: Path | str | None) -> Answer:
    """An answer; its crop is read from the file."""
    if file is None:
        return Answer(item=item, area=area, bad=bad, valid=valid)
    with rasterio.open(file) as raster:
        return Answer(item=item, area=area, bad=bad, valid=valid, digest=digest(raster))


def digest(raster: DatasetReader) -> str:
    """Of a raster's place, shape, type, nodata and pixels."""
    pixels = np.ascontiguousarray(raster.read())
    about = (raster.crs.to_epsg(), *raster.transform[:6], raster.nodata, pixels.shape, pixels.dtype.name)
    found = hashlib.blake2b(repr(about).encode(), digest_size=16)
    found.update(pixels.data)
    return found.hexdigest()
