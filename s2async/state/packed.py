"""Millions of jobs and answers in few rows: the packed columns of the state and their contents. Pure.

A job is an item and an area, and its number consists of the numbers of their rows. Areas are grouped into blocks
of 256, in the order of their rows. What is known about an item and a block is stored in one row: the *codes* of
its jobs, one letter for each, and the *cells* of each measurement, a table of numbers.
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
"""Number of areas in a block."""
QUEUED: Final = "O"
"""Code of an open job that the current run has put into its queue."""
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
"""Code of each status. These letters are part of the file format."""
STATUSES: Final[Mapping[str, str]] = {code: str(status) for status, code in CODES.items()} | {QUEUED: OPEN}

_PLAIN, _ZLIB = b"\0", b"\1"
FEW: Final = 32
"""Up to this number of jobs, their slots are stored as a list, above it as a bitmap of 32 bytes."""
_WIDTHS: Final = {1: "B", 2: "H", 4: "I", 8: "Q"}
"""Code in `struct` for each width of a number in bytes."""


# ---- numbers of jobs --------------------------------------------------------------------------------------


def job_number(item: int, area: int) -> int:
    """Return the number of the job of an item and an area, from the numbers of their rows."""
    return item << 32 | area


def item_of(job: int) -> int:
    """Return the row of a job's item."""
    return job >> 32


def area_of(job: int) -> int:
    """Return the row of a job's area."""
    return job & 0xFFFFFFFF


def block_of(job: int) -> int:
    """Return the block of a job's area."""
    return area_of(job) >> BITS


def slot_of(job: int) -> int:
    """Return the slot of a job in its row: 0 to 255."""
    return job & (BLOCK - 1)


def row_of(job: int) -> int:
    """Return a number that is equal for all jobs of one item and block."""
    return job >> BITS


def by_row(jobs: Iterable[int]) -> dict[tuple[int, int], list[int]]:
    """Group jobs by item and block."""
    rows: dict[tuple[int, int], list[int]] = {}
    for job in jobs:
        rows.setdefault((item_of(job), block_of(job)), []).append(job)
    return rows


# ---- codes ------------------------------------------------------------------------------------------------


def with_codes(codes: str, changes: Mapping[int, str]) -> str:
    """Return the codes of a row with the codes at some slots replaced."""
    if not changes:
        return codes
    letters = list(codes.ljust(max(changes) + 1, NO_JOB))
    for slot, code in changes.items():
        letters[slot] = code
    return "".join(letters).rstrip(NO_JOB)


def code_at(codes: str, slot: int) -> str:
    """Return the code at a slot; `NO_JOB` beyond the end."""
    return codes[slot] if slot < len(codes) else NO_JOB


# ---- cells ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cells:
    """Numbers of some jobs of a row."""

    slots: NDArray[np.uint8]
    """(jobs,), ascending."""
    values: NDArray[np.int64]
    """(jobs, columns). For a cloud measurement: the number of pixels outside the raster, then the bins."""

    def measure(self, slot: int, rule: str) -> CloudMeasure | None:
        """Return the cloud measurement at a slot, or None if there is none."""
        at = self.slots.tobytes().find(slot)  # a third of the time of searchsorted
        if at < 0:
            return None
        return _measure(self.values[at].tolist(), rule)


def pack_slots(slots: NDArray[np.uint8]) -> bytes:
    """Pack the slots of a table, which are ascending: up to `FEW` as a list, more as a bitmap."""
    import numpy as np  # imported only here and below, because counting jobs needs no arrays of cells

    if len(slots) <= FEW:
        return slots.tobytes()
    present = np.zeros(BLOCK, bool)
    present[slots] = True
    return np.packbits(present, bitorder="little").tobytes()


