"""The state file for writing: the jobs of all runs, and their answers. Only one process at a time can write it.

Every call is one short transaction. It is on disk when the call returns, and a killed process leaves either all of
it or nothing. Areas are identified by the fingerprint of their polygon, items by collection and id; a job is one
area in one item. Facts about an older edition of an item are kept but are not valid. The status of a job follows
from its facts, the cloud limits and the selection; `State.update_statuses` derives it again.
"""

from __future__ import annotations

import json
import sys
from array import array
from collections.abc import Collection, Sequence

from s2async.causes import Cause
from s2async.clouds.overpass import Rules
from s2async.clouds.rule import CloudRule
from s2async.models import (
    DEFAULT_MEASURED,
    Area,
    BatchResult,
    FileFact,
    Job,
    Order,
    Scene,
    Selection,
    Status,
    Traffic,
)
from s2async.scene_jobs import SceneJobs
from s2async.state import (
    answers,
    database,
    items,
    jobs,
    measures,
    overpasses,
    packed,
    reader_sql,
    statuses,
)
from s2async.state import writer_sql as sql
from s2async.state.bands import Bands
from s2async.state.folders import Folders
from s2async.state.reader import Ledger
from s2async.state.records import ATTEMPTS, Cursor, StoredCrop
from s2async.state.serialization import hash_address, overpass_facts, selection_values, to_scene
from s2async.state.writing import seconds
from s2async.zonal.wanted import Wanted

__all__ = ["Cursor", "Ledger", "Selection", "State"]


