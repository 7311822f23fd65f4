from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2async.net.breaker import BROKEN, DOUBT, FIRST, GLITCH, MANY, PERIOD, PROBES, REFUSED, TIMED_OUT, Circuit

STEP = 0.2
"""Seconds between the failures of one after the other."""


def failing(circuit: Circuit, times: int, now: float = 0.0, *, weight: int = BROKEN, files: int = MANY) -> Circuit:
    """The circuit after requests failed one after the other, each for one of so many files."""
    for number in range(1, times + 1):
        circuit = circuit.failed(number, now, last=number, file=number % files, weight=weight)
        now += STEP
    return circuit


def parked(patience: float = 10 * PERIOD) -> Circuit:
    """A circuit that has just parked its server, for which all sorts of files were wanted."""
    circuit, number, now = Circuit(patience=patience), 0, 0.0
    while circuit.closed:
        number, now = number + 1, now + STEP
        circuit = circuit.failed(number, now, last=number + MANY, file=number)
        for under_way in range(number + 1, number + 1 + MANY):
            circuit = circuit.failed(under_way, now, last=number + MANY, file=under_way)
        number += MANY
    return circuit


@pytest.mark.parametrize(("weight", "times"), [(REFUSED, 10), (BROKEN, 5), (TIMED_OUT, 3)])
def test_failures_in_a_row_park_a_server_and_each_kind_has_its_weight(weight: int, times: int) -> None:
    assert failing(Circuit(), times - 1, weight=weight).closed
    circuit = failing(Circuit(), times, weight=weight)
    noted = (times - 1) * STEP
    assert circuit.until == pytest.approx(noted + FIRST)
    assert not circuit.admits(noted + FIRST - 0.01)
    assert circuit.admits(noted + FIRST + 0.01)


def test_an_answer_between_them_begins_the_row_anew() -> None:
    circuit = Circuit()
    for number in range(1, 200):
        circuit = (
            circuit.answered(number) if number % 5 == 0 else circuit.failed(number, STEP * number, last=number)
        )
        assert circuit.closed


def test_what_was_under_way_together_counts_once() -> None:
    circuit = Circuit()
    for number in range(1, 65):
        circuit = circuit.failed(number, 0.01 * number, last=64)
    assert circuit.failures == BROKEN
    assert circuit.closed
    assert circuit.failed(65, 1.0, last=65).failures == 2 * BROKEN


def test_a_request_that_fails_for_the_third_time_parks_a_server_that_answers_nobody() -> None:
    """The only one that is made, perhaps: it would use up its tries before there are enough failures."""

    def third(at: float, *, before: int = 2, weight: int = REFUSED) -> Circuit:
        circuit = Circuit().failed(1, 0.0, last=1, weight=weight).failed(2, 0.4, last=2, weight=weight, before=1)
        return circuit.failed(3, at, last=3, weight=weight, before=before)

    assert third(FIRST).until == pytest.approx(2 * FIRST)
    assert third(FIRST - 0.1).closed, "no pause before a server was silent for as long"
    assert third(FIRST, before=1).closed, "others fail, and may be answered the next time"
    assert third(FIRST, weight=0).closed, "it answers, though not to the end"


@pytest.mark.parametrize(("doubt", "files"), [(DOUBT, 2), (DOUBT, MANY - 1), (60.0, 2)])
def test_a_few_that_fail_are_parked_for_as_long_as_it_is_in_doubt(doubt: float, files: int) -> None:
    """Two files at the end of a run cost some seconds; searches are always few, and are doubted longer."""
    circuit, number, now = failing(Circuit(doubt=doubt), 20, files=files), 1000, 20 * STEP
    while not circuit.closed:
        assert circuit.until is not None
        now, number = max(now, circuit.until), number + 1
        circuit = circuit.probed(number).failed(number, now, last=number, file=number % files)
    assert doubt <= circuit.waited(now) <= 2 * doubt + FIRST
    assert not circuit.given_up
    assert circuit.answered(number) == Circuit(doubt=doubt)


def test_a_glitch_costs_no_pause() -> None:
    circuit = Circuit()
    for number in range(1, 100):
        circuit = circuit.failed(number, GLITCH * number / 100, last=number)
    assert circuit.closed
    assert circuit.answered(100) == Circuit()


def test_a_few_probes_at_a_time_decide_for_all() -> None:
    circuit = parked()
    assert circuit.until is not None
    now = circuit.until
    for number in range(70, 70 + PROBES):
        assert circuit.admits(now)
        circuit = circuit.probed(number)
    assert not circuit.admits(now)
    assert circuit.failed(5, now, last=77) is circuit, "what began before tells nothing new"
    assert circuit.abandoned(5) is circuit
    assert circuit.abandoned(77).admits(now), "a probe that was cancelled makes room for another"
    failed = circuit.failed(77, now, last=77)
    assert failed.until == pytest.approx(now + 2 * FIRST)
    assert failed.failed(76, now + 0.1, last=77) is failed, "they were under way together"
    assert failed.answered(76) == Circuit()
    assert circuit.failed(77, now, last=77, weight=0).closed, "it answers, though not to the end"
    assert circuit.answered(77) == Circuit()
    assert circuit.answered(5) == Circuit(), "the server is there after all"


