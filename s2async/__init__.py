"""Cloud-free Sentinel-2 pictures of many small places, reading only the bytes under each polygon.

::

    import s2async

    s2async.run_sync("fields.toml")                      # search, check, crop, save
    for crop in s2async.read("fields.toml"):             # saved crops as arrays
        print(crop.area, crop.datetime, crop.pixels.shape)

In a notebook, or in a coroutine of your own, ``await s2async.run(...)`` and ``async for outcome in
s2async.stream(...)``. Names are loaded when they are used first.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from s2async.api import CropArray as CropArray
    from s2async.api import load_areas as load_areas
    from s2async.api import load_config as load_config
    from s2async.api import read as read
    from s2async.api import run as run
    from s2async.api import run_sync as run_sync
    from s2async.api import stream as stream
    from s2async.api import stream_sync as stream_sync
    from s2async.config import Config as Config
    from s2async.cube import open_crops as open  # noqa: A004, F401 - as in rasterio
    from s2async.errors import ConfigError as ConfigError
    from s2async.errors import LocalError as LocalError
    from s2async.errors import RemoteError as RemoteError
    from s2async.errors import S2AsyncError as S2AsyncError
    from s2async.errors import StateError as StateError
    from s2async.errors import StateInUse as StateInUse
    from s2async.models import Area as Area
    from s2async.models import CloudMeasure as CloudMeasure
    from s2async.models import Job as Job
    from s2async.models import Outcome as Outcome
    from s2async.models import Product as Product
    from s2async.models import Scene as Scene
    from s2async.models import Status as Status
    from s2async.pipeline import Summary as Summary

_HOMES = {
    "api": "CropArray load_areas load_config read run run_sync stream stream_sync",
    "config": "Config",
    "cube": "open",
    "errors": "ConfigError LocalError RemoteError S2AsyncError StateError StateInUse",
    "models": "Area CloudMeasure Job Outcome Product Scene Status",
    "pipeline": "Summary",
}
_PUBLIC = {name: module for module, names in _HOMES.items() for name in names.split()}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    """A public name, loaded with its module on first use."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 's2async' has no attribute {name!r}")
    found = getattr(import_module(f"s2async.{_PUBLIC[name]}"), {"open": "open_crops"}.get(name, name))
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
