"""Finds the overpasses whose choice may be another than before: by arrays, a block of areas after the other.

A run that goes on has millions of jobs, whose statuses mostly are what the choice would give them again. To find
those takes about a microsecond a job, and to make the choice takes some thirty. So whatever is not plain is left
to the choice: jobs that failed or lack a file, items with several editions, and overpasses that cannot be told
apart by their items alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from s2async.catalog.overpasses import same_overpass, zone_number
from s2async.catalog.reprocessing import LONGEST_DATATAKE
from s2async.clouds.overpass import Rules
from s2async.clouds.rule import VERDICTS
from s2async.models import Status
from s2async.state import packed, values
from s2async.state import writer_sql as sql
from s2async.state.database import Connection
from s2async.state.packed import BLOCK, CODES, NO_JOB, QUEUED
from s2async.state.records import OPEN
from s2async.state.serialization import from_microseconds, selection_values

_Flags: TypeAlias = NDArray[np.bool_]
"""(256,), one for each area of a block."""
_Counts: TypeAlias = NDArray[np.int64]
"""(256,), one for each area of a block."""


def _code(status: str) -> int:
    return ord(CODES[status])


_SAVED, _CLOUDY, _NODATA, _OUTSIDE = map(_code, (Status.SAVED, Status.CLOUDY, Status.NODATA, Status.OUTSIDE))
_DUPLICATE, _OPEN, _QUEUED, _NO_JOB = _code(Status.DUPLICATE), _code(OPEN), ord(QUEUED), ord(NO_JOB)
_IS_CLEAR, _IS_CLOUDY, _HAS_NO_DATA = map(VERDICTS.index, (None, Status.CLOUDY, Status.NODATA))
_UNMEASURED: Final = 255
"""In place of a verdict."""


class Doubt(NamedTuple):
    """Items that may be of one overpass, and the areas for which the choice among them may be another by now."""

    items: frozenset[int]
    since: datetime
    """The first time of an item."""
    until: datetime
    """The last one."""
    areas: list[int]


class _Item(NamedTuple):
    """An item, as far as overpasses and their choice are concerned; a `catalog.overpasses.Sighting`."""

    id: int
    collection: str
    name: str
    datetime: datetime
    datatake: str
    platform: str
    zone: int | None
    has_editions: bool

    @property
    def label(self) -> str:
        """By which the choice sorts items that are equally good."""
        return f"{self.name} {self.collection}"


@dataclass(frozen=True, slots=True, eq=False)
class _Areas:
    """The active areas of a block."""

    active: _Flags
    seasonal: _Flags
    zones: _Counts
    """0 where it is unknown."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Row:
    """The jobs of an item and a block of areas."""

    codes: NDArray[np.uint8]
    verdicts: NDArray[np.uint8]
    """Indices of `clouds.rule.VERDICTS`, or `_UNMEASURED`."""
    valid: _Counts
    bad: _Counts
    total: _Counts
    has_crops: _Flags
    """It has the crops of all selected assets."""
    lacks: _Flags
    """It lacks an asset, or lacked one."""
    accepted: _Flags
    """It needs values: the rule of values accepts it."""
    has_values: _Flags
    """It has all wanted values."""


def doubts(db: Connection, rules: Rules) -> Iterator[Doubt]:
    """Find where the choice may be another by now. Everywhere else, no status would change.

    Args:
        db: the open transaction.
        rules: by what is chosen.
    """
    areas = _active(db)
    for items, is_plain in _overpasses(db):
        rows = [_rows(db, item.id, rules) for item in items]
        found: list[int] = []
        for block in sorted({block for of_item in rows for block in of_item if block in areas}):
            there = [(item, of_item[block]) for item, of_item in zip(items, rows, strict=True) if block in of_item]
            flags = _doubtful(there, areas[block], is_plain=is_plain)
            found += (block * BLOCK + np.flatnonzero(flags)).tolist()
        if found:
            times = [item.datetime for item in items]
            yield Doubt(frozenset(item.id for item in items), min(times), max(times), found)


