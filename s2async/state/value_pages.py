"""The values of the places of the last run, page by page, as arrays from which tables are made.

Values are stored by blocks of areas and read in the same way: for a page of places, each block is read once. A
page contains as many places as fit into a certain amount of memory, in the order of their names.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from s2async.models import Status
from s2async.state import packed, serialization, value_cells, value_choice
from s2async.state import reader_sql as sql
from s2async.state.packed import BITS, BLOCK, CODES
from s2async.state.records import BandOffset, ValueItem, ValuePage, ValuePlace
from s2async.state.value_cells import ValueCells
from s2async.state.value_choice import Asking, Read, Shown
from s2async.zonal.asked import asked
from s2async.zonal.wanted import COUNTS, Wanted

PAGE_BYTES: Final = 12 << 20
"""Approximate size in bytes of the numbers of a page; while it is made, memory holds them twice."""
_ANSWERED: Final = np.array([ord(CODES[s]) for s in (Status.SAVED, Status.CLOUDY, Status.MISSING)], np.uint8)
"""Codes of jobs that are reopened if they lack values."""


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """Values of one item and variable in a block."""

    item: int
    """Row of the item."""
    variable: int
    cells: ValueCells
    statistics: NDArray[np.intp]
    """Indices of the requested statistics among the stored statistics."""


def pages(read: Read, asking: Asking, area: str | None = None) -> Iterator[ValuePage]:
    """Yield the values that count, sorted by the name of the place, then time.

    Args:
        read: reads the state.
        asking: which values count.
        area: name of the only place to read.
    """
    widths = dict(read(sql.ITEMS_BY_BLOCK))
    newer = value_choice.newer_editions(read, asking)
    wanted = asking.wanted
    each = 8 * len(wanted.variables) * (len(COUNTS) + 1 + len(wanted.statistics))
    places: list[ValuePlace] = []
    size = 0
    for row in itertools.chain(read(sql.VALUE_PLACES, {"area": area}), [None]):
        if row is not None:
            places.append(ValuePlace(*row))
            size += each * widths.get(places[-1].area >> BITS, 0)
        if size >= PAGE_BYTES or (row is None and places):
            if page := _page(read, places, asking, newer):
                yield page
            places, size = [], 0


def counts(read: Read, asking: Asking) -> Mapping[int, tuple[int, int]]:
    """Count the values that count, by item, without reading their numbers: dates of all places, and rows."""
    places = [ValuePlace(*row) for row in read(sql.VALUE_PLACES, {"area": None})]
    newer, sensed = value_choice.newer_editions(read, asking), dict(read(sql.SENSED))
    found: dict[int, tuple[int, int]] = {}
    for block, numbers in _by_block(places).items():
        where = _Where.of(places, numbers)
        rows = [
            (item, asked(key), value_cells.slots_of(cells))
            for item, key, cells in read(sql.SLOTS_OF_BLOCK, (block,))
        ]
        by_item: dict[int, list[NDArray[np.bool_]]] = defaultdict(list)
        for (item, _), shown in value_choice.counting(read, block, asking, newer, rows).items():
            by_item[item].append(where.has(shown, sensed[item]))
        for item, several in by_item.items():
            dates, lines = found.get(item, (0, 0))
            dates += int(np.count_nonzero(np.logical_or.reduce(several)))
            found[item] = dates, lines + sum(int(np.count_nonzero(one)) for one in several)
    return {item: both for item, both in found.items() if both[0]}


def lacking(read: Read, asking: Asking) -> int:
    """Count the answered jobs that the next run reopens because they lack values whose files are not missing."""
    places = [ValuePlace(*row) for row in read(sql.VALUE_PLACES, {"area": None})]
    assets = serialization.selection_values(asking.selection)["valued"]
    missing = np.array([job for (job,) in read(sql.MISSING_FOR_VALUES, (assets,))], np.int64)
    questions = [asked(asking.wanted.key(variable)) for variable in asking.wanted.variables]
    found = 0
    for block, several in _by_block(places).items():
        wanted = np.zeros(BLOCK, bool)
        wanted[[places[number].area % BLOCK for number in several]] = True
        has: dict[int, NDArray[np.bool_]] = defaultdict(lambda: np.zeros((len(questions), BLOCK), bool))
        for item, key, cells in read(sql.SLOTS_OF_BLOCK, (block,)):
            slots = value_cells.slots_of(cells)
            for variable, question in enumerate(questions):
                if asked(key).serves(question):
                    has[item][variable, slots] = True
        known = value_choice.judged(read, block, asking)
        for item, letters in known.codes.items():
            jobs = wanted & known.accepted[item] & np.isin(letters, _ANSWERED) & ~has[item].all(axis=0)
            numbers = packed.job_number(item, block * BLOCK) + np.flatnonzero(jobs)
            found += int(np.count_nonzero(~np.isin(numbers, missing)))
    return found


def _by_block(places: Sequence[ValuePlace]) -> Mapping[int, Sequence[int]]:
    """Return the numbers of places by block of their areas."""
    found: dict[int, list[int]] = defaultdict(list)
    for number, place in enumerate(places):
        found[place.area >> BITS].append(number)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _Where:
    """Places in one block. A polygon may belong to several places with different names or seasons."""

    numbers: NDArray[np.intp]
    """(places,) their numbers in the page."""
    slots: NDArray[np.intp]
    since: NDArray[np.int64]
    until: NDArray[np.int64]

    @classmethod
    def of(cls, places: Sequence[ValuePlace], numbers: Sequence[int]) -> _Where:
        """Return the places with these numbers."""
        some = [places[number] for number in numbers]
        return cls(
            np.array(numbers, np.intp),
            np.array([place.area % BLOCK for place in some], np.intp),
            np.array([place.since for place in some], np.int64),
            np.array([place.until for place in some], np.int64),
        )

    def has(self, shown: NDArray[np.bool_], sensed: int) -> NDArray[np.bool_]:
        """Return which of the places have values.

        Args:
            shown: (256,) which areas have values.
            sensed: time of the item, in microseconds since 1970.
        """
        return shown[self.slots] & (self.since <= sensed) & (sensed < self.until)


def _page(
    read: Read, places: Sequence[ValuePlace], asking: Asking, newer: Mapping[int, Sequence[int]]
) -> ValuePage | None:
    items: dict[int, ValueItem] = {}
    parts: list[_Part] = []
    for block, numbers in _by_block(places).items():
        found = _read_block(read, block, asking.wanted)
        rows = [(item, asked(key), table.slots) for item, key, table in found]
        shown = value_choice.counting(read, block, asking, newer, rows)
        for row in {item for item, _ in shown} - items.keys():
            items[row] = _item(read, row)
        parts += _parts(_answers(found, asking.wanted), shown, _Where.of(places, numbers), items)
    return _joined(places, items, parts) if parts else None


def _item(read: Read, row: int) -> ValueItem:
    ((_, *columns),) = read(sql.ITEM, (row,))
    scene = serialization.to_scene(columns)
    return ValueItem(
        item=scene.id,
        collection=scene.collection,
        datetime=scene.datetime,
        platform=scene.platform,
        tile=scene.grid,
        baseline=scene.baseline,
        bands={asset: BandOffset(dn, basis, doubt) for asset, _, dn, basis, doubt in read(sql.BANDS, (row,))},
    )


# ---- one block --------------------------------------------------------------------------------------------


def _read_block(read: Read, block: int, wanted: Wanted) -> list[tuple[int, str, ValueCells]]:
    """Return the tables of a block that answer what is requested, with their items and questions."""
    questions = [asked(wanted.key(variable)) for variable in wanted.variables]
    return [
        (item, key, value_cells.unpack(cells))
        for item, key, cells in read(sql.VALUES_OF_BLOCK, (block,))
        if any(asked(key).serves(one) for one in questions)
    ]


def _answers(found: Sequence[tuple[int, str, ValueCells]], wanted: Wanted) -> Iterator[_Found]:
    """Yield the answers to what is requested; if a job has several answers to a question, only the first."""
    done: dict[tuple[int, int], NDArray[np.bool_]] = defaultdict(lambda: np.zeros(BLOCK, bool))
    questions = [asked(wanted.key(variable)) for variable in wanted.variables]
    for item, key, table in found:
        stored = asked(key)
        for variable, question in enumerate(questions):
            if stored.serves(question):
                flags = done[item, variable]
                fresh = ~flags[table.slots]
                flags[table.slots] = True
                chosen = np.array([stored.statistics.index(name) for name in question.statistics], np.intp)
                yield _Found(item, variable, table.only(fresh), chosen)


# ---- one page ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """Rows of one item and variable."""

    place: NDArray[np.intp]
    item: int
    variable: int
    counts: NDArray[np.float64]
    offset: NDArray[np.float64]
    statistics: NDArray[np.float64]


def _parts(
    answers: Iterable[_Found], shown: Shown, where: _Where, items: Mapping[int, ValueItem]
) -> Iterator[_Part]:
    """Yield the rows of the places of a block."""
    for one in answers:
        at = np.full(BLOCK, -1, np.intp)
        at[one.cells.slots] = np.arange(len(one.cells.slots))
        sensed = serialization.to_microseconds(items[one.item].datetime)
        has = where.has(shown[one.item, one.variable] & (at >= 0), sensed)
        if has.any():
            rows = at[where.slots[has]]
            yield _Part(
                where.numbers[has],
                one.item,
                one.variable,
                one.cells.counts[rows],
                _common_offset(one.cells.offsets[rows]),
                one.cells.statistics[rows][:, one.statistics],
            )


def _common_offset(offsets: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the offset of all bands of a variable; NaN if one is unknown or if they differ.

    Args:
        offsets: (rows, bands).
    """
    first: NDArray[np.float64] = offsets[:, 0]
    return np.where((offsets == first[:, np.newaxis]).all(axis=1), first, np.nan)


def _joined(places: Sequence[ValuePlace], items: Mapping[int, ValueItem], parts: Sequence[_Part]) -> ValuePage:
    """Join all rows of a page, ordered by place, time, item and variable."""
    in_time = sorted(items, key=lambda row: (items[row].datetime, items[row].item, items[row].collection))
    number = {row: order for order, row in enumerate(in_time)}
    place = np.concatenate([part.place for part in parts])
    lengths = [len(part.place) for part in parts]
    item = np.repeat(np.array([number[part.item] for part in parts], np.intp), lengths)
    variable = np.repeat(np.array([part.variable for part in parts], np.intp), lengths)
    order = np.lexsort((variable, item, place))
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))

    def all_of(columns: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        joined = np.empty((len(rank), *columns[0].shape[1:]))
        for column, rows in zip(columns, np.split(rank, np.cumsum(lengths)[:-1]), strict=True):
            joined[rows] = column
        return joined

    return ValuePage(
        places=places,
        items=tuple(items[row] for row in in_time),
        place=place[order],
        item=item[order],
        variable=variable[order],
        counts=all_of([part.counts for part in parts]),
        offset=all_of([part.offset for part in parts]),
        statistics=all_of([part.statistics for part in parts]),
    )
