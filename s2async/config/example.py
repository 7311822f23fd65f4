"""The commented example configuration, and versions of it with other areas, folders or catalogues."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from s2async.catalog.providers import COPERNICUS
from s2async.clouds import scl

Setting: TypeAlias = str | float | Sequence[str]
"""Value of a setting that can be changed in the example."""


def _example() -> str:
    """Read config.example.toml: in a wheel, it is in the package's folder; in a work tree, next to it."""
    name, here = "config.example.toml", Path(__file__).resolve().parents[1]
    path = here / name
    return (path if path.is_file() else here.parent / name).read_text(encoding="utf-8")


EXAMPLE: Final = _example()
"""The commented config that ``s2async init`` writes: nine parks in Berlin, 2022, Earth Search."""


def render(
    *,
    catalog_url: str,
    origin: str,
    collection: str = "sentinel-2-l2a",
    assets: Mapping[str, str] | None = None,
    attribution: str = COPERNICUS,
    offsets: str = "",
) -> str:
    """Point the example at another catalogue; nothing else in it changes.

    Args:
        catalog_url: root of a STAC API.
        origin: ``scheme://host[:port]`` of the API and its assets.
        collection: id of the collection.
        assets: maps s2async's asset keys to those of the items; by default scl and visual, unchanged.
        attribution: source of the pixels; ``{year}`` stands for the year of sensing.
        offsets: how the catalogue treats offsets of reflectance; the empty string to leave it open.
    """
    names = assets or {scl.ASSET: scl.ASSET, "visual": "visual"}
    entries = {
        "url": _quoted(catalog_url),
        "collection": _quoted(collection),
        "assets": _inline({key: _quoted(value) for key, value in names.items()}),
    }
    if attribution != COPERNICUS:
        entries["attribution"] = _quoted(attribution)
    if offsets:
        entries["offsets"] = _quoted(offsets)
    text = EXAMPLE
    for key, value in (("catalog", _inline(entries)), ("origins", f"[{_quoted(origin)}]")):
        line = f"{key} = {value}".replace("\\", r"\\")
        text, count = re.subn(rf"(?m)^{key} = .*?(?=\s+#|$)", line, text)
        if count != 1:
            raise ValueError(f"the example has {count} lines that set {key}")
    return text


def with_areas(file: str) -> str:
    """Replace the parks of the example by a file of areas.

    Args:
        file: path that is written: absolute, or relative to the configuration.
    """
    text = EXAMPLE.partition("\n[[areas]]")[0]
    about = '# GeoJSON, CSV, KML, GeoParquet (extra "parquet"), or any vector file (extra "vector")'
    text = re.sub(r"(?m)^# This example covers .*$", "# This example covers 2022, from Earth Search.", text)
    return re.sub(r"(?m)^# areas = .*$", lambda _: f"areas = {_quoted(file)}  {about}", text)


def with_settings(text: str, settings: Mapping[str, Setting]) -> str:
    """Change settings at the top of the example; the comments on their lines stay.

    Args:
        text: the example, or what `with_areas` returned.
        settings: values by key.
    """
    for key, value in settings.items():
        pattern = rf"(?m)^(?:# )?{key} = .*?(?P<gap> +)(?=# )"
        match = re.search(pattern, text)
        if match is None:
            raise ValueError(f"the example does not say {key}")
        line = f"{key} = {_literal(value)}"
        width = match.end() - match.start()  # the comments stay aligned
        text = f"{text[: match.start()]}{line.ljust(width - 1)} {text[match.end() :]}"
    return text


def with_values(text: str, indices: Sequence[str], bands: Sequence[str] = ()) -> str:
    """Request values of indices and bands; all lines of the section keep their comments.

    Args:
        text: the example, or what another function returned.
        indices: names from the Awesome Spectral Indices catalogue.
        bands: keys of reflectance bands.
    """
    header, there, rest = text.partition("\n# [values]  ")
    if not there:
        raise ValueError("the example does not say [values]")
    wanted = {"bands": bands, "indices": indices} if bands else {"indices": indices}
    return with_settings(f"{header}\n[values]    {rest}", wanted)


def with_folder(text: str, name: str) -> str:
    """Set the output folder and a state in it, so that two configurations in one folder do not share them.

    Args:
        text: the example, or what `with_areas` returned.
        name: name of the folder, next to the configuration.
    """
    for old, new in (
        ('folder = "data"', f"folder = {_quoted(name)}"),
        ('state = "data/state.sqlite"', f"state = {_quoted(f'{name}/state.sqlite')}"),
    ):
        before, line, after = text.partition(f"\n{old}")
        if not line:
            raise ValueError(f"the example does not say {old}")
        comment = after.lstrip(" ")
        width = len(old) + len(after) - len(comment)  # the comments stay aligned
        text = f"{before}\n{new.ljust(width - 1)} {comment}"
    return text


def _literal(value: Setting) -> str:
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, float):
        return f"{value:g}"
    return f"[{', '.join(map(_quoted, value))}]"


def _inline(entries: Mapping[str, str]) -> str:
    return "{ " + ", ".join(f"{key} = {value}" for key, value in entries.items()) + " }"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
