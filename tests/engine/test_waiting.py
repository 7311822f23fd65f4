"""Jobs that wait for others of their overpass: which of them a batch finds, and what it looks at for that."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest

from s2async.engine import waiting
from s2async.engine.waiting import Waiting, overpass_keys
from s2async.models import Job, Outcome, Status
from tests.support.states import make_area, make_scene


def make_jobs(areas: int, scenes: int) -> list[Job]:
    """Jobs of some areas in scenes that follow each other by half an hour, from an hour before midnight on."""
    found = [make_scene(f"scene{number}", minutes=13 * 60 + 30 * number) for number in range(scenes)]
    return [
        Job(id=number * areas + at, area=make_area(f"a{at}"), scene=scene)
        for number, scene in enumerate(found)
        for at in range(areas)
    ]


def duplicate(job: Job) -> Outcome:
    return Outcome(job=job, status=Status.DUPLICATE)


@pytest.mark.parametrize("seed", range(5))
def test_those_of_the_same_area_and_day_are_found_and_no_others(seed: int) -> None:
    chance, kept, found = random.Random(seed), dict[int, Outcome](), Waiting()
    for job in chance.choices(make_jobs(6, 8), k=100):
        match chance.randrange(3):
            case 0:
                found.drop(job.id)
                kept.pop(job.id, None)
            case 1:
                moved = replace(
                    job, scene=replace(job.scene, datetime=make_scene(minutes=chance.random()).datetime)
                )
                kept[job.id] = duplicate(moved)
                found.put(kept[job.id])
            case 2:
                kept[job.id] = duplicate(job)
                found.put(kept[job.id])
        assert len(found) == len(kept)
        assert (job.id in found) == (job.id in kept)
        keys = overpass_keys(job)
        wanted = {number: one for number, one in kept.items() if not keys.isdisjoint(overpass_keys(one.job))}
        assert found.beside(keys) == wanted
    for number in kept:
        found.drop(number)
    assert not found._jobs, "nothing is left of what was dropped"


def test_a_batch_does_not_look_at_the_jobs_of_other_areas(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs, found, looks = make_jobs(3_000, 1), Waiting(), Counter[int]()
    for job in jobs:
        found.put(duplicate(job))

    def counted(job: Job) -> set[object]:
        looks[job.id] += 1
        return overpass_keys(job)

    monkeypatch.setattr(waiting, "overpass_keys", counted)
    assert found.beside(overpass_keys(jobs[7])) == {7: duplicate(jobs[7])}
    found.drop(7)
    found.put(duplicate(jobs[8]))
    assert looks.keys() <= {7, 8}
