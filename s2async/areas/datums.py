"""How far the places that PROJ makes of a CRS's points can be trusted. Pure.

PROJ always gives a place. Where it knows no shift from a CRS's datum to WGS 84, it takes the numbers as they are
and calls that a ballpark operation: from datums of modern times, which are geocentric, that is right to a metre or
two, from those of old triangulations it is wrong by tens or hundreds of metres. Which operation PROJ uses depends
on the place, so each point is judged by the one that moved it.
"""

from __future__ import annotations

import contextlib
import math
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Geod, Transformer
from pyproj.crs import Datum
from pyproj.exceptions import CRSError, ProjError
from pyproj.network import is_network_enabled, set_network_enabled
from pyproj.transformer import AreaOfInterest, TransformerGroup

LONLAT: Final = CRS.from_user_input("OGC:CRS84")
TRUSTED: Final = 10.0
"""Metres that a place may be off without a word: the side of a pixel of the pictures."""
SAME: Final = 0.1
"""Metres within which two CRS say the same of a point."""

_BALLPARK: Final = "Ballpark geo"
"""What begins the names of PROJ's horizontal operations that shift nothing."""
_UNSTATED: Final = 999.0
"""Metres by which EPSG says that nobody knows an accuracy."""
_EQUAL: Final = 1e-9
"""Degrees within which two operations have done the same."""
_NAMELESS: Final = re.compile(
    r"(d )?(unknown|unnamed|undefined|unspecified|custom|none|not (specified|defined|known)"
    r"|user (specified|defined))( .*)?|"
)
"""Names of datums, in small letters and plain words, that say no more than an ellipsoid does."""
_SHIFTED: Final = frozenset(
    (
        "D_Xrail84",
        "Greek Geodetic Reference System 1987",
        "IG05 Intermediate Datum",
        "IG05/12 Intermediate Datum",
        "Israel 1993",
        "Kuwait Utility",
        "ST 87 OUVEA",
        "Vietnam 2000",
    )
)
"""Datums on an ellipsoid of modern times that are 20 to 330 m off; all that EPSG, ESRI and IGN know."""
_WGS84: Final = Geod(ellps="WGS84")

Coordinates = NDArray[np.float64]


