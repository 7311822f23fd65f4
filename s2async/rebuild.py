"""A state from the crops' own tags: what a run would have to read again if nobody told it.

Only crops of the configuration's areas count, at the place and under the name that a run gives them, and only
those that can be decoded to the last pixel: what is recorded is believed from then on. Their items are known by
id, version and address alone; the next search adds the rest, and finds that nothing has changed.
"""

from __future__ import annotations

import glob
import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from s2async import crops, decode, files, owners, schema, tags
from s2async.clouds import Limits, valid_percent, verdict
from s2async.config import Config
from s2async.errors import ConfigError, CorruptFile, StateDamaged
from s2async.grid import Window, cutout
from s2async.lock import take_lock
from s2async.models import (
    HISTOGRAM_BINS,
    Area,
    Asset,
    BatchResult,
    CloudMeasure,
    Outcome,
    Product,
    Scene,
    Status,
)
from s2async.records import Wanted
from s2async.state import State
from s2async.tiff import MAX_SIDE, Layout

FORMAT = "gtiff"
_PERCENT = 0.001
"""Per cent that two ways of writing a share may differ by."""
_EMPTY = 0.9
"""Share of the pixels outside an outline that must be nodata: on its edge, libraries may differ."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rebuilt:
    """What a new state was made of."""

    known: int
    """Crops that were recorded."""
    strange: list[tuple[Path, str]]
    """Files of the areas' folders that were not, and why."""
    aside: Path | None
    """Where the old state is now; None when there was none."""


def rebuild(config: Config, areas: Sequence[Area], limits: Limits, wanted: Wanted, version: str) -> Rebuilt:
    """Make a state from all crops that are whole and tell what they are, and mark the output folder as its own.

    It has another name until it is whole, so that its place never shows a part of one; nobody else has the state
    meanwhile.

    Args:
        config: Settings of the job; its output folder exists.
        areas: Those whose crops count.
        limits: By which jobs are judged.
        wanted: The crops that jobs need.
        version: Of the program.

    Raises:
        ConfigError: The state can be read, and is not replaced.
        StateError: It is of another program or a newer version, or in use.
        LocalError: A file cannot be read, or the state cannot be written.
    """
    path, output = config.run.state, config.output.folder
    new = path.with_name(f"{path.name}.rebuilt")
    lock = take_lock(path)
    try:
        _check_unusable(path)
        _remove(new)
        with State.create_or_open(new) as state:
            state.sync_areas(areas)
            state.rejudge(lambda measured: verdict(measured, limits), wanted)
            state.begin_run("rebuild", version)
            found, strange = _gather(areas, output, config.search.resolve().collection)
            for parts in found:
                _record(state, parts, wanted)
            state.rejudge(lambda measured: verdict(measured, limits), wanted)
            state.end_run("finished")
            state.note_output(output.resolve())
            if (name := owners.configuration(config)) is not None:
                state.note_configuration(name)
        owners.put(output, state.id, path, anew=True)  # first: beside another's mark the state could not be used
        there = any(path.with_name(path.name + end).exists() for end in ("", "-wal", "-shm"))
        aside = schema.move_aside(path) if there else None
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
            schema.open_for_writing(path).close()
        except StateDamaged:
            return
        raise ConfigError(f"the state {path} can be read; move it away for a new one")


def _remove(new: Path) -> None:
    """What is left of a new state, be it that of a process that was killed."""
    with files.local_errors("remove what is left of", new):
        for left in new.parent.glob(f"{glob.escape(new.name)}*"):
            left.unlink(missing_ok=True)


_Found = tuple[Area, Scene, CloudMeasure, Product]


