"""The command line: arguments to settings, and every ending to an exit code."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os.path
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from s2async import files
from s2async._version import __version__
from s2async.areas import loader as area_files
from s2async.cli import bugs, console, export, heartbeat, maintenance, plan, report
from s2async.cli import status as summary
from s2async.cli.log_options import LogChoice, log_options
from s2async.cli.options import FiniteRange
from s2async.cli.signals import Stop
from s2async.config.example import EXAMPLE, with_areas, with_folder
from s2async.config.model import Config
from s2async.engine import pipeline
from s2async.engine.progress import Progress, Summary
from s2async.errors import (
    AreaError,
    ConfigError,
    HostParked,
    LocalError,
    RemoteError,
    S2AsyncError,
    StateError,
    StateInUse,
)
from s2async.maintenance import owners
from s2async.maintenance.guards import check_state, opened
from s2async.state.reader import Ledger
from s2async.state.writer import State
from s2async.text import safe

EXIT_CODES = """
\b
Exit codes:
  0        all done; files that do not exist are an answer, not an error
  2        the command, the config or the areas cannot be used, nothing can be read before a
           setting is mended, or the state is another's or away
  3        finished, but some jobs failed, a search is incomplete, or next to nothing was there
  4        the state is in use by another run
  5        the state cannot be used: damaged, or newer than this program
  6        stopped by this machine (disk full, read-only, too little memory); run again to go on
  70       a bug of this program; a file holds what its report needs
  130, 143 interrupted (Ctrl-C, SIGTERM); run again to go on
"""
CONFIG = click.Path(path_type=Path)
NEW_OBJECTS = 20_000
"""Objects that may come up before the collector looks for cycles: at the usual 700 that takes 3 % of a run."""


def verbosity(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options -v and -q, before or after the command's name."""

    def note(context: click.Context, parameter: click.Parameter, value: bool) -> None:
        told = context.ensure_object(dict)
        told[parameter.name] = value or told.get(parameter.name, False)
        if told.get("verbose") and told.get("quiet"):
            raise click.UsageError("-v and -q contradict each other")

    for name, text in (("quiet", "Tell failures only."), ("verbose", "Tell every outcome.")):
        names = f"-{name[0]}", f"--{name}"
        command = click.option(*names, is_flag=True, expose_value=False, callback=note, help=text)(command)
    return command


@click.group(epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="s2async")
@verbosity
def cli() -> None:
    """Cloud-free Sentinel-2 pictures of many small places.

    s2async searches a STAC API for the scenes over your areas, reads only the bytes under each polygon,
    keeps the pictures without clouds, and goes on where it was when it is stopped.

    \b
    Try it without internet:   s2async demo
    Start with your own:       s2async init config.toml
                               s2async run config.toml
    """


@cli.command()
@click.argument("file", default="config.toml", type=CONFIG)
@click.option("--areas", metavar="FILE", help="Your areas: GeoJSON, CSV with a wkt column, or any vector file.")
def init(file: Path, areas: str | None) -> None:
    """Write a commented configuration to FILE (config.toml unless said otherwise).

    It watches nine parks of Berlin through the year 2022, or your own areas; put your dates in. Crops and state go
    to the folder data, or to the folder of FILE's name where that is another.

    \b
    Example: s2async init fields.toml --areas fields.geojson
    """
    if areas is not None and not areas.strip():
        raise ConfigError("--areas is empty; name a file, or leave it out for the parks of Berlin")
    files.check_names([file, areas or ""])
    text = EXAMPLE if areas is None else with_areas(_seen_from(file.parent, areas))
    if file.name != "config.toml":
        text = with_folder(text, _own_folder(file))
    try:
        with file.open("x", encoding="utf-8") as out:
            out.write(text)
    except FileExistsError:
        raise ConfigError(f"{file} exists already; name another file") from None
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror}; name another file") from None
    _tell_of_areas(file)
    click.echo(f"wrote {file}; next: s2async run {file}")


