"""The options ``--log`` and ``--log-level`` of commands that use the network."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from s2async.errors import S2AsyncError

if TYPE_CHECKING:
    from s2async.config.model import Config

LEVELS = ("info", "debug")


def log_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command, which receives them as a single argument ``log``: a `LogChoice`."""

    @click.option(
        "--log",
        "file",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Append a log of retries, pauses and failures to FILE, one JSON object per line.",
    )
    @click.option(
        "--log-level",
        "level",
        type=click.Choice(LEVELS),
        help="How much to log; debug (also set by -v) adds every request and job.  [default: info]",
    )
    @functools.wraps(command)
    def with_log(*args: Any, file: Path | None, level: str | None, **kwargs: Any) -> Any:
        return command(*args, log=LogChoice(file, level), **kwargs)

    return with_log


class LogChoice:
    """The log options of the command line."""

    def __init__(self, file: Path | None = None, level: str | None = None) -> None:
        self._file = file
        self._level = level

    @contextmanager
    def writing(self, config: Config, *, verbose: bool = False) -> Iterator[None]:
        """Log events inside the block to the file of the command line, or otherwise of the configuration, if any.

        Args:
            config: settings, in which ``[run] log`` may name a file.
            verbose: whether ``-v`` was given, so that the default level is debug.

        Raises:
            ConfigError: the file cannot be written.
        """
        from s2async import log_file  # loads sockets and threads; only needed here
        from s2async.cli.bugs import secret_values
        from s2async.log import log
        from s2async.text import safe

        debug = self._level == "debug" or (self._level is None and verbose)
        with log_file.writing(
            self._file or config.run.log,
            level=logging.DEBUG if debug else logging.INFO,
            secrets=secret_values(os.environ),
            tell=lambda text: click.echo(safe(text), err=True),
        ):
            try:
                yield
            except S2AsyncError as error:
                fields = {"kind": type(error).__name__, "reason": str(error)}
                log(logging.getLogger("s2async.cli"), logging.ERROR, "command_failed", fields)
                raise
