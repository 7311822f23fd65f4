"""The values of areas in the state: packed tables, by item, block of areas, and question.

Each function takes the open transaction. Numbers are valid only for the edition of the item that their row states.
The values of a question with more statistics also answer the same question with fewer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from s2async.clouds import scl
from s2async.models import BandEvidence
from s2async.reflectance.evidence import Evidence
from s2async.state import packed, value_cells
from s2async.state import writer_sql as sql
from s2async.state.database import Connection
from s2async.state.packed import BLOCK
from s2async.zonal.asked import Asked, asked
from s2async.zonal.wanted import VALUES, AreaValues, Wanted

STEP: Final = "values"
"""The step that computes values; its question is a key of `Wanted.key`. This name is part of the file format."""
EVIDENCE: Final = "evidence"
"""The step that examines pixels for evidence of offsets; its question is a band. This name is part of the file
format."""

_ALWAYS: Final = (scl.ASSET, VALUES)
"""What all values need: the classification, and an area that is not too large."""

Flags: TypeAlias = NDArray[np.bool_]
"""(256,) one flag for each area of a block."""


# ---- what was computed ------------------------------------------------------------------------------------


def note(
    db: Connection, item: int, results: Iterable[tuple[int, Sequence[object]]], wanted: Wanted | None
) -> None:
    """Record the values among the results of jobs of one item, for its current edition.

    Args:
        db: the open transaction.
        item: row of the item.
        results: results by job.
        wanted: the requested values; values of other questions are not recorded.
    """
    if wanted is None:
        return
    bands = {wanted.key(variable): variable.bands for variable in wanted.variables}
    rows: dict[tuple[int, str], dict[int, AreaValues]] = defaultdict(dict)
    for job, several in results:
        block, slot = packed.block_of(job), packed.slot_of(job)
        for result in several:
            if isinstance(result, AreaValues) and result.key in bands:
                rows[block, result.key][slot] = result
    for (block, key), values in rows.items():
        add(db, item, block, key, value_cells.cells(values, bands[key]))


def add(db: Connection, item: int, block: int, key: str, found: value_cells.ValueCells) -> None:
    """Add cells to the stored cells of a question, an item and a block."""
    row = db.execute(sql.VALUES, (item, block, key)).fetchone()
    table = value_cells.merged(value_cells.unpack(row[0]) if row else None, found)
    _put(db, item, block, STEP, key, value_cells.pack(table))


def _put(db: Connection, item: int, block: int, step: str, question: str, cells: bytes) -> None:
    values = {"item": item, "block": block, "step": step, "asked": question, "cells": cells}
    db.execute(sql.PUT_ANSWER, values)


def note_evidence(
    db: Connection, item: int, found: Iterable[tuple[int, Sequence[object]]]
) -> dict[str, float | None]:
    """Record what pixels of areas show about the offsets of bands; an area counts once for each band.

    Args:
        db: the open transaction.
        item: row of the item of all jobs.
        found: results by job.

    Returns:
        The offsets that the files of the bands state, keyed by band.
    """
    rows: dict[tuple[int, str], dict[int, Evidence]] = defaultdict(dict)
    stated: dict[str, float | None] = {}
    for job, several in found:
        block, slot = packed.block_of(job), packed.slot_of(job)
        for seen in several:
            if isinstance(seen, BandEvidence):
                rows[block, seen.asset][slot] = seen.evidence
                stated[seen.asset] = seen.stated
    for (block, asset), by_slot in rows.items():
        row = db.execute(sql.EVIDENCE_CELLS, (item, block, asset)).fetchone()
        known, sums = value_cells.counted(row[0] if row else None)
        # The same pixels of the same edition show the same, so they are not counted again.
        new = [evidence for slot, evidence in by_slot.items() if not known >> slot & 1]
        pixels, dark, wrapped = sums
        pixels += sum(one.pixels for one in new)
        dark += sum(one.dark for one in new)
        wrapped += sum(one.wrapped for one in new)
        known |= sum(1 << slot for slot in by_slot)
        _put(db, item, block, EVIDENCE, asset, value_cells.pack_counted(known, (pixels, dark, wrapped)))
    return stated


def evidence(db: Connection, item: int) -> dict[str, Evidence]:
    """Return what the pixels that were read for values show, over all areas of an item, keyed by band."""
    found: dict[str, Evidence] = {}
    for asset, cells in db.execute(sql.ALL_EVIDENCE_CELLS, (item,)):
        found[asset] = found.get(asset, Evidence()) + Evidence(*value_cells.counted(cells)[1])
    return found


def forget(db: Connection, jobs: Collection[int]) -> None:
    """Remove all values of jobs. The evidence of their pixels about the scenes' files stays valid."""
    for (item, block), several in packed.by_row(jobs).items():
        gone = np.zeros(BLOCK, bool)
        gone[[*map(packed.slot_of, several)]] = True
        for row, _, cells in db.execute(sql.VALUE_ROWS, (item, block)).fetchall():
            table = value_cells.unpack(cells)
            _keep(db, row, table, ~gone[table.slots])


