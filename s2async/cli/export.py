"""The command export: what the state knows, in a format of other programs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from s2async import files
from s2async.config.model import Config
from s2async.errors import ConfigError
from s2async.export import csv_table, geojson
from s2async.export.table import Table
from s2async.maintenance.guards import check_target, opened
from s2async.state.reader import Ledger
from s2async.text import safe

_TOKEN = "s2async-export"  # noqa: S105 - not a password
STDOUT = Path("-")


@dataclass(frozen=True, kw_only=True, slots=True)
class Format:
    """A table in one file."""

    suffix: str
    text: bool
    """Whether it takes texts, or bytes."""
    write: Callable[[Table, Any], int]
    """Writes a table into an open file, and tells how many rows it has."""


def _parquet(table: Table, file: Any) -> int:
    try:
        from s2async.export import geoparquet  # Arrow takes a moment, and may not be there
    except ImportError:
        raise ConfigError("GeoParquet needs pyarrow: pip install 's2async[parquet]'") from None
    return geoparquet.write(table, file)


FORMATS = {
    "csv": Format(suffix=".csv", text=True, write=csv_table.write),
    "geojson": Format(suffix=".geojson", text=True, write=geojson.write),
    "parquet": Format(suffix=".parquet", text=False, write=_parquet),
}
"""Tables in one file, by name. ``stac`` is many files, see `collection`."""


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--format", "name", type=click.Choice([*FORMATS, "stac"]), required=True, help="What to write.")
@click.option("--all", "everything", is_flag=True, help="All jobs, with status and reason; not only saved crops.")
@click.option(
    "--output",
    "target",
    type=click.Path(path_type=Path, allow_dash=True),
    help="File to write (- is standard output), or folder of the STAC collection; beside the crops if unset.",
)
def export(config: Path, name: str, everything: bool, target: Path | None) -> None:
    """Write what CONFIG has saved as a table or a STAC collection. Also while a run is going on.

    Tables hold one row for each crop; geojson and parquet (GeoParquet) with the polygon of its area. stac writes
    collection.json, and one item for each area and scene.

    \b
    Example: s2async export config.toml --format parquet
             s2async export config.toml --format csv --all --output - | head
    """
    settings = Config.load(config)
    if name == "stac" and everything:
        raise ConfigError("a STAC collection holds crops only: leave out --all, or choose another format")
    if target == STDOUT and not (name in FORMATS and FORMATS[name].text):
        raise ConfigError(f"{name} cannot be written to standard output: name a file")
    if target is None:
        beside = "" if name == "stac" else f"overview{'-all' * everything}{FORMATS[name].suffix}"
        target = settings.output.folder / beside
    if target != STDOUT:
        check_target(target, settings)
    with opened(settings) as state:
        if name == "stac":
            _write_collection(state, settings, target)
        elif target == STDOUT:
            _write_out(FORMATS[name], table(state, settings, everything=everything))
        else:
            _write_table(FORMATS[name], table(state, settings, everything=everything), target)


def table(state: Ledger, config: Config, *, everything: bool = False) -> Table:
    """The rows of a state that count.

    Args:
        state: Kept open until they are read.
        config: Settings of the job.
        everything: All jobs, not only saved crops.
    """
    rows = state.job_rows if everything else state.saved_rows
    newest, wanted = config.search.twins == "newest", config.wanted()
    return Table(
        rows=rows(twins_newest=newest, wanted=wanted),
        all=everything,
        classes=config.clouds.classes,
        polygon=state.polygon,
    )


def _write_table(kind: Format, rows: Table, path: Path) -> None:
    files.make_folder(path.parent, parents=True)
    with files.writing(path, files.temporary(path, _TOKEN)) as file:
        count = kind.write(rows, csv_table.utf8(file) if kind.text else file)
    click.echo(safe(f"wrote {path}: {count:,} rows"))


def _write_out(kind: Format, rows: Table) -> None:
    if hasattr(sys.stdout, "reconfigure"):  # whatever the terminal's encoding is: the table is UTF-8
        sys.stdout.reconfigure(encoding="utf-8", newline="")
    kind.write(rows, sys.stdout)
    sys.stdout.flush()


def _write_collection(state: Ledger, config: Config, folder: Path) -> None:
    from s2async.export import collection  # only here

    written = collection.write(
        table(state, config),
        folder.absolute(),
        output=config.output.folder,
        catalog=config.search.resolve(),
        state=state.id,
    )
    for crop in written.unreadable:
        click.echo(safe(f"{crop} is gone or damaged: left out; s2async verify opens it again"), err=True)
    click.echo(safe(f"wrote {folder / 'collection.json'}: {written.items:,} items"))
