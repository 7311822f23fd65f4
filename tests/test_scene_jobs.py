"""Packed jobs of a scene: what they give is what a list of the same jobs gives."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2async.models import CloudMeasure, Job
from s2async.scene_jobs import SceneJobs, areas_of, counted
from tests.support.states import make_area, make_scene

SCENE = make_scene()
AREAS = [make_area(f"a{number}") for number in range(8)]
KNOWN = [
    Job(id=number, area=AREAS[number], scene=SCENE, measure=CloudMeasure(histogram=(0, 9, 0), total=9))
    for number in range(3)
]
NEW = [Job(id=1000 + number, area=AREAS[number], scene=SCENE, alias="b") for number in range(3, 8)]


def packed(known: int, new: int) -> tuple[SceneJobs, list[Job]]:
    """Return jobs packed, and the same jobs as a list."""
    some = NEW[:new]
    jobs = SceneJobs(
        scene=SCENE,
        known=KNOWN[:known],
        ids=array("q", [job.id for job in some]),
        new_areas=[job.area for job in some],
        alias="b",
    )
    return jobs, [*KNOWN[:known], *some]


BOUND = st.none() | st.integers(-10, 10)


@given(st.integers(0, 3), st.integers(0, 5), BOUND, BOUND)
def test_packed_jobs_are_a_sequence_of_the_same_jobs(
    known: int, new: int, start: int | None, stop: int | None
) -> None:
    jobs, plain = packed(known, new)
    assert len(jobs) == len(plain)
    assert [*jobs] == plain
    assert [*jobs[start:stop]] == plain[start:stop]
    assert [jobs[at] for at in range(-len(plain), len(plain))] == [*plain, *plain]
    assert areas_of(jobs[start:stop]) == areas_of(plain[start:stop])
    assert counted(jobs[start:stop]) == counted(plain[start:stop])
    for beyond in (len(plain), -len(plain) - 1):
        with pytest.raises(IndexError):
            jobs[beyond]
