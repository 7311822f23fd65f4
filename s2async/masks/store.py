"""Keeps plans in memory during a run, and in a folder next to the state for later runs.

Kept plans only save time; no result depends on them. If the folder cannot be read or written, or the disk is full,
each run draws its plans again. `files.replace` writes a file completely or not at all. When a file is read, its
digest and its grid are checked, and areas are found in it by the fingerprints of their polygons. Processes that
write the same plan at the same time replace each other's files, and each of these files is complete.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from s2async import files
from s2async.cog.grid import Grid
from s2async.errors import S2AsyncError
from s2async.log import log
from s2async.masks import packing
from s2async.masks.drawing import draw
from s2async.masks.keeper import Keeper, Kept
from s2async.masks.packing import Keys
from s2async.masks.plan import GridPlan
from s2async.models import Area

MEMORY: Final = 64 << 20
"""Maximum size of the plans in memory, in bytes: about 500,000 fields at 10 m."""
DISK: Final = 256 << 20
"""Maximum size of the plans on disk, in bytes: about 5,000,000 fields at 10 m."""
KEPT_FROM: Final = 256
"""Plans of fewer areas are not saved: drawing them takes no longer than writing a file safely."""
_SAVED_PART: Final = 8
"""A plan is saved at once when at least one in this number of its areas was added or removed since it was last
saved; otherwise, it is saved at the end of the run."""
_TOKEN: Final = "s2async-plan"  # noqa: S105 - starts temporary names
_HALF_WRITTEN: Final = 3600
"""Age in seconds from which a temporary file is considered to be left by a killed process."""

_log = logging.getLogger("s2async.masks")


def folder_of(state: Path) -> Path:
    """Return the folder of the plans that belong to a state file."""
    return state.with_name(state.name + ".plans")


class Plans:
    """The plans of the areas of a run, by grid. Several threads may use it; they wait for each other.

    Args:
        folder: folder in which plans are saved, created when the first plan is saved; None to keep them in memory
            only.
        fingerprints: fingerprints of all areas of the run; other areas are removed from plans that are read. None
            to remove no area.
        memory: maximum size of the plans in memory, in bytes. The plan that was used last may be larger.
        disk: maximum size of the files in the folder, in bytes. The file that was written last may be larger.
    """

    def __init__(
        self,
        folder: Path | None,
        fingerprints: Iterable[str] | None = None,
        *,
        memory: int = MEMORY,
        disk: int = DISK,
    ) -> None:
        self._folder = folder
        self._wanted = None if fingerprints is None else packing.keys_of(list(fingerprints))
        self._disk = disk
        self._keeper = Keeper(draw, self._read, memory)
        self._lock = threading.Lock()

    def of(self, areas: Sequence[Area], grid: Grid) -> tuple[GridPlan, NDArray[np.int64]]:
        """Return a plan of a grid that has all given areas. Call it in a thread: it draws areas that are missing.

        Args:
            areas: areas with polygons in lon/lat.
            grid: grid of the raster.

        Returns:
            A plan, which may have other areas too, and (areas,) the index of each area in it.

        Raises:
            ValueError: the CRS of the grid is unknown.
            LocalError: PROJ cannot read its database.
        """
        with self._lock:
            kept, indices = self._keeper.of(areas, grid)
            if kept.unsaved * _SAVED_PART >= len(kept):
                self._save(kept)
            for forgotten in self._keeper.forget_old():
                self._save(forgotten)
            return kept.plan_of(indices)

    def close(self) -> None:
        """Save the plans that have areas that are not saved yet."""
        with self._lock:
            for kept in self._keeper.plans:
                self._save(kept)

    def _read(self, grid: Grid) -> Kept[GridPlan]:
        """Return the saved plan of a grid without areas that the run does not have, or an empty plan."""
        path = self._folder and self._folder / packing.file_name(grid)
        if path:
            try:
                plan, keys = packing.unpacked(path.read_bytes(), grid)
            except FileNotFoundError:
                pass
            except (OSError, ValueError) as error:
                log(_log, logging.WARNING, "plan_not_used", {"path": str(path), "reason": str(error)})
            else:
                with contextlib.suppress(OSError):
                    path.touch()  # `_tidy` removes the least recently used files first
                return _only(plan, keys, self._wanted)
        return Kept.empty(GridPlan.empty(grid))

    def _save(self, kept: Kept[GridPlan]) -> None:
        """Write a plan to the folder, unless it is saved already or small, or writing has failed before."""
        if self._folder is None or not kept.unsaved or len(kept) < KEPT_FROM:
            return
        path = self._folder / packing.file_name(kept.pieces[0].grid)
        try:
            files.make_folder(self._folder)
            files.replace(path, packing.packed(kept.pieces, kept.keys_of_areas), token=_TOKEN)
        except S2AsyncError as error:
            log(_log, logging.WARNING, "plan_not_kept", {"path": str(path), "reason": str(error)})
            self._folder = None
            return
        kept.unsaved = 0
        with contextlib.suppress(OSError):
            self._tidy(self._folder, path)

    def _tidy(self, folder: Path, saved: Path) -> None:
        """Remove temporary files of killed processes, and the least recently used plans if all are too large.

        Args:
            folder: folder of the plans.
            saved: file that has just been written, which stays.
        """
        for place in (folder, folder.parent / files.PARTS):  # see `files.temporary`
            for part in place.glob(f".{_TOKEN}-*{files.SUFFIX}"):
                if part.stat().st_mtime < time.time() - _HALF_WRITTEN:
                    part.unlink()
        found = [(path.stat(), path) for path in folder.glob(f"*{packing.SUFFIX}") if path != saved]
        excess = sum(stat.st_size for stat, _ in found) + saved.stat().st_size - self._disk
        for stat, path in sorted(found, key=lambda entry: entry[0].st_mtime):
            if excess > 0:
                path.unlink(missing_ok=True)
                excess -= stat.st_size


def _only(plan: GridPlan, keys: Keys, wanted: Keys | None) -> Kept[GridPlan]:
    """Return a plan without the areas whose keys are not wanted."""
    left = np.arange(len(keys)) if wanted is None else np.flatnonzero(np.isin(keys, wanted))
    gone = len(keys) - len(left)
    return Kept.of(plan.take(left), keys[left], gone) if gone else Kept.of(plan, keys)
