"""Keeps plans: in memory while a run needs them, and in a folder beside the state for the next run.

A kept plan saves time, and nothing depends on it. Where the folder cannot be read or written, or the disk is full,
each run draws its plans anew. A file is complete or absent (`files.replace`). When it is read, its digest and its
grid are checked, and each of its areas counts only for the fingerprint of its polygon. Processes that write at the
same time replace each other's files, each of which is whole.
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
"""Bytes of plans that stay in memory: about 250,000 fields at 10 m."""
DISK: Final = 256 << 20
"""Bytes of plans that stay on disk: about 5,000,000 fields at 10 m."""
KEPT_FROM: Final = 256
"""Plans of fewer areas are not kept on disk: drawing them takes as long as writing a file safely."""
_SAVED_PART: Final = 8
"""A plan is saved at once when one of so many areas is new in it or gone from it, and else at the end."""
_TOKEN: Final = "s2async-plan"  # noqa: S105 - starts temporary names
_HALF_WRITTEN: Final = 3600
"""Seconds after which a temporary file is one that a killed process has left."""

_log = logging.getLogger("s2async.masks")


def folder_of(state: Path) -> Path:
    """The folder of the plans that belong to a state file."""
    return state.with_name(state.name + ".plans")


class Plans:
    """The plans of all grids for the areas of a run. It may be used by several threads, which wait for each other.

    Args:
        folder: where plans are kept, created when the first is saved; None to keep them in memory alone.
        fingerprints: of all areas that there are; others are dropped from kept plans. None to drop nothing.
        memory: bytes of plans that stay in memory.
        disk: bytes of plans that stay in the folder.
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
        """The plan of a grid with all these areas in it. What is missing is drawn, which takes time: in a thread.

        Args:
            areas: polygons in lon/lat.
            grid: of the raster.

        Returns:
            A plan, which may have other areas too, and (areas,) the index of each area in it.

        Raises:
            ValueError: the CRS of the grid is unknown.
            LocalError: PROJ cannot read its database.
        """
        with self._lock:
            kept, indices = self._keeper.of(areas, grid)
            if kept.unsaved * _SAVED_PART >= len(kept.keys):
                self._save(kept)
            for forgotten in self._keeper.forget_old():
                self._save(forgotten)
            return kept.plan, indices

    def close(self) -> None:
        """Save what is not saved yet."""
        with self._lock:
            for kept in self._keeper.plans:
                self._save(kept)

    def _read(self, grid: Grid) -> Kept[GridPlan]:
        """The kept plan of a grid without the areas that are gone; an empty one where there is none."""
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
                    path.touch()  # used now: `_tidy` removes those that were used longest ago
                return _only(Kept.of(plan, keys), self._wanted)
        return Kept.empty(GridPlan.empty(grid))

    def _save(self, kept: Kept[GridPlan]) -> None:
        """Write a plan, unless it is on disk already, or small, or writing has failed before."""
        if self._folder is None or not kept.unsaved or len(kept.keys) < KEPT_FROM:
            return
        path = self._folder / packing.file_name(kept.plan.grid)
        try:
            files.make_folder(self._folder)
            files.replace(path, packing.packed(kept.plan, kept.keys), token=_TOKEN)
        except S2AsyncError as error:
            log(_log, logging.WARNING, "plan_not_kept", {"path": str(path), "reason": str(error)})
            self._folder = None
            return
        kept.unsaved = 0
        with contextlib.suppress(OSError):
            self._tidy(self._folder, path)

    def _tidy(self, folder: Path, saved: Path) -> None:
        """Remove what killed processes have left, and of too many plans those that were used longest ago."""
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


def _only(kept: Kept[GridPlan], wanted: Keys | None) -> Kept[GridPlan]:
    """Return a plan without the areas that are not wanted."""
    left = np.arange(len(kept.keys)) if wanted is None else np.flatnonzero(np.isin(kept.keys, wanted))
    gone = len(kept.keys) - len(left)
    return Kept.of(kept.plan.take(left), kept.keys[left], gone) if gone else kept
