"""Parts of the state's transactions about areas: its places, the folders of their crops, and what is removed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat, zip_longest
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from s2async import geo
from s2async.areas.folders import Shelf, arrange, clash
from s2async.catalog.zones import home_zones
from s2async.errors import AreaError
from s2async.models import Area, FolderMove
from s2async.state import jobs, measures, reader_sql, values, watch
from s2async.state import writer_sql as sql
from s2async.state.database import Connection
from s2async.state.packed import BLOCK, area_of
from s2async.state.serialization import place_rows

PAGE: Final = 20_000
"""Number of jobs that are removed at a time, and of areas that are added."""


def check(areas: Sequence[Area]) -> None:
    """Check that areas can be the places of a state.

    Raises:
        AreaError: two of the areas have the same name and folder on the same day.
    """
    if both := clash(areas):
        one, other = both
        raise AreaError(
            f"the areas {one.name!r} and {other.name!r} have the same name or folder, and seasons that overlap; "
            "rename one of them"
        )


def rows_of(db: Connection) -> dict[str, int]:
    """Return the rows of all areas that the state knows, keyed by fingerprint."""
    return dict(db.execute(reader_sql.AREAS))


def are_places(db: Connection, areas: Sequence[Area], *, columns: bool = True) -> bool:
    """Return whether the places of the state are these areas in this order.

    Args:
        db: the open transaction.
        areas: areas of a configuration.
        columns: whether the users' own columns must be the same as well.
    """
    width = None if columns else -1
    places = zip_longest(db.execute(reader_sql.PLACES), place_rows(areas), fillvalue=())
    return all(former[:width] == present[:width] for former, present in places)


def sync_areas(db: Connection, areas: Sequence[Area], needed: str | None = None) -> dict[str, int]:
    """Make these areas the places of the state; see `state.writer.State.sync_areas`.

    Args:
        db: the open transaction.
        areas: areas of a configuration.
        needed: what the jobs of new areas will need; see `state.statuses.needed`. None if it is not known yet.

    Returns:
        The rows of the areas by fingerprint.
    """
    rows = rows_of(db)
    is_new = not rows
    only_columns = not is_new and are_places(db, areas, columns=False)
    if not is_new and not only_columns and _seasons(db.execute(reader_sql.PLACES)) != _seasons(place_rows(areas)):
        db.execute(sql.UNSETTLE)  # overpasses of days that are now in season have not been decided recently
    with watch.paused(db, "areas", "places", "shelves"):
        rows |= _add_areas(db, [area for area in areas if area.fingerprint not in rows], needed)
        db.execute(sql.FORGET_PLACES)
        db.executemany(sql.ADD_PLACE, ((rows[place[0]], *place[1:]) for place in place_rows(areas)))
        if is_new and len(rows) == len(areas) and all(area.start is area.end is None for area in areas):
            db.execute(sql.ADD_WHOLE_SHELVES)  # like `_arrange`, in a tenth of the time
        elif not only_columns:
            _arrange(db, areas, rows)
    return rows


def _add_areas(db: Connection, areas: Sequence[Area], needed: str | None) -> dict[str, int]:
    """Add areas that the state does not know, and return their rows by fingerprint."""
    added = list({area.fingerprint: area for area in _neighbours(areas)}.values())
    (last,) = db.execute(sql.LAST_AREA).fetchone()
    for start in range(0, len(added), PAGE):
        some = added[start : start + PAGE]
        polygons = geo.polygons(some)
        keys = (area.fingerprint for area in some)
        numbers = range(last + 1 + start, last + 1 + start + len(some))
        packed = (area.wkb for area in some)
        db.executemany(sql.ADD_AREA, zip(numbers, keys, packed, home_zones(polygons), repeat(needed)))
    return {area.fingerprint: row for row, area in enumerate(added, last + 1)}


def _arrange(db: Connection, areas: Sequence[Area], rows: Mapping[str, int]) -> None:
    """Record the new folders and names of crops that have to move or be retagged, and which are no longer used."""
    known: dict[str, list[Shelf]] = defaultdict(list)
    for key, since, until, wanted, folder, name in db.execute(reader_sql.SHELVES):
        known[key].append(
            Shelf(
                since=since,
                until=until,
                wanted=bool(wanted),
                folder=folder,
                name=name,
                new_folder=folder,
                new_name=name,
            )
        )
    changed = {rows[key]: shelves for key, shelves in arrange(known, areas).items() if shelves != known.get(key)}
    db.executemany(sql.SET_AREA, [(*_days(shelves), area) for area, shelves in changed.items()])
    db.executemany(sql.FORGET_SHELVES, [(area,) for area in changed])
    values = [(area, *_shelf_values(shelf)) for area, shelves in changed.items() for shelf in shelves]
    db.executemany(sql.ADD_SHELF, values)


def _seasons(places: Iterable[Sequence[Any]]) -> set[tuple[Any, ...]]:
    """Return which days of which areas are in season, from rows of the places."""
    return {(key, since, until) for key, _, since, until, *_ in places}


def _neighbours(areas: Sequence[Area]) -> Sequence[Area]:
    """Sort areas so that those of one block are close together: a scene that shows one of them mostly shows all.

    A few areas fit into one block in any order and keep theirs.
    """
    if len(areas) <= BLOCK:
        return areas
    bounds = geo.boxes(areas)
    keys = _z_order((bounds[:, :2] + bounds[:, 2:] + 720) * 500)
    return [areas[number] for number in np.argsort(keys, kind="stable").tolist()]


def _z_order(points: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return numbers with the bits of x and y interleaved (Morton, 1966), so that close numbers are close places.

    Args:
        points: (points, 2), each from 0 to 2 ** 20.
    """
    x, y = points.astype(np.int64).T
    keys = np.zeros(len(points), np.int64)
    for bit in range(20):
        keys |= (x >> bit & 1) << 2 * bit | (y >> bit & 1) << 2 * bit + 1
    return keys


