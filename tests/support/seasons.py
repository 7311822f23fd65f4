"""A world of a year in both collections of Earth Search, with lying flags; and what its files should show."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio.windows import Window, from_bounds

from s2async.catalog.items import to_scene
from s2async.catalog.providers import KNOWN
from s2async.models import Scene
from s2async.sandbox.truth.ground import Truth
from s2async.sandbox.world.archives import COLLECTIONS
from s2async.sandbox.world.assets import Scaling
from s2async.sandbox.world.make import World, make_world
from s2async.sandbox.world.squares import squares_of
from s2async.sandbox.world.wish import Wish

FIELDS: Final = {
    "wide": shapely.box(10.302, 48.320, 10.322, 48.334),
    "small": shapely.box(10.3260, 48.3330, 10.3288, 48.3348),
}
"""Two areas in one tile of one grid square. The first has 23,000 pixels of 10 m, enough for a proof, and the other
has 400."""
BANDS: Final = ("red", "nir", "rededge1", "swir16", "swir22")
PERIOD: Final = (date(2021, 11, 1), date(2022, 10, 31))
"""A year with baselines 03.01, 04.00 and reprocessed ones, and the weeks of early 2022."""
WISH: Final = Wish(
    polygons=[*FIELDS.values()],
    assets=["scl", *BANDS],
    period=PERIOD,
    collections=COLLECTIONS,
    lying=True,
    seed=2061,
)
ROUNDING: Final = 0.00005 + 1e-7
"""Half of a digital number, and what 32-bit numbers lose."""


@dataclass(frozen=True)
class Year:
    """The world on disk, its items, and the truth."""

    world: World
    truth: Truth

    @classmethod
    def made(cls, folder: Path) -> Year:
        """Make the world in a folder."""
        world = make_world(
            folder,
            areas=[*FIELDS.items()],
            assets=WISH.assets,
            period=WISH.period,
            collections=WISH.collections,
            lying=WISH.lying,
            seed=WISH.seed,
        )
        return cls(world, Truth(WISH))

    def scenes(self) -> list[Scene]:
        """What the program makes of all items, oldest first."""
        lines = (self.world.folder / "items.jsonl").read_text("utf-8").splitlines()
        items = [json.loads(line.replace("{origin}", "http://127.0.0.1:8080")) for line in lines]
        return sorted((to_scene(item, KNOWN["earth-search"]) for item in items), key=lambda scene: scene.datetime)

    def window(self, scene: Scene, key: str, field: str) -> tuple[NDArray[Any], float | None, NDArray[np.float64]]:
        """The pixels of a band in the box of a field, the offset that the file states, and the reflectance."""
        (square,) = [square for square in squares_of([FIELDS[field]]) if square.name == scene.grid]
        with rasterio.open(self.world.local(scene.assets[key].href)) as file:
            window = (
                from_bounds(*square.project(FIELDS[field]).bounds, file.transform).round_offsets().round_lengths()
            )
            stated = file.offsets[0] if file.scales[0] != 1 else None
            found: NDArray[Any] = file.read(1, window=window)
        return found, stated, self.true(scene.collection, scene.id, key, window)

    def true(self, collection: str, item: str, key: str, window: Window) -> NDArray[np.float64]:
        """The reflectance in a window of a scene, as its file can show it: without an offset, 0.0001 at least."""
        place = int(window.row_off), int(window.col_off), int(window.height), int(window.width)
        found = self.truth.reflectance(collection, item, key, *place).astype(np.float64)
        if self.truth.record(collection, item).scaling is Scaling.PLAIN:
            found = np.where(np.isnan(found), np.nan, np.maximum(found, 0.0001))
        return found


def agrees(found: NDArray[np.float64], true: NDArray[np.float64]) -> bool:
    """Whether reflectances are true but for the rounding of digital numbers, and NaN where nothing was seen."""
    seen = ~np.isnan(true)
    return bool((np.isnan(found) == ~seen).all() and (np.abs(found[seen] - true[seen]) <= ROUNDING).all())
