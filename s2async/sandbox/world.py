"""A world of generated scenes on disk: items and COGs of a year, made once and used again by later starts.

``world.json`` is written last: a folder without it, or with another key in it, is made anew. Scenes of one square
that look the same share their bytes on disk (hard links), and tiles far from all areas are one stand-in each, so a
year of full-size files needs little room and time.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import astuple, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import numpy as np
import platformdirs
import shapely
from shapely import MultiPolygon, Polygon

from s2async import files
from s2async.parks import PARKS
from s2async.sandbox import sky as skies
from s2async.sandbox.fields import METRES
from s2async.sandbox.items import cog_path, make_item
from s2async.sandbox.passes import Look, Take, takes
from s2async.sandbox.render import classes_path, prepare, render
from s2async.sandbox.squares import EXTENT, Square, squares_of

FORMAT: Final = 1
"""Of the folder, as the server reads it."""
_MAKERS: Final = ("cogs", "fields", "items", "land", "passes", "render", "sky", "squares", "world")
"""Modules that decide what the scenes are: when one of them changes, they are made anew."""
NEAR: Final = 2000.0
"""Metres from an area within which full-resolution tiles are real."""
_RED: Final = 2
"""Season whose scenes of the square with most areas have a red band."""


@dataclass(frozen=True, slots=True)
class World:
    """Generated scenes on disk."""

    folder: Path
    items: int

    def local(self, href: str) -> Path:
        """The file that an address of any server of this world names."""
        return self.folder / unquote(urlsplit(href).path).lstrip("/")


def default_folder() -> Path:
    """Where the nine parks' year is kept for later starts."""
    return Path(platformdirs.user_cache_dir("s2async")) / "sandbox"


