from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2async.net.pace import INITIAL, CongestionWindow


class Server:
    """A server that is always asked as much as the window allows, one round trip after the other."""

    def __init__(self, most: int, room: int) -> None:
        self.window = CongestionWindow.initial(most)
        self.room = room
        self.begun = 0
        self.served = self.refused = 0

    def round_trip(self) -> int:
        """Fill the window, and end all that is under way: what is over the room is refused. Requests asked."""
        asked = self.window.size
        first, self.begun = self.begun + 1, self.begun + asked
        for place in range(asked):
            if place < self.room:
                # a place that becomes free is taken at once: all of the window stays in use
                self.window = self.window.answered(first + place, max(asked, self.window.size))
                self.served += 1
            else:
                self.window = self.window.overloaded(first + place, self.begun)
                self.refused += 1
        return asked


@given(most=st.integers(1, 300))
def test_it_begins_small_and_doubles_per_round_trip_up_to_the_most(most: int) -> None:
    server = Server(most, room=1000)
    asked = [server.round_trip() for _ in range(8)]
    assert asked == [min(most, INITIAL * 2**n) for n in range(8)]


@given(most=st.integers(1, 300), size=st.integers(1, 300))
def test_after_a_decrease_it_grows_by_one_per_round_trip(most: int, size: int) -> None:
    start = min(most, size)
    server = Server(most, room=1000)
    server.window = CongestionWindow(size=start, most=most, slow_start=False)
    assert [server.round_trip() for _ in range(5)] == [min(most, start + n) for n in range(5)]


@given(
    size=st.integers(1, 300),
    burst=st.lists(st.tuples(st.booleans(), st.integers(0, 299)), max_size=300),
    slow_start=st.booleans(),
)
def test_a_burst_of_complaints_halves_once_whatever_else_is_in_it(
    size: int, burst: list[tuple[bool, int]], slow_start: bool
) -> None:
    first, last = 1001, 1000 + size
    window = CongestionWindow(size=size, most=300, slow_start=slow_start).overloaded(last, last)
    half = window
    assert half.size == max(1, size // 2)
    for refused, place in burst:
        number = first + place % size
        window = window.overloaded(number, last + 5) if refused else window.answered(number, size)
    assert window == half
    assert window.overloaded(last + 1, last + 5).size == max(1, half.size // 2)


def test_after_a_decrease_a_whole_window_of_answers_is_wanted() -> None:
    window = CongestionWindow(size=8, most=64, slow_start=False, credit=7).overloaded(1, last=8)
    sizes = []
    for number in range(9, 14):
        window = window.answered(number, in_flight=8)
        sizes.append(window.size)
    assert sizes == [4, 4, 4, 5, 5]


@given(
    number=st.integers(1, 1000), size=st.integers(2, 300), unused=st.integers(1, 300), credit=st.integers(0, 400)
)
@pytest.mark.parametrize("slow_start", [True, False])
def test_answers_to_fewer_than_might_be_asked_say_nothing(
    slow_start: bool, number: int, size: int, unused: int, credit: int
) -> None:
    window = CongestionWindow(size=size, most=301, slow_start=slow_start, credit=credit)
    assert window.answered(number, max(0, size - unused)) == window
    assert window.answered(number, size) != window


@given(
    most=st.integers(1, 300),
    events=st.lists(st.tuples(st.booleans(), st.integers(1, 50), st.integers(0, 50), st.integers(0, 300))),
)
def test_whatever_happens_it_stays_in_its_bounds(most: int, events: list[tuple[bool, int, int, int]]) -> None:
    window = CongestionWindow.initial(most)
    for good, number, later, in_flight in events:
        before = window
        window = window.answered(number, in_flight) if good else window.overloaded(number, number + later)
        assert 1 <= window.size <= most
        assert before.size <= window.size <= before.size + 1 if good else window.size <= before.size
        assert window.recover >= before.recover
        assert not window.slow_start or before.slow_start


@given(room=st.integers(4, 100), most=st.integers(4, 150))
def test_it_finds_how_much_a_server_bears_and_keeps_near_it(room: int, most: int) -> None:
    server = Server(most, room)
    for _ in range(10):
        server.round_trip()  # the slow start overshoots
    server.served = server.refused = 0
    asked = [server.round_trip() for _ in range(200)]
    bears = min(room, most)
    assert bears // 2 <= min(asked) <= max(asked) <= bears + 1
    # a saw between a half and all of it: three quarters on average, and one refusal per tooth
    assert server.served >= 0.7 * bears * 200
    assert server.refused <= 1 + 200 / (bears - bears // 2)
    assert (server.refused == 0) == (most <= room)


def test_a_server_that_bears_nothing_is_asked_one_by_one() -> None:
    server = Server(64, room=0)
    assert [server.round_trip() for _ in range(6)] == [8, 4, 2, 1, 1, 1]
    server.room = 1000
    assert [server.round_trip() for _ in range(4)] == [1, 2, 3, 4]