def _active(db: Connection) -> Mapping[int, _Areas]:
    """The active areas by block."""
    found: dict[int, _Areas] = {}
    for area, seasonal, zone in db.execute(sql.AREAS_TO_CHOOSE):
        block, slot = area >> packed.BITS, area & (BLOCK - 1)
        if block not in found:
            found[block] = _Areas(np.zeros(BLOCK, bool), np.zeros(BLOCK, bool), np.zeros(BLOCK, np.int64))
        found[block].active[slot] = True
        found[block].seasonal[slot] = seasonal
        found[block].zones[slot] = zone or 0
    return found


def _overpasses(db: Connection) -> Iterator[tuple[list[_Item], bool]]:
    """All items by overpass, whatever their areas; and whether any part of them is one overpass, too."""
    cluster: list[_Item] = []
    for row, collection, name, sensed, datatake, platform, grid, epsg, editions in db.execute(
        sql.ITEMS_BY_TIME
    ).fetchall():
        zone, time = zone_number(grid, epsg), from_microseconds(sensed)
        item = _Item(row, collection, name, time, datatake, platform, zone, bool(editions))
        if cluster and item.datetime - cluster[-1].datetime > LONGEST_DATATAKE:
            yield from _parts(cluster)
            cluster = []
        cluster.append(item)
    yield from _parts(cluster)


def _parts(cluster: Sequence[_Item]) -> Iterator[tuple[list[_Item], bool]]:
    """The overpasses among items that follow one another closely."""
    left = list(cluster)
    while left:
        part, edge = [], [left.pop(0)]
        while edge:
            part.append(one := edge.pop())
            near = [other for other in left if same_overpass(one, other)]
            left = [other for other in left if other not in near]
            edge += near
        is_whole = all(same_overpass(one, other) for one, other in combinations(part, 2))
        yield part, is_whole and not any(item.has_editions for item in part)


def _rows(db: Connection, item: int, rules: Rules) -> dict[int, _Row]:
    """The jobs of an item by block."""
    rule, selection, values_rule = rules.rule, rules.selection, rules.values_rule
    first, last = packed.job_number(item, 0), packed.job_number(item + 1, 0) - 1
    which = selection_values(selection) | {"item": item, "first": first, "last": last}
    crops = [
        np.fromiter((job - first for (job,) in db.execute(sql.VALID_PRODUCTS, which | {"asset": asset})), np.int64)
        for asset in selection.assets
    ]
    lacking = np.array([job - first for (job,) in db.execute(sql.ANY_ABSENCES, which)], np.int64)
    found: dict[int, _Row] = {}
    for block, codes, cells in db.execute(sql.ROWS_OF_ITEM, which):
        valid, bad, total = (np.zeros(BLOCK, np.int64) for _ in range(3))
        verdicts = np.full(BLOCK, _UNMEASURED, np.uint8)
        accepted, has_values = np.zeros(BLOCK, bool), np.ones(BLOCK, bool)
        if cells is not None:
            known = packed.unpack_cells(cells)
            counts, pixels = known.values[:, 1:], known.values.sum(axis=1)
            verdicts[known.slots] = rule.verdicts(counts, pixels)
            valid[known.slots] = counts[:, 1:-1].sum(axis=1)
            bad[known.slots] = counts[:, sorted(rule.spoilt)].sum(axis=1)
            total[known.slots] = pixels
            if values_rule and selection.values:
                accepted[known.slots] = values_rule.verdicts(counts, pixels) == _IS_CLEAR
                has_values = values.complete(db, item, block, selection.values)
        has_crops = np.ones(BLOCK, bool)
        for numbers in crops:
            has_crops &= _among(numbers, block)
        old = np.frombuffer(codes.encode().ljust(BLOCK), np.uint8)
        found[block] = _Row(
            codes=old,
            verdicts=verdicts,
            valid=valid,
            bad=bad,
            total=total,
            has_crops=has_crops,
            lacks=_among(lacking, block),
            accepted=accepted,
            has_values=has_values,
        )
    return found


