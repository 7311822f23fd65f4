"""Cost model: sizes of Sentinel-2 files, the chance that an area is clear, the duration of a run. Pure.

Every value is a range, because the weather is not known in advance. Sizes are those of the COGs on AWS (headers
and ``file:size`` of recorded items, 2020 to 2026); speeds are those of the benchmarks in README.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray

from s2async.geo import KM_PER_DEGREE, polygons
from s2async.models import DEFAULT_MEASURED, Area


@dataclass(frozen=True, slots=True)
class Range:
    """The bounds between which a value most likely lies."""

    low: float
    high: float

    def __add__(self, other: Range) -> Range:
        return Range(self.low + other.low, self.high + other.high)

    def times(self, low: float, high: float | None = None) -> Range:
        """Multiply by a factor, or by a factor that is itself a range."""
        return Range(self.low * low, self.high * (low if high is None else high))


NOTHING: Final = Range(0.0, 0.0)

# ---- files ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class FileKind:
    """Typical properties of the files of one asset."""

    metres: float
    """Side of a pixel in metres."""
    block: int
    """Side of a block at full resolution, in pixels."""
    block_bytes: Range
    """Compressed bytes of such a block."""
    file_bytes: Range
    """Bytes of a whole file, averaged over many scenes."""

    @property
    def side(self) -> float:
        """Side of a block in metres."""
        return self.metres * self.block

    @property
    def density(self) -> Range:
        """Compressed bytes per pixel."""
        return self.block_bytes.times(1 / self.block**2)


SCL: Final = FileKind(metres=20, block=512, block_bytes=Range(8e3, 28e3), file_bytes=Range(1.2e6, 3.8e6))
VISUAL: Final = FileKind(metres=10, block=1024, block_bytes=Range(1.0e6, 2.1e6), file_bytes=Range(120e6, 300e6))
_TEN: Final = FileKind(metres=10, block=1024, block_bytes=Range(0.75e6, 1.65e6), file_bytes=Range(100e6, 230e6))
_TWENTY: Final = FileKind(metres=20, block=512, block_bytes=Range(0.19e6, 0.42e6), file_bytes=Range(25e6, 60e6))
_SIXTY: Final = FileKind(metres=60, block=256, block_bytes=Range(0.05e6, 0.11e6), file_bytes=Range(2.5e6, 6.5e6))
_ANY: Final = FileKind(metres=10, block=1024, block_bytes=Range(0.05e6, 2.1e6), file_bytes=Range(2.5e6, 300e6))
KINDS: Final = (
    {"scl": SCL, "visual": VISUAL}
    | dict.fromkeys(("blue", "green", "red", "nir"), _TEN)
    | dict.fromkeys(("rededge1", "rededge2", "rededge3", "nir08", "swir16", "swir22"), _TWENTY)
    | dict.fromkeys(("coastal", "nir09", "aot"), _SIXTY)
)
"""File kinds by the asset keys of Earth Search."""

HEADER: Final = Range(4096, 8192)
"""Bytes requested to read a header."""
MARGIN: Final = Range(1.0, 1.2)
"""Bytes read of a block, as a multiple of the share of its rows that is needed."""
SECOND: Final = 1.03
"""Requests per block of an asset: some prefixes turn out too short, and a second request reads the rest."""
CROP: Final = Range(1.0, 1.4)
"""Compressed bytes of a crop's pixels, as a multiple of their compressed bytes in the source."""
CROP_FILE: Final = Range(1.5e3, 5e3)
"""Bytes of a crop in addition to its pixels: header, tags, and the unused rest of its last disk block."""
QUICKLOOK: Final = Range(0.4, 3.0)
"""Bytes per pixel of a quicklook."""
QUICKLOOK_PIXELS: Final = 512 * 512
"""Maximum number of pixels of a quicklook."""
STATE_JOB: Final = Range(10, 1200)
"""Bytes of the state database per job: 6 if a scene has many jobs, 120 for a crop, and about 1,000 for a scene."""
STATE_VALUES: Final = Range(35, 200)
"""Bytes of the state database per date and band or index: few if a scene has many areas."""


def kind_of(asset: str) -> FileKind:
    """Return the kind of an asset's files; for an unknown asset, very wide ranges."""
    return KINDS.get(asset, _ANY)


# ---- clouds -----------------------------------------------------------------------------------------------


