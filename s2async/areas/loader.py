"""Areas from WKT, GeoJSON, CSV, GeoParquet and vector files: checked before any request, named, and fingerprinted.

The polygon identifies an area: normalised, in lon/lat degrees (OGC:CRS84), rounded to 1e-9 degrees (0.1 mm). So
the same polygon as WKT, as GeoJSON or in a file of doubles is the same area. The name is only used for the folder
and in tables.

A reader returns columns; checks and transformations process slices of them. Records that fail are checked again
one by one, to produce their messages.
"""

from __future__ import annotations

import contextlib
import gc
import re
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import shapely

from s2async.areas import attributes, faults, frames
from s2async.areas.checks import fingerprint, identified
from s2async.areas.datums import offline
from s2async.areas.faults import Changes, Mendable, Remark
from s2async.areas.folder_names import folder_name, folder_names
from s2async.areas.frames import NAMED
from s2async.areas.inline import NAME, Written, read_inline
from s2async.areas.naming import names as names_of
from s2async.areas.placing import Placed, place
from s2async.areas.readers import READERS, read_file
from s2async.areas.seasons import Seasons, clash_words, overlap, read_seasons
from s2async.areas.table import ReadOptions, Table
from s2async.config.model import Config
from s2async.config.sections import InlineArea
from s2async.config.types import Invalid
from s2async.errors import AreaError, PlaceWarning
from s2async.events import Notice
from s2async.geo import area_km2
from s2async.models import Area, Attribute
from s2async.text import one_line

__all__ = ["NAMED", "READERS", "Loaded", "examine", "fingerprint", "folder_name", "folder_names", "load", "read"]

PIXEL: Final = 20
"""Size of a pixel of the scene classification, in metres."""
_HALF: Final = "the name holds half a character (a lone surrogate); write it again"
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_SPECK: Final = 1e-6
"""Square degrees. Up to 87 degrees of latitude, larger areas are larger than a pixel."""

_OF_THE_STATE: Final = ("", "-shm", "-wal", ".plans", ".rebuilt", ".sealed")
"""Suffixes of the state's file, and of files and folders beside it whose names a folder of crops might have."""
_PATIENCE: Final = 2.0
"""Seconds after which no further records are tested for repair if the areas are refused anyway."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """The areas of a file or of a configuration."""

    areas: list[Area]
    changes: Changes
    """How they differ from those in the file."""
    crs: str
    """Code or name of the CRS in which they were given."""
    columns: tuple[str, ...]
    """Columns of the file that are copied to the areas."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Wanted:
    """The settings for areas, except how to read their file."""

    name_field: str
    crs: str | None
    invalid: Invalid
    buffer: float | None
    columns: Sequence[str] | None


def warn(notice: Notice) -> None:
    """Issue a Python warning for a grave notice; ignore all others."""
    if notice.grave:
        warnings.warn(notice.text, PlaceWarning, stacklevel=2)


def load(config: Config, on_notice: Callable[[Notice], None] = warn) -> list[Area]:
    """Read and check the areas of a configuration.

    Args:
        config: settings.
        on_notice: called with notices for the user, such as locations that may be wrong.

    Raises:
        AreaError: areas cannot be used. For a single area, the text is a line with its place, its name, what is
            wrong and what to do; for several, a heading and such a line for each of the first 30.
    """
    return examine(config, on_notice).areas


def examine(config: Config, on_notice: Callable[[Notice], None] = warn) -> Loaded:
    """Read and check the areas of a configuration, and also return facts about them.

    Args:
        config: settings.
        on_notice: called with notices for the user, such as locations that may be wrong.

    Raises:
        AreaError: as for `load`.
    """
    taken = [config.run.state.name + suffix for suffix in _OF_THE_STATE]
    wanted = _Wanted(
        name_field=config.name_field,
        crs=config.crs,
        invalid=config.invalid,
        buffer=config.buffer,
        columns=config.columns,
    )
    if isinstance(config.areas, Path):
        if not config.areas.is_file():
            raise AreaError(
                f"{config.place('areas')}: areas: no such file: {one_line(config.areas, 200)}; correct the path"
            )
        options = ReadOptions(name_field=config.name_field, layer=config.layer, encoding=config.encoding)
        with _collector_paused():
            return _loaded(read_file(config.areas, options), wanted, on_notice, taken)
    places = [config.place("areas", number) for number in range(len(config.areas))]
    return _loaded(_written(config.place("areas"), places, config.areas), _inline(wanted), on_notice, taken)


