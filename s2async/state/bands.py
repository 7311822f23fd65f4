"""A state file that is open for writing: the meaning of the numbers in its reflectance bands."""

from __future__ import annotations

from collections.abc import Sequence

from s2async.catalog.providers import Catalog
from s2async.models import Numbers, Scene
from s2async.reflectance.evidence import Evidence
from s2async.state import answers, database, jobs, packed, reader_sql
from s2async.state import writer_sql as sql
from s2async.state.records import BandCrop
from s2async.state.writing import Writing


class Bands(Writing):
    """The offsets of reflectance bands, and the crops that have to match them."""

    def evidence(self, scene: Scene) -> Evidence:
        """Return what the pixels read so far show, over all areas and reflectance bands of a scene."""
        item = self._present(scene)
        if item is None:
            return Evidence()
        with database.state_errors(self.path):
            return answers.evidence(self._db, item)

    def note_convention(self, catalog: Catalog) -> None:
        """Record what the user says about the offsets of a catalogue's files; if it is new, redo all decisions.

        Args:
            catalog: the catalogue that is searched now. For other collections, the conventions recorded when they
                were searched remain.
        """
        conventions = self.conventions.noted(catalog)
        if conventions == self.conventions:
            return
        self.conventions = conventions
        with self._writing() as db:
            db.execute(sql.SET_CONVENTIONS, (conventions.text(),))
            for (item,) in db.execute(reader_sql.ITEMS_WITH_BANDS).fetchall():
                self.dropped += answers.decide_offsets(db, item, conventions)

    def note_evidence(self, found: Sequence[tuple[BandCrop, Evidence, float | None]]) -> None:
        """Record what crops of earlier versions show and state, and decide on the offsets of their bands."""
        with self._writing() as db:
            for crop, evidence, stated in found:
                answers.add_evidence(db, crop.job, crop.asset, evidence, stated)
            for item in sorted({packed.item_of(crop.job) for crop, *_ in found}):
                self.dropped += answers.decide_offsets(db, item, self.conventions)

    def begin_rewriting(self, *, harmonised: bool, untold: bool) -> None:
        """Record that crops of reflectance bands are about to be rewritten; see `rewriting`."""
        with self._writing() as db:
            db.execute(sql.SET_REWRITING, (f"{harmonised:d}{untold:d}",))

    def note_rewritten(self, crops: Sequence[tuple[BandCrop, Numbers]]) -> None:
        """Record crops that were rewritten, with the contents of their new tags."""
        rows = [
            (crop.bytes, bytes.fromhex(crop.sha256), numbers.harmonised, numbers.says, crop.job, crop.asset)
            for crop, numbers in crops
        ]
        with self._writing() as db:
            db.executemany(sql.SET_REWRITTEN, rows)
            db.execute(sql.FORGET_JUDGED)  # their kind may differ from the one by which their jobs were judged

    def end_rewriting(self) -> None:
        """Record that all crops of reflectance bands are as required."""
        with self._writing() as db:
            db.execute(sql.END_REWRITING)

    def forget_bands(self, lost: Sequence[BandCrop]) -> None:
        """Remove the records of crops whose pixels must be read again, and reopen their jobs."""
        with self._writing() as db:
            db.executemany(sql.DROP_PRODUCT, [(crop.job, crop.asset) for crop in lost])
            jobs.unsave(db, [crop.job for crop in lost])
