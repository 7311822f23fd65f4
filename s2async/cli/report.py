"""The command report: a page, or plots, about the contents of the state."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from s2async.areas import loader as area_files
from s2async.cli import outdated
from s2async.cli.log_options import LogChoice
from s2async.config.model import Config
from s2async.errors import AreaError, ConfigError
from s2async.events import Notice
from s2async.maintenance.guards import check_target, opened
from s2async.models import Area
from s2async.text import safe, size

if TYPE_CHECKING:
    from s2async.report.build import Made

CROPS: Final = 24
"""Default maximum number of crops of each area that a page shows."""


def write(
    path: Path,
    *,
    target: Path | None,
    crops: int,
    offline: bool,
    plots: Path | None,
    quiet: bool,
    verbose: bool,
    log: LogChoice,
) -> None:
    """Write a page about the results of a configuration, or only its plots.

    Args:
        path: the configuration.
        target: the page; None for ``report.html`` next to the crops.
        crops: maximum number of crops shown for each area.
        offline: download nothing.
        plots: folder for the plots as PNG files, which are written instead of the page.
        quiet: print only the last line and warnings.
        verbose: also log every request.
        log: the log options of the command line.

    Raises:
        ConfigError: the page must not be overwritten, or its name does not end in .html.
    """
    config = Config.load(path)
    if plots is not None:
        _write_plots(config, plots)
        return
    with log.writing(config, verbose=verbose):
        made, page = write_page(config, path.name, target=target, crops=crops, offline=offline, quiet=quiet)
    others = f" and {made.areas:,} pages of areas, {made.new:,} of them new" if made.areas else ""
    click.echo(safe(f"wrote {page} ({size(made.bytes)}){others}"))


def write_page(
    config: Config,
    source: str,
    *,
    target: Path | None = None,
    crops: int = CROPS,
    offline: bool = False,
    quiet: bool,
) -> tuple[Made, Path]:
    """Write a page about the results of a configuration.

    Args:
        config: settings.
        source: name of the configuration, which is shown.
        target: the page; None for ``report.html`` next to the crops.
        crops: maximum number of crops shown for each area.
        offline: download nothing.
        quiet: print only warnings.

    Returns:
        What was written, and the path of the page.

    Raises:
        ConfigError: the page must not be overwritten, or its name does not end in .html.
    """
    from s2async.report import build  # not needed for the plots

    page = target or config.output.folder / "report.html"
    if page.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"{page} is not an HTML page; give it a name that ends in .html")
    check_target(page, config)

    def tell(text: str) -> None:
        if not quiet:
            click.echo(safe(text), err=True)

    areas, doubts = _areas(config)
    with opened(config) as state:
        if areas is not None and (text := outdated.differ(areas, state)):
            doubts.append(text)
        for text in doubts:
            click.echo(safe(text), err=True)
        made = build.write(
            state, config, page, source=source, pictures=crops, doubts=doubts, offline=offline, tell=tell
        )
    return made, page


def _areas(settings: Config) -> tuple[list[Area] | None, list[str]]:
    """Return the areas, and warnings about their positions.

    The file of areas may no longer exist, but the state contains the areas as well.
    """
    areas: list[Area] | None = None
    found: list[Notice] = []
    with contextlib.suppress(AreaError):
        areas = area_files.load(settings, found.append)
    return areas, [notice.text for notice in found if notice.grave]


def _write_plots(settings: Config, folder: Path) -> None:
    from s2async.report import plots  # matplotlib is slow to import, and optional

    with opened(settings) as state:
        written = plots.write(state, settings, folder)
    names = ", ".join(path.name for path in written)
    click.echo(safe(f"wrote {names} to {folder}" if written else "there is nothing to show yet"))
