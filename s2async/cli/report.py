"""The command report: the page that shows what the state knows."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from s2async.areas import loader as area_files
from s2async.cli.log_options import LogChoice, log_options
from s2async.config.model import Config
from s2async.errors import AreaError, ConfigError
from s2async.maintenance.guards import check_target, opened
from s2async.models import Notice
from s2async.text import safe, size

PICTURES = 24


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option(
    "--output",
    "target",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Page to write; report.html beside the crops if unset.",
)
@click.option(
    "--pictures",
    default=PICTURES,
    type=click.IntRange(min=0),
    show_default=True,
    help="Most pictures of one area, newest first.",
)
@click.option(
    "--png",
    "plots_folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the plots alone, as PNG files into this folder.",
)
@log_options
@click.pass_obj
def report(
    told: dict[str, bool],
    config: Path,
    target: Path | None,
    pictures: int,
    plots_folder: Path | None,
    log: LogChoice,
) -> None:
    """Write a page that shows what CONFIG has found: figures, clouds, map, calendars, pictures, failures.

    One HTML file that needs no other and no network. With more than 50 areas each has a page of its own, in a
    folder of the same name beside it. Also while a run is going on.

    \b
    Example: s2async report config.toml
             s2async report config.toml --png plots
    """
    from s2async.report import build  # only here: a run needs nothing of it

    settings = Config.load(config)
    if plots_folder is not None:
        _write_plots(settings, plots_folder)
        return
    page = target or settings.output.folder / "report.html"
    if page.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"{page} is no name of a page; let it end in .html")
    check_target(page, settings)

    def tell(text: str) -> None:
        if not told.get("quiet", False):
            click.echo(safe(text), err=True)

    doubts = _doubts(settings)
    for text in doubts:
        click.echo(safe(text), err=True)
    with opened(settings) as state, log.writing(settings, verbose=told.get("verbose", False)):
        made = build.write(state, settings, page, source=config.name, pictures=pictures, doubts=doubts, tell=tell)
    others = f" and {made.areas:,} pages of areas, {made.new:,} of them new" if made.areas else ""
    click.echo(safe(f"wrote {page} ({size(made.bytes)}){others}"))


def _doubts(settings: Config) -> list[str]:
    """What may be wrong with the places of the areas. They need not be there any more: the state has them."""
    found: list[Notice] = []
    with contextlib.suppress(AreaError):
        area_files.load(settings, found.append)
    return [notice.text for notice in found if notice.grave]


def _write_plots(settings: Config, folder: Path) -> None:
    from s2async.report import plots

    with opened(settings) as state:
        written = plots.write(state, settings, folder)
    names = ", ".join(path.name for path in written)
    click.echo(safe(f"wrote {names} to {folder}" if written else "there is nothing to show yet"))
