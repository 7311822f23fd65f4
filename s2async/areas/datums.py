"""The accuracy of locations that PROJ computes from a CRS. Pure.

PROJ always returns a location. If it has no shift from a datum to WGS 84, it leaves the numbers unchanged and
calls this a ballpark operation. For modern datums, which are geocentric, the result is accurate to a metre or two;
for datums of old triangulations it is wrong by tens or hundreds of metres. PROJ selects the operation by location,
so each point is assessed by the operation that was used for it.
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
"""Distance in metres by which a location may be wrong without a notice: a pixel of the 10 m bands."""
SAME: Final = 0.1
"""Distance in metres within which two CRS are considered to give the same location."""

_BALLPARK: Final = "Ballpark geo"
"""Prefix of the names of PROJ's horizontal operations without a datum shift."""
_UNSTATED: Final = 999.0
"""Value in metres with which EPSG marks an unknown accuracy."""
_EQUAL: Final = 1e-9
"""Difference in degrees within which two operations are considered to have the same result."""
_NAMELESS: Final = re.compile(
    r"(d )?(unknown|unnamed|undefined|unspecified|custom|none|not (specified|defined|known)"
    r"|user (specified|defined))( .*)?|"
)
"""Names of datums, in lower case, that contain no more information than an ellipsoid."""
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
"""Datums with a modern ellipsoid that differ by 20 to 330 m: all in the lists of EPSG, ESRI and IGN."""
_WGS84: Final = Geod(ellps="WGS84")

Coordinates = NDArray[np.float64]


