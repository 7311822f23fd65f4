"""The queue between searchers and workers: its bound, its order, and who gives up waiting."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely import box

from s2async.engine import job_queue
from s2async.engine.job_queue import BATCH_PIXELS, DENSE_PIXELS, FEW, JobQueue, OverpassQueue, batches
from s2async.models import LONGEST_BATCH, Job
from tests.support.examples import examples
from tests.support.states import make_area, make_scene


def make_jobs(scene: int, count: int, *, version: str = "v1", kilometres: float = 1) -> list[Job]:
    """Jobs of one scene, each of a square of that side."""
    found = make_scene(f"S2A_33UUU_2022{scene:04}_0_L2A", version=version)
    square = box(13, 52, 13 + kilometres / 68.5, 52 + kilometres / 111.3)
    return [
        Job(id=scene * 100_000 + number, area=replace(make_area(f"a{number}"), wkb=square.wkb), scene=found)
        for number in range(count)
    ]


@examples(60)
@given(
    capacity=st.integers(1, 90),
    sizes=st.lists(st.lists(st.integers(0, 200), max_size=6), min_size=1, max_size=5),
    takers=st.integers(1, 5),
    seed=st.integers(0, 1000),
)
def test_every_job_comes_out_once_within_the_bound_and_with_its_scene(
    capacity: int, sizes: list[list[int]], takers: int, seed: int
) -> None:
    queue, chance, taken = JobQueue(capacity), random.Random(seed), list[list[Job]]()
    most = max(size for runs in sizes for size in [*runs, 0])
    feeds = [[make_jobs(100 * feed + at, size) for at, size in enumerate(runs)] for feed, runs in enumerate(sizes)]

    async def pause() -> None:
        for _ in range(chance.randrange(3)):
            await asyncio.sleep(0)

    async def put(runs: Sequence[Sequence[Job]]) -> None:
        for jobs in runs:
            await queue.put_run(jobs)
            assert len(queue) <= max(capacity, most)
            await pause()

    async def take() -> None:
        while jobs := (await queue.take_run())[0]:
            assert len({job.scene.id for job in jobs}) == 1
            taken.append(jobs)
            await pause()
            await queue.done(len(jobs))

    async def main() -> None:
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            working = [group.create_task(take()) for _ in range(takers)]
            await asyncio.gather(*(put(runs) for runs in feeds))
            await queue.close()
            await asyncio.gather(*working)

    asyncio.run(main())
    expected = [job.id for runs in feeds for jobs in runs for job in jobs]
    assert sorted(job.id for jobs in taken for job in jobs) == sorted(expected)
    order = [jobs[0].scene.id for jobs in taken]
    assert len({*order}) == sum(1 for i, scene in enumerate(order) if i == 0 or order[i - 1] != scene), (
        "the jobs of a scene follow one another"
    )


def test_a_scene_of_10_000_areas_passes_a_small_queue_in_full_batches() -> None:
    queue, jobs = JobQueue(100), make_jobs(1, 10_000, kilometres=0.1)

    async def main() -> list[int]:
        await queue.put_run(jobs)
        after = asyncio.create_task(queue.put_run(make_jobs(2, 1)))
        sizes = []
        for left in (10_000 - LONGEST_BATCH, 10_000 - 2 * LONGEST_BATCH, 0):
            await asyncio.sleep(0)
            assert not after.done(), "the next scene waits until it is empty"
            sizes.append(len((await queue.take_run())[0]))
            assert len(queue) == left
        await after
        return sizes

    assert asyncio.run(main()) == [LONGEST_BATCH, LONGEST_BATCH, 10_000 - 2 * LONGEST_BATCH]


def test_who_waits_for_room_and_who_waits_with_jobs_both_go_on() -> None:
    queue = JobQueue(10)

    async def main() -> None:
        await queue.room()
        await queue.put_run(make_jobs(1, 10))
        makes = asyncio.create_task(queue.room())
        puts = asyncio.create_task(queue.put_run(make_jobs(2, 10)))
        for _ in range(3):
            await asyncio.sleep(0)
        assert not makes.done()
        assert not puts.done()
        assert len((await queue.take_run())[0]) == 10
        await asyncio.wait_for(asyncio.gather(makes, puts), 10)

    asyncio.run(main())


@pytest.mark.parametrize(("kilometres", "jobs"), [(0.1, 128), (1, 128), (2, 53), (4.5, 11), (300, 1)])
def test_jobs_of_large_areas_are_taken_fewer_at_a_time(kilometres: float, jobs: int) -> None:
    queue = JobQueue(200)

    async def main() -> list[int]:
        await queue.put_run(make_jobs(1, 128, kilometres=kilometres))
        await queue.close()
        sizes = []
        while taken := (await queue.take_run())[0]:
            sizes.append(len(taken))
        return sizes

    sizes = asyncio.run(main())
    assert sum(sizes) == 128
    assert sizes[0] == max(sizes) == jobs
    assert jobs in {128, *(-(-most // (100 * kilometres) ** 2) for most in (BATCH_PIXELS, DENSE_PIXELS))}


def test_of_many_jobs_neighbours_are_in_one_batch_and_few_stay_in_order() -> None:
    places = [(east, north) for north in range(20) for east in range(20)]
    random.Random(1).shuffle(places)
    areas = [
        replace(make_area(f"a{number}"), wkb=box(13 + x / 7, 52 - y / 11, 13.1 + x / 7, 52.01 - y / 11).wkb)
        for number, (x, y) in enumerate(places)
    ]
    few = [*batches(areas[:FEW])]
    assert [index for part in few for index in part] == [*range(FEW)]
    found = [*batches(areas)]
    assert sorted(index for part in found for index in part) == [*range(400)]
    assert len(found) > 3
    spans = [{places[index][1] for index in part} for part in found]
    assert max(map(len, spans)) <= 1 + -(-max(map(len, found)) // 20), "no batch goes over more rows than it must"


def test_no_batch_comes_out_while_too_many_jobs_are_worked_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_queue, "MOST_UNDER_WAY", 5)

    async def main() -> None:
        queue = JobQueue(100)
        for scene in range(3):
            await queue.put_run(make_jobs(scene, 4))
        assert [len((await queue.take_run())[0]) for _ in range(2)] == [4, 4]
        third = asyncio.create_task(queue.take_run())
        await asyncio.sleep(0.01)
        assert not third.done()
        await queue.done(4)
        assert len((await third)[0]) == 4

    asyncio.run(main())


@pytest.mark.slow
def test_whoever_takes_jobs_is_told_whether_their_scene_has_more() -> None:
    full = LONGEST_BATCH

    async def main() -> list[tuple[int, bool]]:
        async def put() -> None:
            for scene, count in enumerate((9, full, full + 1, 5 * full, 9, 9)):
                await queue.put_run(make_jobs(scene, count, kilometres=0.1))
            await queue.close()

        queue = JobQueue(2 * full)
        feeding, found = asyncio.create_task(put()), list[tuple[int, bool]]()
        while True:
            jobs, shared = await queue.take_run()
            await queue.done(len(jobs))
            if not jobs:
                await feeding
                return found
            found.append((len(jobs), shared))

    alone, together = [(9, False), (full, False)], [(full, True), (1, True), *[(full, True)] * 5]
    assert asyncio.run(main()) == [*alone, *together, (9, False), (9, False)]


def test_jobs_of_two_editions_of_a_scene_are_not_taken_together() -> None:
    queue = JobQueue(10)

    async def main() -> list[list[str]]:
        await queue.put_run(make_jobs(1, 2))
        await queue.put_run(make_jobs(1, 3, version="v2"))
        await queue.close()
        return [[job.scene.version for job in (await queue.take_run())[0]] for _ in range(3)]

    assert asyncio.run(main()) == [["v1"] * 2, ["v2"] * 3, []]


def test_a_cancelled_feeder_leaves_the_queue_to_the_others() -> None:
    async def main() -> list[int]:
        queue = JobQueue(5)
        await queue.put_run(make_jobs(1, 4))
        waiting = asyncio.create_task(queue.put_run(make_jobs(2, 4)))
        behind = asyncio.create_task(queue.put_run(make_jobs(3, 1)))
        await asyncio.sleep(0)
        assert not behind.done(), "it came later, though there would be room"
        waiting.cancel()
        await asyncio.wait([waiting])
        await behind
        await queue.close()
        return [len((await queue.take_run())[0]) for _ in range(3)]

    assert asyncio.run(main()) == [4, 1, 0]


def test_a_cancelled_worker_takes_nothing_with_it() -> None:
    async def main() -> int:
        queue = JobQueue(5)
        waiting = [asyncio.create_task(queue.take_run()) for _ in range(3)]
        await asyncio.sleep(0)
        putting = asyncio.create_task(queue.put_run(make_jobs(1, 4)))
        await asyncio.sleep(0)
        for task in waiting[:2]:
            task.cancel()
        await asyncio.gather(putting, *waiting[:2], return_exceptions=True)
        await queue.close()
        taken = [task.result()[0] for task in waiting if not task.cancelled()]
        return sum(map(len, taken)) + len(queue)

    assert asyncio.run(main()) == 4


# ---- overpasses -------------------------------------------------------------------------------------------


@examples(60)
@given(
    capacity=st.integers(1, 90),
    sizes=st.lists(st.lists(st.integers(1, 90), min_size=1, max_size=3), min_size=1, max_size=5),
    takers=st.integers(1, 4),
)
def test_jobs_of_one_area_and_overpass_come_out_together(
    capacity: int, sizes: list[list[int]], takers: int
) -> None:
    """An overpass is some scenes, each with the first so many of the same areas."""
    queue, taken = OverpassQueue(capacity), list[tuple[list[Job], bool]]()
    overpasses = [
        [job for number, size in enumerate(scenes) for job in make_jobs(10 * at + number, size)]
        for at, scenes in enumerate(sizes)
    ]
    most = max(map(sum, sizes))

    async def put() -> None:
        for jobs in overpasses:
            await queue.put_run(jobs)
            assert len(queue) <= max(capacity, most)
        await queue.close()

    async def take() -> None:
        while True:
            jobs, shared = await queue.take_run()
            if not jobs:
                return
            taken.append((jobs, shared))
            await asyncio.sleep(0)
            await queue.done(len(jobs))

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(put())
            for _ in range(takers):
                group.create_task(take())

    asyncio.run(main())
    assert sorted(job.id for jobs, _ in taken for job in jobs) == sorted(j.id for jobs in overpasses for j in jobs)
    for at, jobs in enumerate(overpasses):
        parts = [part for part, _ in taken if part[0].id // 1_000_000 == at]
        assert sum(map(len, parts)) == len(jobs), "parts hold jobs of one overpass"
        areas = [{job.area.name for job in part} for part in parts]
        assert sum(map(len, areas)) == len(set.union(*areas)), "no area is in two parts"
        assert all(len(names) <= LONGEST_BATCH for names in areas)
        if len(parts) > 1:
            assert all(shared for part, shared in taken if part[0].id // 1_000_000 == at)
