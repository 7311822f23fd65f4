from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2async.net.retries import FLOOR, MOST, SHARE, TIMED_OUT, RetryBudget, equal_jitter, full_jitter


def test_a_run_begins_with_all_that_can_be_saved_up() -> None:
    budget = RetryBudget(0.0)
    assert sum(budget.spend(0.0) for _ in range(1000)) == MOST


def test_requests_and_time_earn_retries() -> None:
    budget = RetryBudget(0.0)
    while budget.spend(0.0):
        pass
    for _ in range(1000):
        budget.earn()
    assert sum(budget.spend(0.0) for _ in range(1000)) in (99, 100)
    while budget.spend(0.0, 0.001):
        pass
    assert budget.wait() == pytest.approx(1 / FLOOR, abs=0.01)
    assert not budget.spend(0.9 / FLOOR)
    assert budget.spend(1.1 / FLOOR)
    assert sum(budget.spend(11.2 / FLOOR) for _ in range(100)) == 10


def test_a_retry_that_helped_is_free() -> None:
    budget = RetryBudget(0.0)
    for _ in range(10 * int(MOST)):
        assert budget.spend(0.0)
        assert budget.spend(0.0, TIMED_OUT)
        budget.give_back(1 + TIMED_OUT)
    assert budget.left == MOST
    budget.give_back(5)
    assert budget.left == MOST, "nobody gets more than there can be"
    assert budget.wait() == 0


def test_a_retry_after_a_time_out_costs_more() -> None:
    budget = RetryBudget(0.0)
    assert sum(budget.spend(0.0, TIMED_OUT) for _ in range(1000)) == MOST / TIMED_OUT


@given(st.lists(st.one_of(st.just("ask"), st.just("fail"), st.floats(0, 3600)), max_size=400))
def test_retries_stay_within_their_share_of_the_requests(events: list[str | float]) -> None:
    now, asked, retried = 0.0, 0, 0
    budget = RetryBudget(now)
    for event in events:
        if isinstance(event, float):
            now += event
        elif event == "ask":
            asked += 1
            budget.earn()
        else:
            retried += sum(budget.spend(now) for _ in range(30))
        assert retried <= SHARE * asked + FLOOR * now + MOST + 1e-6


@pytest.mark.parametrize("parts", [1, 4, 1000])
def test_budgets_that_are_shared_are_together_what_one_is(parts: int) -> None:
    budget = RetryBudget(0.0)
    budget.share(parts)
    at_once = sum(budget.spend(0.0) for _ in range(1000))
    assert at_once == max(MOST // parts, TIMED_OUT)
    earned = sum(budget.spend(second * parts / FLOOR) for second in range(1, 11) for _ in range(10))
    assert earned == 10
    assert budget.spend(1e9, TIMED_OUT), "each retry can be paid for in the end"
    budget.share(1)
    assert sum(budget.spend(2e9) for _ in range(1000)) == MOST


@pytest.mark.parametrize(("wait", "least"), [(full_jitter, 0.0), (equal_jitter, 0.5)])
def test_waits_grow_are_capped_and_spread(wait: Callable[[int], float], least: float) -> None:
    for attempt, most in [(1, 0.5), (2, 1), (3, 2), (5, 8), (7, 20), (1000, 20)]:
        waits = [wait(attempt) for _ in range(500)]
        assert least * most <= min(waits) < (least + 0.1) * most
        assert 0.9 * most < max(waits) <= most
