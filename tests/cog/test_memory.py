from __future__ import annotations

import asyncio
import platform
import subprocess
import sys
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2async.cog import memory
from s2async.cog.memory import Budget
from tests.support.examples import examples

HOLES = """
from pathlib import Path
from s2async.cog import memory

def megabytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

blocks = [bytearray(60_000) for _ in range(2_000)]  # too small for pages of their own
full = megabytes()
kept = blocks[::20]
del blocks
freed = megabytes()
assert memory.give_back()
print(full - freed, freed - megabytes(), len(kept))
"""

LAZY = """
from pathlib import Path
from s2async.cog import memory

def megabytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

before = megabytes()
pieces = [memory.zeros(1_000_000) for _ in range(100)]
empty = megabytes()
for piece in pieces:
    piece[:500_000] = bytes([1]) * 500_000
half = megabytes()
kept = pieces[::10]
del pieces, piece
print(empty - before, half - before, megabytes() - before, len(kept))
"""


def test_a_budget_is_given_first_come_first_served() -> None:
    async def main() -> list[str]:
        budget, order = Budget(10), []

        async def hold(name: str, size: int) -> None:
            async with budget.hold(size):
                order.append(name)
                await asyncio.sleep(0.01)

        async with asyncio.TaskGroup() as group:
            for name, size in [("a", 6), ("large", 8), ("small", 1), ("more than all", 99), ("last", 1)]:
                group.create_task(hold(name, size))
                await asyncio.sleep(0)
        return order

    assert asyncio.run(main()) == ["a", "large", "small", "more than all", "last"]


def test_one_that_gives_up_waiting_lets_the_next_one_through() -> None:
    async def main() -> None:
        budget = Budget(10)

        async def hold(size: int) -> None:
            async with budget.hold(size):
                pass

        async with budget.hold(5):
            large = asyncio.create_task(hold(9))
            await asyncio.sleep(0)
            small = asyncio.create_task(hold(2))
            await asyncio.sleep(0)
            large.cancel()
            async with asyncio.timeout(60):
                await small

    asyncio.run(main())


def test_what_is_given_back_early_lets_the_next_one_through() -> None:
    async def main() -> None:
        budget, entered = Budget(10), []

        async def hold(size: int) -> None:
            async with budget.hold(size):
                entered.append(size)

        async with budget.hold(25) as share:
            waiting = [asyncio.create_task(hold(size)) for size in (4, 6)]
            await asyncio.sleep(0)
            share.give_back(15)  # what is left is still all there is
            await asyncio.sleep(0.01)
            assert entered == []
            share.give_back(3)
            await asyncio.sleep(0.01)
            assert entered == []
            share.give_back(1)
            await asyncio.gather(waiting[0])
            assert entered == [4]
        await asyncio.gather(waiting[1])
        async with asyncio.timeout(60), budget.hold(10):
            pass

    asyncio.run(main())


steps = st.tuples(
    st.integers(0, 15),  # bytes
    st.integers(0, 4),  # turns of the loop before it asks
    st.integers(0, 4),  # turns that it holds them
    st.none() | st.integers(0, 8),  # turns until it is cancelled
)


@examples(200)
@given(st.integers(1, 10), st.lists(steps, max_size=12))
def test_a_budget_is_never_overdrawn_never_lost_and_never_stuck(
    size: int, plans: list[tuple[int, int, int, int | None]]
) -> None:
    async def main() -> None:
        budget, held, waiting = Budget(size), 0, deque[int]()

        async def turns(number: int) -> None:
            for _ in range(number):
                await asyncio.sleep(0)

        async def hold(index: int, wanted: int, before: int, during: int) -> None:
            nonlocal held
            await turns(before)
            waiting.append(index)
            try:
                async with budget.hold(wanted):
                    waiting.remove(index)
                    mine = min(wanted, size)
                    held += mine
                    try:
                        assert held <= size
                        if wanted >= size:
                            assert held == size == mine
                        await turns(during)
                    finally:
                        held -= mine
            finally:
                if index in waiting:
                    waiting.remove(index)

        async def cancel(task: asyncio.Task[None], after: int) -> None:
            await turns(after)
            task.cancel()

        async with asyncio.timeout(60):
            tasks = [asyncio.create_task(hold(i, *plan[:3])) for i, plan in enumerate(plans)]
            cancels = [
                asyncio.create_task(cancel(task, plan[3]))
                for task, plan in zip(tasks, plans, strict=True)
                if plan[3] is not None
            ]
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.gather(*cancels)
            assert all(end is None or isinstance(end, asyncio.CancelledError) for end in ended), ended
            assert not waiting
            async with budget.hold(size):  # all of it is there again
                pass

    asyncio.run(main())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells its memory in /proc")
def test_large_pieces_take_memory_where_they_are_written_to_and_only_while_somebody_has_them() -> None:
    done = subprocess.run([sys.executable, "-c", LAZY], capture_output=True, text=True, check=True)
    empty, half, after, _ = map(float, done.stdout.split())
    assert empty < 5
    assert 50 <= half < 60
    assert after < 10  # of ten that are kept, 5


@pytest.mark.parametrize("size", [0, 1, memory.LARGE - 1, memory.LARGE, memory.LARGE + 1])
def test_memory_to_be_filled_is_all_zeros(size: int) -> None:
    found = memoryview(memory.zeros(size))
    assert found == bytes(size)
    assert not found.readonly


def test_more_memory_than_there_is_is_an_error_that_says_so() -> None:
    with pytest.raises(MemoryError, match=r"^no room for 4,611,686,018,427,387,904 bytes$"):
        memory.zeros(1 << 62)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives free pages back on demand")
def test_free_memory_between_blocks_in_use_goes_back_to_the_machine() -> None:
    """In a process of its own: what others left in the heap would count too."""
    done = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, check=True)
    by_itself, on_demand, _ = map(float, done.stdout.split())
    assert by_itself < 20  # the blocks that are kept hold the rest
    assert on_demand > 80


def test_where_nothing_is_free_or_no_such_call_nothing_is_said_to_be_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "_TRIM", None)
    assert not memory.give_back()
