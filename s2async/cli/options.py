"""Options that several commands share, and types of values that click does not have."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

FILE: Final = click.Path(path_type=Path)
FOLDER: Final = click.Path(path_type=Path, file_okay=False)

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
dry_run = click.option("--dry-run", is_flag=True, help="Only show what would be done; change nothing.")


def config(command: F) -> F:
    """Add the argument CONFIG to a command."""
    return click.argument("config", type=FILE)(command)


def verbosity(command: F) -> F:
    """Add the options -v and -q, before or after the command's name; their values are in `Context.obj`."""

    def note(context: click.Context, parameter: click.Parameter, value: bool) -> None:
        options = context.ensure_object(dict)
        options[parameter.name] = value or options.get(parameter.name, False)
        if options.get("verbose") and options.get("quiet"):
            raise click.UsageError("-v and -q exclude each other")

    for name, text in (("quiet", "Print failures only."), ("verbose", "Print the outcome of every job.")):
        names = f"-{name[0]}", f"--{name}"
        command = click.option(*names, is_flag=True, expose_value=False, callback=note, help=text)(command)
    return command


class FiniteRange(click.FloatRange):
    """A finite number within limits: click accepts ``nan``, and ``inf`` if no limit excludes it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Convert a string to a number, or refuse it."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{number} is not a finite number.", param, ctx)
        return number


class _Parsed(click.ParamType):  # type: ignore[type-arg]  # generic in new versions alone
    """A string that is parsed like a setting of the configuration; the value must be greater than 0."""

    def __init__(self, name: str, parser: str) -> None:
        self.name = name
        self._parser = parser

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse a string, or refuse it."""
        from s2async.config import types  # loads pydantic, which help texts do not need

        whole = isinstance(value, str) and value.isascii() and value.isdigit()
        try:
            found = getattr(types, self._parser)(int(value) if whole else value)
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)
        if not found > 0:
            self.fail(f"{value} is not greater than 0.", param, ctx)
        return found


SIZE: Final = _Parsed("size", "parse_size")
"""Bytes, in the form of the configuration: ``2 GB``, ``500 MiB``, a whole number."""
DURATION: Final = _Parsed("duration", "parse_duration")
"""Seconds, in the form of the configuration: ``90 min``, ``2h``, a number."""
