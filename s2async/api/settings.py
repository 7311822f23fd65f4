"""Settings and areas in the forms that functions of the Python interface accept."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from s2async.areas import loader as area_files
from s2async.config.model import Config
from s2async.models import Area

ConfigLike = Config | str | os.PathLike[str] | Mapping[str, Any]
"""A configuration, its path, or a mapping such as ``{"areas": "fields.geojson", "search": {...}}``."""


def load_config(config: ConfigLike) -> Config:
    """Read and check a configuration.

    Args:
        config: a `Config`, which is returned unchanged, the path of a TOML file, or a mapping. Paths in a mapping
            are relative to the current folder.

    Raises:
        ConfigError: the configuration cannot be used; one line says why.

    Example::

        config = s2async.load_config({
            "areas": "fields.geojson",
            "search": {"datetime": "2024-05-01/2024-08-31"},
            "output": {"folder": "crops", "assets": ["visual", "nir"]},
        })
    """
    if isinstance(config, Config):
        return config
    if not isinstance(config, Mapping):
        return Config.load(Path(config))
    return Config.of(config)


def load_areas(config: ConfigLike) -> list[Area]:
    """Load the areas of a configuration; some or all of them can be passed to `run`.

    A mapping can be used as well: ``load_areas({"areas": [{"name": "North", "wkt": "POLYGON ((...))"}]})``.

    A `PlaceWarning` is issued for areas that may be misplaced because of their CRS.

    Raises:
        ConfigError: the configuration or an area cannot be used.

    Example::

        big = [area for area in s2async.load_areas("fields.toml") if area.polygon.area > 1e-4]
        s2async.run_sync("fields.toml", areas=big)
    """
    return area_files.load(load_config(config))
