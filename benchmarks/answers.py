"""The result of a job, in a form in which contenders are compared."""

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
    """The result of one job."""

    item: str
    area: str
    bad: int
    """Pixels of classes that make an image unusable."""
    valid: int
    """Pixels with data; both counts are inside the polygon, at 20 m."""
    digest: str | None = None
    """Digest of the saved crop; None if no crop was saved."""

    @property
    def clear(self) -> bool:
        """Whether a crop is wanted."""
        return is_clear(self.bad, self.valid)


def answer_of(item: str, area: str, bad: int, valid: int, file: Path | str | None) -> Answer:
    """Return an answer, whose crop is read from the file."""
    if file is None:
        return Answer(item=item, area=area, bad=bad, valid=valid)
    with rasterio.open(file) as raster:
        return Answer(item=item, area=area, bad=bad, valid=valid, digest=digest(raster))


def digest(raster: DatasetReader) -> str:
    """Return the digest of a raster's position, shape, type, nodata and pixels."""
    pixels = np.ascontiguousarray(raster.read())
    about = (raster.crs.to_epsg(), *raster.transform[:6], raster.nodata, pixels.shape, pixels.dtype.name)
    found = hashlib.blake2b(repr(about).encode(), digest_size=16)
    found.update(pixels.data)
    return found.hexdigest()
