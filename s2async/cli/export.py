"""The command export: what the state knows, in a format of other programs."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from s2async import files
from s2async.config.model import Config
from s2async.errors import ConfigError
from s2async.export.columns import Table
from s2async.export.encoding import utf8
from s2async.export.formats import FORMATS, FileFormat, FolderFormat
from s2async.maintenance.guards import check_target, opened
from s2async.state.reader import Ledger
from s2async.text import safe

_TOKEN = "s2async-export"  # noqa: S105 - not a password
STDOUT = Path("-")
_ABOUT = "; ".join(f"{name}: {kind.about}" for name, kind in FORMATS.items())


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--format", "name", type=click.Choice(list(FORMATS)), required=True, help=f"{_ABOUT}.")
@click.option("--all", "everything", is_flag=True, help="All jobs, with status and reason; not only saved crops.")
@click.option(
    "--output",
    "target",
    type=click.Path(path_type=Path, allow_dash=True),
    help="File to write (- is standard output), or folder (stac); default: next to the crops.",
)
def export(config: Path, name: str, everything: bool, target: Path | None) -> None:
    """Export what CONFIG has saved as a table or a STAC collection. Works while a run is going on.

    Tables have one row for each crop.

    \b
    Example: s2async export config.toml --format parquet
             s2async export config.toml --format csv --all --output - | head
    """
    settings = Config.load(config)
    kind = FORMATS[name]
    if isinstance(kind, FolderFormat) and everything:
        raise ConfigError(f"{name} holds crops only: leave out --all, or choose another format")
    if target == STDOUT and not (isinstance(kind, FileFormat) and kind.is_text):
        raise ConfigError(f"{name} cannot be written to standard output: name a file")
    if target is None:
        beside = f"overview{'-all' * everything}{kind.suffix}" if isinstance(kind, FileFormat) else ""
        target = settings.output.folder / beside
    if target != STDOUT:
        check_target(target, settings)
    with opened(settings) as state:
        if isinstance(kind, FolderFormat):
            _write_folder(kind, state, settings, target)
        elif target == STDOUT:
            _write_out(kind, table(state, settings, everything=everything))
        else:
            _write_file(kind, table(state, settings, everything=everything), target)


def table(state: Ledger, config: Config, *, everything: bool = False) -> Table:
    """The rows of a state that count.

    Args:
        state: Kept open until they are read.
        config: Settings of the job.
        everything: All jobs, not only saved crops.
    """
    rows = state.job_rows if everything else state.saved_rows
    return Table(
        rows=rows(config.selection()),
        all=everything,
        classes=config.clouds.classes,
        polygon=state.polygon,
    )


def _write_file(kind: FileFormat, rows: Table, path: Path) -> None:
    files.make_folder(path.parent, parents=True)
    with files.writing(path, files.temporary(path, _TOKEN)) as file:
        count = kind.write(rows, utf8(file) if kind.is_text else file)
    click.echo(safe(f"wrote {path}: {count:,} rows"))


def _write_out(kind: FileFormat, rows: Table) -> None:
    if hasattr(sys.stdout, "reconfigure"):  # the table is UTF-8, whatever the encoding of the terminal is
        sys.stdout.reconfigure(encoding="utf-8", newline="")
    kind.write(rows, sys.stdout)
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
        click.echo(safe(f"{crop} is gone or damaged: left out; s2async verify opens it again"), err=True)
    click.echo(safe(f"wrote {folder / kind.index}: {written.items:,} items"))
