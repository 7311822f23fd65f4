"""Bytes in hand to pixels. The only reading door to GDAL, which sees memory and never a name or an address.

Everything here runs in a worker thread: a dataset is opened, read and closed by one call in one thread, and no
GDAL option outlives the call. (One dataset read by two threads crashes the process; an Env that is open across
an ``await`` leaks its options to other tasks.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile
from rasterio.windows import Window as RasterioWindow

from s2async.errors import CorruptFile
from s2async.grid import Window

OPTIONS: dict[str, Any] = {
    "GDAL_CACHEMAX": 64 << 20,  # bytes; the default is a share of the machine's memory
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": "NO",  # no side-car files
    "GDAL_NUM_THREADS": "1",  # the pool is the parallelism
    "GTIFF_IGNORE_READ_ERRORS": "NO",  # whatever the environment says: a missing block is an error, no zeros
}


def read(tiff: bytes, windows: Sequence[Window]) -> list[NDArray[np.generic]]:
    """Pixels of some windows of a TIFF in memory.

    Args:
        tiff: a whole TIFF, such as :func:`s2async.tiles.subset` makes.
        windows: inside the raster, and on blocks that the TIFF holds.

    Returns:
        One (bands, rows, columns) array a window, of the file's own type, nothing masked.

    Raises:
        CorruptFile: GDAL cannot decode it, or a block is not there.
    """
    try:
        with (
            rasterio.Env(**OPTIONS),
            MemoryFile(tiff, filename="tiles.tif") as file,
            file.open(driver="GTiff", sharing=False) as raster,
        ):
            return [raster.read(window=RasterioWindow(w.col, w.row, w.width, w.height)) for w in windows]
    except RasterioError as error:
        reason = str(error.__cause__ or error)  # of a block that cannot be read, only the cause tells which
        raise CorruptFile(f"cannot be decoded: {' '.join(reason.split())}") from error
