"""Saves the crops of a batch in threads. Crops are durable before the batch has outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from s2async import disk_checks, file_batches
from s2async.engine.tools import Settings
from s2async.file_batches import NewFile
from s2async.models import Job, Product
from s2async.output import strangers
from s2async.output.strangers import Replaced

SAVED_TOGETHER: Final = 8
"""Number of crops that one call in a thread writes if each is synced; a call for each costs too much."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoded:
    """A crop, ready to be written."""

    job: Job
    product: Product
    contents: tuple[NewFile, ...]
    """The files of the crop, its own file last: a crop that exists must have its quicklook."""


def groups(crops: Sequence[Encoded], settings: Settings) -> list[Sequence[Encoded]]:
    """Return the crops in groups for calls of `save`; one group if they are all synced together."""
    whole = len(crops) >= file_batches.LEAST and file_batches.syncs_whole(settings.folder)
    together = len(crops) if whole else SAVED_TOGETHER
    return [crops[start : start + together] for start in range(0, len(crops), together)]


def save(crops: Sequence[Encoded], settings: Settings, replaced: Replaced) -> None:
    """Write crops under their final names. When it returns, a power cut cannot lose them.

    Args:
        crops: crops with different names, as `groups` returns them.
        settings: the output folder, the prefix of temporary files and the reserve of disk space.
        replaced: counts the foreign files that are overwritten.

    Raises:
        LocalError: the disk is full or fails; crops that have their final names are complete.
    """
    disk_checks.check_space(settings.folder, settings.reserve)
    contents = [content for crop in crops for content in crop.contents]
    for crop in crops:
        *beside, own = crop.contents
        kind = {"mask": settings.mask, "harmonised": settings.harmonised}
        replaced.add(own.path, strangers.of_crop(own.path, crop.job.area.fingerprint, **kind))
        for quicklook in beside:
            replaced.add(quicklook.path, strangers.of_quicklook(quicklook.path))
    file_batches.write_all(contents, token=settings.token)
