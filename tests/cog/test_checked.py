"""Whether a date is clear hangs on the classification: no damage on the way may make a clear date a cloudy one."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from s2async.cog import deflate, polygon_mask, reader, tiles
from s2async.cog import source as sources
from s2async.cog.memory import Budget
from s2async.cog.tile_cache import Shelf
from s2async.errors import CorruptFile
from s2async.models import Asset, BatchResult, CloudMeasure, Status
from s2async.net.client import Transport
from s2async.sandbox.truth import oracle
from tests.support import worlds
from tests.support.batches import CODECS, INSIDE, ITEM, Served, areas
from tests.support.fault_server import FaultServer
from tests.support.lanes import long
from tests.support.layouts import by_name
from tests.support.layouts import tiff as made_tiff
from tests.support.served import cutout, run, sound
from tests.support.streams import Asking, File, by_gdal, layout_of, read


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> worlds.World:
    return worlds.World(tmp_path_factory.mktemp("world"), [ITEM])


def check(
    served: Served, folder: Path, results: Sequence[BatchResult], failed: frozenset[str] = frozenset()
) -> None:
    """All answers are those of rasterio.mask on the local files; some have none, and may have one later."""
    outcomes = {found.job.area.name: found for result in results for found in result.outcomes}
    assert outcomes.keys() == set(INSIDE)
    for name, found in outcomes.items():
        if name in failed:
            assert (found.status, found.transient, found.measure) == (Status.FAILED, True, None)
            continue
        plain = oracle.plain_crop(served.scl, found.job.area.polygon)
        assert plain is not None
        counts = np.bincount(plain.pixels.ravel(), minlength=256)
        assert found.measure is not None, found.reason
        assert found.measure.histogram[1:12] == tuple(counts[1:12])
        if plain.nodata == 0:
            assert found.measure.histogram[12] == counts[12:].sum()
        assert found.status is (Status.CLOUDY if name == "South" else Status.SAVED), found.reason
        for product in found.products:
            source = served.scl if product.asset == "scl" else served.tci
            path = folder / found.job.area.folder / product.file
            assert oracle.crop_differs(path, source, found.job.area.polygon) is None


# ---- damage that passes ------------------------------------------------------------------------------------

DAMAGES: Mapping[str, dict[str, Any]] = {
    "a hole": {"how": "zeros", "size": 400},
    "a page": {"how": "zeros", "size": 4096},
    "the rest": {"how": "zeros"},
    "16 random bytes": {"how": "random", "size": 16},
    "2 random bytes": {"how": "random", "size": 2},
    "a thousand random bytes": {"how": "random", "size": 1000},
    "a bit": {"how": "flipped", "size": 1},
}


@pytest.mark.parametrize("part", [0.0, 0.6, *long(0.35, 0.97)])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_tile_that_came_damaged_costs_one_more_request_and_no_answer(
    tmp_path: Path, server: FaultServer, world: worlds.World, damage: str, part: float
) -> None:
    served = Served(server, world)
    served.process(tmp_path / "plain", [served.jobs("well")])
    plain = {name: served.asked(name) for name in ("SCL.tif", "TCI.tif")}
    start, size = served.tile_under("North")
    for seed in range(2):
        jobs = served.jobs("spoilt", at=start + int(part * size), seed=seed, **DAMAGES[damage])
        folder = tmp_path / f"{seed}"
        check(served, folder, served.process(folder, [jobs]))
        asked = served.asked("SCL.tif")
        anew = [span for span, fresh in asked if fresh]
        assert sorted(span for span in asked if not span[1]) == sorted(plain["SCL.tif"])
        assert sorted(served.asked("TCI.tif")) == sorted(plain["TCI.tif"]), "not a byte more of the picture"
        if damage not in ("a page", "the rest", "a thousand random bytes"):  # which go on into the next tiles
            assert len(anew) == 1


@pytest.mark.parametrize("codec", CODECS)
def test_damage_that_leaves_its_trace_passes_whatever_the_codec(
    tmp_path: Path, server: FaultServer, world: worlds.World, codec: str
) -> None:
    """Where no checksum tells, mostly a class does that does not exist, or that nothing can be decoded."""
    served = Served(server, world, codec)
    start, size = served.tile_under("North")
    for seed in range(3):
        jobs = served.jobs("spoilt", at=start + size // 3, size=40, seed=seed, how="random")
        folder = tmp_path / f"{seed}"
        check(served, folder, served.process(folder, [jobs]))
        assert any(fresh for _, fresh in served.asked("SCL.tif"))


@pytest.mark.parametrize("known", [False, True])
def test_the_classification_as_a_crop_is_checked_too(
    tmp_path: Path, server: FaultServer, world: worlds.World, known: bool
) -> None:
    served = Served(server, world)
    start, size = served.tile_under("North")
    jobs = served.jobs("spoilt", at=start + size // 2, size=16, seed=1, how="random")
    if known:  # measured by an earlier run, so that it is read for the crop alone
        clear = CloudMeasure(histogram=(0, 0, 0, 0, 100, *[0] * 8), total=100)
        jobs = [replace(job, measure=clear) for job in jobs]
    results = served.process(tmp_path, [jobs], assets=("scl", "visual"))
    assert [fresh for _, fresh in served.asked("SCL.tif")].count(True) == 1
    if not known:
        check(served, tmp_path, results)
    for found in results[0].outcomes:
        assert {product.asset for product in found.products} == (
            set() if found.job.area.name == "South" and not known else {"scl", "visual"}
        )
        path = tmp_path / found.job.area.folder / f"{ITEM.id}_scl.tif"
        if found.products:
            assert oracle.crop_differs(path, served.scl, found.job.area.polygon) is None


def test_batches_that_share_a_damaged_tile_fetch_it_anew_once(
    tmp_path: Path, server: FaultServer, world: worlds.World
) -> None:
    served = Served(server, world, "deflate", blockxsize=256, blockysize=256)
    jobs = served.jobs("well")
    served.process(tmp_path / "plain", [[job] for job in jobs])
    assert len(served.asked("SCL.tif")) == 1, "there is one tile"
    start, size = served.tile_under("North")
    for seed in range(3):
        jobs = served.jobs("spoilt", at=start + size // 2, size=100, seed=seed, how="random")
        folder = tmp_path / f"{seed}"
        check(served, folder, served.process(folder, [[job] for job in jobs]))
        assert [fresh for _, fresh in served.asked("SCL.tif")] == [False, True]


# ---- damage that stays -------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["deflate", "lzw", "plain"])
def test_a_tile_that_comes_damaged_twice_fails_its_areas_for_now(
    tmp_path: Path, server: FaultServer, world: worlds.World, codec: str
) -> None:
    served = Served(server, world, codec)
    start, size = served.tile_under("North")
    jobs = served.jobs("spoilt", at=start + size // 4, size=40, seed=5, how="random", often=1000)
    results = served.process(tmp_path, [jobs])
    check(served, tmp_path, results, failed=frozenset({"North"}))
    (north,) = (found for found in results[0].outcomes if found.job.area.name == "North")
    assert north.reason.startswith("scl: ")
    assert "/SCL.tif" in north.reason
    again = served.process(tmp_path, [served.jobs("well")])
    check(served, tmp_path, again)


def test_batches_that_share_a_tile_that_stays_damaged_lose_what_touches_it_and_no_more(
    tmp_path: Path, server: FaultServer, world: worlds.World
) -> None:
    """Each reads the shared header anew, and finds perhaps that another batch has just done that."""
    served = Served(server, world)
    start, size = served.tile_under("North")
    jobs = {
        job.area.name: job
        for job in served.jobs("spoilt", at=start + size // 4, size=40, seed=5, how="random", often=1000)
    }
    others = ("South", "Rim", "Wide", "Tall")
    results = served.process(tmp_path, [[jobs["North"], jobs[name]] for name in others])
    for result, name in zip(results, others, strict=True):
        north, other = result.outcomes
        assert (north.job.area.name, north.status, north.transient) == ("North", Status.FAILED, True)
        assert (other.job.area.name, other.status) == (name, Status.CLOUDY if name == "South" else Status.SAVED)


# ---- tiles of others ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["deflate", "deflate without predictor", "strips"])
def test_a_sound_tile_of_another_file_is_noticed_by_its_length(
    tmp_path: Path, server: FaultServer, world: worlds.World, codec: str
) -> None:
    """A cache that mixes up its objects: the stream and its checksum are right, and all of it is cloud."""

    def cloud(pixels: NDArray[Any]) -> None:
        pixels[:] = 9

    served = Served(server, world)
    served.write(codec, cloud)
    place, _ = served.tile_under("North")
    other = served.scl.rename(server.folder / "other.tif")
    served.write(codec)
    start, size = served.tile_under("North")
    jobs = served.jobs("spoilt", **{"at": start, "size": size, "how": other.name, "from": place})
    check(served, tmp_path, served.process(tmp_path, [jobs]))
    assert [fresh for _, fresh in served.asked("SCL.tif")].count(True) == 1


def stuffed(file: File, block: int, stream: bytes) -> bytes:
    """The file with another stream in the place of a block's, zeros behind it."""
    start, count = int(file.layout.block_offsets[block]), int(file.layout.block_counts[block])
    assert len(stream) < count
    return file.data[:start] + stream.ljust(count, b"\0") + file.data[start + count :]


