"""The command sandbox: generated scenes for tests and trials, of the nine parks or of a configuration's areas."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import click

from s2async import files
from s2async.areas import loader as area_files
from s2async.catalog.periods import LAUNCH
from s2async.catalog.providers import KNOWN
from s2async.cli import console
from s2async.config import toml as toml_files
from s2async.config.model import Config
from s2async.config.sections import FORMER_NAMES
from s2async.config.types import Period
from s2async.errors import ConfigError, LocalError
from s2async.sandbox.settings import toml
from s2async.sandbox.world import dense, make, plots
from s2async.sandbox.world.archives import C1, COLLECTIONS, L2A
from s2async.sandbox.world.assets import ASSETS, NAMES, SCL, VISUAL
from s2async.sandbox.world.make import World
from s2async.text import one_line, safe

ATTRIBUTION: Final = "synthetic data of the s2async sandbox, {year}"
"""Source of the pixels, for the tags of crops; ``{year}`` stands for the year of sensing."""
_HEAD: Final = "# Written by s2async sandbox"
"""Start of a configuration that may be overwritten."""


def run_sandbox(
    folder: Path | None,
    *,
    config: Path | None,
    port: int,
    delay: float,
    bandwidth: float | None,
    areas: Path | None,
    fields: int | None,
    items: int | None,
    quiet: bool,
) -> None:
    """Generate missing scenes, and serve the scenes in this process until it is stopped.

    Args:
        folder: folder for the scenes; None for a folder in the user's cache.
        config: configuration with the areas, assets and period of the scenes; None for the nine parks in 2022.
        port: port of the server; 0 for any free port.
        delay: simulated round-trip time, in milliseconds.
        bandwidth: limit for all connections together, in Mbit/s.
        areas: without a configuration: file of areas to generate scenes for; None for the nine parks.
        fields: without a configuration: number of dense fields to generate, with scenes for them.
        items: number of dates to generate; None for the whole period.
        quiet: print only failures.

    Raises:
        ConfigError: the configuration cannot be used, or the scenes would take too much space.
        LocalError: the scenes cannot be written, or the port is in use.
    """
    from s2async.sandbox.server import serving  # a demo runs it in another process, and does not import it

    serving.check_port(port)
    notice = partial(console.tell, console.standard_error(), quiet=quiet)
    build = partial(make.make_world, items=items, progress=printer(quiet))
    serve = partial(serving.serve, port=port, delay=delay, bandwidth=bandwidth)
    if fields is not None and (config or areas):
        raise ConfigError("--fields generates areas: it excludes CONFIG and --areas")
    if config is None:
        if fields is not None:
            world = _dense(folder or dense.default_place(), fields, items, quiet=quiet)
        elif areas is not None:
            named = [(area.name, area.polygon) for area in area_files.read(areas, on_notice=notice)]
            world = build(folder or make.default_folder(), areas=named)
        else:
            world = build(folder or make.default_folder())

        def ready(origin: str) -> None:
            serving.announce(origin)
            if not quiet:
                click.echo(f"for a configuration:\n{lines_for(origin, {SCL: SCL, VISUAL: VISUAL})}", err=True)

        serve(world.folder, ready=ready)
        return
    if areas is not None:
        raise ConfigError("--areas and CONFIG exclude each other: the scenes are for the areas of CONFIG")
    settings, now = Config.load(config), datetime.now(UTC)
    settings.check_period(now)
    trial = Trial.of(settings, config)
    world = build(
        folder or _cache(config),
        areas=[(area.name, area.polygon) for area in area_files.load(settings, notice)],
        assets=trial.served,
        period=days_of(settings.search.period, today=now.date()),
        collections=[trial.collection],
    )
    serve(world.folder, ready=partial(_announce, trial, world, quiet=quiet))


def _dense(place: Path, fields: int, items: int | None, *, quiet: bool) -> World:
    """Generate scenes of dense fields, and a file of these fields next to them."""
    if fields > plots.MOST:
        raise ConfigError(f"--fields {fields}: the sandbox has room for {plots.MOST:,} fields at most")
    tell = printer(quiet)
    path = dense.dataset(place, fields)
    tell(f"{fields:,} fields are in {path}; their scenes are of {dense.PERIOD[0]} to {dense.PERIOD[1]}")
    return dense.scenes(place, items=items, progress=tell)


# ---- the trial --------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """A trial of a configuration on generated scenes, with a copy of it that uses them.

    The copy prevents crops of the sandbox from being written to the folder and state of the real crops.
    """

    path: Path
    """Path of the copy, next to the configuration."""
    source: Path
    """The configuration, as the user wrote it."""
    settings: Mapping[str, Any]
    """The settings as in the configuration's file."""
    assets: Mapping[str, str]
    """The assets that a run reads: maps keys of the configuration to those of the sandbox."""
    collection: str
    """Collection of the sandbox: that of the configuration, if the sandbox has it."""

    @classmethod
    def of(cls, config: Config, path: Path) -> Trial:
        """Plan the trial of a configuration.

        Raises:
            ConfigError: the configuration is itself such a copy, the path of the copy is taken by another file, or
                the sandbox lacks an asset.
        """
        copy = path.with_name(f"{path.stem}-sandbox.toml")
        if _is_copy(path):
            raise ConfigError(f"{path} is for a trial already; name the configuration that it was made from")
        if copy.exists() and not _is_copy(copy):
            raise ConfigError(f"{copy} exists and is not from the sandbox: it is left unchanged; rename it")
        source, _ = toml_files.renamed(toml_files.read(path), FORMER_NAMES)
        named = config.search.resolve().collection
        collection = named if named in COLLECTIONS else L2A
        return cls(path=copy, source=path, settings=source.data, assets=_assets(config), collection=collection)

    @property
    def served(self) -> tuple[str, ...]:
        """Assets of the sandbox that its items have: those that a run reads, and the one that a report shows."""
        return tuple(dict.fromkeys((*self.assets.values(), VISUAL)))

    def text(self, origin: str) -> str:
        """Return the copy for a sandbox at an origin."""
        folder = self.path.stem
        sections = {name: dict(self.settings.get(name, {})) for name in ("search", "output", "run")}
        sections["run"].pop("log", None)
        changed = {
            "search": sections["search"] | {"catalog": catalog_at(origin, self.assets, self.collection)},
            "output": sections["output"] | {"folder": folder},
            "run": sections["run"] | {"state": f"{folder}/state.sqlite"},
            "network": {"origins": [origin]},
        }
        about = f"{_HEAD} from {one_line(self.source.name)}: its areas and settings, with synthetic scenes.\n"
        return (
            f"{about}# It is written again when the sandbox starts again.\n{toml(**{**self.settings, **changed})}"
        )


