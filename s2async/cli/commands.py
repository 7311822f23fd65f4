"""What a user can type: every command with its arguments, options and help text.

Only click is imported here, so that help, shell completion and wrong arguments take no time. Each command imports
the module that does its work when it is invoked.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from s2async._version import __version__
from s2async.cli import options
from s2async.cli.log_options import LogChoice, log_options
from s2async.cli.options import FiniteRange
from s2async.means import loading

EXIT_CODES: Final = """
\b
Exit codes:
  0        done; files that do not exist on the server do not count as errors
  2        the command, the configuration or the areas cannot be used; a setting must be corrected
           before anything can be read; or the state is missing or belongs to another configuration
  3        finished, but some jobs failed, a search is incomplete, or almost no files were available
  4        another run is using the state
  5        the state cannot be used: it is damaged, or was written by a newer version
  6        stopped because of a problem on this machine (disk full or read-only, too little memory);
           run again to resume
  7        stopped because the Dask scheduler did not respond, or stopped responding;
           run again to resume
  70       a bug in s2async; the details for a bug report are written to a file
  130, 143 interrupted (Ctrl-C, SIGTERM); run again to resume
"""


@click.group(epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="s2async")
@options.verbosity
def cli() -> None:
    """Download cloud-free Sentinel-2 crops of many small areas.

    s2async searches a STAC API for scenes that cover your areas, reads only the parts of images that show them,
    saves the crops that are free of clouds, and resumes where it stopped.

    \b
    Try it without internet access:  s2async demo
    Start with your own areas:       s2async init config.toml
                                     s2async run config.toml
    """


# ---- the work ---------------------------------------------------------------------------------------------


@cli.command()
@click.argument("file", default="config.toml", type=options.FILE)
@click.option(
    "--areas", metavar="FILE", help="Your areas: GeoJSON, CSV, KML, GeoParquet, or any other vector file."
)
@click.option("--name-field", metavar="NAME", help="Field or column that contains the names of the areas.")
@click.option(
    "--crs", metavar="CODE", help="CRS of the areas, such as EPSG:25833, if the file does not specify one."
)
@click.option("--layer", metavar="NAME", help="Layer of the file, if it has several.")
@click.option("--encoding", metavar="NAME", help="Encoding of the file's text, such as cp1252.")
@click.option(
    "--invalid",
    type=click.Choice(["refuse", "skip", "repair"]),
    help="What to do with areas that cannot be used.",
)
@click.option(
    "--buffer",
    type=FiniteRange(min=0, min_open=True),
    metavar="METRES",
    help="Distance by which to enlarge the areas.",
)
@click.option("--columns", metavar="A,B", help="Columns of the file to include in tables and exports.")
@click.option(
    "--values",
    metavar="NDVI,red",
    help="Indices and bands whose values a run computes for every area and date, instead of saving crops.",
)
def init(file: Path, areas: str | None, values: str | None, **settings: str | float | None) -> None:
    """Write a commented configuration to FILE (default: config.toml).

    The configuration covers nine parks in Berlin in the year 2022, or your own areas with --areas; change the
    dates as needed. The areas are read immediately, and any problems with them are reported. Crops and state go to
    the folder data, or, if FILE is not named config.toml, to a folder named after FILE.

    With --values, FILE configures a table of values instead of crops. Give indices by their names in the Awesome
    Spectral Indices catalogue, and bands by their keys, such as red. To save crops as well, set assets in FILE.

    \b
    Exit codes:
      0  FILE was written; a run can use all areas
      2  no area can be used, and nothing was written: correct the command and repeat it; or FILE was
         written, but some areas cannot be used: correct them, or change the setting invalid in FILE

    \b
    Example: s2async init fields.toml --areas fields.geojson
             s2async init fields.toml --areas fields.gpkg --values NDVI,EVI
             s2async init farm.toml --areas farm.gpkg --layer fields --name-field fid
             s2async init wells.toml --areas wells.csv --buffer 50
    """
    with loading():
        from s2async.cli.init import write_config

    given: dict[str, str | float | list[str]] = {
        key: value for key, value in settings.items() if value is not None
    }
    if isinstance(columns := given.get("columns"), str):
        given["columns"] = _names(columns)
    write_config(file, areas, given, None if values is None else _names(values))


def _names(text: str) -> list[str]:
    """Names that commas separate."""
    return [name.strip() for name in text.split(",") if name.strip()]


@cli.command()
@options.config
@options.as_json
@log_options
@click.pass_obj
def check(verbosity: dict[str, bool], config: Path, as_json: bool, log: LogChoice) -> int:
    """Check whether a run of CONFIG can start.

    Tests the configuration, the areas, the disk and the resource limits of this machine, the proxy and TLS, and
    sends about ten requests: some to the catalogue (including a search for items over the areas), the others for
    the header and one block of each requested asset. Marks each result as right, odd (a run can start, but with a
    limitation) or wrong, and says what to do. Nothing is stored. You can attach the JSON output to a bug report:
    it contains no tokens, user names or home folders.

    \b
    Exit codes: 0 if nothing is wrong, otherwise the code that a run would end with:
      2 configuration or areas, 3 network or catalogue, 6 this machine

    \b
    Example: s2async check config.toml
             s2async check config.toml --json > check.json
    """
    with loading():
        from s2async.cli.check import show_check

    return show_check(config, as_json=as_json, log=log, **verbosity)


@cli.command()
@options.config
@click.option("--limit", type=click.IntRange(min=1), help="Process at most this many jobs, for a trial run.")
@click.option(
    "--max-bytes",
    type=options.SIZE,
    help='Start no new jobs once this run has received this many bytes, for example "2 GB". Jobs in progress are '
    "finished, so the total may be somewhat higher.",
)
@click.option(
    "--max-time",
    type=options.DURATION,
    help='Start no new jobs after this much time, for example "90 min". Jobs in progress are finished.',
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation before a large run.")
@click.option("--new-state", is_flag=True, help="If the old state cannot be reached, start with a new one.")
@click.option(
    "--metrics",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write metrics for Prometheus to FILE every few seconds and at the end, for example "
    "/var/lib/node_exporter/textfile/s2async.prom.",
)
@click.option(
    "--executor",
    type=click.Choice(["local", "dask"]),
    help="Where to read scenes and cut out crops: in this process (the default), or in the workers of a Dask "
    "cluster.",
)
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Scheduler of the Dask cluster, such as tcp://10.0.0.5:8786, or its scheduler file; or "
    "dask://local?workers=4 for worker processes on this machine (without a number, one for each core).",
)
@click.option(
    "--send-crops",
    is_flag=True,
    help="Workers send crops to this process, which writes them. They then need no access to the output folder.",
)
@log_options
@options.verbosity
@click.pass_context
def run(
    context: click.Context,
    config: Path,
    executor: str | None,
    scheduler: str | None,
    send_crops: bool,
    limit: int | None,
    max_bytes: int | None,
    max_time: float | None,
    as_json: bool,
    yes: bool,
    new_state: bool,
    metrics: Path | None,
    log: LogChoice,
) -> int:
    """Find scenes, check the areas for clouds, and save clear crops.

    Resumes where the previous run of CONFIG stopped, however it stopped. Searches are repeated; finished jobs are
    not.

    With --executor dask, the workers of a Dask cluster read scenes and cut out crops; this process searches the
    catalogue and keeps the state. The scheduler and all workers must have the same version of s2async
    (pip install 's2async[dask]'). The workers need access to the file servers and, unless you use --send-crops,
    must see the output folder under the same path. The limit connections in [network] applies to all workers
    together, the limit memory in [run] to each worker. Workers may join and leave at any time. They are sent the
    URLs of files, including signatures, but no API keys: use tls:// if others could read the traffic.

    \b
    Example: s2async run config.toml
             s2async run config.toml --limit 20
             s2async run config.toml --max-bytes "2 GB" --max-time 2h
             s2async run config.toml --executor dask --scheduler tcp://10.0.0.5:8786
    """
    with loading():
        from s2async.cli.run import run_file

    return run_file(
        config,
        executor=executor,
        scheduler=scheduler,
        send_crops=send_crops,
        limit=limit,
        max_bytes=max_bytes,
        max_time=max_time,
        as_json=as_json,
        yes=yes,
        new_state=new_state,
        metrics=metrics,
        log=log,
        **context.obj,
    )


@cli.command()
@options.config
@click.option(
    "--bandwidth",
    default=100.0,
    type=FiniteRange(min=0.1),
    show_default=True,
    help="Bandwidth to assume for the time estimate, in Mbit/s.",
)
@click.option(
    "--connections",
    type=click.IntRange(1, 256),
    help="Concurrent requests to one host to assume for the time estimate.",
    show_default="the setting in CONFIG",
)
@options.as_json
@log_options
@click.pass_obj
def plan(
    verbosity: dict[str, bool],
    config: Path,
    bandwidth: float,
    connections: int | None,
    as_json: bool,
    log: LogChoice,
) -> int:
    """Estimate what a run of CONFIG will find and cost.

    Prints estimates of the numbers of jobs, crops and requests, and of bytes, disk space and time. Each estimate
    is a range; the actual figure may lie outside it if there are unusually many or few clouds. Finished jobs are
    taken into account. Sends search requests only, and writes nothing. Exits with 3 if a search is incomplete.
    Without network access, it prints no estimates and also exits with 3.

    \b
    Example: s2async plan config.toml
             s2async plan config.toml --bandwidth 1000 --json | jq .bytes
    """
    with loading():
        from s2async.cli.plan import show_plan

    return show_plan(config, bandwidth=bandwidth, connections=connections, as_json=as_json, log=log, **verbosity)


@cli.command()
@options.config
@click.option("--areas", is_flag=True, help="Instead, print one line for each area, with its jobs by status.")
@click.option("-v", "--verbose", is_flag=True, help="Print everything, however long it is.")
@options.as_json
@click.pass_obj
def status(verbosity: dict[str, bool], config: Path, areas: bool, verbose: bool, as_json: bool) -> None:
    """Show the progress of CONFIG.

    Prints the totals, problems, traffic, and as many areas and failed jobs as fit on the screen, areas with failed
    jobs first. A job is one area in one scene. Can be used while a run is in progress. The JSON output contains
    every area, and up to 100,000 failed or missing jobs.

    \b
    Example: s2async status config.toml
             s2async status config.toml --areas | grep North
             s2async status config.toml --json | jq .jobs
    """
    with loading():
        from s2async.cli.status import show

    show(config, as_json=as_json, areas=areas, verbose=verbose or verbosity["verbose"])


@cli.command()
@options.config
@click.option("--missing", is_flag=True, help="Also retry jobs whose files did not exist.")
def retry(config: Path, missing: bool) -> None:
    """Retry the failed jobs of CONFIG in the next run.

    \b
    Example: s2async retry config.toml && s2async run config.toml
    """
    with loading():
        from s2async.cli.retry import reopen

    reopen(config, missing=missing)


# ---- results ----------------------------------------------------------------------------------------------


@cli.command()
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


@cli.command()
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


# ---- maintenance ------------------------------------------------------------------------------------------


@cli.command()
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


@cli.command()
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


@cli.command()
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


# ---- without internet access ------------------------------------------------------------------------------


@cli.command()
@click.option(
    "--folder",
    default=Path("s2async-demo"),
    type=options.FOLDER,
    show_default=True,
    help="Folder for configuration, crops and state.",
)
@options.verbosity
@click.pass_context
def demo(context: click.Context, folder: Path) -> int:
    """Try s2async without internet access, on generated scenes.

    Covers nine parks in Berlin for one year. Starts the sandbox in a process of its own, writes a configuration to
    the folder, runs it, writes its report, and prints the mean NDVI of each park and season. The first run
    generates the scenes, which takes about a minute and uses 1.3 GB of disk space in the cache folder.

    \b
    Example: s2async demo --folder /tmp/demo
    """
    with loading():
        from s2async.cli.demo import run_demo

    return run_demo(folder, **context.obj)


@cli.command()
@click.argument("config", required=False, type=options.FILE)
@click.option(
    "--folder", type=options.FOLDER, show_default="in the user's cache", help="Folder for the generated scenes."
)
@click.option(
    "--port",
    default=8722,
    type=click.IntRange(0, 65535),
    show_default=True,
    help="Port to listen on; 0 for any free port.",
)
@click.option("--delay", default=0.0, type=FiniteRange(min=0), help="Simulated round-trip time, milliseconds.")
@click.option("--bandwidth", type=FiniteRange(min=0.1), help="Limit for all connections together, Mbit/s.")
@click.option("--areas", type=options.FILE, help="Areas to generate scenes for, instead of the nine parks.")
@click.option(
    "--fields",
    type=click.IntRange(min=1),
    help="Number of small, closely packed fields to generate, with scenes for them, instead of the nine parks.",
)
@click.option(
    "--items", type=click.IntRange(min=1), help="Number of dates to generate, instead of a full year of them."
)
@click.pass_obj
def sandbox(
    verbosity: dict[str, bool],
    config: Path | None,
    folder: Path | None,
    port: int,
    delay: float,
    bandwidth: float | None,
    areas: Path | None,
    fields: int | None,
    items: int | None,
) -> None:
    """Serve a STAC API and COGs of generated scenes on this machine.

    With CONFIG, generates scenes for its areas, assets and period. Prints the lines to put under [search] and
    [network], and writes a copy of CONFIG with these lines and a different output folder next to it, so that crops
    of generated scenes are never mixed with real ones. Without CONFIG, the scenes are those of "s2async demo".

    With --fields N, a GeoJSON file with N fields, each 100 to 500 m across, is written next to the scenes. 110,000
    of them fill a grid square.

    Runs until you stop it. The scenes are synthetic: they are for tests, benchmarks and trials. They need at most
    2 GB of disk space and are reused next time.

    \b
    Example: s2async sandbox fields.toml
             s2async sandbox --delay 100 --bandwidth 1000
             s2async sandbox --fields 100000
    """
    with loading():
        from s2async.cli.sandbox import run_sandbox

    run_sandbox(
        folder,
        config=config,
        port=port,
        delay=delay,
        bandwidth=bandwidth,
        areas=areas,
        fields=fields,
        items=items,
        quiet=verbosity["quiet"],
    )