def _among(areas: NDArray[np.int64], block: int) -> _Flags:
    """Which areas of a block are among some, which are in ascending order."""
    found = np.zeros(BLOCK, bool)
    low, high = areas.searchsorted([block * BLOCK, (block + 1) * BLOCK])
    found[areas[low:high] - block * BLOCK] = True
    return found


def _doubtful(rows: Sequence[tuple[_Item, _Row]], areas: _Areas, *, is_plain: bool) -> _Flags:
    """For which areas of a block the choice may be another.

    Args:
        rows: the items of an overpass that have jobs for areas of the block.
        areas: of the block.
        is_plain: the items are of one overpass, and all of them take part.
    """
    present = [(row.codes != _NO_JOB) & (row.codes != _OUTSIDE) & areas.active for _, row in rows]
    doubtful, waiting = np.zeros(BLOCK, bool), np.zeros(BLOCK, bool)
    if not is_plain:
        for there in present:
            doubtful |= there
        return doubtful
    if len({item.datetime.date() for item, _ in rows}) > 1:
        doubtful |= areas.seasonal  # perhaps not all of the items are wanted
    best = [np.full(BLOCK, -1, np.int64) for _ in range(6)]
    counts, are_duplicates = np.zeros(BLOCK, bool), np.ones(BLOCK, bool)  # the best, and all others
    lacks_values = np.zeros(BLOCK, bool)  # the best
    for number, (item, row) in sorted(enumerate(rows), key=lambda one: one[1][0].label):
        there = present[number]
        is_open = (row.codes == _OPEN) | (row.codes == _QUEUED)
        is_measured = row.verdicts != _UNMEASURED
        waiting |= there & is_open & ~is_measured
        is_cloudy, is_clear = row.verdicts == _IS_CLOUDY, (row.verdicts == _IS_CLEAR) & row.has_crops & ~row.lacks
        out = ~is_measured | (row.verdicts == _HAS_NO_DATA)
        sound = (
            ((row.codes == _SAVED) & is_clear)
            | ((row.codes == _CLOUDY) & is_cloudy)
            | ((row.codes == _NODATA) & out)
            | ((row.codes == _DUPLICATE) & (is_clear | is_cloudy | out))
        )
        doubtful |= there & ~(sound & (out | (row.valid > 0)))
        complete = there & sound & ~out
        is_far = areas.zones != (item.zone or -1)
        own = [flags.astype(np.int64) for flags in (is_cloudy, ~row.accepted, is_far)]
        own += [row.valid, row.total, row.bad]
        is_counting = row.codes != _DUPLICATE
        better = complete & ((best[0] < 0) | _is_better(own, best))
        are_duplicates &= ~np.where(better, counts, complete & is_counting)
        counts = np.where(better, is_counting, counts)
        lacks_values = np.where(better, row.accepted & ~row.has_values, lacks_values)
        best = [np.where(better, new, old) for new, old in zip(own, best, strict=True)]
    doubtful |= (best[0] >= 0) & ~(counts & are_duplicates & ~lacks_values)
    return doubtful & ~waiting


def _is_better(one: Sequence[_Counts], other: Sequence[_Counts]) -> _Flags:
    """Where the first of two jobs counts, by the order of `clouds.overpass.rank`; False where both are alike.

    Args:
        one: whether it is cloudy, has no values, and is not of the home zone; its valid, its total and its spoilt
            pixels.
        other: likewise.
    """
    (cloudy, bare, far, valid, total, bad), (cloudy2, bare2, far2, valid2, total2, bad2) = one, other
    more, less = valid * total2, valid2 * total  # shares as products: they are exact
    spoilt, spoilt2 = bad * valid2, bad2 * valid
    found: _Flags = np.where(more != less, more > less, spoilt < spoilt2)
    for own, others in ((far, far2), (bare, bare2), (cloudy, cloudy2)):
        found = np.where(own != others, own < others, found)
    return found
