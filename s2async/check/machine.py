"""What a run needs from this machine: open files, disk, locks. Creates small files, and removes them again."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Final

from s2async import disk_checks, files, means
from s2async.check.findings import Finding, judged, not_tried, odd, right
from s2async.config.model import Config
from s2async.engine import start
from s2async.maintenance import notes, owners
from s2async.state import database
from s2async.text import size

TOPICS: Final = ("file handles", "disk", "output", "locks", "state")
_PROBE_BYTES: Final = 4096
"""Bytes of the test file: one block of most file systems."""


def findings(config: Config) -> list[Finding]:
    """Check this machine; return one finding for each of `TOPICS`."""
    output, state = config.output.folder, config.run.state
    written = _output(output)
    same = standing(output) == standing(state.parent)
    locks = not_tried("locks", "the folder cannot be written") if written.code and same else _locks(state.parent)
    return [handles(config), _space(config), written, locks, _state(config)]


def standing(folder: Path) -> Path:
    """Return the nearest existing folder: the folder itself, or the one in which a run would create it."""
    return next((place for place in (folder, *folder.parents) if place.exists()), folder)


def handles(config: Config) -> Finding:
    """Check the open files and the memory that this machine grants a process."""
    topic, wanted = "file handles", start.wanted_work(config)

    def check() -> Finding:
        if less := means.told(wanted, start.fitted(config, wanted)):
            return odd(topic, less)
        spare = means.look().files
        return right(topic, "no limit" if spare is None else f"{spare:,} more files may be opened")

    return judged(topic, check)


def _space(config: Config) -> Finding:
    place, reserve = standing(config.output.folder), config.run.reserve

    def check() -> Finding:
        disk_checks.check_space(place, reserve)
        with files.local_errors("read the free space of the disk at", place):
            free = shutil.disk_usage(place).free
        return right("disk", f"{size(free)} free, of which {size(reserve)} stay free ([run] reserve)")

    return judged("disk", check)


def _output(folder: Path) -> Finding:
    place = standing(folder)

    def check() -> Finding:
        path = files.temporary(place / "probe", files.PROBE)
        try:
            files.replace(path, bytes(_PROBE_BYTES), token=files.PROBE)
            with files.local_errors("write into", place):
                durable = files.sync_folder(place)
        finally:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        there = f"{folder}" if place == folder else f"{folder} (to be created in {place})"
        if not durable:
            return odd(
                "output",
                f"{there}: the file system cannot sync folders, so a power cut may undo the newest crops",
                "run `s2async verify` after a power cut, or use a local disk",
            )
        return right("output", f"{there}: write, sync and rename work")

    return judged("output", check)


def _locks(folder: Path) -> Finding:
    place = standing(folder)

    def check() -> Finding:
        database.check_place(place)
        return right("locks", f"{place}: SQLite and file locks work")

    return judged("locks", check)


def _state(config: Config) -> Finding:
    state = config.run.state

    def check() -> Finding:
        if state.exists():
            owners.read(config.output.folder)
            owners.check_alive(config)  # the state may have been moved: without opening it, its mark is unknown
            with files.local_errors("read the state", state):
                return right("state", f"{state} is there ({size(state.stat().st_size)}); it was not opened")
        owners.check(config, None)
        notes.check(config)
        return right("state", "none yet: the first run creates it")

    return judged("state", check)
