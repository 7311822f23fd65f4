"""Arguments, options and help texts of the commands that handle saved crops, from `export` to `rebuild`."""

from __future__ import annotations

from pathlib import Path

import click

from s2async.cli import options
from s2async.cli.log_options import LogChoice, log_options
from s2async.means import loading


@click.command()
@options.config
@click.option(
    "--format",
    "name",
    type=click.Choice(["csv", "geojson", "parquet", "stac"]),
    required=True,
    help="Output format.",
)
@click.option(
    "--all", "everything", is_flag=True, help="Include every job with its status and reason, not only saved crops."
)
@click.option("--values", is_flag=True, help="Write the table of values (csv or parquet) instead.")
@click.option(
    "--wide", is_flag=True, help="With --values: one row for each area and date, columns such as NDVI_mean."
)
@click.option(
    "-o",
    "--output",
    "target",
    type=click.Path(path_type=Path, allow_dash=True),
    help="File to write (- for standard output), or folder for the STAC collection.",
    show_default="next to the crops",
)
def export(config: Path, name: str, everything: bool, values: bool, wide: bool, target: Path | None) -> None:
    """Write the saved crops of CONFIG as a table or a STAC collection.

    A crop is one asset of one area in one scene. A table has one row for each crop; geojson and parquet
    (GeoParquet) include the polygon of its area. stac writes collection.json and one item for each area and
    scene. With --values, the table has one row for each area, date, and band or index instead. Can be used while a
    run is in progress.

    \b
    Example: s2async export config.toml --format parquet
             s2async export config.toml --format csv --all --output - | head
             s2async export config.toml --values --format parquet
    """
    with loading():
        from s2async.cli.export import write

    write(config, name, everything=everything, values=values, wide=wide, target=target)


@click.command()
@options.config
@click.option(
    "--output",
    "target",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Page to write.",
    show_default="report.html next to the crops",
)
@click.option(
    "--crops",
    default=24,
    type=click.IntRange(min=0),
    show_default=True,
    help="Show at most this many crops of each area, newest first.",
)
@click.option(
    "--offline",
    is_flag=True,
    help="Download nothing. Whole scenes that no earlier report has stored are listed as missing.",
)
@click.option("--png", "plots", type=options.FOLDER, help="Write only the plots, as PNG files in this folder.")
@log_options
@click.pass_obj
def report(
    verbosity: dict[str, bool],
    config: Path,
    target: Path | None,
    crops: int,
    offline: bool,
    plots: Path | None,
    log: LogChoice,
) -> None:
    """Write an HTML page about the results of CONFIG.

    The page shows key figures, cloud cover, a map, calendars, curves of values, crops and failures, and works
    without other files or a network connection. It also shows two whole scenes next to crops from them; the first
    report downloads a few megabytes for these. With more than 50 areas, each area has a page of its own, in a
    folder next to the main page. Can be used while a run is in progress.

    \b
    Example: s2async report config.toml
             s2async report config.toml --png plots
    """
    with loading():
        from s2async.cli.report import write

    write(config, target=target, crops=crops, offline=offline, plots=plots, log=log, **verbosity)


@click.command()
@options.config
@options.dry_run
def verify(config: Path, dry_run: bool) -> int:
    """Check the saved crops of CONFIG; the next run replaces bad ones.

    A crop is bad if its file is missing, if its size, hash or tags differ from the state, or if its pixels cannot
    be decoded. Exits with 3 if there are any bad crops, otherwise with 0.

    \b
    Example: s2async verify config.toml --dry-run
    """
    with loading():
        from s2async.cli import maintenance

    return maintenance.verify(config, dry_run=dry_run)


@click.command()
@options.config
@options.dry_run
@click.option(
    "--removed",
    is_flag=True,
    help="Instead, remove what no longer belongs to any area: crops and records of areas that are no longer in "
    "CONFIG, and of days outside their seasons. Asks for confirmation.",
)
@click.option("--yes", is_flag=True, help="With --removed: do not ask for confirmation.")
@click.option("-v", "--verbose", is_flag=True, help="List every file, not only folders with counts and bytes.")
@click.pass_obj
def prune(verbosity: dict[str, bool], config: Path, dry_run: bool, removed: bool, yes: bool, verbose: bool) -> int:
    """Remove saved crops of CONFIG that are no longer used.

    Without --removed, these are crops that are no longer clear under the limits of the last run, and crops for
    which another scene is now used. Only files that are exactly as a run wrote them are removed. overview.csv is
    rewritten, and so is the STAC collection next to the crops if there is one.

    \b
    Example: s2async prune config.toml --dry-run
             s2async prune config.toml --removed
    """
    with loading():
        from s2async.cli import maintenance

    verbose |= verbosity["verbose"]
    return maintenance.prune(config, dry_run=dry_run, removed=removed, yes=yes, verbose=verbose)


@click.command()
@options.config
def rebuild(config: Path) -> int:
    """Recreate a lost or damaged state of CONFIG from its crops.

    The tags of the crops hold what the state needs. A damaged state is moved aside; one that can be read is never
    replaced. Crops that are damaged, or whose outline differs from that of their area, are listed and left in
    place. The next run repeats the searches and the cloud checks, but does not download the crops again.

    \b
    Example: s2async rebuild config.toml && s2async run config.toml
    """
    with loading():
        from s2async.cli import maintenance

    return maintenance.rebuild(config)
