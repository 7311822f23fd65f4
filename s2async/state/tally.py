"""Counts over all jobs of a state, computed from packed rows with arrays, one block of areas at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from s2async.areas.folders import FIRST, LAST
from s2async.models import Status
from s2async.state import totals_sql as sql
from s2async.state.packed import BITS, BLOCK, CODES, NO_JOB, QUEUED
from s2async.state.records import OPEN

Read: TypeAlias = Callable[..., Iterator[Any]]
"""Runs a statement with its parameters and yields its rows."""

STATUSES: Final = tuple(map(str, CODES))
"""Columns of the counts."""
_CODES: Final = tuple(ord(code) for code in CODES.values())
_SAVED, _OPEN, _FAILED = (ord(CODES[status]) for status in (Status.SAVED, OPEN, Status.FAILED))
_MISSING: Final = ord(CODES[Status.MISSING])
_DAY: Final = 86_400_000_000
"""Microseconds in a day."""


@dataclass(kw_only=True, slots=True)
class Tally:
    """Jobs of the active areas by status; arrays have the columns `STATUSES`."""

    total: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(STATUSES), np.int64))
    """Jobs that a place includes, without those replaced by a newer reprocessing."""
    by_block: dict[int, NDArray[np.int32]] = field(default_factory=dict)
    """Jobs of the areas of a block in all seasons, (BLOCK, STATUSES), without those replaced by a newer
    reprocessing. An array for each of 100,000 areas would take 20 MB more."""
    all_by_block: dict[int, NDArray[np.int32]] = field(default_factory=dict)
    """The same, including those replaced."""
    by_place: dict[int, NDArray[np.int64]] = field(default_factory=dict)
    """Like `total`, for each place that has a season."""
    scenes: dict[str, set[int]] = field(default_factory=lambda: {status: set() for status in STATUSES})
    """Rows of the items with a job that a place includes, by the job's status."""
    clear_days: int = 0
    """Number of days (UTC) with a saved job that a place includes, summed over areas."""

    def of_area(self, area: int, *, replaced: bool = False) -> NDArray[np.int32] | None:
        """Return the jobs of an area in all seasons, with or without those replaced; None if it has none."""
        block = (self.all_by_block if replaced else self.by_block).get(area >> BITS)
        return None if block is None else block[area % BLOCK]


def tally(read: Read, *, newest: bool) -> Tally:
    """Count all jobs.

    Args:
        read: reads the state.
        newest: leave out jobs without an answer if a newer reprocessing has a job for the same area.
    """
    found, plan = Tally(), _Plan.of(read, newest=newest)
    for (block,) in list(read(sql.BLOCKS)):
        if plan.active[block << BITS : (block + 1) << BITS].any():
            _add_block(found, plan, block, list(read(sql.CODES_OF_BLOCK, (block,))))
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plan:
    """The areas, places and items needed for counting."""

    active: NDArray[np.bool_]
    """By row of the area, padded to the end of the last block."""
    seasonal: NDArray[np.bool_]
    wanted: Mapping[int, Sequence[tuple[int, int, int]]]
    """Slot and period of the shelves that a place includes, for seasonal areas, by block."""
    places: Mapping[int, Sequence[tuple[int, int, int, int]]]
    """Place, slot and period of the places that have a season, by block."""
    items: NDArray[np.int64]
    """Rows of items, ascending."""
    sensed: NDArray[np.int64]
    """Times of the items, in microseconds since 1970."""
    newer: Mapping[int, Sequence[int]]
    """The better editions of items."""

    @classmethod
    def of(cls, read: Read, *, newest: bool) -> _Plan:
        areas = np.fromiter(chain.from_iterable(read(sql.AREAS)), np.int64).reshape(-1, 3)
        size = ((int(areas[-1, 0]) >> BITS) + 1) << BITS if len(areas) else 0
        flags = np.zeros((2, size), bool)
        flags[:, areas[:, 0]] = areas[:, 1:].T
        wanted: dict[int, list[tuple[int, int, int]]] = {}
        for area, since, until in read(sql.WANTED_SHELVES):
            wanted.setdefault(area >> BITS, []).append((area % BLOCK, since, until))
        places: dict[int, list[tuple[int, int, int, int]]] = {}
        for place, area, _, since, until in read(sql.PLACES_BY_NAME):
            if (since, until) != (FIRST, LAST):
                places.setdefault(area >> BITS, []).append((place, area % BLOCK, since, until))
        items = np.array(list(read(sql.ITEMS)), np.int64).reshape(-1, 2)
        newer: dict[int, list[int]] = {}
        for item, other in read(sql.SUPERSEDED) if newest else ():
            newer.setdefault(item, []).append(other)
        return cls(
            active=flags[0],
            seasonal=flags[1],
            wanted=wanted,
            places=places,
            items=items[:, 0],
            sensed=items[:, 1],
            newer=newer,
        )


