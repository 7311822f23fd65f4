"""The commands verify, prune and rebuild: they check and repair what runs have written."""

from __future__ import annotations

import contextlib
import shlex
from functools import partial
from pathlib import Path

import click

from s2async import files
from s2async._version import __version__
from s2async.areas import loader as area_files
from s2async.cli import consent, export
from s2async.cli.console import standard_error, tell
from s2async.config.model import Config
from s2async.errors import ConfigError
from s2async.export import csv_table
from s2async.maintenance import moving, notes, offsets, owners
from s2async.maintenance import rebuild as rebuilding
from s2async.maintenance import verify as checks
from s2async.maintenance.guards import check_state
from s2async.state.records import StoredCrop
from s2async.state.writer import State
from s2async.text import safe, size

COLLECTION = "collection.json"
"""File of the STAC collection, whose module is only loaded if the file exists."""
FOLDERS_SHOWN = 30
"""Maximum number of folders that prune lists."""


def verify(config: Path, *, dry_run: bool) -> int:
    """Check every saved crop of a configuration, reopen the jobs of bad ones, and return the exit code.

    Args:
        config: the configuration.
        dry_run: change nothing.
    """
    settings = _settings(config)
    output = settings.output.folder
    with State.create_or_open(settings.run.state) as state:
        owners.check(settings, state)
        checks.check_output(output)
        token = f"s2async-{state.id}"
        moving.finish(state, output, token=token)
        offsets.finish(state, output, token=token)
        bad, stored = [], 0
        for crop, fault in checks.faults(state.stored_crops(settings.selection()), output):
            stored += 1
            if fault:
                bad.append((crop, fault))
        for crop, fault in bad:
            click.echo(safe(f"{_path(crop)} {fault}"))
        if bad and not dry_run:
            state.forget_crops([crop for crop, _ in bad])
        if not dry_run:
            _follow_offsets(state, settings)
    if not bad:
        click.echo(f"{stored:,} crops match the state")
        return 0
    done = "would be reopened" if dry_run else f"are open again; next: s2async run {shlex.quote(str(config))}"
    click.echo(f"{len(bad):,} of {stored:,} crops are missing or damaged; their jobs {done}")
    return 3


def _follow_offsets(state: State, settings: Config) -> None:
    """Write the offsets into the tags of crops of reflectance bands, including crops of earlier versions."""
    state.note_convention(settings.search.resolve())
    followed = offsets.follow(
        state,
        settings.output.folder,
        harmonised=settings.output.reflectance == "harmonised",
        token=f"s2async-{state.id}",
        untold=True,
        tell=click.echo,
    )
    if followed.written or followed.lost:
        click.echo(f"{followed.written:,} crops were given the tags of their offset")
        _write_tables(state, settings)


def prune(config: Path, *, dry_run: bool, removed: bool = False, yes: bool = False, verbose: bool = False) -> int:
    """Remove the saved crops of a configuration that are no longer used, and return the exit code.

    Args:
        config: the configuration.
        dry_run: change nothing.
        removed: remove what no longer belongs to any area, instead of crops that do not count.
        yes: do not ask before removing them.
        verbose: list every crop instead of a line for each folder.
    """
    settings = _settings(config)
    output, selection = settings.output.folder, settings.selection()
    with State.create_or_open(settings.run.state) as state:
        owners.check(settings, state)
        checks.check_output(output)
        moving.finish(state, output, token=f"s2async-{state.id}")
        offsets.finish(state, output, token=f"s2async-{state.id}")
        if removed:
            return _prune_removed(settings, state, dry_run=dry_run, yes=yes, verbose=verbose)
        unwanted = [crop for crop in state.stored_crops(selection) if crop.unwanted]
        _list(unwanted, verbose=verbose)
        if dry_run or not unwanted:
            click.echo(f"{_summary(unwanted)} would be removed" if unwanted else "nothing to remove")
            return 0
        kept = checks.remove(unwanted, output)
        state.forget_crops(unwanted)
        _write_tables(state, settings)
    _tell_removed(unwanted, kept)
    return 0