def half(file: File, block: int) -> bytes:
    """The upper half of a block's rows, as a sound stream."""
    start, count = int(file.layout.block_offsets[block]), int(file.layout.block_counts[block])
    raw = zlib.decompress(file.data[start : start + count])
    return zlib.compress(raw[: file.layout.block_height // 2 * deflate.line_bytes(file.layout)], 9)


def test_a_stream_that_is_too_short_is_believed_when_it_comes_twice_and_holds_what_is_wanted() -> None:
    data = made_tiff(by_name("tiles three bands"))
    layout = layout_of(data)
    high = layout.block_height
    upper = File(data=data, layout=layout, cutouts=[cutout(0, 0, 9, high // 2)], how="")
    lower = replace(upper, cutouts=[cutout(0, 0, 9, high // 2 + 1)])
    short = stuffed(upper, 0, half(upper, 0))
    (found,), transport = read(upper, data=short, verify=True)
    assert np.array_equal(found, by_gdal(data, [upper.cutouts[0].window])[0])
    place, count = int(layout.block_offsets[0]), int(layout.block_counts[0])
    assert transport.asked == [(place, place + count)] * 2
    with pytest.raises(CorruptFile, match="block 0 ends after"):
        read(lower, data=short, verify=True)
    assert len(read(upper, verify=True)[1].asked) == 1


# ---- classes that do not exist -----------------------------------------------------------------------------


def odd(pixels: NDArray[Any]) -> None:
    """Some of Wide has a class of 77, and most of Tall one of 255."""
    pixels[:, 90:100, 40:90] = 77
    pixels[:, 80:90, 130:160] = 255


@pytest.mark.parametrize("codec", CODECS)
def test_a_class_that_the_file_really_holds_is_read_twice_and_then_is_no_data(
    tmp_path: Path, server: FaultServer, world: worlds.World, codec: str
) -> None:
    served = Served(server, world)
    served.write(codec)
    served.process(tmp_path / "plain", [served.jobs("well")])
    plain = len(served.asked("SCL.tif"))
    served.write(codec, odd)
    results = served.process(tmp_path, [served.jobs("well")])
    check(served, tmp_path, results)
    bins = {found.job.area.name: found.measure.histogram[12] for found in results[0].outcomes if found.measure}
    assert bins["Wide"] > 0
    assert bins["North"] == 0
    anew = [span for span, fresh in served.asked("SCL.tif") if fresh]
    assert anew
    assert len(anew) == len(set(anew)) == len(served.asked("SCL.tif")) - plain, "each once"


@pytest.mark.parametrize("codec", ["deflate", "lzw", "plain"])
def test_what_the_file_calls_nodata_is_no_reason_to_read_anew(
    tmp_path: Path, server: FaultServer, world: worlds.World, codec: str
) -> None:
    def rim(pixels: NDArray[Any]) -> None:
        pixels[:, :, 200:] = 255

    served = Served(server, world)
    served.write(codec, rim, nodata=255)
    served.process(tmp_path, [served.jobs("well")])
    assert not [span for span, fresh in served.asked("SCL.tif") if fresh]


# ---- what it costs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("verify", [False, True])
def test_the_classification_is_read_in_whole_tiles_in_as_few_requests_as_can_be(
    tmp_path: Path, server: FaultServer, world: worlds.World, verify: bool
) -> None:
    served = Served(server, world)
    check(served, tmp_path, served.process(tmp_path, [served.jobs("well")], verify=verify))
    layout = layout_of(served.scl.read_bytes())
    cuts = [found for area in areas() if (found := polygon_mask.cutout(area, layout.grid))]
    rows = tiles.rows_under(layout, [cut.window for cut in cuts], [cut.inside for cut in cuts])
    assert min(rows.values()) < layout.block_height, "of some tiles, only a few rows are wanted"
    merged = tiles.byte_ranges(layout, {block: int(layout.block_counts[block]) for block in rows})
    assert sorted(served.asked("SCL.tif")) == [(f"bytes={one.start}-{one.stop - 1}", False) for one in merged]


def test_a_tile_that_is_left_out_of_the_file_needs_no_request(
    tmp_path: Path, server: FaultServer, world: worlds.World
) -> None:
    def empty(pixels: NDArray[Any]) -> None:
        pixels[:, :128, :128] = 0

    served = Served(server, world)
    served.write("deflate", empty, sparse_ok=True)
    layout = layout_of(served.scl.read_bytes())
    assert not layout.block_counts[0]
    (result,) = served.process(tmp_path, [served.jobs("well")])
    found = {one.job.area.name: one for one in result.outcomes}
    assert found["North"].status is Status.NODATA
    assert found["North"].measure is not None
    assert found["North"].measure.histogram[0] == found["North"].measure.total
    assert found["South"].status is Status.CLOUDY


# ---- starts of tiles on the shelf --------------------------------------------------------------------------


@pytest.mark.parametrize("at", [1450, 3000])
def test_a_start_that_another_reader_has_put_on_the_shelf_is_checked_with_the_rest(
    server: FaultServer, world: worlds.World, at: int
) -> None:
    """Damaged is what the first reader fetched, or what the second one adds to it."""
    served = Served(server, world, "deflate", blockxsize=256, blockysize=256)
    layout = layout_of(served.scl.read_bytes())
    place, count = int(layout.block_offsets[0]), int(layout.block_counts[0])
    upper, lower = cutout(0, 0, 256, 12), cutout(0, 100, 256, 156)
    truth = by_gdal(served.scl.read_bytes(), [upper.window, lower.window])
    href = server.url("spoilt", -1, "SCL.tif", at=place + at, size=9, seed=3, how="random")

    async def work(transport: Transport, pool: ThreadPoolExecutor) -> list[NDArray[Any]]:
        shelf = Shelf(1 << 20, transport.meter)
        source = await sources.open_source(transport, Asset(key="scl", href=href))

        async def one(part: Any, **more: Any) -> NDArray[Any]:
            (pixels,) = sound(
                await reader.read(
                    transport, source, [part], budget=Budget(1 << 20), pool=pool, shelf=shelf, **more
                )
            )
            return pixels

        unchecked = await one(upper, margin=Asking(1500 / count))
        checked = await one(lower, verify=True)
        later = await one(upper, margin=Asking(1500 / count))
        shelf.clear()
        return [unchecked, checked, later]

    server.ask("/__reset")
    (_, checked, later), meter = run(server, work)
    assert np.array_equal(checked, truth[1])
    assert np.array_equal(later, truth[0]), "what is damaged left the shelf"
    spans = [entry["range"] for entry in server.log[1:]]
    assert spans[0].startswith(f"bytes={place}-")
    assert spans[-1] == f"bytes={place}-{place + count - 1}"
    assert len(spans) == 3, "the start, the rest, and all of it anew"
    sent = sum(entry["sent"] for entry in server.log[1:])
    traffic = [line for line in meter.drain() if line.stage == "tiles"]
    assert sum(line.bytes for line in traffic) == sent
    assert min(line.bytes for line in traffic) >= 0