def _keep(db: Connection, row: int, table: value_cells.ValueCells, kept: Flags) -> None:
    """Keep some of the cells of a row; delete the row if none are left."""
    if kept.all():
        return
    if kept.any():
        db.execute(sql.SET_CELLS, (value_cells.pack(table.only(kept)), row))
    else:
        db.execute(sql.DROP_CELLS, (row,))


def follow_offsets(db: Connection, item: int, offsets: Mapping[str, int | None]) -> int:
    """Drop the values of an item that were computed with offsets other than those that were decided.

    Args:
        db: the open transaction.
        item: row of the item.
        offsets: decided offsets in DN, keyed by band; None if unknown.

    Returns:
        The number of jobs that lose values.
    """
    lost: set[tuple[int, int]] = set()
    for row, block, cells in db.execute(sql.VALUE_ROWS_OF_ITEM, (item,)).fetchall():
        table = value_cells.unpack(cells)
        if not offsets.keys() & set(table.bands):
            continue
        wanted = np.array(
            [np.nan if (dn := offsets.get(band, 0)) is None else dn for band in table.bands], np.float64
        )
        checked = np.array([band in offsets for band in table.bands])
        same = (table.offsets == wanted) | (np.isnan(table.offsets) & np.isnan(wanted)) | ~checked
        kept = same.all(axis=1)
        lost.update((block, slot) for slot in table.slots[~kept].tolist())
        _keep(db, row, table, kept)
    return len(lost)


# ---- what is there ----------------------------------------------------------------------------------------


def of_jobs(db: Connection, jobs: Collection[int], wanted: Wanted | None) -> Mapping[int, frozenset[str]]:
    """Return the requested values that jobs have, as keys of `Wanted.key`; jobs without any are omitted."""
    if wanted is None:
        return {}
    keys = tuple(dict.fromkeys(map(wanted.key, wanted.variables)))
    found: dict[int, frozenset[str]] = {}
    sets: dict[bytes, frozenset[str]] = {}
    for (item, block), several in packed.by_row(jobs).items():
        stored = [(asked(key), slots) for key, slots in db.execute(sql.VALUE_SLOTS, (item, block))]
        if not stored:
            continue
        has = np.array([_served(stored, asked(key)) for key in keys])
        for job in several:
            flags = has[:, packed.slot_of(job)]
            if flags.any():
                code = flags.tobytes()
                if code not in sets:
                    sets[code] = frozenset(key for key, flag in zip(keys, flags.tolist(), strict=True) if flag)
                found[job] = sets[code]
    return found


def complete(db: Connection, item: int, block: int, wanted: Wanted) -> Flags:
    """Return which jobs of a row have all requested values."""
    stored = [(asked(key), slots) for key, slots in db.execute(sql.VALUE_SLOTS, (item, block))]
    found = np.ones(BLOCK, bool)
    for variable in wanted.variables:
        found &= _served(stored, asked(wanted.key(variable)))
    return found


