"""How the cost of a run grows with the number of areas, and with the number of items."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks import ours, scenes
from benchmarks.options import Options
from s2async.sandbox.world.make import default_folder, make_world

Line = dict[str, Any]

AREAS: Final = (1, 9, 100, 1000)
ITEMS: Final = (10, 100, 1000)
FIGURES: Final = {
    "requests": "requests",
    "bytes": "bytes",
    "seconds": "seconds",
    "cpu_seconds": "CPU time",
    "peak_megabytes": "memory",
}
"""What is watched, and what it is called."""


def run(options: Options) -> Iterator[Line]:
    """Requests, bytes, seconds and memory of s2async against areas (at --items items) and against items."""
    whole = make_world(default_folder(), progress=lambda text: print(text, file=sys.stderr))
    loads = [("areas", count, options.items) for count in AREAS]
    loads += [("items", len(scenes.parks()), count) for count in ITEMS]
    found: dict[str, list[Line]] = {"areas": [], "items": []}
    with tempfile.TemporaryDirectory(prefix="s2async-") as folder:
        for axis, areas, items in loads:
            line = {"axis": axis, **ours.once(Path(folder), whole, items, scenes.parks_and_more(areas), options)}
            found[axis].append(line)
            yield line
    for axis, lines in found.items():
        yield from slopes(axis, lines)


def slopes(axis: str, lines: Sequence[Line]) -> Iterator[Line]:
    """For each figure the power of the axis that it grows with (least squares of the logarithms), and in words."""
    places = np.log10([line[axis] for line in lines])
    first, before, last = lines[0][axis], lines[-2][axis], lines[-1][axis]
    for key, name in FIGURES.items():
        power = float(np.polyfit(places, np.log10([line[key] for line in lines]), 1)[0])
        step = lines[-1][key] / lines[-2][key]
        yield {
            "axis": axis,
            "figure": key,
            "power": round(power, 3),
            "says": f"{name}: {10**power:.1f} x for ten times the {axis} (over {first:,} to {last:,}); "
            f"{step:.1f} x from {before:,} to {last:,}",
        }
