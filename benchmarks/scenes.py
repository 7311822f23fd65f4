"""Worlds for benchmarks: any number of items, each with all its files, over the nine parks.

The sandbox's year has 75 items that contain all nine parks completely, are not rejected by their scene's cloud
cover and lack nothing. If more are wanted, the same scenes are repeated under new names: other items, other
addresses, other ETags, so that no client can know that the bytes are those of another file. They need no disk
space (hard links). Their days differ as well, so that a hundred scenes and a thousand are the same mixture at any
time of a run.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import shapely
from shapely.affinity import translate
from shapely.geometry.base import BaseGeometry

from s2async.sandbox.world.items import ORIGIN
from s2async.sandbox.world.make import World
from s2async.sandbox.world.parks import PARKS

MOST_CLOUD: Final = 80.0
"""Maximum cloud cover of a scene in per cent, as in the example configuration."""
_READ: Final = ("scl", "visual", "red", "nir")
"""Assets that contenders read, if a world has them."""
LONE: Final = ("Tiergarten", "Humboldthain", "TreptowerPark", "Grunewald", "GaertenDerWelt")
"""Parks so far apart that a footprint in the middle of one is not near any other."""

_NEW_YEAR: Final = datetime(2022, 1, 1, tzinfo=UTC)
_YEAR: Final = timedelta(days=365)

REACH: Final = 1950.0
"""Distance in metres; tiles within 2 km of a park are real."""
_METRES: Final = 111_320.0
"""Metres per degree of latitude."""

Document = dict[str, Any]
"""A STAC item."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """One item, and the areas that are wanted from it: the information that a contender gets."""

    id: str
    epsg: int
    scl: str
    visual: str
    """URLs of the two files."""
    areas: tuple[str, ...]
    document: Document
    """The whole item, for contenders that need one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """The task of a contender: scenes, each with its areas."""

    areas: dict[str, str]
    """Polygons by name: WKT in lon/lat."""
    scenes: list[Scene]

    @property
    def jobs(self) -> int:
        """Number of pairs of a scene and an area."""
        return sum(len(scene.areas) for scene in self.scenes)

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, path: Path) -> Order:
        """Read what `save` wrote."""
        read = json.loads(path.read_text())
        scenes = [Scene(**{**scene, "areas": tuple(scene["areas"])}) for scene in read["scenes"]]
        return cls(areas=read["areas"], scenes=scenes)

    def sample(self, jobs: int) -> Order:
        """Return an order of the given number of jobs, spread evenly over all."""
        pairs = [(scene, area) for scene in self.scenes for area in scene.areas]
        step = max(len(pairs) / jobs, 1)
        kept = [pairs[int(index * step)] for index in range(min(jobs, len(pairs)))]
        scenes = {scene.id: scene for scene, _ in kept}
        chosen = [
            Scene(
                id=scene.id,
                epsg=scene.epsg,
                scl=scene.scl,
                visual=scene.visual,
                areas=tuple(area for other, area in kept if other is scene),
                document=scene.document,
            )
            for scene in scenes.values()
        ]
        return Order(areas=self.areas, scenes=chosen)


def parks() -> dict[str, BaseGeometry]:
    """Return the nine parks, in lon/lat."""
    return {name: shapely.from_wkt(wkt) for name, wkt in PARKS}


def parks_and_more(count: int, *, seed: int = 1) -> dict[str, BaseGeometry]:
    """Return the nine parks, then the same shapes at other places, each within 2 km of the original park.

    The sandbox's files have real pixels there: a city with many small areas, whose neighbours share tiles.
    """
    own = list(parks().items())
    random = np.random.default_rng(seed)
    found = dict(own[:count])
    for number in range(len(found), count):
        name, park = own[number % len(own)]
        distance, angle = random.uniform(0, REACH), random.uniform(0, 2 * np.pi)
        north = distance * np.sin(angle) / _METRES
        east = distance * np.cos(angle) / _METRES / np.cos(np.radians(park.centroid.y))
        found[f"{name}{number}"] = translate(park, east, north)
    return found


