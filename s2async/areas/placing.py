"""Transforms the geometries of a file to lon/lat, grows or repairs them as configured, and checks them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import shapely

from s2async.areas import frames
from s2async.areas.buffers import buffered
from s2async.areas.checks import Checked, Checks, UnfitError, coordinates
from s2async.areas.frames import Frame
from s2async.areas.repair import repair
from s2async.areas.table import Table
from s2async.errors import AreaError
from s2async.events import Notice


@dataclass(frozen=True, kw_only=True, slots=True)
class Placed:
    """The geometries of a file, after the checks."""

    frame: Frame
    """CRS of the file."""
    doubts: Notice | None
    """A notice about locations that may be wrong because of the CRS."""
    checked: Checked
    other_crs: dict[int, str]
    """A message that a record states another CRS, and what to do; by number of the record from 0."""
    mends: Callable[[int], bool]
    """Returns whether ``invalid = "repair"`` repairs a record that cannot be used; takes up to a second."""


def place(
    table: Table,
    names: Sequence[str],
    *,
    crs: str | None,
    mend: bool,
    buffer: float | None,
    on_notice: Callable[[Notice], None],
) -> Placed:
    """Transform geometries to lon/lat and check them.

    Args:
        table: records of the file.
        names: names of all records.
        crs: CRS that the configuration sets.
        mend: whether small faults are repaired.
        buffer: metres by which all geometries grow.
        on_notice: called if the CRS of the file and of the configuration differ.

    Raises:
        AreaError: a CRS is unknown or missing, or has no datum.
    """
    closed = table.closed if mend else {}
    geometries = table.geometries
    if closed:
        geometries = geometries.copy()
        for number, shape in closed.items():
            geometries[number] = shape
    # The locations of areas only matter if the file or the configuration names a CRS.
    xy, owners = coordinates(geometries if table.crs or crs else geometries[:0])
    frame = frames.choose(table.place, table.crs, crs, xy, on_notice)
    doubts = frames.accuracy_notice(frame, xy, owners, names, asked=crs is not None)
    checks = Checks(
        frame=frame,
        grow=partial(buffered, metres=buffer) if buffer else None,
        repair=repair if mend else None,
    )
    checked = checks.all(geometries)
    repairs = dict(checked.repairs)
    for number in closed.keys() - checked.faults.keys():
        repairs[number] = "; ".join(filter(None, ("closed its ring", repairs.get(number))))
    checked = replace(checked, repairs=repairs)
    repairing = replace(checks, repair=repair)

    def mends(number: int) -> bool:
        try:
            repairing.one(table.closed.get(number, table.geometries[number]))
        except UnfitError:
            return False
        return True

    return Placed(frame=frame, doubts=doubts, checked=checked, other_crs=_other_crs(table, frame), mends=mends)


def _other_crs(table: Table, frame: Frame) -> dict[int, str]:
    """Return which records state a CRS that differs from the areas' CRS, and what to do."""
    found: dict[int, str] = {}
    if table.srids is None:
        return found
    for srid in dict.fromkeys(srid for srid in table.srids if srid is not None):
        numbers = [number for number, stated in enumerate(table.srids) if stated == srid]
        try:
            crs = frames.known(f"EPSG:{srid}", "SRID")
        except AreaError as error:
            found |= dict.fromkeys(numbers, str(error))
            continue
        if not frame.agrees(crs, shapely.get_coordinates(table.geometries[numbers])):
            text = (
                f"SRID={srid}, but the areas are in {frames.named(frame.crs)}; "
                f'set crs = "EPSG:{srid}" if all are in it'
            )
            found |= {
                number: text
                for number in numbers
                if not frame.agrees(crs, shapely.get_coordinates(table.geometries[number]))
            }
    return found
