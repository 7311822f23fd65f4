"""Scenes that were processed several times."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapely import box

from s2async.catalog import reprocessing
from s2async.catalog.items import to_scene
from s2async.catalog.reprocessing import NewestOnly, are_editions, processing_order
from s2async.models import Scene
from tests.support.examples import examples
from tests.support.items import a_scene, an_item
from tests.support.scripts import EARTH_SEARCH, NOON, Script, a_page, items, run

REPROCESSED = {"s2:processing_baseline": "05.10", "s2:generation_time": "2024-01-01T00:00:00Z"}


def test_the_newest_editions_cloud_counts() -> None:
    old = an_item(id="old", properties={"eo:cloud_cover": 5})
    new = an_item(id="new", properties={"eo:cloud_cover": 95} | REPROCESSED)
    assert run(Script([a_page([old, new])]), newest_only=True, max_scene_cloud=80).ids == []
    assert run(Script([a_page([old, new])]), newest_only=False, max_scene_cloud=80).ids == ["old"]
    new["properties"]["eo:cloud_cover"], old["properties"]["eo:cloud_cover"] = 5, 95
    assert run(Script([a_page([old, new])]), newest_only=True, max_scene_cloud=80).ids == ["new"]


def test_a_twin_on_the_next_page_is_waited_for() -> None:
    script = Script([a_page(items("old"), "t"), a_page(items("new", properties=REPROCESSED))])
    assert run(script, newest_only=True).ids == ["new"]


def test_scenes_leave_as_soon_as_their_reprocessings_must_have_come() -> None:
    minutes = [100, 80, 60, 59, 20, 9]
    scenes = [
        a_scene(id=f"{at}", grid=f"{n}", datetime=NOON + timedelta(minutes=at)) for n, at in enumerate(minutes)
    ]
    held = NewestOnly(descending=True)
    assert [[scene.id for scene in held.add(scene)] for scene in scenes] == [
        [], [], [], ["100"], ["80"], ["60", "59"],
    ]  # fmt: skip
    assert [scene.id for scene in held.rest()] == ["20", "9"]
    assert held.rest() == []

    broken = NewestOnly(descending=True)  # out of order once: then nothing leaves before the end
    assert [scene.id for scene in (scenes[3], scenes[0], scenes[4]) for scene in broken.add(scene)] == []
    assert [scene.id for scene in broken.rest()] == ["59", "100", "20"]

    waiting = NewestOnly(descending=False)
    assert all(waiting.add(scene) == [] for scene in scenes)
    assert waiting.rest() == scenes


FOOTPRINTS = (box(12, 52, 14, 53), box(12, 52, 13, 53), box(13, 52, 14, 53), box(12.4, 52, 14, 53))
"""A square, its halves, and a part that overlaps both."""


@st.composite
def editions(draw: st.DrawFn) -> list[Scene]:
    """Scenes of two datatakes, or of none, over two squares: whole or in parts, seconds or minutes apart."""
    count = draw(st.integers(0, 14))
    return [
        a_scene(
            id=f"s{n}",
            platform=draw(st.sampled_from(["sentinel-2a", "sentinel-2b", ""])),
            grid=draw(st.sampled_from(["33UUU", "33UVU"])),
            datetime=NOON
            + timedelta(milliseconds=draw(st.integers(0, 8)) * 500 + draw(st.sampled_from([0, 208_600]))),
            datastrip=draw(st.sampled_from(["S1", "S2", ""])),
            datatake=draw(st.sampled_from(["S2A_20220609T113000", "S2B_20220609T114000", ""])),
            footprint=draw(st.sampled_from([*FOOTPRINTS, None])),
            baseline=draw(st.sampled_from(["02.14", "05.00", "05.10"])),
            assets=draw(st.sampled_from([a_scene().assets, {}])),
        )
        for n in range(count)
    ]


def survivors(scenes: Sequence[Scene]) -> set[str]:
    """The plain rule: those whose footprint is not covered by the better editions together."""

    def counts(scene: Scene) -> bool:
        own = processing_order(scene)
        better = [other for other in scenes if are_editions(scene, other) and processing_order(other) > own]
        if not better or scene.footprint is None or any(other.footprint is None for other in better):
            return not better
        return not shapely.union_all([other.footprint for other in better]).covers(scene.footprint)

    return {scene.id for scene in scenes if counts(scene)}


@given(editions(), st.randoms(use_true_random=False))
@examples(150)
def test_reprocessings_are_resolved_as_the_plain_rule_says(scenes: list[Scene], random: Any) -> None:
    def resolve(stream: Sequence[Scene], *, descending: bool) -> list[str]:
        held = NewestOnly(descending=descending)
        let_go = [scene.id for scene in stream for scene in held.add(scene)]
        let_go += [scene.id for scene in held.rest()]
        assert len(let_go) == len(set(let_go))
        return let_go

    shuffled = random.sample(scenes, len(scenes))
    ordered = sorted(shuffled, key=lambda scene: scene.datetime, reverse=True)
    assert set(resolve(shuffled, descending=False)) == survivors(scenes)
    assert set(resolve(ordered, descending=True)) == survivors(scenes)
    assert set(resolve(shuffled, descending=True)) >= survivors(scenes)  # a broken promise loses nothing


@pytest.mark.slow
def test_reprocessings_scale_to_many_of_one_moment() -> None:
    held = NewestOnly(descending=True)
    for n in range(5000):
        held.add(a_scene(id=f"s{n:04}"))
    assert [scene.id for scene in held.rest()] == ["s4999"]


@pytest.mark.slow
def test_reprocessings_scale_to_many_of_one_square(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each scene is compared with those of its acquisition; comparing it with all took an hour for 100,000."""
    compared: list[Scene] = []

    def counted(scene: Scene, other: Scene) -> bool:
        compared.append(other)
        return are_editions(scene, other)

    monkeypatch.setattr(reprocessing, "are_editions", counted)
    one, named = a_scene(datatake=""), "S2B_20220609T100559"
    scenes = [
        replace(one, id=f"s{n:05}", datetime=NOON - n * timedelta(minutes=41), datatake=named if n % 3 else "")
        for n in range(10_000)
    ]
    held = NewestOnly(descending=True)
    let_go = sum(len(held.add(scene)) for scene in scenes)
    assert let_go + len(held.rest()) == len(scenes)
    assert len(compared) <= 2 * len(scenes)


def test_every_recorded_scene_leaves_once(real_data: Path) -> None:
    path = real_data / "stac" / "items" / "v1-l2a-4-tiles-6-dates.json"
    scenes = [to_scene(item, EARTH_SEARCH) for item in json.loads(path.read_text())["features"]]
    features = json.loads(path.read_text())["features"]
    assert sorted(run(Script([a_page(features)]), newest_only=True).ids) == sorted(scene.id for scene in scenes)
