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
CELLS = [
    pytest.param(kind, position, id=f"{kind.name} / {position}", marks=[pytest.mark.long] * (number > 0))
    for kind in kinds_server.kinds()
    for number, position in enumerate(kind.positions)
    if kind.lasts <= LONGEST
]


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with trial.bench(searches=5) as found:
        yield found


@pytest.mark.parametrize(("kind", "position"), CELLS)
def test_a_server_that_fails_costs_time_and_no_answers(bench: Bench, kind: Kind, position: str) -> None:
    cell = Cell(kind=kind.name, position=position)
    bench.try_out(kind, position, cell)
    assert cell.injected, "a fault that met no request tells nothing"
    assert not cell.violations
    assert (cell.wrong, cell.hangs) == (0, 0)
    assert cell.right + cell.told == len(bench.truth) == 20
    assert cell.healed == cell.told
