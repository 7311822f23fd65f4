"""Finds the overpasses whose choice of item may have changed, with arrays, for many rows of the state at once.

A run that resumes has millions of jobs, most of which would get the status that they already have. Finding these
jobs takes about a microsecond per job, while making the choice takes some thirty. Everything that is not simple is
left to the choice: jobs that failed or lack a file, items with several editions, and overpasses that cannot be
told apart by their items alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from s2async.clouds.overpass import Rules
from s2async.clouds.rule import VERDICTS
from s2async.models import Selection, Status
from s2async.state import packed, values
from s2async.state import writer_sql as sql
from s2async.state.database import Connection
from s2async.state.item_groups import Item, grouped
from s2async.state.packed import BLOCK, CODES, NO_JOB, QUEUED
from s2async.state.records import OPEN
from s2async.state.serialization import selection_values

PAGE: Final = 256
"""Rows of jobs, of 256 areas each, that are processed together; they take about 20 MB."""

_Flags: TypeAlias = NDArray[np.bool_]
"""(256,) or (rows, 256): one flag for each area of a block."""
_Counts: TypeAlias = NDArray[np.int64]
"""(256,) or (rows, 256): one number for each area of a block."""


def _code(status: str) -> int:
    return ord(CODES[status])


_SAVED, _CLOUDY, _NODATA, _OUTSIDE = map(_code, (Status.SAVED, Status.CLOUDY, Status.NODATA, Status.OUTSIDE))
_DUPLICATE, _OPEN, _QUEUED, _NO_JOB = _code(Status.DUPLICATE), _code(OPEN), ord(QUEUED), ord(NO_JOB)
_IS_CLEAR, _IS_CLOUDY, _HAS_NO_DATA = map(VERDICTS.index, (None, Status.CLOUDY, Status.NODATA))
_UNMEASURED: Final = 255
"""Stands for a missing verdict."""


class Doubt(NamedTuple):
    """Items that may be of one overpass, and the areas for which another one of them may have to be chosen now."""

    items: frozenset[int]
    since: datetime
    """Time of the earliest item."""
    until: datetime
    """Time of the latest item."""
    areas: list[int]


@dataclass(frozen=True, slots=True, eq=False)
class _Areas:
    """The active areas of a block."""

    active: _Flags
    seasonal: _Flags
    zones: _Counts
    """0 if the zone is unknown."""


@dataclass(frozen=True, slots=True)
class _Overpass:
    """The items of an overpass, with their rows of the state."""

    items: Sequence[Item]
    """Items, sorted by label."""
    is_plain: bool
    """Whether every subset of the items is also one overpass."""
    rows: Mapping[int, Mapping[int, tuple[str, bytes | None]]]
    """Codes and cells, by item and block."""

    def by_block(self, blocks: Collection[int]) -> Iterator[tuple[int, list[Item]]]:
        """Yield, for each of the blocks, the items that have jobs for some areas of the block."""
        for block in sorted({block for rows in self.rows.values() for block in rows if block in blocks}):
            yield block, [item for item in self.items if block in self.rows[item.id]]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Facts:
    """What is known about the jobs of some rows; each array is (rows, 256)."""

    places: Mapping[tuple[int, int], int]
    """Row number by item and block."""
    codes: NDArray[np.uint8]
    verdicts: NDArray[np.uint8]
    """Indices of `clouds.rule.VERDICTS`, or `_UNMEASURED`."""
    valid: _Counts
    bad: _Counts
    total: _Counts
    has_crops: _Flags
    """Whether a job has the crops of all selected assets."""
    lacks: _Flags
    """Whether a job lacks an asset or lacked one before."""
    accepted: _Flags
    """Whether a job needs values, that is, the rule of values accepts it."""
    has_values: _Flags
    """Whether a job has all requested values."""


def doubts(db: Connection, rules: Rules) -> Iterator[Doubt]:
    """Find where the choice may have changed. Everywhere else, no status would change.

    Args:
        db: the open transaction.
        rules: the rules for the choice.
    """
    areas = _active(db)
    for page in _pages(db, rules):
        found = _doubtful_areas(page, areas, _facts(db, page, rules))
        for overpass, some in zip(page, found, strict=True):
            if some:
                times = [item.datetime for item in overpass.items]
                yield Doubt(frozenset(item.id for item in overpass.items), min(times), max(times), sorted(some))


def _doubtful_areas(page: Sequence[_Overpass], areas: Mapping[int, _Areas], facts: _Facts) -> list[list[int]]:
    """Return the areas for which the choice may have changed, for each overpass of a page."""
    found: list[list[int]] = [[] for _ in page]
    alike: dict[tuple[int, int], list[tuple[int, list[Item]]]] = defaultdict(list)
    for number, overpass in enumerate(page):
        for block, items in overpass.by_block(areas):
            if overpass.is_plain:
                alike[block, len(items)].append((number, items))
            else:
                there = _present(facts.codes[[facts.places[item.id, block] for item in items]], areas[block])
                found[number] += (block * BLOCK + np.flatnonzero(there.any(axis=0))).tolist()
    for (block, _), group in alike.items():
        flags = _doubtful([items for _, items in group], block, areas[block], facts)
        for (number, _), of_overpass in zip(group, flags, strict=True):
            found[number] += (block * BLOCK + np.flatnonzero(of_overpass)).tolist()
    return found


def _active(db: Connection) -> Mapping[int, _Areas]:
    """Return the active areas by block."""
    found: dict[int, _Areas] = {}
    for area, seasonal, zone in db.execute(sql.AREAS_TO_CHOOSE):
        block, slot = area >> packed.BITS, area & (BLOCK - 1)
        if block not in found:
            found[block] = _Areas(np.zeros(BLOCK, bool), np.zeros(BLOCK, bool), np.zeros(BLOCK, np.int64))
        found[block].active[slot] = True
        found[block].seasonal[slot] = seasonal
        found[block].zones[slot] = zone or 0
    return found


def _pages(db: Connection, rules: Rules) -> Iterator[list[_Overpass]]:
    """Yield all overpasses with their rows, page by page."""
    page, size = list[_Overpass](), 0
    for items, is_plain in _overpasses(db):
        rows: dict[int, dict[int, tuple[str, bytes | None]]] = {}
        for item in items:
            found = db.execute(sql.ROWS_OF_ITEM, {"item": item.id, "rule": rules.selection.rule})
            rows[item.id] = {block: (codes, cells) for block, codes, cells in found}
            size += len(rows[item.id])
        page.append(_Overpass(sorted(items, key=lambda item: item.label), is_plain, rows))
        if size >= PAGE:
            yield page
            page, size = [], 0
    yield page


def _overpasses(db: Connection) -> Iterator[tuple[list[Item], bool]]:
    """Return all items by overpass, for any areas, and whether every subset of the items is also one overpass."""
    rows = db.execute(sql.ITEMS_BY_TIME).fetchall()
    return grouped(Item.of_row(*columns, has_editions=bool(editions)) for *columns, editions in rows)


def _facts(db: Connection, page: Sequence[_Overpass], rules: Rules) -> _Facts:
    """Return what is known about the jobs of some overpasses."""
    rows = [
        (item, block, *row)
        for overpass in page
        for item in overpass.rows
        for block, row in overpass.rows[item].items()
    ]
    shape = len(rows), BLOCK
    facts = _Facts(
        places={(item, block): number for number, (item, block, *_) in enumerate(rows)},
        codes=np.frombuffer("".join(codes.ljust(BLOCK) for _, _, codes, _ in rows).encode(), np.uint8).reshape(
            shape
        ),
        verdicts=np.full(shape, _UNMEASURED, np.uint8),
        valid=np.zeros(shape, np.int64),
        bad=np.zeros(shape, np.int64),
        total=np.zeros(shape, np.int64),
        has_crops=np.ones(shape, bool),
        lacks=np.zeros(shape, bool),
        accepted=np.zeros(shape, bool),
        has_values=np.ones(shape, bool),
    )
    _add_files(db, page, rules.selection, facts)
    by_bins: dict[int, list[tuple[int, packed.Cells]]] = defaultdict(list)
    for number, (item, block, _, cells) in enumerate(rows):
        if cells is not None:
            known = packed.unpack_cells(cells)
            by_bins[known.values.shape[1]].append((number, known))
            if rules.values_rule and rules.selection.values:
                facts.has_values[number] = values.complete(db, item, block, rules.selection.values)
    for measured in by_bins.values():
        _add_measurements(measured, rules, facts)
    return facts


def _add_files(db: Connection, page: Sequence[_Overpass], selection: Selection, facts: _Facts) -> None:
    """Record in the facts which jobs have crops and which lack files."""
    for overpass in page:
        for item, rows in overpass.rows.items():
            first, last = packed.job_number(item, 0), packed.job_number(item + 1, 0) - 1
            which = selection_values(selection) | {"first": first, "last": last}
            crops = [_areas_of(db, sql.VALID_PRODUCTS, which | {"asset": asset}) for asset in selection.assets]
            lacking = _areas_of(db, sql.ANY_ABSENCES, which)
            for block in rows:
                number = facts.places[item, block]
                for areas in crops:
                    facts.has_crops[number] &= _among(areas, block)
                facts.lacks[number] = _among(lacking, block)


def _areas_of(db: Connection, statement: str, which: Mapping[str, object]) -> NDArray[np.int64]:
    """Return the areas of the jobs that a statement finds, all of one item."""
    return np.fromiter((job for (job,) in db.execute(statement, which)), np.int64) & 0xFFFFFFFF


def _among(areas: NDArray[np.int64], block: int) -> _Flags:
    """Return which areas of a block are among the given areas, which are in ascending order."""
    found = np.zeros(BLOCK, bool)
    low, high = areas.searchsorted([block * BLOCK, (block + 1) * BLOCK])
    found[areas[low:high] - block * BLOCK] = True
    return found


def _add_measurements(measured: Sequence[tuple[int, packed.Cells]], rules: Rules, facts: _Facts) -> None:
    """Add measurements with equally many bins, and their verdicts, to the facts.

    Args:
        measured: cells, by the number of their row.
        rules: the rules for the choice.
        facts: arrays to write into.
    """
    numbers = np.repeat([number for number, _ in measured], [len(cells.slots) for _, cells in measured])
    at = numbers, np.concatenate([cells.slots for _, cells in measured])
    counts = np.concatenate([cells.values for _, cells in measured])
    histograms, pixels = counts[:, 1:], counts.sum(axis=1)
    facts.verdicts[at] = rules.rule.verdicts(histograms, pixels)
    facts.valid[at] = histograms[:, 1:-1].sum(axis=1)
    facts.bad[at] = histograms[:, sorted(rules.rule.spoilt)].sum(axis=1)
    facts.total[at] = pixels
    if rules.values_rule and rules.selection.values:
        facts.accepted[at] = rules.values_rule.verdicts(histograms, pixels) == _IS_CLEAR


def _present(codes: NDArray[np.uint8], areas: _Areas) -> _Flags:
    """Return which jobs in rows of a block take part in the choice."""
    found: _Flags = (codes != _NO_JOB) & (codes != _OUTSIDE) & areas.active
    return found


def _doubtful(group: Sequence[Sequence[Item]], block: int, areas: _Areas, facts: _Facts) -> _Flags:
    """Return the areas of a block for which the choice may have changed.

    Args:
        group: for some overpasses, the items that have jobs for areas of the block: equally many items of each
            overpass, sorted by label, and such that every subset of them is one overpass.
        block: number of the block.
        areas: areas of the block.
        facts: what is known about the jobs.

    Returns:
        (overpasses, 256).
    """
    shape = len(group), BLOCK
    have_days = np.array([len({item.datetime.date() for item in items}) > 1 for items in group])
    doubtful = have_days[:, None] & areas.seasonal  # perhaps only some of the items are in season
    waiting = np.zeros(shape, bool)
    has_best, counts, are_duplicates = np.zeros(shape, bool), np.zeros(shape, bool), np.ones(shape, bool)
    lacks_values = np.zeros(shape, bool)  # like `counts`: of the best job so far; `are_duplicates`: of all others
    best = [np.zeros(shape, np.int64) for _ in range(6)]
    for several in zip(*group, strict=True):  # one item of each overpass
        rows = [facts.places[item.id, block] for item in several]
        codes, verdicts = facts.codes[rows], facts.verdicts[rows]
        there = _present(codes, areas)
        is_measured = verdicts != _UNMEASURED
        waiting |= there & ((codes == _OPEN) | (codes == _QUEUED)) & ~is_measured
        is_cloudy, is_clear = verdicts == _IS_CLOUDY, (verdicts == _IS_CLEAR) & ~facts.lacks[rows]
        out = ~is_measured | (verdicts == _HAS_NO_DATA)
        sound = (
            ((codes == _SAVED) & is_clear & facts.has_crops[rows])
            | ((codes == _CLOUDY) & is_cloudy)
            | ((codes == _NODATA) & out)
            | ((codes == _DUPLICATE) & (is_clear | is_cloudy | out))  # a duplicate needs no crops
        )
        doubtful |= there & ~(sound & (out | (facts.valid[rows] > 0)))
        complete = there & sound & ~out
        accepted = facts.accepted[rows]
        is_far = areas.zones != np.array([[item.zone or -1] for item in several])
        own = [flags.astype(np.int64) for flags in (is_cloudy, ~accepted, is_far)]
        own += [facts.valid[rows], facts.total[rows], facts.bad[rows]]
        is_counting = codes != _DUPLICATE
        better = complete & (~has_best | _is_better(own, best))
        are_duplicates &= ~np.where(better, counts, complete & is_counting)
        counts = np.where(better, is_counting, counts)
        lacks_values = np.where(better, accepted & ~facts.has_values[rows], lacks_values)
        best = [np.where(better, new, old) for new, old in zip(own, best, strict=True)]
        has_best |= complete
    doubtful |= has_best & ~(counts & are_duplicates & ~lacks_values)
    return doubtful & ~waiting


def _is_better(one: Sequence[_Counts], other: Sequence[_Counts]) -> _Flags:
    """Return where the first of two jobs is better, in the order of `clouds.overpass.rank`; ties are False.

    Args:
        one: flags (cloudy, without values, outside the home zone) and pixel counts (valid, total, spoilt) of the
            first job.
        other: the same of the second job.
    """
    (cloudy, bare, far, valid, total, bad), (cloudy2, bare2, far2, valid2, total2, bad2) = one, other
    more, less = valid * total2, valid2 * total  # shares compared as products, which is exact
    spoilt, spoilt2 = bad * valid2, bad2 * valid
    found: _Flags = np.where(more != less, more > less, spoilt < spoilt2)
    for own, others in ((far, far2), (bare, bare2), (cloudy, cloudy2)):
        found = np.where(own != others, own < others, found)
    return found
