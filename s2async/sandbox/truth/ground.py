"""The reflectance of ground and clouds in a world: the true value for every band, pixel and date."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from s2async.sandbox.world.archives import Record
from s2async.sandbox.world.assets import ASSETS
from s2async.sandbox.world.fields import Floats, Ground
from s2async.sandbox.world.land import Land
from s2async.sandbox.world.passes import Look
from s2async.sandbox.world.render import window
from s2async.sandbox.world.sky import Skies, enlarged
from s2async.sandbox.world.squares import EXTENT, Square, squares_of
from s2async.sandbox.world.views import View, Window
from s2async.sandbox.world.wish import Wish, plane_of, records_of


class Truth:
    """The reflectance in a world.

    It is independent of conventions, offsets and digital numbers: it is the value that a reader of the files
    should find.

    Args:
        wish: what the world was made for.
    """

    def __init__(self, wish: Wish) -> None:
        self._land, self._skies, self._plane = Land(wish.seed), Skies(wish.seed), plane_of(wish)
        self._items: dict[tuple[str, str], tuple[Record, Square]] = {
            (record.collection, record.item_id(square)): (record, square)
            for record in records_of(wish)
            for square in squares_of(wish.polygons)
        }
        self._window = lru_cache(maxsize=8)(self._make_window)
        self._view = lru_cache(maxsize=8)(self._make_view)
        self._tile = lru_cache(maxsize=32)(self._make_tile)

    def record(self, collection: str, item: str) -> Record:
        """Return how the item's files were made: whether its numbers have the offset.

        Args:
            collection: collection of the item.
            item: id of the item.
        """
        return self._items[collection, item][0]

    def reflectance(
        self, collection: str, item: str, key: str, row: int, column: int, height: int = 1, width: int = 1
    ) -> Floats:
        """Return the reflectance in a window of a scene; the values in files should differ by at most 0.00005.

        Args:
            collection: collection of the item.
            item: id of the item.
            key: key of the reflectance band, as in `assets.ASSETS`.
            row: row of the upper left pixel, in the band's own resolution.
            column: column of the upper left pixel, in the band's own resolution.
            height: number of rows.
            width: number of columns.

        Returns:
            Height x width, float32; NaN outside the swath, negative where the atmosphere was overcorrected.
        """
        record, square = self._items[collection, item]
        block = ASSETS[key].block
        rows = range(row // block, (row + height - 1) // block + 1)
        columns = range(column // block, (column + width - 1) // block + 1)
        look = record.take.look
        whole = np.block([[self._tile(square, look, key, (down, across)) for across in columns] for down in rows])
        top, left = row - rows.start * block, column - columns.start * block
        return np.asarray(whole[top : top + height, left : left + width])

    def _make_tile(self, square: Square, look: Look, key: str, place: tuple[int, int]) -> Floats:
        asset = ASSETS[key]
        view = self._view(square, look, place, asset.tile)
        found = view.reflectance(asset)
        found[enlarged(view.classes == 0, len(found) // len(view.classes))] = np.nan
        return found

    def _make_view(self, square: Square, look: Look, place: tuple[int, int], side: int) -> View:
        return self._window(square, place, side, look.month).under(self._skies, look.sky)

    def _make_window(self, square: Square, place: tuple[int, int], side: int, month: float) -> Window:
        down, across = place
        tile = down * -(-EXTENT // side) + across
        return window(self._land, Ground(square, self._plane), tile, side, month)