@contextmanager
def world_of(
    whole: World, items: int, *, single: bool = False, places: Sequence[BaseGeometry] | None = None
) -> Iterator[World]:
    """Yield a world with the given number of items, for the duration of a ``with`` block.

    Args:
        whole: the sandbox's year.
        items: number of items.
        single: each item's footprint contains only one park (`LONE`, in turn), so that nothing can be shared.
        places: the places that each item contains completely; the nine parks by default.
    """
    found = complete_items(whole, list(parks().values()) if places is None else places)
    copies = -(-items // len(found))
    many = [_copied(item, copy, copies) for item in found for copy in range(copies)]
    kept = sorted((many[index * len(many) // items] for index in range(items)), key=_taken)
    # Next to the year, because a hard link cannot leave its file system.
    with tempfile.TemporaryDirectory(prefix="bench-", dir=whole.folder.parent) as name:
        folder = Path(name)
        lines = []
        for index, (item, source) in enumerate(kept):
            for key in _READ:
                if key in item["assets"] and (there := whole.folder / _path(source, key)).exists():
                    target = folder / _path(item, key)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    os.link(there, target)
            shown = _in_one_park(item, LONE[index % len(LONE)]) if single else item
            lines.append(json.dumps(shown, separators=(",", ":")))
        (folder / "items.jsonl").write_text("\n".join(lines) + "\n")
        about = json.loads((whole.folder / "world.json").read_text())
        (folder / "world.json").write_text(json.dumps({**about, "items": items}))
        yield World(folder, items)


def complete_items(world: World, places: Sequence[BaseGeometry]) -> list[Document]:
    """Return items with low cloud cover that contain all places (lon/lat) and have both files, oldest first."""
    with (world.folder / "items.jsonl").open() as lines:
        items = [json.loads(line) for line in lines]
    return [
        item
        for item in items
        if item["properties"]["eo:cloud_cover"] <= MOST_CLOUD
        and {"scl", "visual"} <= set(item["assets"])
        and all((world.folder / _path(item, key)).exists() for key in ("scl", "visual"))
        and shapely.contains_properly(_footprint(item), places).all()
    ]


def order(world: World, origin: str, areas: Mapping[str, BaseGeometry]) -> Order:
    """Return all items of a world, each with the areas that its footprint touches."""
    with (world.folder / "items.jsonl").open() as lines:
        items = [json.loads(line.replace(ORIGIN, origin)) for line in lines]
    names, polygons = list(areas), list(areas.values())
    scenes = [_scene(item, names, polygons) for item in items]
    return Order(areas={name: polygon.wkt for name, polygon in areas.items()}, scenes=scenes)


def _scene(item: Document, names: Sequence[str], polygons: Sequence[BaseGeometry]) -> Scene:
    touched = shapely.intersects(_footprint(item), polygons)
    return Scene(
        id=item["id"],
        epsg=32600 + int(item["id"][4:6]),
        scl=item["assets"]["scl"]["href"],
        visual=item["assets"]["visual"]["href"],
        areas=tuple(name for name, touches in zip(names, touched, strict=True) if touches),
        document=item,
    )


def _footprint(item: Document) -> BaseGeometry:
    return shapely.geometry.shape(item["geometry"])


def _path(item: Document, key: str) -> str:
    href: str = item["assets"][key]["href"]
    return href.removeprefix(f"{ORIGIN}/")


def _copied(item: Document, copy: int, copies: int) -> tuple[Document, Document]:
    """Return an item and the one that has its files: the same item, or an item of another day.

    If all copies were of one day, a client would process only one kind of scene at a time, such as a dozen
    cloudless ones.
    """
    if not copy:
        return item, item
    name = item["id"]
    front, _, take, end = name.rsplit("_", 3)
    since = datetime.fromisoformat(item["properties"]["datetime"]) - _NEW_YEAR
    when = _NEW_YEAR + (since + _YEAR * copy / copies) % _YEAR
    new: Document = json.loads(json.dumps(item).replace(name, f"{front}_{when:%Y%m%d}_{copy}{take}_{end}"))
    properties = new["properties"]
    properties["datetime"] = when.isoformat().replace("+00:00", "Z")
    for key in ("s2:product_uri", "s2:datastrip_id"):
        properties[key] += f"_{copy}"
    return new, item


def _taken(kept: tuple[Document, Document]) -> str:
    taken: str = kept[0]["properties"]["datetime"]
    return taken


def _in_one_park(item: Document, name: str) -> Document:
    spot = shapely.point_on_surface(parks()[name]).buffer(0.0005, quad_segs=1)
    return {**item, "geometry": shapely.geometry.mapping(spot), "bbox": spot.bounds}
