"""The context of a figure: versions, machine, settings, commit, date."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import rasterio

from benchmarks.measure import REPOSITORY
from benchmarks.options import Options

PACKAGES: Final = (
    "s2async", "aiohttp", "isal", "numpy", "rasterio", "odc-stac", "async-geotiff", "obstore", "rasteret",
)  # fmt: skip


def context(options: Options) -> dict[str, Any]:
    """Return the versions of all installed contenders, the machine, and the settings."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": commit(REPOSITORY),
        "python": platform.python_version(),
        "gdal": rasterio.__gdal_version__,
        **{name: found for name in PACKAGES if (found := _version(name))},
        "cores": os.cpu_count(),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.release()}",
        "settings": asdict(options),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def commit(tree: Path) -> str:
    """Return the commit of a work tree, with a plus sign if it has changes; empty outside a repository."""
    command = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip()


def _processor() -> str:
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found[1] if found else platform.machine()
