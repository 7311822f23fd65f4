"""A file that is replaced while it is read: every crop is of one edition, whatever the server tells of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from s2async.cog import reader
from s2async.cog import source as sources
from s2async.cog.memory import Budget
from s2async.cog.tile_cache import Shelf
from s2async.errors import FileChanged
from s2async.models import Asset, BatchResult, Job, Outcome, Status
from s2async.net.accounting import Meter
from s2async.net.client import Transport
from s2async.net.editions import Edition
from s2async.sandbox.truth import oracle
from tests.support import worlds
from tests.support.batches import ITEM, Served
from tests.support.fault_server import FaultServer
from tests.support.lanes import long
from tests.support.served import COG, asset, cutout, make, run, sound
from tests.support.streams import SOURCE

BEFORE, AFTER = 1_651_399_200, 1_654_077_600
"""Seconds since 1970: a day in May 2022, and one in June."""
DATE = "Sun, 01 May 2022 10:00:00 GMT"

# ---- what tells an edition ---------------------------------------------------------------------------------

etags = st.sampled_from(["", '"1"', '"2"', 'W/"1"', 'W/"2"', "w/1", "unquoted"])
dates = st.sampled_from(["", DATE, DATE.replace("10:00:00", "10:00:01"), "yesterday"])
answers = st.builds(
    lambda etag, modified: (
        ({"ETag": etag} if etag else {}) | ({"Last-Modified": modified} if modified else {}) | {"Date": "now"}
    ),
    etags,
    dates,
)


@given(answers, answers, st.integers(1, 3), st.integers(1, 3))
def test_answers_are_of_one_edition_when_all_that_counts_is_the_same(
    first: Mapping[str, str], second: Mapping[str, str], size: int, later: int
) -> None:
    one, other = Edition.of(first, size), Edition.of(second, later)
    etag = first.get("ETag", "")
    same = size == later and etag == second.get("ETag", "")
    if etag in ("", 'W/"1"', 'W/"2"', "w/1"):
        same = same and first.get("Last-Modified", "") == second.get("Last-Modified", "")
    assert (one == other) == same
    assert one.strong == (etag in ('"1"', '"2"', "unquoted"))
    assert one.named == (bool(etag) or "Last-Modified" in first)
    assert one.conditions == ({"If-Match": etag} if one.strong else {})


# ---- reading -----------------------------------------------------------------------------------------------

CHANGES: Mapping[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "the strong ETag": ({"etag": '"1"'}, {"etag": '"2"', "blind": 1}),
    "the weak ETag": ({"etag": 'W/"1"', "modified": DATE}, {"etag": 'W/"2"', "modified": DATE}),
    "the date beside a weak ETag": ({"etag": 'W/"1"', "modified": DATE}, {"etag": 'W/"1"', "modified": "later"}),
    "the date": ({"noetag": 1, "modified": DATE}, {"noetag": 1, "modified": DATE.replace("May", "Jun")}),
    "a date that is none": ({"noetag": 1, "modified": "0"}, {"noetag": 1, "modified": "1"}),
    "no ETag any more": ({"etag": '"1"', "modified": DATE}, {"noetag": 1, "blind": 1, "modified": DATE}),
    "no date any more": ({"noetag": 1, "modified": DATE}, {"noetag": 1}),
    "an ETag at last": ({"noetag": 1, "modified": DATE}, {"etag": '"1"', "modified": DATE}),
    "a strong ETag that got weak": ({"etag": '"1"'}, {"etag": 'W/"1"', "blind": 1}),
    "a weak ETag that got strong": ({"etag": 'W/"1"'}, {"etag": '"1"'}),
}


@pytest.mark.parametrize("what", CHANGES)
def test_an_answer_of_another_edition_is_refused_before_its_body(server: FaultServer, what: str) -> None:
    """The same bytes, of the same size: what the server says of them is all that differs."""
    make(server.folder / "cog.tif", **COG)
    first, later = (asset(server, "cog.tif", **query) for query in CHANGES[what])
    same = CHANGES[what][0]

    async def work(transport: Transport, pool: ThreadPoolExecutor) -> None:
        source = await sources.open_source(transport, first)
        part = cutout(0, 0, 10, 10)
        sound(await reader.read(transport, source, [part], budget=Budget(1 << 20), pool=pool))
        moved = replace(source, asset=later)
        transport.meter.drain()
        with pytest.raises(FileChanged, match=r"the file changed while it was read: .*cog\.tif$"):
            await reader.read(transport, moved, [part], budget=Budget(1 << 20), pool=pool)
        assert sum(line.bytes for line in transport.meter.drain()) < 1000

    run(server, work)
    asked = [entry["headers"].get("if-match", "") for entry in server.log]
    strong = same.get("etag", "") if not same.get("etag", "W/").startswith("W/") else ""
    assert asked == ["", strong, strong]


def test_a_strong_etag_needs_no_second_witness(server: FaultServer) -> None:
    """Servers of one name may have copied a file at different times."""
    make(server.folder / "cog.tif", **COG)
    here = asset(server, "cog.tif", modified=f"{DATE}|yesterday|{DATE.replace('May', 'Jun')}|")

    async def work(transport: Transport, pool: ThreadPoolExecutor) -> None:
        source = await sources.open_source(transport, here)
        for _ in range(5):
            sound(await reader.read(transport, source, [cutout(0, 0, 10, 10)], budget=Budget(1 << 20), pool=pool))

    run(server, work)


@pytest.mark.parametrize("query", [{"noetag": 1}, {"noetag": 1, "modified": DATE}, {"weak": 1}])
def test_a_file_that_got_so_short_that_nothing_is_there_has_changed(
    server: FaultServer, query: dict[str, Any]
) -> None:
    path = server.folder / "cog.tif"
    make(path, **COG)

    async def work(transport: Transport, pool: ThreadPoolExecutor) -> None:
        source = await sources.open_source(transport, asset(server, "cog.tif", **query))
        path.write_bytes(path.read_bytes()[:3000])
        part = cutout(1400, 1400, 10, 10)
        await reader.read(transport, source, [part], budget=Budget(1 << 20), pool=pool)

    with pytest.raises(FileChanged, match=r"got shorter while it was read: .*cog\.tif"):
        run(server, work)
    assert [entry["status"] for entry in server.log] == [206, 416, 416], "one such answer is not believed"


@pytest.mark.parametrize("query", [{}, {"weak": 1, "modified": "mtime"}, {"noetag": 1, "modified": "mtime"}])
def test_readers_share_tiles_of_one_edition_and_none_of_another(
    server: FaultServer, query: dict[str, Any]
) -> None:
    """A file that is replaced leaves nothing behind, and what is read of the new one is shared again."""
    path = server.folder / "cog.tif"
    make(path, **COG)
    os.utime(path, (BEFORE, BEFORE))
    parts = [cutout(0, 0, 30, 200), cutout(20, 0, 30, 200)]
    here = asset(server, "cog.tif", **query)

    async def work(transport: Transport, pool: ThreadPoolExecutor) -> None:
        shelf, budget = Shelf(1 << 20, transport.meter), Budget(1 << 20)

        async def opened() -> sources.Source:
            return await sources.open_source(transport, here)

        async def read(source: sources.Source, part: Any) -> Any:
            return sound(await reader.read(transport, source, [part], budget=budget, pool=pool, shelf=shelf))[0]

        old, _ = await shelf.source(here, opened)
        pixels = make(path, seed=1, **COG)
        os.utime(path, (BEFORE, BEFORE))
        await read(old, parts[0])
        assert (await shelf.source(here, opened)) == (old, True)
        assert np.array_equal(await read(old, parts[1]), pixels[:, :200, 20:50])
        assert len(server.log) == 2, "one header, one tile"

        pixels = make(path, seed=2, **COG)
        with path.open("ab") as file:
            file.write(b"another size")
        with pytest.raises(FileChanged):
            await read(old, cutout(600, 600, 10, 10))
        shelf.forget(here)
        shelf.drop(old)
        assert not shelf._blocks
        new, known = await shelf.source(here, opened)
        assert not known
        for part, west in zip(parts, (0, 20), strict=True):
            assert np.array_equal(await read(new, part), pixels[:, :200, west : west + 30])
        shelf.clear()

    server.ask("/__reset")
    _, meter = run(server, work)
    assert len(server.log) == 2 + 1 + 2
    if query:
        assert not any("if-match" in entry["headers"] for entry in server.log)
    assert meter.bytes <= server.totals()[1]


def test_what_is_dropped_is_told_as_waste_and_what_is_in_use_stays() -> None:
    meter = Meter()
    shelf = Shelf(1000, meter)
    data = SOURCE
    later = replace(data, edition=replace(data.edition, etag='"2"'))
    for source in (data, later):
        for block in range(3):
            with shelf.using(source, [block]) as found:
                found[block].append(memoryview(bytes(100)))
                found[block].used = 30
    with shelf.using(data, [0]) as found:
        shelf.drop(data)
        assert found[0].size == 100
    assert {(edition.etag, block) for _, edition, block in shelf._blocks} == {('"1"', 0)} | {
        ('"2"', block) for block in range(3)
    }
    assert sum(line.bytes for line in meter.drain() if line.use == "wasted") == 2 * 70


# ---- batches -----------------------------------------------------------------------------------------------


class Swapped(Served):
    """The same, with an old file beside the one that is served: the first requests are answered with it."""

    def __init__(self, server: FaultServer, world: worlds.World, *, name: str) -> None:
        super().__init__(server, world)
        self.new = {"SCL.tif": self.scl, "TCI.tif": self.tci}[name]
        self.name = name
        self.old = self.new.with_name(f"{name}.old")
        with rasterio.open(self.new) as file:
            pixels, profile = file.read(), file.profile
        # what was there before: as much cloud elsewhere, or colours the other way round, and other tiles' sizes
        before = pixels[:, ::-1, ::-1] if name == "SCL.tif" else 255 - pixels // 2
        with rasterio.open(self.old, "w", **profile) as file:
            file.write(before)
        self.stamp(AFTER)

    def stamp(self, after: int) -> None:
        os.utime(self.old, (BEFORE, BEFORE))
        os.utime(self.new, (after, after))

    def same_size(self) -> None:
        """Bytes after the end of the shorter one, which no reader minds."""
        size = max(self.old.stat().st_size, self.new.stat().st_size)
        for path in (self.old, self.new):
            path.write_bytes(path.read_bytes().ljust(size, b"\0"))

    def swapping(self, times: int, **query: Any) -> list[Job]:
        """Jobs: so many requests of the file are answered with the old one."""
        key = "scl" if self.name == "SCL.tif" else "visual"
        href = self.server.url("old", times, self.name, **query)
        return [
            replace(
                job,
                scene=replace(job.scene, assets={**job.scene.assets, key: Asset(key=key, href=href)}),
            )
            for job in self.jobs("well")
        ]

    def editions(self, folder: Path, result: BatchResult) -> set[str]:
        """Of which edition the answers are: ``old``, ``new``, or neither."""
        return {self._edition(folder, found) for found in result.outcomes}

    def _edition(self, folder: Path, found: Outcome) -> str:
        for edition, path in (("old", self.old), ("new", self.new)):
            if self.name == "TCI.tif":
                crop = folder / found.job.area.folder / f"{ITEM.id}_visual.tif"
                if found.status is Status.CLOUDY:
                    return "cloudy"
                if crop.exists() and oracle.crop_differs(crop, path, found.job.area.polygon) is None:
                    return edition
            else:
                plain = oracle.plain_crop(path, found.job.area.polygon)
                assert plain is not None
                counts = np.bincount(plain.pixels.ravel(), minlength=13)
                if found.measure and found.measure.histogram[1:] == tuple(counts[1:13]):
                    return edition
        return f"neither: {found.status} {found.reason}"

    def header_reads(self) -> int:
        return sum(
            entry["path"].endswith(self.name) and entry["range"].startswith("bytes=0-")
            for entry in self.server.log
        )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> worlds.World:
    return worlds.World(tmp_path_factory.mktemp("world"), [ITEM])


def later(swapped: Swapped) -> None:
    pass


def same_second(swapped: Swapped) -> None:
    swapped.stamp(BEFORE)


def same_size(swapped: Swapped) -> None:
    swapped.same_size()
    swapped.stamp(AFTER)


SWAPS: Mapping[str, tuple[dict[str, Any], Callable[[Swapped], None]]] = {
    "strong ETag": ({}, later),
    "strong ETag, conditions not heeded": ({"blind": 1}, later),
    "weak ETag": ({"weak": 1}, same_second),
    "weak ETag that stays, other date": ({"etag": 'W/"1"', "modified": "mtime"}, same_size),
    "no ETag, other date and size": ({"noetag": 1, "modified": "mtime"}, later),
    "no ETag, other date, same size": ({"noetag": 1, "modified": "mtime"}, same_size),
    "no ETag, same second, other size": ({"noetag": 1, "modified": "mtime"}, same_second),
    "no ETag, no proper date": ({"noetag": 1, "modified": "garbled"}, same_size),
    "no ETag, no date, other size": ({"noetag": 1}, later),
}
FEW_SWAPS = ("strong ETag", "weak ETag", "no ETag, other date, same size")
"""Those of the true-colour file in the usual lane; of the classification it has all."""


@pytest.mark.parametrize(
    ("swap", "name"),
    [
        *((swap, "SCL.tif") for swap in SWAPS),
        *((swap, "TCI.tif") for swap in FEW_SWAPS),
        *long(*((swap, "TCI.tif") for swap in SWAPS if swap not in FEW_SWAPS)),
    ],
)
def test_a_file_that_is_swapped_while_it_is_read_is_read_anew_as_a_whole(
    tmp_path: Path, server: FaultServer, world: worlds.World, swap: str, name: str
) -> None:
    query, prepared = SWAPS[swap]
    swapped = Swapped(server, world, name=name)
    prepared(swapped)
    for times in range(1, 6):
        folder = tmp_path / f"{times}"
        (result,) = swapped.process(folder, [swapped.swapping(times, **query)])
        found = swapped.editions(folder, result) - {"cloudy"}
        answered = len([entry for entry in server.log if entry["path"].endswith(name)])
        if swapped.header_reads() == 1:
            assert found == {"old"}
            assert answered <= times, "it was swapped after the last request"
        else:
            assert found == {"new"}
            assert swapped.header_reads() == 2
    assert swapped.header_reads() == 1, "the last one came too late to be seen"


@pytest.mark.parametrize("name", ["SCL.tif", "TCI.tif"])
@pytest.mark.parametrize(
    "query",
    [
        {"etag": "|".join(f'"{number}"' for number in range(99))},
        {"etag": "|".join(f'"{number}"' for number in range(99)), "blind": 1},
        {"etag": "|".join(f'W/"{number}"' for number in range(99))},
        {"noetag": 1, "modified": "|".join(f"day {number}" for number in range(99))},
        {"headonly": 1, "blind": 1},
        {"headonly": 1, "noetag": 1, "modified": DATE},
    ],
    ids=["ETags", "ETags, blind", "weak ETags", "dates", "ETags with headers only", "dates with headers only"],
)
def test_servers_that_never_agree_are_given_up_for_now(
    tmp_path: Path, server: FaultServer, world: worlds.World, name: str, query: dict[str, Any]
) -> None:
    """The same bytes, and each answer tells another edition, or none: that is settled after the second header."""
    swapped = Swapped(server, world, name=name)
    swapped.process(tmp_path / "plain", [swapped.swapping(0)])
    plain = len([entry for entry in server.log if entry["path"].endswith(name)])
    (result,) = swapped.process(tmp_path / "split", [swapped.swapping(0, **query)])
    hit = [found for found in result.outcomes if found.status is not Status.CLOUDY]
    assert hit
    for found in hit:
        assert (found.status, found.transient) == (Status.FAILED, True)
        assert "changed while it was read" in found.reason
    assert not list((tmp_path / "split").rglob("*.tif"))
    key = {"SCL.tif": "scl", "TCI.tif": "visual"}[name]
    assert key not in {fact.asset for fact in result.files}, "no header of it is worth keeping"
    assert swapped.header_reads() == 2
    assert len([entry for entry in server.log if entry["path"].endswith(name)]) <= 2 * plain