class State(Folders, Bands):
    """The state file; no other process can write it until `close` is called."""

    # ---- the status of jobs ----

    def update_statuses(
        self,
        judge: statuses.Judge,
        selection: Selection,
        settings: str = "",
        *,
        judge_values: statuses.Judge | None = None,
    ) -> dict[tuple[str, str], int]:
        """Derive the status of every measured job of the active areas again, without reading any file.

        - The measurement is not clear: the status that ``judge`` returns.
        - It is clear, and every selected crop is valid or known to be missing: saved if there is any crop,
          otherwise missing.
        - It is clear otherwise: open. Missing and failed jobs keep their status if the selection is unchanged.
        - It is by another cloud rule than the selection's: open, with the same exceptions.
        - OUTSIDE does not depend on limits and stays.
        - A saved job without a measurement depends only on its crops. A missing job without a measurement is
          reopened if the selection has changed, unless it lacks an asset of the cloud rule.
        - Regardless of its crops, a saved, cloudy or missing job is open if it lacks values that can be computed,
          and ``judge_values`` has no verdict on its measurement. Values for other classes count, and are recorded
          as values for the current classes, if the area has no pixel of a class that makes a difference.

        Args:
            judge: judges many measurements at once, as `clouds.rule.CloudRule.verdicts` does.
            selection: the crops and values that jobs need from now on.
            settings: settings of the judges, as text. If settings, selection and active areas have not changed
                since the last call, nothing is done, because every answer was recorded with the resulting status.
                If empty, all jobs are judged.
            judge_values: like ``judge``, for the rule that decides which areas and dates have values.

        Returns:
            The number of jobs by old and new status, such as ``{("cloudy", "open"): 310}``.
        """
        with self._writing() as db:
            changes = statuses.update_all(db, judge, selection, settings, judge_values)
        self.dropped = 0  # these jobs are open by now
        return changes

    def choose_for_all(self, rule: CloudRule, selection: Selection, values_rule: CloudRule | None = None) -> int:
        """Choose again, from the known facts, which items count for their overpasses, without reading any file.

        Nothing is done if the last run ended with the same settings and areas, or if all items count.

        Args:
            rule: judges measurements.
            selection: which crops and values count.
            values_rule: decides which measurements have values; None if no values are requested.

        Returns:
            The number of jobs whose status changed.
        """
        if not selection.one_per_overpass:
            return 0
        with self._writing() as db:
            areas = db.execute(sql.ACTIVE_AREAS).fetchall()
            self._settled = f"{selection!r} {rule!r} {values_rule!r} {hash_address(repr(areas)).hex()}"
            if db.execute(sql.SETTLED).fetchone() == (self._settled,):
                return 0
            rules = Rules(rule=rule, selection=selection, values_rule=values_rule)
            changed = overpasses.choose_for_all(db, rules)
        self.is_regrouped = False
        return changed

    def choose(
        self,
        wanted: Collection[Job],
        rule: CloudRule,
        selection: Selection,
        values_rule: CloudRule | None = None,
    ) -> list[Job]:
        """Choose which items count for the overpasses of some jobs, and record the choice.

        Args:
            wanted: jobs of one overpass, measured by this run or before.
            rule: judges measurements.
            selection: which crops and values count.
            values_rule: decides which measurements have values; None if no values are requested.

        Returns:
            The jobs to process first; the choice is made again when they have an answer.
        """
        rules = Rules(rule=rule, selection=selection, values_rule=values_rule)
        with self._writing() as db:
            chosen = overpasses.choose_for(db, wanted, rules)
        return self._jobs(chosen, selection)

    def answers(self, wanted: Collection[int]) -> dict[int, tuple[str, str, Cause | None]]:
        """Return the status, reason and cause of jobs, by job number."""
        rows = self._all(sql.ANSWERS, (json.dumps([*wanted]),))
        return {job: (status, reason, Cause(cause) if cause else None) for job, status, reason, cause in rows}

    def reopen_transient(self, limit: int = ATTEMPTS) -> int:
        """Reopen the jobs that failed for a transient cause in at most ``limit`` runs, and return their number."""
        with self._writing() as db:
            failed = [job for (job,) in db.execute(sql.FAILED_FOR_NOW, (limit,))]
            jobs.reopen(db, failed, counting=True)
        return len(failed)

    def reopen_due(self, selection: Selection, now: int | None = None) -> int:
        """Reopen the jobs that lack a selected file which is due to be requested again.

        A file may be published later than its item, and a server may respond wrongly; see `reasons.due`.

        Args:
            selection: which crops count; only its assets matter.
            now: seconds since 1970, UTC; by default this machine's clock.

        Returns:
            The number of jobs.
        """
        with self._writing() as db:
            which = selection_values(selection) | {"now": seconds() if now is None else now}
            due = [job for (job,) in db.execute(sql.DUE, which)]
            jobs.reopen(db, due)
        return len(due)

    def settle_denied(self, served: Collection[str], selection: Selection) -> list[tuple[str, str]]:
        """Mark files as missing that five runs were denied while their servers delivered other files.

        To be called when a run ends.

        Args:
            served: origins of servers that delivered a file in this run.
            selection: which crops count.

        Returns:
            Asset and reason of each file that was marked.
        """
        with self._writing() as db:
            return answers.settle_denied(db, self._this_run, served, selection)

    def retry(self, *, missing: bool = False) -> int:
        """Reopen all failed jobs of the active areas, and return their number.

        Args:
            missing: also reopen the jobs that lack a file; all their files are requested again.
        """
        again = [Status.FAILED, Status.MISSING] if missing else [Status.FAILED]
        with self._writing() as db:
            which = {"again": json.dumps(again), "missing": missing}
            opened = [job for (job,) in db.execute(sql.TO_RETRY, which)]
            jobs.reopen(db, opened)
            db.execute(sql.FORGET_ANSWERS, {"missing": missing})
        return len(opened)

    def forget_crops(self, gone: Sequence[StoredCrop]) -> None:
        """Remove the records of crops that are no longer on disk, and reopen their jobs."""
        with self._writing() as db:
            db.executemany(sql.DROP_PRODUCT, [(crop.job, crop.asset) for crop in gone])
            jobs.unsave(db, [crop.job for crop in gone])

    # ---- jobs to work on ----

    def open_jobs(
        self, selection: Selection, after: Cursor | None = None, limit: int = 500, *, order: Order | None = None
    ) -> tuple[list[Job], Cursor | None]:
        """Return the next page of the jobs that were open when this run began; jobs of one item are adjacent.

        If one item of each overpass counts, the jobs are in chronological order, with overpasses kept together.

        Jobs that this run's searches added or reopened are omitted, so that none is queued twice. To be called
        after `sync_areas`, `update_statuses` and `begin_run`.

        Args:
            selection: which crops count; see `add_scene` for ``newest_only``.
            after: where the last page ended; None for the first page.
            limit: maximum number of jobs in the page.
            order: which items come first. None means the items that were found first, or the newest items if one
                item of each overpass counts.

        Returns:
            The jobs, and where the next page begins; None if there is no further page.
        """
        if order or selection.one_per_overpass:
            oldest_first = order == "oldest"
            statement = sql.OPEN_JOBS_OLDEST_FIRST if oldest_first else sql.OPEN_JOBS_NEWEST_FIRST
            sensed, job = after or Cursor(*[-sys.maxsize if oldest_first else sys.maxsize] * 2)
        else:
            statement = sql.OPEN_JOBS
            sensed, job = after or Cursor(0, 0)
        which = {"item": packed.item_of(job), "block": packed.block_of(job), "slot": packed.slot_of(job)}
        rows = self._all(statement, selection_values(selection) | which | {"sensed": sensed, "limit": limit})
        found = self._jobs([job for job, _ in rows], selection)
        return found, Cursor(rows[-1][1], rows[-1][0]) if len(rows) == limit else None

    def mark_crashed(self, left: items.Interrupted) -> list[tuple[str, str, str]]:
        """Mark the jobs that were being decoded when a run was killed or crashed; see `crashed_jobs`.

        Returns:
            Area, item and reason of the jobs that were set aside as failed; `retry` reopens them.
        """
        with self._writing() as db:
            return items.mark_crashed(db, left)

    def crashed_jobs(self, selection: Selection) -> list[Job]:
        """Return the open jobs that are marked as crashed; a run decodes these first, one by one.

        An answer clears the mark. See `open_jobs` for the selection.
        """
        found = self._all(sql.CRASHED_JOBS, selection_values(selection))
        return self._jobs([job for (job,) in found], selection)

    def _jobs(self, wanted: Sequence[int], selection: Selection) -> list[Job]:
        with database.state_errors(self.path):
            return items.known_jobs(self._db, wanted, self._area_of, selection, seconds())

    def add_scene(self, scene: Scene, areas: Sequence[Area], selection: Selection) -> SceneJobs:
        """Record a scene that a search returned, and its jobs: one job for each area that it may cover.

        A new edition of a known item (or other hrefs of its assets) reopens all its jobs and invalidates what was
        known about them; a mere update only reopens the jobs that lack a file.

        Args:
            scene: the item.
            areas: areas that it may cover.
            selection: with ``newest_only``, an area gets no job if a newer reprocessing of the item has one,
                unless that reprocessing's file is missing.

        Returns:
            The jobs to process: the new ones, and the reopened jobs of active areas. Empty if the same scene is
            passed a second time.

        Raises:
            ValueError: an area was not passed to `sync_areas`.
        """
        rows: dict[int, Area] = {}
        for area in areas:
            rows.setdefault(self._row(area), area)  # of several places with one polygon, the first
        with self._writing() as db:
            known = db.execute(reader_sql.FIND_ITEM, (scene.collection, scene.id)).fetchone()
            if known is None and not areas:
                return SceneJobs(scene=scene, known=(), ids=array("q"), new_areas=(), alias="")
            if known is None:
                item, again = items.add_item(db, scene, selection.measured), list[int]()
            else:
                item, *columns = known
                old = to_scene(columns)
                again = items.update_item(db, item, old, scene, selection.measured)
                if old != scene:
                    self.dropped += answers.decide_offsets(db, item, self.conventions)
                    self.is_regrouped |= overpass_facts(old) != overpass_facts(scene)
            newer = (
                {area for (area,) in db.execute(sql.AREAS_OF_NEWER, (item,))} if selection.newest_only else set()
            )
            opened = [job for job in again if packed.area_of(job) not in newer]
            found = items.jobs_of_item(db, opened, scene, self._area_of, selection, seconds())
            alias = items.alias_of(db, item, scene)
            added = array("q", jobs.add(db, item, [row for row in rows if row not in newer]))
            new_areas = [rows[packed.area_of(job)] for job in added]
        return SceneJobs(scene=scene, known=found, ids=added, new_areas=new_areas, alias=alias)

    def known_files(self, scene: Scene) -> tuple[FileFact, ...]:
        """Return the scene's files whose headers this run or an earlier run has read."""
        headers = self._all(sql.KNOWN_HEADERS, (scene.collection, scene.id))
        return tuple(
            FileFact(asset=key, href=scene.assets[key].href, size=size, etag=etag, header=header)
            for key, address, size, etag, header in headers
            if key in scene.assets and hash_address(scene.assets[key].href) == address
        )

    # ---- answers ----

    def begin(self, wanted: Sequence[Job], selection: Selection) -> bool:
        """Record that a run starts to process jobs of one scene; to be called before it writes their first crop.

        Crops of another mask or format may have the same file names as the new crops. Their records are removed
        now: if a run stopped between writing a new file and recording it, the record of the old file would be
        wrong.

        Returns:
            False if a search has replaced the edition of the item in the meantime and reopened the jobs. The
            caller must not process them then, because they would overwrite crops of the new edition.
        """
        if self._present(wanted[0].scene) is None:
            return False
        kind = {"mask": selection.mask, "format": selection.format, "harmonised": selection.harmonised}
        written = [
            kind | {"job": job.id, "asset": asset}
            for job in wanted
            for asset in selection.assets
            if asset not in job.saved
        ]
        with self._writing() as db:
            db.executemany(sql.DROP_OTHER_KIND, written)
        return True

    def record(
        self,
        result: BatchResult,
        traffic: Sequence[Traffic],
        measured: Collection[str] = DEFAULT_MEASURED,
        wanted: Wanted | None = None,
    ) -> None:
        """Record the answers of a batch and its traffic, and other traffic since the last call.

        Jobs that are left stay open, with what was measured and saved, so that no run repeats this. Undecided jobs
        stay open, with their measurements. Jobs that lack an asset which a search has found in the meantime also
        stay open, because the items of a rebuilt state only have the assets of their crops.

        An answer is rejected if a search has replaced the edition of its item in the meantime; the job stays open.
        Its crops may have overwritten crops of the new edition, so the records of these crops are also removed.

        Args:
            result: result of the batch.
            traffic: traffic in addition to the batch's own.
            measured: keys of the assets that the cloud rule measures.
            wanted: the requested values.
        """
        with self._writing() as db:
            self._add_traffic(db, [*result.traffic, *traffic])
            done = [*(outcome.job for outcome in result.outcomes), *result.left, *result.undecided]
            if not done:
                return
            item = self._present(done[0].scene)
            if item is not None:
                result = answers.without_premature(db, item, result)
                unanswered = (*result.undecided, *result.left)
                measures.note(db, [(job.id, job.measure) for job in unanswered if job.measure])
                answers.add_files(db, item, result.files)
                if result.outcomes:
                    answers.accept(db, item, result.outcomes, measured, self._this_run, seconds())
                for job in result.left:
                    answers.keep(db, job.id, job.products)
                cut = [crop for outcome in result.outcomes for crop in outcome.products]
                cut += [crop for job in result.left for crop in job.products]
                others = [(outcome.job, outcome.results) for outcome in result.outcomes]
                others += [(job, job.results) for job in result.left]
                has_bands = answers.keep_results(db, item, others, wanted)
                if has_bands or any(crop.numbers for crop in cut):
                    used = answers.offsets_used(others, wanted)
                    self.dropped += answers.decide_offsets(db, item, self.conventions, used)
            else:
                for outcome in result.outcomes:
                    answers.reject(db, outcome.job.id, outcome.products)
                for job in result.left:
                    answers.reject(db, job.id, job.products)
