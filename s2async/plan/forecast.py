"""Estimates what a run will save and cost, only from the metadata of scenes and the polygons. Pure.

Every estimate is a range: bytes depend on the files, and the number of crops on the weather. The areas of a scene
share its blocks, as in a run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from s2async.catalog.overpasses import zone_number
from s2async.catalog.zones import home_zones
from s2async.geo import polygons
from s2async.models import DEFAULT_MEASURED, Area, Scene
from s2async.plan import costs
from s2async.plan.block_layout import Rasters, covered_share
from s2async.plan.costs import NOTHING, Experience, Range
from s2async.plan.scene_costs import OpenScene, SceneCosts, all_of, dates
from s2async.zonal.wanted import Wanted


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """What the state knows about one job."""

    answered: bool
    """True if nothing is left to do."""
    clear: bool
    """True if the area was measured as clear, and only crops are missing."""
    saved: frozenset[str] = frozenset()
    """Assets whose crop is on disk or cannot be obtained."""
    bands: frozenset[str] = frozenset()
    """Bands that must be read for missing values: the job is measured, and its values are wanted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AreaPlan:
    """The part of a plan that concerns one area."""

    name: str
    months: Mapping[str, int]
    """Jobs by month (``2022-05``), including answered ones."""
    kept: Range
    """Expected number of scenes from which crops are or will be saved, without answered jobs."""
    hopeless: str
    """Why no crop can ever be saved; the empty string if crops can be saved."""
    start: date | None = None
    """First day of its season; None if the season has no beginning."""
    end: date | None = None
    """Last day of its season; None if the season has no end."""

    @property
    def jobs(self) -> int:
        """Number of jobs of the area."""
        return sum(self.months.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a run will find, and its probable cost."""

    areas: tuple[AreaPlan, ...]
    scenes: int
    """Number of scenes with at least one area."""
    jobs: int
    """Number of jobs; a job is one area in one scene."""
    answered: int
    """Number of jobs that the state lists as done."""
    kept: Range
    """Number of other jobs from which crops will be saved."""
    requests: Range
    """Requests, including those of the searches; `bytes` and `seconds` include the searches too."""
    bytes: Range
    disk: Range
    """Bytes on the local disk: crops and state."""
    seconds: Range
    whole: Range
    """Bytes of the whole files: SCL and the requested assets of every scene with a job to do."""
    values: Range = NOTHING
    """Number of jobs for which values will be computed."""

    @property
    def open(self) -> int:
        """Number of jobs to do."""
        return self.jobs - self.answered


class Planner:
    """Collects scenes, then computes the plan.

    Args:
        areas: all areas.
        assets: asset keys to crop.
        measured: keys of the assets that the cloud rule measures.
        mask: whether crops are nodata outside the polygon.
        quicklook: whether a small image is saved with each crop.
        min_valid: per cent of an area that a scene must cover.
        experience: measurements of earlier runs.
        one_per_overpass: whether crops are cut from only one scene of each overpass.
        values: the values that are wanted for every area and date; None for no values.
        value_experience: like ``experience``, for the areas and dates that have values.
    """

    def __init__(
        self,
        areas: Sequence[Area],
        *,
        assets: Sequence[str],
        measured: Sequence[str] = DEFAULT_MEASURED,
        mask: bool,
        quicklook: bool = False,
        min_valid: float,
        experience: Experience,
        one_per_overpass: bool = False,
        values: Wanted | None = None,
        value_experience: Experience | None = None,
    ) -> None:
        self._areas = areas
        self._assets = tuple(assets)
        self._measured = tuple(measured)
        self._quicklook = quicklook
        self._min_valid = min_valid
        self._experience = experience
        self._one_per_overpass = one_per_overpass
        self._values = values
        self._value_experience = value_experience or experience
        self._index = {_key(area): number for number, area in enumerate(areas)}
        self._twins: defaultdict[str, list[int]] = defaultdict(list)
        """Areas with the same polygon: a scene counts for only one of them."""
        for number, area in enumerate(areas):
            self._twins[area.fingerprint].append(number)
        self._polygons = polygons(areas)
        self._months: defaultdict[str, NDArray[np.int64]] = defaultdict(lambda: np.zeros(len(areas), np.int64))
        self._best = np.full(len(areas), -1.0)
        self._open: list[OpenScene] = []
        self._scenes = self._jobs = self._answered = 0
        self._rasters = Rasters(areas, mask=mask)

    # ---- collecting ----

    def add(self, scene: Scene, areas: Sequence[Area], known: Mapping[str, Known]) -> None:
        """Add a scene.

        Args:
            scene: the scene; it is ignored if it has no footprint.
            areas: areas that may be in it, in the order of the run.
            known: what the state knows about its jobs, by the area's fingerprint.
        """
        if not areas or scene.footprint is None:
            return
        places = np.array([self._index[_key(area)] for area in areas], np.intp)
        held = covered_share(self._polygons[places], scene.footprint)
        self._months[f"{scene.datetime:%Y-%m}"][places] += 1
        self._best[places] = np.maximum(self._best[places], held)
        told = [known.get(area.fingerprint) for area in areas]
        answered = np.array([one is not None and one.answered for one in told])
        clear = np.array([one is not None and one.clear and not one.answered for one in told])
        valueless = np.array([one is not None and bool(one.bands) and not one.answered for one in told])
        self._scenes += 1
        self._jobs += len(areas)
        self._answered += int(answered.sum())
        raster_key = self._rasters.add(scene.grid, scene.epsg, scene.footprint)
        assets = tuple(asset for asset in self._assets if asset in scene.assets)
        bands = tuple(band for band in self._values.bands if band in scene.assets) if self._values else ()
        in_vain = self._assets and not assets and not bands
        if answered.all() or not scene.assets.keys() >= {*self._measured} or in_vain:
            return  # a run does not even measure cloud cover if the scene has none of the requested assets
        left = ~answered & ~clear & ~valueless
        lacking = {asset: np.array([one is None or asset not in one.saved for one in told]) for asset in assets}
        self._open.append(
            OpenScene(
                raster_key=raster_key,
                when=(scene.platform, scene.datetime.date()),
                cloud=scene.cloud,
                measure=places[left],
                held=held[left] * 100 >= self._min_valid,
                clear=places[clear],
                uncut={asset: places[clear & lacking[asset]] for asset in assets},
                assets=assets,
                bands=bands,
                valueless={
                    band: places[[one is not None and not one.answered and band in one.bands for one in told]]
                    for band in bands
                },
                overpass=scene.datatake or (scene.collection, scene.platform, scene.datetime.date()),
                zone=zone_number(scene.grid, scene.epsg),
                unread=0 if known else 1,
            )
        )

    # ---- computing ----

    def plan(
        self, *, searches: int, searched: int, connections: int, bandwidth: float, search_seconds: float = 0.0
    ) -> Plan:
        """Compute the plan for all scenes added so far.

        Args:
            searches: requests of the searches, which the run will repeat.
            searched: bytes of the searches.
            connections: number of concurrent requests.
            bandwidth: bytes per second.
            search_seconds: duration of the searches.
        """
        weather = self._weather(self._experience)
        of_values = self._weather(self._value_experience)
        kept_low, kept_high = np.zeros(len(self._areas)), np.zeros(len(self._areas))
        requests = Range(searches, searches)
        size, disk, whole = Range(searched, searched), NOTHING, NOTHING
        work, values = 0, NOTHING
        scenes = SceneCosts(self._rasters, measured=self._measured, quicklook=self._quicklook)
        for seen in self._counted():
            chance = _chance(self._experience, seen, weather)
            with_values = _chance(self._value_experience, seen, of_values) if seen.bands else NOTHING
            kept_low[seen.measure[seen.held]] += chance.low
            kept_high[seen.measure[seen.held]] += chance.high
            kept_low[seen.clear] += 1
            kept_high[seen.clear] += 1
            asked, read = scenes.reading(seen, chance, with_values)
            requests, size = requests + asked, size + read
            disk = disk + scenes.crops(seen, chance)
            values = values + dates(seen, with_values)
            for asset in dict.fromkeys((*self._measured, *seen.assets, *seen.bands)):
                whole = whole + costs.kind_of(asset).file_bytes
            work += len(seen.measure) + len(np.union1d(seen.clear, all_of(seen.valueless)))
        time = costs.seconds(jobs=work, requests=requests, size=size, connections=connections, bandwidth=bandwidth)
        months = {month: self._months[month] for month in sorted(self._months)}
        return Plan(
            areas=tuple(
                AreaPlan(
                    name=area.name,
                    start=area.start,
                    end=area.end,
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
            values=values,
            requests=requests,
            bytes=size,
            disk=disk
            + costs.STATE_JOB.times(self._jobs)
            + costs.STATE_VALUES.times(
                values.low * self._variables,
                values.high * self._variables,
            ),
            seconds=Range(max(time.low, search_seconds / 2), time.high + search_seconds),
            whole=whole,
        )

    def _counted(self) -> list[OpenScene]:
        """Return the scenes, each with the areas that may be cropped from it.

        If only one item of an overpass counts, it is assumed to be the first that covers enough of the area in the
        UTM zone of the area, or otherwise the first that covers enough of it.
        """
        if not self._one_per_overpass:
            return self._open
        homes = np.array(home_zones(self._polygons))
        together: defaultdict[object, list[int]] = defaultdict(list)
        for order, seen in enumerate(self._open):
            together[seen.overpass].append(order)
        counted = [*self._open]
        for orders in together.values():
            chosen = self._chosen(orders, homes)
            for order in orders:
                counted[order] = self._open[order].only(chosen == order)
        return counted

    def _chosen(self, orders: Sequence[int], homes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Choose among the scenes of one overpass.

        Args:
            orders: numbers of the scenes, ascending.
            homes: (areas,) UTM zones of all areas.

        Returns:
            (areas,) number of the scene that counts for each area; -1 if no scene covers enough of it.
        """
        chosen = np.full(len(homes), -1)
        for at_home in (True, False):
            for order in orders:
                seen = self._open[order]
                places = np.concatenate([seen.clear, all_of(seen.valueless), seen.measure[seen.held]])
                if at_home:
                    places = places[homes[places] == (seen.zone or 0)]
                chosen[places[chosen[places] < 0]] = order
        return chosen

    def _weather(self, experience: Experience) -> Range:
        """Compute factors by which the period may be cloudier or clearer than expected.

        The areas of a pass share its weather, so the passes are the independent trials, not the jobs.
        """
        jobs = low = high = 0.0
        for seen in self._open:
            chance, count = experience.chance(seen.cloud), int(seen.held.sum())
            jobs, low, high = jobs + count, low + count * chance.low, high + count * chance.high
        passes = len({seen.when for seen in self._open})
        if not low:
            return Range(1, 1)
        dullest, clearest = costs.spread(low / jobs, passes).low, costs.spread(high / jobs, passes).high
        return Range(dullest * jobs / low, clearest * jobs / high)

    @property
    def _variables(self) -> int:
        return len(self._values.variables) if self._values else 0

    def _hopeless(self, number: int) -> str:
        best = self._best[self._twins[self._areas[number].fingerprint]].max()
        if best < 0:
            return "no scene was found"
        if best * 100 < self._min_valid:
            return f"no scene holds more than {best:.0%} of it, and min_area_valid is {self._min_valid:g} %"
        return ""


# ---- small pieces -----------------------------------------------------------------------------------------


def _key(area: Area) -> tuple[object, ...]:
    """Return a key that distinguishes an area from others with the same polygon."""
    return area.fingerprint, area.name, area.start


def _chance(experience: Experience, seen: OpenScene, weather: Range) -> Range:
    chance = experience.chance(seen.cloud)
    return Range(min(1.0, chance.low * weather.low), min(1.0, chance.high * weather.high))
