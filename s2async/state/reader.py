"""A state file for reading: runs, jobs, crops and areas, even while a run writes it.

Only areas of the last run's configuration count, and only the days in their seasons.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from s2async import files
from s2async.areas.edits import Place
from s2async.areas.faults import Changes
from s2async.areas.folders import parking, season, span
from s2async.events import Estimate
from s2async.models import Area, Attribute, CloudMeasure, Scene, Selection
from s2async.state import crop_rows, database, packed, serialization
from s2async.state import reader_sql as sql
from s2async.state.records import (
    ATTEMPTS,
    BandCrop,
    JobRow,
    KnownJob,
    RunRow,
    SavedRow,
    Square,
    StoredCrop,
    ValuePage,
)
from s2async.state.serialization import selection_values
from s2async.state.totals import Totals

if TYPE_CHECKING:
    from s2async.state.value_choice import Asking

CELLS_KEPT: Final = 2048
"""Number of rows of answers that are cached unpacked while tables are read; each takes about 8 kB."""
ITEMS_KEPT: Final = 4096
"""Number of items that are cached while tables are read; each takes about 3 kB."""


class Ledger(Totals):
    """A state file that is only read. It is opened by `read`; `state.writer.State` is the class that writes."""

    def __init__(self, path: Path, db: database.Connection) -> None:
        super().__init__(path, db)
        self.id: str = self._first(sql.STATE_ID)[0]
        """Eight hex digits, generated once for each file, that are part of the names of its temporary files."""
        files.check_names(folder for (folder,) in self._each(sql.FOLDERS))

    @classmethod
    def read(cls, path: Path) -> Ledger:
        """Open a state without its lock, even while a run is writing it.

        Raises:
            StateError: the file does not exist, is damaged, or belongs to another program or version.
            LocalError: this machine cannot read it.
        """
        with database.state_errors(path), contextlib.ExitStack() as stack:
            ledger = Ledger(path, stack.enter_context(contextlib.closing(database.open_for_reading(path))))
            stack.pop_all()  # the ledger is complete, so from here on the caller closes it
        return ledger

    # ---- runs and searches ----

    def last_run(self) -> RunRow | None:
        """Return the newest run, which may be in progress; None before the first run."""
        row = self._first(sql.LAST_RUN)
        return serialization.run_row(row) if row else None

    def runs(self) -> tuple[RunRow, ...]:
        """Return all runs, oldest first."""
        return tuple(map(serialization.run_row, self._all(sql.RUNS)))

    def searched(self) -> frozenset[str]:
        """Return the keys of all searches that were complete in any run."""
        return frozenset(key for (key,) in self._all(sql.SEARCHED))

    def estimates(self) -> Mapping[str, Estimate]:
        """Return the searches, by key, for which the catalogue reports more items than it returns."""
        split = ((key, *value.split()) for key, value in self._all(sql.ESTIMATES))
        return {key: Estimate(counted=int(counted), ids=ids) for key, counted, ids in split}

    # ---- items and jobs ----

    def scene(self, collection: str, item: str) -> Scene | None:
        """Return an item as the last search returned it, or None if it is unknown."""
        row = self._first(sql.FIND_ITEM, (collection, item))
        return serialization.to_scene(row[1:]) if row else None

    def known_jobs(self, scene: Scene, selection: Selection) -> tuple[KnownJob, ...]:
        """Return the jobs of a scene; empty if the state does not know this edition of the scene.

        Args:
            scene: the scene as a search returned it.
            selection: which crops count; only its mask and format matter.
        """
        item = self._present(scene)
        if item is None:
            return ()
        which = selection_values(selection) | {"item": item, "attempts": ATTEMPTS}
        now = int(time.time())
        from s2async.state import values  # see `value_pages`

        rows = self._all(sql.KNOWN_JOBS, which)
        with database.state_errors(self.path):
            valued = values.of_jobs(self._db, [row[0] for row in rows], selection.values)
        known = tuple(serialization.known_job(row, selection.rule, now, valued.get(row[0], ())) for row in rows)
        old = serialization.to_scene(self._first(sql.ITEM, (item,))[1:])
        if serialization.is_update(old, scene):  # after an update, a run requests all missing files again
            return tuple(replace(job, lacks=frozenset()) for job in known)
        return known

    def newest_measures(self, rule: str, limit: int) -> Iterator[tuple[str, float | None, CloudMeasure]]:
        """Iterate over a rule's measurements, newest first: item, cloud cover in the catalogue, measurement."""
        left = limit
        for item, cloud, cells in self._each(sql.NEWEST_MEASURES, (rule,)):
            for measured in packed.all_measures(cells, rule)[:left]:
                left -= 1
                yield item, cloud, measured
            if not left:
                return

    def job_rows(self, selection: Selection, *, area: Area | None = None) -> Iterator[JobRow]:
        """Iterate over the jobs of all places within their seasons, sorted by name, then time.

        A job has one row for each valid crop (see `saved_rows`), or one row if it has none.

        Args:
            selection: With ``newest_only``, a job is omitted if a newer reprocessing of its item has an
                answer for the same area, or will get one instead.
            area: a place, to list only its jobs.
        """
        which = selection_values(selection)
        if area is None:
            rows = self._each(sql.JOB_ROWS, which)
        else:
            since, _ = span(area)
            rows = self._each(sql.JOB_ROWS_OF_PLACE, which | {"area": area.name, "since": since})
        known = _Known(self, selection.rule)
        return (crop_rows.job_row(row, known) for row in rows)

    # ---- values ----

    def value_pages(self, asking: Asking, *, area: str | None = None) -> Iterator[ValuePage]:
        """Iterate over the values of all places within their seasons, sorted by name and time, in pages.

        Values are omitted if a newer reprocessing of their item has values for the same area, or has an answer
        that the area has none.

        Args:
            asking: which values count.
            area: name of the only place to read.
        """
        from s2async.state import value_pages  # imported only here, as a state that is only opened needs no arrays

        return value_pages.pages(self._each, asking, area)

    # ---- crops ----

    def saved_rows(self, selection: Selection, *, area: str | None = None) -> Iterator[SavedRow]:
        """Iterate over the valid crops of all places within their seasons, sorted by name, then time.

        A crop that belongs to several places has a row for each of them.

        A crop is valid if it was cut from the item's current edition with the selected mask and format. Crops of
        assets that are not selected are also listed.

        Args:
            selection: With ``newest_only``, a crop is omitted if a newer reprocessing of its item has an
                answer for the same area; until then, and while the newer file is missing, the older crop counts.
            area: name of an area, to list only its crops.
        """
        rows = self._each(sql.SAVED_ROWS, selection_values(selection) | {"area": area})
        known = _Known(self, selection.rule)
        return (crop_rows.saved_row(row, known) for row in rows)

    def stored_crops(self, selection: Selection) -> Iterator[StoredCrop]:
        """Iterate over every recorded crop, by folder and file.

        Args:
            selection: With ``newest_only``, a crop is unwanted if a newer reprocessing of its item has an
                answer for the same area.
        """
        rows = self._each(sql.STORED_CROPS, selection_values(selection))
        return map(crop_rows.stored_crop, rows)

    def band_crops(self, *, harmonised: bool, untold: bool = False) -> list[BandCrop]:
        """List the crops of reflectance bands that are of another kind, or whose tags differ from the state.

        Args:
            harmonised: the required kind; see `models.Selection.harmonised`.
            untold: also list crops of earlier versions, which have no tags about the offset.
        """
        which = {"harmonised": harmonised, "untold": untold}
        return [crop_rows.band_crop(row) for row in self._each(sql.BAND_CROPS, which)]

    def rewriting(self) -> tuple[bool, bool] | None:
        """Return which rewriting of reflectance crops was in progress when a run or ``verify`` was killed.

        Returns:
            Whether harmonised crops were being written, and whether crops of earlier versions were included; None
            if no rewriting was interrupted.
        """
        row = self._first(sql.REWRITING)
        return (row[0][0] == "1", row[0][1] == "1") if row else None

    def removed_jobs(self) -> int:
        """Count the jobs of areas that are no longer in the configuration, and of days outside their seasons."""
        jobs: int = self._first(sql.REMOVED_JOBS)[0]
        return jobs

    def crop_paths(self) -> Iterator[Path]:
        """Iterate over the paths of the recorded crops, relative to the output folder, in no particular order.

        If a run was killed while crops were moving, the paths include all locations where such a crop may be.
        """
        for folder, file, new, fingerprint in self._each(sql.CROP_PATHS):
            yield Path(folder, file)
            if new is not None:
                yield Path(parking(fingerprint, folder, new), file)
                yield Path(new, file)

    def files_in(self, folder: str) -> frozenset[str]:
        """Return the names of the crops that are recorded in an area's folder."""
        return frozenset(file for (file,) in self._all(sql.FILES_IN_FOLDER, (folder,)))

    # ---- areas and squares ----

    def areas(self) -> Iterator[Area]:
        """Iterate over the places of the last run's configuration, sorted by name, then season."""
        for name, wkb, fingerprint, folder, since, until, attributes in self._each(sql.ACTIVE_AREAS):
            start, end = season(since, until)
            yield Area(
                name=name,
                wkb=wkb,
                fingerprint=fingerprint,
                folder=folder,
                start=start,
                end=end,
                attributes=serialization.to_attributes(attributes),
            )

    def places(self) -> list[Place]:
        """Return the places of the last run's configuration, in the order of the configuration."""
        return [
            Place(name, fingerprint, *season(since, until))
            for fingerprint, name, since, until, _, _ in self._all(sql.PLACES)
        ]

    def recolumned(self, areas: Sequence[Area]) -> int:
        """Count the areas that are places of the last run but have other values in the user's own columns."""
        former = {row[:4]: row[5] for row in self._each(sql.PLACES)}
        places = serialization.place_rows(areas) if former else ()
        return sum(former.get(place[:4], place[5]) != place[5] for place in places)

    def has_places(self, areas: Sequence[Area]) -> bool:
        """Return whether these areas are the places of the last run, in any order; their columns may differ."""
        ours = {(area.fingerprint, area.name, *span(area)) for area in areas}
        return ours == {tuple(row[:4]) for row in self._all(sql.PLACES)}

    def attributes(self) -> Iterator[Mapping[str, Attribute]]:
        """Iterate over the attributes of places for table rows, including the season: each combination once."""
        return (serialization.row_attributes(*row) for row in self._each(sql.ATTRIBUTES))

    def polygon(self, fingerprint: str) -> bytes:
        """Return the polygon of a known area as WKB, in lon/lat."""
        polygon: bytes = self._first(sql.POLYGON, (fingerprint,))[0]
        return polygon

    def squares(self) -> tuple[Square, ...]:
        """Return the grid squares of all items with a job of an active area, sorted by name."""
        return tuple(
            Square(grid=grid, items=items, header=header or b"") for grid, items, header in self._all(sql.SQUARES)
        )

    # ---- what the state belongs to ----

    def output(self) -> Path | None:
        """Return the output folder of the last run, or None if none is recorded."""
        row = self._first(sql.OUTPUT)
        return Path(row[0]) if row else None

    def changes(self) -> Changes:
        """Return which areas of the configuration the last run skipped or repaired."""
        row = self._first(sql.CHANGES)
        return serialization.unpack_changes(row[0]) if row else Changes()

    def configuration(self) -> str | None:
        """Return the state's configuration, relative to the folder of the state; None if none is recorded."""
        row = self._first(sql.CONFIGURATION)
        return row[0] if row else None

    def _present(self, scene: Scene) -> int | None:
        """Return the row of a scene's item; None if it is unknown or known in another edition."""
        row = self._first(sql.ITEM_EDITION, (scene.collection, scene.id))
        if row is None:
            return None
        item, version, *addresses = row
        return item if serialization.same_edition(version, serialization.addresses(*addresses), scene) else None


