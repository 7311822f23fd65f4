from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from pathlib import Path

import pytest

from s2async.alarms import ENOUGH
from s2async.areas import loader as area_files
from s2async.catalog.assets import ONLY_JP2
from s2async.catalog.lacking import Lacking
from s2async.causes import Cause, Reason
from s2async.config.model import Config
from s2async.engine import pipeline
from s2async.events import Event, Notice
from s2async.models import Status
from s2async.plan.survey import survey
from tests.support import worlds
from tests.support.states import make_scene


def test_what_no_scene_has_is_lacking() -> None:
    found = Lacking(["visual", "B04", "B08", "blue"], measured=["scl"])
    assert (found.told, found.keys) == ("", ())
    for _ in range(7):
        found.add(make_scene())
    found.add(replace(make_scene(assets=("scl",)), absent={"blue": ONLY_JP2}))
    assert found.keys == ("B04", "B08", "blue")
    assert found.told == (
        "B04 and B08 are no assets of any of 8 scenes; there are: scl, visual; "
        "blue cannot be read in any of 8 scenes: 7 no such asset, 1 only as JPEG 2000"
    )


@pytest.mark.parametrize(
    ("reason", "told", "mend"),
    [
        (ONLY_JP2, "only as JPEG 2000", "only COGs can be read"),
        (
            Reason(Cause.SCHEME, "s3:// bucket x is not public over https"),
            "s3:// bucket x is not",
            "public over https",
        ),
        (
            Reason(Cause.ORIGIN, "too long", "https://cogs.example"),
            "origin not allowed",
            'if you trust it, add "https://cogs.example" to origins in [network]',
        ),
    ],
)
def test_what_no_scene_has_in_a_form_that_can_be_read_is_lacking_too(reason: Reason, told: str, mend: str) -> None:
    found = Lacking(["visual"], measured=["scl"])
    for _ in range(3):
        found.add(replace(make_scene(assets=()), absent={"scl": reason, "visual": reason}))
    assert found.told.startswith(f"scl and visual cannot be read in any of 3 scenes: {told}")
    assert mend in found.advice
    assert found.place == ("search", "catalog")


@pytest.mark.parametrize(
    ("there", "place"), [("visual", ("search", "catalog")), ("scl", ("output", "assets"))], ids=["scl", "visual"]
)
def test_the_setting_to_be_mended_is_named(there: str, place: tuple[str, str]) -> None:
    found = Lacking(["visual"], measured=["scl"])
    found.add(make_scene(assets=(there,)))
    assert found.place == place


def test_what_one_scene_has_is_not_lacking() -> None:
    found = Lacking(["red"], measured=["scl"])
    found.add(make_scene(assets=("scl", "red")))
    for _ in range(2 * ENOUGH):
        found.add(make_scene())
    assert (found.told, found.keys) == ("", ())


@pytest.mark.slow
@pytest.mark.parametrize("days", [3, 12])
def test_a_key_that_is_wrong_is_told_at_the_end_and_costs_no_other_asset(tmp_path: Path, days: int) -> None:
    world = worlds.World(tmp_path / "world", [worlds.day(number) for number in range(1, days + 1)])
    with worlds.Stage(world) as stage:
        path = worlds.write_config(tmp_path, stage.sandbox, output={"assets": ["visual", "B04"]})
        config, told = Config.load(path), list[Event]()
        areas = area_files.load(config)

        asyncio.run(survey(config, areas, connections=8, bandwidth=1e7, on_event=told.append))
        assert ["B04 is no asset of" in event.text for event in told if isinstance(event, Notice)] == [True]
        told.clear()

        summary = asyncio.run(pipeline.run(config, areas, on_event=told.append))
        (alarm,) = summary.alarms
        expected = (
            rf"config.toml:\d+: assets: B04 is no asset of any of {days} scenes; there are: .* visual; correct .*"
        )
        assert re.search(expected, alarm.text)
        assert (summary.exit_code, summary.clean) == (2, False)
        notices = [event.text for event in told if isinstance(event, Notice)]
        early = [text for text in notices if text.startswith("so far: B04 is no asset of any of 8 scenes")]
        assert len(early) == (days >= ENOUGH)
        assert worlds.statuses(config)["North", worlds.day(1).id] == Status.SAVED
        assert not worlds.faults_of(config, world)


@pytest.mark.slow
def test_a_key_that_is_wrong_alone_costs_no_request_for_files(tmp_path: Path) -> None:
    with worlds.Stage(worlds.World(tmp_path / "world", [worlds.day(1), worlds.day(2)])) as stage:
        path = worlds.write_config(tmp_path, stage.sandbox, output={"assets": ["B04"]})
        ran = worlds.run(path, stage.sandbox)
        assert ran.cogs == []
        assert set(worlds.statuses(ran.config).values()) == {"missing"}
        assert ran.summary.exit_code == 2
        mended = worlds.run(
            worlds.write_config(tmp_path, stage.sandbox, output={"assets": ["red"]}), stage.sandbox
        )
        assert mended.summary.done[Status.SAVED] == 8
        assert mended.summary.exit_code == 0


@pytest.mark.slow
def test_a_key_that_is_known_from_earlier_scenes_is_no_slip(tmp_path: Path) -> None:
    """The newest scene may be published in part."""
    world = worlds.World(tmp_path / "world", [worlds.day(1), worlds.day(20, lacks=frozenset({"key:red"}))])
    with worlds.Stage(world) as stage:
        output = {"assets": ["visual", "red"]}
        for days, code in (("2022-01-01/2022-01-10", 0), ("2022-01-15/2022-01-31", 0)):
            path = worlds.write_config(tmp_path, stage.sandbox, output=output, search={"datetime": days})
            ran = worlds.run(path, stage.sandbox)
            assert (ran.summary.exit_code, ran.summary.alarms) == (code, ())
        told = [event.text for event in ran.events if isinstance(event, Notice)]
        assert any("red is no asset of the scene found" in text for text in told)
        assert ran.summary.without == {("red", Cause.NO_ASSET): 4}