@cli.command()
@click.argument("config", type=CONFIG)
@click.option("--limit", type=click.IntRange(min=1), help="Work on this many jobs at most, for a trial.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.option("--yes", is_flag=True, help="Do not ask, however large the run is.")
@click.option("--new-state", is_flag=True, help="Start anew where the former state is away.")
@log_options
@verbosity
@click.pass_context
def run(
    context: click.Context,
    config: Path,
    limit: int | None,
    as_json: bool,
    yes: bool,
    new_state: bool,
    log: LogChoice,
) -> int:
    """Search, check, crop and save what CONFIG asks for.

    Goes on where an earlier run stopped, however it stopped; a finished job costs search requests only.

    \b
    Example: s2async run config.toml
             s2async run config.toml --limit 20
    """
    again = f"s2async run {shlex.quote(str(config))}{' --yes' * yes}"
    settings = Config.load(config)
    with log.writing(settings, verbose=context.obj["verbose"]):
        return run_config(
            settings, again, limit=limit, as_json=as_json, yes=yes, new_state=new_state, **context.obj
        )


@cli.command()
@click.argument("config", type=CONFIG)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def status(config: Path, as_json: bool) -> None:
    """Tell how far CONFIG is: jobs by area, bytes, searches, failures. Also while a run is going on.

    The table shows 30 areas and the sums; JSON has them all.

    \b
    Example: s2async status config.toml
             s2async status config.toml --json | jq .jobs
    """
    settings = Config.load(config)
    with opened(settings) as state:
        if as_json:
            print(json.dumps(summary.as_json(state, settings), indent=2), flush=True)
        else:
            summary.show_status(console.standard_output(), state, settings)


@cli.command()
@click.argument("config", type=CONFIG)
@click.option("--missing", is_flag=True, help="Also jobs of which files did not exist.")
def retry(config: Path, missing: bool) -> None:
    """Open the failed jobs of CONFIG again; the next run works on them.

    \b
    Example: s2async retry config.toml && s2async run config.toml
    """
    settings = Config.load(config)
    check_state(settings)
    with State.create_or_open(settings.run.state) as state:
        owners.check(settings, state)
        opened = state.retry(missing=missing)
    click.echo(f"{opened:,} jobs are open again; next: s2async run {shlex.quote(str(config))}")


@cli.command("demo")
@click.option(
    "--folder",
    default=Path("s2async-demo"),
    type=click.Path(path_type=Path, file_okay=False),
    show_default=True,
    help="Where config, crops and state go.",
)
@verbosity
@click.pass_context
def demo_command(context: click.Context, folder: Path) -> int:
    """Do the main job without internet: nine parks of Berlin, one year, on generated scenes.

    Starts the sandbox in its own process (its scenes are made on the first start, in a minute or less), writes a
    configuration into the folder, and runs it.

    \b
    Example: s2async demo --folder /tmp/demo
    """
    from s2async.cli import demo  # the sandbox is only loaded where it is used

    with demo.prepared(folder, tell=_teller(context.obj["quiet"])) as config:
        again = f"s2async demo --folder {shlex.quote(str(folder))}"
        return run_config(Config.load(config), again, **context.obj)


@cli.command()
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), help="Where its scenes are kept.")
@click.option("--port", default=8722, type=click.IntRange(0, 65535), show_default=True, help="0: any free one.")
@click.option("--delay", default=0.0, type=FiniteRange(min=0), help="Round trip to pretend, milliseconds.")
@click.option("--bandwidth", type=FiniteRange(min=0.1), help="Limit of all connections, Mbit/s.")
@click.option("--areas", "areas_file", type=CONFIG, help="Areas to make scenes for, instead of the nine parks.")
@click.option("--items", type=click.IntRange(min=1), help="How many dates to make, instead of a year.")
@click.pass_context
def sandbox(
    context: click.Context,
    folder: Path | None,
    port: int,
    delay: float,
    bandwidth: float | None,
    areas_file: Path | None,
    items: int | None,
) -> None:
    """Serve a STAC API and COGs of generated scenes on this machine, until stopped.

    For tests, benchmarks and trials: nothing of it is a real picture.

    \b
    Example: s2async sandbox --delay 100 --bandwidth 1000
    """
    from s2async.cli import demo  # the sandbox is only loaded where it is used

    quiet = context.obj["quiet"]
    told = partial(console.tell, console.standard_error(), quiet=quiet)
    demo.serve(
        folder,
        port=port,
        delay=delay,
        bandwidth=bandwidth,
        areas=area_files.read(areas_file, on_notice=told) if areas_file else None,
        items=items,
        tell=_teller(quiet),
    )


for added in (plan.plan, export.export, report.report, *maintenance.COMMANDS):
    cli.add_command(added)


