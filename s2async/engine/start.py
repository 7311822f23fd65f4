"""The start of a run: everything that is checked or prepared before the first job."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Final

from s2async import disk_checks, files, means
from s2async.areas import loader as area_files
from s2async.config.model import Config
from s2async.engine import saving
from s2async.engine.context import Context
from s2async.engine.crash_marker import Left
from s2async.engine.tools import MOST_CONNECTIONS
from s2async.errors import ConfigError
from s2async.maintenance import guards, moving, notes, offsets, owners, verify
from s2async.models import Area
from s2async.net.connections import check_proxies, trusted_certificates
from s2async.output import strangers
from s2async.state.writer import State

THREADS = os.cpu_count() or 2
"""Number of blocks that are decoded at the same time."""
WRITERS: Final = 4
"""Maximum number of threads that write crops. On a slow disk most of them wait, so all of them are needed."""


# ---- before anything is written -----------------------------------------------------------------------------


def check(config: Config, areas: Sequence[Area]) -> None:
    """Check that proxies, certificates, headers, weights and folder names can be used, and that resources suffice.

    Raises:
        ConfigError: one of them cannot be used; the message says what to do.
        LocalError: the resource limits of this machine are too low.
    """
    check_proxies(config.allowed_origins())
    trusted_certificates(config.allowed_origins())
    config.api_headers()
    if config.values is not None and config.values.weights == "coverage" and find_spec("exactextract") is None:
        raise ConfigError(
            f'{config.place("values", "weights")}: [values] weights: "coverage" needs exactextract: '
            "pip install 's2async[coverage]', or choose \"centre\""
        )
    files.check_names(area.folder for area in areas)
    fitted(config, wanted_work(config))


def check_state(config: Config, areas: Sequence[Area], tell: Callable[[str], None], *, new_state: bool) -> None:
    """Check that the state exists, or that it never existed.

    Args:
        config: settings.
        areas: areas of this run.
        tell: called with messages for the user.
        new_state: start a new state even if the former one cannot be reached.

    Raises:
        ConfigError: the state exists although it must not, or it cannot be reached.
    """
    there = config.run.state.exists()
    if there and new_state:
        raise ConfigError(
            f"the state {config.run.state} exists; to start anew, move it and its crops to another folder"
        )
    if not there:
        guards.check_start(config, areas, tell, new_state=new_state)


def wanted_work(config: Config) -> means.Work:
    """Return the concurrency of a run if this machine sets no limits."""
    connections = min(config.network.connections, MOST_CONNECTIONS)
    return means.Work(connections=connections, threads=THREADS, writers=WRITERS, memory=config.run.memory)


def fitted(config: Config, wanted: means.Work) -> means.Work:
    """Return how much of the wanted concurrency this machine allows.

    Raises:
        LocalError: the machine allows too little for any run.
    """
    written = saving.SAVED_TOGETHER * (1 + config.output.quicklook)
    return means.fit(wanted, means.look(), hosts=len(config.allowed_origins()), files_written=written)


# ---- the output folder --------------------------------------------------------------------------------------


def take_folder(
    config: Config, areas: Sequence[Area], state: State, tell: Callable[[str], None], *, new_state: bool
) -> None:
    """Prepare the output folder, and mark it as belonging to this state.

    Args:
        config: settings.
        areas: areas of this run.
        state: the state, open for writing.
        tell: called with messages for the user.
        new_state: start a new state even if the former one cannot be reached.

    Raises:
        ConfigError: the folder or the state belongs to another configuration, or the folder does not contain the
            state's crops or is not accessible.
        LocalError: the folder cannot be used.
    """
    folder = config.output.folder
    marked = owners.check(config, state)
    verify.check_place(state.crop_paths(), folder.resolve(), state.output())
    if not (marked or new_state or any(state.crop_paths())):
        notes.check(config)
    files.make_folder(folder, parents=True)
    disk_checks.check_writable(folder)
    disk_checks.check_space(folder, config.run.reserve)
    if marked:
        owners.put(folder, state.id, config.run.state, anew=True)  # the state may have been moved
    else:
        guards.adopt(config, areas, state, tell)
    if former := owners.renamed(config, state):
        tell(f"the configuration {former} is gone: its state goes on with {config.file}")
    if (name := owners.configuration(config)) is not None:
        state.note_configuration(name)
    state.note_output(folder.resolve())
    notes.write(config, state.id)


# ---- the state ----------------------------------------------------------------------------------------------


def mark_crashed(context: Context, left: Left) -> None:
    """Mark the jobs that were being decoded when an earlier run crashed: they run alone, or not at all."""
    if left.jobs:
        context.tell(f"{len(left.jobs)} jobs were being decoded when a run crashed: they are processed first")
        for area, item, reason in context.state.mark_crashed(left):
            context.tell(f"{area}  {item}  {reason}")


def bring_in_line(context: Context, token: str, replaced: strangers.Replaced) -> None:
    """Update the state and the folders to match the configuration of this run.

    Args:
        context: the context of the run.
        token: prefix of the names of temporary files.
        replaced: counts foreign files that are in the way of folders.

    Raises:
        LocalError: a folder cannot be renamed.
    """
    state, folder = context.state, context.config.output.folder
    if swept := files.sweep(folder, token=token):
        context.tell(f"removed {swept} half-written files of a run that was killed")
    overwritten = moving.finish(state, folder, token=token)  # of a killed run, whose areas may have been others
    offsets.finish(state, folder, token=token)
    state.sync_areas(context.areas, context.tell, context.selection)
    for path in overwritten + moving.finish(state, folder, token=token, tell=context.tell):
        replaced.add(path, strangers.OTHER)
    state.note_convention(context.catalog)
    offsets.follow(state, folder, harmonised=context.selection.harmonised, token=token, tell=context.tell)
    if specks := area_files.specks_notice(context.areas):
        context.tell(specks)
    judged = context.judge()
    if judged:
        context.tell(f"judged {sum(judged.values())} measured jobs again by new settings")
    if chosen := state.choose_for_all(context.rule, context.selection, context.values_rule):
        context.tell(f"judged {chosen:,} jobs again by the other items of their overpasses")
    if again := state.reopen_transient():
        context.tell(f"trying {again} failed jobs again")
    if again := state.reopen_due(context.selection):
        context.tell(f"requesting files of {again} jobs again that were not there")
