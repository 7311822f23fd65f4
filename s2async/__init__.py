"""Cloud-free Sentinel-2 crops of many small areas, reading only the bytes under each polygon.

::

    import s2async

    s2async.run_sync("fields.toml")                      # search, check, crop, save
    for crop in s2async.read("fields.toml"):             # saved crops as arrays
        print(crop.area, crop.datetime, crop.pixels.shape)

In a notebook, or in a coroutine: ``await s2async.run(...)``, and ``async for outcome in s2async.stream(...)``.
Names are loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from s2async._version import __version__

if TYPE_CHECKING:
    from s2async.api.reading import CropArray, read, values
    from s2async.api.running import run, run_sync, stream, stream_sync
    from s2async.api.settings import load_areas, load_config
    from s2async.config.model import Config
    from s2async.cube import open_crops as open  # noqa: A004 - as in rasterio and xarray
    from s2async.engine.progress import Summary
    from s2async.errors import (
        ClusterError,
        ConfigError,
        LocalError,
        PlaceWarning,
        RemoteError,
        S2AsyncError,
        StateError,
        StateInUse,
    )
    from s2async.models import Area, CloudMeasure, Job, Outcome, Product, Scene, Status

__all__ = [
    "Area",
    "CloudMeasure",
    "ClusterError",
    "Config",
    "ConfigError",
    "CropArray",
    "Job",
    "LocalError",
    "Outcome",
    "PlaceWarning",
    "Product",
    "RemoteError",
    "S2AsyncError",
    "Scene",
    "StateError",
    "StateInUse",
    "Status",
    "Summary",
    "__version__",
    "load_areas",
    "load_config",
    "open",
    "read",
    "run",
    "run_sync",
    "stream",
    "stream_sync",
    "values",
]

_HOMES = {
    "api.reading": "CropArray read values",
    "api.running": "run run_sync stream stream_sync",
    "api.settings": "load_areas load_config",
    "config.model": "Config",
    "cube": "open_crops",
    "errors": "ClusterError ConfigError LocalError PlaceWarning RemoteError S2AsyncError StateError StateInUse",
    "models": "Area CloudMeasure Job Outcome Product Scene Status",
    "engine.progress": "Summary",
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    """Return a public name, whose module is loaded on first use."""
    if name not in __all__:
        raise AttributeError(f"module 's2async' has no attribute {name!r}")
    inside = "open_crops" if name == "open" else name
    globals()[name] = found = getattr(import_module(f"s2async.{_MODULES[inside]}"), inside)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
