"""The cost of encoding crops, and of writing them so that a power cut does not lose them."""

from __future__ import annotations

import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from affine import Affine

from benchmarks.options import Options
from s2async import file_batches, files
from s2async.file_batches import NewFile
from s2async.output.geotiff import Crop, encode

COUNT: Final = 1024
"""Number of crops that are written in each way."""
SIDE: Final = 30
"""Pixels of 10 m on a crop's side: a field."""
TOKEN: Final = "s2async-benchmark"

Way = Callable[[Sequence[NewFile]], None]


def run(options: Options) -> Iterator[dict[str, Any]]:
    """Measure CPU time and rate of crops encoded and written by one thread: synced one by one, and together."""
    ways: dict[str, tuple[int, Way]] = {
        "each synced, by 8": (8, _each),
        **{f"together, by {count}": (count, _together) for count in (16, 64, 512)},
    }
    taken: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="s2async-", dir=Path.cwd()) as name:
        if not file_batches.syncs_whole(Path(name)):
            yield {"fault": f"the file system of {name} is not synced as a whole"}
            return
        for number in range(1, options.rounds + 1):
            crops = list(_crops())
            begun = _now()
            data = [encode(crop) for crop in crops]
            taken.setdefault("encode", []).append(_since(begun))
            for way, (together, write) in ways.items():
                contents = _placed(Path(name) / f"{number} {way}", data)
                begun = _now()
                for start in range(0, COUNT, together):
                    write(contents[start : start + together])
                taken.setdefault(way, []).append(_since(begun))
    for way, found in taken.items():
        middle = {key: round(statistics.median(each[key] for each in found)) for key in found[0]}
        yield {"way": way, "bytes": len(data[0]), **middle}


def _each(contents: Sequence[NewFile]) -> None:
    files.replace_all([(new.path, new.data) for new in contents], token=TOKEN)


def _together(contents: Sequence[NewFile]) -> None:
    file_batches.write_all(contents, token=TOKEN)


def _placed(folder: Path, data: Sequence[bytes]) -> list[NewFile]:
    """Return crops in as many folders, which exist and are on the disk."""
    contents = [
        NewFile(folder / f"field{n}" / "S2A_33UUU_20220101_0_L2A_visual.tif", d) for n, d in enumerate(data)
    ]
    for new in contents:
        new.path.parent.mkdir(parents=True)
    files.sync_all()
    return contents


def _crops() -> Iterator[Crop]:
    random = np.random.default_rng(22)
    for number in range(COUNT):
        yield Crop(
            pixels=random.integers(20, 90, (3, SIDE, SIDE)).astype(np.uint8),
            transform=Affine(10.0, 0.0, 300_000.0 + 400 * number, 0.0, -10.0, 5_900_040.0),
            epsg=32633,
            nodata=0,
            scales=(1.0, 1.0, 1.0),
            offsets=(0.0, 0.0, 0.0),
            tags={f"TAG_{n}": f"a text of some length, as the tags of crops have it {number}" for n in range(14)},
        )


def _now() -> tuple[float, float]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return time.perf_counter(), usage.ru_utime + usage.ru_stime


def _since(begun: tuple[float, float]) -> dict[str, float]:
    wall, cpu = (now - before for now, before in zip(_now(), begun, strict=True))
    return {"crops_per_second": COUNT / wall, "cpu_us_per_crop": cpu / COUNT * 1e6}
