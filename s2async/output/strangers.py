"""Recognises foreign files in the place of crops: crops of another outline or kind, or other files."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Container, Iterable
from pathlib import Path

from s2async import files
from s2async.models import Area
from s2async.output import band_tags, crops, quicklook, tags

OUTLINE = "another outline"
MASK = "another mask"
NUMBERS = "another kind of reflectance"
OTHER = "unknown origin"


def of_crop(path: Path, fingerprint: str, *, mask: bool, harmonised: bool = False) -> str:
    """Return the origin of a file that has the name of a crop, if it is not from this job.

    Args:
        path: where the crop will be written.
        fingerprint: fingerprint of the crop's area.
        mask: whether the crop is masked by the area's outline.
        harmonised: whether the offset is removed from crops of reflectance bands.

    Returns:
        `OUTLINE`, `MASK` or `NUMBERS` for a crop that differs in this respect, `OTHER` for a file without the tags
        of a crop; empty if there is no file, or if it is a crop of this area and kind.
    """
    if not os.path.lexists(path):  # nearly always; the check takes a few microseconds
        return ""
    known = tags.of_file(path)
    if "AREA_FINGERPRINT" not in known:
        return OTHER
    if known["AREA_FINGERPRINT"] != fingerprint:
        return OUTLINE
    if known.get("MASK") != crops.mask_tag(mask):
        return MASK
    # A published crop may be converted to a harmonised crop on disk. The reverse requires reading its pixels
    # again.
    is_harmonised = known.get(band_tags.KIND) == band_tags.kind_tag(True)
    return NUMBERS if is_harmonised and not harmonised else ""


def of_quicklook(path: Path) -> str:
    """Like `of_crop`, for a file that has the name of a crop's quicklook: return `OTHER` or an empty string."""
    try:
        own = quicklook.is_own(path.read_bytes())
    except FileNotFoundError:
        return ""
    except OSError:
        own = False
    return "" if own else OTHER


def first(
    output: Path,
    areas: Iterable[Area],
    recorded: Callable[[str], Container[str]],
    *,
    mask: bool,
    harmonised: bool = False,
) -> tuple[Path, str] | None:
    """Find the first crop of another outline or kind in the areas' folders that is not recorded.

    Args:
        output: the output folder, which need not exist.
        areas: areas of the job.
        recorded: returns the names of recorded files in a folder, given the name of the folder.
        mask: whether the job's crops are masked.
        harmonised: whether the offset is removed from its crops of reflectance bands.

    Returns:
        The crop's path and its origin, as `of_crop` returns it; None if there is no such crop.

    Raises:
        LocalError: a folder cannot be listed.
    """
    with files.local_errors("look into", output):
        if not output.is_dir():
            return None
        with os.scandir(output) as entries:
            there = {entry.name for entry in entries if entry.is_dir()}
        outlines: dict[str, list[str]] = {}
        for area in areas:  # areas with the same name share a folder
            outlines.setdefault(area.folder, []).append(area.fingerprint)
        for place, prints in outlines.items():
            if place not in there:
                continue
            folder = output / place
            known = recorded(place)
            with os.scandir(folder) as entries:
                names = [entry.name for entry in entries if entry.name.endswith(crops.SUFFIX)]
            for name in sorted(name for name in names if name not in known):
                origins = [of_crop(folder / name, one, mask=mask, harmonised=harmonised) for one in prints]
                whose = min(origins, key=(OTHER, "", NUMBERS, MASK, OUTLINE).index)
                if whose in (OUTLINE, MASK, NUMBERS):
                    return folder / name, whose
    return None


class Replaced:
    """Counts foreign files that crops overwrote. Can be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._first: Path | None = None

    def add(self, path: Path, whose: str) -> None:
        """Count a file before it is overwritten.

        Args:
            path: path of the file.
            whose: its origin, as `of_crop` returns it; if empty, nothing is counted.
        """
        if whose:
            with self._lock:
                self._counts[whose] += 1
                self._first = self._first or path

    @property
    def summary(self) -> str:
        """What was overwritten, in words; empty if nothing was."""
        if not self._counts:
            return ""
        each = ", ".join(f"{count:,} of {whose}" for whose, count in sorted(self._counts.items()))
        return f"files that were there before were overwritten: {each}; the first: {self._first}"
