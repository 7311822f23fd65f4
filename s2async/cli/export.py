"""The command export: the contents of the state in a format for other programs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from s2async import files
from s2async.config.model import Config
from s2async.errors import ConfigError
from s2async.export.columns import Table, own_columns
from s2async.export.encoding import utf8
from s2async.export.formats import FORMATS, VALUE_FORMATS, FileFormat, FolderFormat, write_values
from s2async.export.values import table as value_table
from s2async.maintenance.guards import check_target, opened
from s2async.state.reader import Ledger
from s2async.text import safe

_TOKEN = "s2async-export"  # noqa: S105 - not a password
STDOUT = Path("-")


def write(
    path: Path, name: str, *, everything: bool, values: bool = False, wide: bool = False, target: Path | None
) -> None:
    """Write what a configuration has saved, in one of the formats.

    Args:
        path: the configuration.
        name: a key of `FORMATS`.
        everything: export every job, not only saved crops; not possible for a format that is a folder.
        values: export the table of values instead.
        wide: for values, one row for each area and overpass.
        target: file, or folder for a format that is a folder; ``-`` is standard output. None for a default next to
            the crops.

    Raises:
        ConfigError: the format does not fit the other arguments, or the target must not be overwritten.
    """
    config = Config.load(path)
    kind = FORMATS[name]
    if wide and not values:
        raise ConfigError("--wide is about values: add --values")
    if values:
        _check_values(name, everything=everything)
    if isinstance(kind, FolderFormat) and everything:
        raise ConfigError(f"{name} holds crops only: leave out --all, or choose another format")
    if target == STDOUT and not (isinstance(kind, FileFormat) and kind.is_text):
        raise ConfigError(f"{name} cannot be written to standard output: name a file")
    if target is None:
        stem = f"values{'-wide' * wide}" if values else f"overview{'-all' * everything}"
        beside = f"{stem}{kind.suffix}" if isinstance(kind, FileFormat) else ""
        target = config.output.folder / beside
    if target != STDOUT:
        check_target(target, config)
    with opened(config) as state:
        if isinstance(kind, FolderFormat):
            _write_folder(kind, state, config, target)
            return
        if values:
            rows = value_table(state, config, wide=wide)
            put = partial(write_values, rows, name)
        else:
            put = partial(kind.write, table(state, config, everything=everything))
        if target == STDOUT:
            _write_out(put)
        else:
            _write_file(put, target, is_text=kind.is_text)


def table(state: Ledger, config: Config, *, everything: bool = False) -> Table:
    """Return the rows of a state that an export contains.

    Args:
        state: the state, which must stay open until the rows are read.
        config: settings of the job.
        everything: every job, not only saved crops.
    """
    rows = state.job_rows if everything else state.saved_rows
    return Table(
        rows=rows(config.selection()),
        all=everything,
        classes=config.cloud_rule().spoilt,
        polygon=state.polygon,
        own=own_columns(state.attributes()),
    )


def _check_values(name: str, *, everything: bool) -> None:
    """Check the arguments for an export of values.

    Raises:
        ConfigError: an argument does not fit.
    """
    if name not in VALUE_FORMATS:
        raise ConfigError(f"{name} holds no values: choose {' or '.join(VALUE_FORMATS)}")
    if everything:
        raise ConfigError("the table of values has no other jobs: leave out --all")


def _write_file(put: Callable[[Any], int], path: Path, *, is_text: bool) -> None:
    files.make_folder(path.parent, parents=True)
    with files.writing(path, files.temporary(path, _TOKEN)) as file:
        count = put(utf8(file) if is_text else file)
    click.echo(safe(f"wrote {path}: {count:,} rows"))


def _write_out(put: Callable[[Any], int]) -> None:
    if hasattr(sys.stdout, "reconfigure"):  # the table is UTF-8, whatever the terminal's encoding
        sys.stdout.reconfigure(encoding="utf-8", newline="")
    put(sys.stdout)
    sys.stdout.flush()


def _write_folder(kind: FolderFormat, state: Ledger, config: Config, folder: Path) -> None:
    written = kind.write(
        table(state, config),
        folder.absolute(),
        output=config.output.folder,
        catalog=config.search.resolve(),
        state=state.id,
    )
    for crop in written.unreadable:
        click.echo(safe(f"{crop} is missing or damaged: left out; s2async verify reopens its job"), err=True)
    click.echo(safe(f"wrote {folder / kind.index}: {written.items:,} items"))