class Trust(IntEnum):
    """How far a place can be trusted, from well to not at all."""

    FINE = 0
    ROUGH = 1
    """The accuracy that is stated for the way to WGS 84 is over `TRUSTED`, or nobody states one."""
    BALLPARK = 2
    """No datum shift is known."""
    NAMELESS = 3
    """The CRS names no datum, so that none can be known."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Verdict:
    """How far the places of some points can be trusted."""

    trust: Trust
    """That of the worst point."""
    metres: float | None
    """Accuracy that is stated for the worst point, where that is rough; None where nobody states one."""
    doubtful: NDArray[np.bool_]
    """The points that are not fine."""


class Way:
    """PROJ's way from a CRS to lon/lat (OGC:CRS84).

    Args:
        crs: coordinates then stand x (or lon) first, whatever its own order is.

    Raises:
        ProjError: there is none.
    """

    def __init__(self, crs: CRS) -> None:
        self.crs = crs
        self._transformer = Transformer.from_crs(crs, LONLAT, always_xy=True)

    def lonlat(self, xy: Coordinates) -> Coordinates:
        """Bring points to lon/lat, row by row; what cannot be moved becomes infinite."""
        return _moved(self._transformer, xy)

    def judge(self, xy: Coordinates) -> Verdict:
        """Tell how far the places of points can be trusted, by the operations that PROJ moved them with."""
        lonlat = self.lonlat(xy)
        doubtful = np.zeros(len(xy), np.bool_)
        worst: tuple[Trust, float] = Trust.FINE, math.inf
        for operation, points in self._operations(xy, lonlat):
            trust, metres = self._trust(operation, xy[points], lonlat[points])
            doubtful |= points & (trust is not Trust.FINE)
            worst = max(worst, (trust, metres))
        trust, metres = worst
        return Verdict(trust=trust, metres=metres if math.isfinite(metres) else None, doubtful=doubtful)

    def better_grids(self, xy: Coordinates) -> tuple[str, ...]:
        """Files by which PROJ would move points better, if they were installed; none where nothing is better."""
        lonlat = self.lonlat(xy)
        (west, south), (east, north) = lonlat.min(axis=0), lonlat.max(axis=0)
        around = AreaOfInterest(west, south, east, north)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the best way is not available
            group = TransformerGroup(self.crs, LONLAT, always_xy=True, area_of_interest=around)
        for operation in group.unavailable_operations:  # the best first
            lacking = [grid for grid in operation.grids if not grid.available]
            if 0 <= operation.accuracy <= TRUSTED and all(grid.direct_download for grid in lacking):
                return tuple(grid.short_name for grid in lacking)
        return ()

    def _operations(self, xy: Coordinates, lonlat: Coordinates) -> Iterator[tuple[Transformer, NDArray[np.bool_]]]:
        """The operations that moved points, each with its points.

        PROJ tells of the last point only, so all that one operation would have moved alike are taken with it.
        """
        left = np.isfinite(lonlat).all(axis=1)
        while left.any():
            first = int(left.argmax())
            self._transformer.transform(*xy[first])
            try:
                used = self._transformer.get_last_used_operation()
            except ProjError:  # it had nothing to do
                used = self._transformer
            with np.errstate(invalid="ignore"):
                same = np.abs(_moved(used, xy) - lonlat) < _EQUAL
            points: NDArray[np.bool_] = left & np.all(same, axis=1)
            points[first] = True
            yield used, points
            left &= ~points

    @property
    def _brings_its_shift(self) -> bool:
        """Whether the CRS says itself how to get to WGS 84, as by TOWGS84."""
        return any(crs.is_bound for crs in (self.crs, *self.crs.sub_crs_list))

    def _trust(self, operation: Transformer, xy: Coordinates, lonlat: Coordinates) -> tuple[Trust, float]:
        """How far an operation can be trusted at points, and to how many metres (infinite: unknown)."""
        ballpark = _BALLPARK in operation.description
        metres = operation.accuracy
        if metres < 0:  # nobody states one, where an older PROJ says 999
            metres = math.inf
        if not ballpark and math.isinf(metres) and self._brings_its_shift:
            return Trust.FINE, math.inf
        geodetic = self.crs.geodetic_crs
        if geodetic is None or _nameless(geodetic):  # on the ellipsoid of WGS 84 too, to which PROJ has a way then
            return Trust.NAMELESS, math.inf
        if not ballpark and metres <= TRUSTED:
            return Trust.FINE, math.inf
        if _geocentric(geodetic):
            unshifted = _moved(Transformer.from_crs(self.crs, geodetic, always_xy=True), xy)
            if _distance(unshifted, lonlat) <= TRUSTED:
                return Trust.FINE, math.inf
        if ballpark:
            return Trust.BALLPARK, math.inf
        return Trust.ROUGH, metres if metres < _UNSTATED else math.inf


def apart(one: Way, other: Way, xy: Coordinates) -> float:
    """Metres by which two CRS differ, at most, in where they put points; infinite where only one has a place."""
    return _distance(one.lonlat(xy), other.lonlat(xy))


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """Inside, PROJ fetches no grids in this thread, whatever the environment says."""
    before = is_network_enabled()
    set_network_enabled(active=False)
    try:
        yield
    finally:
        set_network_enabled(active=before)


def _moved(transformer: Transformer, xy: Coordinates) -> Coordinates:
    return np.column_stack(transformer.transform(xy[:, 0], xy[:, 1]))


def _distance(one: Coordinates, other: Coordinates) -> float:
    """The largest distance between points of two lists."""
    there = np.isfinite(one).all(axis=1)
    if (there != np.isfinite(other).all(axis=1)).any():
        return math.inf
    _, _, metres = _WGS84.inv(*one[there].T, *other[there].T)
    return float(np.max(np.nan_to_num(metres, nan=math.inf), initial=0.0))  # latitudes may be beyond 90


def _nameless(crs: CRS) -> bool:
    """Whether a geodetic CRS has a datum by no name, or by the name of its ellipsoid alone."""
    if crs.datum is None:
        return True
    name, ellipsoid = _plain(crs.datum.name), _plain(crs.ellipsoid.name if crs.ellipsoid else "")
    return _NAMELESS.fullmatch(name) is not None or (name == ellipsoid and not _datum(crs))


def _geocentric(crs: CRS) -> bool:
    """Whether a geodetic CRS has a known datum of modern times, so that its lon/lat are those of WGS 84."""
    name, ellipsoid = _datum(crs), crs.ellipsoid
    if not name or name in _SHIFTED or ellipsoid is None:
        return False
    if "NAD_1983" in name:  # of counties, which have an ellipsoid of their own at the height of their ground
        return True
    # GRS 1980, WGS 84, CGCS2000, GSK-2011 and PZ-90; those of WGS 72 and before are 2 m and more off
    metres, flattening = ellipsoid.semi_major_metre, ellipsoid.inverse_flattening
    return abs(metres - 6_378_137) < 1.5 and abs(flattening - 298.257) < 0.01


def _datum(crs: CRS) -> str:
    """The datum of a geodetic CRS by the name that PROJ knows it by, whatever it is called; empty: unknown."""
    if crs.datum is None:
        return ""
    if crs.ellipsoid is not None and _plain(crs.ellipsoid.name) == "cgcs2000":  # no other datum has this
        return "China 2000"
    try:
        return Datum.from_name(crs.datum.name).name
    except CRSError:
        return ""


def _plain(name: str) -> str:
    return " ".join(re.split(r"[\W_]+", name.casefold())).strip()
