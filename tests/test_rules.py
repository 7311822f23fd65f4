"""What the tests themselves keep to."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CLOCKS = {"monotonic", "perf_counter", "process_time", "thread_time"}


@cache
def modules() -> list[tuple[str, ast.Module]]:
    """All modules of the tests by their path."""
    paths = sorted((ROOT / "tests").rglob("*.py"))
    return [(path.relative_to(ROOT).as_posix(), ast.parse(path.read_text("utf-8"))) for path in paths]


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
