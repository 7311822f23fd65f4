"""Arguments, options and help texts of the commands before, during and after a run, from `init` to `retry`."""

from __future__ import annotations

from pathlib import Path

import click

from s2async.cli import options
from s2async.cli.log_options import LogChoice, log_options
from s2async.cli.options import FiniteRange
from s2async.means import loading


@click.command()
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


@click.command()
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


@click.command()
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


@click.command()
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


@click.command()
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


@click.command()
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
