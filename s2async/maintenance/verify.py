"""Comparison of the crops on disk with the state: missing, changed and unwanted crops."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from s2async import files
from s2async.cog import gdal
from s2async.errors import ConfigError, CorruptFile, LocalError
from s2async.output import crops, tags
from s2async.state.records import StoredCrop

PAGE: Final = 1000
"""Number of crops that are read and decoded together."""


def fault(crop: StoredCrop, output: Path, *, decoded: bool = False) -> str:
    """Describe what is wrong with a recorded crop; return an empty string if the file is as recorded.

    Args:
        crop: a crop from `state.reader.Ledger.stored_crops`.
        output: the output folder.
        decoded: also decode its pixels, because a file may have been damaged before it was recorded.

    Raises:
        LocalError: the file exists but cannot be read.
    """
    path = output / crop.folder / crop.file
    with files.local_errors("read", path):
        try:
            data = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return "is gone"
        except IsADirectoryError:
            return "is a folder"
    if len(data) != crop.bytes:
        return f"has {len(data):,} bytes instead of {crop.bytes:,}"
    if hashlib.sha256(data).hexdigest() != crop.sha256:
        return "was changed"
    found = tags.read(data)
    recorded = {
        "ITEM_ID": crop.item,
        "AREA_FINGERPRINT": crop.fingerprint,
        "ASSET": crop.asset,
        "MASK": crops.mask_tag(crop.mask),
    }
    wrong = [key for key, value in recorded.items() if found.get(key) != value]
    if wrong:
        return f"says {wrong[0]} {found.get(wrong[0], 'nothing')!r}, recorded was {recorded[wrong[0]]!r}"
    if decoded:
        try:
            gdal.sound(data)
        except CorruptFile as error:
            return str(error)
    return ""


def faults(stored: Iterable[StoredCrop], output: Path) -> Iterator[tuple[StoredCrop, str]]:
    """Compare crops with the files on disk, and decode the files on all cores, page by page.

    Yields:
        Each crop with what is wrong with it; an empty string if the file is as recorded.

    Raises:
        LocalError: a file exists but cannot be read.
    """
    crops_left = iter(stored)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while page := list(itertools.islice(crops_left, PAGE)):
            yield from zip(page, pool.map(lambda crop: fault(crop, output, decoded=True), page), strict=True)


def check_output(output: Path) -> None:
    """Check that the output folder exists: if its disk is not mounted, the crops were not deleted.

    Raises:
        LocalError: the folder does not exist.
    """
    if not output.is_dir():
        raise LocalError(f"the output folder {output} is not there; mount the disk or put the folder back")


def check_place(recorded: Iterable[Path], output: Path, known: Path | None) -> None:
    """Check that at least one recorded crop is in the output folder: the folder may be wrong, or not mounted.

    Otherwise a run would skip these crops and list files that do not exist. A folder that was moved with its crops
    passes, and so does a folder from which some crops were deleted, which ``verify`` detects.

    Args:
        recorded: paths of crops relative to the output folder, from `state.reader.Ledger.crop_paths`.
        output: the output folder without symbolic links; it need not exist.
        known: output folder of the last run; None if unknown.

    Raises:
        ConfigError: none of the crops is in the folder.
        LocalError: the folder cannot be read.
    """
    lost = "if they are lost, make the folder, and `s2async verify` opens their jobs again"
    with files.local_errors("look into", output):
        places = iter(recorded)
        first = next(places, None)
        if first is None or any((output / place).is_file() for place in itertools.chain([first], places)):
            return
        if known not in (None, output):
            raise ConfigError(
                f"the recorded crops are in {known}, and none of them in {output}: move them there, or name a "
                f"state of its own for the new folder; {lost}"
            )
        if not output.is_dir() or not any(output.iterdir()):
            raise ConfigError(
                f"none of the recorded crops is in {output}: mount the disk or put the folder back; {lost}"
            )


def remove(unwanted: Iterable[StoredCrop], output: Path) -> list[tuple[StoredCrop, str]]:
    """Remove crops from disk. Files that differ from the recorded crops stay.

    Returns:
        The crops whose files stay, with the reason. Files that no longer exist are not included.

    Raises:
        LocalError: a file cannot be removed.
    """
    kept = []
    for crop in unwanted:
        found = fault(crop, output)
        if found and found != "is gone":
            kept.append((crop, found))
        elif not found:
            crops.remove(output / crop.folder / crop.file)
    return kept