def chance_of_clear(cloud: float | None) -> Range:
    """Estimate the chance that a small area is clear in a scene, from the scene's cloud cover c.

    The upper bound is ``1 - c``, the chance of a single pixel. The lower bound is its cube, because an area is
    larger than a pixel, and because shadows count as well, which the scene's cloud cover does not include.

    Args:
        cloud: cloud cover of the scene in per cent; if None, the chance is anywhere between 0 and 1.
    """
    if cloud is None:
        return Range(0.0, 1.0)
    sky = 1 - min(max(cloud, 0.0), 100.0) / 100
    return Range(sky**3, sky)


def chance_of_values(cloud: float | None, *, most: float) -> Range:
    """Estimate the chance that at most a given part of a small area is cloudy, from the scene's cloud cover c.

    The lower bound is the larger one of the chance that all of it is clear, and of Markov's inequality for the
    clear share, whose mean is ``1 - c``. The upper bound lies between the chance that a pixel is clear, for a part
    of 0, and the chance that not all of the area is cloudy, for a part of 1.

    Args:
        cloud: cloud cover of the scene in per cent; if None, the chance is anywhere between 0 and 1.
        most: the part, in per cent.
    """
    clear = chance_of_clear(cloud)
    if cloud is None or not most:
        return clear
    part, sky = most / 100, clear.high
    return Range(max(clear.low, (sky - (1 - part)) / part), sky + part * (1 - (1 - sky) ** 3 - sky))


class Experience:
    """The chance of a clear area as measured in earlier runs, by the cloud cover of the scene.

    Args:
        unmeasured: returns an estimate if too few scenes of a class were measured.
    """

    EDGES: Final = (5.0, 20.0, 50.0)
    """Per cent of cloud that separate the classes of scenes."""
    ENOUGH: Final = 10
    """Minimum number of scenes in a class for its measurements to be used."""

    def __init__(self, unmeasured: Callable[[float | None], Range] = chance_of_clear) -> None:
        self._unmeasured = unmeasured
        self._areas: Counter[int] = Counter()
        self._clear: Counter[int] = Counter()
        self._scenes: defaultdict[int, set[str]] = defaultdict(set)

    @property
    def scenes(self) -> int:
        """Number of scenes with measurements."""
        return sum(map(len, self._scenes.values()))

    def add(self, scene: str, cloud: float | None, *, clear: bool) -> None:
        """Add an area that was measured in a scene."""
        kind = self._kind(cloud)
        self._areas[kind] += 1
        self._clear[kind] += clear
        self._scenes[kind].add(scene)

    def chance(self, cloud: float | None) -> Range:
        """Return the measured chance for a cloud cover; the estimate if too few scenes were measured."""
        kind = self._kind(cloud)
        scenes = len(self._scenes[kind])
        if scenes < self.ENOUGH:
            return self._unmeasured(cloud)
        return spread(self._clear[kind] / self._areas[kind], scenes)

    def _kind(self, cloud: float | None) -> int:
        return -1 if cloud is None else sum(cloud > edge for edge in self.EDGES)


def spread(share: float, count: int) -> Range:
    """Compute the 95 % confidence interval of a binomial proportion (Agresti and Coull, 1998)."""
    total = count + 4
    middle = (share * count + 2) / total
    error = 2 * math.sqrt(middle * (1 - middle) / total)
    return Range(max(0.0, middle - error), min(1.0, middle + error))


# ---- time -------------------------------------------------------------------------------------------------

ANSWER: Final = Range(0.03, 0.3)
"""Seconds between a request and its response: a nearby server, and one on another continent."""
JOB: Final = Range(0.0005, 0.015)
"""Processing time of one job in seconds, with all cores of a machine. The two cores in README take 0.005, or 0.001
for jobs that are only measured."""


def seconds(*, jobs: int, requests: Range, size: Range, connections: int, bandwidth: float) -> Range:
    """Estimate the duration of a run.

    The lower bound assumes that transfer, waiting and processing overlap fully; the upper bound, that they do not.

    Args:
        jobs: number of jobs to process.
        requests: number of requests of all kinds.
        size: bytes to download.
        connections: number of concurrent requests.
        bandwidth: bytes per second.
    """
    low = (size.low / bandwidth, requests.low * ANSWER.low / connections, jobs * JOB.low)
    high = (size.high / bandwidth, requests.high * ANSWER.high / connections, jobs * JOB.high)
    return Range(max(low), sum(high))


# ---- before any search ------------------------------------------------------------------------------------

