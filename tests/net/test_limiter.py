from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2async.errors import HostParked
from s2async.net import breaker
from s2async.net.limiter import TURN, Gate
from tests.support import clocks


async def pause(turns: int = 3) -> None:
    """Let the others go on."""
    for _ in range(turns):
        await asyncio.sleep(0)


class Visitors:
    """Tasks that want through a gate, by name, and the order in which they got in."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.inside: dict[int, int] = {}
        """Number of the request by name, in the order of entering."""
        self.tasks: dict[int, asyncio.Task[None]] = {}

    def come(
        self, name: int, stay: Callable[[], Coroutine[Any, Any, None]] | None = None, *, turn: int = 0
    ) -> None:
        async def visit() -> None:
            TURN.set(turn)
            self.inside[name] = await self.gate.enter()
            try:
                await (stay or asyncio.Event().wait)()
            finally:
                self.gate.leave()

        self.tasks[name] = asyncio.create_task(visit())

    async def go(self, *names: int) -> None:
        for name in names:
            self.tasks[name].cancel()
        await asyncio.gather(*(self.tasks.pop(name) for name in names), return_exceptions=True)

    async def close(self) -> None:
        await self.go(*self.tasks)
        assert self.gate.in_flight == 0


def played(play: Callable[[Gate, Visitors], Coroutine[Any, Any, None]], most: int = 2) -> None:
    async def main() -> None:
        gate = Gate(most, name="a.test")
        visitors = Visitors(gate)
        await play(gate, visitors)
        await visitors.close()
        assert await asyncio.wait_for(gate.enter(), 1)  # it works still
        gate.leave()

    clocks.run(main())


def test_who_came_first_gets_in_first_and_is_numbered() -> None:
    async def play(gate: Gate, visitors: Visitors) -> None:
        for name in range(5):
            visitors.come(name)
        await pause()
        assert list(visitors.inside.items()) == [(0, 1), (1, 2)]
        assert gate.in_flight == 2
        await visitors.go(1)
        visitors.come(5)
        await pause()
        assert list(visitors.inside) == [0, 1, 2]
        await visitors.go(0, 2)
        await pause()
        assert list(visitors.inside.items()) == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]

    played(play)


def test_the_lowest_turn_goes_first_and_of_one_turn_who_came_first() -> None:
    async def play(gate: Gate, visitors: Visitors) -> None:
        for name, turn in enumerate([7, 7, 3, 9, 3, 0, 1]):
            visitors.come(name, turn=turn)
        await pause()
        assert list(visitors.inside) == [0, 1], "there was room"
        for name in (0, 1, 5, 6, 2, 4):
            await visitors.go(name)
            await pause()
        assert list(visitors.inside.items()) == [(0, 1), (1, 2), (5, 3), (6, 4), (2, 5), (4, 6), (3, 7)]

    played(play)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=30))
def test_in_whatever_order_they_come_turns_are_kept(comers: list[tuple[int, bool]]) -> None:
    async def play(gate: Gate, visitors: Visitors) -> None:
        visitors.come(-1)
        await pause()
        for name, (turn, _) in enumerate(comers):
            visitors.come(name, turn=turn)
        await pause()
        await visitors.go(*(name for name, (_, impatient) in enumerate(comers) if impatient))
        expected = sorted((turn, name) for name, (turn, impatient) in enumerate(comers) if not impatient)
        for name in (-1, *(name for _, name in expected)):
            await visitors.go(name)
            await pause()
        assert list(visitors.inside) == [-1, *(name for _, name in expected)]

    played(play, most=1)


def test_a_place_that_is_free_is_given_without_delay() -> None:
    async def play(gate: Gate, visitors: Visitors) -> None:
        entering = gate.enter()
        with pytest.raises(StopIteration) as ended:  # its end, without a step of the event loop
            entering.send(None)
        assert ended.value.value == 1
        gate.leave()

    played(play)


def test_whoever_gives_up_waiting_takes_no_place() -> None:
    async def play(gate: Gate, visitors: Visitors) -> None:
        for name in range(5):
            visitors.come(name)
        await pause()
        await visitors.go(2, 3)
        await visitors.go(0)
        await pause()
        assert list(visitors.inside) == [0, 1, 4]
        assert gate.in_flight == 2

    played(play)


def test_a_place_is_passed_on_by_one_who_is_cancelled_as_his_turn_comes() -> None:
    async def play(gate: Gate, visitors: Visitors) -> None:
        for name in range(4):
            visitors.come(name)
        await pause()
        visitors.tasks[0].cancel()
        await asyncio.sleep(0)  # the first leaves: the third is given the place, and has not noticed yet
        assert gate.in_flight == 2
        assert 2 not in visitors.inside
        await visitors.go(2)
        await pause()
        assert list(visitors.inside) == [0, 1, 3]
        assert gate.in_flight == 2

    played(play)


def test_nobody_gets_into_a_parked_server_until_its_longest_time_is_over() -> None:
    async def play(gate: Gate, visitors: Visitors) -> None:
        visitors.come(0)
        await pause()
        gate.heed(0.1)
        gate.heed(0.3)
        gate.heed(0.2)
        visitors.come(1)
        await visitors.go(0)
        await asyncio.sleep(0.25)
        visitors.come(2)
        await asyncio.sleep(0.049)
        assert list(visitors.inside) == [0]
        await asyncio.sleep(0.002)
        assert list(visitors.inside) == [0, 1, 2]

    played(play)


def test_whoever_waits_for_a_parked_server_can_be_cancelled() -> None:
    async def play(gate: Gate, visitors: Visitors) -> None:
        gate.heed(0.05)
        visitors.come(0)
        visitors.come(1)
        await pause()
        assert gate.in_flight == 0
        await visitors.go(0)

    played(play)


def test_good_answers_widen_and_complaints_narrow_the_gate() -> None:
    async def play(gate: Gate, visitors: Visitors) -> None:
        for name in range(40):
            visitors.come(name)
        await pause()
        assert gate.in_flight == 8
        gate.answered(1)
        await visitors.go(0)
        await pause()
        assert gate.in_flight == 9  # one for the one that left, and one more
        for number in (2, 3, 4):
            gate.silent(number)
        await visitors.go(1, 2, 3, 4, 5)
        await pause()
        assert gate.in_flight == 4
        assert len(visitors.inside) == 10  # nobody came in meanwhile
        await visitors.go(6)
        await pause()
        assert len(visitors.inside) == 11

    played(play, most=64)


async def parked(gate: Gate) -> None:
    """Let a server fail until it is parked."""
    while gate.circuit.closed:
        number = await gate.enter()
        await asyncio.sleep(0.02)
        gate.failed(number)
        gate.leave(number)
    with pytest.raises(HostParked):
        await gate.enter()


def test_a_parked_server_turns_everybody_away_at_once_and_those_who_waited_as_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(breaker, "GLITCH", 0.0)

    async def play(gate: Gate, visitors: Visitors) -> None:
        for name in range(5):
            visitors.come(name)
        await pause()
        assert list(visitors.inside) == [0, 1]
        gate.failed(1)
        for number in range(3, 3 + breaker.FAILURES):
            gate.failed(number)
        assert gate.in_flight == 2
        with pytest.raises(HostParked, match=r"^a\.test is paused") as caught:
            await gate.enter()
        assert caught.value.origin == "a.test"
        ended = await asyncio.gather(*(visitors.tasks[name] for name in (2, 3, 4)), return_exceptions=True)
        assert [type(end) for end in ended] == [HostParked] * 3, "though no place has become free"
        assert gate.in_flight == 2
        gate.answered(2)  # of one who came before: the server is there after all

    played(play)


def test_the_probes_decide_for_all_who_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "PERIOD", 0.05)

    async def play(gate: Gate, visitors: Visitors) -> None:
        await parked(gate)
        waiting = [asyncio.create_task(gate.reopened()) for _ in range(4)]
        await pause()
        assert not any(task.done() for task in waiting)
        await asyncio.wait_for(asyncio.gather(*waiting), 2)
        probe, *others = [await gate.enter() for _ in range(breaker.PROBES)]
        with pytest.raises(HostParked):
            await gate.enter()
        waiting = [asyncio.create_task(gate.reopened()) for _ in range(4)]
        await asyncio.sleep(0.1)
        assert not any(task.done() for task in waiting), "however long it takes"
        gate.failed(probe)
        for number in (probe, *others):
            gate.leave(number)
        with pytest.raises(HostParked):
            await gate.enter()
        await asyncio.wait_for(waiting[0], 2)
        probe = await gate.enter()
        gate.alive(probe)
        gate.leave(probe)
        await asyncio.wait_for(asyncio.gather(*waiting), 2)
        assert gate.circuit.closed

    played(play, most=16)


def test_a_probe_that_ends_without_a_word_makes_room_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "PERIOD", 0.05)

    async def play(gate: Gate, visitors: Visitors) -> None:
        await parked(gate)
        await gate.reopened()
        probe, *others = [await gate.enter() for _ in range(breaker.PROBES)]
        waiting = asyncio.create_task(gate.reopened())
        await pause()
        assert not waiting.done()
        gate.leave(probe)
        await asyncio.wait_for(waiting, 1)
        for number in others:
            gate.leave(number)
        probe = await gate.enter()
        gate.answered(probe)
        gate.leave(probe)

    played(play, most=16)


def test_a_server_that_is_given_up_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "PERIOD", 0.3)

    async def main() -> None:
        gate = Gate(2, name="a.test", patience=0.6)
        await parked(gate)
        while not gate.circuit.given_up:
            await gate.reopened()
            probes = [await gate.enter() for _ in range(2)]
            waiting = [asyncio.create_task(gate.reopened()) for _ in range(2 * breaker.PROBES)]
            for probe in probes:
                gate.failed(probe)
                gate.leave(probe)
        for wait in (*waiting, gate.reopened()):
            with pytest.raises(HostParked, match=r"^a\.test gave no good answer for 1 s "):
                await asyncio.wait_for(wait, 1)

    clocks.run(main())


@pytest.mark.parametrize(("seconds", "turned_away"), [(0.05, False), (1.0, True), (None, False), (0.0, False)])
def test_what_a_server_asks_for_is_done_or_it_is_not_asked(seconds: float | None, turned_away: bool) -> None:
    async def main() -> None:
        gate = Gate(2, patience=0.5)
        gate.heed(seconds)
        started = asyncio.get_running_loop().time()
        if turned_away:
            with pytest.raises(HostParked):
                await gate.enter()
        else:
            gate.leave(await gate.enter())
            assert asyncio.get_running_loop().time() - started >= (seconds or 0) - 0.01

    clocks.run(main())


@given(
    most=st.integers(1, 12),
    visits=st.lists(
        st.tuples(st.integers(0, 4), st.sampled_from(["good", "bad", "neither", "cancelled"])), max_size=60
    ),
)
def test_nobody_is_forgotten_and_nobody_overtakes(most: int, visits: list[tuple[int, str]]) -> None:
    order: list[int] = []
    numbers: list[int] = []

    async def visit(gate: Gate, name: int, turns: int, ending: str) -> None:
        number = await gate.enter()
        assert 1 <= gate.in_flight <= most
        order.append(name)
        numbers.append(number)
        try:
            await pause(turns)
            if ending == "good":
                gate.answered(number)
            elif ending == "bad":
                gate.silent(number)
        finally:
            gate.leave()

    async def main() -> None:
        gate = Gate(most)
        tasks = [asyncio.create_task(visit(gate, name, *how)) for name, how in enumerate(visits)]
        for task, (turns, ending) in zip(tasks, visits, strict=True):
            if ending == "cancelled":
                await pause(turns)
                task.cancel()
        ended = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)
        assert all(error is None or isinstance(error, asyncio.CancelledError) for error in ended)
        assert gate.in_flight == 0
        assert 1 <= gate.window.size <= most

    clocks.run(main())
    assert order == sorted(order)
    assert numbers == sorted(set(numbers))
    assert set(order) >= {name for name, (_, ending) in enumerate(visits) if ending != "cancelled"}


def test_a_server_that_asks_for_too_much_is_given_up() -> None:
    async def main() -> None:
        api = Gate(2, name="a.test")
        number = await api.enter()
        api.heed(86_400)
        with pytest.raises(HostParked, match=r"^a\.test asks to wait 86,400 s"):
            await api.enter()
        api.leave(number)
        assert api.circuit.given_up
        with pytest.raises(HostParked):
            await api.reopened()

    clocks.run(main())


def test_a_refusal_sets_a_pace_that_all_behind_it_keep() -> None:
    async def play(gate: Gate, visitors: Visitors) -> None:
        for name in range(8):
            visitors.come(name, stay=pause)
        await pause(20)
        assert len(visitors.inside) == 8, "no pace before the first refusal"
        number = await gate.enter()
        gate.refused(number)
        gate.leave(number)
        for name in range(8, 12):
            visitors.come(name, stay=pause)
        await pause(20)
        assert len(visitors.inside) < 12
        await asyncio.sleep(0.1)
        assert len(visitors.inside) == 12

    played(play, most=64)


def test_those_of_the_lowest_turns_are_the_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "PERIOD", 0.1)
    woken: list[int] = []
    told = asyncio.Event()

    async def wait(gate: Gate, turn: int) -> None:
        TURN.set(turn)
        await gate.reopened()
        woken.append(turn)
        number = await gate.enter()
        await told.wait()
        gate.leave(number)

    async def main() -> None:
        gate = Gate(64, name="a.test")
        await parked(gate)
        turns = [7 * n % 41 for n in range(1, 41)]
        tasks = [asyncio.create_task(wait(gate, turn)) for turn in turns]
        await asyncio.sleep(0.4)
        assert sorted(woken) == list(range(1, breaker.PROBES + 1)), "the others wait for what they tell"
        gate.alive(3)
        told.set()
        await asyncio.wait_for(asyncio.gather(*tasks), 1)

    clocks.run(main())


def test_a_gate_that_is_shared_admits_its_part_and_later_more() -> None:
    async def play(gate: Gate, visitors: Visitors) -> None:
        for name in range(12):
            visitors.come(name)
        await pause()
        assert gate.in_flight == 8
        gate.share(4, 3)
        await visitors.go(*[*visitors.inside][:5])
        await pause()
        assert (gate.in_flight, gate.window.most) == (4, 4)
        gate.share(12, 1)
        for number in range(5, 9):
            gate.answered(number)
        assert gate.window.size > 4

    played(play, most=12)


def test_a_server_is_silent_as_long_as_it_begins_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        now = 0.0
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)
        gate = Gate(4, name="a.test")
        assert gate.silence == 0, "it was not asked"
        first = await gate.enter()
        now = 3.0
        second = await gate.enter()
        now = 7.0
        assert gate.silence == 7.0
        gate.heard(first)
        gate.leave(first)
        now = 9.0
        assert gate.silence == 2.0, "the other request still waits"
        gate.failed(second)
        gate.leave(second)
        now = 12.0
        assert gate.silence == 5.0, "it will be sent again"
        third = await gate.enter()
        gate.heard(third)
        gate.answered(third)
        gate.leave(third)
        now = 50.0
        assert gate.silence == 0, "it is not asked any more"
        await gate.enter()
        now = 51.0
        assert gate.silence == 1.0

    asyncio.run(main())


def test_a_server_whose_answers_take_long_is_not_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a slow line, all requests under way may be receiving for longer than silence is waited for."""

    async def main() -> None:
        now = 0.0
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)
        gate = Gate(4, name="a.test")
        receiving = [await gate.enter() for _ in range(3)]
        now = 1.0
        for number in receiving:
            gate.heard(number)
        now = 30.0
        assert gate.silence == 0
        fourth = await gate.enter()
        now = 33.0
        assert gate.silence == 3.0
        gate.leave(fourth)  # cancelled
        now = 40.0
        assert gate.silence == 0

    asyncio.run(main())
