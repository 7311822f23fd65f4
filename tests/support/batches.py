"""One scene behind the fault server, and what batches of its jobs make of it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import rasterio
from numpy.typing import NDArray

from s2async.cog import polygon_mask, tiles
from s2async.cog.memory import Budget
from s2async.cog.tile_cache import Shelf
from s2async.engine import worker
from s2async.models import Area, Asset, Batch, BatchResult, Job
from s2async.net.client import Transport
from tests.support import worlds
from tests.support.fault_server import FaultServer
from tests.support.served import run
from tests.support.settings import settings_in
from tests.support.states import make_scene
from tests.support.streams import layout_of

ITEM = worlds.day(1, clouded=frozenset({"South"}))
INSIDE = ("North", "Wide", "Tall", "Rim", "South")
CODECS: Mapping[str, dict[str, Any]] = {
    "deflate": {"compress": "DEFLATE", "predictor": 2},
    "deflate without predictor": {"compress": "DEFLATE"},
    "lzw": {"compress": "LZW"},
    "packbits": {"compress": "PACKBITS"},
    "zstd": {"compress": "ZSTD"},
    "plain": {},
    "strips": {"compress": "DEFLATE", "tiled": False, "blockysize": 48, "blockxsize": 256},
}


def areas() -> list[Area]:
    return [
        Area(
            name=name,
            wkb=worlds.polygon(name).wkb,
            fingerprint=hashlib.sha256(name.encode()).hexdigest()[:16],
            folder=name.lower(),
        )
        for name in INSIDE
    ]


class Served:
    """The two files of one scene behind the fault server, and what a batch makes of them."""

    def __init__(self, server: FaultServer, world: worlds.World, codec: str = "deflate", **more: Any) -> None:
        self.server = server
        self.scl, self.tci = server.folder / "SCL.tif", server.folder / "TCI.tif"
        place = world.folder / "cogs" / ITEM.id
        self.tci.write_bytes((place / "TCI.tif").read_bytes())
        with rasterio.open(place / "SCL.tif") as file:
            self.pixels, self.profile = file.read(), file.profile
        self.write(codec, **more)

    def write(self, codec: str, change: Callable[[NDArray[Any]], None] = lambda pixels: None, **more: Any) -> None:
        """The classification anew: compressed otherwise, or with other pixels."""
        pixels = self.pixels.copy()
        change(pixels)
        kept = {key: self.profile[key] for key in ("height", "width", "count", "dtype", "crs", "transform")}
        tiling = {"tiled": True, "blockxsize": 64, "blockysize": 64}
        profile = {"driver": "GTiff", "nodata": 0, **kept, **tiling, **CODECS[codec], **more}
        with rasterio.open(self.scl, "w", **profile) as file:
            file.write(pixels)

    def tile_under(self, name: str) -> tuple[int, int]:
        """Place and size of the first tile of the classification under an area."""
        layout = layout_of(self.scl.read_bytes())
        found = polygon_mask.cutout(next(area for area in areas() if area.name == name), layout.grid)
        assert found is not None
        block = tiles.blocks_under(layout, [found.window])[0]
        return int(layout.block_offsets[block]), int(layout.block_counts[block])

    def jobs(self, mode: str, **query: Any) -> list[Job]:
        """One for each area; the classification is served in that mode."""
        hrefs = {
            "scl": self.server.url(mode, 0 if mode == "well" else -1, "SCL.tif", **query),
            "visual": self.server.url("well", 0, "TCI.tif"),
        }
        scene = replace(
            make_scene(ITEM.id), assets={key: Asset(key=key, href=href) for key, href in hrefs.items()}
        )
        return [Job(id=number, area=area, scene=scene) for number, area in enumerate(areas(), 1)]

    def process(
        self,
        folder: Path,
        batches: Sequence[Sequence[Job]],
        *,
        assets: tuple[str, ...] = ("visual",),
        verify: bool = False,
    ) -> list[BatchResult]:
        """Work on some batches at once; they share what they read when there are several."""
        settings = settings_in(folder, assets=assets, verify=verify)

        async def work(transport: Transport, pool: ThreadPoolExecutor) -> list[BatchResult]:
            tools = worker.Tools(
                transport=transport,
                budget=Budget(1 << 24),
                pool=pool,
                writers=pool,
                shelf=Shelf(1 << 24, transport.meter),
            )
            shared = len(batches) > 1
            return await asyncio.gather(*[
                worker.process(Batch(scene=jobs[0].scene, jobs=tuple(jobs), shared=shared), settings, tools)
                for jobs in batches
            ])  # fmt: skip

        self.server.ask("/__reset")
        return run(self.server, work)[0]

    def asked(self, name: str) -> list[tuple[str, bool]]:
        """Ranges of a file that were asked for, but its header, and whether past all caches."""
        return [
            (entry["range"], "cache-control" in entry["headers"])
            for entry in self.server.log
            if entry["path"].endswith(name) and not entry["range"].startswith("bytes=0-")
        ]