_CELL: Final = 10.24
"""Side of a block in kilometres: the same for 10 m assets and for the 20 m scene classification."""
_PASSES: Final = 0.207
"""Passes per day over the equator: two satellites, 143 orbits in ten days, a swath of 290 km (ESA)."""
_OVERLAP: Final = 1.5
"""Scenes per pass that show a location: MGRS tiles of 110 km overlap by 10 km, those of two UTM zones by more."""
_KEPT: Final = 0.35
"""Share of scenes in which a location is clear."""
_SOME: Final = 0.7
"""Share of scenes in which a part of a location is clear."""
_PART: Final = 0.6
"""Share of a block that is read."""


@dataclass(frozen=True, slots=True)
class Rough:
    """A rough estimate without a search; half or twice the value is just as likely."""

    jobs: float
    bytes: float
    values: float = 0.0
    """Bytes that are read for values; part of the total."""


def rough(
    areas: Sequence[Area],
    days: NDArray[np.float64],
    assets: Iterable[str],
    *,
    measured: Collection[str] = DEFAULT_MEASURED,
    max_scene_cloud: float,
    one_per_overpass: bool = False,
    bands: Collection[str] = (),
    max_area_cloud: float = 0,
) -> Rough:
    """Estimate a run from the blocks under the areas, times the satellite passes at their latitude.

    Args:
        areas: all areas.
        days: (n,) number of days of the period within each area's season.
        assets: asset keys to crop.
        measured: keys of the assets that the cloud rule measures.
        max_scene_cloud: limit in per cent; used as the share of scenes that are below it.
        one_per_overpass: whether assets are cropped from only one scene of each pass.
        bands: keys of bands for which values are computed.
        max_area_cloud: limit for values in per cent.
    """
    parts, owners = shapely.get_parts(polygons(areas), return_index=True)
    boxes = shapely.bounds(parts)
    cut = sum(_middle(kind_of(key).block_bytes) for key in assets if key not in (*measured, *bands))
    valued = sum(_middle(kind_of(band).block_bytes) for band in bands)
    look = sum(_middle(kind_of(asset).block_bytes) + _middle(HEADER) for asset in measured)
    sieve = max_scene_cloud / 100
    some = _KEPT + max_area_cloud / 100 * (_SOME - _KEPT)
    once = _PART / (_OVERLAP if one_per_overpass else 1)
    of_values = min(some, sieve) * once * valued
    each = min(_KEPT, sieve) * once * cut + of_values + sieve * look
    fetched = _scenes(*_cells(boxes, days[owners]))
    jobs = _scenes(boxes[:, 1], days[owners]).mean() * sieve * len(areas)
    return Rough(float(jobs), float(fetched.sum()) * each, float(fetched.sum()) * of_values)


def _scenes(latitudes: NDArray[np.float64], days: NDArray[np.float64]) -> NDArray[np.float64]:
    scenes: NDArray[np.float64] = (
        days * _PASSES * _OVERLAP / np.cos(np.radians(np.minimum(np.abs(latitudes), 80.0)))
    )
    return scenes


def _middle(found: Range) -> float:
    return (found.low + found.high) / 2


def _cells(
    boxes: NDArray[np.float64], days: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Find the cells of the size of a block that boxes (lon/lat) touch.

    Returns:
        The latitude of each cell, and its number of days: the largest of its boxes, because different seasons
        mostly overlap.
    """
    rows = np.floor(boxes[:, 1::2] * (KM_PER_DEGREE / _CELL)).astype(np.int64)
    across = np.cos(np.radians(np.minimum(np.abs(boxes[:, 1::2]).max(axis=1), 89.0)))[:, np.newaxis]
    columns = np.floor(boxes[:, 0::2] * across * (KM_PER_DEGREE / _CELL)).astype(np.int64)
    high, wide = rows[:, 1] - rows[:, 0] + 1, columns[:, 1] - columns[:, 0] + 1
    owner = np.repeat(np.arange(len(boxes)), high * wide)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(high * wide) - high * wide, high * wide)
    touched = np.column_stack([rows[owner, 0] + place // wide[owner], columns[owner, 0] + place % wide[owner]])
    cells, number = np.unique(touched, axis=0, return_inverse=True)
    most = np.zeros(len(cells))
    np.maximum.at(most, number.reshape(-1), days[owner])
    return cells[:, 0] * (_CELL / KM_PER_DEGREE), most
