"""The CRS that areas are given in: which one counts, the way from it to lon/lat, and what is told of both."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS
from pyproj.exceptions import ProjError

from s2async.areas.datums import LONLAT, SAME, Coordinates, Trust, Verdict, Way, apart
from s2async.errors import AreaError
from s2async.models import Notice
from s2async.text import one_line

STRAY: Final = 15.0
"""Degrees beyond the region of a projected CRS that are still taken for meant: countries stretch their zones."""
NAMED: Final = 5
"""Areas named in a message."""


class Frame:
    """A CRS as the areas' coordinates use it: x (or lon) first.

    Args:
        crs: the CRS.
        place: where the areas stand, for people.

    Raises:
        AreaError: there is no way from it to lon/lat.
    """

    def __init__(self, crs: CRS, place: str) -> None:
        self.crs = crs
        self.place = place
        self.lonlat = same_text(crs, LONLAT)
        """Whether its coordinates are lon/lat as they are."""
        try:
            self.way = _way(crs)
        except ProjError:
            raise AreaError(f"{place}: {named(crs)} has no way to lon/lat; use a CRS of maps") from None
        used = crs.area_of_use if crs.is_projected else None
        self._region = (used.west, used.south, used.east, used.north) if used else None

    def move(self, xy: Coordinates) -> Coordinates:
        """Bring x, y (or lon, lat) to lon/lat, vertex by vertex; what lies far from the CRS's region is infinite.

        Edges are not made denser, as that would invent vertices: one of 1 km that is straight in UTM then lies up
        to 0.03 m off at 52 degrees north, one of 10 km 2.8 m, one of 100 km 284 m.
        """
        lonlat = self.way.lonlat(xy)
        # far from its region formulas give any place: with x and y exchanged, Berlin in UTM lies off Somalia
        return np.where(_near(lonlat, self._region), lonlat, np.inf) if self._region else lonlat

    def agrees(self, other: CRS, xy: Coordinates) -> bool:
        """Whether another CRS puts points where this one does."""
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
    """The CRS of coordinates: what the config asks for, else what the file says, else lon/lat.

    Args:
        place: where the areas stand, for people.
        own: what the file says, for pyproj; None: nothing, as is right; empty: nothing, though it should.
        asked: what the config says.
        xy: the areas' points, by which two CRS are compared.
        on_notice: told when the file says something else than the config.

    Raises:
        AreaError: a CRS is not known, or the file should give one and does not.
    """
    if asked is not None:
        frame = Frame(known(asked, "crs"), place)
        if own and (told := _differs(frame, own, xy)):
            on_notice(Notice(text=f"{place}: {told}; {asked} counts, as crs in the config says"))
        return frame
    if own == "":
        raise AreaError(f'{place}: the file does not say its CRS; set crs in the config, such as "EPSG:4326"')
    return Frame(known(own, f"{place}: CRS of the file") if own else LONLAT, place)


def doubt(
    frame: Frame, xy: Coordinates, owners: NDArray[np.intp], names: Sequence[str], *, asked: bool
) -> Notice | None:
    """Say aloud that areas may lie elsewhere; None where they are right to `areas.datums.TRUSTED` metres.

    Args:
        frame: what their coordinates are in.
        xy: their points.
        owners: the area of each point, as a place in `names`.
        names: all areas.
        asked: whether the config asks for this CRS, so that it counts whatever it is.

    Raises:
        AreaError: the file's CRS names no datum.
    """
    verdict = frame.way.judge(xy)
    if verdict.trust is Trust.FINE:
        return None
    if verdict.trust is Trust.NAMELESS and not asked:
        raise AreaError(
            f'{frame.place}: its CRS "{named(frame.crs)}" names no datum, so that the areas may be hundreds of '
            'metres off; set crs in the config, such as "EPSG:25833"'
        )
    wrong = [one_line(names[number]) for number in np.unique(owners[verdict.doubtful])]
    which = ", ".join(wrong[:NAMED]) + ", ..." * (len(wrong) > NAMED)
    some = "1 area" if len(names) == 1 else f"{len(wrong):,} of {len(names):,} areas"
    advice = "convert the areas to EPSG:4326 with a program that knows the shift of this datum"
    if grids := frame.way.better_grids(xy[verdict.doubtful]):
        files = " ".join(f"--file {name}" for name in grids)
        advice = f"install better grids for PROJ (pyproj sync {files}), or {advice}"
    return Notice(text=f"{frame.place}: {some} {_off(verdict, frame.crs)}: {which}; {advice}", grave=True)


def known(text: str, where: str) -> CRS:
    """A CRS of maps.

    Raises:
        AreaError: it is not known, or of heights or the like.
    """
    try:
        crs = _parsed(text)
    except ProjError:
        raise AreaError(f'{where}: "{one_line(text)}" is not known; write a code such as "EPSG:25833"') from None
    if not (crs.is_geographic or crs.is_projected or crs.is_derived):  # such as heights, which PROJ passes on
        raise AreaError(f'{where}: "{one_line(text)}" is no CRS of maps; write a code such as "EPSG:25833"')
    return crs


def named(crs: CRS) -> str:
    """The code of a CRS, or its name where it has none."""
    code = crs.to_authority()
    return ":".join(code) if code else one_line(crs.name)


def same_text(one: CRS, other: CRS) -> bool:
    """Whether two CRS are defined alike; others may still do the same."""
    return one.equals(other, ignore_axis_order=True)


@lru_cache(maxsize=16)
def _parsed(text: str) -> CRS:
    return CRS.from_user_input(text)


@lru_cache(maxsize=4)
def _way(crs: CRS) -> Way:
    """PROJ may look for a way for seconds."""
    return Way(crs)


def _differs(frame: Frame, own: str, xy: Coordinates) -> str:
    """What the file says otherwise than the config, in words; empty where it says the same."""
    try:
        crs = known(own, "")
        if frame.agrees(crs, xy):
            return ""
        metres = apart(frame.way, _way(crs), xy)
    except (AreaError, ProjError):
        return "the CRS that the file gives cannot be used"
    far = f"{_length(metres)} away" if math.isfinite(metres) else "elsewhere"
    return f"the file says that its CRS is {named(crs)}, by which the areas would lie {far}"


def _off(verdict: Verdict, crs: CRS) -> str:
    """How far off places may be, and why, in words."""
    code, name = named(crs), one_line(crs.name)
    name = name if code == name else f"{name} ({code})"
    if verdict.trust is Trust.NAMELESS:
        return f"may be hundreds of metres off, because {name} names no datum"
    if verdict.trust is Trust.BALLPARK:
        return f"may be hundreds of metres off, because PROJ knows no datum shift from {name} to WGS 84 there"
    if verdict.metres is None:
        return (
            f"may be hundreds of metres off, because no accuracy is known of the way from {name} to WGS 84 there"
        )
    return f"may be {verdict.metres:.0f} m off, which is the accuracy of PROJ's way from {name} to WGS 84 there"


def _length(metres: float) -> str:
    return f"{metres:,.0f} m" if metres >= 10 else f"{metres:.1f} m"


def _near(lonlat: Coordinates, region: tuple[float, float, float, float]) -> NDArray[np.bool_]:
    """Which points lie in a region (west, south, east, north) or not too far from it; one column."""
    west, south, east, north = region
    half, lat = ((east - west) % 360 or 360) / 2, lonlat[:, 1:]
    with np.errstate(invalid="ignore"):
        off = np.abs((lonlat[:, :1] - west - half + 180) % 360 - 180)
    near: NDArray[np.bool_] = (off <= half + STRAY) & (lat >= south - STRAY) & (lat <= north + STRAY)
    return near
