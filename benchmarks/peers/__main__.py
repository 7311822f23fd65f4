"""``python -m benchmarks.peers NAME ORDER ANSWERS FOLDER CONNECTIONS``: run one peer on an order in a process.

Its crops are saved in the folder.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import warnings
from dataclasses import asdict
from pathlib import Path

from rasterio.errors import NotGeoreferencedWarning

from benchmarks.scenes import Order


def main(name: str, order: str, answers: str, folder: str, connections: str) -> None:
    """Do the jobs, then write their results as JSON lines."""
    peer = importlib.import_module(f"benchmarks.peers.{name}")
    found = list(peer.run(Order.load(Path(order)), int(connections), Path(folder)))
    Path(answers).write_text("".join(json.dumps(asdict(answer)) + "\n" for answer in found))


if __name__ == "__main__":
    warnings.simplefilter("ignore", NotGeoreferencedWarning)  # of some builds, about rasterize's scratch raster
    main(*sys.argv[1:])
    # Threads of async-tiff crash in about one of a hundred processes at shutdown, after the work is done.
    os._exit(0)