def read(
    source: Path | Sequence[InlineArea],
    *,
    name_field: str = "name",
    crs: str | None = None,
    layer: str | None = None,
    encoding: str | None = None,
    invalid: Invalid = "refuse",
    buffer: float | None = None,
    columns: Sequence[str] | None = None,
    on_notice: Callable[[Notice], None] = warn,
) -> list[Area]:
    """Read and check areas without a configuration.

    Args:
        source: a file, or names and WKT.
        name_field: field or column of the file with the names.
        crs: CRS of the coordinates, whose order is then x (or lon) first; None for that of the file, or otherwise
            lon/lat.
        layer: layer of the file; None if it has only one.
        encoding: encoding of the file's text; None to determine it from the file.
        invalid: what to do with areas that cannot be used: refuse all areas, leave these out, or repair them.
        buffer: metres by which areas grow; with it, points and lines can be areas as well.
        columns: columns of the file to copy to the areas; None for all.
        on_notice: called with notices for the user, such as locations that may be wrong.

    Raises:
        AreaError: as for `load`.
    """
    wanted = _Wanted(name_field=name_field, crs=crs, invalid=invalid, buffer=buffer, columns=columns)
    if isinstance(source, Path):
        if not source.is_file():
            raise AreaError(f"{one_line(source, 200)}: no such file; correct the path")
        options = ReadOptions(name_field=name_field, layer=layer, encoding=encoding)
        with _collector_paused():
            return _loaded(read_file(source, options), wanted, on_notice).areas
    places = [f"[[areas]] {number}" for number in range(1, len(source) + 1)]
    return _loaded(_written("areas", places, source), _inline(wanted), on_notice).areas


def specks_notice(areas: Sequence[Area]) -> str:
    """Return a notice about areas that are smaller than a pixel; empty if there are none."""
    small = np.flatnonzero(shapely.area(np.array([area.polygon for area in areas], object)) < _SPECK).tolist()
    specks = [areas[number].name for number in small if area_km2(areas[number]) * 1e6 < PIXEL**2]
    if not specks:
        return ""
    named = ", ".join(specks[:NAMED]) + (", ..." if len(specks) > NAMED else "")
    what = "1 area is" if len(specks) == 1 else f"{len(specks):,} areas are"
    return f"{what} smaller than a pixel of {PIXEL} m, and will most likely have no crop: {named}"


# ---- from records to areas --------------------------------------------------------------------------------


def _written(place: str, places: Sequence[str], areas: Sequence[InlineArea]) -> Table:
    written = [
        Written(place=at, name=area.name, wkt=area.wkt, valid_from=area.valid_from, valid_to=area.valid_to)
        for at, area in zip(places, areas, strict=True)
    ]
    return read_inline(place, written)


def _inline(wanted: _Wanted) -> _Wanted:
    """Return the same settings for areas of the configuration, which have no other columns."""
    return replace(wanted, name_field=NAME, columns=None)


