"""The fault matrix in short: each fault of a file or a page once. In full: ``python -m tests.chaos matrix``.

Kinds of one family differ in values alone, such as the status or the damaged bytes: the usual lane has one of each
family, the long one all the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.chaos import flips, kinds_api, kinds_files, kinds_http, trial, truths
from tests.chaos.kinds import PLACES, Kind, kinds
from tests.chaos.trial import Bench, Cell

pytestmark = pytest.mark.slow

KINDS = [*kinds_http.kinds(), *kinds_api.kinds(), *kinds_files.kinds()]
"""Of one file or page; those of a whole server are in ``test_faults_server``."""


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with trial.bench(searches=2) as found:
        yield found


def position_of(number: int, kind: Kind) -> str:
    """Another one for each kind, so that all have their share."""
    return kind.positions[number % len(kind.positions)]


FEW = 1
"""Kinds of each family in the usual lane."""


def family(kind: Kind) -> tuple[object, ...]:
    """How a kind fails, and what may come of it."""
    how = (kind.fault, kind.count is None, kind.skip, kind.onwards, *sorted(kind.always), kind.verify, kind.waits)
    return (*how, kind.positions, kind.recovers, kind.missing, kind.notice, kind.later)


def cells() -> Iterator[Any]:
    """Each kind at one position."""
    seen = Counter[object]()
    for number, kind in enumerate(KINDS):
        seen[family(kind)] += 1
        marks = [pytest.mark.long] * (seen[family(kind)] > FEW)
        yield pytest.param(kind, position_of(number, kind), id=kind.name, marks=marks)


@pytest.mark.parametrize(("kind", "position"), [*cells()])
def test_a_fault_is_survived_or_told_and_then_healed(bench: Bench, kind: Kind, position: str) -> None:
    cell = Cell(kind=kind.name, position=position)
    bench.try_out(kind, position, cell)
    assert cell.injected, "a fault that met no request tells nothing"
    assert not cell.violations
    assert (cell.wrong, cell.hangs) == (0, 0)
    assert cell.right + cell.told == len(bench.truth) == 8
    assert cell.healed == cell.told


def test_there_are_as_many_kinds_and_positions_as_promised() -> None:
    found = list(kinds())
    assert len({kind.name for kind in found}) == len(found) >= 200
    assert {position for kind in found for position in kind.positions} == set(PLACES)
    assert 20 * sum(len(kind.positions) for kind in found) >= 10_000


def test_the_oracle_sees_what_is_wrong(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without this, a matrix of zeros would prove nothing."""
    plain = next(kind for kind in KINDS if kind.name == "500 twice")
    wrong = {
        pair: truths.Truth(
            status="saved", crop=None if truth.crop is None else truth.crop + 1, counts=truth.counts
        )
        for pair, truth in bench.truth.items()
    }
    monkeypatch.setattr(bench, "truth", wrong)
    cell = Cell(kind=plain.name, position="first")
    bench.try_out(plain, "first", cell)
    assert cell.wrong == 8
    assert any("I3" in text for text in cell.violations)
    assert any("I4" in text for text in cell.violations)


def test_flipped_bits_never_get_through_with_verify(capsys: pytest.CaptureFixture[str]) -> None:
    assert flips.main(["--count", "60"]) == 0
    assert "without verify" in capsys.readouterr().out
