"""Which pixels of an area are clear, and which hold data: packed, so that jobs can carry it. Pure.

Each pixel of the area, on the grid on which values are counted and in the order of its plan, has two bits. First
come those that tell which pixels are clear; from a whole byte on, those that tell which hold data.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray


def packed(classes: NDArray[np.uint8], starts: NDArray[np.int64], spoilt: Collection[int]) -> list[bytes]:
    """Pack the pixels of n areas.

    Args:
        classes: (pixels,) classes of the scene classification, area by area; 0 is no data.
        starts: (n + 1,) where the pixels of each area begin.
        spoilt: classes whose pixels are not clear.
    """
    is_clear = np.ones(256, np.bool_)
    is_clear[[0, *spoilt]] = False
    clear, data = is_clear[classes], classes != 0
    return [
        np.packbits(clear[start:end]).tobytes() + np.packbits(data[start:end]).tobytes()
        for start, end in itertools.pairwise(starts.tolist())
    ]


def unpacked(found: Sequence[bytes], sizes: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The pixels of n areas, one after another.

    Args:
        found: what `packed` returned for each.
        sizes: (n,) pixels of each.

    Returns:
        (pixels,) which are clear, and (pixels,) which hold data.

    Raises:
        ValueError: an area has another number of pixels.
    """
    clear, data = (np.zeros(int(sizes.sum()), np.uint8) for _ in range(2))
    start = 0
    for one, size in zip(found, sizes.tolist(), strict=True):
        bits = np.frombuffer(one, np.uint8)
        width = -(-size // 8)
        if len(bits) != 2 * width:
            raise ValueError("the clear pixels of an area are of another grid")
        clear[start : start + size] = np.unpackbits(bits[:width], count=size)
        data[start : start + size] = np.unpackbits(bits[width:], count=size)
        start += size
    return clear.view(np.bool_), data.view(np.bool_)
