"""Finds out whether the areas of a configuration are still those of the last run, according to the state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from s2async.config.model import Config
from s2async.errors import AreaError
from s2async.models import Area
from s2async.state.reader import Ledger

CHANGED: Final = (
    "the areas have changed since the last run: this shows those of that run; the next run follows the changes"
)
_PARTS: Final = (".dbf", ".prj", ".cpg")
"""Suffixes of files that belong to a shapefile."""


def changed(config: Config, state: Ledger) -> str:
    """Return a line about areas that differ from those of the last run; empty if they do not differ.

    Areas are only read if their file, or the configuration, has changed since the last run began: reading 100,000
    of them takes seconds.

    Args:
        config: settings.
        state: state of the configuration.
    """
    run = state.last_run()
    if run is None or not _touched(config, datetime.fromisoformat(run.started)):
        return ""
    from s2async.areas import loader as area_files  # loads slowly, and is rarely needed

    try:
        areas = area_files.load(config, lambda _: None)
    except AreaError as error:
        first, *_ = str(error).split("\n")
        return (
            f"the areas have changed since the last run, and cannot be used: {first.rstrip(':')}; all of it: "
            f"{config.command('check')}"
        )
    return differ(areas, state)


def differ(areas: Sequence[Area], state: Ledger) -> str:
    """Return a line about areas that differ from those of the last run.

    It is empty if they do not differ, and before the first run.

    Args:
        areas: areas of the configuration.
        state: state of the configuration.
    """
    if not state.places() or (state.has_places(areas) and not state.recolumned(areas)):
        return ""
    return CHANGED


def _touched(config: Config, since: datetime) -> bool:
    """Return whether a file with areas has changed since a time; False if the areas' file no longer exists."""
    if isinstance(config.areas, Path) and not config.areas.is_file():
        return False
    limit = since.replace(tzinfo=since.tzinfo or UTC).timestamp()
    return any(time >= limit for path in _files(config) for time in _times(path))


def _files(config: Config) -> Iterator[Path]:
    if config.path is not None:
        yield config.path
    if isinstance(config.areas, Path):
        yield config.areas
        yield config.areas.with_name(f"{config.areas.name}-wal")  # where SQLite stores the newest changes
        if config.areas.suffix.lower() == ".shp":
            yield from map(config.areas.with_suffix, _PARTS)


def _times(path: Path) -> tuple[float, ...]:
    """Return when a file, and its entry on the disk, changed.

    If an older file replaces it, only its entry is new.
    """
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_mtime, found.st_ctime
