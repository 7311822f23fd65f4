from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from s2async.breaker import FAILURES, PERIOD, Circuit


def parked(now: float = 0.0) -> Circuit:
    circuit = Circuit()
    for number in range(1, FAILURES + 1):
        assert circuit.closed
        circuit = circuit.failed(number, now)
    return circuit


def test_failures_in_a_row_park_a_server_and_an_answer_between_them_does_not() -> None:
    circuit = parked(100.0)
    assert circuit.until == 100 + PERIOD
    assert not circuit.admits(100 + PERIOD - 0.01)
    assert circuit.admits(100 + PERIOD)
    circuit = Circuit()
    for number in range(10 * FAILURES):
        circuit = circuit.answered() if number % FAILURES == FAILURES - 1 else circuit.failed(number, 0.0)
    assert circuit.closed


def test_one_probe_at_a_time_decides_for_all() -> None:
    circuit = parked().probed(77)
    assert not circuit.admits(PERIOD + 1)
    assert circuit.failed(5, PERIOD + 1) is circuit, "what began before tells nothing new"
    assert circuit.abandoned(5) is circuit
    assert circuit.abandoned(77).admits(PERIOD + 1), "a probe that was cancelled makes room for another"
    again = circuit.failed(77, PERIOD + 1)
    assert again.until == 2 * PERIOD + 1
    assert not again.hopeless
    assert circuit.answered() == Circuit()


def test_a_server_is_given_up_when_the_patience_is_used_up_and_tried_on_all_the_same() -> None:
    circuit, now, probes = parked(), 0.0, 0
    while not circuit.hopeless:
        assert circuit.until is not None
        now, probes = circuit.until, probes + 1
        circuit = circuit.probed(1000 + probes).failed(1000 + probes, now)
    assert probes == 10
    assert now == 10 * PERIOD
    assert circuit.admits(now + PERIOD)
    assert circuit.probed(1).failed(1, now + PERIOD).hopeless
    assert circuit.answered() == Circuit()


def test_an_impatient_user_waits_no_longer_than_he_said() -> None:
    circuit = Circuit(patience=2.0).park(0.0, 300.0)
    assert circuit.until == 2.0
    assert circuit.probed(1).failed(1, 2.0).hopeless


@given(
    st.lists(
        st.tuples(st.sampled_from(["failed", "answered", "probe", "abandoned", "park"]), st.integers(1, 40)),
        max_size=200,
    )
)
def test_whatever_happens_a_parked_server_can_be_tried_again(events: list[tuple[str, int]]) -> None:
    circuit, now = Circuit(), 0.0
    for number, (event, time) in enumerate(events, start=1):
        now += time
        if event == "failed":
            circuit = circuit.failed(circuit.probe or number, now)
        elif event == "answered":
            circuit = circuit.answered()
        elif event == "park":
            circuit = circuit.park(now, time)
        elif event == "probe" and not circuit.closed and circuit.admits(now):
            circuit = circuit.probed(number)
        elif event == "abandoned":
            circuit = circuit.abandoned(circuit.probe)
        assert circuit.closed == circuit.admits(float("-inf"))
        assert circuit.closed or circuit.probe or circuit.admits(now + PERIOD + 10)
        assert circuit.closed or replace(circuit, probe=0).admits(float("inf"))
