"""What reading costs: sizes of Sentinel-2's files, the chance of a clear area, bytes to seconds. Pure.

Everything is a range, because nobody knows the weather in advance. Sizes are those of the COGs on AWS (headers and
``file:size`` of recorded items, 2020 to 2026); paces are those of README's benchmarks.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray

from s2async.geo import KM_PER_DEGREE
from s2async.models import Area


@dataclass(frozen=True, slots=True)
class Range:
    """What a number lies between, most likely."""

    low: float
    high: float

    def __add__(self, other: Range) -> Range:
        return Range(self.low + other.low, self.high + other.high)

    def times(self, low: float, high: float | None = None) -> Range:
        """Scaled by a factor, or by one that itself is only known as a range."""
        return Range(self.low * low, self.high * (low if high is None else high))


NOTHING: Final = Range(0.0, 0.0)

# ---- files ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class FileKind:
    """What the files of one asset are like."""

    metres: float
    """Side of a pixel."""
    block: int
    """Pixels of the side of a tile at full resolution."""
    tile: Range
    """Bytes of such a tile."""
    file: Range
    """Bytes of a whole file, on average over many scenes."""

    @property
    def side(self) -> float:
        """Metres of the side of a tile."""
        return self.metres * self.block

    @property
    def density(self) -> Range:
        """Bytes of a compressed pixel."""
        return self.tile.times(1 / self.block**2)


SCL: Final = FileKind(metres=20, block=512, tile=Range(8e3, 28e3), file=Range(1.2e6, 3.8e6))
VISUAL: Final = FileKind(metres=10, block=1024, tile=Range(1.0e6, 2.1e6), file=Range(120e6, 300e6))
_TEN: Final = FileKind(metres=10, block=1024, tile=Range(0.75e6, 1.65e6), file=Range(100e6, 230e6))
_TWENTY: Final = FileKind(metres=20, block=512, tile=Range(0.19e6, 0.42e6), file=Range(25e6, 60e6))
_SIXTY: Final = FileKind(metres=60, block=256, tile=Range(0.05e6, 0.11e6), file=Range(2.5e6, 6.5e6))
_ANY: Final = FileKind(metres=10, block=1024, tile=Range(0.05e6, 2.1e6), file=Range(2.5e6, 300e6))
KINDS: Final = (
    {"scl": SCL, "visual": VISUAL}
    | dict.fromkeys(("blue", "green", "red", "nir"), _TEN)
    | dict.fromkeys(("rededge1", "rededge2", "rededge3", "nir08", "swir16", "swir22"), _TWENTY)
    | dict.fromkeys(("coastal", "nir09", "aot"), _SIXTY)
)
"""By Earth Search's asset keys."""

HEADER: Final = Range(4096, 8192)
"""Bytes that are asked for to learn of a file where its tiles lie."""
MARGIN: Final = Range(1.0, 1.2)
"""What is fetched of a tile, as a multiple of the share of its rows that is wanted."""
SECOND: Final = 1.03
"""Requests for the tiles of pictures: some of their parts turn out too short."""
CROP: Final = Range(1.0, 1.4)
"""Bytes of a crop's pixels, compressed fast, as a multiple of theirs in the source."""
CROP_FILE: Final = Range(1.5e3, 5e3)
"""Bytes of a crop beyond its pixels: header, tags, the rest of its last block on the disk."""
QUICKLOOK: Final = Range(0.4, 3.0)
"""Bytes of a pixel of a quicklook."""
QUICKLOOK_PIXELS: Final = 512 * 512
"""Of a quicklook, at most."""
STATE_JOB: Final = Range(200, 1200)
"""Bytes of the state for one job."""


def kind_of(asset: str) -> FileKind:
    """What an asset's files are like; of an unknown one, next to nothing is known."""
    return KINDS.get(asset, _ANY)


# ---- clouds -----------------------------------------------------------------------------------------------


def chance_of_clear(cloud: float | None) -> Range:
    """Chance that a small area is clear in a scene of so much cloud.

    At most ``1 - c``, which is that of a single pixel. At least its cube: an area is more than a pixel, and is
    spoilt by shadows too, which a scene's number leaves out. Where a scene tells none, nothing is known.

    Args:
        cloud: Of the scene, per cent.
    """
    if cloud is None:
        return Range(0.0, 1.0)
    sky = 1 - min(max(cloud, 0.0), 100.0) / 100
    return Range(sky**3, sky)


class Experience:
    """What earlier measurements say of that chance, by the cloud of the scene."""

    EDGES: Final = (5.0, 20.0, 50.0)
    """Per cent of cloud at which scenes are told apart."""
    ENOUGH: Final = 10
    """Scenes of a kind that are more than an anecdote."""

    def __init__(self) -> None:
        self._areas: Counter[int] = Counter()
        self._clear: Counter[int] = Counter()
        self._scenes: defaultdict[int, set[str]] = defaultdict(set)

    @property
    def scenes(self) -> int:
        """Scenes that anything is known of."""
        return sum(map(len, self._scenes.values()))

    def add(self, scene: str, cloud: float | None, *, clear: bool) -> None:
        """Take in one area of a scene that was measured."""
        kind = self._kind(cloud)
        self._areas[kind] += 1
        self._clear[kind] += clear
        self._scenes[kind].add(scene)

    def chance(self, cloud: float | None) -> Range:
        """What was seen under such skies; `chance_of_clear` where that is too little."""
        kind = self._kind(cloud)
        scenes = len(self._scenes[kind])
        if scenes < self.ENOUGH:
            return chance_of_clear(cloud)
        return spread(self._clear[kind] / self._areas[kind], scenes)

    def _kind(self, cloud: float | None) -> int:
        return -1 if cloud is None else sum(cloud > edge for edge in self.EDGES)


