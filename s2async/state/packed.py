"""Millions of jobs and answers in few rows: packed columns of the state, and what they hold. Pure.

A job is an item and an area, and its number is made of their rows. Areas are taken by blocks of 256, in the order
of their rows; what is known of an item and a block is one row: the *codes* of its jobs, a letter each, and the
*cells* of each measurement, a table of numbers.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from struct import pack, unpack_from
from typing import TYPE_CHECKING, Final

from s2async.models import CloudMeasure, Status
from s2async.state.records import OPEN

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BITS: Final = 8
BLOCK: Final = 1 << BITS
"""Areas of a block."""
QUEUED: Final = "O"
"""Code of an open job that the present run has put into its queue."""
NO_JOB: Final = " "
CODES: Final[Mapping[str, str]] = {
    OPEN: "o",
    Status.SAVED: "s",
    Status.CLOUDY: "c",
    Status.NODATA: "n",
    Status.OUTSIDE: "x",
    Status.MISSING: "m",
    Status.FAILED: "f",
    Status.DUPLICATE: "d",
}
"""Code of each status. These letters are a file format."""
STATUSES: Final[Mapping[str, str]] = {code: str(status) for status, code in CODES.items()} | {QUEUED: OPEN}

_PLAIN, _ZLIB = b"\0", b"\1"
_FEW: Final = 32
"""Up to this number of cells, their slots are listed; the slots of more are a bitmap of 32 bytes."""
_WIDTHS: Final = {1: "B", 2: "H", 4: "I", 8: "Q"}
"""Bytes of a number, and its code in `struct`."""


# ---- numbers of jobs --------------------------------------------------------------------------------------


def job_number(item: int, area: int) -> int:
    """The number of the job of an item and an area, by their rows."""
    return item << 32 | area


def item_of(job: int) -> int:
    """Row of the item of a job."""
    return job >> 32


def area_of(job: int) -> int:
    """Row of the area of a job."""
    return job & 0xFFFFFFFF


def block_of(job: int) -> int:
    """Block of the area of a job."""
    return area_of(job) >> BITS


def slot_of(job: int) -> int:
    """Place of a job in its row: 0 to 255."""
    return job & (BLOCK - 1)


def row_of(job: int) -> int:
    """A number that is equal for the jobs of one item and block."""
    return job >> BITS


def by_row(jobs: Iterable[int]) -> dict[tuple[int, int], list[int]]:
    """Jobs by item and block."""
    rows: dict[tuple[int, int], list[int]] = {}
    for job in jobs:
        rows.setdefault((item_of(job), block_of(job)), []).append(job)
    return rows


# ---- codes ------------------------------------------------------------------------------------------------


def with_codes(codes: str, changes: Mapping[int, str]) -> str:
    """Codes of a row with others at some slots."""
    if not changes:
        return codes
    letters = list(codes.ljust(max(changes) + 1, NO_JOB))
    for slot, code in changes.items():
        letters[slot] = code
    return "".join(letters).rstrip(NO_JOB)


def code_at(codes: str, slot: int) -> str:
    """The code at a slot; `NO_JOB` beyond the last one."""
    return codes[slot] if slot < len(codes) else NO_JOB


# ---- cells ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cells:
    """Numbers of some jobs of a row."""

    slots: NDArray[np.uint8]
    """(jobs,), ascending."""
    values: NDArray[np.int64]
    """(jobs, columns). Of a measurement of clouds: the pixels that its raster does not hold, then the bins."""

    def measure(self, slot: int, rule: str) -> CloudMeasure | None:
        """The measurement of clouds at a slot; None if there is none."""
        at = self.slots.tobytes().find(slot)  # a third of the time of searchsorted
        if at < 0:
            return None
        return _measure(self.values[at].tolist(), rule)


def pack_cells(cells: Cells) -> bytes:
    """Pack cells: each column with the smallest width that holds its numbers, none for a column of zeros.

    Raises:
        ValueError: there are no cells.
    """
    import numpy as np  # loaded only here and below: counting jobs needs no arrays of cells

    jobs, columns = cells.values.shape
    if not jobs:
        raise ValueError("no cells")
    if jobs <= _FEW:
        slots = cells.slots.tobytes()
    else:
        present = np.zeros(BLOCK, bool)
        present[cells.slots] = True
        slots = np.packbits(present, bitorder="little").tobytes()
    widths, parts = bytearray(), list[bytes]()
    for column, top in enumerate(cells.values.max(axis=0).tolist()):
        widths.append(width := _width(top))
        if width:
            parts.append(cells.values[:, column].astype(f"<u{width}").tobytes())
    plain = b"".join((bytes((jobs - 1, columns)), slots, widths, *parts))
    small = zlib.compress(plain, 1) if jobs > _FEW else plain
    return _ZLIB + small if len(small) < len(plain) * 0.9 else _PLAIN + plain


@lru_cache(maxsize=64)
def unpack_cells(packed: bytes) -> Cells:
    """The cells of `pack_cells`, read-only. Jobs of a row ask for the same ones one after the other."""
    import numpy as np

    plain = packed[1:] if packed[:1] == _PLAIN else zlib.decompress(packed[1:])
    jobs, columns = plain[0] + 1, plain[1]
    if jobs <= _FEW:
        at = 2 + jobs
        slots = np.frombuffer(plain, np.uint8, jobs, 2)
    else:
        at = 2 + BLOCK // 8
        bits = np.unpackbits(np.frombuffer(plain, np.uint8, BLOCK // 8, 2), bitorder="little")
        slots = np.flatnonzero(bits).astype(np.uint8)
    widths = plain[at : at + columns]
    at += columns
    values = np.zeros((jobs, columns), np.int64)
    for column, width in enumerate(widths):
        if width:
            values[:, column] = np.frombuffer(plain, f"<u{width}", jobs, at)
            at += width * jobs
    values.setflags(write=False)
    return Cells(slots, values)


def _width(top: int) -> int:
    """Bytes of each number of a column, by its largest one."""
    return next(width for width in _WIDTHS if top >> 8 * width == 0) if top else 0


def pack_few(rows: Mapping[int, Sequence[int]]) -> bytes:
    """The same as `pack_cells` for at most 32 jobs, in a tenth of the time.

    Args:
        rows: numbers by slot.
    """
    slots = sorted(rows)
    widths, parts = bytearray(), list[bytes]()
    for column in zip(*(rows[slot] for slot in slots), strict=True):
        widths.append(width := _width(max(column)))
        if width:
            parts.append(pack(f"<{len(column)}{_WIDTHS[width]}", *column))
    return b"".join((_PLAIN, bytes((len(slots) - 1, len(widths), *slots)), widths, *parts))


def unpack_few(packed: bytes) -> dict[int, tuple[int, ...]] | None:
    """The rows of `pack_few` by slot; None if there are more."""
    jobs, columns = packed[1] + 1, packed[2]
    if packed[:1] != _PLAIN or jobs > _FEW:
        return None
    at = 3 + jobs + columns
    found = list[tuple[int, ...]]()
    for width in packed[3 + jobs : at]:
        found.append(unpack_from(f"<{jobs}{_WIDTHS[width]}", packed, at) if width else (0,) * jobs)
        at += width * jobs
    return dict(zip(packed[3 : 3 + jobs], zip(*found, strict=True), strict=True))


def merged(old: Cells | None, new: Cells) -> Cells:
    """All cells of two tables; of a slot that both have, the new ones.

    Tables of another number of columns are of another version of a rule: they are replaced as a whole.
    """
    import numpy as np

    if old is None or old.values.shape[1] != new.values.shape[1]:
        return new
    kept = ~np.isin(old.slots, new.slots)
    slots = np.concatenate([old.slots[kept], new.slots])
    order = np.argsort(slots)
    return Cells(slots[order], np.concatenate([old.values[kept], new.values])[order])


# ---- measurements of clouds -------------------------------------------------------------------------------


def with_measures(packed: bytes | None, measures: Mapping[int, CloudMeasure]) -> bytes:
    """Packed cells with other or more measurements of their rule, by slot."""
    old = {} if packed is None else unpack_few(packed)
    if old is not None:
        new = {slot: _numbers(measure) for slot, measure in measures.items()}
        columns = {len(row) for row in new.values()}
        rows = {slot: row for slot, row in old.items() if {len(row)} == columns} | new
        if len(rows) <= _FEW:
            return pack_few(rows)
    return pack_cells(merged(None if packed is None else unpack_cells(packed), measure_cells(measures)))


def _numbers(measure: CloudMeasure) -> tuple[int, ...]:
    """A row of cells."""
    return measure.total - sum(measure.histogram), *measure.histogram


def measure_cells(measures: Mapping[int, CloudMeasure]) -> Cells:
    """Measurements of one rule, by slot, as cells."""
    import numpy as np

    slots = sorted(measures)
    values = [_numbers(measures[slot]) for slot in slots]
    return Cells(np.array(slots, np.uint8), np.array(values, np.int64))


def all_measures(packed: bytes, rule: str) -> list[CloudMeasure]:
    """All measurements of packed cells."""
    return [_measure(row, rule) for row in unpack_cells(packed).values.tolist()]


def measure_at(packed: bytes | None, slot: int, rule: str) -> CloudMeasure | None:
    """The measurement at a slot of packed cells; None if there is none."""
    if packed is None:
        return None
    return unpack_cells(packed).measure(slot, rule)


def _measure(numbers: Sequence[int], rule: str) -> CloudMeasure:
    unseen, *counts = numbers
    return CloudMeasure(histogram=tuple(counts), total=unseen + sum(counts), rule=rule)
