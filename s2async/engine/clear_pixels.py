"""Which pixels of an area are clear and which hold data, packed so that jobs can carry them. Pure.

Each pixel of the area, on the grid that values are computed on and in the order of its plan, has two bits. The
first bits say which pixels are clear. After them, starting at a whole byte, come the bits that say which pixels
hold data. The last two bytes have one bit for each class, which is set if a pixel has this class
(`AreaValues.classes`).
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


def packed(classes: NDArray[np.uint8], starts: NDArray[np.int64], spoilt: Collection[int]) -> list[bytes]:
    """Pack the pixels of n areas.

    Args:
        classes: (pixels,) classes of the scene classification, area by area; 0 means no data.
        starts: (n + 1,) index at which the pixels of each area begin.
        spoilt: classes whose pixels are not clear.
    """
    is_clear = np.ones(256, np.bool_)
    is_clear[[0, *spoilt]] = False
    clear, data, names = is_clear[classes], classes != 0, _seen(classes, starts).astype("<u2").tobytes()
    edges = itertools.pairwise(starts.tolist())
    return [
        (_bits(clear[start:end]) if spots else _full(end - start))
        + (_bits(data[start:end]) if holes else _full(end - start))
        + names[at : at + 2]
        for at, (start, end), spots, holes in zip(
            itertools.count(0, 2), edges, _lacking(clear, starts), _lacking(data, starts), strict=False
        )
    ]


def _bits(flags: NDArray[np.bool_]) -> bytes:
    return np.packbits(flags).tobytes()


@lru_cache(maxsize=1 << 12)
def _full(pixels: int) -> bytes:
    """Return the bits of this many pixels if all of them have a property, as in most areas."""
    return _bits(np.ones(pixels, np.bool_))


def _lacking(flags: NDArray[np.bool_], starts: NDArray[np.int64]) -> list[int]:
    """Return the number of pixels of each area that lack a property."""
    found: list[int] = np.diff(np.searchsorted(np.flatnonzero(~flags), starts)).tolist()
    return found


def _seen(classes: NDArray[np.uint8], starts: NDArray[np.int64]) -> NDArray[np.uint16]:
    """Return the classes that occur in each area as bits, (n,); the last bit stands for all other values."""
    bits = (1 << np.minimum(np.arange(256), 15)).astype(np.uint16)[classes]
    found = np.zeros(len(starts) - 1, np.uint16)
    filled = np.flatnonzero(np.diff(starts))
    if len(filled):
        found[filled] = np.bitwise_or.reduceat(bits, starts[filled])
    return found


def size(pixels: int) -> int:
    """Return the packed size in bytes of an area with this many pixels."""
    return 2 * -(-pixels // 8) + 2


def seen(found: bytes) -> int:
    """Return the classes that occur in an area; see `AreaValues.classes`."""
    return int.from_bytes(found[-2:], "little")


def unpacked(found: Sequence[bytes], sizes: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the pixels of n areas, one after another.

    Args:
        found: what `packed` returned for each area.
        sizes: (n,) number of pixels of each area.

    Returns:
        (pixels,) which are clear, and (pixels,) which hold data.

    Raises:
        ValueError: the packed bits of an area are for another number of pixels.
    """
    clear, data = (np.ones(int(sizes.sum()), np.uint8) for _ in range(2))
    start = 0
    for one, pixels in zip(found, sizes.tolist(), strict=True):
        if len(one) != size(pixels):
            raise ValueError("the clear pixels of an area are of another grid")
        full = _full(pixels)
        width = len(full)
        for flags, bits in ((clear, one[:width]), (data, one[width : 2 * width])):
            if bits != full:
                flags[start : start + pixels] = np.unpackbits(np.frombuffer(bits, np.uint8), count=pixels)
        start += pixels
    return clear.view(np.bool_), data.view(np.bool_)
