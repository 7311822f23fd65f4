"""``python -m tests.chaos NAME``: the long form of a chaos test, with counts and a table."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from importlib import import_module
from typing import Final
from unittest import mock

EXPERIMENTS: Final = {
    "cluster": "SIGKILL to workers, drivers and the scheduler of a Dask cluster; workers that come and go",
    "disk": "a disk that fills up at random levels; --many: under many areas",
    "flips": "bits flipped inside valid answers, with verify and without",
    "fuzz": "what comes from outside, made up by a fuzzer",
    "hostile": "addresses and redirects that must not be followed",
    "inputs": "polygons, names, configs and states that are wrong",
    "kills": "SIGKILL at random instants and at named points; --many: among many areas",
    "matrix": "kinds of faults at every position",
    "stalls": "SIGTERM while every read stalls",
}
"""By name, which is also that of the module with its ``main(arguments) -> int``: 1 when a bound is missed."""


def main(arguments: list[str] | None = None) -> int:
    """Run the experiment that the command line names, with the options that follow."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(f"{name:10}{text}" for name, text in EXPERIMENTS.items()),
    )
    parser.add_argument("name", choices=EXPERIMENTS, help="which one; NAME --help tells its options")
    parser.add_argument("options", nargs=argparse.REMAINDER, help="of the experiment, such as --count N")
    asked = parser.parse_args(arguments)
    # what the runs note in the user's state directory must not stay there
    with tempfile.TemporaryDirectory() as notes, mock.patch.dict(os.environ, XDG_STATE_HOME=notes):
        return int(import_module(f"tests.chaos.{asked.name}").main(asked.options))


if __name__ == "__main__":
    sys.exit(main())
