"""Creates a new state from the tags of the crops, so that a run need not read everything again.

Only crops of the configuration's areas count that have the path and name a run gives them and can be decoded
completely: later runs rely on what is recorded here. Of their items only id, version and href are known; the
next search adds the rest without opening the jobs again.
"""

from __future__ import annotations

import glob
import hashlib
import itertools
import math
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from s2async import files
from s2async.clouds.rule import CloudRule
from s2async.clouds.shares import valid_percent
from s2async.cog import gdal, tiff
from s2async.cog.grid import Window
from s2async.cog.polygon_mask import cutout, outline
from s2async.cog.tiff import MAX_SIDE, Layout
from s2async.config.model import Config
from s2async.errors import ConfigError, CorruptFile, StateDamaged
from s2async.maintenance import owners
from s2async.maintenance.spool import Spool
from s2async.models import (
    Area,
    Asset,
    BatchResult,
    CloudMeasure,
    Numbers,
    Outcome,
    Product,
    Scene,
    Selection,
    Status,
)
from s2async.output import band_tags, crops, geotiff, tags
from s2async.reflectance.decision import QUANTIFICATION, Basis, is_reflectance
from s2async.reflectance.evidence import Evidence
from s2async.state import database
from s2async.state.serialization import namesake
from s2async.state.writer import State

PAGE: Final = 1000
"""Crops that are read and decoded together."""
_PERCENT = 0.001
"""Tolerance for shares, in per cent: they are rounded in tags."""
_EMPTY = 0.999
"""Share of the pixels outside the outline that must be nodata: at the edge, libraries may differ."""
_USUAL = 3
"""Number of crops of one kind from which on a single crop of another kind counts as damaged."""
_ALMOST = 0.01
"""Tolerance for an area at the edge of its crop, in pixels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rebuilt:
    """Result of `rebuild`."""

    known: int
    """Number of crops that were recorded."""
    strange: list[tuple[Path, str]]
    """Files in the areas' folders that were not recorded, with the reason."""
    aside: Path | None
    """New path of the old state; None when there was none."""