def make_world(
    folder: Path,
    *,
    areas: Sequence[tuple[str, Polygon | MultiPolygon]] | None = None,
    items: int | None = None,
    seed: int = 2022,
    progress: Callable[[str], None] = lambda _: None,
) -> World:
    """Make the scenes of a year, or find them made.

    Args:
        folder: Where they are kept; whatever else a former world left there is removed.
        areas: Names and polygons (lon/lat) that scenes are made for; the nine parks by default.
        items: Passes to make, spread over the year, instead of all.
        seed: Of all random numbers.
        progress: Told what is going on, a line at a time.

    Raises:
        AreaError: An area lies where there are no grid squares.
        LocalError: The folder cannot be written.
    """
    wanted = [shapely.from_wkt(wkt) for _, wkt in PARKS] if areas is None else [polygon for _, polygon in areas]
    polygons = [polygon for polygon in wanted if isinstance(polygon, Polygon | MultiPolygon)]
    key = _key(polygons, items, seed)
    found = _made(folder, key)
    if found is not None:
        return found
    with files.local_errors("make the scenes in", folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        progress(f"making the scenes of the sandbox in {folder} (once; a minute or so)")
        count = _build(folder, polygons, items, seed, progress)
        text = json.dumps({"format": FORMAT, "key": key, "items": count, "seed": seed})
    files.replace(folder / "world.json", text.encode())
    return World(folder, count)


def _key(polygons: Sequence[Polygon | MultiPolygon], items: int | None, seed: int) -> str:
    spec = json.dumps([FORMAT, items, seed, [polygon.wkt for polygon in polygons]])
    sources = [(Path(__file__).parent / f"{name}.py").read_bytes() for name in _MAKERS]
    return hashlib.sha256(b"".join([spec.encode(), *sources])).hexdigest()[:16]


def _made(folder: Path, key: str) -> World | None:
    try:
        about = json.loads((folder / "world.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return World(folder, about["items"]) if (about.get("format"), about.get("key")) == (FORMAT, key) else None


def _build(
    folder: Path,
    polygons: Sequence[Polygon | MultiPolygon],
    items: int | None,
    seed: int,
    progress: Callable[[str], None],
) -> int:
    squares = squares_of(polygons)
    latitude = float(np.mean([polygon.centroid.y for polygon in polygons]))
    year = takes(seed, _edges(polygons, latitude), dates=items)
    near = {square.name: square.tiles_near(polygons, NEAR) for square in squares}
    busiest = max(squares, key=lambda square: len(near[square.name]))
    looks = sorted({take.look for take in year}, key=repr)
    work = [
        (square, [look for look in looks if look.season == season], square == busiest and season == _RED)
        for square in squares
        for season in sorted({look.season for look in looks})
    ]
    (folder / "looks").mkdir()
    with ProcessPoolExecutor(os.cpu_count() or 1, mp_context=get_context("spawn")) as pool:
        scratch = folder / "looks"
        tiles = [
            pool.submit(prepare, scratch, square, tile, seed=seed, latitude=latitude)
            for square in squares
            for tile in sorted(near[square.name])
        ]
        for task in as_completed(tiles):
            task.result()
        scenes = [
            pool.submit(
                render,
                scratch,
                square,
                own,
                {look: _name(look) for look in own},
                near[square.name],
                seed=seed,
                latitude=latitude,
                red=red,
            )
            for square, own, red in work
        ]
        for done, task in enumerate(as_completed(scenes), start=1):
            task.result()
            if done * 4 // len(scenes) > (done - 1) * 4 // len(scenes):
                progress(f"{done * 100 // len(scenes)} % of the scenes are made")
    written = _write_items(folder, year, squares, busiest, latitude)
    shutil.rmtree(folder / "looks")
    return written


def _edges(polygons: Sequence[Polygon | MultiPolygon], latitude: float) -> list[float]:
    """Edges of swaths that part the areas: through one of them, and through the middle between two neighbours."""
    scale = METRES * math.cos(math.radians(latitude))
    across = [skies.edge_through(polygon.centroid.x * scale, polygon.centroid.y * METRES) for polygon in polygons]
    ranked = np.sort(across)
    between = (ranked[1:] + ranked[:-1]) / 2
    return [
        float(value) for value in (*ranked[:: max(1, len(ranked) // 3)], *between[:: max(1, len(between) // 3)])
    ]


def _name(look: Look) -> str:
    return hashlib.sha256(repr((look.season, astuple(look.sky))).encode()).hexdigest()[:12]


def _write_items(
    folder: Path, year: Sequence[Take], squares: Sequence[Square], busiest: Square, latitude: float
) -> int:
    """Link the scenes to their places, and write an item for each; a few scenes lack a file."""
    lines: list[str] = []
    lacking = _lacking(year)
    for number, take in enumerate(year):
        for square in squares:
            classes = np.load(classes_path(folder / "looks", square, _name(take.look)))
            if not classes.any():
                continue  # the swath does not reach this square
            red = square == busiest and take.look.season == _RED
            projection = {0: "proj:code", 1: ""}.get(number % 9, "proj:epsg")
            # as in real catalogues, not every footprint follows the data: then areas lie in its nodata part
            exact = take.time.day % 2 == 0
            item = make_item(
                take,
                square,
                classes,
                footprint=_footprint(square, take.look if exact else None, latitude),
                projection=projection,
                red=red,
            )
            lines.append(json.dumps(item, separators=(",", ":")))
            for key in () if take.only_jp2 else ("scl", "visual", *(("red",) if red else ())):
                if square == busiest and lacking.get(number) == key:
                    continue
                _link(
                    folder / "looks" / f"{_name(take.look)}-{square.name}-{key}.tif",
                    folder / "cogs" / cog_path(take, square, key),
                )
    (folder / "items.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    return len(lines)


def _lacking(year: Sequence[Take]) -> Mapping[int, str]:
    """Takes of which one file was never uploaded: of clear ones, so that somebody asks for it."""
    clear = [
        number
        for number, take in enumerate(year)
        if take.look.sky.cover < 0.1 and take.look.sky.edge is None and take.sequence == 0 and not take.only_jp2
    ]
    return dict(zip(clear[2:4], ("scl", "visual"), strict=False))


def _footprint(square: Square, look: Look | None, latitude: float) -> Polygon:
    """The raster's outline in lon/lat, cut at the swath's edge if the look is given."""
    edge = look.sky.edge if look else None
    if look is None or edge is None:
        return Polygon(shapely.get_coordinates(square.unproject(square.box)))
    outline = square.unproject(shapely.segmentize(square.box, EXTENT / 4))
    scale = METRES * math.cos(math.radians(latitude))
    west, south, east, north = outline.bounds
    low, high = (float((edge - skies.edge_through(0.0, at * METRES)) / scale) for at in (south - 1, north + 1))
    far = west - 5 if look.sky.before else east + 5
    seen = Polygon([(far, south - 1), (low, south - 1), (high, north + 1), (far, north + 1)])
    part = shapely.intersection(outline, seen)
    return part if isinstance(part, Polygon) and not part.is_empty else Polygon(shapely.get_coordinates(outline))


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy(source, target)
