"""A state from the crops alone: the next run reads nothing for those that are there."""

from __future__ import annotations

import hashlib
import random
import re
import sqlite3
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import shapely

import s2async
from s2async.areas import loader as area_files
from s2async.clouds.scl import SclRule
from s2async.cog import directories, gdal, tiff
from s2async.cog.tiff import Layout
from s2async.config.model import Config
from s2async.errors import ConfigError, CorruptFile, LocalError, StateError, StateInUse
from s2async.maintenance import rebuild
from s2async.state.reader import Ledger
from s2async.state.writer import State
from tests.support import worlds
from tests.support.lanes import long
from tests.support.shell import ask
from tests.support.worlds import Stage, crops

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    yield from worlds.staged(tmp_path_factory.mktemp("world"))


@pytest.mark.parametrize("damage", ["gone", "garbage", *long("empty")])
def test_nothing_is_read_again_for_crops_that_are_there(
    tmp_path: Path, stage: Stage, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuild, "PAGE", 2)
    path = worlds.write_config(tmp_path, stage.sandbox, output={"assets": ["visual"]})
    config = worlds.run(path, stage.sandbox).config
    result, state = worlds.result(config), config.run.state
    with Ledger.read(state) as ledger:
        saved = {(crop.folder, crop.item) for crop in ledger.stored_crops(config.selection())}
    times = {crop: crop.stat().st_mtime_ns for crop in crops(config)}
    for name in (f"{state.name}-wal", f"{state.name}-shm"):
        state.with_name(name).unlink(missing_ok=True)
    strange = crops(config)[0].with_name("strange.tif")
    strange.write_bytes(b"not a crop")
    old = {"gone": None, "empty": b"", "garbage": random.Random(4).randbytes(5000)}[damage]
    state.unlink()
    if old is not None:
        state.write_bytes(old)

    made = ask("rebuild", path)
    assert made.exception is None, made.exception
    assert strange.name in made.output
    if old is not None:
        assert state.with_name(f"{state.name}.damaged1").read_bytes() == old
    strange.unlink()
    again = worlds.run(path, stage.sandbox)
    assert worlds.result(config) == result
    assert {crop: crop.stat().st_mtime_ns for crop in crops(config)} == times
    pictures = {entry.path.split("/")[-2] for entry in again.log if entry.path.endswith("TCI.tif")}
    assert not pictures & {item for _, item in saved}
    assert saved


class RenamedRule(SclRule):
    """The same rule under another name."""

    name = "renamed"


