"""``python -m benchmarks chaos NAME``: what is promised of faults, tried out with counts."""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Final

EXPERIMENTS: Final = {
    "disk": "a disk that fills up at random levels",
    "flips": "bits flipped inside valid answers, with verify and without",
    "fuzz": "what comes from outside, made up by a fuzzer",
    "hostile": "addresses and redirects that must not be followed",
    "inputs": "polygons, names, configs and states that are wrong",
    "kills": "SIGKILL at random instants and at named points",
    "matrix": "kinds of faults at every position",
    "stalls": "SIGTERM while every read stalls",
}
"""By name, which is also that of the module with its ``main(arguments) -> int``: 1 when a bound is missed."""


def main(arguments: list[str]) -> int:
    """Run the experiment that the command line names, with the options that follow."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks chaos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(f"{name:10}{text}" for name, text in EXPERIMENTS.items()),
    )
    parser.add_argument("name", choices=EXPERIMENTS, help="which one; NAME --help tells its options")
    parser.add_argument("options", nargs=argparse.REMAINDER, help="of the experiment, such as --count N")
    asked = parser.parse_args(arguments)
    return int(import_module(f"{__name__}.{asked.name}").main(asked.options))