def _days(shelves: Sequence[Shelf]) -> tuple[bool, bool]:
    """Return whether any days are in season, and whether only some are."""
    wanted = [shelf.wanted for shelf in shelves]
    return any(wanted), any(wanted) and not all(wanted)


def _shelf_values(shelf: Shelf) -> tuple[object, ...]:
    moves = (shelf.folder, shelf.name) != (shelf.new_folder, shelf.new_name)
    new = (shelf.new_folder, shelf.new_name) if moves else (None, None)
    return (shelf.since, shelf.until, shelf.wanted, shelf.folder, shelf.name, *new)


def folder_moves(db: Connection) -> list[FolderMove]:
    """Return the recorded moves of folders that are not done yet; periods of an area may move together."""
    spans: dict[tuple[str, str, str, bool, bool], list[tuple[int, int, int]]] = defaultdict(list)
    for key, area, since, until, old, new, parked, whole in db.execute(reader_sql.MOVES):
        spans[key, old, new, bool(parked), bool(whole)].append((area, since, until))
    return [
        FolderMove(fingerprint=key, old=old, new=new, parked=parked, files=_files_in(db, several), whole=whole)
        for (key, old, new, parked, whole), several in spans.items()
    ]


def _files_in(db: Connection, spans: Sequence[tuple[int, int, int]]) -> tuple[str, ...]:
    which = [dict(zip(("area", "since", "until"), one, strict=True)) for one in spans]
    return tuple(file for one in which for (file,) in db.execute(reader_sql.CROPS_IN_SPAN, one))


def forget_removed(db: Connection) -> None:
    """Delete everything about jobs that no place includes, and the areas without a place."""
    area = 0  # areas before this one have no such jobs left, so they are not searched again
    while gone := [job for (job,) in db.execute(sql.FIND_REMOVED, {"area": area}).fetchmany(PAGE)]:
        area = area_of(gone[-1])
        rows = [(job,) for job in gone]
        for statement in sql.FORGET_FACTS:
            db.executemany(statement, rows)
        measures.forget(db, gone)
        values.forget(db, gone)
        jobs.forget(db, gone)
    for statement in sql.FORGET_AREAS:
        db.execute(statement)