def test_crops_that_another_rule_measured_are_not_recorded(
    tmp_path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    config = worlds.run(path, stage.sandbox).config
    config.run.state.unlink()
    rule = RenamedRule.from_percent(classes=[9], max_cloud=2, min_valid=95)
    monkeypatch.setattr(Config, "cloud_rule", lambda _: rule)
    made = rebuild.rebuild(config, area_files.load(config), config.cloud_rule(), config.selection(), "1.0")
    assert made.known == 0
    assert {file for file, _ in made.strange} == set(crops(config)) != set()
    assert all("another cloud rule" in why for _, why in made.strange)


KILLED = """
import os, sys
from s2async.cli import main as cli; from s2async.maintenance import rebuild; from s2async.state import database

plain, calls = {module}.{step}, []

def dying(*values):
    calls.append(values)
    if len(calls) > {after}:
        os._exit(9)
    return plain(*values)

{module}.{step} = dying
cli.main(["rebuild", sys.argv[1]])
"""


@pytest.mark.parametrize(
    ("module", "step", "after", "damaged"),
    [
        ("rebuild", "_record", 2, False),
        pytest.param("rebuild", "_record", 2, True, marks=pytest.mark.long),
        ("database", "move_aside", 0, True),
    ],
)
def test_a_rebuild_that_is_killed_leaves_nothing_half(
    tmp_path: Path, stage: Stage, module: str, step: str, after: int, damaged: bool
) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    config = worlds.run(path, stage.sandbox).config
    before, state = worlds.statuses(config), config.run.state
    state.unlink()
    if damaged or module == "database":
        state.write_bytes(b"damaged")
    command = [sys.executable, "-c", KILLED.format(module=module, step=step, after=after), str(path)]
    assert subprocess.run(command, timeout=200, check=False).returncode == 9
    assert not state.exists() or state.read_bytes() == b"damaged"
    assert not list(state.parent.glob("*.damaged*"))
    made = ask("rebuild", path)
    assert made.exception is None, made.exception
    known = worlds.statuses(config)
    assert known == {key: status for key, status in before.items() if status == "saved"}
    assert known
    assert not list(state.parent.glob("*.rebuilt*"))


def test_a_rebuild_that_fails_leaves_what_was_there(
    tmp_path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    config = worlds.run(path, stage.sandbox).config
    config.run.state.write_bytes(b"damaged")
    before = sorted(config.run.state.parent.iterdir())

    def full(*_: object) -> None:
        raise LocalError("disk full")

    monkeypatch.setattr(rebuild, "_record", full)
    assert isinstance(ask("rebuild", path).exception, LocalError)
    assert config.run.state.read_bytes() == b"damaged"
    assert sorted(config.run.state.parent.iterdir()) == before


def test_a_state_is_not_rebuilt_while_somebody_has_it(tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    state = worlds.run(path, stage.sandbox).config.run.state
    with State.create_or_open(state):
        assert isinstance(ask("rebuild", path).exception, StateInUse)


def test_a_state_that_can_be_read_is_not_replaced(tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    config = worlds.run(path, stage.sandbox).config
    before = worlds.statuses(config)
    assert isinstance(ask("rebuild", path).exception, ConfigError)
    assert worlds.statuses(config) == before


def test_a_newer_or_foreign_state_is_neither_used_nor_moved(tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    state = worlds.run(path, stage.sandbox).config.run.state
    for pragma in ("user_version = 99", "application_id = 7"):
        with closing(sqlite3.connect(state)) as db:
            db.execute(f"PRAGMA {pragma}")
        error = ask("rebuild", path).exception
        assert isinstance(error, StateError)
        assert error.exit_code == 5
        assert state.exists()
        assert not list(tmp_path.rglob("*.damaged*"))


# ---- damaged crops ----------------------------------------------------------------------------------------


def layout_of(data: bytes) -> Layout:
    layout = tiff.parse(data)
    assert isinstance(layout, Layout)
    return layout


def block(data: bytes) -> slice:
    """Where the first block of a crop lies."""
    layout = layout_of(data)
    return slice(int(layout.block_offsets[0]), int(layout.block_offsets[0] + layout.block_counts[0]))


def entry(data: bytes, tag: int) -> int:
    """Where the value field of a tag lies."""
    (directory,) = struct.unpack_from("<I", data, 4)
    (number,) = struct.unpack_from("<H", data, directory)
    places = range(directory + 2, directory + 2 + 12 * number, 12)
    return next(place + 8 for place in places if struct.unpack_from("<H", data, place) == (tag,))


def patched(data: bytes, place: int, what: bytes) -> bytes:
    return data[:place] + what + data[place + len(what) :]


def truncated(data: bytes) -> bytes:
    return data[: len(data) // 2]


def cut_by_a_byte(data: bytes) -> bytes:
    return data[:-1]


def emptied(_: bytes) -> bytes:
    return b""


def zeroed_page(data: bytes) -> bytes:
    """As a disk leaves it that has lost a page."""
    middle = (block(data).start + block(data).stop) // 2
    return patched(data, middle, bytes(min(4096, block(data).stop - middle)))


def flipped(data: bytes) -> bytes:
    """A bit that GDAL takes for another pixel, and nobody but the checksum notices."""
    place = block(data)
    for bit in random.Random(1).sample(range(8 * place.start + 64, 8 * place.stop - 64), 4000):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            gdal.whole(bytes(damaged))
        except CorruptFile:
            continue
        return bytes(damaged)
    raise AssertionError("GDAL notices all of them")


def checksum(data: bytes) -> bytes:
    return patched(data, block(data).stop - 1, bytes([data[block(data).stop - 1] ^ 1]))


def no_stream(data: bytes) -> bytes:
    return patched(data, block(data).start, bytes(block(data).stop - block(data).start))


def short_stream(data: bytes) -> bytes:
    """A sound stream that ends too early."""
    place = block(data)
    pixels = zlib.decompress(data[place])
    short = zlib.compress(pixels[: len(pixels) // 4])
    return patched(
        patched(data, place.start, short), entry(data, directories.STRIP_COUNTS), struct.pack("<I", len(short))
    )


def no_block(data: bytes) -> bytes:
    return patched(
        patched(data, entry(data, directories.STRIP_OFFSETS), bytes(4)),
        entry(data, directories.STRIP_COUNTS),
        bytes(4),
    )


def narrower(data: bytes) -> bytes:
    (width,) = struct.unpack_from("<H", data, entry(data, 256))
    return patched(data, entry(data, 256), struct.pack("<H", width - 1))


def lower(data: bytes) -> bytes:
    (height,) = struct.unpack_from("<H", data, entry(data, 257))
    return patched(data, entry(data, 257), struct.pack("<H", height - 8))


def no_predictor(data: bytes) -> bytes:
    return patched(data, entry(data, 317), struct.pack("<H", 1))


def moved(data: bytes) -> bytes:
    """By two metres, a fifth of a pixel: no count of pixels tells."""
    (values,) = struct.unpack_from("<I", data, entry(data, directories.TIEPOINTS))
    (west,) = struct.unpack_from("<d", data, values + 24)
    return patched(data, values + 24, struct.pack("<d", west + 2))


def another_nodata(data: bytes) -> bytes:
    return patched(data, entry(data, directories.GDAL_NODATA), b"7\0")


def another_name(data: bytes) -> bytes:
    return data.replace(b'"ITEM_ID">S2A_', b'"ITEM_ID">S2B_')


def no_histogram(data: bytes) -> bytes:
    return data.replace(b'"SCL_HISTOGRAM">0 0 ', b'"SCL_HISTOGRAM">0 9 ')


def another_collection(data: bytes) -> bytes:
    return data.replace(b'"COLLECTION">sentinel-2-l2a', b'"COLLECTION">sentinel-2-l2c')


def no_text(data: bytes) -> bytes:
    return data.replace(b"WGS 84 / UTM", b"WGS 84 / U\xffM")


DAMAGES: dict[Callable[[bytes], bytes], str] = {
    truncated: "is cut off|reaches to byte",
    cut_by_a_byte: "is cut off",
    emptied: "is cut off",
    zeroed_page: "block 0 (is|ends)",
    flipped: "block 0 is",
    checksum: "block 0 is damaged",
    no_stream: "block 0 is damaged",
    short_stream: "cannot be decoded",
    no_block: "lacks some of its blocks",
    narrower: "does not lie where its area does|does not hold all of its area",
    lower: "does not lie where its area does|does not hold all of its area",
    no_predictor: "is not written as crops are",
    moved: "does not hold all of its area|is not empty outside its area|differs from all other crops",
    another_nodata: "is not empty outside its area",
    another_name: "another name would be right",
    no_histogram: "does not tell what it is",
    another_collection: "is the only one of the collection sentinel-2-l2c",
    no_text: "a tag is not valid UTF-8",
}
"""Damages, and the reasons that are told for them."""


@pytest.fixture(scope="module")
def clear(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Scenes whose files are all there; one is cloudy over an area."""
    cloudy = worlds.day(8, clouded=frozenset({"North"}))
    yield from worlds.staged(tmp_path_factory.mktemp("world"), [*map(worlds.day, (0, 2, 4)), cloudy])


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, clear: Stage) -> worlds.Ran:
    """A run of two areas and two bands."""
    path = worlds.write_config(
        tmp_path_factory.mktemp("ran"),
        clear.sandbox,
        areas={name: worlds.polygon(name) for name in ("North", "Wide")},
        output={"assets": ["visual", "red"]},
    )
    return worlds.run(path, clear.sandbox)


@pytest.fixture
def copy(tmp_path: Path, ran: worlds.Ran) -> Path:
    """A copy of that run's project."""
    source = ran.config.file
    assert source is not None
    subprocess.run(["cp", "-a", f"{source.parent}/.", tmp_path], check=True)
    return tmp_path / source.name


def told(output: str) -> dict[str, str]:
    """The reasons of a rebuild by file."""
    return dict(re.findall(r"^(\S+\.tif) (.*): left unchanged$", output, re.MULTILINE))


def plain(config: s2async.Config) -> tuple[Any, ...]:
    """What a run leaves, but for the tags of crops, and for what is less than a centimetre in their place."""
    found = worlds.result(config)
    crops_ = {
        name: (pixels, [round(number, 2) for number in transform], *rest)
        for name, (pixels, _, (transform, *rest)) in found["crops"].items()
    }
    return found["answers"], found["index"], crops_


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_crop_is_not_believed(
    copy: Path, ran: worlds.Ran, clear: Stage, damage: Callable[[bytes], bytes]
) -> None:
    config = s2async.load_config(copy)
    broken = next(path for path in crops(config) if path.name.endswith("visual.tif"))
    whole = broken.read_bytes()
    data = damage(whole)
    assert data != whole
    broken.write_bytes(data)
    config.run.state.unlink()
    made = ask("rebuild", copy)
    assert made.exception is None, made.exception
    assert list(told(made.output)) == [str(broken)]
    assert re.search(DAMAGES[damage], told(made.output)[str(broken)])
    assert broken.read_bytes() == data, "it is left unchanged"
    assert ask("verify", copy).return_value == 0
    believed = list(s2async.read(copy))
    assert broken not in {crop.path for crop in believed}

    again = worlds.run(copy, clear.sandbox)
    assert plain(config) == plain(ran.config)
    pictures = {path for path in again.paths if path.endswith(("TCI.tif", "B04.tif"))}
    assert pictures == {f"{broken.name.removesuffix('_visual.tif')}/TCI.tif"}, "of two bands one is read again"
    assert ask("verify", copy).return_value == 0


def test_a_damaged_crop_that_was_recorded_as_it_is_is_found(copy: Path, ran: worlds.Ran, clear: Stage) -> None:
    """As by rebuilds of older versions."""
    config = s2async.load_config(copy)
    damages = (flipped, zeroed_page, short_stream, no_stream)
    broken = crops(config)[: len(damages)]
    with closing(sqlite3.connect(config.run.state)) as db:
        for path, damage in zip(broken, damages, strict=True):
            path.write_bytes(damage(path.read_bytes()))
            values = (path.stat().st_size, hashlib.sha256(path.read_bytes()).digest(), path.name, path.parent.name)
            db.execute(
                "UPDATE products SET bytes = ?, sha256 = ? WHERE file = ? AND job IN "
                "(SELECT j.id FROM jobs j JOIN shelves s ON s.area = j.area WHERE s.folder = ?)",
                values,
            )
        db.commit()
    checked = ask("verify", copy)
    assert checked.return_value == 3
    for path in broken:
        assert re.search(rf"{path.parent.name}/{path.name} (block 0 |cannot be decoded)", checked.output)
    worlds.run(copy, clear.sandbox)
    assert plain(config) == plain(ran.config)


@pytest.mark.parametrize("late", [False, True], ids=["", "searches are late"])
def test_no_damage_at_random_is_believed(copy: Path, ran: worlds.Ran, clear: Stage, late: bool) -> None:
    """A bit of some crops, in the header as often as in the pixels; the others show what crops are like.

    A run begins with the jobs that are open. As long as no search has told more of their items, it knows only what
    the tags of crops say; what it cannot do by then, the next run does.
    """
    config, generator = s2async.load_config(copy), random.Random(18)
    for round_ in range(4):
        for asset in ("visual", "red"):
            several = [path for path in crops(config) if path.stem.endswith(asset)]
            for path in generator.sample(several, len(several) - 3):
                damage_a_bit(path, generator)
        config.run.state.unlink()
        made = ask("rebuild", copy)
        assert made.exception is None, made.exception
        assert told(made.output)
        believed = {crop.path: crop for crop in s2async.read(copy)}
        for crop in s2async.read(ran.config):
            same = believed.get(config.output.folder / crop.path.relative_to(ran.config.output.folder))
            if same is not None:
                assert (same.pixels == crop.pixels).all(), (round_, crop.path)
                assert same.transform.almost_equals(crop.transform, 0.01), (round_, crop.path)
        if late:
            clear.sandbox.fault("code", path="/search", status=503)
        runs = 1
        while not (summary := worlds.run(copy, clear.sandbox).summary).clean or summary.left:
            runs += 1
            assert runs <= 3, summary
        assert plain(config) == plain(ran.config), round_
    clear.sandbox.clear_faults()


def damage_a_bit(path: Path, generator: random.Random) -> None:
    """Change a bit of a crop."""
    data = bytearray(path.read_bytes())
    end = block(bytes(data)).stop
    place = generator.randrange(end, len(data)) if generator.random() < 0.7 else generator.randrange(end)
    data[place] ^= 1 << generator.randrange(8)
    path.write_bytes(data)


def test_no_whole_crop_is_refused(copy: Path, ran: worlds.Ran) -> None:
    config = s2async.load_config(copy)
    before = worlds.statuses(config)
    config.run.state.unlink()
    made = ask("rebuild", copy)
    assert told(made.output) == {}
    assert "which is no longer searched" not in made.output
    assert worlds.statuses(config) == {key: status for key, status in before.items() if status == "saved"}


def test_nor_those_of_a_collection_that_is_no_longer_searched_which_are_named(copy: Path) -> None:
    count = len(crops(s2async.load_config(copy)))
    text = copy.read_text(encoding="utf-8")
    assert 'collection = "sentinel-2-l2a"' in text
    copy.write_text(text.replace("sentinel-2-l2a", "sentinel-2-c1-l2a"), encoding="utf-8")
    s2async.load_config(copy).run.state.unlink()
    made = ask("rebuild", copy)
    assert told(made.output) == {}
    assert f"{count} crops are of the collection sentinel-2-l2a, which is no longer searched" in made.output
    assert f"{count} crops are in the new state" in made.output


def test_nor_one_at_the_edge_of_a_scene_or_without_a_mask(tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(
        tmp_path,
        stage.sandbox,
        areas={"Rim": worlds.polygon("Rim")},
        output={"mask": False, "assets": ["visual", "scl"]},
        clouds={"min_area_valid": 0, "max_area_cloud": 100},
    )
    config = worlds.run(path, stage.sandbox).config
    count = len(crops(config))
    assert count
    config.run.state.unlink()
    made = ask("rebuild", path)
    assert told(made.output) == {}
    assert f"{count} crops are in the new state" in made.output


def test_nor_one_whose_outline_reaches_beyond_the_edge_of_a_scene(tmp_path: Path, clear: Stage) -> None:
    """By less than half a pixel of the classification, or in a sliver between the centres of its pixels."""
    inside = [(4700, 2000), (5100, 2000), (5090, 2300), (4705, 2310)]
    areas = {
        "East": worlds.lonlat([(4700, 1000), (5126, 1007), (5129, 1400), (4710, 1391)]),
        "Corner": worlds.lonlat([(-8, -7), (401, -6), (390, 400), (-5, 407)]),
        "Sliver": shapely.union_all(
            [worlds.lonlat(inside), worlds.lonlat([(5300, 2100), (5301, 2200), (5299.5, 2200)])]
        ),
    }
    path = worlds.write_config(tmp_path, clear.sandbox, areas=areas, output={"assets": ["visual", "scl"]})
    config = worlds.run(path, clear.sandbox).config
    assert {crop.parent.name for crop in crops(config)} == areas.keys()
    config.run.state.unlink()
    assert told(ask("rebuild", path).output) == {}
