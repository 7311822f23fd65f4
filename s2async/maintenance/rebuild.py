"""A state from the crops' own tags: what a run would have to read again if nobody told it.

Only crops of the configuration's areas count, at the place and under the name that a run gives them, and only
those that can be decoded to the last pixel: what is recorded is believed from then on. Their items are known by
id, version and address alone; the next search adds the rest, and finds that nothing has changed.
"""

from __future__ import annotations

import glob
import hashlib
import math
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from s2async import files
from s2async.clouds import Limits, valid_percent, verdict
from s2async.cog import gdal, tiff
from s2async.cog.grid import Window
from s2async.cog.polygon_mask import cutout, outline
from s2async.cog.tiff import MAX_SIDE, Layout
from s2async.config.model import Config
from s2async.errors import ConfigError, CorruptFile, StateDamaged
from s2async.maintenance import owners
from s2async.models import (
    HISTOGRAM_BINS,
    Area,
    Asset,
    BatchResult,
    CloudMeasure,
    Outcome,
    Product,
    Scene,
    Selection,
    Status,
)
from s2async.output import crops, geotiff, tags
from s2async.state import database
from s2async.state.writer import State

_PERCENT = 0.001
"""Per cent that two ways of writing a share may differ by."""
_EMPTY = 0.999
"""Share of the pixels outside an outline that must be nodata: on its edge, libraries may differ."""
_USUAL = 3
"""Crops of one kind that make another one, which is alone, a damaged one."""
_ALMOST = 0.01
"""Of a pixel, by which an area may reach beyond its crop."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rebuilt:
    """What a new state was made of."""

    known: int
    """Crops that were recorded."""
    strange: list[tuple[Path, str]]
    """Files of the areas' folders that were not, and why."""
    aside: Path | None
    """Where the old state is now; None when there was none."""


def rebuild(config: Config, areas: Sequence[Area], limits: Limits, selection: Selection, version: str) -> Rebuilt:
    """Make a state from all crops that are whole and tell what they are, and mark the output folder as its own.

    It has another name until it is whole, so that its place never shows a part of one; nobody else has the state
    meanwhile.

    Args:
        config: Settings of the job; its output folder exists.
        areas: Those whose crops count.
        limits: By which jobs are judged.
        selection: the crops that jobs need.
        version: Of the program.

    Raises:
        ConfigError: The state can be read, and is not replaced.
        StateError: It is of another program or a newer version, or in use.
        LocalError: A file cannot be read, or the state cannot be written.
    """
    path, output = config.run.state, config.output.folder
    new = path.with_name(f"{path.name}.rebuilt")
    lock = database.take_lock(path)
    try:
        _check_unusable(path)
        _remove(new)
        with State.create_or_open(new) as state:
            state.sync_areas(areas)
            state.update_statuses(lambda measured: verdict(measured, limits), selection)
            state.begin_run("rebuild", version)
            found, strange = _gather(areas, output, config.search.resolve().collection)
            for parts in found:
                _record(state, parts, replace(selection, newest_only=False))
            state.update_statuses(lambda measured: verdict(measured, limits), selection)
            state.end_run("finished")
            state.note_output(output.resolve())
            if (name := owners.configuration(config)) is not None:
                state.note_configuration(name)
        owners.put(output, state.id, path, anew=True)  # first: beside another's mark the state could not be used
        there = any(path.with_name(path.name + end).exists() for end in ("", "-wal", "-shm"))
        aside = database.move_aside(path) if there else None
        with files.local_errors("make the state", path):
            new.replace(path)
            files.sync_folder(path.parent)
        return Rebuilt(known=sum(map(len, found)), strange=strange, aside=aside)
    finally:
        _remove(new)
        lock.release()


def _check_unusable(path: Path) -> None:
    if path.exists():
        try:
            database.open_for_writing(path).close()
        except StateDamaged:
            return
        raise ConfigError(f"the state {path} can be read; move it away for a new one")