def unpack_slots(packed: bytes, jobs: int, at: int) -> tuple[NDArray[np.uint8], int]:
    """Return the slots that `pack_slots` has packed, and where their bytes end.

    Args:
        packed: bytes that contain the slots.
        jobs: number of slots.
        at: where their bytes begin.
    """
    import numpy as np

    if jobs <= FEW:
        return np.frombuffer(packed, np.uint8, jobs, at), at + jobs
    bits = np.unpackbits(np.frombuffer(packed, np.uint8, BLOCK // 8, at), bitorder="little")
    return np.flatnonzero(bits).astype(np.uint8), at + BLOCK // 8


def pack_cells(cells: Cells) -> bytes:
    """Pack cells: each column with the smallest width that fits its numbers; a column of zeros takes no bytes.

    Raises:
        ValueError: there are no cells.
    """
    jobs, columns = cells.values.shape
    if not jobs:
        raise ValueError("no cells")
    widths, parts = bytearray(), list[bytes]()
    for column, top in enumerate(cells.values.max(axis=0).tolist()):
        widths.append(width := _width(top))
        if width:
            parts.append(cells.values[:, column].astype(f"<u{width}").tobytes())
    plain = b"".join((bytes((jobs - 1, columns)), pack_slots(cells.slots), widths, *parts))
    small = zlib.compress(plain, 1) if jobs > FEW else plain
    return _ZLIB + small if len(small) < len(plain) * 0.9 else _PLAIN + plain


@lru_cache(maxsize=64)
def unpack_cells(packed: bytes) -> Cells:
    """Return packed cells, read-only. The result is cached, because jobs of a row need the same cells in turn."""
    import numpy as np

    plain = packed[1:] if packed[:1] == _PLAIN else zlib.decompress(packed[1:])
    jobs, columns = plain[0] + 1, plain[1]
    slots, at = unpack_slots(plain, jobs, 2)
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
    """Return the width in bytes of the numbers of a column, from its largest number."""
    return next(width for width in _WIDTHS if top >> 8 * width == 0) if top else 0


def pack_few(rows: Mapping[int, Sequence[int]]) -> bytes:
    """Pack at most 32 jobs like `pack_cells`, in a tenth of the time.

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
    """Return the rows in packed cells, by slot; None if there are more than 32 jobs."""
    jobs, columns = packed[1] + 1, packed[2]
    if packed[:1] != _PLAIN or jobs > FEW:
        return None
    at = 3 + jobs + columns
    found = list[tuple[int, ...]]()
    for width in packed[3 + jobs : at]:
        found.append(unpack_from(f"<{jobs}{_WIDTHS[width]}", packed, at) if width else (0,) * jobs)
        at += width * jobs
    return dict(zip(packed[3 : 3 + jobs], zip(*found, strict=True), strict=True))


def merged(old: Cells | None, new: Cells) -> Cells:
    """Return the cells of two tables; for a slot in both tables, the new cells.

    A table with another number of columns comes from another version of a rule and is replaced as a whole.
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
    """Return packed cells with some measurements added or replaced, by slot; all are of one rule."""
    old = {} if packed is None else unpack_few(packed)
    if old is not None:
        new = {slot: _numbers(measure) for slot, measure in measures.items()}
        columns = {len(row) for row in new.values()}
        rows = {slot: row for slot, row in old.items() if {len(row)} == columns} | new
        if len(rows) <= FEW:
            return pack_few(rows)
    return pack_cells(merged(None if packed is None else unpack_cells(packed), measure_cells(measures)))


def _numbers(measure: CloudMeasure) -> tuple[int, ...]:
    """Return a measurement as a row of cells."""
    return measure.total - sum(measure.histogram), *measure.histogram


def measure_cells(measures: Mapping[int, CloudMeasure]) -> Cells:
    """Return measurements of one rule, by slot, as cells."""
    import numpy as np

    slots = sorted(measures)
    values = [_numbers(measures[slot]) for slot in slots]
    return Cells(np.array(slots, np.uint8), np.array(values, np.int64))


def all_measures(packed: bytes, rule: str) -> list[CloudMeasure]:
    """Return all measurements in packed cells."""
    return [_measure(row, rule) for row in unpack_cells(packed).values.tolist()]


def measure_at(packed: bytes | None, slot: int, rule: str) -> CloudMeasure | None:
    """Return the measurement at a slot of packed cells, or None if there is none."""
    if packed is None:
        return None
    return unpack_cells(packed).measure(slot, rule)


def _measure(numbers: Sequence[int], rule: str) -> CloudMeasure:
    unseen, *counts = numbers
    return CloudMeasure(histogram=tuple(counts), total=unseen + sum(counts), rule=rule)