@contextlib.contextmanager
def _collector_paused() -> Iterator[None]:
    """Context in which Python does not look for cyclic garbage.

    Each polygon is an object that the collector examines again and again while more are made. That takes a third
    of the time of loading, and blocks all threads for a tenth of a second each time. Loading makes no cycles.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _loaded(
    table: Table, wanted: _Wanted, on_notice: Callable[[Notice], None], taken: Sequence[str] = ()
) -> Loaded:
    if not len(table):
        raise AreaError(f"{table.place}: there is no area; give at least one polygon with a name")
    if len(table.malformed) == len(table):
        raise faults.refusal(
            table.place,
            [_remark(table, [""] * len(table), *item) for item in table.malformed.items()],
            len(table),
            invalid=wanted.invalid,
        )
    for notice in table.notices:
        on_notice(notice)
    columns: dict[str, list[Attribute]] = {}
    names, nameless = [""] * len(table), dict[int, str]()
    placed: Placed | None = None
    problems: list[str] = []  # all settings that do not suit the file are reported together
    with _noting(problems):
        names, nameless = names_of(table, wanted.name_field)
    with _noting(problems):
        columns = attributes.carried(table, wanted.columns, wanted.name_field)
    with _noting(problems), offline():
        placed = place(
            table,
            names,
            crs=wanted.crs,
            mend=wanted.invalid == "repair",
            buffer=wanted.buffer,
            on_notice=on_notice,
        )
    if placed is None or problems:
        raise AreaError("\n".join(problems))
    seasons = read_seasons(table.columns, len(table))
    checked = placed.checked
    unread = {number: text for number, text in table.unreadable.items() if number not in checked.repairs}
    # If a record has several faults, the last one in this order is reported.
    wrong = {**checked.faults, **unread, **placed.other_crs, **seasons.faults, **nameless, **table.malformed}
    found = _all_faults(wrong, names, seasons, table.near, keep=wanted.invalid == "skip")
    remarks = [_remark(table, names, number, text) for number, text in found.items()]
    if remarks and (wanted.invalid != "skip" or len(remarks) == len(table)):
        shapes = {**checked.faults, **unread}
        faulty = [number for number, text in found.items() if shapes.get(number) == text]
        with offline():
            mendable = _mendable(faulty, placed.mends) if wanted.invalid != "repair" else Mendable(0)
        raise faults.refusal(table.place, remarks, len(table), invalid=wanted.invalid, mendable=mendable)
    repairs = [_remark(table, names, number, text) for number, text in sorted(checked.repairs.items())]
    for text in (
        *faults.skipped_notices(table.place, remarks, len(table)),
        *faults.repaired_notices(table.place, repairs, len(table)),
    ):
        on_notice(Notice(text=text))
    if placed.doubts:
        on_notice(placed.doubts)
    kept = [number for number in range(len(table)) if number not in found] if found else range(len(table))
    folders = folder_names({names[number]: None for number in kept}, taken)
    polygons = checked.polygons if not found else checked.polygons[list(kept)]
    rows = attributes.rows(columns, len(table))
    areas = [
        Area(
            name=names[number],
            wkb=wkb,
            fingerprint=identity,
            folder=folders[names[number]],
            start=seasons.starts[number],
            end=seasons.ends[number],
            attributes=rows[number],
        )
        for number, (wkb, identity) in zip(kept, identified(polygons), strict=True)
    ]
    changes = Changes(skipped=tuple(remarks), repaired=tuple(repairs))
    return Loaded(areas=areas, changes=changes, crs=frames.named(placed.frame.crs), columns=tuple(columns))


@contextlib.contextmanager
def _noting(problems: list[str]) -> Iterator[None]:
    """Context that ends at an `AreaError` and adds its text to a list."""
    try:
        yield
    except AreaError as error:
        problems.append(str(error))


def _all_faults(
    wrong: Mapping[int, str], names: Sequence[str], seasons: Seasons, near: Callable[[int], str], *, keep: bool
) -> dict[int, str]:
    """Return what is wrong with each record that cannot be used, in order.

    Args:
        wrong: what is wrong with individual records, by number from 0.
        names: names of all records.
        seasons: seasons of all records.
        near: returns the place of a record within the file, for messages.
        keep: whether the other records are used nevertheless; one of them may then have the name of an unusable
            one.
    """
    found = dict(wrong)
    if _SURROGATE.search("".join(names)):
        found |= {number: _HALF for number, name in enumerate(names) if _SURROGATE.search(name)}
    repeated = {name for name, count in Counter(names).items() if count > 1}
    namesakes: dict[str, list[int]] = defaultdict(list)
    for number, name in enumerate(names if repeated else ()):
        if name not in repeated or (keep and number in found):
            continue
        season = seasons.of(number)
        others = (other for other in namesakes[name] if overlap(season, seasons.of(other)))
        if number not in found and (other := next(others, None)) is not None:
            found[number] = clash_words(season, seasons.of(other), near(other))
            if keep:
                continue
        namesakes[name].append(number)
    return dict(sorted(found.items()))


def _mendable(faulty: Sequence[int], mends: Callable[[int], bool]) -> Mendable:
    """Count the records that can be repaired, within `_PATIENCE`.

    Args:
        faulty: numbers of records in which only the geometry is wrong.
        mends: returns whether a record can be repaired.
    """
    count, began = 0, time.monotonic()
    for number in faulty:
        if time.monotonic() - began > _PATIENCE:
            return Mendable(count, every=False)
        count += mends(number)
    return Mendable(count)


def _remark(table: Table, names: Sequence[str], number: int, text: str) -> Remark:
    return Remark(place=table.where(number), name=names[number], text=text)
