"""Counts and sums over the jobs of a state, as shown by ``status``, the report and the end of a run."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from s2async.alarms import ENOUGH, Alarm, asset_alarm, is_most, state_alarm
from s2async.areas.folders import FIRST, LAST, season
from s2async.causes import Cause
from s2async.clouds.rule import CloudRule
from s2async.events import SearchReport
from s2async.models import Selection, Status, Traffic, Use
from s2async.reasons import SETTINGS, Again
from s2async.state import totals_sql as sql
from s2async.state.database import Connection, StateFile
from s2async.state.packed import CODES, measure_at
from s2async.state.records import (
    ATTEMPTS,
    OPEN,
    AreaCounts,
    Counts,
    Doubt,
    FileSum,
    LackRow,
    Problem,
    Unheld,
    ValueTotals,
    WholeFiles,
    Without,
)
from s2async.state.serialization import lack_row, problem, selection_values

if TYPE_CHECKING:  # status starts faster if arrays are imported only for counting
    import numpy as np
    from numpy.typing import NDArray

    from s2async.state.tally import Tally
    from s2async.state.value_choice import Asking

FORBIDDEN = 10
"""Maximum number of origins in a warning about jobs whose origins are not allowed."""


class Totals(StateFile):
    """Counts over the active areas, that is, the areas of the last run's configuration."""

    def __init__(self, path: Path, db: Connection) -> None:
        super().__init__(path, db)
        self._tallied: tuple[object, bool, Tally] | None = None
        """State of the database when all jobs were counted, whether newer reprocessings mattered, and the
        counts."""

    # ---- runs ----

    def traffic(self, *, last_run: bool = False) -> tuple[Traffic, ...]:
        """Return requests and body bytes by stage, asset and use, of all runs together or of the last run."""
        totals = self._all(sql.TRAFFIC, {"run": self._last_run_id() if last_run else None})
        return tuple(
            Traffic(stage=stage, asset=asset, use=Use(use), requests=requests, bytes=size)
            for stage, asset, use, requests, size in totals
        )

    def searches(self) -> tuple[SearchReport, ...]:
        """Return the searches of the last run that have ended, complete or not, by label."""
        return tuple(
            SearchReport(label=label, key=key, complete=bool(complete), items=items, reason=reason)
            for label, key, complete, items, reason in self._all(sql.SEARCHES, (self._last_run_id(),))
        )

    # ---- jobs ----

    def counts(self, selection: Selection) -> Counts:
        """Return the jobs within the seasons of the areas by status, in total and for each area, sorted by name.

        Args:
            selection: With ``newest_only``, jobs without an answer are omitted if a newer reprocessing of their
                item covers the area, because no run processes them.
        """
        found = self._tally(newest=selection.newest_only)
        areas = []
        for place, area, name, since, until in self._each(sql.PLACES_BY_NAME):
            counted = found.of_area(area) if (since, until) == (FIRST, LAST) else found.by_place.get(place)
            start, end = season(since, until)
            areas.append(AreaCounts(name=name, by_status=_named(counted), start=start, end=end))
        return Counts(total=_named(found.total), areas=tuple(areas))

    def scenes(self, *statuses: str) -> int:
        """Count the items with a job of an active area in one of these statuses (any status if none is given)."""
        return len(self._scenes(*statuses))

    def _scenes(self, *statuses: str) -> set[int]:
        scenes = self._tally().scenes
        return set().union(*(items for status, items in scenes.items() if not statuses or status in statuses))

    def clear_days(self) -> int:
        """Count days (UTC) with a saved job, summed over active areas; a day with several scenes counts once."""
        return self._tally().clear_days

    def _tally(self, *, newest: bool | None = None) -> Tally:
        """Return the counts of all jobs, which are cached as long as nothing is written.

        Args:
            newest: see `tally`; None if it does not matter.
        """
        from s2async.state.tally import tally  # imported only here, as a state that is only opened needs no arrays

        written = self._first("PRAGMA data_version")[0], self._db.total_changes
        if self._tallied is None or self._tallied[0] != written or newest not in (None, self._tallied[1]):
            with self._at_one_moment():
                self._tallied = written, bool(newest), tally(self._each, newest=bool(newest))
        return self._tallied[2]

    def unheld(self, rule: CloudRule) -> tuple[Unheld, ...]:
        """Return the active areas that no raster read so far covers sufficiently for the rule; sorted by name."""
        shares: dict[int, float | None] = {}
        found = []
        tallied = self._tally()
        for _, area, name, _, _ in self._each(sql.PLACES_BY_NAME):
            if _is_never_held(tallied.of_area(area, replaced=True)):
                if area not in shares:
                    shares[area] = self._largest_share(area, rule)
                found.append((name, area, shares[area]))
        told = dict.fromkeys((name, area, share) for name, area, share in sorted(found, key=lambda one: one[:2]))
        return tuple(Unheld(name=name, share=share) for name, _, share in told if share is not None)

    def _largest_share(self, area: int, rule: CloudRule) -> float | None:
        """Return the largest fraction of an area that one raster covers; None if one of them covers enough."""
        share = 0.0
        for slot, cells in self._each(sql.MEASURES_OF_AREA, {"area": area, "rule": rule.name}):
            measured = measure_at(cells, slot, rule.name)
            if measured is None:
                continue
            pixels = sum(measured.histogram)
            if rule.is_held(pixels, measured.total):
                return None
            share = max(share, pixels / measured.total)
        return share

    # ---- jobs without an answer or a file ----

    def problems(self, limit: int | None = None) -> tuple[Problem, ...]:
        """Return failed, then missing jobs, by area and item, with their reasons; all, or at most ``limit``."""
        return tuple(map(problem, self._all(sql.PROBLEMS, (-1 if limit is None else limit,))))

    def lacking(self, selection: Selection) -> tuple[LackRow, ...]:
        """Return selected assets, and those of the cloud rule, that active areas lack; by area, item, asset."""
        return tuple(map(lack_row, self._all(sql.LACKING, selection_values(selection))))

    def without(self, selection: Selection) -> Without:
        """Count the reasons why jobs of active areas lack files.

        Args:
            selection: With ``newest_only``, failed jobs are omitted if a newer reprocessing of their item covers
                the area.
        """
        by_status: dict[str, dict[Cause, int]] = defaultdict(dict)
        saved: dict[tuple[str, Cause], int] = {}
        scenes: dict[str, int] = defaultdict(int)
        which = selection_values(selection)
        for status, cause, jobs in self._each(sql.CAUSES, which):
            if cause:
                by_status[status][Cause(cause)] = jobs
        for asset, cause, jobs, items in self._each(sql.LACKING_COUNTS, which):
            saved[asset, Cause(cause)] = jobs
            scenes[asset] += items
        return Without(by_status=dict(by_status), saved=saved, scenes=dict(scenes))

    def again(self, selection: Selection, *, host: str | None = None) -> Again:
        """Count when runs retry the missing and failed jobs of active areas.

        Jobs that only other settings can help are omitted.

        Args:
            selection: which crops count; only its assets matter.
            host: count only jobs for which the last run requested a file from this server without success.
        """
        which = selection_values(selection) | {
            "attempts": ATTEMPTS,
            "host": host,
            "now": int(time.time()),
            "settings": json.dumps(sorted(SETTINGS)),
        }
        now, later, earliest, never = self._first(sql.AGAIN, which)
        return Again(next=now, later=later, earliest=earliest, never=never)

    def alarm(self, counts: Counts, selection: Selection) -> Alarm | None:
        """Return a warning if nearly all jobs lack files, or nearly all saved jobs lack one of the assets.

        Args:
            counts: what `counts` returns for the same selection.
            selection: which crops count.
        """
        jobs = {status: n for status, n in counts.total.items() if status != OPEN}
        bad = (Status.MISSING, Status.FAILED)
        without = self.without(selection)
        if not is_most(sum(jobs.get(status, 0) for status in bad), sum(jobs.values())):
            if not without.saved:
                return None
            saved = jobs.get(Status.SAVED, 0)
            return asset_alarm(saved, without.saved, without.scenes, scenes=self.scenes(Status.SAVED))
        newest = self._all(sql.NEWEST_KEYS, (ENOUGH,))
        return state_alarm(
            jobs,
            without.by_status,
            scenes=(self.scenes(*bad), self.scenes()),
            keys={key for (assets,) in newest for key in json.loads(assets)},
            forbidden=[host for (host,) in self._all(sql.FORBIDDEN_HOSTS, (FORBIDDEN,))],
            again=self.again(selection),
        )

    def doubts(self, selection: Selection) -> tuple[Doubt, ...]:
        """Return the crops of reflectance bands whose offset is uncertain, by reason, most crops first."""
        return tuple(
            Doubt(
                basis=basis or "",
                reason=doubt or "",
                untold=bool(untold) or basis is None,
                crops=crops,
                scenes=scenes,
                item=item,
            )
            for basis, doubt, untold, crops, scenes, item in self._all(sql.DOUBTS, selection_values(selection))
        )

    def values(self, asking: Asking) -> ValueTotals:
        """Count the values of all places within their seasons, and those whose offset is uncertain.

        Args:
            asking: which values count.
        """
        from s2async.state import value_pages  # imported only here, as in `_tally`

        with self._at_one_moment():
            counts = value_pages.counts(self._each, asking)
        which = {"items": json.dumps([*counts]), "bands": json.dumps(asking.wanted.bands)}
        doubts: dict[tuple[str, str], list[tuple[str, int]]] = defaultdict(list)
        for item, name, basis, doubt in self._all(sql.DOUBTFUL_ITEMS, which):
            doubts[basis, doubt].append((name, counts[item][0]))
        return ValueTotals(
            dates=sum(dates for dates, _ in counts.values()),
            rows=sum(rows for _, rows in counts.values()),
            scenes=len(counts),
            doubts=tuple(
                Doubt(
                    crops=sum(dates for _, dates in items),
                    scenes=len(items),
                    item=min(name for name, _ in items),
                    basis=basis,
                    reason=doubt,
                    untold=False,
                    what="date",
                )
                for (basis, doubt), items in sorted(doubts.items())
            ),
        )

    def valueless(self, asking: Asking) -> int:
        """Count the answered jobs that a run reopens because they lack values.

        Args:
            asking: which values count.
        """
        from s2async.state import value_pages  # see `values`

        return value_pages.lacking(self._each, asking)

    def has_asset(self, key: str) -> bool:
        """Return whether any item offers this asset in a readable form."""
        return bool(self._first(sql.HAS_KEY, (key,))[0])

    # ---- sizes of whole files ----

    def whole_files(self, selection: Selection) -> WholeFiles:
        """Sum up the sizes of the whole files of which runs read parts; see `WholeFiles`.

        The assets are those that a user would otherwise have to download: the assets that the cloud rule measures,
        and the selected assets. A file that an item does not have is not counted.

        Args:
            selection: which crops count; only its assets matter.
        """
        assets = list(dict.fromkeys((*selection.measured, *selection.assets)))
        valued = selection.values.bands if selection.values else ()
        every, saved = self._scenes(), self._scenes(Status.SAVED)
        with_values = {item for (item,) in self._each(sql.ITEMS_WITH_VALUES)} & every if valued else set()
        files, size = self._first(sql.OPENED_FILES)
        return WholeFiles(
            opened=FileSum(files=files, bytes=size),
            all=self._needed_files(dict.fromkeys((*assets, *valued), every)),
            saved=self._needed_files(
                dict.fromkeys(assets, saved)
                | {band: with_values | (saved if band in assets else set()) for band in valued}
            ),
        )

    def _needed_files(self, needed_by: Mapping[str, Collection[int]]) -> FileSum:
        """Sum up the files of some assets.

        Args:
            needed_by: rows of the items that need the asset, keyed by asset.
        """
        total = FileSum(files=0, bytes=0)
        for asset, rows in needed_by.items():
            items = json.dumps(sorted(rows))
            needed, known, known_bytes = self._first(sql.NEEDED_FILES, {"asset": asset, "items": items})
            median = self._median_size(asset)
            guessed = 0 if median is None else needed - known
            total = FileSum(
                files=total.files + needed,
                bytes=total.bytes + known_bytes + guessed * (median or 0),
                estimated=total.estimated + guessed,
                unknown=total.unknown + needed - known - guessed,
            )
        return total

    def _median_size(self, asset: str) -> int | None:
        (known,) = self._first(sql.KNOWN_SIZES, (asset,))
        if not known:
            return None
        # The middle size if their number is odd, or the mean of the middle two if it is even.
        median: float = self._first(sql.MIDDLE_SIZE, (asset, 2 - known % 2, (known - 1) // 2))[0]
        return round(median)

    def _last_run_id(self) -> int | None:
        run: int | None = self._first(sql.LAST_RUN_ID)[0]
        return run


def _named(counts: NDArray[np.integer] | None) -> Mapping[str, int]:
    """Return counts of a tally by status, without zeros."""
    return {} if counts is None else _shared(*counts.tolist())


@lru_cache(maxsize=4096)
def _shared(*counts: int) -> Mapping[str, int]:
    """Return the same for one area, cached because many areas have the same counts."""
    return {str(status): jobs for status, jobs in zip(CODES, counts, strict=True) if jobs}


def _is_never_held(counts: NDArray[np.integer] | None) -> bool:
    """Return whether an area has no saved or cloudy job, and at least half are nodata or outside."""
    named = _named(counts)
    held = named.get(Status.SAVED, 0) + named.get(Status.CLOUDY, 0)
    empty = named.get(Status.NODATA, 0) + named.get(Status.OUTSIDE, 0)
    return not held and 0 < sum(named.values()) <= 2 * empty