def rebuild(config: Config, areas: Sequence[Area], rule: CloudRule, selection: Selection, version: str) -> Rebuilt:
    """Create a state from all complete crops with valid tags, and mark the output folder as belonging to it.

    The new state has another name until it is complete, and the lock is held meanwhile.

    Args:
        config: settings of the project; its output folder exists.
        areas: areas whose crops count.
        rule: the cloud rule by which jobs are judged.
        selection: the crops that jobs need.
        version: version of the program.

    Raises:
        ConfigError: the existing state is readable, and is not replaced.
        StateError: it is of another program or a newer version, or in use.
        LocalError: a file cannot be read, or the state cannot be written.
    """
    path, output = config.run.state, config.output.folder
    new = path.with_name(f"{path.name}.rebuilt")
    lock = database.take_lock(path)
    try:
        _check_unusable(path)
        _remove(new)
        with State.create_or_open(new) as state:
            catalog = config.search.resolve()
            state.note_convention(catalog.collection, catalog.offsets)
            state.sync_areas(areas)
            state.commit_folders()
            state.update_statuses(rule.verdicts, selection)
            state.begin_run("rebuild", version)
            searched = config.search.resolve().collection
            with files.local_errors("keep facts beside", new), Spool[_TaggedCrop](path.parent) as kept:
                found, strange = _gather(areas, output, searched, rule, kept)
                for numbers in found:
                    parts = [kept.read(number) for number in numbers]
                    _record(state, parts, replace(selection, newest_only=False))
            of_values = config.values_rule()
            state.update_statuses(rule.verdicts, selection, judge_values=of_values.verdicts if of_values else None)
            state.end_run("finished")
            state.note_output(output.resolve())
            if (name := owners.configuration(config)) is not None:
                state.note_configuration(name)
        owners.put(output, state.id, path, anew=True)  # first: with another mark the state could not be used
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
    """Remove parts of a new state, also those of a process that was killed."""
    with files.local_errors("remove what is left of", new):
        for left in new.parent.glob(f"{glob.escape(new.name)}*"):
            left.unlink(missing_ok=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class _TaggedCrop:
    """A crop with the facts of its tags."""

    area: Area
    scene: Scene
    measure: CloudMeasure
    product: Product
    kind: tuple[object, ...]
    """What all crops of an asset have in common: bands, type, nodata, pixel size and grid origin."""


def _gather(
    areas: Sequence[Area], output: Path, collection: str, rule: CloudRule, kept: Spool[_TaggedCrop]
) -> tuple[list[list[int]], list[tuple[Path, str]]]:
    """Read all crops, a page after the other; what the valid ones tell is kept on disk.

    Args:
        areas: areas whose crops count.
        output: the output folder.
        collection: that of the configuration.
        rule: the cloud rule.
        kept: takes the crops.

    Returns:
        The numbers of the valid crops by edition of their item, and the other files with the reason.
    """
    places: dict[str, list[Area]] = defaultdict(list)
    for area in areas:
        places[area.fingerprint].append(area)
    paths = _paths(areas, output)
    strange: list[tuple[Path, str]] = []
    traits = list[_Traits]()
    known: dict[_Traits, _Traits] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # to decode is work for cores
        while page := list(itertools.islice(paths, PAGE)):
            results = pool.map(lambda path: _crop_or_reason(path, places, rule), page)
            for path, crop in zip(page, results, strict=True):
                if isinstance(crop, str):
                    strange.append((path, crop))
                else:
                    kept.add(crop)
                    found = _Traits.of(crop)
                    traits.append(known.setdefault(found, found))  # crops of an item share them
    editions: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    seconds: set[tuple[str, str, str]] = set()
    for number, why in enumerate(_compared(traits, collection)):
        if why:
            crop = kept.read(number)
            strange.append((output / crop.area.folder / crop.product.file, why))
        else:
            editions[traits[number].edition].append(number)
            if traits[number].is_second:
                seconds.add(traits[number].edition)
    # The item that comes first gets the plain names again, see `models.Job.alias`.
    ordered = sorted(editions, key=lambda edition: edition in seconds)
    return [editions[edition] for edition in ordered], strange


def _paths(areas: Sequence[Area], output: Path) -> Iterator[Path]:
    """All files in the folders of areas that may be crops, a folder after the other."""
    for folder in dict.fromkeys(area.folder for area in areas):
        yield from sorted((output / folder).glob(f"*{crops.SUFFIX}"))


@dataclass(frozen=True, slots=True)
class _Traits:
    """What is compared between crops, and what they are grouped by."""

    edition: tuple[str, str, str]
    """Collection, id and version of the item."""
    asset: str
    kind: tuple[object, ...]
    is_second: bool
    """Its name is that of an item whose id another collection has, too."""

    @classmethod
    def of(cls, crop: _TaggedCrop) -> _Traits:
        scene = crop.scene
        return cls((scene.collection, scene.id, scene.version), crop.product.asset, crop.kind, _is_second(crop))


def _compared(found: Sequence[_Traits], collection: str) -> Iterator[str]:
    """Compare crops with each other, as headers have no checksum; yields the reason against each."""
    collections = Counter(crop.edition[0] for crop in found)
    kinds = Counter((crop.asset, crop.kind) for crop in found)
    usual = {asset for (asset, _), count in kinds.items() if count >= _USUAL}
    for crop in found:
        name, asset = crop.edition[0], crop.asset
        if collections[name] == 1 and name != collection:  # a search would return its item under the right id
            yield f"is the only one of the collection {name}: its tags are damaged"
        elif kinds[asset, crop.kind] == 1 and asset in usual:
            yield f"differs from all other crops of {asset} in pixels or nodata: its header is damaged"
        else:
            yield ""


def _crop_or_reason(path: Path, places: Mapping[str, Sequence[Area]], rule: CloudRule) -> _TaggedCrop | str:
    """Read a crop; returns the reason if it is not valid. See `_read`."""
    try:
        return _read(path, places, rule)
    except CorruptFile as error:
        return str(error)


def _read(path: Path, places: Mapping[str, Sequence[Area]], rule: CloudRule) -> _TaggedCrop:
    """Read a crop and check its tags, header and pixels.

    Args:
        path: of the file.
        places: the areas by fingerprint; of those with one polygon, the first that wants a day has its crops.
        rule: the cloud rule.

    Raises:
        CorruptFile: it is not valid; the text says why.
        LocalError: it cannot be read.
    """
    with files.local_errors("read", path):
        data = path.read_bytes()
    layout = tiff.parse(data)
    if not isinstance(layout, Layout):
        raise CorruptFile("is cut off")
    values = tags.of_layout(layout)
    try:
        scene, measured = _scene(values), _measure(values, rule)
        product = Product(
            asset=values["ASSET"],
            file=path.name,
            bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            mask={"polygon": True, "none": False}[values["MASK"]],
            format=crops.FORMAT,
            epsg=layout.grid.epsg,
            numbers=_numbers(values, layout),
        )
        fingerprint = values["AREA_FINGERPRINT"]
    except (KeyError, ValueError, OverflowError):
        raise CorruptFile("does not tell what it is: no crop, or its tags are damaged") from None
    if not any(area.folder == path.parent.name for area in places.get(fingerprint, ())):
        raise CorruptFile("is a crop of another outline than its area here")
    area = next((area for area in places[fingerprint] if area.wants(scene.datetime.date())), None)
    if area is None or area.folder != path.parent.name:
        raise CorruptFile("is a crop of a day outside the season of its area here")
    if path.name not in (_name(scene, product), _second_name(scene, product)):
        raise CorruptFile(f"is a crop of {product.asset} of {scene.id}: another name would be right")
    _check_header(area, layout, whole=sum(measured.histogram) == measured.total)
    _, pixels = gdal.sound(data)
    if product.mask:
        _check_mask(area, layout, pixels)
    product = replace(product, **_shown(product, pixels))
    return _TaggedCrop(area=area, scene=scene, measure=measured, product=product, kind=_kind(layout))


def _kind(layout: Layout) -> tuple[object, ...]:
    a, b, c, d, e, f = layout.grid.transform[:6]
    lattice = (round(c / a % 1, 3) % 1, round(f / e % 1, 3) % 1) if a and e else None
    return layout.bands, layout.dtype, repr(layout.nodata), (a, b, d, e), lattice


def _check_header(area: Area, layout: Layout, *, whole: bool) -> None:
    """Check the header, which has no checksum, against the area and the way that crops are written.

    Args:
        area: area of the crop.
        layout: the header.
        whole: whether the scene covers the whole area.

    Raises:
        CorruptFile: a crop of this area would have another header.
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
    """Check that a masked crop is nodata outside the outline.

    Raises:
        CorruptFile: it is not.
    """
    found = cutout(area, layout.grid)
    outside = pixels[:, ~found.inside] if found else pixels
    nodata = np.nan if layout.nodata is None else layout.nodata
    empty = np.isnan(outside) if math.isnan(nodata) else outside == np.asarray(nodata).astype(outside.dtype)
    if outside.size and empty.mean() < _EMPTY:
        raise CorruptFile("is not empty outside its area: its header is damaged")


def _numbers(values: Mapping[str, str], layout: Layout) -> Numbers | None:
    """What a crop of a reflectance band says of its DN; one of an earlier version says nothing.

    Raises:
        ValueError: its tags are damaged.
    """
    asset = values["ASSET"]
    numbers = band_tags.read(values) if is_reflectance(asset) else None
    if numbers and band_tags.scaling(asset, numbers, layout) != (layout.scales, layout.offsets):
        raise ValueError("its scale and offset contradict its tags")
    return numbers


def _shown(product: Product, pixels: NDArray[np.generic]) -> dict[str, Any]:
    """What a crop shows of the offset of its band, and what its source file states, as far as its tags tell."""
    numbers = product.numbers
    if numbers is None or numbers.subtracted:  # pixels below zero are lost
        return {}
    stated = (numbers.offset or 0) / QUANTIFICATION if numbers.basis == Basis.TAG else None
    return {"evidence": Evidence.of(pixels), "stated": stated}


def _name(scene: Scene, product: Product) -> str:
    return crops.file_name(scene.id, product.asset)


def _second_name(scene: Scene, product: Product) -> str:
    """Its name where an item of another collection has the same id."""
    return crops.file_name(namesake(scene.id, scene.collection), product.asset)


def _is_second(crop: _TaggedCrop) -> bool:
    return crop.product.file != _name(crop.scene, crop.product)


def _measure(values: Mapping[str, str], rule: CloudRule) -> CloudMeasure:
    tag = crops.histogram_tag(rule.name)
    if tag not in values and any(key.endswith(crops.histogram_tag("")) for key in values):
        raise CorruptFile("was measured by another cloud rule: a run measures its area again")
    counts = tuple(map(int, values[tag].split()))
    total = int(values["AREA_PIXELS"])
    if len(counts) != rule.bins or min(counts) < 0 or not sum(counts) <= total < MAX_SIDE**2:
        raise ValueError("no histogram of an area")
    measured = CloudMeasure(histogram=counts, total=total, rule=rule.name)
    said = float(values.get("VALID_PERCENT", "nan"))
    if abs(said - (valid_percent(measured) or 0)) > _PERCENT:
        raise ValueError("its numbers contradict each other")
    return measured


def _scene(values: Mapping[str, str]) -> Scene:
    """The item of a crop, as far as its tags tell."""
    sensed = datetime.fromisoformat(values["DATETIME"])
    if sensed.tzinfo is None:
        raise ValueError("no zone of time")
    return Scene(
        id=values["ITEM_ID"],
        collection=values["COLLECTION"],
        version=values["ITEM_VERSION"],
        updated="",
        datetime=sensed.astimezone(UTC),
        platform="",
        grid="",
        cloud=None,
        epsg=None,
        baseline=values.get(band_tags.BASELINE, ""),
        generated="",
        datastrip="",
        footprint=None,
        assets={values["ASSET"]: Asset(key=values["ASSET"], href=values["HREF"])},
        subtracted=True if values.get(band_tags.BASIS) == Basis.FLAG else None,
    )


def _record(state: State, parts: Sequence[_TaggedCrop], selection: Selection) -> None:
    """Record the crops of one item; crops of several assets of an area are one job."""
    assets = {key: asset for part in parts for key, asset in part.scene.assets.items()}
    by_area: dict[str, list[_TaggedCrop]] = defaultdict(list)
    for part in parts:
        by_area[part.area.fingerprint].append(part)
    baseline = max(part.scene.baseline for part in parts)  # crops of other assets do not tell it
    subtracted = True if any(part.scene.subtracted for part in parts) else None
    scene = replace(parts[0].scene, assets=assets, baseline=baseline, subtracted=subtracted)
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