def run_config(
    config: Config,
    again: str,
    *,
    limit: int | None = None,
    as_json: bool = False,
    yes: bool = False,
    new_state: bool = False,
    verbose: bool = False,
    quiet: bool = False,
) -> int:
    """Run a configuration on the terminal, and return the exit code.

    Args:
        config: settings.
        again: the command that goes on when this run is stopped.
        limit: most jobs to work on.
        as_json: print the summary as JSON.
        yes: do not ask before a large run.
        new_state: start anew, also where the former state is away.
        verbose: tell every outcome.
        quiet: tell failures only.
    """
    config.check_period(datetime.now(UTC))
    error = console.standard_error()
    areas = area_files.load(config, partial(console.tell, error, quiet=quiet))
    pipeline.check(config, areas)
    if not quiet:
        error.print(Text(safe(summary.where(areas))), soft_wrap=True)
    new_state = new_state or plan.new_start(config)
    plan.consent(config, areas, limit=limit, yes=yes)
    progress = Progress()
    view = console.RunView(progress, error, verbose=verbose, quiet=quiet)

    def tell_stopped() -> None:
        error.show_cursor()
        view.tell(f"stopped; what was done is kept. To go on: {again}")

    async def work() -> Summary:
        watching = asyncio.create_task(heartbeat.watch(heartbeat.warning(view.warn)))
        try:
            async with view.showing():
                return await pipeline.run(
                    config, areas, limit=limit, new_state=new_state, progress=progress, on_event=view.on_event
                )
        finally:
            watching.cancel()

    gc.freeze()  # modules and settings stay: the collector need not look at them again and again
    gc.set_threshold(NEW_OBJECTS)
    stop = Stop(tell_stopped, lambda: progress.let_go())

    def show(result: Summary) -> None:
        with Ledger.read(config.run.state) as state:
            if as_json:
                print(json.dumps(summary.as_json(state, config, result), indent=2), flush=True)
            elif not quiet:
                summary.show_run(console.standard_output(), state, config, areas, result)

    try:
        result = stop.run(work)
    except HostParked:
        if progress.ended:
            show(progress.ended)
        raise
    if result is None:
        return stop.exit_code
    show(result)
    for alarm in result.alarms:
        view.tell(alarm.text, "red")
    if quiet and not result.clean and not view.told:  # what failed earlier is told by no event of this run
        view.tell(summary.unclean(config, result), "red")
    return result.exit_code


def _own_folder(file: Path) -> str:
    """The folder that a configuration names for its crops: that of its own name, unless that is something else."""
    stem = file.stem
    if not stem.isprintable():  # as what is no UTF-8
        raise ConfigError(f"{file} is no name of a configuration: name another file")
    plain = stem.strip("~. ")
    taken = stem.casefold() in ("data", file.name.casefold()) or os.path.isfile(file.parent / stem)  # noqa: PTH113 - whatever the name
    return stem if stem == plain and not taken else f"{plain or 's2async'}-data"


def _seen_from(folder: Path, file: str) -> str:
    """The name of a file of the current folder as a configuration in another folder must write it."""
    if not Path(file).exists() or Path(file).is_absolute():
        return file
    return Path(os.path.relpath(file, os.path.realpath(folder))).as_posix()


def _tell_of_areas(path: Path) -> None:
    """What a run would say of the areas of a new configuration: it can be mended while one is at it."""
    config = Config.load(path)
    if isinstance(config.areas, Path) and config.areas.is_file():
        try:
            area_files.load(config, partial(console.tell, console.standard_error(), quiet=False))
        except AreaError as error:
            click.echo(f"to be mended before a run: {safe(str(error))}", err=True)


def _teller(quiet: bool) -> Callable[[str], None]:
    def tell(text: str) -> None:
        if not quiet:
            click.echo(safe(text), err=True)

    return tell


def exit_code(error: BaseException) -> int:
    """The exit code of an error, as the help lists them."""
    for kind, code in ((StateInUse, 4), (StateError, 5), (LocalError, 6), (RemoteError, 3), (ConfigError, 2)):
        if isinstance(error, kind):
            return code
    return 2


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the ``s2async`` command."""
    logging.getLogger("rasterio").addHandler(logging.NullHandler())
    logging.getLogger("rasterio").propagate = False
    # as Ctrl-C does, let go of what was begun: a demo's server, the processes that make its scenes
    former = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    watch = bugs.Watch()
    try:
        with watch.listening(), console.patient_streams():
            code = _run_command(arguments)
            if watch.first is not None and code in (0, 3):  # else something told already why it ended
                code = _tell(watch.first)
    except LocalError as error:  # the last words could not be written
        code = _tell(error)
    finally:
        signal.signal(signal.SIGTERM, former)
    sys.exit(code)


def _run_command(arguments: Sequence[str] | None) -> int:
    try:
        code = cli.main(args=arguments, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return 2
    except (click.Abort, KeyboardInterrupt):
        return 130
    except SystemExit:
        raise
    except BaseException as error:  # noqa: BLE001 - nobody is to see how it was led to
        return _tell(error)
    return code if isinstance(code, int) else 0


def _tell(error: BaseException) -> int:
    """Say in one line why a command ends; its exit code."""
    if isinstance(error, UnicodeEncodeError) and error.encoding != "utf-8":
        try:
            files.check_names([error.object])  # an argument, which nobody has checked yet
        except ConfigError as found:
            error = found
    if isinstance(error, S2AsyncError):
        text, code = str(error), exit_code(error)
    else:
        text, code = bugs.tell(error)
    click.echo(f"s2async: {safe(text)}", err=True)
    return code
