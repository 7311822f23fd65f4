"""Files that lie where crops go: never written over in silence."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import rasterio

import s2async
from s2async.errors import LocalError
from s2async.events import Notice
from s2async.models import Area
from s2async.output import quicklook, strangers
from s2async.output.strangers import MASK, OTHER, OUTLINE, Replaced
from s2async.state.writer import State
from tests.support import worlds
from tests.support.worlds import SHAPES, Ran, Stage

ITEMS = [worlds.day(0), worlds.day(4), worlds.day(8)]
NORTH = {"North": worlds.polygon("North")}
MOVED = worlds.lonlat([(x + 300, y + 100) for x, y in SHAPES["North"]])
OVER = "files that were there before were overwritten: "


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    yield from worlds.staged(tmp_path_factory.mktemp("world"), ITEMS)


def run(folder: Path, stage: Stage, **sections: Any) -> Ran:
    sections = {"areas": NORTH} | sections
    return worlds.run(worlds.write_config(folder, stage.sandbox, **sections), stage.sandbox)


def over(ran: Ran) -> list[str]:
    texts = [event.text for event in ran.events if isinstance(event, Notice)]
    return [text.removeprefix(OVER) for text in texts if text.startswith(OVER)]


def crops(ran: Ran) -> list[Path]:
    return sorted(ran.config.output.folder.rglob("*.tif"))


def test_whose_a_file_is(tmp_path: Path, stage: Stage) -> None:
    ran = run(tmp_path, stage)
    (area,) = s2async.load_areas(ran.config)
    path = crops(ran)[0]
    assert strangers.of_crop(path, area.fingerprint, mask=True) == ""
    assert strangers.of_crop(path, area.fingerprint, mask=False) == MASK
    assert strangers.of_crop(path, "0" * 16, mask=True) == OUTLINE
    assert strangers.of_crop(tmp_path / "nothing", area.fingerprint, mask=True) == ""
    for data in (b"", b"mine", path.read_bytes()[:-9]):
        path.write_bytes(data)
        assert strangers.of_crop(path, area.fingerprint, mask=True) == OTHER
    path.unlink()
    path.symlink_to("nowhere")
    assert strangers.of_crop(path, area.fingerprint, mask=True) == OTHER


def test_another_mask_is_told_once_with_a_count(tmp_path: Path, stage: Stage) -> None:
    first = run(tmp_path, stage)
    assert over(first) == []
    (told,) = over(run(tmp_path, stage, output={"mask": False}))
    assert told.startswith("3 of another mask; the first: ")
    assert Path(told.partition("first: ")[2]) in crops(first)
    assert over(run(tmp_path, stage, output={"mask": False})) == []
    (back,) = over(run(tmp_path, stage))
    assert back.startswith("3 of another mask")


def test_also_by_a_run_that_is_stopped(tmp_path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, stage)
    events: list[Any] = []

    def full(*_: object) -> None:
        raise LocalError("disk full")

    monkeypatch.setattr(State, "record", full)
    path = worlds.write_config(tmp_path, stage.sandbox, areas=NORTH, output={"mask": False})
    with pytest.raises(LocalError):
        s2async.run_sync(path, on_event=events.append)
    (told,) = [event.text for event in events if isinstance(event, Notice) and event.text.startswith(OVER)]
    assert "of another mask" in told


def test_files_that_came_from_elsewhere_are_told(tmp_path: Path, stage: Stage) -> None:
    """Into a folder that is ours: a crop of another outline, a file that is no crop, and one that is right."""
    other = run(tmp_path / "other", stage, areas={"North": MOVED})
    same = run(tmp_path / "same", stage)
    mine = run(tmp_path, stage, areas={"South": worlds.polygon("South")})
    folder = mine.config.output.folder / "North"
    folder.mkdir()
    (folder / crops(other)[0].name).write_bytes(crops(other)[0].read_bytes())
    (folder / crops(other)[1].name).write_bytes(b"somebody's picture")
    (folder / crops(same)[2].name).write_bytes(crops(same)[2].read_bytes())
    both = {"North": NORTH["North"], "South": worlds.polygon("South")}
    ran = run(tmp_path, stage, areas=both)
    (told,) = over(ran)
    assert told.startswith("1 of another outline, 1 of unknown origin; the first: ")
    assert ran.summary.done == {"saved": 3}
    assert not worlds.faults_of(ran.config, stage.world)


def test_a_picture_of_somebody_that_has_the_name_of_a_quicklook(tmp_path: Path, stage: Stage) -> None:
    first = run(tmp_path, stage)
    pictures = [quicklook.beside(path) for path in crops(first)]
    pictures[0].write_bytes(b"\x89PNG mine")
    ran = run(tmp_path, stage, output={"mask": False, "quicklook": True})
    (told,) = over(ran)
    assert told.startswith("3 of another mask, 1 of unknown origin; the first: ")
    assert all(quicklook.is_own(path.read_bytes()) for path in pictures)
    (told,) = over(run(tmp_path, stage, output={"quicklook": True}))
    assert told.startswith("3 of another mask; the first: ")


def pixels(path: Path) -> bytes:
    with rasterio.open(path) as crop:
        return bytes(crop.read().tobytes())


def test_a_folder_that_moves_onto_files_of_the_same_names_tells_them(tmp_path: Path, stage: Stage) -> None:
    first = run(tmp_path, stage)
    name, digest = crops(first)[0].name, pixels(crops(first)[0])
    target = first.config.output.folder / "Nord"
    target.mkdir()
    (target / name).write_bytes(b"mine")
    (target / "notes.txt").write_text("mine")
    ran = run(tmp_path, stage, areas={"Nord": NORTH["North"]})
    assert over(ran) == [f"1 of unknown origin; the first: {target / name}"]
    assert pixels(target / name) == digest
    assert (target / "notes.txt").read_text() == "mine"
    assert not ran.cogs


def test_crops_that_a_killed_run_did_not_record_are_nobodys_news(tmp_path: Path, stage: Stage) -> None:
    first = run(tmp_path, stage)
    with State.create_or_open(first.config.run.state) as state:
        state.forget_crops(list(state.stored_crops(first.config.selection())))
    again = run(tmp_path, stage)
    assert again.summary.done == {"saved": 3}
    assert over(again) == []


# ---- before a folder is adopted ---------------------------------------------------------------------------


def test_the_first_stranger_is_found_and_what_is_recorded_is_not_looked_at(tmp_path: Path, stage: Stage) -> None:
    first = run(tmp_path, stage)
    (area,) = s2async.load_areas(first.config)
    other = Area(name="North", wkb=MOVED.wkb, fingerprint="0" * 16, folder="North")
    output, paths = first.config.output.folder, crops(first)

    def recorded(*names: str) -> Any:
        return lambda folder: names if folder == "North" else ()

    assert strangers.first(output, [area], recorded(), mask=True) is None
    assert strangers.first(output, [other], recorded(), mask=True) == (paths[0], OUTLINE)
    assert strangers.first(output, [area], recorded(paths[0].name), mask=False) == (paths[1], MASK)
    assert strangers.first(output, [other], recorded(*(path.name for path in paths)), mask=True) is None
    assert strangers.first(output / "none", [other], recorded(), mask=True) is None
    for path in paths:
        path.write_bytes(b"no crop")
    assert strangers.first(output, [other], recorded(), mask=True) is None


def test_counts_from_many_threads() -> None:
    replaced = Replaced()
    assert replaced.summary == ""
    replaced.add(Path("a"), "")
    assert replaced.summary == ""

    def work() -> None:
        for number in range(2000):
            replaced.add(Path("b"), MASK if number % 2 else OUTLINE)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert replaced.summary == f"{OVER}4,000 of another mask, 4,000 of another outline; the first: b"
