"""A world of generated scenes on disk: items and COGs of a period, made once and reused by later starts.

The key in ``world.json`` is written last: a folder without it, or with another key, is made again. Other processes
wait while a world is made. Scenes of one square that look the same share their bytes on disk (hard links), and
tiles far from all areas are one stand-in each, so a year of full-size files needs little space and time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import astuple, dataclass
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import numpy as np
import platformdirs
import shapely
from filelock import FileLock, Timeout
from shapely import MultiPolygon, Polygon

from s2async import files
from s2async.errors import LocalError
from s2async.sandbox.world import swaths
from s2async.sandbox.world.archives import COLLECTIONS, L2A, Record
from s2async.sandbox.world.assets import ASSETS, RED, SCL, VISUAL, Scaling
from s2async.sandbox.world.fields import Plane
from s2async.sandbox.world.items import cog_path, make_item
from s2async.sandbox.world.parks import PARKS
from s2async.sandbox.world.passes import YEAR, Look, Take
from s2async.sandbox.world.render import asset_path, classes_path, prepare, render
from s2async.sandbox.world.squares import TILE, Square
from s2async.sandbox.world.wish import FORMAT, Wish, listing, plane_of, tiles_near
from s2async.text import size

_LONG: Final = 1.5e9
"""Bytes of scenes that take longer than a minute or two to generate."""
_RED: Final = 2
"""Season whose scenes of the square with most areas have a red band if no assets are requested."""
_OWN: Final = ("world.json", "items.jsonl", "cogs", "looks", "making.lock")
"""Everything that a world's folder contains: its description, its items and files; while it is made, also the
looks and a lock."""
_ABOUT, _ITEMS, _COGS, _LOOKS, _LOCK = _OWN
_ONE_THREAD: Final = dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1")
"""Settings for the libraries that numpy may use for matrix products."""


@dataclass(frozen=True, slots=True)
class World:
    """Generated scenes on disk."""

    folder: Path
    items: int

    def local(self, href: str) -> Path:
        """Return the file that a URL of any server of this world refers to."""
        return self.folder / unquote(urlsplit(href).path).lstrip("/")


def default_folder() -> Path:
    """Return the folder in which the scenes of the nine parks are stored for later starts."""
    return Path(platformdirs.user_cache_dir("s2async")) / "sandbox"


def make_world(
    folder: Path,
    *,
    areas: Sequence[tuple[str, Polygon | MultiPolygon]] | None = None,
    items: int | None = None,
    seed: int = 2022,
    assets: Sequence[str] | None = None,
    period: tuple[date, date] = YEAR,
    collections: Sequence[str] = (L2A,),
    lying: bool = False,
    only: Sequence[str] | None = None,
    covers: Sequence[float] | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> World:
    """Make the scenes of a period, or return those that already exist.

    Args:
        folder: where the scenes are stored; those of another world in it are removed.
        areas: names and polygons (lon/lat) for which scenes are made; the nine parks by default.
        items: number of passes to make, spread over the period, instead of all.
        seed: seed of all random numbers.
        assets: keys of `assets.ASSETS` that every item has, always including ``scl``; None for SCL, true colour
            and occasionally red.
        period: first and last day of sensing.
        collections: some of `archives.COLLECTIONS`, which all have the same datatakes.
        lying: whether some flags in ``sentinel-2-l2a`` are wrong, as in the real collection.
        only: names of the grid squares that have scenes; None for all that an area touches.
        covers: cloud covers of the skies, some of `passes.COVERS`; None for as many as there is room for. With
            them, no swath ends within the world.
        progress: called with messages about progress.

    Raises:
        AreaError: an area is where there are no grid squares, or the scenes would take too much space.
        ConfigError: no satellite passes in the period.
        LocalError: the folder cannot be written, or it contains something other than a world.
    """
    wanted = [shapely.from_wkt(wkt) for _, wkt in PARKS] if areas is None else [polygon for _, polygon in areas]
    polygons = [polygon for polygon in wanted if isinstance(polygon, Polygon | MultiPolygon)]
    wish = Wish(
        polygons=polygons,
        items=items,
        seed=seed,
        assets=None if assets is None else [key for key in ASSETS if key == SCL or key in assets],
        period=period,
        collections=[name for name in COLLECTIONS if name in collections],
        lying=lying,
        only=only,
        covers=covers,
    )
    key = wish.key
    found = _made(folder, key)
    if found is not None:
        return found
    with files.local_errors("make the scenes in", folder), _alone(folder, progress):
        found = _made(folder, key)  # another process may have made it in the meantime
        if found is not None:
            return found
        _clear(folder)
        count = _build(folder, wish, progress)
        text = json.dumps({"format": FORMAT, "key": key, "items": count, "seed": seed})
        files.replace(folder / _ABOUT, text.encode())
    return World(folder, count)


@contextlib.contextmanager
def _alone(folder: Path, progress: Callable[[str], None]) -> Iterator[None]:
    """Keep other processes from making a world in the folder, after a check that it contains nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {path.name for path in folder.iterdir() if path.name[0] != "."}
    # other programs may also use the name "cogs", so one of the other files of a world must exist as well
    strange = names.difference(_OWN if names & {_ABOUT, _LOCK} else ())
    if strange:
        raise LocalError(f"{folder} holds {min(strange)}, which is no part of a sandbox: name another folder")
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress(f"another process makes the scenes in {folder}: waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _clear(folder: Path) -> None:
    files.replace(folder / _ABOUT, b"{}")  # first: after an interruption, the rest counts as an incomplete world
    (folder / _ITEMS).unlink(missing_ok=True)
    for name in (_COGS, _LOOKS):
        if (folder / name).exists():
            shutil.rmtree(folder / name)


def _made(folder: Path, key: str) -> World | None:
    try:
        about = json.loads((folder / _ABOUT).read_text("utf-8"))
        return World(folder, about["items"]) if (about["format"], about["key"]) == (FORMAT, key) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _build(folder: Path, wish: Wish, progress: Callable[[str], None]) -> int:
    seed, plane = wish.seed, plane_of(wish)
    squares = wish.squares
    near = tiles_near(wish, squares)
    listed, room = listing(wish, squares, near, plane)
    time = "a minute or two" if room < _LONG else "some minutes"
    progress(f"making the scenes of the sandbox in {folder} (once; about {size(room)} of disk, {time})")
    busiest = max(squares, key=lambda square: len(near[square.name][TILE]))
    scalings: dict[Look, set[Scaling]] = {}
    for record in listed:
        scalings.setdefault(record.take.look, set()).add(record.scaling)
    looks = sorted(scalings, key=repr)
    seasons = sorted({look.season for look in looks})
    # each core has work even if there are fewer seasons than cores
    parts = -(-(os.cpu_count() or 1) // (len(squares) * len(seasons)))
    shares = [
        share
        for season in seasons
        for part in range(parts)
        if (share := [look for look in looks if look.season == season][part::parts])
    ]

    def keys(square: Square, season: int) -> tuple[str, ...]:
        if wish.assets is not None:
            return tuple(wish.assets)
        return (SCL, VISUAL, RED) if square == busiest and season == _RED else (SCL, VISUAL)

    scratch = folder / _LOOKS
    scratch.mkdir()
    with _processes() as pool:
        grounds = [
            pool.submit(prepare, scratch, square, tile, seed=seed, plane=plane)
            for square in squares
            for tile in sorted(near[square.name][TILE])
        ]
        for task in as_completed(grounds):
            task.result()
        scenes = [
            pool.submit(
                render,
                scratch,
                square,
                {_name(look): look for look in some},
                {_name(look): scalings[look] for look in some},
                near[square.name],
                keys=keys(square, some[0].season),
                seed=seed,
                plane=plane,
            )
            for square in squares
            for some in shares
        ]
        for done, task in enumerate(as_completed(scenes), start=1):
            task.result()
            if done * 4 // len(scenes) > (done - 1) * 4 // len(scenes):
                progress(f"{done * 100 // len(scenes)} % of the scenes are made")
    written = _write_items(folder, wish, listed, squares, busiest, plane, keys)
    shutil.rmtree(scratch)
    return written


@contextlib.contextmanager
def _processes() -> Iterator[ProcessPoolExecutor]:
    """Context with a process for each core, with one thread: more threads slow matrix products down."""
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(_ONE_THREAD)  # numpy reads it when it is imported, so only new processes use it
    try:
        with ProcessPoolExecutor(os.cpu_count() or 1, mp_context=get_context("spawn")) as pool:
            try:
                yield pool
            except BaseException:
                pool.shutdown(cancel_futures=True)  # otherwise the error is only reported after all scenes
                raise
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _name(look: Look) -> str:
    return hashlib.sha256(repr((look.season, astuple(look.sky))).encode()).hexdigest()[:12]


def _write_items(
    folder: Path,
    wish: Wish,
    listed: Sequence[Record],
    squares: Sequence[Square],
    busiest: Square,
    plane: Plane,
    keys: Callable[[Square, int], tuple[str, ...]],
) -> int:
    """Link the scenes to their places, and write an item for each; a few scenes lack a file."""
    lines: list[str] = []
    lacking = _lacking([record.take for record in listed if record.collection == L2A])
    for number, record in enumerate(listed):
        take = record.take
        for square in squares:
            name = _name(take.look)
            classes = np.load(classes_path(folder / _LOOKS, square, name))
            if not classes.any():
                continue  # the swath does not reach this square
            own = keys(square, take.look.season)
            # items without a CRS are for tests, and would only confuse users who try a configuration
            untold = "" if wish.assets is None else "proj:epsg"
            projection = {0: "proj:code", 1: untold}.get(number % 9, "proj:epsg")
            # As in real catalogues, not every footprint follows the data, so some areas are in its nodata part.
            exact = take.time.day % 2 == 0 or (take.half and wish.assets is not None)
            item = make_item(
                record,
                square,
                classes,
                footprint=swaths.footprint(square, take.look.sky if exact else None, plane),
                projection=projection,
                keys=own,
            )
            lines.append(json.dumps(item, separators=(",", ":")))
            for key in () if take.only_jp2 else own:
                if square == busiest and lacking.get(number) == key and record.collection == L2A:
                    continue
                _link(
                    asset_path(folder / _LOOKS, square, name, key, record.scaling),
                    folder / _COGS / cog_path(record, square, key),
                )
    (folder / _ITEMS).write_text("\n".join(lines) + "\n", "utf-8")
    return len(lines)


def _lacking(year: Sequence[Take]) -> Mapping[int, str]:
    """Return the takes of which one file was never uploaded.

    These takes are clear, so that the file is requested.
    """
    clear = [
        number
        for number, take in enumerate(year)
        if take.look.sky.cover < 0.1 and take.look.sky.edge is None and take.sequence == 0 and not take.only_jp2
    ]
    return dict(zip(clear[2:4], ("scl", "visual"), strict=False))


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy(source, target)
