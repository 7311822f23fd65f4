"""The entry point of the command line, which turns every end of a command into an exit code."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click

from s2async import files
from s2async.cli import bugs, streams
from s2async.cli.commands import cli
from s2async.errors import ConfigError, LocalError, S2AsyncError
from s2async.text import safe_lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, and exit.

    Args:
        arguments: arguments without the program's name; None for those of this process.
    """
    # like Ctrl-C, this releases what was started: a demo's server, the processes that generate its scenes
    former = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    watch = bugs.Watch()
    try:
        with _silent_gdal(), watch.listening(), streams.patient_streams():
            code = run_command(arguments)
            if watch.first is not None and code in (0, 3):  # other codes already have a reason
                code = _tell(watch.first)
    except LocalError as error:  # the last output could not be written
        code = _tell(error)
    finally:
        signal.signal(signal.SIGTERM, former)
    sys.exit(code)


@contextmanager
def _silent_gdal() -> Iterator[None]:
    """Keep GDAL's own messages from the terminal: the relevant ones are part of the reported errors."""
    logger, nowhere = logging.getLogger("rasterio"), logging.NullHandler()
    former = logger.propagate
    logger.addHandler(nowhere)
    logger.propagate = False
    try:
        yield
    finally:
        logger.propagate = former
        logger.removeHandler(nowhere)


def run_command(arguments: Sequence[str] | None) -> int:
    """Run a command, print why it failed if it did, and return the exit code."""
    try:
        code = cli.main(args=arguments, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return 2
    except (click.Abort, KeyboardInterrupt):
        return 130
    except SystemExit:
        raise
    except BaseException as error:  # noqa: BLE001 - a user must not see a traceback
        return _tell(error)
    return code if isinstance(code, int) else 0


def _tell(error: BaseException) -> int:
    """Print the error that ended a command, in one line unless it lists areas, and return the exit code."""
    if isinstance(error, UnicodeEncodeError) and error.encoding != "utf-8":
        try:
            files.check_names([error.object])  # an argument that was not checked before
        except ConfigError as refusal:
            error = refusal
    if isinstance(error, S2AsyncError):
        text, code = str(error), error.exit_code
    else:
        text, code = bugs.tell(error)
    click.echo("s2async: " + safe_lines(text), err=True)
    return code
