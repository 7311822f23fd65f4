"""``python -m benchmarks NAME``: run one benchmark and print its result as JSON lines, then as text."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import rasterio

import s2async
from benchmarks import least, parity

BENCHMARKS: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {"bytes": least.run, "parity": parity.run}


def context() -> dict[str, Any]:
    """What a figure means nothing without."""
    return {
        "s2async": s2async.__version__,
        "python": platform.python_version(),
        "rasterio": rasterio.__version__,
        "gdal": rasterio.__gdal_version__,
        "aiohttp": aiohttp.__version__,
        "cores": os.cpu_count(),
    }


def main() -> int:
    """Run what the command line names; exit status 1 when a benchmark finds a fault."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=sorted(BENCHMARKS), help="; ".join(_sentences()))
    arguments = parser.parse_args()
    print(json.dumps({"benchmark": arguments.name, **context()}), flush=True)
    faults = 0
    for line in BENCHMARKS[arguments.name]():
        faults += bool(line.get("fault"))
        print(json.dumps(line), flush=True)
    return int(faults > 0)


def _sentences() -> list[str]:
    return [f"{name}: {(function.__doc__ or '').splitlines()[0]}" for name, function in BENCHMARKS.items()]


if __name__ == "__main__":
    sys.exit(main())
