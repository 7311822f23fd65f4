"""Creates a new state from the tags of the crops, so that a run need not read everything again.

A crop counts only if it belongs to one of the configuration's areas, has the path and name that a run would give
it, and can be decoded completely, because later runs rely on what is recorded here. Of its item, only time, id,
version and href are known, and what the id contains; the next search adds the rest without reopening the jobs.
"""

from __future__ import annotations

import glob
import itertools
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from s2async import files
from s2async.clouds.rule import CloudRule
from s2async.config.model import Config
from s2async.errors import ConfigError, CorruptFile, StateDamaged
from s2async.maintenance import owners, tagged_crops
from s2async.maintenance.spool import Spool
from s2async.maintenance.tagged_crops import TaggedCrop
from s2async.models import Area, BatchResult, Outcome, Selection, Status
from s2async.output import crops
from s2async.state import database
from s2async.state.lock import take_lock
from s2async.state.writer import State

PAGE: Final = 1000
"""Number of crops that are read and decoded together."""
_USUAL = 3
"""Number of crops of one kind from which a single crop of another kind counts as damaged."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rebuilt:
    """Result of `rebuild`."""

    known: int
    """Number of crops that were recorded."""
    strange: list[tuple[Path, str]]
    """Files in the areas' folders that were not recorded, each with the reason."""
    aside: Path | None
    """New path of the old state; None if there was none."""
    others: Mapping[str, int]
    """Number of recorded crops by collection, without the collection that is searched now. No search completes
    their items, so it stays unknown which items of that collection are of the same acquisition."""


def rebuild(config: Config, areas: Sequence[Area], rule: CloudRule, selection: Selection, version: str) -> Rebuilt:
    """Create a state from all complete crops with valid tags, and mark the output folder as belonging to it.

    The new state has another name until it is complete; the lock is held all the time.

    Args:
        config: settings of the project; its output folder exists.
        areas: areas whose crops count.
        rule: the cloud rule by which jobs are judged.
        selection: the crops that jobs need.
        version: version of the program.

    Raises:
        ConfigError: the existing state is readable and is therefore not replaced.
        StateError: the existing state belongs to another program or a newer version, or is in use.
        LocalError: a file cannot be read, or the state cannot be written.
    """
    path, output = config.run.state, config.output.folder
    new = path.with_name(f"{path.name}.rebuilt")
    lock = take_lock(path)
    try:
        _check_unusable(path)
        _remove(new)
        with State.create_or_open(new) as state:
            catalog = config.search.resolve()
            state.note_convention(catalog)
            state.sync_areas(areas)
            state.commit_folders()
            state.update_statuses(rule.verdicts, selection)
            state.begin_run("rebuild", version)
            searched = catalog.collection
            with files.local_errors("keep facts beside", new), Spool[TaggedCrop](path.parent) as kept:
                found, strange = _gather(areas, output, searched, rule, kept)
                others = Counter[str]()
                for numbers in found:
                    parts = [kept.read(number) for number in numbers]
                    others[parts[0].scene.collection] += len(parts)
                    _record(state, parts, replace(selection, newest_only=False))
            of_values = config.values_rule()
            state.update_statuses(rule.verdicts, selection, judge_values=of_values.verdicts if of_values else None)
            state.end_run("finished")
            state.note_output(output.resolve())
            if (name := owners.configuration(config)) is not None:
                state.note_configuration(name)
        owners.put(output, state.id, path, anew=True)  # first: with another mark, the state is unusable
        there = any(path.with_name(path.name + end).exists() for end in ("", "-wal", "-shm"))
        aside = database.move_aside(path) if there else None
        with files.local_errors("make the state", path):
            new.replace(path)
            files.sync_folder(path.parent)
        del others[searched]
        return Rebuilt(known=sum(map(len, found)), strange=strange, aside=aside, others=others)
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
    """Remove parts of a new state, including those left by a killed process."""
    with files.local_errors("remove what is left of", new):
        for left in new.parent.glob(f"{glob.escape(new.name)}*"):
            left.unlink(missing_ok=True)


def _gather(
    areas: Sequence[Area], output: Path, collection: str, rule: CloudRule, kept: Spool[TaggedCrop]
) -> tuple[list[list[int]], list[tuple[Path, str]]]:
    """Read all crops, page by page, and store the facts of valid crops on disk.

    Args:
        areas: areas whose crops count.
        output: the output folder.
        collection: collection of the configuration.
        rule: the cloud rule.
        kept: receives the valid crops.

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
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoding is CPU-bound
        while page := list(itertools.islice(paths, PAGE)):
            results = pool.map(lambda path: _crop_or_reason(path, places, rule), page)
            for path, crop in zip(page, results, strict=True):
                if isinstance(crop, str):
                    strange.append((path, crop))
                else:
                    kept.add(crop)
                    found = _Traits.of(crop)
                    traits.append(known.setdefault(found, found))  # crops of an item share one object
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
    # The first item gets the plain names again, see `models.Job.alias`.
    ordered = sorted(editions, key=lambda edition: edition in seconds)
    return [editions[edition] for edition in ordered], strange


def _paths(areas: Sequence[Area], output: Path) -> Iterator[Path]:
    """Yield all files in the folders of areas that may be crops, folder by folder."""
    for folder in dict.fromkeys(area.folder for area in areas):
        yield from sorted((output / folder).glob(f"*{crops.SUFFIX}"))


@dataclass(frozen=True, slots=True)
class _Traits:
    """The properties by which crops are compared and grouped."""

    edition: tuple[str, str, str]
    """Collection, id and version of the item."""
    asset: str
    kind: tuple[object, ...]
    is_second: bool
    """Whether its name is that of an item whose id also occurs in another collection."""

    @classmethod
    def of(cls, crop: TaggedCrop) -> _Traits:
        scene = crop.scene
        return cls((scene.collection, scene.id, scene.version), crop.product.asset, crop.kind, crop.is_second)


def _compared(found: Sequence[_Traits], collection: str) -> Iterator[str]:
    """Compare crops with each other, as headers have no checksum; yield the fault of each, or an empty string."""
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


def _crop_or_reason(path: Path, places: Mapping[str, Sequence[Area]], rule: CloudRule) -> TaggedCrop | str:
    """Read a crop, or return the reason why it is not valid. See `tagged_crops.read`."""
    try:
        return tagged_crops.read(path, places, rule)
    except CorruptFile as error:
        return str(error)


def _record(state: State, parts: Sequence[TaggedCrop], selection: Selection) -> None:
    """Record the crops of one item; crops of several assets of an area form one job."""
    assets = {key: asset for part in parts for key, asset in part.scene.assets.items()}
    by_area: dict[str, list[TaggedCrop]] = defaultdict(list)
    for part in parts:
        by_area[part.area.fingerprint].append(part)
    baseline = max(part.scene.baseline for part in parts)  # crops of other assets have no baseline
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