class Trust(IntEnum):
    """How reliable a location is, the best value first."""

    FINE = 0
    ROUGH = 1
    """The stated accuracy of the transformation to WGS 84 is above `TRUSTED`, or unknown."""
    BALLPARK = 2
    """PROJ has no datum shift."""
    NAMELESS = 3
    """The CRS has no datum, so there is no shift."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Accuracy:
    """The accuracy of the locations of some points."""

    trust: Trust
    """Reliability of the worst point."""
    metres: float | None
    """Stated accuracy of the worst point, if it is `Trust.ROUGH`; None if unknown."""
    doubtful: NDArray[np.bool_]
    """Mask of the points that are not `Trust.FINE`."""


class Way:
    """The transformation from a CRS to lon/lat (OGC:CRS84).

    Args:
        crs: the CRS; coordinates have x (or lon) first, whatever the axis order of the CRS is.

    Raises:
        ProjError: there is no transformation.
    """

    def __init__(self, crs: CRS) -> None:
        self.crs = crs
        self._transformer = Transformer.from_crs(crs, LONLAT, always_xy=True)

    def lonlat(self, xy: Coordinates) -> Coordinates:
        """Transform points, one per row, to lon/lat; points that cannot be transformed become infinite."""
        return _moved(self._transformer, xy)

    def assess(self, xy: Coordinates) -> Accuracy:
        """Assess the accuracy of points by the operations that PROJ uses for them."""
        lonlat = self.lonlat(xy)
        doubtful = np.zeros(len(xy), np.bool_)
        worst: tuple[Trust, float] = Trust.FINE, math.inf
        for operation, points in self._operations(xy, lonlat):
            trust, metres = self._trust(operation, xy[points], lonlat[points])
            doubtful |= points & (trust is not Trust.FINE)
            worst = max(worst, (trust, metres))
        trust, metres = worst
        return Accuracy(trust=trust, metres=metres if math.isfinite(metres) else None, doubtful=doubtful)

    def better_grids(self, xy: Coordinates) -> tuple[str, ...]:
        """Return the grid files with which PROJ would be accurate if they were installed.

        The result is empty if there are none.
        """
        lonlat = self.lonlat(xy)
        (west, south), (east, north) = lonlat.min(axis=0), lonlat.max(axis=0)
        around = AreaOfInterest(west, south, east, north)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the best operation is not available
            group = TransformerGroup(self.crs, LONLAT, always_xy=True, area_of_interest=around)
        for operation in group.unavailable_operations:  # best first
            lacking = [grid for grid in operation.grids if not grid.available]
            if 0 <= operation.accuracy <= TRUSTED and all(grid.direct_download for grid in lacking):
                return tuple(grid.short_name for grid in lacking)
        return ()

    def _operations(self, xy: Coordinates, lonlat: Coordinates) -> Iterator[tuple[Transformer, NDArray[np.bool_]]]:
        """Yield the operations that PROJ uses, each with a mask of its points.

        PROJ reports only the operation of the last point. So a point is transformed alone, and all points for
        which its operation gives the same result are assigned to that operation.
        """
        left = np.isfinite(lonlat).all(axis=1)
        while left.any():
            first = int(left.argmax())
            self._transformer.transform(*xy[first])
            try:
                used = self._transformer.get_last_used_operation()
            except ProjError:  # there was nothing to transform
                used = self._transformer
            with np.errstate(invalid="ignore"):
                same = np.abs(_moved(used, xy) - lonlat) < _EQUAL
            points: NDArray[np.bool_] = left & np.all(same, axis=1)
            points[first] = True
            yield used, points
            left &= ~points

    @property
    def _brings_its_shift(self) -> bool:
        """Return whether the CRS defines its own shift to WGS 84, as with TOWGS84."""
        return any(crs.is_bound for crs in (self.crs, *self.crs.sub_crs_list))

    def _trust(self, operation: Transformer, xy: Coordinates, lonlat: Coordinates) -> tuple[Trust, float]:
        """Return the reliability of an operation at points, and its accuracy in metres (infinite if unknown)."""
        ballpark = _BALLPARK in operation.description
        metres = operation.accuracy
        if metres < 0:  # unknown; older versions of PROJ return 999
            metres = math.inf
        if not ballpark and math.isinf(metres) and self._brings_its_shift:
            return Trust.FINE, math.inf
        geodetic = self.crs.geodetic_crs
        if geodetic is None or _nameless(geodetic):  # even on WGS 84, for which PROJ has an operation
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
    """Return the largest distance in metres between the locations in two CRS.

    The result is infinite if only one CRS has a location.
    """
    return _distance(one.lonlat(xy), other.lonlat(xy))


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """Context in which PROJ downloads no grids in this thread, whatever the environment sets."""
    before = is_network_enabled()
    set_network_enabled(active=False)
    try:
        yield
    finally:
        set_network_enabled(active=before)


def _moved(transformer: Transformer, xy: Coordinates) -> Coordinates:
    return np.column_stack(transformer.transform(xy[:, 0], xy[:, 1]))


def _distance(one: Coordinates, other: Coordinates) -> float:
    """Return the largest distance between corresponding points of two lists."""
    there = np.isfinite(one).all(axis=1)
    if (there != np.isfinite(other).all(axis=1)).any():
        return math.inf
    _, _, metres = _WGS84.inv(*one[there].T, *other[there].T)
    return float(np.max(np.nan_to_num(metres, nan=math.inf), initial=0.0))  # latitudes may be beyond 90


def _nameless(crs: CRS) -> bool:
    """Return whether the datum of a geodetic CRS has no name, or only the name of its ellipsoid."""
    if crs.datum is None:
        return True
    name, ellipsoid = _plain(crs.datum.name), _plain(crs.ellipsoid.name if crs.ellipsoid else "")
    return _NAMELESS.fullmatch(name) is not None or (name == ellipsoid and not _datum(crs))


def _geocentric(crs: CRS) -> bool:
    """Return whether a geodetic CRS has a known modern datum, so that its lon/lat are those of WGS 84."""
    name, ellipsoid = _datum(crs), crs.ellipsoid
    if not name or name in _SHIFTED or ellipsoid is None:
        return False
    if "NAD_1983" in name:  # CRS of counties have their own ellipsoid at ground height
        return True
    # Ellipsoids of GRS 1980, WGS 84, CGCS2000, GSK-2011 and PZ-90; WGS 72 and older ones differ by 2 m or more.
    metres, flattening = ellipsoid.semi_major_metre, ellipsoid.inverse_flattening
    return abs(metres - 6_378_137) < 1.5 and abs(flattening - 298.257) < 0.01


def _datum(crs: CRS) -> str:
    """Return PROJ's name for the datum of a geodetic CRS, whatever the CRS calls it; empty if unknown."""
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
