"""Converts digital numbers (DN) to one convention for all files, and to reflectance."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

SCALE: Final = 0.0001
"""Reflectance of one DN."""


def harmonised(dn: NDArray[np.generic], offset: int) -> NDArray[np.generic]:
    """Remove the offset of digital numbers, by the formula of Earth Search's files: ``max(DN - 1000, 1)``.

    The formula was verified on 274,609,800 pixels of two granules (B01, B02, B12; JPEG 2000 against COG), all
    identical. 0 stays 0, because it means no data; values that would be 0 or below become 1.

    Args:
        dn: integers, nearly always uint16, of any shape.
        offset: the offset of these DN: 0 or -1000.

    Returns:
        An array of the same type and shape: the input itself if there is no offset.
    """
    if not offset:
        return dn
    moved = np.maximum(dn.astype(np.int32) + offset, 1)
    return np.where(dn == 0, 0, moved).astype(dn.dtype)


def reflectance(dn: NDArray[np.generic], offset: int) -> NDArray[np.float64]:
    """Return surface reflectance, NaN for pixels without data; values below zero are kept.

    Args:
        dn: integers, nearly always uint16, of any shape.
        offset: the offset of these DN: 0 or -1000.

    Returns:
        A float64 array of the same shape.
    """
    # A single division of whole numbers, so that equal reflectances of both conventions are equal floats.
    values = (dn.astype(np.float64) + offset) / 10_000
    return np.where(dn == 0, np.nan, values)