def _remove(new: Path) -> None:
    """What is left of a new state, be it that of a process that was killed."""
    with files.local_errors("remove what is left of", new):
        for left in new.parent.glob(f"{glob.escape(new.name)}*"):
            left.unlink(missing_ok=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    """A crop, and what it tells."""

    area: Area
    scene: Scene
    measure: CloudMeasure
    product: Product
    kind: tuple[object, ...]
    """What crops of one asset have in common: bands, type, nodata, size and lattice of the pixels."""


def _gather(
    areas: Sequence[Area], output: Path, collection: str
) -> tuple[list[list[_Found]], list[tuple[Path, str]]]:
    """The crops of each edition of an item, and the files that are none that is believed, with the reasons."""
    pattern = f"*{crops.SUFFIX}"
    there = [(path, area) for area in areas for path in sorted((output / area.folder).glob(pattern))]
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # to decode is work for cores
        told = list(pool.map(lambda one: _judged(*one), there))
    strange = [(path, why) for (path, _), why in zip(there, told, strict=True) if isinstance(why, str)]
    found = [crop for crop in told if not isinstance(crop, str)]
    editions: dict[tuple[str, str, str], list[_Found]] = defaultdict(list)
    for crop, why in _compared(found, collection):
        if why:
            strange.append((output / crop.area.folder / crop.product.file, why))
        else:
            editions[crop.scene.collection, crop.scene.id, crop.scene.version].append(crop)
    return list(editions.values()), strange


def _compared(found: Sequence[_Found], collection: str) -> Iterator[tuple[_Found, str]]:
    """Crops, each with why it is not to be believed beside the others: no checksum guards a header."""
    collections = Counter(crop.scene.collection for crop in found)
    kinds = Counter((crop.product.asset, crop.kind) for crop in found)
    usual = {asset for (asset, _), count in kinds.items() if count >= _USUAL}
    for crop in found:
        name, asset = crop.scene.collection, crop.product.asset
        if collections[name] == 1 and name != collection:  # a search would find its item under the right name
            yield crop, f"is the only one of the collection {name}: its tags are damaged"
        elif kinds[asset, crop.kind] == 1 and asset in usual:
            yield crop, f"differs from all other crops of {asset} in pixels or nodata: its header is damaged"
        else:
            yield crop, ""


def _judged(path: Path, area: Area) -> _Found | str:
    """What a crop tells, or why it is not believed."""
    try:
        return _read(path, area)
    except CorruptFile as error:
        return str(error)


def _read(path: Path, area: Area) -> _Found:
    """What a crop tells.

    Raises:
        CorruptFile: It is not believed; why.
        LocalError: It cannot be read.
    """
    with files.local_errors("read", path):
        data = path.read_bytes()
    layout = tiff.parse(data)
    if not isinstance(layout, Layout):
        raise CorruptFile("is cut off")
    told = tags.of_layout(layout)
    try:
        scene, measured = _scene(told), _measure(told)
        product = Product(
            asset=told["ASSET"],
            file=path.name,
            bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            mask={"polygon": True, "none": False}[told["MASK"]],
            format=crops.FORMAT,
            epsg=layout.grid.epsg,
        )
        fingerprint = told["AREA_FINGERPRINT"]
    except (KeyError, ValueError, OverflowError):
        raise CorruptFile("does not tell what it is: no crop, or its tags are damaged") from None
    if fingerprint != area.fingerprint:
        raise CorruptFile("is a crop of another outline than its area here")
    if path.name != _name(scene, product):
        raise CorruptFile(f"is a crop of {product.asset} of {scene.id}: another name would be right")
    _check_header(area, layout, whole=sum(measured.histogram) == measured.total)
    _, pixels = gdal.sound(data)
    if product.mask:
        _check_mask(area, layout, pixels)
    return _Found(area=area, scene=scene, measure=measured, product=product, kind=_kind(layout))


def _kind(layout: Layout) -> tuple[object, ...]:
    a, b, c, d, e, f = layout.grid.transform[:6]
    lattice = (round(c / a % 1, 3) % 1, round(f / e % 1, 3) % 1) if a and e else None
    return layout.bands, layout.dtype, repr(layout.nodata), (a, b, d, e), lattice


def _check_header(area: Area, layout: Layout, *, whole: bool) -> None:
    """Compare what no checksum guards, the header, with what the area and the program say of it.

    Args:
        area: Of the crop.
        layout: What the header says.
        whole: Whether the scene held all of the area.

    Raises:
        CorruptFile: A crop of this area would be written otherwise, or lie elsewhere.
    """
    if not geotiff.is_own(layout):
        raise CorruptFile("is not written as crops are: its header is damaged, or another program wrote it anew")
    grid = layout.grid
    try:
        found, shape = cutout(area, grid), outline(area, grid)
    except ValueError as error:
        raise CorruptFile(str(error)) from error
    all_of_it = Window(col=0, row=0, width=grid.width, height=grid.height)
    if found is None or shape is None or found.window != all_of_it:
        raise CorruptFile("does not lie where its area does, pixel by pixel: its header is damaged")
    left, top, right, bottom = shape.bounds
    if whole and max(-left, -top, right - grid.width, bottom - grid.height) > _ALMOST:
        raise CorruptFile("does not hold all of its area, as it says: its header is damaged")


def _check_mask(area: Area, layout: Layout, pixels: NDArray[np.generic]) -> None:
    """Compare a crop that ends at the outline with that.

    Raises:
        CorruptFile: It goes on beyond.
    """
    found = cutout(area, layout.grid)
    outside = pixels[:, ~found.inside] if found else pixels
    nodata = np.nan if layout.nodata is None else layout.nodata
    empty = np.isnan(outside) if math.isnan(nodata) else outside == np.asarray(nodata).astype(outside.dtype)
    if outside.size and empty.mean() < _EMPTY:
        raise CorruptFile("is not empty outside its area: its header is damaged")


def _name(scene: Scene, product: Product) -> str:
    return crops.file_name(scene.id, product.asset)


def _measure(told: Mapping[str, str]) -> CloudMeasure:
    counts, total = tuple(map(int, told["SCL_HISTOGRAM"].split())), int(told["AREA_PIXELS"])
    if len(counts) != HISTOGRAM_BINS or min(counts) < 0 or not sum(counts) <= total < MAX_SIDE**2:
        raise ValueError("no histogram of an area")
    measured = CloudMeasure(histogram=counts, total=total)
    said = float(told.get("VALID_PERCENT", "nan"))
    if abs(said - (valid_percent(measured) or 0)) > _PERCENT:
        raise ValueError("its numbers contradict each other")
    return measured


def _scene(told: Mapping[str, str]) -> Scene:
    sensed = datetime.fromisoformat(told["DATETIME"])
    if sensed.tzinfo is None:
        raise ValueError("no zone of time")
    return Scene(
        id=told["ITEM_ID"],
        collection=told["COLLECTION"],
        version=told["ITEM_VERSION"],
        updated="",
        datetime=sensed.astimezone(UTC),
        platform="",
        grid="",
        cloud=None,
        epsg=None,
        baseline="",
        generated="",
        datastrip="",
        footprint=None,
        assets={told["ASSET"]: Asset(key=told["ASSET"], href=told["HREF"])},
    )


def _record(state: State, parts: Sequence[_Found], selection: Selection) -> None:
    """The crops of one item; an area's crops of several assets are one job."""
    assets = {key: asset for part in parts for key, asset in part.scene.assets.items()}
    by_area: dict[str, list[_Found]] = defaultdict(list)
    for part in parts:
        by_area[part.area.fingerprint].append(part)
    scene = replace(parts[0].scene, assets=assets)
    jobs = state.add_scene(scene, [of[0].area for of in by_area.values()], selection)
    outcomes = [
        Outcome(
            job=job,
            status=Status.SAVED,
            measure=by_area[job.area.fingerprint][0].measure,
            products=tuple(part.product for part in by_area[job.area.fingerprint]),
        )
        for job in jobs
        if job.area.fingerprint in by_area
    ]
    state.record(BatchResult(outcomes=tuple(outcomes)), [])
