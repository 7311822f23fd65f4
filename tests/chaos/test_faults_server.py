"""The fault matrix in short: the faults of a whole server, over enough scenes that it is seen as one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos import kinds_server, trial
from tests.chaos.kind import Kind
from tests.chaos.trial import Bench, Cell

pytestmark = pytest.mark.slow

LONGEST = 1.0
"""Seconds of a fault in the suite; the matrix has longer ones."""
ALIKE = frozenset(
    {
        *(f"outage, {how}" for how in ("410", "401", "400", "HTML with 403")),
        *("503 for 0.3 s, later", "reset for 0.3 s, from the start"),
        *("503 for 1 s, from the start", "reset for 1 s, later"),
        *("100 requests a second, else 503", "30 requests a second, else 429"),
        *("64 file handles", "40 file handles", "400 MB of addresses"),
    }
)
"""Kinds that the long lane has, because the usual one has others like them (of the limits, in ``test_means``)."""
CELLS = [
    pytest.param(
        kind,
        position,
        id=f"{kind.name} / {position}",
        marks=[pytest.mark.long] * (number > 0 or kind.name in ALIKE),
    )
    for kind in kinds_server.kinds()
    for number, position in enumerate(kind.positions)
    if kind.lasts <= LONGEST
]


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with trial.bench(searches=5) as found:
        yield found


def test_the_kinds_of_the_long_lane_are_kinds() -> None:
    assert {kind.name for kind in kinds_server.kinds()} >= ALIKE


@pytest.mark.parametrize(("kind", "position"), CELLS)
def test_a_server_that_fails_costs_time_and_no_answers(bench: Bench, kind: Kind, position: str) -> None:
    cell = Cell(kind=kind.name, position=position)
    bench.try_out(kind, position, cell)
    assert cell.injected, "a fault that met no request tells nothing"
    assert not cell.violations
    assert (cell.wrong, cell.hangs) == (0, 0)
    assert cell.right + cell.told == len(bench.truth) == 20
    assert cell.healed == cell.told
