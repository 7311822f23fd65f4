"""What the tests keep to, and docstrings."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from conftest import HEAVY

ROOT = Path(__file__).parents[1]
NAME = re.compile(r"(?<!`)`([a-z]\w*(?:\.\w+)+)`(?!`)")
"""A name with a module, such as ``net.client.open_client``, in backticks."""
CLOCKS = {"monotonic", "perf_counter", "process_time", "thread_time"}


@cache
def modules() -> list[tuple[str, ast.Module]]:
    """All modules of the tests by their path."""
    paths = sorted((ROOT / "tests").rglob("*.py"))
    return [(path.relative_to(ROOT).as_posix(), ast.parse(path.read_text("utf-8"))) for path in paths]


def test_the_files_that_come_first_are_there() -> None:
    assert [file for file in HEAVY if not (ROOT / file).is_file()] == []


@pytest.mark.slow
def test_no_module_imports_a_test_module() -> None:
    imported = [
        f"{path}: {name}"
        for path, module in modules()
        for node in ast.walk(module)
        if isinstance(node, ast.ImportFrom) and node.module
        for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
        if name.startswith("tests.") and name.rpartition(".")[2].startswith("test_")
    ]
    assert imported == []


@pytest.mark.slow
def test_nothing_is_asserted_of_a_clock() -> None:
    """How long something took says more of the machine than of the program: count instead."""
    asserted = [
        f"{path}:{node.lineno}"
        for path, module in modules()
        for node in ast.walk(module)
        if isinstance(node, ast.Assert)
        for call in ast.walk(node)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)
        if call.func.attr in CLOCKS or ast.unparse(call.func) == "time.time"
    ]
    assert asserted == []


def named(body: list[ast.stmt]) -> Iterator[str]:
    """Names that statements of a module define or import."""
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.If | ast.Try):
            yield from named(node.body + node.orelse)
        else:
            yield from (name.id for name in ast.walk(node) if isinstance(name, ast.Name))


def is_defined(name: str, defined: dict[str, set[str]]) -> bool:
    """Whether a module, or a name of a module, ends like this; attributes of classes are not checked."""
    if name in defined or name.partition(".")[0] in sys.stdlib_module_names:
        return True
    parts = name.split(".")
    modules = [(".".join(parts[:count]), [*parts, ""][count]) for count in range(1, len(parts) + 1)]
    return any(
        f".{module}".endswith(f".{part}") and (not first or first in names)
        for part, first in modules
        for module, names in defined.items()
    )


@pytest.mark.slow
def test_names_in_docstrings_are_defined() -> None:
    trees = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): ast.parse(
            path.read_text("utf-8")
        )
        for path in sorted((ROOT / "s2async").rglob("*.py"))
    }
    defined = {module: set(named(tree.body)) for module, tree in trees.items()}
    assert is_defined("net.client.open_client", defined)
    assert not is_defined("net.client.no_such_name", defined)
    gone = [
        f"{module}:{node.lineno}: {name}"
        for module, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for name in NAME.findall(node.value.value)
        if not is_defined(name, defined)
    ]
    assert gone == []
