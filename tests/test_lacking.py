from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from s2async import areas as area_files
from s2async import pipeline
from s2async.config import Config
from s2async.errors import ConfigError
from s2async.lacking import ENOUGH, Lacking
from s2async.models import Event, Notice, Status
from s2async.survey import survey
from tests import worlds
from tests.states import make_scene


def test_what_no_scene_has_is_lacking_and_after_some_scenes_surely() -> None:
    found = Lacking(["scl", "visual", "B04", "B08", "blue"])
    assert (found.told, found.sure) == ("", False)
    for _ in range(ENOUGH - 1):
        found.add(make_scene())
        assert not found.sure
    found.add(replace(make_scene(assets=("scl",)), absent={"blue": "only as JPEG 2000"}))
    assert found.sure
    assert found.told == "B04 and B08 are no assets of any of 8 scenes; there are: scl, visual"


@pytest.mark.parametrize(
    ("there", "place"), [("visual", ("search", "catalog")), ("scl", ("output", "assets"))], ids=["scl", "visual"]
)
def test_the_setting_to_be_mended_is_named(there: str, place: tuple[str, str]) -> None:
    found = Lacking(["scl", "visual"])
    found.add(make_scene(assets=(there,)))
    assert found.place == place


def test_what_one_scene_has_is_not_lacking() -> None:
    found = Lacking(["scl", "red"])
    found.add(make_scene(assets=("scl", "red")))
    for _ in range(2 * ENOUGH):
        found.add(make_scene())
    assert (found.told, found.sure) == ("", False)


@pytest.mark.parametrize("days", [3, 12])
def test_a_key_that_is_wrong_is_told_before_pictures_are_fetched_in_vain(tmp_path: Path, days: int) -> None:
    world = worlds.World(tmp_path / "world", [worlds.day(number) for number in range(1, days + 1)])
    with worlds.Stage(world) as stage:
        path = worlds.write_config(tmp_path, stage.sandbox, output={"assets": ["visual", "B04"]})
        config, told = Config.load(path), list[Event]()
        areas = area_files.load(config)

        asyncio.run(survey(config, areas, connections=8, bandwidth=1e7, on_event=told.append))
        assert ["B04 is no asset of" in event.text for event in told if isinstance(event, Notice)] == [True]
        told.clear()

        work = pipeline.run(config, areas, on_event=told.append)
        if days >= ENOUGH:
            with pytest.raises(ConfigError, match=r"config.toml:\d+: assets: B04 is no asset .* visual; mend"):
                asyncio.run(work)
            assert Status.SAVED not in worlds.statuses(config).values()
        else:
            asyncio.run(work)
            assert any("B04 is no asset of any of 3 scenes" in e.text for e in told if isinstance(e, Notice))
            assert worlds.statuses(config)["North", worlds.day(1).id] == Status.MISSING
