"""The CRS of the areas: which one applies, its transformation to lon/lat, and notices about both."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS
from pyproj.exceptions import ProjError

from s2async.areas.datums import LONLAT, SAME, Accuracy, Coordinates, Trust, Way, apart
from s2async.errors import AreaError
from s2async.events import Notice
from s2async.text import one_line

STRAY: Final = 15.0
"""Tolerance around the area of use of a projected CRS, in degrees, because some countries extend their zones."""
NAMED: Final = 5
"""Maximum number of areas that a message names."""


class Frame:
    """The CRS of the areas' coordinates, with x (or lon) first.

    Args:
        crs: the CRS.
        place: file or setting that contains the areas, for messages.

    Raises:
        AreaError: there is no transformation from the CRS to lon/lat.
    """

    def __init__(self, crs: CRS, place: str) -> None:
        self.crs = crs
        self.place = place
        self.lonlat = same_text(crs, LONLAT)
        """Whether the coordinates are already lon/lat."""
        try:
            self.way = _way(crs)
        except ProjError:
            raise AreaError(f"{place}: {named(crs)} cannot be converted to lon/lat; use a projected CRS") from None
        used = crs.area_of_use if crs.is_projected else None
        self._region = (used.west, used.south, used.east, used.north) if used else None

    def move(self, xy: Coordinates) -> Coordinates:
        """Transform x, y (or lon, lat) to lon/lat; points far outside the CRS's area of use become infinite.

        Only vertices are transformed, and none are added. The error of an edge that is straight in UTM is up to
        0.03 m for 1 km at 52 degrees north, 2.8 m for 10 km, and 284 m for 100 km.
        """
        lonlat = self.way.lonlat(xy)
        # Outside the area of use, formulas give arbitrary results: Berlin in UTM with x and y exchanged is off
        # Somalia.
        return np.where(_near(lonlat, self._region), lonlat, np.inf) if self._region else lonlat

    def agrees(self, other: CRS, xy: Coordinates) -> bool:
        """Return whether another CRS gives the same locations."""
        if same_text(self.crs, other):
            return True
        try:
            return apart(self.way, _way(other), xy) <= SAME
        except ProjError:
            return False


def choose(
    place: str,
    own: str | None,
    asked: str | None,
    xy: Coordinates,
    on_notice: Callable[[Notice], None],
) -> Frame:
    """Choose the CRS: that of the configuration, or otherwise that of the file, or otherwise lon/lat.

    Args:
        place: file or setting that contains the areas, for messages.
        own: CRS of the file, for pyproj; None if the format needs no CRS, empty if it is missing.
        asked: CRS of the configuration.
        xy: the areas' points, used to compare two CRS.
        on_notice: called if the CRS of the file and of the configuration differ.

    Raises:
        AreaError: a CRS is unknown, or the file should state one, but does not.
    """
    if asked is not None:
        frame = Frame(known(asked, "crs"), place)
        if own and (difference := _difference(frame, own, xy)):
            on_notice(Notice(text=f"{place}: {difference}; {asked} applies, because crs in the config sets it"))
        return frame
    if own == "":
        raise AreaError(f'{place}: the file does not say its CRS; set crs in the config, such as "EPSG:4326"')
    return Frame(known(own, f"{place}: CRS of the file") if own else LONLAT, place)


def accuracy_notice(
    frame: Frame, xy: Coordinates, owners: NDArray[np.intp], names: Sequence[str], *, asked: bool
) -> Notice | None:
    """Return a warning that locations may be inaccurate.

    The result is None if they are accurate to `areas.datums.TRUSTED` metres.

    Args:
        frame: CRS of the coordinates.
        xy: points of the areas.
        owners: index in `names` of each point's area.
        names: names of all areas.
        asked: whether the configuration sets this CRS, so that a missing datum is accepted.

    Raises:
        AreaError: the file's CRS has no datum.
    """
    if frame.crs is LONLAT:  # nothing is transformed
        return None
    accuracy = frame.way.assess(xy)
    if accuracy.trust is Trust.FINE:
        return None
    if accuracy.trust is Trust.NAMELESS and not asked:
        raise AreaError(
            f'{frame.place}: its CRS "{named(frame.crs)}" has no datum, so the areas may be hundreds of '
            'metres off; set crs in the config, such as "EPSG:25833"'
        )
    wrong = [one_line(names[number]) for number in np.unique(owners[accuracy.doubtful])]
    which = ", ".join(wrong[:NAMED]) + ", ..." * (len(wrong) > NAMED)
    some = "1 area" if len(names) == 1 else f"{len(wrong):,} of {len(names):,} areas"
    advice = "convert the areas to EPSG:4326 with a program that has the shift of this datum"
    if grids := frame.way.better_grids(xy[accuracy.doubtful]):
        files = " ".join(f"--file {name}" for name in grids)
        advice = f"install better grids for PROJ (pyproj sync {files}), or {advice}"
    return Notice(text=f"{frame.place}: {some} {_off(accuracy, frame.crs)}: {which}; {advice}", grave=True)


def known(text: str, where: str) -> CRS:
    """Parse a geographic or projected CRS.

    Raises:
        AreaError: the CRS is unknown, or of another kind, such as a CRS for heights.
    """
    try:
        crs = _parsed(text)
    except ProjError:
        raise AreaError(f'{where}: "{one_line(text)}" is not known; write a code such as "EPSG:25833"') from None
    if not (crs.is_geographic or crs.is_projected or crs.is_derived):  # such as a CRS for heights
        raise AreaError(
            f'{where}: "{one_line(text)}" is not a geographic or projected CRS; write a code such as "EPSG:25833"'
        )
    return crs


def named(crs: CRS) -> str:
    """Return the code of a CRS, or its name if it has no code."""
    code = crs.to_authority()
    return ":".join(code) if code else one_line(crs.name)


def same_text(one: CRS, other: CRS) -> bool:
    """Return whether two CRS have the same definition; those with different ones may still be equivalent."""
    return one.equals(other, ignore_axis_order=True)


@lru_cache(maxsize=16)
def _parsed(text: str) -> CRS:
    return CRS.from_user_input(text)


@lru_cache(maxsize=4)
def _way(crs: CRS) -> Way:
    """Return the transformation of a CRS; cached, because PROJ may take seconds to select it."""
    return Way(crs)


def _difference(frame: Frame, own: str, xy: Coordinates) -> str:
    """Describe how the file's CRS differs from the configuration's; empty if it does not."""
    try:
        crs = known(own, "")
        if frame.agrees(crs, xy):
            return ""
        metres = apart(frame.way, _way(crs), xy)
    except (AreaError, ProjError):
        return "the CRS of the file cannot be used"
    far = f"{_length(metres)} away" if math.isfinite(metres) else "elsewhere"
    return f"the CRS of the file is {named(crs)}, by which the areas would lie {far}"


def _off(accuracy: Accuracy, crs: CRS) -> str:
    """Describe how large the error of locations may be, and why."""
    code, name = named(crs), one_line(crs.name)
    name = name if code == name else f"{name} ({code})"
    if accuracy.trust is Trust.NAMELESS:
        return f"may be hundreds of metres off, because {name} has no datum"
    if accuracy.trust is Trust.BALLPARK:
        return f"may be hundreds of metres off, because PROJ has no datum shift from {name} to WGS 84 there"
    if accuracy.metres is None:
        return f"may be hundreds of metres off, because the accuracy from {name} to WGS 84 is unknown there"
    return f"may be {accuracy.metres:.0f} m off, which is PROJ's accuracy from {name} to WGS 84 there"


def _length(metres: float) -> str:
    return f"{metres:,.0f} m" if metres >= 10 else f"{metres:.1f} m"


def _near(lonlat: Coordinates, region: tuple[float, float, float, float]) -> NDArray[np.bool_]:
    """Return a mask of points, as one column, within `STRAY` degrees of a region (west, south, east, north)."""
    west, south, east, north = region
    half, lat = ((east - west) % 360 or 360) / 2, lonlat[:, 1:]
    with np.errstate(invalid="ignore"):
        off = np.abs((lonlat[:, :1] - west - half + 180) % 360 - 180)
    near: NDArray[np.bool_] = (off <= half + STRAY) & (lat >= south - STRAY) & (lat <= north + STRAY)
    return near
