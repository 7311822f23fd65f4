"""One thread, and others only while work piles up."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, Future

import pytest

from s2async.engine.writer_pool import PILE, PatientPool


def held(pool: PatientPool, go: threading.Event, pieces: int) -> list[Future[str]]:
    """So much work, none of which ends before it may; each tells its thread."""

    def work() -> str:
        assert go.wait(200)
        return threading.current_thread().name

    return [pool.submit(work) for _ in range(pieces)]


def test_one_thread_does_all_as_long_as_it_keeps_up() -> None:
    with PatientPool(4, name="patient") as pool:
        for _ in range(3):
            go = threading.Event()
            work = held(pool, go, PILE)
            assert pool.working == 1
            go.set()
            assert len({piece.result(30) for piece in work}) == 1


@pytest.mark.parametrize(("pieces", "threads"), [(PILE + 1, 1), (PILE + 2, 2), (100, 3)])
def test_others_help_when_work_piles_up(pieces: int, threads: int) -> None:
    with PatientPool(3, name="patient") as pool:
        go = threading.Event()
        first = held(pool, go, 1)
        while pool._waiting:
            pass
        work = first + held(pool, go, pieces - 1)
        while pool.working < threads:
            pass
        assert pool.working == threads
        go.set()
        assert len([piece.result(30) for piece in work]) == pieces
    assert pool.working == 0


def test_work_is_done_in_order_and_gives_what_it_gives() -> None:
    done = list[int]()

    def work(number: int, *, times: int) -> int:
        done.append(number)
        if number == 3:
            raise ValueError("three")
        return number * times

    with PatientPool(1, name="patient") as pool:
        found = [pool.submit(work, number, times=2) for number in range(6)]
        assert isinstance(found[3].exception(30), ValueError)
        assert [future.result(30) for future in found if future is not found[3]] == [0, 2, 4, 8, 10]
    assert done == [0, 1, 2, 3, 4, 5]


def test_whoever_leaves_waits_for_all_work() -> None:
    go = threading.Event()
    with PatientPool(2, name="patient") as pool:
        work = held(pool, go, 20)
        threading.Timer(0.1, go.set).start()
    assert all(piece.done() for piece in work)
    with pytest.raises(RuntimeError, match="shut down"):
        pool.submit(print)


def test_work_that_waits_can_be_cancelled() -> None:
    go = threading.Event()
    pool = PatientPool(1, name="patient")
    work = held(pool, go, 4)
    while not work[0].running():
        pass
    assert work[3].cancel()
    pool.shutdown(wait=False, cancel_futures=True)
    go.set()
    assert work[0].result(30)
    for piece in work[1:]:
        with pytest.raises(CancelledError):
            piece.result(30)
    pool.shutdown()
