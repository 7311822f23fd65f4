"""Packed tables of values: the numbers of one question for the areas of a block in an item. Pure.

A table begins with its slots, so that they can be read without the numbers. The numbers follow column by column:
integers and DN in as few bytes as possible, other numbers as float64 with equal-ranked bytes stored together,
because the first bytes are similar. All of this is compressed by zlib. This layout is a file format.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from s2async.state.packed import BLOCK, FEW, pack_slots, unpack_slots
from s2async.zonal.wanted import COUNTS, AreaValues

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_FORMAT: Final = 1
_FIRST: Final = len(COUNTS) + 1
"""Column of the first offset."""
HEADER: Final = 2 + max(FEW, BLOCK // 8)
"""Number of bytes at the start of a packed table that contain its slots."""
_FLOAT: Final = 8
"""Kind of a float64 column. Smaller kinds are the number of bytes of an integer; 0 is a column of zeros."""
_SCALED: Final = 16
"""Added to the kind of a column whose numbers are ten thousandths, such as reflectances of single pixels."""
_SCALE: Final = 10_000
_LARGEST: Final = 1 << 32


@dataclass(frozen=True, slots=True, eq=False)
class ValueCells:
    """Numbers of some jobs of a row, about one band or index."""

    bands: tuple[str, ...]
    """Keys of the bands, in the order of the offsets."""
    slots: NDArray[np.uint8]
    """(jobs,), ascending."""
    numbers: NDArray[np.float64]
    """(jobs, columns): counts (see `COUNTS`), classes, offsets by band in DN, then the statistics. NaN means
    unknown."""

    @property
    def counts(self) -> NDArray[np.float64]:
        """(jobs, 5) counts, columns as in `COUNTS`."""
        return self.numbers[:, : len(COUNTS)]

    @property
    def classes(self) -> NDArray[np.float64]:
        """(jobs,) `AreaValues.classes`; NaN if unknown."""
        return self.numbers[:, len(COUNTS)]

    @property
    def offsets(self) -> NDArray[np.float64]:
        """(jobs, bands) offsets in DN; NaN if unknown."""
        return self.numbers[:, _FIRST : _FIRST + len(self.bands)]

    @property
    def statistics(self) -> NDArray[np.float64]:
        """(jobs, statistics); NaN if no pixel is valid."""
        return self.numbers[:, _FIRST + len(self.bands) :]

    def only(self, kept: NDArray[np.bool_]) -> ValueCells:
        """Return the cells of some of the jobs.

        Args:
            kept: (jobs,) which jobs to keep.
        """
        return ValueCells(self.bands, self.slots[kept], self.numbers[kept])


def cells(values: Mapping[int, AreaValues], bands: tuple[str, ...]) -> ValueCells:
    """Return the values of one question, by slot, as cells.

    Args:
        values: at least one value.
        bands: keys of the bands of the band or index.
    """
    import numpy as np  # imported only here and below, because a state without values needs no arrays of them

    rows: dict[int, list[int]] = {}
    places: dict[int, list[int]] = {}
    tables = {id(one.table): one.table for one in values.values()}
    for slot, (table, row) in values.items():
        rows.setdefault(id(table), []).append(row)
        places.setdefault(id(table), []).append(slot)
    slots = np.concatenate([places[which] for which in tables])
    numbers = np.concatenate([table.numbers[rows[which]] for which, table in tables.items()])
    order = np.argsort(slots)
    return ValueCells(bands, slots[order].astype(np.uint8), numbers[order])


def merged(old: ValueCells | None, new: ValueCells) -> ValueCells:
    """Return the cells of two tables of one question; for a slot in both tables, the new cells."""
    import numpy as np

    if old is None or (old.bands, old.numbers.shape[1]) != (new.bands, new.numbers.shape[1]):
        return new
    kept = ~np.isin(old.slots, new.slots)
    slots = np.concatenate([old.slots[kept], new.slots])
    order = np.argsort(slots)
    return ValueCells(new.bands, slots[order], np.concatenate([old.numbers[kept], new.numbers])[order])


# ---- packing ----------------------------------------------------------------------------------------------


def pack(table: ValueCells) -> bytes:
    """Pack cells.

    Raises:
        ValueError: there are no cells.
    """
    if not len(table.slots):
        raise ValueError("no cells")
    names = " ".join(table.bands).encode()
    kinds, parts = _columns(table.numbers)
    head = bytes((len(kinds), len(names))) + names + bytes(kinds)
    start = bytes((_FORMAT, len(table.slots) - 1)) + pack_slots(table.slots)
    return start + zlib.compress(b"".join((head, *parts)), 1)


def _columns(numbers: NDArray[np.float64]) -> tuple[list[int], list[bytes]]:
    """Return kind and bytes of each column, examining all columns together."""
    import numpy as np

    # Offsets are 0 and -1000; negative numbers are too rare to justify a kind of their own.
    kinds, parts = [_FLOAT] * numbers.shape[1], [b""] * numbers.shape[1]
    left = np.arange(numbers.shape[1])
    with np.errstate(over="ignore", invalid="ignore"):
        for scaled, scale in ((0, 1), (_SCALED, _SCALE)):
            columns = numbers[:, left]
            whole = np.rint(columns * scale)
            fits = ((whole / scale == columns) & (whole >= 0) & (whole < _LARGEST)).all(axis=0)
            tops = whole[:, fits].max(axis=0)
            for column, values, top in zip(left[fits].tolist(), whole[:, fits].T, tops.tolist(), strict=True):
                width = 0 if not top else 1 if top < 256 else 2 if top < 1 << 16 else 4
                kinds[column] = width and width + scaled
                parts[column] = values.astype(f"<u{width}").tobytes() if width else b""
            left = left[~fits]
    for column in left.tolist():
        parts[column] = _planes(numbers[:, column])
    return kinds, parts


def _planes(column: NDArray[np.float64]) -> bytes:
    """Return the first bytes of all numbers, then their second bytes, and so on."""
    import numpy as np

    return np.ascontiguousarray(column.astype("<f8")).view(np.uint8).reshape(-1, 8).T.tobytes()


# ---- unpacking --------------------------------------------------------------------------------------------


def slots_of(packed: bytes) -> NDArray[np.uint8]:
    """Return the slots of packed cells, for which the first `HEADER` bytes are sufficient."""
    return _slots(packed)[0]


def _slots(packed: bytes) -> tuple[NDArray[np.uint8], int]:
    """Return the slots of packed cells, and where the compressed numbers begin."""
    if packed[0] != _FORMAT:
        raise ValueError(f"values of the unknown format {packed[0]}")
    return unpack_slots(packed, packed[1] + 1, 2)


def unpack(packed: bytes) -> ValueCells:
    """Return the cells that `pack` packed.

    Raises:
        ValueError: the format is unknown.
    """
    import numpy as np

    slots, at = _slots(packed)
    jobs = len(slots)
    plain = zlib.decompress(packed[at:])
    columns, named = plain[0], plain[1]
    at = 2 + named
    bands = tuple(plain[2:at].decode().split())
    kinds = plain[at : at + columns]
    at += columns
    numbers = np.zeros((jobs, columns))
    for column, kind in enumerate(kinds):
        width = kind % _SCALED
        if kind == _FLOAT:
            planes = np.frombuffer(plain, np.uint8, 8 * jobs, at).reshape(8, jobs)
            numbers[:, column] = np.ascontiguousarray(planes.T).view("<f8")[:, 0]
        elif width:
            found = np.frombuffer(plain, f"<u{width}", jobs, at)
            numbers[:, column] = found / _SCALE if kind > _SCALED else found
        at += width * jobs
    return ValueCells(bands, slots, numbers)


# ---- evidence of offsets ----------------------------------------------------------------------------------

_SUMS: Final = BLOCK // 8
"""Position of the sums in packed evidence, after a bitmap of the jobs that they include."""


def counted(packed: bytes | None) -> tuple[int, tuple[int, int, int]]:
    """Return a bitmap of the jobs of a row with evidence about a band, and the sums of their evidence."""
    if packed is None:
        return 0, (0, 0, 0)
    pixels, dark, wrapped = (int.from_bytes(packed[at : at + 8], "little") for at in range(_SUMS, _SUMS + 24, 8))
    return int.from_bytes(packed[:_SUMS], "little"), (pixels, dark, wrapped)


def pack_counted(jobs: int, sums: tuple[int, int, int]) -> bytes:
    """Return the bytes that `counted` parses."""
    return jobs.to_bytes(_SUMS, "little") + b"".join(number.to_bytes(8, "little") for number in sums)
