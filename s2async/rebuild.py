"""A state from the crops' own tags: what a run would have to read again if nobody told it.

Only crops of the configuration's areas count, at the place and under the name that a run gives them. Their items
are known by id, version and address alone; the next search adds the rest, and finds that nothing has changed.
"""

from __future__ import annotations

import glob
import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from s2async import crops, files, schema, tiff
from s2async.clouds import Limits, verdict
from s2async.errors import ConfigError, CorruptFile, StateDamaged
from s2async.lock import take_lock
from s2async.models import Area, Asset, BatchResult, CloudMeasure, Outcome, Product, Scene, Status
from s2async.records import Wanted
from s2async.state import State
from s2async.upkeep import read_tags

FORMAT = "gtiff"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rebuilt:
    """What a new state was made of."""

    known: int
    """Crops that were recorded."""
    strange: list[Path]
    """Files of the areas' folders that were not."""
    aside: Path | None
    """Where the old state is now; None when there was none."""


def rebuild(
    path: Path, areas: Sequence[Area], output: Path, limits: Limits, wanted: Wanted, version: str
) -> Rebuilt:
    """Make a state from all crops that are whole and tell what they are.

    It has another name until it is whole, so that its place never shows a part of one; nobody else has the state
    meanwhile.

    Raises:
        ConfigError: The state can be read, and is not replaced.
        StateError: It is of another program or a newer version, or in use.
        LocalError: A file cannot be read, or the state cannot be written.
    """
    new = path.with_name(f"{path.name}.rebuilt")
    lock = take_lock(path)
    try:
        _check_unusable(path)
        _remove(new)
        with State.create_or_open(new) as state:
            known, strange = _fill(state, areas, output, limits, wanted, version)
        there = any(path.with_name(path.name + end).exists() for end in ("", "-wal", "-shm"))
        aside = schema.move_aside(path) if there else None
        with files.local_errors("make the state", path):
            new.replace(path)
            files.sync_folder(path.parent)
        return Rebuilt(known=known, strange=strange, aside=aside)
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


def _fill(
    state: State, areas: Sequence[Area], output: Path, limits: Limits, wanted: Wanted, version: str
) -> tuple[int, list[Path]]:
    state.sync_areas(areas)
    state.rejudge(lambda measured: verdict(measured, limits), wanted)
    state.begin_run("rebuild", version)
    found: dict[tuple[str, str, str], list[_Found]] = defaultdict(list)
    strange = []
    for area in areas:
        for path in sorted((output / area.folder).glob(f"*{crops.SUFFIXES[FORMAT]}")):
            crop = _read(path, area)
            if crop is None:
                strange.append(path)
            else:
                scene = crop[1]
                found[scene.collection, scene.id, scene.version].append(crop)
    for parts in found.values():
        _record(state, parts, wanted)
    state.rejudge(lambda measured: verdict(measured, limits), wanted)
    state.end_run("finished")
    return sum(map(len, found.values())), strange


_Found = tuple[Area, Scene, CloudMeasure, Product]


def _read(path: Path, area: Area) -> _Found | None:
    with files.local_errors("read", path):
        data = path.read_bytes()
    tags = read_tags(data)
    try:
        layout = tiff.parse(data)
        if not isinstance(layout, tiff.Layout) or (layout.block_offsets + layout.block_counts).max() > len(data):
            return None
        scene, measured = _scene(tags), _measure(tags)
        product = Product(
            asset=tags["ASSET"],
            file=path.name,
            bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            mask={"polygon": True, "none": False}[tags["MASK"]],
            format=FORMAT,
            epsg=layout.grid.epsg,
        )
    except (CorruptFile, KeyError, ValueError):
        return None
    ours = tags["AREA_FINGERPRINT"] == area.fingerprint
    return (area, scene, measured, product) if ours and path.name == _name(scene, product) else None


def _name(scene: Scene, product: Product) -> str:
    return crops.file_name(scene.id, product.asset, FORMAT)


def _measure(tags: Mapping[str, str]) -> CloudMeasure:
    return CloudMeasure(histogram=tuple(map(int, tags["SCL_HISTOGRAM"].split())), total=int(tags["AREA_PIXELS"]))


def _scene(tags: Mapping[str, str]) -> Scene:
    return Scene(
        id=tags["ITEM_ID"],
        collection=tags["COLLECTION"],
        version=tags["ITEM_VERSION"],
        updated="",
        datetime=datetime.fromisoformat(tags["DATETIME"]).astimezone(UTC),
        platform="",
        grid="",
        cloud=None,
        epsg=None,
        baseline="",
        generated="",
        datastrip="",
        footprint=None,
        assets={tags["ASSET"]: Asset(key=tags["ASSET"], href=tags["HREF"])},
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
