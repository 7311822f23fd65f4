"""How the cost of a run grows with the number of areas, and with the number of items."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks import ours, scenes
from benchmarks.options import Options
from s2async.sandbox.world import dense
from s2async.sandbox.world.make import default_folder, make_world

Line = dict[str, Any]

AREAS: Final = (9, 100, 1_000, 10_000, 100_000)
"""Numbers of dense fields in one grid square."""
ITEMS: Final = (10, 100, 1000)
"""Numbers of items with the nine parks."""
FIGURES: Final = {
    "requests": "requests",
    "bytes": "bytes",
    "seconds": "seconds",
    "cpu_seconds": "CPU time",
    "peak_megabytes": "memory",
    "files": "files",
}
"""Observed figures, with their names."""


def run(options: Options) -> Iterator[Line]:
    """Measure requests, bytes, time, memory and files for up to --areas dense fields, and up to 1,000 items."""
    place = Path(options.worlds) if options.worlds else dense.default_place()
    square = dense.scenes(place, progress=_tell)
    year = make_world(default_folder(), progress=_tell)
    found: dict[str, list[Line]] = {"areas": [], "items": []}
    with tempfile.TemporaryDirectory(prefix="s2async-") as folder:
        for count in filter(options.areas.__ge__, AREAS):
            made = dense.fields(count)
            fields = dict(zip(made.columns["name"], made.polygons.tolist(), strict=True))
            figures = ours.once(Path(folder), square, options.items, fields, options, places=[dense.PLACE])
            found["areas"].append({"axis": "areas", **figures})
            yield found["areas"][-1]
        for count in ITEMS:
            figures = ours.once(Path(folder), year, count, scenes.parks(), options)
            found["items"].append({"axis": "items", **figures})
            yield found["items"][-1]
    for axis, lines in found.items():
        yield from slopes(axis, lines)


def _tell(text: str) -> None:
    print(text, file=sys.stderr)


def slopes(axis: str, lines: Sequence[Line]) -> Iterator[Line]:
    """Yield the power of the axis with which each figure grows (least squares of the logarithms), and in words."""
    places = np.log10([line[axis] for line in lines])
    for key, name in FIGURES.items():
        power = float(np.polyfit(places, np.log10([line[key] for line in lines]), 1)[0])
        steps = [
            f"{new[key] / old[key]:.1f} x from {old[axis]:,} to {new[axis]:,}" for old, new in pairwise(lines)
        ]
        yield {
            "axis": axis,
            "figure": key,
            "power": round(power, 3),
            "says": f"{name}: {10**power:.1f} x for ten times the {axis} ({', '.join(steps)})",
        }
