"""One batch: every fault of a file or a server is an outcome of the right jobs, and nothing done is lost."""

from __future__ import annotations

import asyncio
import copy
import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.io import MemoryFile

from s2async import files as local_files
from s2async.catalog.assets import ONLY_JP2
from s2async.causes import Cause, Lack
from s2async.cog import headers as packed_headers
from s2async.cog import polygon_mask, tiff, tiles
from s2async.cog.memory import Budget
from s2async.cog.tile_cache import Shelf
from s2async.engine import scene_files, worker
from s2async.errors import (
    BadAnswer,
    CorruptFile,
    FileChanged,
    HostParked,
    LocalError,
    NotAllowed,
    NotFound,
    Refused,
    TransientError,
    UnsupportedLayout,
)
from s2async.models import (
    Area,
    Asset,
    Batch,
    BatchResult,
    CloudMeasure,
    FileFact,
    Job,
    Outcome,
    Product,
    Scene,
    Status,
)
from s2async.net.client import Meter, Piece, Transport
from s2async.net.editions import Edition
from s2async.output import crops
from s2async.sandbox.truth import oracle
from tests.support import worlds
from tests.support.settings import settings_in
from tests.support.states import make_scene

pytestmark = pytest.mark.slow

SECRET = "?sig=hunter2"
HOST = "https://cogs.example"
CLOUDED = worlds.day(1, clouded=frozenset({"South"}))
AREAS = [
    Area(name=name, wkb=worlds.polygon(name).wkb, fingerprint=hashlib.sha256(name.encode()).hexdigest()[:16],
         folder=name.lower())
    for name in worlds.SHAPES
]  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> worlds.World:
    return worlds.World(tmp_path_factory.mktemp("world"), [CLOUDED, worlds.day(2)])


@pytest.fixture(scope="module")
def files(world: worlds.World) -> dict[str, bytes]:
    place = world.folder / "cogs" / CLOUDED.id
    return {
        key: (place / name).read_bytes()
        for key, name in (("scl", "SCL.tif"), ("visual", "TCI.tif"), ("red", "B04.tif"))
    }