def spread(share: float, count: int) -> Range:
    """A share seen in so many independent trials, and what it may be: 95 % (A. Agresti and B. Coull, 1998)."""
    total = count + 4
    middle = (share * count + 2) / total
    error = 2 * math.sqrt(middle * (1 - middle) / total)
    return Range(max(0.0, middle - error), min(1.0, middle + error))


# ---- time -------------------------------------------------------------------------------------------------

ANSWER: Final = Range(0.03, 0.3)
"""Seconds between a request and its answer: a server near by, and one on another continent."""
JOB: Final = Range(0.0005, 0.015)
"""Seconds of a machine for one job, all its cores together; README's two take 0.005, and 0.001 to measure only."""


def seconds(*, jobs: int, requests: Range, size: Range, connections: int, bandwidth: float) -> Range:
    """How long a run takes: at best all that it waits for goes on at once, at worst one after the other.

    Args:
        jobs: That are worked on.
        requests: Of all kinds.
        size: Bytes that come.
        connections: Requests under way at once.
        bandwidth: Bytes a second.
    """
    low = (size.low / bandwidth, requests.low * ANSWER.low / connections, jobs * JOB.low)
    high = (size.high / bandwidth, requests.high * ANSWER.high / connections, jobs * JOB.high)
    return Range(max(low), sum(high))


# ---- before any search ------------------------------------------------------------------------------------

_CELL: Final = 10.24
"""Kilometres of the side of a tile, of pictures of 10 m as of a classification of 20 m."""
_PASSES: Final = 0.207
"""Passes a day over the equator: two satellites, 143 orbits in ten days, a swath of 290 km (ESA)."""
_OVERLAP: Final = 1.5
"""Scenes that show a place in one pass: grid squares of 110 km overlap by 10 km, those of two zones by more."""
_KEPT: Final = 0.35
"""Share of scenes in which a place is clear."""
_PART: Final = 0.6
"""Share of a tile that is fetched."""


@dataclass(frozen=True, slots=True)
class Rough:
    """What a run may be like, guessed without a search: half as much, or twice, is likely too."""

    jobs: float
    bytes: float


def rough(areas: Sequence[Area], days: float, assets: Iterable[str], *, max_scene_cloud: float) -> Rough:
    """Guess a run: tiles of 10 km that lie under the areas, times the passes of two satellites at their latitude.

    Args:
        areas: To be watched.
        days: Of the period.
        assets: To be cut.
        max_scene_cloud: Per cent; taken for the share of scenes that it lets through.
    """
    boxes = shapely.bounds(shapely.get_parts([area.polygon for area in areas]))
    cut = sum(_middle(kind_of(asset).tile) for asset in assets if asset != "scl")
    sieve = max_scene_cloud / 100
    each = min(_KEPT, sieve) * _PART * cut + sieve * (_middle(SCL.tile) + _middle(HEADER))
    fetched = _scenes(_cells(boxes), days)
    jobs = _scenes(boxes[:, 1], days).mean() * sieve * len(areas)
    return Rough(float(jobs), float(fetched.sum()) * each)


def _scenes(latitudes: NDArray[np.float64], days: float) -> NDArray[np.float64]:
    scenes: NDArray[np.float64] = (
        days * _PASSES * _OVERLAP / np.cos(np.radians(np.minimum(np.abs(latitudes), 80.0)))
    )
    return scenes


def _middle(found: Range) -> float:
    return (found.low + found.high) / 2


def _cells(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cells as large as a tile that boxes (lon/lat) touch: the latitude of each."""
    rows = np.floor(boxes[:, 1::2] * (KM_PER_DEGREE / _CELL)).astype(np.int64)
    across = np.cos(np.radians(np.minimum(np.abs(boxes[:, 1::2]).max(axis=1), 89.0)))[:, np.newaxis]
    columns = np.floor(boxes[:, 0::2] * across * (KM_PER_DEGREE / _CELL)).astype(np.int64)
    high, wide = rows[:, 1] - rows[:, 0] + 1, columns[:, 1] - columns[:, 0] + 1
    owner = np.repeat(np.arange(len(boxes)), high * wide)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(high * wide) - high * wide, high * wide)
    touched = np.column_stack([rows[owner, 0] + place // wide[owner], columns[owner, 0] + place % wide[owner]])
    latitudes: NDArray[np.float64] = np.unique(touched, axis=0)[:, 0] * (_CELL / KM_PER_DEGREE)
    return latitudes
