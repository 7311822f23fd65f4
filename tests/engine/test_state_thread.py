"""The thread of the state: calls one after another, and work that no cancellation cuts off."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace

import pytest

from s2async.engine.recording import slices
from s2async.engine.state_thread import StateThread, to_the_end
from s2async.models import BatchResult, FileFact, Job, Outcome, Status, Traffic, Use
from tests.support.states import make_area, make_scene


def test_calls_run_one_after_another_in_one_thread_that_is_not_the_loops() -> None:
    ran = list[tuple[int, int]]()
    running = list[int]()

    def call(number: int, *, factor: int) -> int:
        running.append(number)
        assert running == [number]
        ran.append((number, threading.get_ident()))
        running.remove(number)
        return number * factor

    async def main() -> list[int]:
        thread = StateThread()
        found = await asyncio.gather(*[thread.call(call, number, factor=2) for number in range(20)])
        with pytest.raises(ZeroDivisionError):
            await thread.call(lambda: 1 // 0)
        thread.close()
        thread.close()
        return found

    assert asyncio.run(main()) == [2 * number for number in range(20)]
    assert [number for number, _ in ran] == [*range(20)]
    assert len({thread for _, thread in ran}) == 1
    assert ran[0][1] != threading.get_ident()


def test_a_brief_call_changes_threads_only_while_another_one_goes_on() -> None:
    may_end = threading.Event()

    async def main() -> None:
        thread = StateThread()
        assert await thread.brief(threading.get_ident) == threading.get_ident()
        calling = asyncio.create_task(thread.call(may_end.wait, 10))
        await asyncio.sleep(0)
        waiting = asyncio.create_task(thread.brief(threading.get_ident))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        may_end.set()
        assert await calling
        assert await waiting != threading.get_ident()
        thread.close()

    asyncio.run(main())


def test_closing_waits_for_the_call_that_goes_on() -> None:
    begun, may_end, ended = threading.Event(), threading.Event(), list[bool]()

    def call() -> None:
        begun.set()
        may_end.wait(10)
        ended.append(True)

    async def main() -> None:
        thread = StateThread()
        calling = asyncio.create_task(thread.call(call))
        await asyncio.to_thread(begun.wait, 10)
        calling.cancel()
        await asyncio.wait([calling])
        assert calling.cancelled()
        threading.Timer(0.05, may_end.set).start()
        thread.close()
        assert ended

    asyncio.run(main())


def test_what_is_done_to_the_end_is_done_before_the_cancellation_passes() -> None:
    done = list[str]()

    async def work() -> str:
        for number in range(3):
            await asyncio.sleep(0.01)
            done.append(f"{number}")
        return "result"

    async def fail() -> None:
        await asyncio.sleep(0)
        raise ZeroDivisionError

    async def main() -> None:
        assert await to_the_end(work()) == "result"
        with pytest.raises(ZeroDivisionError):
            await to_the_end(fail())
        task = asyncio.create_task(to_the_end(work()))
        for _ in range(2):
            await asyncio.sleep(0)
            task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    asyncio.run(main())
    assert done == ["0", "1", "2"] * 2


def test_a_result_is_split_into_slices_of_which_the_first_has_what_is_about_all() -> None:
    scene = make_scene()
    jobs = [Job(id=number << 8, area=make_area(f"a{number}"), scene=scene) for number in range(1, 10)]
    whole = BatchResult(
        outcomes=tuple(Outcome(job=job, status=Status.OUTSIDE) for job in jobs[:7]),
        left=tuple(jobs[7:]),
        parked="http://away",
        files=(FileFact(asset="scl", href="http://a/b", size=5, etag=""),),
        traffic=(Traffic(stage="tiles", asset="scl", use=Use.USEFUL, requests=1, bytes=5),),
    )
    parts = [*slices(whole, 3)]
    assert [len(part.outcomes) for part in parts] == [3, 3, 1]
    assert [part.left for part in parts] == [whole.left, (), ()]
    assert sum((part.outcomes for part in parts), ()) == whole.outcomes
    assert [part.files for part in parts] == [whole.files, (), ()]
    assert [part.traffic for part in parts] == [whole.traffic, (), ()]
    row = [replace(outcome, job=replace(outcome.job, id=number)) for number, outcome in enumerate(whole.outcomes)]
    parts = [*slices(replace(whole, outcomes=(*whole.outcomes, *row)), 3)]
    assert [len(part.outcomes) for part in parts] == [7, 3, 3, 1], "jobs of one row of the state stay together"
    nothing = replace(whole, outcomes=(), left=())
    assert [*slices(nothing, 3)] == [nothing]
