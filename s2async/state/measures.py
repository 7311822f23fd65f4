"""The measurements of jobs in the state: tables of numbers, by item, block of areas, and the rule that measured.

Each function takes the open transaction. Numbers are valid only for the edition of the item that their row states.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

import numpy as np

from s2async.models import CloudMeasure
from s2async.state import packed
from s2async.state.database import Connection
from s2async.state.packed import Cells

CLOUDS: Final = "clouds"
"""The step that measures clouds; its question is the name of a rule. This name is part of the file format."""

_CELLS = """
SELECT m.cells FROM answers m JOIN items i ON i.id = m.item AND i.edition = m.edition
WHERE m.item = ? AND m.block = ? AND m.step = 'clouds' AND m.asked = ?
"""
_PUT = """
INSERT INTO answers (item, block, step, asked, edition, cells)
SELECT i.id, :block, 'clouds', :rule, i.edition, :cells FROM items i WHERE i.id = :item
ON CONFLICT (item, block, step, asked) DO UPDATE SET edition = excluded.edition, cells = excluded.cells
"""
_ROWS = "SELECT id, cells FROM answers WHERE item = ? AND block = ? AND step = 'clouds'"
_SET = "UPDATE answers SET cells = ? WHERE id = ?"
_DROP = "DELETE FROM answers WHERE id = ?"


def note(db: Connection, found: Iterable[tuple[int, CloudMeasure]]) -> None:
    """Record measurements of jobs for the current editions of their items."""
    rows: dict[tuple[int, int, str], dict[int, CloudMeasure]] = {}
    for job, measure in found:
        key = packed.item_of(job), packed.block_of(job), measure.rule
        rows.setdefault(key, {})[packed.slot_of(job)] = measure
    for (item, block, rule), measures in rows.items():
        row = db.execute(_CELLS, (item, block, rule)).fetchone()
        cells = packed.with_measures(row[0] if row else None, measures)
        db.execute(_PUT, {"item": item, "block": block, "rule": rule, "cells": cells})


def of_jobs(db: Connection, jobs: Collection[int], rule: str) -> Mapping[int, CloudMeasure]:
    """Return the valid measurements of some jobs by a rule; jobs without one are omitted."""
    found: dict[int, CloudMeasure] = {}
    for (item, block), several in packed.by_row(jobs).items():
        row = db.execute(_CELLS, (item, block, rule)).fetchone()
        for job in several if row else ():
            measure = packed.measure_at(row[0], packed.slot_of(job), rule)
            if measure is not None:
                found[job] = measure
    return found


def forget(db: Connection, jobs: Collection[int]) -> None:
    """Remove all measurements of jobs."""
    for (item, block), several in packed.by_row(jobs).items():
        gone = np.array(sorted(map(packed.slot_of, several)), np.uint8)
        for row, column in db.execute(_ROWS, (item, block)).fetchall():
            cells = packed.unpack_cells(column)
            kept = ~np.isin(cells.slots, gone)
            if kept.any():
                db.execute(_SET, (packed.pack_cells(Cells(cells.slots[kept], cells.values[kept])), row))
            else:
                db.execute(_DROP, (row,))
