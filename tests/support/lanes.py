"""Which parameters of a test the quick lane tries."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

ParameterSet = type(pytest.param())


def few_quick(values: Iterable[Any], quick: int = 1) -> list[Any]:
    """Mark all values as slow but a few, spread evenly from the first to the last.

    Args:
        values: values of a parameter, or tuples of values or ``pytest.param`` of several.
        quick: number of values that the quick lane tries.
    """
    found = list(values)
    kept = {round(number * (len(found) - 1) / max(1, quick - 1)) for number in range(quick)}
    return [value if number in kept else _slow(value) for number, value in enumerate(found)]


def slow(*values: Any) -> list[Any]:
    """Mark all of these values as slow; see `few_quick` for what a value is."""
    return [_slow(value) for value in values]


def long(*values: Any) -> list[Any]:
    """Mark all of these values as long: others like them are in the usual lane."""
    return [_marked(value, pytest.mark.long) for value in values]


def _slow(value: Any) -> Any:
    return _marked(value, pytest.mark.slow)


def _marked(value: Any, mark: pytest.MarkDecorator) -> Any:
    if isinstance(value, ParameterSet):
        return pytest.param(*value.values, marks=[*value.marks, mark], id=value.id)
    return pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=mark)
