"""Crops on disk against what the state believes: what is gone or wrong, and what is wanted no more."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable
from pathlib import Path

from s2async import files
from s2async.cog import gdal
from s2async.errors import ConfigError, CorruptFile, LocalError
from s2async.output import crops, tags
from s2async.state.records import StoredCrop


def fault(crop: StoredCrop, output: Path, *, decoded: bool = False) -> str:
    """What is wrong with a recorded crop, in a few words; the empty string when it is as it was recorded.

    Args:
        crop: As `state.reader.Ledger.stored_crops` gives it.
        output: The output folder.
        decoded: Decode its pixels, too: what was recorded may have been damaged before.

    Raises:
        LocalError: The file is there, but cannot be read.
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
    said = {
        "ITEM_ID": crop.item,
        "AREA_FINGERPRINT": crop.fingerprint,
        "ASSET": crop.asset,
        "MASK": crops.mask_tag(crop.mask),
    }
    wrong = [key for key, value in said.items() if found.get(key) != value]
    if wrong:
        return f"says {wrong[0]} {found.get(wrong[0], 'nothing')!r}, recorded was {said[wrong[0]]!r}"
    if decoded:
        try:
            gdal.sound(data)
        except CorruptFile as error:
            return str(error)
    return ""


def check_output(output: Path) -> None:
    """Refuse to take a whole output folder that is away (a disk that is not mounted) for crops that are gone.

    Raises:
        LocalError: There is no such folder.
    """
    if not output.is_dir():
        raise LocalError(f"the output folder {output} is not there; mount the disk or put the folder back")


def check_place(recorded: Iterable[Path], output: Path, known: Path | None) -> None:
    """Refuse an output folder that the recorded crops are not in: another one, or that of a disk that is away.

    A run would take them for done, and list files that are not there. One that was moved with its crops is fine,
    and so is one in which somebody deleted crops or whole areas: that is for ``verify`` to find out.

    Args:
        recorded: Where crops lie inside the output folder, as `state.reader.Ledger.crop_paths` gives them.
        output: The output folder, which need not be there, without symbolic links.
        known: That of the last run; None when unknown.

    Raises:
        ConfigError: It is not the folder of these crops.
        LocalError: It cannot be looked into.
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
    """Remove crops from disk that are still what was written; a file that somebody changed stays.

    Returns:
        The crops whose file stays because it is not the recorded one, and why; none that are gone already.

    Raises:
        LocalError: A file cannot be removed.
    """
    kept = []
    for crop in unwanted:
        found = fault(crop, output)
        if found and found != "is gone":
            kept.append((crop, found))
        elif not found:
            crops.remove(output / crop.folder / crop.file)
    return kept
