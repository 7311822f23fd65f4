"""What a run will find and cost, worked out of scenes and polygons alone. Pure.

Every number is a range: of bytes for what is known of such files, of kept images for clouds and for the weather of
a period. The areas of a scene share its tiles, as in a run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from s2async.models import Area, Scene
from s2async.plan import costs
from s2async.plan.costs import NOTHING, Experience, FileKind, Range
from s2async.plan.tile_layout import Ground, Grounds, held_share


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """What the state says of one job."""

    answered: bool
    """Nothing is left to do."""
    clear: bool
    """Measured and clear, so that only crops are missing."""
    saved: frozenset[str] = frozenset()
    """Assets whose crop is on disk, or not to be had."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AreaPlan:
    """One area's part of it."""

    name: str
    months: Mapping[str, int]
    """Jobs by month (``2022-05``), answered ones included."""
    kept: Range
    """Images that are or will be kept, answered ones left out."""
    hopeless: str
    """Why no image can ever be kept; the empty string where one can."""

    @property
    def jobs(self) -> int:
        """Images of the area."""
        return sum(self.months.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a run will find, and what it will most likely cost."""

    areas: tuple[AreaPlan, ...]
    scenes: int
    """Scenes with at least one area."""
    jobs: int
    """All of them, an area in a scene each."""
    answered: int
    """How many need nothing more, by the state."""
    kept: Range
    """Images of the others that will be kept."""
    requests: Range
    """Searches included, here and below."""
    bytes: Range
    disk: Range
    """Bytes on this machine's disk: crops and state."""
    seconds: Range
    whole: Range
    """Bytes of the whole files: the classification and the wanted assets of every scene with a job to do."""

    @property
    def open(self) -> int:
        """Jobs to do."""
        return self.jobs - self.answered


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Seen:
    """A scene, and its jobs that are not answered; areas by their place in the list."""

    ground: Ground
    when: tuple[object, ...]
    """Scenes of one pass have one sky."""
    cloud: float | None
    measure: NDArray[np.intp]
    """Areas whose clouds are not known yet, in the order of the run."""
    held: NDArray[np.bool_]
    """Which of these the scene holds enough of."""
    clear: NDArray[np.intp]
    """Areas that were measured and are clear."""
    uncut: Mapping[str, NDArray[np.intp]]
    """Which of these lack a crop, by asset."""
    assets: tuple[str, ...]
    """Selection ones that the scene has."""
    unread: int
    """1 when no run has read any of its files; 0 when their headers may be known."""


class Planner:
    """Takes in scene after scene, and then tells the plan.

    Args:
        areas: All areas.
        assets: To be cut.
        mask: Crops are nodata outside the polygon.
        quicklook: A small picture is saved beside each.
        min_valid: Per cent of an area that a scene must hold.
        experience: What earlier measurements say of clouds.
    """

    def __init__(
        self,
        areas: Sequence[Area],
        *,
        assets: Sequence[str],
        mask: bool,
        quicklook: bool = False,
        min_valid: float,
        experience: Experience,
    ) -> None:
        self._areas = areas
        self._assets = tuple(assets)
        self._quicklook = quicklook
        self._min_valid = min_valid
        self._experience = experience
        self._index = {area.fingerprint: number for number, area in enumerate(areas)}
        self._polygons = np.array([area.polygon for area in areas], dtype=object)
        self._months: defaultdict[str, NDArray[np.int64]] = defaultdict(lambda: np.zeros(len(areas), np.int64))
        self._best = np.full(len(areas), -1.0)
        self._seen: list[_Seen] = []
        self._scenes = self._jobs = self._answered = 0
        self._grounds = Grounds(areas, mask=mask)

    # ---- taking in ----

    def add(self, scene: Scene, areas: Sequence[Area], known: Mapping[str, Known]) -> None:
        """Take in a scene.

        Args:
            scene: With its footprint.
            areas: Those that may lie in it, in the order of the run.
            known: What the state says of its jobs, by the area's fingerprint.
        """
        if not areas or scene.footprint is None:
            return
        places = np.array([self._index[area.fingerprint] for area in areas], np.intp)
        held = held_share(self._polygons[places], scene.footprint)
        self._months[f"{scene.datetime:%Y-%m}"][places] += 1
        self._best[places] = np.maximum(self._best[places], held)
        told = [known.get(area.fingerprint) for area in areas]
        answered = np.array([one is not None and one.answered for one in told])
        clear = np.array([one is not None and one.clear and not one.answered for one in told])
        self._scenes += 1
        self._jobs += len(areas)
        self._answered += int(answered.sum())
        ground = self._grounds.add(scene.grid, scene.epsg, scene.footprint)
        assets = tuple(asset for asset in self._assets if asset in scene.assets)
        if answered.all() or "scl" not in scene.assets or (self._assets and not assets):
            return  # without any of the wanted assets not even the clouds are looked at
        left = ~answered & ~clear
        lacking = {asset: np.array([one is None or asset not in one.saved for one in told]) for asset in assets}
        self._seen.append(
            _Seen(
                ground=ground,
                when=(scene.platform, scene.datetime.date()),
                cloud=scene.cloud,
                measure=places[left],
                held=held[left] * 100 >= self._min_valid,
                clear=places[clear],
                uncut={asset: places[clear & lacking[asset]] for asset in assets},
                assets=assets,
                unread=0 if known else 1,
            )
        )

    # ---- telling ----

    def plan(
        self, *, searches: int, searched: int, connections: int, bandwidth: float, search_seconds: float = 0.0
    ) -> Plan:
        """Tell the plan of all that was taken in.

        Args:
            searches: Requests of the searches, which the run makes again.
            searched: Their bytes.
            connections: Requests under way at once.
            bandwidth: Bytes a second.
            search_seconds: How long they took.
        """
        weather = self._weather()
        kept_low, kept_high = np.zeros(len(self._areas)), np.zeros(len(self._areas))
        requests = Range(searches, searches)
        size, disk, whole = Range(searched, searched), NOTHING, NOTHING
        work = 0
        for seen in self._seen:
            chance = self._chance(seen, weather)
            kept_low[seen.measure[seen.held]] += chance.low
            kept_high[seen.measure[seen.held]] += chance.high
            kept_low[seen.clear] += 1
            kept_high[seen.clear] += 1
            asked, read = self._reading(seen, chance)
            requests, size = requests + asked, size + read
            disk = disk + self._crops(seen, chance)
            for asset in ("scl", *(asset for asset in seen.assets if asset != "scl")):
                whole = whole + costs.kind_of(asset).file
            work += len(seen.measure) + len(seen.clear)
        time = costs.seconds(jobs=work, requests=requests, size=size, connections=connections, bandwidth=bandwidth)
        months = {month: self._months[month] for month in sorted(self._months)}
        return Plan(
            areas=tuple(
                AreaPlan(
                    name=area.name,
                    months={month: int(counts[number]) for month, counts in months.items() if counts[number]},
                    kept=Range(float(kept_low[number]), float(kept_high[number])),
                    hopeless=self._hopeless(number),
                )
                for number, area in enumerate(self._areas)
            ),
            scenes=self._scenes,
            jobs=self._jobs,
            answered=self._answered,
            kept=Range(float(kept_low.sum()), float(kept_high.sum())),
            requests=requests,
            bytes=size,
            disk=disk + costs.STATE_JOB.times(self._jobs),
            seconds=Range(max(time.low, search_seconds / 2), time.high + search_seconds),
            whole=whole,
        )

    def _weather(self) -> Range:
        """Factors by which a period may be duller or clearer than its scenes say: areas of a pass share a sky."""
        jobs = low = high = 0.0
        for seen in self._seen:
            chance, count = self._experience.chance(seen.cloud), int(seen.held.sum())
            jobs, low, high = jobs + count, low + count * chance.low, high + count * chance.high
        passes = len({seen.when for seen in self._seen})
        if not low:
            return Range(1, 1)
        dullest, clearest = costs.spread(low / jobs, passes).low, costs.spread(high / jobs, passes).high
        return Range(dullest * jobs / low, clearest * jobs / high)

    def _chance(self, seen: _Seen, weather: Range) -> Range:
        chance = self._experience.chance(seen.cloud)
        return Range(min(1.0, chance.low * weather.low), min(1.0, chance.high * weather.high))

    def _hopeless(self, number: int) -> str:
        best = self._best[number]
        if best < 0:
            return "no scene was found"
        if best * 100 < self._min_valid:
            return f"no scene holds more than {best:.0%} of it, and min_area_valid is {self._min_valid:g} %"
        return ""

    # ---- one scene ----

    def _reading(self, seen: _Seen, chance: Range) -> tuple[Range, Range]:
        """Requests and bytes of one scene."""
        requests = size = NOTHING
        if len(seen.measure):
            tiles = self._grounds.tiles(seen.ground, costs.SCL.side, seen.measure)
            # and the header of the classification; of other assets, see `_cutting`
            requests = Range(tiles.runs + seen.unread, len(tiles.shares) + 1)
            size = costs.SCL.tile.times(len(tiles.shares)) + costs.HEADER.times(seen.unread, 1)
        for asset in seen.assets:
            if asset != "scl":
                asked, read = self._cutting(seen, costs.kind_of(asset), seen.measure[seen.held], chance)
                requests, size = requests + asked, size + read
        for asset, uncut in seen.uncut.items():
            asked, read = self._cutting(seen, costs.kind_of(asset), uncut, Range(1, 1))
            requests, size = requests + asked, size + read
        return requests, size

    def _cutting(
        self, seen: _Seen, kind: FileKind, places: NDArray[np.intp], chance: Range
    ) -> tuple[Range, Range]:
        """Requests and bytes of the pictures of some areas.

        At least as if the areas were clear together or not at all, at most as if each had a sky of its own: then
        more tiles are fetched, and less is shared.
        """
        if not len(places):
            return NOTHING, NOTHING
        tiles = self._grounds.tiles(seen.ground, kind.side, places)
        largest = sum(shares[0] for shares in tiles.shares)
        opened = Range(chance.low * seen.unread, _any(chance.high, len(places)))
        asked = Range(chance.low * tiles.runs, costs.SECOND * sum(_any(chance.high, len(s)) for s in tiles.shares))
        rows = Range(chance.low * largest, sum(_largest_share(chance.high, shares) for shares in tiles.shares))
        read = rows.times(kind.tile.low * costs.MARGIN.low, kind.tile.high * costs.MARGIN.high)
        return opened + asked, read + opened.times(costs.HEADER.low, costs.HEADER.high)

    def _crops(self, seen: _Seen, chance: Range) -> Range:
        """Bytes on the disk of one scene's crops."""
        total = NOTHING
        for asset in seen.assets:
            kind = costs.kind_of(asset)
            each = kind.density.times(costs.CROP.low, costs.CROP.high).times(1 / kind.metres**2)
            for places, share in ((seen.measure[seen.held], chance), (seen.uncut[asset], Range(1, 1))):
                metres = self._grounds.metres(seen.ground, places)
                total = total + each.times(metres * share.low, metres * share.high)
                total = total + costs.CROP_FILE.times(len(places) * share.low, len(places) * share.high)
                if self._quicklook:
                    pixels = min(metres / kind.metres**2, len(places) * costs.QUICKLOOK_PIXELS)
                    total = total + costs.QUICKLOOK.times(pixels * share.low, pixels * share.high)
        return total


# ---- small pieces -----------------------------------------------------------------------------------------


def _any(chance: float, count: int) -> float:
    """Chance that any of so many comes true, each by itself."""
    return float(1 - (1 - chance) ** count)


def _largest_share(chance: float, shares: Sequence[float]) -> float:
    """The largest share that is wanted, on average, when each (largest first) is wanted by that chance."""
    total, none = 0.0, 1.0
    for share in shares:
        total += share * chance * none
        none *= 1 - chance
    return total