def _gather(
    areas: Sequence[Area], output: Path, collection: str
) -> tuple[list[list[_Found]], list[tuple[Path, str]]]:
    """The crops of each edition of an item, and the files that are none that is believed, with the reasons."""
    found: dict[tuple[str, str, str], list[_Found]] = defaultdict(list)
    strange: list[tuple[Path, str]] = []
    for area in areas:
        for path in sorted((output / area.folder).glob(f"*{crops.SUFFIXES[FORMAT]}")):
            try:
                crop = _read(path, area)
            except CorruptFile as error:
                strange.append((path, str(error)))
            else:
                scene = crop[1]
                found[scene.collection, scene.id, scene.version].append(crop)
    by_collection = Counter(name for (name, _, _), crops_ in found.items() for _ in crops_)
    for key in [key for key in found if by_collection[key[0]] == 1 and key[0] != collection]:
        # a damaged letter, most likely, and a state that knows the item under that name could not be used
        ((area, _, _, product),) = found.pop(key)
        strange.append((output / area.folder / product.file, f"is the only one of the collection {key[0]}"))
    return list(found.values()), strange


def _read(path: Path, area: Area) -> _Found:
    """What a crop tells.

    Raises:
        CorruptFile: It is not believed; why.
        LocalError: It cannot be read.
    """
    with files.local_errors("read", path):
        data = path.read_bytes()
    layout, pixels = decode.sound(data)
    told = tags.told(layout)
    try:
        scene, measured = _scene(told), _measure(told)
        product = Product(
            asset=told["ASSET"],
            file=path.name,
            bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            mask={"polygon": True, "none": False}[told["MASK"]],
            format=FORMAT,
            epsg=layout.grid.epsg,
        )
        outline = told["AREA_FINGERPRINT"]
    except (KeyError, ValueError, OverflowError):
        raise CorruptFile("does not tell what it is: no crop, or its tags are damaged") from None
    if outline != area.fingerprint:
        raise CorruptFile("is a crop of another outline than its area here")
    if path.name != _name(scene, product):
        raise CorruptFile(f"is a crop of {product.asset} of {scene.id}: another name would be right")
    _check_place(area, layout, pixels, masked=product.mask)
    return area, scene, measured, product


def _check_place(area: Area, layout: Layout, pixels: NDArray[np.generic], *, masked: bool) -> None:
    """Compare what no checksum guards, the header, with what the area says of it.

    Raises:
        CorruptFile: A crop of this area would lie elsewhere, or be of another size, or end at the outline.
    """
    grid = layout.grid
    try:
        found = cutout(area, grid)
    except ValueError as error:
        raise CorruptFile(str(error)) from error
    if found is None or found.window != Window(col=0, row=0, width=grid.width, height=grid.height):
        raise CorruptFile("does not lie where its area does, pixel by pixel: its header is damaged")
    if not masked:
        return
    outside = pixels[:, ~found.inside]
    nodata = np.nan if layout.nodata is None else layout.nodata
    empty = np.isnan(outside) if math.isnan(nodata) else outside == np.asarray(nodata).astype(outside.dtype)
    if outside.size and empty.mean() < _EMPTY:
        raise CorruptFile("is not empty outside its area: its header is damaged")


def _name(scene: Scene, product: Product) -> str:
    return crops.file_name(scene.id, product.asset, FORMAT)


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


def _record(state: State, parts: Sequence[_Found], wanted: Wanted) -> None:
    """The crops of one item; an area's crops of several assets are one job."""
    assets = {key: asset for _, scene, _, _ in parts for key, asset in scene.assets.items()}
    first = parts[0][1]
    scene = Scene(**{name: getattr(first, name) for name in Scene.__slots__} | {"assets": assets})
    by_area: dict[str, list[_Found]] = defaultdict(list)
    for part in parts:
        by_area[part[0].fingerprint].append(part)
    jobs = state.add_scene(scene, [of[0][0] for of in by_area.values()], wanted, twins_newest=False)
    outcomes = [
        Outcome(
            job=job,
            status=Status.SAVED,
            measure=by_area[job.area.fingerprint][0][2],
            products=tuple(product for *_, product in by_area[job.area.fingerprint]),
        )
        for job in jobs
        if job.area.fingerprint in by_area
    ]
    state.record(BatchResult(outcomes=tuple(outcomes)), [])
