from __future__ import annotations

import random
from dataclasses import replace

from shapely import box

from s2async.state.packed import BLOCK
from s2async.state.writer import State
from tests.support.states import make_area


def test_areas_of_a_block_are_neighbours(state: State) -> None:
    """Areas of four regions come in any order; each region fits into two blocks."""
    corners = {"a": (-170, -60), "b": (170, -60), "c": (-170, 60), "d": (13, 52)}
    areas = [
        replace(
            make_area(f"{region} {number}"), polygon=box(x + number / 100, y, x + number / 100 + 0.001, y + 0.001)
        )
        for region, (x, y) in corners.items()
        for number in range(BLOCK)
    ]
    random.Random(1).shuffle(areas)
    state.sync_areas(areas)
    places = "SELECT l.name, a.id FROM places l JOIN areas a ON a.id = l.area"
    blocks: dict[str, set[int]] = {}
    for name, row in state._db.execute(places):
        blocks.setdefault(name[0], set()).add(row // BLOCK)
    assert all(len(several) <= 2 for several in blocks.values()), blocks
    assert [place.name for place in state.places()] == [area.name for area in areas], "tables keep the order"


def test_few_areas_keep_their_order(state: State) -> None:
    areas = [
        replace(make_area(name), polygon=box(x, 50, x + 0.1, 50.1)) for name, x in (("c", 9), ("a", 1), ("b", 5))
    ]
    state.sync_areas(areas)
    rows = state._db.execute("SELECT fingerprint FROM areas ORDER BY id").fetchall()
    assert rows == [(area.fingerprint,) for area in areas]
