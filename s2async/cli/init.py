"""The command init: a first configuration."""

from __future__ import annotations

import os.path
from functools import partial
from pathlib import Path

import click

from s2async import files
from s2async.areas import loader as area_files
from s2async.cli import console
from s2async.config.example import EXAMPLE, with_areas, with_folder
from s2async.config.model import Config
from s2async.errors import AreaError, ConfigError
from s2async.text import safe


def write_config(file: Path, areas: str | None) -> None:
    """Write a commented configuration, and report what is wrong with its areas.

    Args:
        file: the configuration; it must not exist.
        areas: the user's file of areas, relative to the current folder; None for the parks of the example.

    Raises:
        ConfigError: the file exists, cannot be written, or its name cannot be used.
    """
    if areas is not None and not areas.strip():
        raise ConfigError("--areas is empty; name a file, or leave it out for the parks of Berlin")
    files.check_names([file, areas or ""])
    text = EXAMPLE if areas is None else with_areas(_relative_to(file.parent, areas))
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
    if isinstance(config.areas, Path) and config.areas.is_file():
        try:
            area_files.load(config, partial(console.tell, console.standard_error(), quiet=False))
        except AreaError as error:
            click.echo(f"correct this before a run: {safe(str(error))}", err=True)