def test_pauses_begin_at_a_second_and_double_to_half_a_minute() -> None:
    circuit, pauses, now = parked(), list[float](), 0.0
    for number in range(1000, 1008):
        assert circuit.until is not None
        pauses.append(circuit.until - now if now else FIRST)
        now = circuit.until
        circuit = circuit.probed(number).failed(number, now, last=number)
    assert pauses == pytest.approx([1, 2, 4, 8, 16, 30, 30, 30])


def test_a_server_is_given_up_when_the_patience_is_used_up_and_tried_on_all_the_same() -> None:
    circuit, now, probe = parked(patience=100), 0.0, 1000
    while not circuit.given_up:
        assert circuit.until is not None
        now, probe = circuit.until, probe + 1
        circuit = circuit.probed(probe).failed(probe, now, last=probe)
    assert circuit.waited(now) == pytest.approx(100), "the last pause ends with the patience"
    assert probe == 1000 + 8  # after 1, 2, 4, 8, 16, 30, 30 and the rest
    assert circuit.admits(now + PERIOD)
    assert circuit.probed(1).failed(1, now + PERIOD, last=2000).given_up
    assert circuit.answered(2000) == Circuit(patience=100)


def test_an_impatient_user_waits_no_longer_than_he_said() -> None:
    circuit = parked(patience=1.5)
    circuit = circuit.probed(999).failed(999, circuit.until or 0, last=999)
    assert circuit.parked is not None
    assert circuit.until == pytest.approx(circuit.parked + 1.5)
    assert circuit.probed(1000).failed(1000, circuit.until or 0, last=1000).given_up


def test_a_few_files_that_fail_are_soon_left_to_their_own_tries() -> None:
    """Two that are out of order, and nothing else to ask for: the last of a run."""
    circuit = failing(Circuit(), 20, files=2)
    assert not circuit.closed
    now, number = 0.0, 1000
    while not circuit.closed:
        assert circuit.until is not None
        assert not circuit.given_up
        now, number = circuit.until, number + 1
        circuit = circuit.probed(number).failed(number, now, last=number, file=number % 2)
    assert DOUBT <= circuit.waited(now) <= 2 * DOUBT + FIRST
    for each in range(2000, 2020):
        now += STEP
        circuit = circuit.failed(each, now, last=each, file=each % 2)
        assert circuit.closed
    for each in range(3000, 3000 + MANY - 2):
        assert circuit.closed
        circuit = circuit.failed(each, now, last=each, file=each)
    assert not circuit.closed, "so many are not broken all at once"


def test_what_comes_slowly_parks_nobody_but_is_given_up_in_the_end() -> None:
    circuit = Circuit(patience=60)
    for number in range(1, 60):
        circuit = circuit.failed(number, float(number), last=number, weight=0)
        assert circuit.closed
    assert circuit.failed(61, 61.0, last=61, weight=0).given_up


@pytest.mark.parametrize("before", [Circuit(), parked(), parked().probed(7)])
def test_a_server_that_asks_for_too_much_patience_is_given_up_whatever_else_it_answers(before: Circuit) -> None:
    circuit = before.told_to_wait(100.0, 86_400.0)
    assert circuit.given_up
    assert not circuit.admits(86_499.0)
    assert circuit.admits(86_501.0)
    assert circuit.answered(5) is circuit
    assert circuit.failed(6, 101.0, last=9) is circuit
    assert circuit.probed(99).answered(99) == Circuit()


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["failed", "answered", "probe", "abandoned", "told"]),
            st.integers(1, 40),
            st.sampled_from([0, REFUSED, BROKEN, TIMED_OUT]),
            st.integers(1, 12),
        ),
        max_size=200,
    )
)
def test_whatever_happens_a_parked_server_can_be_tried_again(events: list[tuple[str, int, int, int]]) -> None:
    circuit, now = Circuit(), 0.0
    for number, (event, time, weight, file) in enumerate(events, start=1):
        now += time
        if event == "failed":
            circuit = circuit.failed(
                min(circuit.probes, default=number), now, last=number, file=file, weight=weight
            )
        elif event == "answered":
            circuit = circuit.answered(number)
        elif event == "told":
            circuit = circuit.told_to_wait(now, time)
        elif event == "probe" and not circuit.closed and circuit.admits(now):
            circuit = circuit.probed(number)
        elif event == "abandoned":
            circuit = circuit.abandoned(min(circuit.probes, default=0))
        assert circuit.closed == circuit.admits(float("-inf"))
        assert circuit.closed or circuit.probes or circuit.admits(now + PERIOD + 10)
        assert circuit.closed or replace(circuit, probes=frozenset()).admits(float("inf"))
        assert len(circuit.files) <= MANY
