"""How jobs that an earlier run left open enter the queue, while searches change what is known of their items."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from shapely import box

from s2async.areas import loader as area_files
from s2async.config.model import Config
from s2async.engine import feeding
from s2async.engine.context import Context
from s2async.engine.feeding import Feeder
from s2async.engine.limits import NO_LIMITS, RunLimits
from s2async.engine.progress import Progress
from s2async.models import Asset, Job, Scene
from s2async.sandbox.settings import toml
from s2async.state.writer import State
from tests.support.states import make_scene, start

SHAPES = {f"a{number}": box(13 + number / 10, 52, 13.05 + number / 10, 52.05) for number in range(5)}


def config_in(folder: Path, **search: Any) -> Config:
    settings: Mapping[str, Any] = {
        "areas": [{"name": name, "wkt": shape.wkt} for name, shape in SHAPES.items()],
        "search": {"datetime": "2022-01-01/2022-03-31", **search},
        "output": {"folder": "data", "assets": ["visual"]},
        "run": {"state": "data/state.sqlite"},
    }
    path = folder / "config.toml"
    path.write_text(toml(**settings), encoding="utf-8")
    (folder / "data").mkdir()
    return Config.load(path)


def queued(
    config: Config, state: State, limits: RunLimits = NO_LIMITS, progress: Progress | None = None
) -> list[list[Job]]:
    """The batches that open jobs enter the queue as, where the searches find nothing."""

    async def main() -> list[list[Job]]:
        areas = area_files.load(config)
        context = Context(config, areas, state, limits, progress or Progress(), lambda _: None)
        with contextlib.suppress(feeding._LimitReachedError):
            await Feeder(context)._resume()
        context.state_thread.close()
        await context.queue.close()
        found = list[list[Job]]()
        while jobs := (await context.queue.take_run())[0]:
            found.append(jobs)
        return found

    return asyncio.run(main())


def with_red(scene: Scene) -> Scene:
    """A scene of which the catalogue has one file more by now."""
    red = Asset(key="red", href=f"https://cogs.example/{scene.id}/B04.tif")
    return replace(scene, updated="2022-03-01T00:00:00Z", assets={**scene.assets, "red": red})


@pytest.mark.parametrize("overlaps", ["all", "one"])
def test_an_item_that_is_updated_between_two_pages_of_its_jobs_enters_once_and_as_it_is_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overlaps: str
) -> None:
    monkeypatch.setattr(feeding, "STATE_PAGE", 2)
    config = config_in(tmp_path, overlaps=overlaps)
    areas, selection = area_files.load(config), config.selection()
    scenes = [make_scene(name, minutes=1440 * number) for number, name in enumerate(("older", "newer"))]
    with State.create_or_open(config.run.state) as state:
        start(state, areas, selection)
        jobs = [job.id for scene in scenes for job in state.add_scene(scene, areas, selection)]
        state.begin_run("{}", "1.0")
        read_page = State.open_jobs

        def update_after(self: State, *args: Any, **kwargs: Any) -> Any:
            page = read_page(self, *args, **kwargs)
            for scene in scenes:
                assert not self.add_scene(with_red(scene), areas, selection), "its jobs are open already"
            return page

        monkeypatch.setattr(State, "open_jobs", update_after)
        batches = queued(config, state)
    assert sorted(job.id for batch in batches for job in batch) == sorted(jobs)
    assert [len(batch) for batch in batches] == [5, 5]
    assert all("red" in job.scene.assets for batch in batches for job in batch)


def test_jobs_beyond_the_limit_do_not_enter_even_if_the_run_found_more_by_itself(tmp_path: Path) -> None:
    """Where one item of an overpass counts, a choice may add jobs of earlier runs, whatever the limit says."""
    config = config_in(tmp_path, overlaps="one")
    areas, selection = area_files.load(config), config.selection()
    with State.create_or_open(config.run.state) as state:
        start(state, areas, selection)
        state.add_scene(make_scene(), areas, selection)
        state.begin_run("{}", "1.0")
        assert queued(config, state, RunLimits(jobs=3), Progress(found=5)) == []
