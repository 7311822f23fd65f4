"""Values of columns that a file stores as text: whole numbers, decimal numbers, or text. Pure.

A column contains integers if each of its cells is empty or a whole number as a program writes it: without leading
zeros, plus sign or blanks between digits, and with at most 18 digits. It contains floats if each number is of this
form or has a decimal point or an exponent, with at most 17 digits. All other columns are text. Empty cells are
None.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

_WHOLE: Final = re.compile(r"0|-?[1-9][0-9]{0,17}")
_DECIMAL: Final = re.compile(r"-?(?P<digits>(?:0|[1-9][0-9]*)(?:\.[0-9]+)?)(?:[eE][+-]?[0-9]{1,3})?")
_MOST_DIGITS: Final = 17
"""Number of significant digits that a 64-bit float preserves."""


def typed(cells: Sequence[str | None], *, decimal_comma: bool = False, floats: bool = True) -> list[Any]:
    """Return the values of a column: all int, all float or all text, and None for empty cells.

    Args:
        cells: the cells as in the file; blanks around numbers are ignored.
        decimal_comma: whether commas are decimal points; a column with both commas and points is text.
        floats: whether decimal numbers become floats.
    """
    plain = [(cell or "").strip() for cell in cells]
    numbers = plain
    if decimal_comma and any("," in cell for cell in plain) and not any("." in cell for cell in plain):
        numbers = [cell.replace(",", ".", 1) for cell in plain]
    if _all(numbers, _is_whole):
        return [int(cell) if cell else None for cell in numbers]
    if floats and _all(numbers, _is_decimal):
        return [float(cell) if cell else None for cell in numbers]
    return [cell if bare else None for cell, bare in zip(cells, plain, strict=True)]


def _all(cells: Iterable[str], test: Callable[[str], bool]) -> bool:
    """Return whether there are cells with text, and all of them pass a test."""
    filled = [cell for cell in cells if cell]
    return bool(filled) and all(map(test, filled))


def _is_whole(cell: str) -> bool:
    return _WHOLE.fullmatch(cell) is not None


def _is_decimal(cell: str) -> bool:
    match = _DECIMAL.fullmatch(cell)
    if match is None:
        return False
    digits = match["digits"].replace(".", "").lstrip("0")
    return len(digits) <= _MOST_DIGITS and math.isfinite(float(cell))