def _add_block(found: Tally, plan: _Plan, block: int, rows: Sequence[tuple[int, str]]) -> None:
    """Add the jobs of a block to the counts.

    Args:
        found: the counts.
        plan: the areas, places and items of the state.
        block: number of the block.
        rows: items, ascending, and their codes.
    """
    items = [item for item, _ in rows]
    packed = bytearray(b"".join(codes.encode().ljust(BLOCK) for _, codes in rows))
    codes = np.frombuffer(packed, np.uint8).reshape(len(rows), BLOCK)
    codes[codes == ord(QUEUED)] = _OPEN
    sensed = plan.sensed[plan.items.searchsorted(items)]
    span = slice(block << BITS, (block + 1) << BITS)
    active, seasonal = plan.active[span], plan.seasonal[span]
    wanted = np.broadcast_to(active & ~seasonal, codes.shape)
    if plan.wanted.get(block):
        wanted = wanted.copy()
        for slot, since, until in plan.wanted[block]:
            wanted[:, slot] |= (sensed >= since) & (sensed < until)
    there = ~_replaced(plan, items, codes)
    there_by_area, all_by_area = np.zeros((2, BLOCK, len(STATUSES)), np.int32)
    for column, (status, code) in enumerate(zip(STATUSES, _CODES, strict=True)):
        jobs = codes == code
        if not jobs.any():
            continue
        present = jobs & there
        found.total[column] += np.count_nonzero(present & wanted)
        there_by_area[:, column], all_by_area[:, column] = present.sum(axis=0), jobs.sum(axis=0)
        for place, slot, since, until in plan.places.get(block, ()):
            in_season = (sensed >= since) & (sensed < until)
            counts = found.by_place.setdefault(place, np.zeros(len(STATUSES), np.int64))
            counts[column] += np.count_nonzero(present[:, slot] & in_season)
        of_status = (jobs & wanted).any(axis=1)
        found.scenes[status].update(np.array(items)[of_status].tolist())
        if code == _SAVED:
            found.clear_days += _days(jobs & wanted, sensed)
    found.by_block[block], found.all_by_block[block] = there_by_area, all_by_area


def _replaced(plan: _Plan, items: Sequence[int], codes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which jobs lack an answer while a better edition has a job whose file is not missing."""
    found = np.zeros(codes.shape, bool)
    if plan.newer:
        place = {item: number for number, item in enumerate(items)}
        for number, item in enumerate(items):
            for other in plan.newer.get(item, ()):
                if (better := place.get(other)) is not None:
                    found[number] |= (codes[better] != ord(NO_JOB)) & (codes[better] != _MISSING)
        found &= (codes == _OPEN) | (codes == _FAILED)
    return found


def _days(saved: NDArray[np.bool_], sensed: NDArray[np.int64]) -> int:
    """Count the days with a saved job, summed over areas.

    Args:
        saved: (items, areas).
        sensed: (items,), microseconds since 1970.
    """
    day = sensed // _DAY
    order = np.argsort(day, kind="stable")
    starts = np.flatnonzero(np.diff(day[order], prepend=day[order][0] - 1))
    return int(np.count_nonzero(np.logical_or.reduceat(saved[order], starts, axis=0)))
