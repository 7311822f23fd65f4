from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2async.net.accounting import LEAST, SPAN, Flow


def judged(pieces: Iterable[tuple[float, int]]) -> float | None:
    """When a body was found to come too slowly: pieces are seconds and bytes."""
    flow = Flow()
    return next((now for now, size in pieces if flow.is_slow(now, size)), None)


@pytest.mark.parametrize("rate", [0.2, 1, 10, 50, 90])
def test_a_few_bytes_a_second_are_not_waited_for(rate: float) -> None:
    found = judged((100 + number / rate, 1) for number in range(1000))
    assert found is not None
    assert SPAN <= found - 100 <= SPAN + 1 / rate


def test_a_byte_now_and_then_is_no_sign_of_life() -> None:
    assert judged([(0, 1), (20, 1)]) == 20
    assert judged([(0, 1400), (0.1, 1400), (20, 1), (26, 1)]) == 26


@pytest.mark.parametrize("size", [78, 390, 1448])
def test_a_line_of_50_kilobytes_a_second_that_64_share_is_fast_enough(size: int) -> None:
    rate = 50_000 / 64
    assert judged((number * size / rate, size) for number in range(2000)) is None


def test_a_packet_after_a_silence_of_half_a_minute_is_enough() -> None:
    """What packets that are lost cost is no more than that, and silence is what the idle time-out is for."""
    assert judged((28.0 * number, 1448) for number in range(100)) is None


@given(st.lists(st.tuples(st.floats(0.001, 60), st.integers(1, 1 << 20)), max_size=50))
def test_only_a_full_span_with_less_than_the_least_is_slow(gaps: list[tuple[float, int]]) -> None:
    flow, now, begun, total = Flow(), 0.0, None, 0
    for gap, size in gaps:
        now += gap
        begun = now if begun is None else begun
        total += size
        full = now - begun >= SPAN
        assert flow.is_slow(now, size) == (full and total < LEAST * SPAN)
        if full:
            begun, total = now, 0


def test_a_short_body_is_never_slow() -> None:
    assert judged([(0, 300)]) is None
    assert judged([(0, 10), (SPAN - 0.1, 10)]) is None
