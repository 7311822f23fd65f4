"""Arguments, options and help texts of the commands that need no internet access: `demo` and `sandbox`."""

from __future__ import annotations

from pathlib import Path

import click

from s2async.cli import options
from s2async.cli.options import FiniteRange
from s2async.means import loading


@click.command()
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


@click.command()
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
