"""The table "Who knows whom" of CONTRIBUTING.md, kept true by reading the imports."""

from __future__ import annotations

import ast
import sys
from functools import cache
from pathlib import Path
from typing import TypeGuard

import pytest

PACKAGE = Path(__file__).parents[1] / "s2async"
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py"))

PURE = {
    "alarms", "answers", "assets", "breaker", "catalogs", "clouds", "congestion", "costs", "datums", "editions",
    "endings", "errors", "flow", "folders", "geo", "geojson", "geotags", "grid", "ground", "headers", "inflate",
    "intake", "lacking", "markup", "models", "names", "neighbours", "origins", "pace", "pairs", "parks", "periods",
    "plan", "prefix", "proxies", "reasons", "records", "report_data", "retries", "rows", "stac", "statements",
    "svg", "svgmap", "table", "text", "tiff", "tiles",
}  # fmt: skip
"""No I/O and no asyncio: values in, values out."""

DOORS = {
    "aiohttp": {"transport", "sessions"},
    "tenacity": {"tries"},
    "rasterio": {"decode", "geotiff", "quicklooks"},
    "isal": {"inflate", "geotiff"},
    "sqlite3": {"schema"},
    "filelock": {"lock"},
    "pystac_client": {"search"},
    "pydantic": {"config", "complaints", "values"},
    "pyogrio": {"readers"},
    "rich": {"cli", "console", "plan_tables", "summary"},
    "click": {"care", "cli", "export", "options", "prospect", "report"},
    "xarray": {"cube"},
    "pyarrow": {"geoparquet"},
    "matplotlib": {"plots"},
    "asyncio": {
        "api", "budget", "byrows", "cli", "console", "gate", "heartbeat", "jobqueue", "pipeline", "prospect",
        "raster", "reading", "scenery", "shelf", "stopping", "survey", "tries", "turnstile", "worker",
    },
}  # fmt: skip
"""The modules that may import a third party (or a part of the standard library that wants care)."""

EDGES = {
    "collection", "crops", "decode", "files", "index", "marks", "readers", "search", "sessions", "state",
    "transport",
}  # fmt: skip
ON_PURPOSE = {
    ("search", "transport"),
    ("transport", "sessions"),
    ("crops", "files"),
    ("marks", "files"),
    ("state", "files"),
    ("index", "files"),
    ("collection", "files"),
    ("collection", "index"),
}
"""Edges that use another edge. (``raster`` joins transport and decode, and is no edge itself.)"""


@cache
def parsed(module: str) -> ast.Module:
    return ast.parse((PACKAGE / f"{module}.py").read_text("utf-8"))


def is_call(node: ast.AST) -> TypeGuard[_NamedCall]:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name)


class _NamedCall(ast.Call):
    func: ast.Name


@cache
def imports(module: str) -> frozenset[str]:
    """Full names of all that a module imports, at the top or inside functions."""
    found: set[str] = set()
    for node in ast.walk(parsed(module)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(found)


def ours(module: str) -> set[str]:
    """Modules of the package that a module imports."""
    parts = {name.split(".")[1] for name in imports(module) if name.startswith("s2async.")}
    return parts & set(MODULES)


def reach(module: str) -> set[str]:
    """Modules of the package that are loaded with a module, itself included."""
    found: set[str] = set()
    todo = {module}
    while todo:
        name = todo.pop()
        found.add(name)
        todo |= ours(name) - found
    return found


def third_parties(module: str) -> set[str]:
    return {name.split(".")[0] for name in imports(module)}


@pytest.mark.parametrize("module", ["models", "errors", "parks"])
def test_the_nouns_know_nothing_of_the_package(module: str) -> None:
    assert not ours(module)


@pytest.mark.parametrize("module", sorted(PURE))
def test_pure_modules_do_no_input_or_output(module: str) -> None:
    assert ours(module) <= PURE
    forbidden = set(DOORS) | {"socket", "subprocess", "urllib.request", "tempfile", "shutil", "pathlib"}
    rasterio = {name for name in imports(module) if name.startswith("rasterio")}
    if module == "grid":  # its pure part only
        assert all(name.startswith("rasterio.features.") for name in rasterio)
        forbidden -= {"rasterio"}
    if module == "inflate":  # zlib by another name
        forbidden -= {"isal"}
    assert not third_parties(module) & forbidden
    assert not {node.func.id for node in ast.walk(parsed(module)) if is_call(node)} & {"open", "print", "input"}


@pytest.mark.parametrize("door", sorted(DOORS))
def test_each_third_party_has_one_door(door: str) -> None:
    users = {module for module in MODULES if door in third_parties(module)}
    assert users - ({"grid"} if door == "rasterio" else set()) == DOORS[door]


def test_edges_do_not_know_each_other() -> None:
    found = {(edge, other) for edge in EDGES for other in ours(edge) & EDGES}
    assert found <= ON_PURPOSE


def test_a_worker_can_be_imported_without_the_state_and_the_command_line() -> None:
    loaded = reach("worker")
    assert not loaded & {"state", "schema", "ledger", "cli", "console", "config", "pipeline"}
    assert not {party for module in loaded for party in third_parties(module)} & {"sqlite3", "click", "rich"}


def test_only_the_pipeline_and_the_command_line_know_the_state_that_writes() -> None:
    assert {module for module in MODULES if "state" in ours(module)} <= {"care", "pipeline", "cli", "rebuild"}


def test_every_module_says_what_it_is_for_and_is_in_the_map() -> None:
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text("utf-8")
    for module in MODULES:
        assert ast.get_docstring(parsed(module)), module
        if module != "__init__":
            assert f"`{module}.py`" in text, f"CONTRIBUTING.md does not mention {module}.py"


def test_the_third_parties_are_real() -> None:
    """A door for a package that nobody imports any more would keep the table from meaning anything."""
    used = {party for module in MODULES for party in third_parties(module)} - set(sys.stdlib_module_names)
    assert used >= {"aiohttp", "rasterio", "shapely", "pyproj", "numpy", "tenacity", "pystac_client"}
