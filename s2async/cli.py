"""The command line: arguments to settings, and every ending to an exit code."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.text import Text

import s2async
from s2async import areas as area_files
from s2async import console, pipeline, summary
from s2async.config import EXAMPLE, Config
from s2async.errors import ConfigError, LocalError, RemoteError, S2AsyncError, StateError, StateInUse
from s2async.ledger import Ledger
from s2async.models import Area
from s2async.state import State

EXIT_CODES = """
\b
Exit codes:
  0        all done; files that do not exist are an answer, not an error
  2        the command, the config or the areas cannot be used
  3        finished, but some jobs failed or a search is incomplete
  4        the state is in use by another run
  5        the state cannot be used: damaged, or newer than this program
  6        stopped by this machine (disk full, read-only); run again to go on
  130, 143 interrupted (Ctrl-C, SIGTERM); run again to go on
"""
CONFIG = click.Path(path_type=Path, dir_okay=False)


@click.group(epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(s2async.__version__, prog_name="s2async")
@click.option("-v", "--verbose", is_flag=True, help="Tell every outcome.")
@click.option("-q", "--quiet", is_flag=True, help="Tell failures only.")
@click.pass_context
def cli(context: click.Context, verbose: bool, quiet: bool) -> None:
    """Cloud-free Sentinel-2 pictures of many small places.

    s2async searches a STAC API for the scenes over your areas, reads only the bytes under each polygon,
    keeps the pictures without clouds, and goes on where it was when it is stopped.

    \b
    Try it without internet:   s2async demo
    Start with your own:       s2async init config.toml
                               s2async run config.toml
    """
    if verbose and quiet:
        raise click.UsageError("-v and -q contradict each other")
    context.obj = {"verbose": verbose, "quiet": quiet}


@cli.command()
@click.argument("file", default="config.toml", type=CONFIG)
def init(file: Path) -> None:
    """Write a commented configuration to FILE (config.toml unless said otherwise).

    It watches nine parks of Berlin through the year 2022; put your own areas and dates in.

    \b
    Example: s2async init fields.toml
    """
    try:
        with file.open("x", encoding="utf-8") as out:
            out.write(EXAMPLE)
    except FileExistsError:
        raise ConfigError(f"{file} exists already; name another file") from None
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror}") from None
    click.echo(f"wrote {file}; next: s2async run {file}")


@cli.command()
@click.argument("config", type=CONFIG)
@click.option("--limit", type=click.IntRange(min=1), help="Work on this many jobs at most, for a trial.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.pass_context
def run(context: click.Context, config: Path, limit: int | None, as_json: bool) -> int:
    """Search, check, crop and save what CONFIG asks for.

    Goes on where an earlier run stopped, however it stopped; a finished job costs search requests only.

    \b
    Example: s2async run config.toml
             s2async run config.toml --limit 20
    """
    settings = Config.load(config)
    return run_config(settings, config, limit=limit, as_json=as_json, **context.obj)


@cli.command()
@click.argument("config", type=CONFIG)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def status(config: Path, as_json: bool) -> None:
    """Tell how far CONFIG is: jobs by area, bytes, searches, failures. Also while a run is going on.

    \b
    Example: s2async status config.toml
             s2async status config.toml --json | jq .jobs
    """
    settings = Config.load(config)
    with Ledger.read(settings.run.state) as state:
        if as_json:
            click.echo(json.dumps(summary.as_json(state, settings), indent=2))
        else:
            summary.show_status(console.standard_output(), state, settings)


@cli.command()
@click.argument("config", type=CONFIG)
@click.option("--missing", is_flag=True, help="Also jobs whose files did not exist.")
def retry(config: Path, missing: bool) -> None:
    """Open the failed jobs of CONFIG again; the next run works on them.

    \b
    Example: s2async retry config.toml && s2async run config.toml
    """
    settings = Config.load(config)
    if not settings.run.state.exists():
        raise ConfigError(f"no state at {settings.run.state}; nothing has been run yet")
    with State.create_or_open(settings.run.state) as state:
        opened = state.retry(missing=missing)
    click.echo(f"{opened:,} jobs are open again; next: s2async run {config}")


@cli.command("demo")
@click.option(
    "--folder",
    default=Path("s2async-demo"),
    type=click.Path(path_type=Path, file_okay=False),
    show_default=True,
    help="Where config, crops and state go.",
)
@click.pass_context
def demo_command(context: click.Context, folder: Path) -> int:
    """Do the main job without internet: nine parks of Berlin, one year, on generated scenes.

    Starts the sandbox in its own process (its scenes are made on the first start, in a minute or less), writes a
    configuration into the folder, and runs it.

    \b
    Example: s2async demo --folder /tmp/demo
    """
    from s2async import demo  # the sandbox is only loaded where it is used

    with demo.prepared(folder, tell=_teller(context.obj["quiet"])) as config:
        return run_config(Config.load(config), config, **context.obj)


@cli.command()
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), help="Where its scenes are kept.")
@click.option("--port", default=8722, type=click.IntRange(0, 65535), show_default=True, help="0: any free one.")
@click.option("--delay", default=0.0, type=click.FloatRange(min=0), help="Round trip to pretend, milliseconds.")
@click.option("--bandwidth", type=click.FloatRange(min=0.1), help="Limit of all connections, Mbit/s.")
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
    from s2async.sandbox import server, world

    found = area_files.read(areas_file) if areas_file else None
    named = [(area.name, area.polygon) for area in found] if found else None
    made = world.make_world(
        folder or world.default_folder(), areas=named, items=items, progress=_teller(context.obj["quiet"])
    )
    server.serve(made.folder, port=port, delay=delay, bandwidth=bandwidth)


def run_config(
    config: Config,
    path: Path,
    *,
    limit: int | None = None,
    as_json: bool = False,
    verbose: bool = False,
    quiet: bool = False,
) -> int:
    """Run a configuration on the terminal, and return the exit code."""
    areas = area_files.load(config)
    error = console.standard_error()
    if not quiet:
        error.print(Text(console.safe(summary.where(areas))), soft_wrap=True)
    progress = pipeline.Progress()
    view = console.RunView(progress, error, verbose=verbose, quiet=quiet)
    stopped_by, result = _until_stopped(config, areas, limit, progress, view)
    if result is None:
        error.print(Text(f"stopped; what was done is kept. To go on: s2async run {path}"), soft_wrap=True)
        return 128 + stopped_by
    with Ledger.read(config.run.state) as state:
        if as_json:
            click.echo(json.dumps(summary.as_json(state, config, result), indent=2))
        elif not quiet:
            summary.show_run(console.standard_output(), state, config, areas, result)
    return 0 if result.clean else 3


def _until_stopped(
    config: Config,
    areas: Sequence[Area],
    limit: int | None,
    progress: pipeline.Progress,
    view: console.RunView,
) -> tuple[int, pipeline.Summary | None]:
    """Run until the end, or until a signal: the first one stops in order, a second one at once."""
    received: list[int] = []

    async def main() -> pipeline.Summary | None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()

        def on_signal(number: int) -> None:
            if received:
                os._exit(128 + number)
            received.append(number)
            if task:
                task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                loop.add_signal_handler(number, on_signal, number)
            except NotImplementedError:  # Windows: Ctrl-C comes as KeyboardInterrupt
                signal.signal(number, lambda got, _: loop.call_soon_threadsafe(on_signal, got))
        try:
            async with view.showing():
                return await pipeline.run(config, areas, limit=limit, progress=progress, on_event=view.on_event)
        except asyncio.CancelledError:
            if not received:
                raise
            return None

    result = asyncio.run(main())
    return (received[0] if received else 0), result


def _teller(quiet: bool) -> Any:
    def tell(text: str) -> None:
        if not quiet:
            click.echo(console.safe(text), err=True)

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
    try:
        code = cli.main(args=arguments, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = 2
    except (click.Abort, KeyboardInterrupt):
        code = 130
    except S2AsyncError as error:
        click.echo(f"s2async: {console.safe(str(error))}", err=True)
        code = exit_code(error)
    except BrokenPipeError:  # the reader of our output has gone, as in `s2async status | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code if isinstance(code, int) else 0)