def _prune_removed(settings: Config, state: State, *, dry_run: bool, yes: bool, verbose: bool) -> int:
    """Remove crops, records and folders that no longer belong to any area of the configuration.

    Raises:
        ConfigError: the areas are not those of the last run, or the answer is no, or there is no terminal to ask
            on.
    """
    areas = area_files.load(settings, partial(tell, standard_error(), quiet=False))
    if not state.has_places(areas):
        raise ConfigError(
            "the areas of the configuration are not those of the last run, so it is not known what belongs to "
            f"none of them; first: {settings.command('run')}"
        )
    output = settings.output.folder
    gone = [crop for crop in state.stored_crops(settings.selection()) if crop.removed]
    jobs = state.removed_jobs()
    _list(gone, verbose=verbose)
    what = f"{_summary(gone)} and {jobs:,} jobs that belong to no area any more"
    if dry_run or not jobs:
        click.echo(f"{what} would be removed" if jobs else "nothing to remove")
        return 0
    consent.removal(f"this removes {what}", yes=yes)
    kept = checks.remove(gone, output)
    state.forget_removed()
    _write_tables(state, settings)
    for folder in {output / crop.folder for crop in gone}:
        with contextlib.suppress(OSError):  # it contains other files
            folder.rmdir()
    _tell_removed(gone, kept)
    return 0


def _write_tables(state: State, settings: Config) -> None:
    """Write the index, and the STAC collection if one was exported next to the crops, because it lists crops."""
    rows, output = state.saved_rows(settings.selection()), settings.output.folder
    csv_table.write_csv(rows, output, settings.cloud_rule().spoilt, state.attributes())
    if not (output / COLLECTION).is_file():
        return
    from s2async.export import collection  # pystac takes long to load

    if collection.is_of(output, state.id):
        catalog = settings.search.resolve()
        collection.write(export.table(state, settings), output, output=output, catalog=catalog, state=state.id)
        click.echo(safe(f"wrote {output / COLLECTION} again"))


def _tell_removed(crops: list[StoredCrop], kept: list[tuple[StoredCrop, str]]) -> None:
    for crop, why in kept:
        click.echo(safe(f"{_path(crop)} {why}: not removed"), err=True)
    stays = {(crop.job, crop.asset) for crop, _ in kept}
    click.echo(f"{_summary([crop for crop in crops if (crop.job, crop.asset) not in stays])} removed")


def rebuild(config: Path) -> int:
    """Create the state of a configuration from the tags of its crops, and return the exit code.

    Args:
        config: the configuration.

    Raises:
        ConfigError: the state can be read, or is not available, or the output folder belongs to another state.
    """
    settings = Config.load(config)
    areas = area_files.load(settings, partial(tell, standard_error(), quiet=False))
    files.check_names(area.folder for area in areas)
    output = settings.output.folder
    if away := notes.away(settings):
        raise ConfigError(f"{away}: {away.advice}, or choose another path under [run] state")
    checks.check_output(output)
    owners.check_alive(settings)
    rule, selection = settings.cloud_rule(), settings.selection()
    made = rebuilding.rebuild(settings, areas, rule, selection, version=__version__)
    if made.aside:
        click.echo(f"the old state is now {safe(str(made.aside))}")
    for path, why in made.strange:
        click.echo(safe(f"{path} {why}: left unchanged"), err=True)
    for name, count in made.others.items():
        click.echo(
            f"{count:,} crops are of the collection {safe(name)}, which is no longer searched: they count beside "
            "crops of the same acquisitions from other collections; move away those that should not",
            err=True,
        )
    click.echo(f"{made.known:,} crops are in the new state; next: s2async run {shlex.quote(str(config))}")
    return 0


def _settings(path: Path) -> Config:
    """Return the settings of a job that has a state."""
    config = Config.load(path)
    check_state(config)
    return config


def _list(crops: list[StoredCrop], *, verbose: bool) -> None:
    """Print every crop, or a line for each folder."""
    if verbose:
        lines = [_path(crop) for crop in crops]
    else:
        folders: dict[str, list[StoredCrop]] = {}
        for crop in crops:
            folders.setdefault(crop.folder, []).append(crop)
        lines = [f"{folder}/: {_summary(several)}" for folder, several in folders.items()]
        if more := lines[FOLDERS_SHOWN:]:
            lines[FOLDERS_SHOWN:] = [f"and {len(more):,} more folders; -v lists every file"]
    for line in lines:
        click.echo(safe(line))


def _path(crop: StoredCrop) -> str:
    return f"{crop.folder}/{crop.file}"


def _summary(crops: list[StoredCrop]) -> str:
    return f"{len(crops):,} crop{'s' * (len(crops) != 1)} ({size(sum(crop.bytes for crop in crops))})"
