"""What a state file tells: counts, traffic, searches, sizes, saved crops. Read only.

Only areas of the last run's configuration count. Everything is answered from one file, also while a run writes it.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import shapely

from s2async import files
from s2async.alarms import ENOUGH, Alarm, asset_alarm, is_most, state_alarm
from s2async.clouds import Limits, is_held
from s2async.models import (
    Area,
    Cause,
    CloudMeasure,
    Estimate,
    Scene,
    SearchReport,
    Selection,
    Status,
    Traffic,
    Use,
)
from s2async.reasons import SETTINGS, Again
from s2async.state import rows, schema, sql
from s2async.state.records import (
    ATTEMPTS,
    OPEN,
    AreaCounts,
    Counts,
    FileSum,
    JobRow,
    KnownJob,
    LackRow,
    Problem,
    RunRow,
    SavedRow,
    Square,
    StoredCrop,
    Unheld,
    WholeFiles,
    Without,
)

FORBIDDEN = 10
"""Origins that are named, where jobs would need them and they are not allowed."""


class Ledger:
    """A state file, to be read. Made by `read`; `state.writer.State` is the one that writes."""

    def __init__(self, path: Path, db: schema.Connection) -> None:
        self.path = path
        self._db = db
        self.id: str = self._value(sql.STATE_ID)
        """Eight hex digits, made once for each file: they name its temporary files."""
        with schema.told(path):
            files.check_names(folder for _, _, _, _, folder in db.execute(sql.AREAS))

    @classmethod
    def read(cls, path: Path) -> Ledger:
        """Open a state without its lock, also while a run is going on.

        Raises:
            StateError: There is none, or it is damaged, foreign, or of another version.
            LocalError: This machine cannot read it.
        """
        with schema.told(path), contextlib.ExitStack() as stack:
            ledger = Ledger(path, stack.enter_context(contextlib.closing(schema.open_for_reading(path))))
            stack.pop_all()  # all is well: whoever asked closes it
        return ledger

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; a second time does nothing."""
        self._db.close()

    # ---- runs, requests, searches ----

    def last_run(self) -> RunRow | None:
        """The newest run, which may be going on; None before the first."""
        with schema.told(self.path):
            row = self._db.execute(sql.LAST_RUN).fetchone()
        return RunRow(id=row[0], started=row[1], ended=row[2], how=row[3], version=row[4]) if row else None

    def runs(self) -> tuple[RunRow, ...]:
        """All runs, oldest first."""
        with schema.told(self.path):
            return tuple(
                RunRow(id=id_, started=started, ended=ended, how=how, version=version)
                for id_, started, ended, how, version in self._db.execute(sql.RUNS)
            )

    def traffic(self, *, last_run: bool = False) -> tuple[Traffic, ...]:
        """Requests and body bytes by stage, asset and use, of all runs together or of the last one."""
        with schema.told(self.path):
            found = self._db.execute(sql.TRAFFIC, {"run": self._last_run_id() if last_run else None}).fetchall()
        return tuple(
            Traffic(stage=stage, asset=asset, use=Use(use), requests=requests, bytes=size)
            for stage, asset, use, requests, size in found
        )

    def searches(self) -> tuple[SearchReport, ...]:
        """The searches of the last run that have ended, complete or not, by label."""
        with schema.told(self.path):
            found = self._db.execute(sql.SEARCHES, (self._last_run_id(),)).fetchall()
        return tuple(
            SearchReport(label=label, key=key, complete=bool(complete), items=items, reason=reason)
            for label, key, complete, items, reason in found
        )

    def searched(self) -> frozenset[str]:
        """Keys of all searches that were complete in any run."""
        with schema.told(self.path):
            return frozenset(key for (key,) in self._db.execute(sql.SEARCHED))

    def estimates(self) -> Mapping[str, Estimate]:
        """Searches, by key, of which any run found that the catalogue counts more items than it gives."""
        with schema.told(self.path):
            found = self._db.execute(sql.ESTIMATES).fetchall()
        split = ((key, *value.split()) for key, value in found)
        return {key: Estimate(counted=int(counted), ids=ids) for key, counted, ids in split}

    # ---- jobs ----

    def counts(self, selection: Selection) -> Counts:
        """Jobs of the active areas by status, in total and per area in the order of their names.

        Args:
            selection: With ``newest_only``, jobs without an answer are left out where a newer reprocessing of
                their item covers the area: no run works on them.
        """
        by_area: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        with schema.told(self.path):
            names = self._db.execute(sql.ACTIVE_NAMES).fetchall()
            for area, status, jobs in self._db.execute(sql.COUNTS):
                by_area[area][status] += jobs
            if selection.newest_only:
                for area, status, jobs in self._db.execute(sql.SUPERSEDED_COUNTS):
                    by_area[area][status] -= jobs
        areas = tuple(
            AreaCounts(name=name, by_status={status: n for status, n in by_area[area].items() if n})
            for area, name in names
        )
        total: dict[str, int] = defaultdict(int)
        for counted in areas:
            for status, jobs in counted.by_status.items():
                total[status] += jobs
        return Counts(total=dict(total), areas=areas)

    def unheld(self, limits: Limits) -> tuple[Unheld, ...]:
        """The active areas, by name, that no raster read so far holds enough of by these limits."""
        with schema.told(self.path):
            areas = self._db.execute(sql.NEVER_HELD).fetchall()
            shares = ((name, self._largest_share(area, limits)) for area, name in areas)
            return tuple(Unheld(name=name, share=share) for name, share in shares if share is not None)

    def _largest_share(self, area: int, limits: Limits) -> float | None:
        """The largest part of an area that one raster holds; None as soon as one holds enough."""
        share = 0.0
        for total, histogram in self._db.execute(sql.MEASURES_OF_AREA, (area,)):
            pixels = rows.count_pixels(histogram)
            if is_held(pixels, total, limits):
                return None
            share = max(share, pixels / total)
        return share

    def problems(self, limit: int | None = None) -> tuple[Problem, ...]:
        """Failed jobs, then missing ones, by area and item, with their reasons; all, or at most so many."""
        with schema.told(self.path):
            found = self._db.execute(sql.PROBLEMS, (-1 if limit is None else limit,)).fetchall()
        return tuple(map(rows.problem, found))

    def lacking(self, selection: Selection) -> tuple[LackRow, ...]:
        """What jobs of active areas lack of the wanted assets and the classification, by area, item and asset."""
        with schema.told(self.path):
            found = self._db.execute(sql.LACKING, rows.selection_values(selection)).fetchall()
        return tuple(map(rows.lack_row, found))

    def without(self, selection: Selection) -> Without:
        """Count the reasons why jobs of active areas lack files.

        Args:
            selection: With ``newest_only``, failed jobs are left out where a newer reprocessing of their item
                covers the area.
        """
        by_status: dict[str, dict[Cause, int]] = defaultdict(dict)
        saved: dict[tuple[str, Cause], int] = {}
        scenes: dict[str, int] = defaultdict(int)
        which = rows.selection_values(selection)
        with schema.told(self.path):
            for status, cause, jobs in self._db.execute(sql.CAUSES, which):
                if cause:
                    by_status[status][Cause(cause)] = jobs
            for asset, cause, jobs, items in self._db.execute(sql.LACKING_COUNTS, which):
                saved[asset, Cause(cause)] = jobs
                scenes[asset] += items
        return Without(by_status=dict(by_status), saved=saved, scenes=dict(scenes))

    def scenes(self, *statuses: str) -> int:
        """Items with a job of an active area that has one of these statuses; with any job when none is named."""
        with schema.told(self.path):
            which = {"status": json.dumps(statuses) if statuses else None}
            found: int = self._db.execute(sql.SCENES, which).fetchone()[0]
        return found

    def alarm(self, counts: Counts, selection: Selection) -> Alarm | None:
        """Return a warning when nearly all jobs lack files, or nearly all saved jobs lack one of the assets.

        Args:
            counts: what `counts` returns for the same selection.
            selection: which crops count.
        """
        jobs = {status: n for status, n in counts.total.items() if status != OPEN}
        bad = (Status.MISSING, Status.FAILED)
        if not is_most(sum(jobs.get(status, 0) for status in bad), sum(jobs.values())):
            saved, without = jobs.get(Status.SAVED, 0), self.without(selection)
            if not without.saved:
                return None
            return asset_alarm(saved, without.saved, without.scenes, scenes=self.scenes(Status.SAVED))
        with schema.told(self.path):
            origins = [host for (host,) in self._db.execute(sql.FORBIDDEN_HOSTS, (FORBIDDEN,))]
            newest = self._db.execute(sql.NEWEST_KEYS, (ENOUGH,)).fetchall()
        return state_alarm(
            jobs,
            self.without(selection).by_status,
            scenes=(self.scenes(*bad), self.scenes()),
            keys={key for (assets,) in newest for key in json.loads(assets)},
            forbidden=origins,
            again=self.again(selection),
        )

    def again(self, selection: Selection, *, host: str | None = None) -> Again:
        """Count when runs retry the missing and failed jobs of active areas.

        Jobs that only other settings can help are left out.

        Args:
            selection: which crops count; only its assets matter.
            host: count only jobs for which the newest run asked this server without success.
        """
        which = rows.selection_values(selection) | {
            "attempts": ATTEMPTS,
            "host": host,
            "now": int(time.time()),
            "settings": json.dumps(sorted(SETTINGS)),
        }
        with schema.told(self.path):
            found = self._db.execute(sql.AGAIN, which).fetchone()
        return Again(next=found[0], later=found[1], earliest=found[2], never=found[3])

    def has_asset(self, key: str) -> bool:
        """Whether any item offers this asset in a form that can be read."""
        with schema.told(self.path):
            return bool(self._value(sql.HAS_KEY, key))

    def known_jobs(self, scene: Scene, selection: Selection) -> tuple[KnownJob, ...]:
        """The jobs of a scene; empty when the state does not know this edition of it.

        Args:
            scene: as a search returns it.
            selection: which crops count; only its mask and format matter.
        """
        with schema.told(self.path):
            item = self._present(scene)
            if item is None:
                return ()
            kind = rows.selection_values(selection) | {"item": item, "attempts": ATTEMPTS}
            now, known = int(time.time()), self._db.execute(sql.KNOWN_JOBS, kind).fetchall()
            old = rows.to_scene(self._db.execute(sql.ITEM, (item,)).fetchone()[1:])
            if rows.is_update(old, scene):  # a run would ask for all that is missing
                return tuple(replace(rows.known_job(row, now), lacks=frozenset()) for row in known)
            return tuple(rows.known_job(row, now) for row in known)

    def scene(self, collection: str, item: str) -> Scene | None:
        """An item as a search found it last; None when it is unknown."""
        with schema.told(self.path):
            found = self._db.execute(sql.FIND_ITEM, (collection, item)).fetchone()
        return rows.to_scene(found[1:]) if found else None

    def newest_measures(self, limit: int) -> Iterator[tuple[str, float | None, CloudMeasure]]:
        """Item, its cloud as the catalogue says, and the measurement of an area in it; newest first. Streamed."""
        with schema.told(self.path):
            for item, cloud, total, histogram in self._db.execute(sql.NEWEST_MEASURES, (limit,)):
                measured = rows.unpack_measure(total, histogram)
                if measured is not None:
                    yield item, cloud, measured

    # ---- sizes of whole files ----

    def whole_files(self, selection: Selection) -> WholeFiles:
        """Sum up the sizes of the whole files of which runs read parts; see `WholeFiles`.

        The assets are those that a person would have to download: ``scl``, which tells what is clear, and the
        selected ones. A file that an item does not have is not counted.

        Args:
            selection: which crops count; only its assets matter.
        """
        assets = list(dict.fromkeys(("scl", *selection.assets)))
        with schema.told(self.path):
            opened = self._db.execute(sql.OPENED_FILES).fetchone()
            return WholeFiles(
                opened=FileSum(files=opened[0], bytes=opened[1]),
                all=self._needed_files(assets, saved=False),
                saved=self._needed_files(assets, saved=True),
            )

    def _needed_files(self, assets: Sequence[str], *, saved: bool) -> FileSum:
        total = FileSum(files=0, bytes=0)
        for asset in assets:
            kind = {"asset": asset, "saved": saved}
            needed, known, known_bytes = self._db.execute(sql.NEEDED_FILES, kind).fetchone()
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
        known = self._value(sql.KNOWN_SIZES, asset)
        if not known:
            return None
        middle: float = self._value(sql.MIDDLE_SIZE, asset, 2 - known % 2, (known - 1) // 2)
        return round(middle)

    # ---- saved crops ----

    def saved_rows(self, selection: Selection, *, area: str | None = None) -> Iterator[SavedRow]:
        """Iterate over the valid crops of active areas, by area name, then time.

        A crop is valid when it was cut from the item's present edition, with the selected mask and format. Crops
        of assets that are not selected are listed, too.

        Args:
            selection: With ``newest_only``, a crop is left out once a newer reprocessing of its item has an answer
                for the same area; until then, and while the newer file is missing, the older crop counts.
            area: name of an area, to list only its crops.
        """
        kind = rows.selection_values(selection) | {"area": area}
        with schema.told(self.path):
            for row in self._db.execute(sql.SAVED_ROWS, kind):
                yield rows.saved_row(row)

    def job_rows(self, selection: Selection, *, area: str | None = None) -> Iterator[JobRow]:
        """Iterate over the jobs of active areas, by area name, then time.

        A job has one row for each valid crop (see `saved_rows`), or one row if it has none.

        Args:
            selection: With ``newest_only``, a job is left out once a newer reprocessing of its item has an answer
                for the same area, or will get one in its place.
            area: fingerprint of an area, to list only its jobs.
        """
        kind = rows.selection_values(selection)
        of_one = {} if area is None else {"area": area}
        statement = sql.JOB_ROWS if area is None else sql.JOB_ROWS_OF_AREA
        with schema.told(self.path):
            for row in self._db.execute(statement, kind | of_one):
                yield rows.job_row(row)

    # ---- areas and squares ----

    def areas(self) -> Iterator[Area]:
        """The active areas, by name. Streamed."""
        with schema.told(self.path):
            for name, polygon, fingerprint, folder in self._db.execute(sql.ACTIVE_AREAS):
                yield Area(name=name, polygon=shapely.from_wkb(polygon), fingerprint=fingerprint, folder=folder)

    def area_names(self) -> dict[str, str]:
        """Names of the active areas by fingerprint."""
        with schema.told(self.path):
            return dict(self._db.execute(sql.ACTIVE_BY_FINGERPRINT).fetchall())

    def squares(self) -> tuple[Square, ...]:
        """The grid squares of all items with a job of an active area, by name."""
        with schema.told(self.path):
            found = self._db.execute(sql.SQUARES).fetchall()
        return tuple(Square(grid=grid, items=items, header=header or b"") for grid, items, header in found)

    def polygon(self, fingerprint: str) -> bytes:
        """WKB of a known area: lon/lat."""
        with schema.told(self.path):
            found: bytes = self._value(sql.POLYGON, fingerprint)
        return found

    def stored_crops(self, selection: Selection) -> list[StoredCrop]:
        """List every recorded crop, by folder and file.

        Args:
            selection: With ``newest_only``, a crop is unwanted once a newer reprocessing of its item has an answer
                for the same area.
        """
        with schema.told(self.path):
            found = self._db.execute(sql.STORED_CROPS, rows.selection_values(selection)).fetchall()
        return [rows.stored_crop(row) for row in found]

    def crop_places(self) -> Iterator[Path]:
        """Where each recorded crop lies inside the output folder, in no order. Streamed."""
        with schema.told(self.path):
            for folder, file in self._db.execute(sql.CROP_PLACES):
                yield Path(folder, file)

    def output(self) -> Path | None:
        """The output folder of the last run; None when none has noted it."""
        with schema.told(self.path):
            found = self._db.execute(sql.OUTPUT).fetchone()
        return Path(found[0]) if found else None

    def files_in(self, folder: str) -> frozenset[str]:
        """Names of the crops that are recorded in an area's folder."""
        with schema.told(self.path):
            return frozenset(file for (file,) in self._db.execute(sql.FILES_IN_FOLDER, (folder,)))

    def configuration(self) -> str | None:
        """The configuration that the state belongs to, seen from its folder; None when none has been noted."""
        with schema.told(self.path):
            found = self._db.execute(sql.CONFIGURATION).fetchone()
        return found[0] if found else None

    def _present(self, scene: Scene) -> int | None:
        """The row of a scene's item, while this is its edition; None when it is another or unknown."""
        found = self._db.execute(sql.ITEM_EDITION, (scene.collection, scene.id)).fetchone()
        same = found is not None and rows.same_edition(found[1], rows.addresses(*found[2:]), scene)
        return found[0] if same else None

    def _value(self, statement: str, *values: object) -> Any:
        return self._db.execute(statement, values).fetchone()[0]

    def _last_run_id(self) -> int | None:
        run: int | None = self._value(sql.LAST_RUN_ID)
        return run
