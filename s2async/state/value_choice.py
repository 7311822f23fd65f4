"""Whose values count: those of accepted measurements, newest editions, and one item of each overpass. Pure.

The choice among the items of an overpass (`state.overpasses`) gives one of them the status saved or cloudy. A job
that has failed, or whose crops are missing, keeps its own status. It may have values, too: they are computed
before its crops are cut.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from s2async.catalog.overpasses import overpasses, same_overpass
from s2async.models import Selection, Status
from s2async.state import packed
from s2async.state import reader_sql as sql
from s2async.state.item_groups import Item
from s2async.state.packed import BLOCK, CODES, NO_JOB
from s2async.state.records import OPEN
from s2async.zonal.asked import Asked, asked
from s2async.zonal.wanted import Wanted

Read: TypeAlias = Callable[..., Iterator[Any]]
"""Runs a statement with its parameters and yields its rows."""
Judge: TypeAlias = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.uint8]]
"""Judges histograms and totals by the rule of values; see `clouds.rule.CloudRule.verdicts`."""
Flags: TypeAlias = NDArray[np.bool_]
"""(256,), one for each area of a block."""
Shown: TypeAlias = Mapping[tuple[int, int], Flags]
"""By item and variable, which areas of a block have values that count."""


def _codes(*statuses: str) -> NDArray[np.uint8]:
    return np.array([ord(CODES[status]) for status in statuses], np.uint8)


_UNANSWERED: Final = np.append(_codes(OPEN, Status.FAILED, Status.MISSING), [ord(packed.QUEUED), ord(NO_JOB)])
"""Codes of jobs that may still get values, and do not yet replace the values of an older edition."""
_NEVER: Final = _codes(Status.DUPLICATE, Status.OUTSIDE, Status.NODATA)
"""Codes of jobs without values, whatever is stored: another item counts, or the scene covers too little of the
area."""
_CHOSEN: Final = _codes(Status.SAVED, Status.CLOUDY)
"""Codes of jobs that count for their overpass."""
_NONE: Final = np.zeros(BLOCK, bool)


@dataclass(frozen=True, slots=True)
class Asking:
    """Which values count."""

    wanted: Wanted
    selection: Selection
    """Which measurements count, whether newer reprocessings replace older items, and which items of an overpass
    count."""
    judge: Judge
    """Decides which areas and dates have values."""


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """What is known about the jobs of a block, keyed by item."""

    codes: Mapping[int, NDArray[np.uint8]]
    """(256,) letters, see `state.packed.CODES`."""
    accepted: Mapping[int, Flags]
    """Which jobs have values according to the rule."""
    cells: Mapping[int, bytes]
    """The measurements, packed."""

    def shares(self, item: int) -> NDArray[np.float64]:
        """Return (256,) the share of each area that is valid in an item; 0 where it was not measured."""
        found = np.zeros(BLOCK)
        if item in self.cells:
            measured = packed.unpack_cells(self.cells[item])
            found[measured.slots] = measured.values[:, 2:-1].sum(axis=1) / measured.values.sum(axis=1).clip(1)
        return found


def judged(read: Read, block: int, asking: Asking) -> Judged:
    """Read the jobs of a block and judge their measurements."""
    codes, accepted, known = dict[int, NDArray[np.uint8]](), dict[int, Flags](), dict[int, bytes]()
    for item, letters, cells in read(sql.JUDGED_OF_BLOCK, {"block": block, "rule": asking.selection.rule}):
        codes[item] = np.frombuffer(letters.encode().ljust(BLOCK), np.uint8)
        accepted[item] = np.zeros(BLOCK, bool)
        if cells is not None:
            known[item] = cells
            measured = packed.unpack_cells(cells)
            verdicts = asking.judge(measured.values[:, 1:], measured.values.sum(axis=1))
            accepted[item][measured.slots] = verdicts == 0
            accepted[item] &= ~np.isin(codes[item], _NEVER)
    return Judged(codes, accepted, known)


def newer_editions(read: Read, asking: Asking) -> Mapping[int, Sequence[int]]:
    """Return the better editions of items; empty if they do not count."""
    found: dict[int, list[int]] = defaultdict(list)
    for item, other in read(sql.SUPERSEDED_ITEMS) if asking.selection.newest_only else ():
        found[item].append(other)
    return found


def counting(
    read: Read,
    block: int,
    asking: Asking,
    newer: Mapping[int, Sequence[int]],
    rows: Sequence[tuple[int, Asked, NDArray[np.uint8]]],
) -> Shown:
    """Return which values of a block count.

    Args:
        read: reads the state.
        block: number of the block of areas.
        asking: which values count.
        newer: the better editions of items.
        rows: item, question and slots of the stored values.
    """
    has: dict[tuple[int, int], Flags] = defaultdict(lambda: np.zeros(BLOCK, bool))
    questions = [asked(asking.wanted.key(variable)) for variable in asking.wanted.variables]
    for item, stored, slots in rows:
        for variable, question in enumerate(questions):
            if stored.serves(question):
                has[item, variable][slots] = True
    if not has:
        return {}
    known = judged(read, block, asking)
    visible: dict[tuple[int, int], Flags] = {}
    for (item, variable), there in has.items():
        counts = known.accepted[item] & there
        for other in newer.get(item, ()):
            if other in known.codes:
                counts &= known.accepted[other] | np.isin(known.codes[other], _UNANSWERED)
                counts &= ~(known.accepted[other] & has.get((other, variable), _NONE))
        visible[item, variable] = counts
    if asking.selection.one_per_overpass:
        hidden = _hidden(read, block, visible, known)
        visible = {key: counts & ~hidden.get(key[0], _NONE) for key, counts in visible.items()}
    return visible


# ---- overpasses -------------------------------------------------------------------------------------------


def _hidden(read: Read, block: int, visible: Shown, known: Judged) -> Mapping[int, Flags]:
    """Return for which areas the values of another item of the same overpass count, by item.

    These are the values of the item that was chosen. If none of those with values was chosen, the zone decides,
    then the share of valid pixels, then the id, as in `clouds.overpass.rank`.
    """
    has: dict[int, Flags] = {}
    for (item, _), counts in visible.items():
        has[item] = has.get(item, _NONE) | counts
    loose = {item: flags & ~np.isin(known.codes[item], _CHOSEN) for item, flags in has.items()}
    loose = {item: flags for item, flags in loose.items() if flags.any()}
    hidden: dict[int, Flags] = {}
    if not loose:
        return hidden
    zones = np.zeros(BLOCK, np.int64)
    for slot, zone in read(sql.ZONES_OF_BLOCK, {"block": block}):
        zones[slot] = zone
    rows = read(sql.SIGHTINGS, (json.dumps(sorted(has)),))
    for group in overpasses(Item.of_row(*columns) for columns in rows):
        shown = np.array([has[item.id] for item in group])
        for one in [item for item in group if item.id in loose]:
            beside = np.flatnonzero((shown & loose[one.id]).any(axis=1)).tolist()
            for other in [group[number] for number in beside if group[number] is not one]:
                if same_overpass(one, other):
                    flags = loose[one.id] & has[other.id] & _is_better(other, one, known, zones)
                    hidden[one.id] = hidden.get(one.id, _NONE) | flags
    return hidden


def _is_better(one: Item, other: Item, known: Judged, zones: NDArray[np.int64]) -> Flags:
    """Return for which areas the values of the first of two items count.

    Args:
        one: an item.
        other: another item of the same overpass.
        known: what is known about the jobs of the block.
        zones: (256,) home zones of the areas; 0 where unknown.
    """
    mine, its = _merits(one, known, zones), _merits(other, known, zones)
    found: Flags = (mine > its) | ((mine == its) & (one.label < other.label))
    return found


def _merits(item: Item, known: Judged, zones: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return (256,) how well an item shows each area: what decides first makes the largest difference."""
    is_chosen, is_home = np.isin(known.codes[item.id], _CHOSEN), zones == (item.zone or -1)
    return np.asarray(4 * is_chosen + 2 * is_home + known.shares(item.id))
