"""The command init: a first configuration."""

from __future__ import annotations

import os.path
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import click

from s2async import files
from s2async.areas import loader as area_files
from s2async.areas.loader import Loaded
from s2async.cli import console
from s2async.config.example import EXAMPLE, Setting, with_areas, with_folder, with_settings
from s2async.config.model import Config
from s2async.errors import AreaError, ConfigError
from s2async.text import one_line, safe


def write_config(file: Path, areas: str | None, settings: Mapping[str, Setting]) -> None:
    """Write a commented configuration, and report its areas, or what is wrong with them.

    Args:
        file: the configuration; it must not exist.
        areas: the user's file of areas, relative to the current folder; None for the parks of the example.
        settings: of the areas' file, by key.

    Raises:
        ConfigError: the file exists, cannot be written, or its name or a setting cannot be used.
    """
    if areas is not None and not areas.strip():
        raise ConfigError("--areas is empty; name a file, or leave it out for the parks of Berlin")
    if areas is None and settings:
        raise ConfigError(f"--{next(iter(settings)).replace('_', '-')} needs --areas; name the file of your areas")
    files.check_names([file, areas or ""])
    text = EXAMPLE
    if areas is not None:
        Config.of({"areas": areas, **settings})
        text = with_settings(with_areas(_relative_to(file.parent, areas)), settings)
    if file.name != "config.toml":
        text = with_folder(text, _data_folder(file))
    try:
        with file.open("x", encoding="utf-8") as out:
            out.write(text)
    except FileExistsError:
        raise ConfigError(f"{file} exists already; name another file") from None
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror}; name another file") from None
    _check_areas(file)
    click.echo(f"wrote {file}; next: s2async run {file}")


def _data_folder(file: Path) -> str:
    """The folder for crops and state: the configuration's name without suffix, unless that name is taken."""
    stem = file.stem
    if not stem.isprintable():  # such as bytes that are not UTF-8
        raise ConfigError(f"a configuration cannot have the name {file}; choose another")
    plain = stem.strip("~. ")
    taken = stem.casefold() in ("data", file.name.casefold()) or os.path.isfile(file.parent / stem)  # noqa: PTH113 - whatever the name
    return stem if stem == plain and not taken else f"{plain or 's2async'}-data"


def _relative_to(folder: Path, file: str) -> str:
    """The path of a file in the current folder, as a configuration in another folder must write it."""
    if not Path(file).exists() or Path(file).is_absolute():
        return file
    return Path(os.path.relpath(file, os.path.realpath(folder))).as_posix()


def _check_areas(path: Path) -> None:
    """Print what a run would say about the areas, so that the user can correct it now."""
    config = Config.load(path)
    if not isinstance(config.areas, Path):
        return
    try:
        found = area_files.examine(config, partial(console.tell, console.standard_error(), quiet=False))
    except AreaError as error:
        lines = f"correct this before a run: {error}".split("\n")
        click.echo("\n".join(map(safe, lines)), err=True)
        return
    click.echo(safe(_summary(config, found)))


def _summary(config: Config, found: Loaded) -> str:
    """The number of areas, their names, their CRS and the columns that they carry."""
    names = ", ".join(one_line(area.name) for area in found.areas[: area_files.NAMED])
    more = ", ..." if len(found.areas) > area_files.NAMED else ""
    count = "1 area" if len(found.areas) == 1 else f"{len(found.areas):,} areas"
    columns = f"; columns carried: {one_line(', '.join(found.columns), 200)}" if found.columns else ""
    return f'{count} in {found.crs}, named by "{config.name_field}": {names}{more}{columns}'