class Server:
    """Stands for the transport: files by asset key, and what goes wrong at which request."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = dict(files)
        self.meter = Meter()
        self.etags = True
        self.asked: list[tuple[str, int]] = []
        self.fresh: list[int] = []
        """First bytes of what was asked for over a connection of its own."""
        self.before: Callable[[str, int, int], None] = lambda _key, _start, _number: None
        """Called with asset, first byte and number of each request; may raise, or change the files."""

    def counted_by(self, meter: Meter) -> Server:
        view = copy.copy(self)
        view.meter = meter
        return view

    async def read(
        self,
        href: str,
        start: int,
        size: int,
        *,
        edition: Edition | None = None,
        stage: str = "tiles",
        asset: str = "",
        fresh: bool = False,
    ) -> Piece:
        assert href == f"{HOST}/{CLOUDED.id}/{asset}.tif{SECRET}"
        self.asked.append((asset, start))
        self.fresh += [start] if fresh else []
        await asyncio.sleep(0)
        self.before(asset, start, len(self.asked))
        if asset not in self.files:
            raise NotFound(f"not there (404): {HOST}")
        data = self.files[asset]
        now = Edition(size=len(data), etag=hashlib.sha256(data).hexdigest() if self.etags else "")
        if edition and edition != now:
            raise FileChanged(f"the file changed while it was read: {HOST}")
        return Piece(data=data[start : start + size], edition=now)


def scene(*keys: str) -> Scene:
    assets = {key: Asset(key=key, href=f"{HOST}/{CLOUDED.id}/{key}.tif{SECRET}") for key in keys}
    return replace(make_scene(CLOUDED.id), assets=assets, absent={"blue": ONLY_JP2})


SCENE = scene("scl", "visual", "red")


def job(name: str, number: int = 0, **known: Any) -> Job:
    area = next(area for area in AREAS if area.name == name)
    return Job(id=number or AREAS.index(area) + 1, area=area, scene=known.pop("scene", SCENE), **known)


ALL = [job(area.name) for area in AREAS]


def process(
    server: Server,
    jobs: Sequence[Job],
    wanted: worker.Settings,
    known: Sequence[FileFact] = (),
    budget: Budget | None = None,
) -> BatchResult:
    async def main() -> BatchResult:
        with ThreadPoolExecutor(2) as pool:
            tools = worker.Tools(
                transport=cast("Transport", server), budget=budget or Budget(1 << 20), pool=pool, writers=pool
            )
            batch = Batch(scene=jobs[0].scene, jobs=tuple(jobs), files=tuple(known))
            return await worker.process(batch, wanted, tools)

    result = asyncio.run(main())
    left = {job.id for job in result.left}
    expected = [job for job in jobs if job.id not in left]
    assert [outcome.job for outcome in result.outcomes] == expected, "one outcome a job that is not left, in order"
    return result


def statuses(result: BatchResult) -> dict[str, Status]:
    return {outcome.job.area.name: outcome.status for outcome in result.outcomes}


def outcome(result: BatchResult, name: str) -> Outcome:
    return next(found for found in result.outcomes if found.job.area.name == name)


PLAIN = dict.fromkeys(("North", "Wide", "Tall", "Rim"), Status.SAVED) | {
    "South": Status.CLOUDY,
    "Beyond": Status.OUTSIDE,
}


def test_a_batch_gives_each_job_its_answer_and_tells_what_it_learnt(
    tmp_path: Path, files: dict[str, bytes], world: worlds.World
) -> None:
    server = Server(files)
    result = process(server, ALL, settings_in(tmp_path))
    assert statuses(result) == PLAIN
    assert [key for key, start in server.asked if start == 0] == ["scl", "visual"]
    assert {(fact.asset, fact.size, fact.etag) for fact in result.files} == {
        (key, len(files[key]), hashlib.sha256(files[key]).hexdigest()) for key in ("scl", "visual")
    }
    for found in result.outcomes:
        assert (found.measure is None) == (found.status is Status.OUTSIDE)
        for product in found.products:
            path = tmp_path / found.job.area.folder / product.file
            assert path.name == f"{CLOUDED.id}_visual.tif"
            data = path.read_bytes()
            assert (product.bytes, product.sha256) == (len(data), hashlib.sha256(data).hexdigest())
            source = world.folder / "cogs" / CLOUDED.id / "TCI.tif"
            assert oracle.crop_differs(path, source, found.job.area.polygon) is None
    assert not list(tmp_path.rglob("*.part"))


def test_a_crop_says_where_it_comes_from(tmp_path: Path, files: dict[str, bytes]) -> None:
    result = process(Server(files), [job("North")], settings_in(tmp_path))
    found = outcome(result, "North")
    measured = found.measure
    assert measured is not None
    with rasterio.open(tmp_path / "north" / f"{CLOUDED.id}_visual.tif") as raster:
        tags = raster.tags()
    assert {
        "ITEM_ID": CLOUDED.id,
        "ITEM_VERSION": "v1",
        "COLLECTION": "sentinel-2-l2a",
        "DATETIME": "2022-01-01T10:00:00.123456+00:00",
        "AREA": "North",
        "AREA_FINGERPRINT": found.job.area.fingerprint,
        "ASSET": "visual",
        "MASK": "polygon",
        "SCL_HISTOGRAM": " ".join(map(str, measured.histogram)),
        "AREA_PIXELS": str(measured.total),
        "CLOUD_PERCENT": "0.0000",
        "VALID_PERCENT": "100.0000",
        "ETAG": hashlib.sha256(files["visual"]).hexdigest(),
        "TIFFTAG_COPYRIGHT": "synthetic 2022",
    }.items() <= tags.items()
    assert tags["TIFFTAG_SOFTWARE"].startswith("s2async ")


def test_what_is_known_is_not_read_again(tmp_path: Path, files: dict[str, bytes]) -> None:
    measured = CloudMeasure(histogram=(0, 0, 0, 0, 100, *[0] * 8), total=100)
    spoilt = CloudMeasure(histogram=(0,) * 9 + (100, 0, 0, 0), total=100)
    server = Server(files)
    result = process(
        server,
        [
            job("North", measure=measured),
            job("Wide", measure=measured, saved=frozenset({"visual"})),
            job("South", measure=spoilt),
        ],
        settings_in(tmp_path),
    )
    assert statuses(result) == {"North": Status.SAVED, "Wide": Status.SAVED, "South": Status.CLOUDY}
    assert {key for key, _ in server.asked} == {"visual"}
    assert [path.parent.name for path in tmp_path.rglob("*.tif")] == ["north"]
    done = Server(files)
    process(done, [job("Wide", measure=measured, saved=frozenset({"visual"}))], settings_in(tmp_path))
    assert not done.asked


@pytest.mark.parametrize(
    ("key", "error", "status", "transient"),
    [
        ("scl", NotFound("not there (404)"), Status.MISSING, False),
        ("scl", TransientError("the server answers 503"), Status.FAILED, True),
        ("scl", Refused("access denied (403)"), Status.FAILED, True),
        ("scl", UnsupportedLayout("unsupported layout: an alpha band"), Status.FAILED, False),
        ("visual", NotFound("not there (410)"), Status.MISSING, False),
        ("visual", TransientError("timed out"), Status.FAILED, True),
        ("visual", NotAllowed("not an allowed origin"), Status.FAILED, True),
    ],
)
@pytest.mark.parametrize("tile", [False, True])
def test_a_fault_of_a_file_is_the_outcome_of_the_jobs_that_need_it(
    tmp_path: Path,
    files: dict[str, bytes],
    key: str,
    error: Exception,
    status: Status,
    transient: bool,
    tile: bool,
) -> None:
    server = Server(files)

    def fail(asset: str, start: int, _number: int) -> None:
        if asset == key and (start > 0) == tile:
            raise error

    server.before = fail
    result = process(server, ALL, settings_in(tmp_path))
    hit = {area.name for area in AREAS} if key == "scl" else {"North", "Wide", "Tall", "Rim"}
    if key == "scl" and tile:
        hit.remove("Beyond")  # the header told already that it lies outside
    assert statuses(result) == PLAIN | dict.fromkeys(hit, status)
    for found in result.outcomes:
        if found.job.area.name in hit:
            assert (found.reason, found.transient) == (f"{key}: {error}", transient)
            assert (found.measure is None) == (key == "scl"), "what was measured is kept"
            assert not found.products


@pytest.mark.parametrize("key", ["scl", "visual"])
@pytest.mark.parametrize("tile", [False, True])
def test_jobs_whose_server_is_parked_are_left_with_what_was_measured(
    tmp_path: Path, files: dict[str, bytes], key: str, tile: bool
) -> None:
    server = Server(files)

    def parked(asset: str, start: int, _number: int) -> None:
        if asset == key and (start > 0) == tile:
            raise HostParked("is not asked at present", origin=HOST)

    server.before = parked
    result = process(server, ALL, settings_in(tmp_path))
    hit = {area.name for area in AREAS} if key == "scl" else {"North", "Wide", "Tall", "Rim"}
    if key == "scl" and tile:
        hit.remove("Beyond")
    assert {job.area.name for job in result.left} == hit
    assert result.parked == HOST
    assert statuses(result) == {name: status for name, status in PLAIN.items() if name not in hit}
    assert all((job.measure is None) == (key == "scl") for job in result.left)

    server.before, server.asked = lambda *_: None, []
    again = process(server, result.left, settings_in(tmp_path))
    assert statuses(again) == {name: PLAIN[name] for name in hit}
    assert not again.left
    assert not again.parked
    assert ("scl" in {asset for asset, _ in server.asked}) == (key == "scl"), "what was measured is not read again"


def test_a_crop_that_was_saved_before_its_server_was_parked_is_not_fetched_again(
    tmp_path: Path, files: dict[str, bytes]
) -> None:
    server = Server(files)

    def parked(asset: str, *_: int) -> None:
        if asset == "red":
            raise HostParked("is not asked at present", origin=HOST)

    server.before = parked
    wanted = settings_in(tmp_path, assets=("visual", "red"))
    result = process(server, ALL, wanted)
    for _ in range(2):
        assert {(job.area.name, *(p.asset for p in job.products)) for job in result.left} == {
            (name, "visual") for name in ("North", "Wide", "Tall", "Rim")
        }
        assert all(job.saved == {"visual"} for job in result.left)
        server.asked.clear()
        result = process(server, result.left, wanted)
    assert {asset for asset, _ in server.asked} == {"red"}
    server.before = lambda *_: None
    again = process(server, result.left, wanted)
    assert {found.status for found in again.outcomes} == {Status.SAVED}
    assert all([product.asset for product in found.products] == ["visual", "red"] for found in again.outcomes)


def test_an_asset_that_the_item_lacks_is_missing_with_the_reason(tmp_path: Path, files: dict[str, bytes]) -> None:
    server = Server(files)
    result = process(server, ALL, settings_in(tmp_path, assets=("nir", "blue")))
    assert statuses(result) == dict.fromkeys(PLAIN, Status.MISSING)
    found = outcome(result, "North")
    assert (found.reason, found.cause) == (
        "nir: the item has no such asset; blue: only as JPEG 2000",
        Cause.NO_ASSET,
    )
    assert not server.asked, "not even for the clouds, of which nothing would follow"
    bare = [replace(one, scene=scene("visual")) for one in ALL]
    result = process(server, bare, settings_in(tmp_path))
    assert set(statuses(result).values()) == {Status.MISSING}
    assert outcome(result, "North").reason == "scl: the item has no such asset"
    assert not server.asked


def test_an_asset_that_is_missing_costs_that_asset_only(tmp_path: Path, files: dict[str, bytes]) -> None:
    server = Server({key: files[key] for key in ("scl", "visual")})
    result = process(server, ALL, settings_in(tmp_path, assets=("blue", "red", "visual")))
    assert statuses(result) == PLAIN
    found = outcome(result, "North")
    assert [product.asset for product in found.products] == ["visual"]
    assert found.reason == f"without blue: only as JPEG 2000; red: not there (404): {HOST}"
    assert [(lack.asset, lack.cause, lack.missing, lack.host) for lack in found.lacks] == [
        ("blue", Cause.JPEG2000, True, ""),
        ("red", Cause.NOT_THERE, True, HOST),
    ]
    assert outcome(result, "South").lacks == (), "what is cloudy lacks nothing"


@pytest.mark.parametrize("tile", [False, True])
def test_an_asset_that_fails_costs_that_asset_only_and_is_tried_again(
    tmp_path: Path, files: dict[str, bytes], tile: bool
) -> None:
    server = Server(files)

    def fail(asset: str, start: int, _number: int) -> None:
        if asset == "red" and (start > 0) == tile:
            raise TransientError("timed out")

    server.before = fail
    wanted = settings_in(tmp_path, assets=("red", "blue", "visual"))
    result = process(server, ALL, wanted)
    clear = ("North", "Wide", "Tall", "Rim")
    assert statuses(result) == PLAIN | dict.fromkeys(clear, Status.FAILED)
    for name in clear:
        found = outcome(result, name)
        assert [product.asset for product in found.products] == ["visual"]
        assert (found.reason, found.cause, found.transient) == ("red: timed out", Cause.NETWORK, True)
        assert [(lack.asset, lack.missing) for lack in found.lacks] == [("red", False), ("blue", True)]
    again = [
        replace(one.job, measure=one.measure, saved=frozenset({"visual"}), lacks=_from_state(one))
        for one in result.outcomes
        if one.products
    ]
    healed = Server(files)
    result = process(healed, again, wanted)
    assert set(statuses(result).values()) == {Status.SAVED}
    assert {key for key, _ in healed.asked} == {"red"}
    assert all([product.asset for product in found.products] == ["red"] for found in result.outcomes)


def _from_state(found: Outcome) -> tuple[Lack, ...]:
    return tuple(replace(lack, known=True, again=not lack.missing) for lack in found.lacks)


def test_what_is_known_to_be_missing_is_not_asked_for(tmp_path: Path, files: dict[str, bytes]) -> None:
    measured = CloudMeasure(histogram=(0, 0, 0, 0, 100, *[0] * 8), total=100)
    gone = Lack(asset="red", cause=Cause.NOT_THERE, text="not there (404)", known=True)
    due = replace(gone, again=True)
    server = Server({key: files[key] for key in ("scl", "visual")})
    jobs = [
        job("North", measure=measured, saved=frozenset({"visual"}), lacks=(gone,)),
        job("Wide", lacks=(gone,)),
        job("Tall", measure=measured, saved=frozenset({"visual"}), lacks=(due,)),
    ]
    result = process(server, jobs, settings_in(tmp_path, assets=("visual", "red")))
    assert set(statuses(result).values()) == {Status.SAVED}
    assert [key for key, _ in server.asked].count("red") == 1, "for the one whose time has come"
    assert outcome(result, "North").lacks == (gone,)
    assert [lack.known for lack in outcome(result, "Tall").lacks] == [False]
    only = Server(files)
    result = process(only, [job("North", lacks=(gone,))], settings_in(tmp_path, assets=("red",)))
    assert statuses(result) == {"North": Status.MISSING}
    assert not only.asked
    unseen = replace(gone, asset="scl")
    result = process(only, [job("North", lacks=(unseen,))], settings_in(tmp_path))
    assert (statuses(result), only.asked) == ({"North": Status.MISSING}, [])


def test_a_cloudy_job_is_cloudy_whatever_it_lacks(tmp_path: Path, files: dict[str, bytes]) -> None:
    spoilt = CloudMeasure(histogram=(0,) * 9 + (100, 0, 0, 0), total=100)
    server = Server(files)
    result = process(server, [job("North", measure=spoilt)], settings_in(tmp_path, assets=("blue",)))
    assert (statuses(result), server.asked) == ({"North": Status.CLOUDY}, [])


# ---- files that change ------------------------------------------------------------------------------------


def test_a_file_that_changes_is_read_once_more_from_its_header(
    tmp_path: Path, files: dict[str, bytes], world: worlds.World
) -> None:
    """New pixels, as a whole: no header of the old version with tiles of the new one."""
    other = world.folder / "cogs" / worlds.day(2).id
    server = Server(files)

    def swap(asset: str, start: int, _number: int) -> None:
        if start > 0:
            server.files[asset] = (other / {"scl": "SCL.tif", "visual": "TCI.tif"}[asset]).read_bytes()

    server.before = swap
    result = process(server, ALL, settings_in(tmp_path))
    assert statuses(result) == PLAIN | {"South": Status.SAVED}, "the new classification is without cloud"
    for found in result.outcomes:
        for product in found.products:
            path = tmp_path / found.job.area.folder / product.file
            assert oracle.crop_differs(path, other / "TCI.tif", found.job.area.polygon) is None
    assert {fact.etag for fact in result.files} == {
        hashlib.sha256((other / name).read_bytes()).hexdigest() for name in ("SCL.tif", "TCI.tif")
    }


@pytest.mark.parametrize("key", ["scl", "visual"])
def test_a_file_that_changes_again_is_left_to_the_next_run(
    tmp_path: Path, files: dict[str, bytes], key: str
) -> None:
    server = Server(files)

    def swap(asset: str, start: int, number: int) -> None:
        if asset == key and start > 0:
            server.files[key] = files[key] + bytes(number)

    server.before = swap
    result = process(server, ALL, settings_in(tmp_path))
    hit = {"North", "Wide", "Tall", "Rim"} | ({"South"} if key == "scl" else set())
    assert statuses(result) == PLAIN | dict.fromkeys(hit, Status.FAILED)
    for name in hit:
        found = outcome(result, name)
        assert found.transient
        assert found.reason == f"{key}: the file changed while it was read: {HOST}"
    assert [asked for asked in server.asked if asked == (key, 0)] == [(key, 0)] * 2, "once more, and no more"


def test_a_new_version_of_the_classification_may_cover_other_ground(
    tmp_path: Path, files: dict[str, bytes]
) -> None:
    """What the first version said of its place does not count against the second one."""
    server = Server(files)
    server.files["scl"] = moved(files["scl"], 2000)

    def swap(asset: str, start: int, _number: int) -> None:
        if asset == "scl" and start > 0:
            server.files["scl"] = files["scl"]

    server.before = swap
    result = process(server, [job("North"), job("South")], settings_in(tmp_path))
    assert statuses(result) == {"North": Status.SAVED, "South": Status.CLOUDY}


# ---- headers that are known -------------------------------------------------------------------------------


def learnt(folder: Path, files: dict[str, bytes]) -> dict[str, FileFact]:
    """What a batch tells of the files."""
    result = process(Server(files), ALL, settings_in(folder, assets=("visual", "red")))
    return {fact.asset: fact for fact in result.files}


def headers(server: Server) -> list[str]:
    return [key for key, start in server.asked if start == 0]


def test_a_known_header_is_not_read_and_the_answers_are_the_same(tmp_path: Path, files: dict[str, bytes]) -> None:
    known = learnt(tmp_path / "before", files)
    plain, server = Server(files), Server(files)
    expected = process(plain, ALL, settings_in(tmp_path))
    found = process(server, ALL, settings_in(tmp_path), [*known.values()])
    assert found.outcomes == expected.outcomes
    assert headers(server) == []
    assert server.asked == [asked for asked in plain.asked if asked[1] > 0]
    assert found.files == (), "nothing new"
    partly = Server(files)
    found = process(partly, ALL, settings_in(tmp_path), [known["scl"]])
    assert headers(partly) == ["visual"]
    assert [fact.asset for fact in found.files] == ["visual"]


def other_files(world: worlds.World) -> dict[str, bytes]:
    place = world.folder / "cogs" / worlds.day(2).id
    return {"scl": (place / "SCL.tif").read_bytes(), "visual": (place / "TCI.tif").read_bytes()}


@pytest.mark.parametrize("etags", [True, False])
def test_a_file_that_is_not_that_of_its_known_header_is_read_anew(
    tmp_path: Path, files: dict[str, bytes], world: worlds.World, etags: bool
) -> None:
    """Another ETag, or none any more to tell by."""
    known, server = learnt(tmp_path / "before", files), Server(other_files(world))
    server.etags = etags
    result = process(server, ALL, settings_in(tmp_path), [*known.values()])
    assert statuses(result) == PLAIN | {"South": Status.SAVED}
    assert headers(server) == ["scl", "visual"]
    for found in result.outcomes:
        for product in found.products:
            path = tmp_path / found.job.area.folder / product.file
            source = world.folder / "cogs" / worlds.day(2).id / "TCI.tif"
            assert oracle.crop_differs(path, source, found.job.area.polygon) is None
    fresh = {fact.asset: fact for fact in result.files}
    assert fresh.keys() == {"scl", "visual"}
    if etags:
        again = Server(server.files)
        process(again, ALL, settings_in(tmp_path), [*fresh.values()])
        assert headers(again) == []
    else:
        assert {fact.header for fact in fresh.values()} == {b""}


def test_a_file_that_changes_again_after_its_known_header_failed_is_left_to_the_next_run(
    tmp_path: Path, files: dict[str, bytes], world: worlds.World
) -> None:
    known, server = learnt(tmp_path / "before", files), Server(other_files(world))

    def swap(asset: str, start: int, number: int) -> None:
        if start > 0:
            server.files[asset] = files[asset] + bytes(number)

    server.before = swap
    result = process(server, ALL, settings_in(tmp_path), [*known.values()])
    assert {found.status for found in result.outcomes} == {Status.FAILED, Status.OUTSIDE}
    assert headers(server) == ["scl"]


@pytest.mark.parametrize("spoil", ["damaged", "empty", "of another place", "of a longer file", "elsewhere"])
def test_a_known_header_that_is_of_no_use_costs_no_answer(
    tmp_path: Path, files: dict[str, bytes], spoil: str
) -> None:
    known = learnt(tmp_path / "before", files)
    fact = known["visual"]
    wrong = {
        "damaged": replace(fact, header=fact.header[:-9] + bytes(9)),
        "empty": replace(fact, header=b""),
        "of another place": replace(learnt_of(moved(files["visual"], 500)), href=fact.href, etag=fact.etag),
        "of a longer file": replace(fact, size=9000),
        "elsewhere": replace(fact, href="https://elsewhere.example/visual.tif"),
    }[spoil]
    server = Server(files)
    expected = process(Server(files), ALL, settings_in(tmp_path))
    assert process(server, ALL, settings_in(tmp_path), [known["scl"], wrong]).outcomes == expected.outcomes
    assert headers(server) == ["visual"]


def learnt_of(data: bytes) -> FileFact:
    layout = tiff.parse(data)
    assert isinstance(layout, tiff.Layout)
    return FileFact(asset="visual", href="", size=10**9, etag="", header=packed_headers.pack(layout))


def test_a_known_header_of_a_file_that_got_shorter_is_given_up(tmp_path: Path, files: dict[str, bytes]) -> None:
    """A weak ETag is no condition of the request, and the tile lies beyond the end by now."""
    known, server = learnt(tmp_path / "before", files), Server(files)

    def refuse(asset: str, start: int, _number: int) -> None:
        if asset == "scl" and start > 0 and not headers(server):
            raise BadAnswer(f"the server answers 416: {HOST}")

    server.before = refuse
    result = process(server, ALL, settings_in(tmp_path), [*known.values()])
    assert statuses(result) == PLAIN
    assert headers(server) == ["scl"]


@pytest.mark.parametrize("error", [BadAnswer("the server answers 418"), CorruptFile("block 3 is damaged")])
def test_a_file_that_is_wrong_is_not_read_twice_but_for_a_known_header(
    tmp_path: Path, files: dict[str, bytes], error: Exception
) -> None:
    known = learnt(tmp_path / "before", files)

    def refuse(asset: str, start: int, _number: int) -> None:
        if start > 0:
            raise error

    for facts, times in (([], 1), ([known["scl"]], 2)):
        server = Server(files)
        server.before = refuse
        result = process(server, ALL, settings_in(tmp_path), facts)
        assert {found.status for found in result.outcomes} == {Status.FAILED, Status.OUTSIDE}
        assert headers(server) == ["scl"]
        tiles = [start for _, start in server.asked if start > 0]
        assert tiles
        assert len(tiles) == times * len(set(tiles))


# ---- files that are wrong ---------------------------------------------------------------------------------


def moved(data: bytes, metres: float) -> bytes:
    """The same raster, further east."""
    return remade(data, transform=lambda t: Affine(t.a, t.b, t.c + metres, t.d, t.e, t.f))


def remade(data: bytes, *, transform: Callable[[Affine], Affine] = lambda t: t, **profile: Any) -> bytes:
    with MemoryFile(data) as memory, memory.open() as raster:
        pixels, old = raster.read(), raster.profile
    new = {**old, "driver": "GTiff", "transform": transform(old["transform"]), **profile}
    pixels = np.broadcast_to(pixels, (new["count"], *pixels.shape[1:])).astype(new["dtype"])
    with MemoryFile() as memory:
        with memory.open(**new) as raster:
            raster.write(pixels)
        return bytes(memory.getbuffer())


@pytest.mark.parametrize(
    ("key", "spoil", "reason"),
    [
        ("scl", lambda data: b"<html>" + data, "not a TIFF"),
        ("scl", lambda data: data[:9000], "extends beyond the end of the file"),
        ("scl", lambda data: remade(data, dtype="float32"), "not a scene classification: 1 x float32"),
        ("scl", lambda data: remade(data, count=3), "not a scene classification: 3 x uint8"),
        ("visual", lambda data: moved(data, 20), "covers other ground than the scene's other files"),
        ("visual", lambda data: remade(data, crs="EPSG:32632"), "covers other ground"),
    ],
)
def test_a_wrong_file_fails_and_is_named_without_secrets(
    tmp_path: Path, files: dict[str, bytes], key: str, spoil: Callable[[bytes], bytes], reason: str
) -> None:
    result = process(Server(files | {key: spoil(files[key])}), ALL, settings_in(tmp_path))
    found = outcome(result, "North")
    assert found.status is Status.FAILED
    assert (found.cause, found.transient) == (Cause.DAMAGED, True)
    assert found.reason.startswith(f"{key}: ")
    assert reason in found.reason
    assert f"{HOST}/{CLOUDED.id}/{key}.tif" in found.reason
    assert "hunter2" not in found.reason
    assert "\n" not in found.reason
    if key == "visual":
        assert found.measure is not None


@pytest.mark.parametrize("key", ["scl", "visual"])
@pytest.mark.parametrize("stored", [False, True], ids=["read header", "known header"])
def test_a_damaged_tile_fails_the_jobs_that_touch_it_and_no_other(
    tmp_path: Path, files: dict[str, bytes], key: str, stored: bool
) -> None:
    layout = tiff.parse(files[key])
    assert isinstance(layout, tiff.Layout)
    under = {}
    for area in AREAS:
        if found := polygon_mask.cutout(area, layout.grid):
            under[area.name] = set(tiles.blocks_under(layout, [found.window]))
    del under["South"]
    block = next(block for block in sorted(under["North"]) if not all(block in own for own in under.values()))
    start, count = int(layout.block_offsets[block]), int(layout.block_counts[block])
    damaged = bytearray(files[key])
    damaged[start : start + count] = bytes(count)
    hit = {name for name, own in under.items() if block in own}
    assert "North" in hit
    assert hit < set(under)

    server = Server(files | {key: bytes(damaged)})
    known = process(server, ALL, settings_in(tmp_path)).files if stored else []
    server = Server(server.files)
    result = process(server, ALL, settings_in(tmp_path), known)
    assert {name: one for name, one in statuses(result).items() if name in under} == dict.fromkeys(
        under, Status.SAVED
    ) | dict.fromkeys(hit, Status.FAILED)
    for name in hit:
        one = outcome(result, name)
        assert one.reason.startswith(f"{key}: block {block} is damaged (")
        assert one.reason.endswith(f"{HOST}/{CLOUDED.id}/{key}.tif")
        assert (one.cause, one.transient) == (Cause.DAMAGED, True)
    assert server.fresh == [start] * (1 + stored)
    assert headers(server) == ([key] if stored else ["scl", "visual"])


def test_a_wrong_asset_does_not_count_against_the_next_one(tmp_path: Path, files: dict[str, bytes]) -> None:
    """North has its red crop and wants the others; South wants the red one only."""
    measured = CloudMeasure(histogram=(0, 0, 0, 0, 100, *[0] * 8), total=100)
    server = Server(files | {"visual": moved(files["visual"], 20)})
    result = process(
        server, [job("North"), job("Wide", measure=measured, saved=frozenset({"visual"}))],
        settings_in(tmp_path, assets=("visual", "red")),
    )  # fmt: skip
    assert statuses(result) == {"North": Status.FAILED, "Wide": Status.SAVED}


def test_a_picture_that_does_not_reach_a_measured_area_is_wrong(tmp_path: Path, files: dict[str, bytes]) -> None:
    measured = CloudMeasure(histogram=(0, 0, 0, 0, 100, *[0] * 8), total=100)
    server = Server(files | {"visual": moved(files["visual"], 50_000)})
    result = process(server, [job("North", measure=measured)], settings_in(tmp_path))
    assert "does not reach an area" in outcome(result, "North").reason
    both = process(server, [job("North", measure=measured)], settings_in(tmp_path, assets=("visual", "red")))
    assert [product.asset for product in outcome(both, "North").products] == ["red"]


# ---- this machine -----------------------------------------------------------------------------------------


async def one_of_many(server: Server, jobs: Sequence[Job], wanted: worker.Settings, shelf: Shelf) -> BatchResult:
    """Work on a batch whose scene has others."""
    with ThreadPoolExecutor(2) as pool:
        tools = worker.Tools(
            transport=cast("Transport", server), budget=Budget(1 << 20), pool=pool, writers=pool, shelf=shelf
        )
        return await worker.process(Batch(scene=SCENE, jobs=tuple(jobs), shared=True), wanted, tools)


def test_batches_of_one_scene_share_headers_and_tiles(tmp_path: Path, files: dict[str, bytes]) -> None:
    server = Server(files)
    shelf = Shelf(1 << 20, server.meter)

    async def main() -> list[BatchResult]:
        return await asyncio.gather(*[one_of_many(server, [job], settings_in(tmp_path), shelf) for job in ALL])

    results = asyncio.run(main())
    assert {name: status for result in results for name, status in statuses(result).items()} == PLAIN
    assert [key for key, start in server.asked if start == 0] == ["scl", "visual"]
    assert max(Counter(server.asked).values()) == 1
    assert sorted(fact.asset for result in results for fact in result.files) == ["scl", "visual"]


def test_a_shared_header_that_does_not_fit_any_more_is_read_anew(
    tmp_path: Path, files: dict[str, bytes], world: worlds.World
) -> None:
    server = Server(files)
    shelf = Shelf(1 << 20, server.meter)
    later = (world.folder / "cogs" / worlds.day(2).id / "TCI.tif").read_bytes()

    async def main() -> list[BatchResult]:
        first = await one_of_many(server, [job("North")], settings_in(tmp_path), shelf)
        server.files["visual"] = later
        return [first, await one_of_many(server, [job("Wide"), job("Tall")], settings_in(tmp_path), shelf)]

    results = asyncio.run(main())
    assert [statuses(result) for result in results] == [
        {"North": Status.SAVED},
        {"Wide": Status.SAVED, "Tall": Status.SAVED},
    ]
    assert [key for key, start in server.asked if start == 0] == ["scl", "visual", "visual"]
    assert outcome(results[1], "Wide").products[0].file == f"{CLOUDED.id}_visual.tif"
    path = tmp_path / "wide" / f"{CLOUDED.id}_visual.tif"
    source = world.folder / "cogs" / worlds.day(2).id / "TCI.tif"
    assert oracle.crop_differs(path, source, worlds.polygon("Wide")) is None


def test_a_machine_that_cannot_write_is_no_outcome(tmp_path: Path, files: dict[str, bytes]) -> None:
    (tmp_path / "north").write_text("in the way")
    with pytest.raises(LocalError, match="cannot make the folder"):
        process(Server(files), ALL, settings_in(tmp_path))
    with pytest.raises(LocalError, match="disk full"):
        process(Server(files), [job("Wide")], settings_in(tmp_path, reserve=1 << 60))


def test_a_bug_is_no_outcome(tmp_path: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(crops, "encode", broken)
    with pytest.raises(KeyError):
        process(Server(files), ALL, settings_in(tmp_path))


def test_where_areas_lie_is_asked_of_a_thread_once(
    tmp_path: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[bool]()

    def cutout(*question: Any) -> Any:
        asked.append(threading.current_thread() is threading.main_thread())
        return polygon_mask.cutout(*question)

    polygon_mask._PLACES.clear()
    monkeypatch.setattr(scene_files, "cutout", cutout)
    for at_once in (False, True):
        asked.clear()
        assert statuses(process(Server(files), ALL, settings_in(tmp_path))) == PLAIN
        assert set(asked[: len(ALL)]) == {at_once}


def test_pixels_are_in_the_budget_until_they_are_encoded_and_no_longer(
    tmp_path: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = Budget(1 << 20)
    encoding, saving = [], []

    def encode(*args: Any, **kwargs: Any) -> tuple[Product, bytes]:
        encoding.append((1 << 20) - budget._free)
        return crop_encode(*args, **kwargs)

    def replace_all(*args: Any, **kwargs: Any) -> None:
        saving.append((1 << 20) - budget._free)
        files_replace_all(*args, **kwargs)

    crop_encode, files_replace_all = crops.encode, local_files.replace_all
    monkeypatch.setattr(crops, "encode", encode)
    monkeypatch.setattr(local_files, "replace_all", replace_all)
    assert statuses(process(Server(files), ALL, settings_in(tmp_path), budget=budget)) == PLAIN
    assert encoding
    assert all(encoding)
    assert saving
    assert not any(saving)


def test_a_batch_that_is_cancelled_tells_what_it_knows(tmp_path: Path, files: dict[str, bytes]) -> None:
    server = Server(files)

    async def main() -> BatchResult:
        with ThreadPoolExecutor(2) as pool:
            tools = worker.Tools(
                transport=cast("Transport", server), budget=Budget(1 << 20), pool=pool, writers=pool
            )
            wanted = settings_in(tmp_path, assets=("visual", "red"))

            async def told() -> BatchResult:
                with pytest.raises(worker.Stopped) as stopped:
                    await worker.process(Batch(scene=SCENE, jobs=tuple(ALL)), wanted, tools)
                return stopped.value.result

            def stop(asset: str, *_: int) -> None:
                if asset == "red":
                    work.cancel()

            work = asyncio.create_task(told())
            server.before = stop
            return await work

    result = asyncio.run(main())
    outside = [name for name, status in PLAIN.items() if status is Status.OUTSIDE]
    assert outside, "a header that is known but out of date may say so"
    assert statuses(result) == {
        name: status for name, status in PLAIN.items() if status not in (Status.SAVED, Status.OUTSIDE)
    }
    assert {job.area.name for job in result.left} == {
        name for name, status in PLAIN.items() if status is Status.SAVED
    }
    for found in result.left:
        assert found.measure
        (product,) = found.products
        assert product.asset == "visual"
        assert len((tmp_path / found.area.folder / product.file).read_bytes()) == product.bytes
    assert {fact.asset for fact in result.files} >= {"scl", "visual"}


@pytest.mark.parametrize("turns", range(0, 40, 3))
def test_a_batch_can_be_cancelled_anywhere(tmp_path: Path, files: dict[str, bytes], turns: int) -> None:
    async def main() -> None:
        with ThreadPoolExecutor(2) as pool:
            budget = Budget(1 << 20)
            tools = worker.Tools(
                transport=cast("Transport", Server(files)), budget=budget, pool=pool, writers=pool
            )
            work = asyncio.create_task(
                worker.process(Batch(scene=SCENE, jobs=tuple(ALL)), settings_in(tmp_path), tools)
            )
            for _ in range(turns):
                await asyncio.sleep(0.001 if turns > 20 else 0)
            work.cancel()
            await asyncio.wait([work])
            async with asyncio.timeout(60), budget.hold(1 << 20):
                pass  # all of it was given back

    asyncio.run(main())
    assert not list(tmp_path.rglob("*.part"))
    for path in tmp_path.rglob("*.tif"):
        with rasterio.open(path) as raster:
            assert raster.read().any()