def catalog_at(origin: str, assets: Mapping[str, str], collection: str = L2A) -> dict[str, Any]:
    """Return the catalogue of a sandbox, as a configuration describes it.

    Args:
        origin: origin of the sandbox.
        assets: maps keys of the configuration to those of the sandbox.
        collection: collection of the sandbox.
    """
    about = {"url": f"{origin}/v1", "collection": collection, "assets": dict(assets)}
    return about | {"attribution": ATTRIBUTION, "offsets": {L2A: "earth-search", C1: "esa"}[collection]}


def lines_for(origin: str, assets: Mapping[str, str], collection: str = L2A) -> str:
    """Return the lines of two sections that a configuration needs for a sandbox; arguments as for `catalog_at`."""
    return toml(search={"catalog": catalog_at(origin, assets, collection)}, network={"origins": [origin]})


def _is_copy(path: Path) -> bool:
    with files.local_errors("read", path):
        return path.read_bytes().startswith(_HEAD.encode())


def _assets(config: Config) -> dict[str, str]:
    """Map the keys of the assets that a run reads to those of the sandbox.

    The sandbox has the keys of Earth Search. The user's catalogue may use any names for assets; Earth Search is
    the reference, and a key that works here must work there.

    Raises:
        ConfigError: the sandbox or Earth Search lacks an asset.
    """
    selection, catalog = config.selection(), config.search.resolve()
    found = {}
    bands = selection.values.bands if selection.values else ()
    for key in dict.fromkeys((*selection.measured, *selection.assets, *bands)):
        # other catalogues have names such as B04 or B04_10m
        name = re.sub(r"_[126]0m$", "", catalog.assets.get(key, key))
        if catalog.name in KNOWN and key not in ASSETS and name in NAMES:
            raise ConfigError(
                f"{config.place('output', 'assets')}: the catalogue {catalog.name} has no asset "
                f'"{one_line(key)}": there it is "{NAMES[name]}"; it has {", ".join(ASSETS)}'
            )
        if name not in NAMES:
            raise ConfigError(
                f'{config.place("output", "assets")}: the sandbox has no asset "{one_line(key)}"; '
                f"it has {', '.join(ASSETS)}"
            )
        found[key] = NAMES[name]
    return found


def days_of(period: Period, *, today: date) -> tuple[date, date]:
    """Return the first and last day of a period.

    An open end becomes the end of the previous month, so that the scenes stay the same within a month.

    Args:
        period: period of the configuration.
        today: the current day, UTC.
    """
    first = (period.start or LAUNCH).date()
    if period.end is not None:
        return first, (period.end - timedelta(microseconds=1)).date()
    before = today.replace(day=1) - timedelta(days=1)
    return first, before if before > first else today


def _cache(config: Path) -> Path:
    """Return the folder for the scenes of a configuration."""
    digest = hashlib.sha256(os.fsencode(config.absolute())).hexdigest()[:12]
    return make.default_folder().with_name(f"sandbox-{digest}")


def _announce(trial: Trial, world: World, origin: str, *, quiet: bool) -> None:
    """Print how to use the sandbox, and write the copy of the configuration; the lines go to standard output."""
    tell = printer(quiet)
    tell(f"{world.items:,} synthetic scenes at {origin}/v1; their files are in {world.folder}")
    click.echo(_safe_lines(lines_for(origin, trial.assets, trial.collection)))
    try:
        files.replace(trial.path, trial.text(origin).encode())
    except LocalError as error:
        tell(f"{error}: add the lines above to a copy of {trial.source} with another folder and state")
        return
    tell(f"wrote {trial.path}: a copy of {trial.source} with these lines; its results go to {trial.path.stem}")
    tell(f"next, in another terminal: s2async run {shlex.quote(str(trial.path))}; to stop the sandbox: Ctrl-C")


def _safe_lines(text: str) -> str:
    """Return lines of text, each as it may be printed on a terminal."""
    return "\n".join(map(safe, text.splitlines()))


def printer(quiet: bool) -> Callable[[str], None]:
    """Return a function that prints a line to standard error, unless only failures are printed."""

    def tell(text: str) -> None:
        if not quiet:
            click.echo(safe(text), err=True)

    return tell
