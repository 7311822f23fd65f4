"""Files that lie where crops go and are not of this job: crops of another outline or mask, and what is no crop."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Container, Iterable
from pathlib import Path

from s2async import files
from s2async.models import Area
from s2async.output import crops, quicklook, tags

OUTLINE = "another outline"
MASK = "another mask"
OTHER = "unknown origin"
_CROP = tuple(crops.SUFFIXES.values())


def of_crop(path: Path, fingerprint: str, *, mask: bool) -> str:
    """Whose a file is that has the name of a crop.

    Args:
        path: Where the crop is to be.
        fingerprint: Of the crop's area.
        mask: Whether the crop is masked by the area's outline.

    Returns:
        `OUTLINE` or `MASK` for a crop with that, `OTHER` for a file that does not tell that it is a crop; the
        empty string where there is no file, or a crop of this very kind.
    """
    if not os.path.lexists(path):  # as always, almost: it takes a few microseconds
        return ""
    found = tags.of_file(path)
    if "AREA_FINGERPRINT" not in found:
        return OTHER
    if found["AREA_FINGERPRINT"] != fingerprint:
        return OUTLINE
    return "" if found.get("MASK") == crops.mask_tag(mask) else MASK


def of_quicklook(path: Path) -> str:
    """The same of a file that has the name of a crop's quicklook."""
    try:
        own = quicklook.is_own(path.read_bytes())
    except FileNotFoundError:
        return ""
    except OSError:
        own = False
    return "" if own else OTHER


def first(
    output: Path, areas: Iterable[Area], recorded: Callable[[str], Container[str]], *, mask: bool
) -> tuple[Path, str] | None:
    """The first crop of another outline or mask in the areas' folders that nobody has recorded.

    Args:
        output: The output folder, which need not be there.
        areas: Those of the job.
        recorded: Names of the files that are recorded in the folder of this name.
        mask: Whether the job's crops are masked.

    Returns:
        Where it is, and whose; None when there is none.

    Raises:
        LocalError: A folder cannot be looked into.
    """
    with files.local_errors("look into", output):
        if not output.is_dir():
            return None
        with os.scandir(output) as entries:
            there = {entry.name for entry in entries if entry.is_dir()}
        for area in areas:
            if area.folder not in there:
                continue
            folder = output / area.folder
            known = recorded(area.folder)
            with os.scandir(folder) as entries:
                names = [entry.name for entry in entries if entry.name.endswith(_CROP)]
            for name in sorted(name for name in names if name not in known):
                whose = of_crop(folder / name, area.fingerprint, mask=mask)
                if whose in (OUTLINE, MASK):
                    return folder / name, whose
    return None


class Replaced:
    """Counts the files of others that crops were written over. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._first: Path | None = None

    def add(self, path: Path, whose: str) -> None:
        """Count a file, before it is written over.

        Args:
            path: Where it is.
            whose: As `of_crop` says it; the empty string counts nothing.
        """
        if whose:
            with self._lock:
                self._counts[whose] += 1
                self._first = self._first or path

    @property
    def told(self) -> str:
        """What was written over, in words; the empty string when nothing was."""
        if not self._counts:
            return ""
        each = ", ".join(f"{count:,} of {whose}" for whose, count in sorted(self._counts.items()))
        return f"files that were there before were written over: {each}; the first: {self._first}"
