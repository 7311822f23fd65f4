"""A state file that is open for writing: its places, and the folders that contain their crops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from s2async.areas.edits import edits
from s2async.models import Area, FolderMove, Selection
from s2async.state import database, places, reader_sql
from s2async.state import writer_sql as sql
from s2async.state.records import RenamedCrop
from s2async.state.statuses import needed
from s2async.state.writing import Writing


class Folders(Writing):
    """The areas of a state, and the moves of their crops."""

    def sync_areas(
        self,
        areas: Sequence[Area],
        tell: Callable[[str], None] = lambda _: None,
        selection: Selection | None = None,
    ) -> None:
        """Make these areas the places of the state. Other areas keep their jobs, but runs and counts ignore them.

        The folders and tags that have to change are recorded in the same transaction; `maintenance.moving` changes
        them. The recorded folders of crops change only in `commit_folders`, so nothing is lost if the run is
        killed in between. If the places are those of the last run, nothing is written.

        Args:
            areas: areas of the configuration, in the order of the configuration.
            tell: called with messages about areas that differ from those of the last run; see `areas.edits`.
            selection: the crops that jobs need from now on. It is recorded for new areas, which have no jobs yet,
                so that `update_statuses` need not write them again.

        Raises:
            AreaError: two of the areas have the same name and folder on the same day.
            RuntimeError: moves of an earlier call are not finished.
        """
        if self.is_moving():
            raise RuntimeError("moves are left: finish them first")
        places.check(areas)
        with database.state_errors(self.path), database.many_rows(self._db), self._writing() as db:
            if places.are_places(db, areas):
                rows = places.rows_of(db)
            else:
                for text in edits(self.places(), areas, self.recolumned(areas)):
                    tell(text)
                rows = places.sync_areas(db, areas, needed(selection) if selection else None)
        self._rows = {area.fingerprint: rows[area.fingerprint] for area in areas}
        self._areas, self._namesakes = {}, {}
        for area in areas:
            row = rows[area.fingerprint]
            if (first := self._areas.setdefault(row, area)) is not area:
                self._namesakes.setdefault(row, [first]).append(area)

    def is_moving(self) -> bool:
        """Return whether crops still have to be moved or retagged for their areas."""
        return self._first(reader_sql.IS_MOVING) is not None

    def folder_moves(self) -> list[FolderMove]:
        """Return the moves of folders that the last run has recorded and not finished."""
        with database.state_errors(self.path):
            return places.folder_moves(self._db)

    def renamed_crops(self) -> list[RenamedCrop]:
        """Return the crops whose tags have a former name and still have to be rewritten."""
        return [
            RenamedCrop(job=job, asset=asset, path=Path(folder, file), bytes=size, sha256=sha256.hex(), name=name)
            for job, asset, folder, file, size, sha256, name in self._all(reader_sql.RENAMED_CROPS)
        ]

    def park_folders(self) -> None:
        """Record that the folders that move have their temporary names."""
        with self._writing() as db:
            db.execute(sql.PARK_SHELVES)

    def note_tags(self, crops: Sequence[RenamedCrop]) -> None:
        """Record the size and hash that crops will have when their tags have been rewritten."""
        rows = [(crop.bytes, bytes.fromhex(crop.sha256), crop.job, crop.asset) for crop in crops]
        with self._writing() as db:
            db.executemany(sql.SET_TAGGED, rows)

    def commit_folders(self) -> None:
        """Record that all crops are in their final folders and have their final tags."""
        with self._writing() as db:
            db.execute(sql.SETTLE_SHELVES)

    def forget_removed(self) -> None:
        """Remove the records of all jobs and crops that belong to no place, and of areas without a place."""
        with self._writing() as db:
            places.forget_removed(db)