def _served(stored: Iterable[tuple[Asked, bytes]], wanted: Asked) -> Flags:
    """Return which jobs of a row have an answer to a question."""
    flags = np.zeros(BLOCK, bool)
    for question, cells in stored:
        if question.serves(wanted):
            flags[value_cells.slots_of(cells)] = True
    return flags


def _has_one_of(
    classes: Sequence[int], table: value_cells.ValueCells, histograms: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return which areas have a pixel of one of some classes: by their values, or else by their measurements.

    A measurement counts the 20 m pixels whose centre lies in the area. The 10 m pixels that count for values may,
    at the edge of the area, lie in other 20 m pixels.

    Args:
        classes: classes of the scene classification.
        table: (jobs,) values.
        histograms: (jobs, bins) pixels by class.
    """
    known = ~np.isnan(table.classes)
    seen = np.where(known, table.classes, 0).astype(np.int64) & sum(1 << one for one in classes)
    found: NDArray[np.bool_] = np.where(known, seen != 0, histograms[:, classes].any(axis=1))
    return found


class Stock:
    """The values of a page of rows, used to find what their jobs lack.

    Args:
        db: the open transaction.
        wanted: what every job needs.
        first: item and block before the page.
        last: last item and block of the page.
    """

    def __init__(self, db: Connection, wanted: Wanted, first: tuple[int, int], last: tuple[int, int]) -> None:
        self._db = db
        self._variables = {wanted.key(variable): variable for variable in wanted.variables}
        """Variables by question, because two names may stand for one formula."""
        self._rows: dict[tuple[int, int], list[tuple[str, bytes]]] = defaultdict(list)
        for item, block, key, slots in db.execute(sql.VALUE_SLOTS_OF_PAGE, (*first, *last)):
            self._rows[item, block].append((key, slots))

    def lacking(
        self,
        item: int,
        block: int,
        needing: Flags,
        histograms: NDArray[np.int64],
        gone: Mapping[int, set[str]],
    ) -> Flags:
        """Return which jobs of a row lack values that can be computed.

        Values for other classes are adopted if no pixel has a class that makes a difference.

        Args:
            item: row of the item.
            block: number of the block of areas.
            needing: which jobs need values.
            histograms: (256, bins) pixels by class, zeros for jobs that were not measured.
            gone: missing assets by slot.
        """
        found = np.zeros(BLOCK, bool)
        if not needing.any():
            return found
        rows = self._rows.get((item, block), [])
        questions = [(asked(key), slots) for key, slots in rows]
        for key, variable in self._variables.items():
            lacking = needing & ~_served(questions, asked(key))
            for slot, assets in gone.items() if lacking.any() else ():
                lacking[slot] &= assets.isdisjoint((*_ALWAYS, *variable.bands))
            if lacking.any() and rows:
                lacking &= ~self._taken_over(item, block, asked(key), lacking, histograms)
            found |= lacking
        return found

    def _taken_over(
        self, item: int, block: int, wanted: Asked, lacking: Flags, histograms: NDArray[np.int64]
    ) -> Flags:
        """Store values for other classes under the key of the present ones if equivalent; return which jobs."""
        done = np.zeros(BLOCK, bool)
        for key, slots in self._rows[item, block]:
            question = asked(key)
            if not question.is_like(wanted) or question.classes == wanted.classes:
                continue
            changed = sorted(question.classes ^ wanted.classes)
            open_ = lacking & ~done
            if not open_[value_cells.slots_of(slots)].any():
                continue
            row, cells = self._db.execute(sql.VALUES_ROW, (item, block, key)).fetchone()
            table = value_cells.unpack(cells)
            kept = open_[table.slots] & ~_has_one_of(changed, table, histograms[table.slots])
            if not kept.any():
                continue
            done[table.slots[kept]] = True
            _keep(self._db, row, table, ~kept)
            add(self._db, item, block, question.with_classes_of(wanted), table.only(kept))
        return done
