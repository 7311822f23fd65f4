"""Memory of a run as a function of the number of its items."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks import ours, scenes
from benchmarks.options import Options
from s2async.sandbox.world.make import default_folder, make_world

_ITEMS: Final = (100, 1_000, 8_000)


def run(options: Options) -> Iterator[dict[str, Any]]:
    """Measure peak memory of s2async with a hundred, a thousand and several thousand items of the nine parks."""
    whole = make_world(default_folder(), progress=lambda text: print(text, file=sys.stderr))
    peaks: dict[int, list[float]] = {items: [] for items in _ITEMS}
    with tempfile.TemporaryDirectory(prefix="s2async-") as folder:
        for number in range(1, options.rounds + 1):
            for items in _ITEMS:
                line = ours.once(Path(folder), whole, items, scenes.parks(), options)
                peaks[items].append(line["peak_megabytes"])
                yield {"round": number, **line}
    medians = {items: median(told) for items, told in peaks.items()}
    few = medians[_ITEMS[0]]
    says = [f"{items:,} items: {peak:.0f} MB, {peak / few:.2f} x" for items, peak in medians.items()]
    yield {"median_of": options.rounds, "peak_megabytes": medians, "says": "; ".join(says)}
