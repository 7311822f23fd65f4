"""The command init: writes a first configuration."""

from __future__ import annotations

import os.path
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import click

from s2async import files
from s2async.areas import loader as area_files
from s2async.areas.edits import told_apart
from s2async.areas.loader import Loaded
from s2async.cli import console, run_summary
from s2async.config.example import EXAMPLE, Setting, with_areas, with_folder, with_settings, with_values
from s2async.config.model import Config
from s2async.config.sections import VALUES_TABLE
from s2async.config.values import bands_and_indices
from s2async.errors import AreaError, ConfigError, UnfitAreas
from s2async.text import one_line, safe


def write_config(
    file: Path, areas: str | None, settings: Mapping[str, Setting], values: Sequence[str] | None = None
) -> None:
    """Write a commented configuration, and report its areas, or what is wrong with them.

    Nothing is written if no area can be used: another setting is needed in this case, and the command can be
    repeated with it. If only some areas cannot be used, the configuration is right, and their file must be
    corrected.

    Args:
        file: the configuration; it must not exist.
        areas: the user's file of areas, relative to the current folder; None for the parks of the example.
        settings: settings for the areas' file, keyed by name.
        values: indices and bands for which a run computes values, instead of saving crops; None for crops.

    Raises:
        AreaError: areas cannot be used; it is an `UnfitAreas` if the configuration was written nevertheless.
        ConfigError: the file exists, cannot be written, or its name or a setting cannot be used.
    """
    if areas is not None and not areas.strip():
        raise ConfigError("--areas is empty; name a file, or leave it out for the parks of Berlin")
    if areas is None and settings:
        raise ConfigError(f"--{next(iter(settings)).replace('_', '-')} needs --areas; name the file of your areas")
    files.check_names([file, areas or ""])
    bands, indices = _wanted(values)
    text = EXAMPLE
    if areas is not None:
        Config.of({"areas": areas, **settings})
        text = with_settings(with_areas(_relative_to(file.parent, areas)), settings)
    text = with_settings(text, {"overlaps": "one"})
    if values is not None:
        text = with_values(with_settings(text, {"assets": []}), indices, bands)
    folder = "data"
    if file.name != "config.toml":
        folder = _data_folder(file)
        text = with_folder(text, folder)
    if os.path.lexists(file):
        raise _exists(file)
    unfit: UnfitAreas | None = None
    if areas is not None:
        try:
            _check_areas(Config.of({"areas": str(_found(file.parent, areas)), **settings}))
        except UnfitAreas as error:
            unfit = error
        except AreaError as error:
            raise AreaError(f"{file} was not written: {error}") from None
    _write(file, text)
    if values is not None:
        table = safe(str(file.parent / folder / VALUES_TABLE))
        click.echo(f"values of {', '.join((*indices, *bands))} for every area and date will be in {table}")
        click.echo("no crops are saved: assets = [] under [output]; name assets there to save them as well")
    if unfit is not None:
        click.echo(f"wrote {file}; next: correct the areas that are listed, then s2async run {file}")
        raise unfit
    click.echo(f"wrote {file}; next: s2async run {file}")


def _wanted(names: Sequence[str] | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the bands and indices among the names of ``--values``.

    Raises:
        ConfigError: there is no name, or a name is unknown.
    """
    if names is None:
        return (), ()
    if not names:
        raise ConfigError("--values is empty; name indices or bands, such as NDVI or red, or leave it out")
    try:
        return bands_and_indices(names)
    except ValueError as error:
        raise ConfigError(f"--values: {error}") from None


def _write(file: Path, text: str) -> None:
    try:
        with file.open("x", encoding="utf-8") as out:
            out.write(text)
    except FileExistsError:
        raise _exists(file) from None
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror}; name another file") from None


def _exists(file: Path) -> ConfigError:
    return ConfigError(f"{file} exists already; name another file")


def _data_folder(file: Path) -> str:
    """Return the folder for crops and state: the configuration's name without suffix, unless it is taken."""
    stem = file.stem
    if not stem.isprintable():  # such as bytes that are not UTF-8
        raise ConfigError(f"a configuration cannot have the name {file}; choose another")
    plain = stem.strip("~. ")
    taken = stem.casefold() in ("data", file.name.casefold()) or os.path.isfile(file.parent / stem)  # noqa: PTH113 - even if the path is not valid
    return stem if stem == plain and not taken else f"{plain or 's2async'}-data"


def _relative_to(folder: Path, file: str) -> str:
    """Return the path of a file in the current folder for a configuration in another folder."""
    if not Path(file).exists() or Path(file).is_absolute():
        return file
    return Path(os.path.relpath(file, os.path.realpath(folder))).as_posix()


def _found(folder: Path, file: str) -> Path:
    """Return where a file is: in the current folder, or otherwise in that of the configuration.

    Raises:
        AreaError: the file is in neither.
    """
    for path in (Path(file), Path(os.path.realpath(folder), file)):
        if path.is_file():
            return path
    raise AreaError(f"--areas: no such file: {one_line(file, 200)}; correct the path")


def _check_areas(config: Config) -> None:
    """Print what a run would report about the areas, where they are, and what was read from their file.

    Raises:
        AreaError: areas cannot be used.
    """
    found = area_files.examine(config, partial(console.tell, console.standard_error(), quiet=False))
    for line in (_summary(config, found), run_summary.where(found.areas)):
        click.echo(safe(line))


def _summary(config: Config, found: Loaded) -> str:
    """Return the number of areas, their names, their CRS, how many have a season, and their own columns."""
    names = ", ".join(map(one_line, told_apart(found.areas)[: area_files.NAMED]))
    names += ", ..." * (len(found.areas) > area_files.NAMED)
    count = "1 area" if len(found.areas) == 1 else f"{len(found.areas):,} areas"
    seasonal = sum(bool(area.start or area.end) for area in found.areas)
    seasons = f"; seasons (valid_from, valid_to): {seasonal:,} of {count}" if seasonal else ""
    columns = f"; columns carried: {one_line(', '.join(found.columns), 200)}" if found.columns else ""
    return f'{count} in {found.crs}, named by "{config.name_field}": {names}{seasons}{columns}'