class _Known:
    """Data that many rows of a table share. It is read once, while the table is read.

    A row of answers contains the measurements of many jobs, and an item has crops of many areas. SQLite reads this
    data in the same snapshot as the rows, so it does not reflect what a run changes in the meantime.

    Args:
        ledger: the state that the rows come from.
        rule: name of the rule whose measurements count.
    """

    def __init__(self, ledger: Ledger, rule: str) -> None:
        self._rule = rule

        @lru_cache(maxsize=CELLS_KEPT)
        def cells(row: int) -> packed.Cells:
            found = packed.unpack_cells(ledger._first(sql.CELLS, (row,))[0])
            return replace(found, values=found.values.astype("u4" if found.values.max() >> 16 else "u2"))

        @lru_cache(maxsize=ITEMS_KEPT)
        def item(row: int) -> crop_rows.ItemOfRows:
            return crop_rows.item_of_rows(ledger._first(sql.ITEM_OF_ROWS, (row,)))

        self._cells, self._item = cells, item

    def item(self, row: int) -> crop_rows.ItemOfRows:
        """Return an item by its row."""
        return self._item(row)

    def measure(self, row: int | None, slot: int) -> CloudMeasure | None:
        """Return the measurement at a slot of a row of answers; None if there is no row."""
        return None if row is None else self._cells(row).measure(slot, self._rule)
