"""Adapts crops of reflectance bands to the state: their kind (published or harmonised) and their tags.

A decision on an offset may change after a crop was written: pixels of other areas resolve a doubt, or the item or
the configuration gives another offset. The state takes precedence over crops. It records that crops are being
rewritten before the first of them is, and each crop after it is on disk. After a kill, the next run finishes this
first: a crop whose hash differs from the recorded one but whose tags are already right was written and not
recorded.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from s2async import files
from s2async.cog import gdal, tiff
from s2async.cog.tiff import Layout
from s2async.errors import CorruptFile
from s2async.models import Numbers
from s2async.output import band_tags, geotiff, quicklook, tags
from s2async.reflectance.convert import harmonised as without_offset
from s2async.reflectance.evidence import Evidence
from s2async.state.records import BandCrop

if TYPE_CHECKING:  # only runs and commands that write the state open it
    from s2async.state.writer import State

TOGETHER: Final = 16
"""Number of crops that are rewritten between two transactions. All of them are in memory at the same time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Followed:
    """How many crops were adapted to the state."""

    written: int = 0
    """Number of crops that were rewritten."""
    lost: int = 0
    """Number of crops whose pixels must be read again because too much was subtracted from them."""


def follow(
    state: State,
    output: Path,
    *,
    harmonised: bool,
    token: str,
    untold: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> Followed:
    """Adapt the crops of reflectance bands to the state: the required kind, and the tags of the decided offsets.

    Args:
        state: the state, open for writing.
        output: the output folder, which need not exist.
        harmonised: the required kind; see `models.Selection.harmonised`. Crops whose offset was subtracted do not
            become published again: a run reads their pixels again.
        token: prefix of the names of temporary files.
        untold: also include crops of earlier versions, which have no tags about the offset. Such crops of another
            kind are always included.
        tell: called with messages for the user.

    Raises:
        LocalError: a crop cannot be read or written.
    """
    finish(state, output, token=token)
    return _follow(state, output, harmonised=harmonised, token=token, untold=untold, tell=tell)


def finish(state: State, output: Path, *, token: str) -> None:
    """Finish the rewriting that a killed run has left, before areas, offsets or the kind of crops change.

    Args:
        state: the state, open for writing.
        output: the output folder, which need not exist.
        token: prefix of the names of temporary files.

    Raises:
        LocalError: a crop cannot be read or written.
    """
    if left := state.rewriting():
        harmonised, untold = left
        _follow(state, output, harmonised=harmonised, token=token, untold=untold, tell=lambda _: None)


def _follow(
    state: State, output: Path, *, harmonised: bool, token: str, untold: bool, tell: Callable[[str], None]
) -> Followed:
    killed = state.rewriting() is not None
    due = state.band_crops(harmonised=harmonised, untold=untold)
    if not (due or killed):
        return Followed()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for some in _parts([crop for crop in due if crop.untold]):
            looks = pool.map(lambda crop: _look_at(output, crop), some)
            state.note_evidence([look for look in looks if look])
        found = [crop for crop in state.band_crops(harmonised=harmonised, untold=untold) if crop.numbers]
        lost = [crop for crop in found if _is_lost(crop)]
        left = [crop for crop in found if not _is_lost(crop) and (harmonised or not crop.subtracted)]
        if len(left) > TOGETHER:
            tell(f"writing the offset of reflectance bands into {len(left):,} crops")
        if left:
            state.begin_rewriting(harmonised=harmonised, untold=untold)
        written = 0
        for some in _parts(left):
            results = pool.map(lambda crop: _rewritten(output, crop, harmonised=harmonised, killed=killed), some)
            made = [result for result in results if result]
            contents = [content for one in made for content in one.contents]
            files.replace_all(contents, token=token)
            state.note_rewritten([(one.crop, one.numbers) for one in made])
            written += sum(1 for one in made if one.contents)
    if lost:
        state.forget_bands(lost)
        tell(f"{len(lost):,} harmonised crops will be read again: their files turn out to have no offset")
    state.end_rewriting()
    return Followed(written=written, lost=len(lost))


def _parts(crops: Sequence[BandCrop]) -> Iterator[Sequence[BandCrop]]:
    return (crops[start : start + TOGETHER] for start in range(0, len(crops), TOGETHER))


def _is_lost(crop: BandCrop) -> bool:
    """Return whether a crop's subtracted offset is wrong: values that fell below zero cannot be restored."""
    return crop.numbers is not None and crop.subtracted not in (0, crop.numbers.offset)


def _look_at(output: Path, crop: BandCrop) -> tuple[BandCrop, Evidence, float | None] | None:
    """Return what a crop of an earlier version shows about its offset, and what its source file states.

    Such a crop has the pixels, scale and offset of its source file. Returns None if the file differs from
    its record.
    """
    data = _read(output / crop.path)
    if data is None or hashlib.sha256(data).hexdigest() != crop.sha256:
        return None
    try:
        layout, pixels = gdal.whole(data)
    except CorruptFile:
        return None
    return crop, Evidence.of(pixels), band_tags.stated(layout)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Rewritten:
    """A crop that is to be recorded with new tags."""

    crop: BandCrop
    """The crop with its new size and hash."""
    numbers: Numbers
    contents: list[tuple[Path, bytes]]
    """Paths and contents of its files, the crop last; empty if a killed run has already written them."""


def _rewritten(output: Path, crop: BandCrop, *, harmonised: bool, killed: bool) -> _Rewritten | None:
    """Return a crop of the required kind with the tags that the state's records imply.

    The result equals a newly cut crop; None if the file differs from its record.
    """
    path = output / crop.path
    data = _read(path)
    if data is None or crop.numbers is None:
        return None
    numbers = replace(crop.numbers, harmonised=harmonised)
    known = tags.read(data)
    if hashlib.sha256(data).hexdigest() != crop.sha256:
        is_written = killed and all(known.get(key) == text for key, text in band_tags.tags(numbers).items())
        return _recorded(crop, numbers, data, []) if is_written and known.get("ASSET") == crop.asset else None
    items = {key: text for key, text in known.items() if key not in band_tags.NAMES} | band_tags.tags(numbers)
    contents: list[tuple[Path, bytes]] = []
    try:
        if subtract := numbers.subtracted - crop.subtracted:
            layout, pixels = gdal.whole(data)
            pixels = without_offset(pixels, subtract)
            data = geotiff.with_pixels(data, pixels)
            image = quicklook.beside(path)
            if (old := _read(image)) is not None and quicklook.is_own(old):
                contents.append((image, quicklook.encode(pixels, layout.nodata)))
        else:
            layout = _header(data)
    except CorruptFile:
        return None
    scales, offsets = band_tags.scaling(crop.asset, numbers, layout)
    new = geotiff.retagged(data, scales, offsets, items)
    return None if new is None else _recorded(crop, numbers, new, [*contents, (path, new)])


def _header(data: bytes) -> Layout:
    layout = tiff.parse(data)
    if not isinstance(layout, Layout):
        raise CorruptFile("is cut off")
    return layout


def _recorded(crop: BandCrop, numbers: Numbers, data: bytes, contents: list[tuple[Path, bytes]]) -> _Rewritten:
    sha256 = hashlib.sha256(data).hexdigest()
    return _Rewritten(crop=replace(crop, bytes=len(data), sha256=sha256), numbers=numbers, contents=contents)


def _read(path: Path) -> bytes | None:
    """Return the content of a file, or None if it does not exist."""
    with files.local_errors("read", path):
        try:
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
