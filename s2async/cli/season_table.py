"""A small table of values by area and season of the year, in plain text. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import date
from typing import Final

from s2async.text import safe

SEASONS: Final = ("winter", "spring", "summer", "autumn")
"""Winter is from December to February, and so on, as in meteorology; all years are combined."""
LETTERS: Final = 24
"""Maximum length of an area's name."""
_WIDTH: Final = 13
"""Width of a column."""


def lines(name: str, values: Iterable[tuple[str, date, float]]) -> Iterator[str]:
    """Yield the lines of a table: for each area and season, the mean of its dates, and their number.

    Each date counts the same, however much of the area was clear. Lines have at most 80 characters.

    Args:
        name: name of the variable.
        values: area, day and value of each date; areas appear in the order of their first values.
    """
    found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for area, day, value in values:
        found[area][day.month % 12 // 3].append(value)
    if not found:
        return
    names = {area: _short(area) for area in found}
    first = max(map(len, [_short(name), *names.values()]))
    yield _short(name).ljust(first) + "".join(season.rjust(_WIDTH) for season in SEASONS)
    for area, seasons in found.items():
        cells = (_cell(seasons.get(number, [])).rjust(_WIDTH) for number in range(len(SEASONS)))
        yield names[area].ljust(first) + "".join(cells)


def _cell(values: list[float]) -> str:
    if not values:
        return "-"
    mean = round(sum(values) / len(values), 2) + 0  # no -0.00
    return f"{mean:.2f} ({len(values)})"


def _short(name: str) -> str:
    printable = safe(name)
    return printable if len(printable) <= LETTERS else f"{printable[: LETTERS - 3]}..."
