"""The commands that look after what runs have made: verify, rebuild and prune."""

from __future__ import annotations

import os
import shlex
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import click

from s2async import files
from s2async._version import __version__
from s2async.areas import loader as area_files
from s2async.cli.console import standard_error, tell
from s2async.config.model import Config
from s2async.errors import ConfigError
from s2async.export import csv_table
from s2async.maintenance import notes, owners, rebuild
from s2async.maintenance import verify as upkeep
from s2async.maintenance.guards import check_state
from s2async.state.records import StoredCrop
from s2async.state.writer import State
from s2async.text import safe, size

CONFIG = click.Path(path_type=Path)
DRY_RUN = click.option("--dry-run", is_flag=True, help="Tell only; change nothing.")


@click.command()
@click.argument("config", type=CONFIG)
@DRY_RUN
def verify(config: Path, dry_run: bool) -> int:
    """Check every recorded crop of CONFIG, and open again what is gone or wrong.

    Its size, hash and tags are compared with what was recorded, and its pixels are decoded. The next run writes
    these crops anew. Exits with 3 when any was gone or wrong, else with 0.

    \b
    Example: s2async verify config.toml --dry-run
    """
    settings = _settings(config)
    output = settings.output.folder
    with State.create_or_open(settings.run.state) as state:
        owners.check(settings, state)
        upkeep.check_output(output)
        stored = state.stored_crops(settings.selection())
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # to decode is work for cores
            faults = pool.map(lambda crop: upkeep.fault(crop, output, decoded=True), stored)
            wrong = [(crop, found) for crop, found in zip(stored, faults, strict=True) if found]
        for crop, found in wrong:
            click.echo(safe(f"{_path(crop)} {found}"))
        if wrong and not dry_run:
            state.forget_crops([crop for crop, _ in wrong])
    if not wrong:
        click.echo(f"{len(stored):,} crops are as they were recorded")
        return 0
    done = "would be opened again" if dry_run else f"are open again; next: s2async run {shlex.quote(str(config))}"
    click.echo(f"{len(wrong):,} of {len(stored):,} crops are gone or wrong: their jobs {done}")
    return 3


@click.command()
@click.argument("config", type=CONFIG)
@DRY_RUN
def prune(config: Path, dry_run: bool) -> int:
    """Remove the crops of CONFIG that count no more: too cloudy now, or of an item that was reprocessed.

    Only files that are still what a run wrote are removed.

    \b
    Example: s2async prune config.toml --dry-run
    """
    settings = _settings(config)
    output, selection = settings.output.folder, settings.selection()
    with State.create_or_open(settings.run.state) as state:
        owners.check(settings, state)
        upkeep.check_output(output)
        unwanted = [crop for crop in state.stored_crops(selection) if crop.unwanted]
        for crop in unwanted:
            click.echo(safe(_path(crop)))
        if dry_run or not unwanted:
            click.echo(f"{_told(unwanted)} would be removed" if unwanted else "nothing to remove")
            return 0
        kept = upkeep.remove(unwanted, output)
        state.forget_crops(unwanted)
        rows = state.saved_rows(selection)
        csv_table.write_csv(rows, output, classes=settings.limits().classes)
    for crop, why in kept:
        click.echo(safe(f"{_path(crop)} {why}: left where it is"), err=True)
    stays = {(crop.job, crop.asset) for crop, _ in kept}
    click.echo(f"{_told([crop for crop in unwanted if (crop.job, crop.asset) not in stays])} removed")
    return 0


@click.command("rebuild")
@click.argument("config", type=CONFIG)
def rebuild_command(config: Path) -> int:
    """Make the state of CONFIG from the crops' own tags, when it is gone or damaged.

    A damaged state is moved aside; one that can be read is never replaced. Crops that are damaged, or of another
    outline, are left where they are and named. The next run searches again and measures again what was not saved,
    but reads nothing for crops that are there.

    \b
    Example: s2async rebuild config.toml && s2async run config.toml
    """
    settings = Config.load(config)
    areas = area_files.load(settings, partial(tell, standard_error(), quiet=False))
    files.check_names(area.folder for area in areas)
    output = settings.output.folder
    if away := notes.away(settings):
        raise ConfigError(f"{away}: {away.advice}, or name another place under [run] state")
    upkeep.check_output(output)
    owners.check_alive(settings)
    limits, selection = settings.limits(), settings.selection()
    made = rebuild.rebuild(settings, areas, limits, selection, version=__version__)
    if made.aside:
        click.echo(f"the old state is now {safe(str(made.aside))}")
    for path, why in made.strange:
        click.echo(safe(f"{path} {why}: left as it is"), err=True)
    click.echo(f"{made.known:,} crops are known again; next: s2async run {shlex.quote(str(config))}")
    return 0


COMMANDS = (verify, rebuild_command, prune)


def _settings(path: Path) -> Config:
    config = Config.load(path)
    check_state(config)
    return config


def _path(crop: StoredCrop) -> str:
    return f"{crop.folder}/{crop.file}"


def _told(crops: list[StoredCrop]) -> str:
    return f"{len(crops):,} crops ({size(sum(crop.bytes for crop in crops))})"
