"""The check against recorded answers of public services, served back with real pixels."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import shapely

from s2async.check.findings import Checked, Verdict
from s2async.sandbox.settings import toml
from tests.support.checks import alarms, checked, only, right
from tests.support.replay_server import Replay, route
from tests.support.shell import process

pytestmark = pytest.mark.slow

API = "https://earth-search.aws.element84.com"
BUCKETS = (
    "https://sentinel-cogs.s3.us-west-2.amazonaws.com",
    "https://e84-earth-search-sentinel-data.s3.us-west-2.amazonaws.com",
    "https://sentinel2l2a01.blob.core.windows.net",
)


def local(thing: Any) -> str:
    """A recorded document with the server's origin in place of those of the services."""
    text = json.dumps(thing)
    for origin in (API, *BUCKETS):
        text = text.replace(origin, "{origin}")
    return text


def exchange(real_data: Path, name: str, number: int = 1) -> Any:
    return json.loads((real_data / "stac" / "exchanges" / name / f"{number:02}.response.json").read_text())


def landing(real_data: Path) -> dict[str, Any]:
    return route("/v1", local(exchange(real_data, "v1-landing-and-404-collection")), method="GET")


def collection(real_data: Path, name: str) -> dict[str, Any]:
    file = real_data / "stac" / "collections" / f"earth-search-v1-{name}.json"
    return route(f"/v1/collections/{name}", local(json.loads(file.read_text())), method="GET")


def page(items: Sequence[Any]) -> dict[str, Any]:
    return route("/v1/search", local({"type": "FeatureCollection", "features": items, "links": []}), method="POST")


def check(
    folder: Path,
    origin: str,
    item: Mapping[str, Any],
    *,
    collection: str = "sentinel-2-l2a",
    api: str = "/v1",
    scl: str = "scl",
    assets: Sequence[str] = ("visual",),
    period: str = "2015-06-23/2025-12-31",
) -> Checked:
    """Check the service at an origin, with an area in the middle of an item."""
    middle = shapely.geometry.shape(item["geometry"]).centroid.buffer(0.005)
    buckets = {"origins": [origin]}
    path = folder / "config.toml"
    sections = {
        "areas": [{"name": "Middle", "wkt": middle.wkt}],
        "search": {
            "catalog": {"url": f"{origin}{api}", "collection": collection, "assets": {"scl": scl}},
            "datetime": period,
        },
        "output": {"assets": list(assets)},
        "network": buckets,
        "run": {"reserve": 0},
    }
    path.write_text(toml(**sections))
    return checked(path)


@pytest.fixture
def desert(real_data: Path) -> dict[str, Any]:
    """A recorded item whose real files are there, at 100 m."""
    folder = real_data / "raster" / "29RKH-20200219-100m"
    found: dict[str, Any] = json.loads((folder / "S2A_29RKH_20200219_0_L2A.json").read_text())
    return found


def files(real_data: Path) -> dict[str, dict[str, Any]]:
    folder = real_data / "raster" / "29RKH-20200219-100m"
    place = "/sentinel-s2-l2a-cogs/29/R/KH/2020/2/S2A_29RKH_20200219_0_L2A"
    return {f"{place}/{name}.tif": {"file": folder / f"{name}.tif"} for name in ("SCL", "TCI")}


def test_earth_search_with_real_files_is_right(tmp_path: Path, real_data: Path, desert: dict[str, Any]) -> None:
    routes = [landing(real_data), collection(real_data, "sentinel-2-l2a"), page([desert])]
    with Replay(tmp_path, routes, files(real_data)) as server:
        found = check(tmp_path, server.origin, desert)
        assert found.requests == len(server.requests) == 7
    assert alarms(found) == {}
    told = right(found)
    assert told["catalogue"].endswith("/v1: Earth Search by Element 84 (STAC 1.0.0)")
    assert told["conformance"] == "core, item-search (and fields, query, sort, not needed)"
    assert told["next page"] == "none: all items are on one page"
    assert "proj:epsg (older form)" in told["item fields"]
    assert "549 x 549 x 1 uint8" in told["file scl"]
    assert "EPSG:32629" in told["file visual"]
    assert found.exit_code == 0


def test_a_recorded_search_of_two_pages(tmp_path: Path, real_data: Path) -> None:
    """Its files are not recorded, so they are not there."""
    name = "v1-search-bbox-3-pages"
    first = exchange(real_data, name)["features"][0]
    pages = [
        {**route("/v1/search", local(exchange(real_data, name, number)), method="POST"), "times": 1}
        for number in (1, 2)
    ]
    routes = [landing(real_data), collection(real_data, "sentinel-2-l2a"), *pages]
    with Replay(tmp_path, routes) as server:
        found = check(tmp_path, server.origin, first)
    told = alarms(found)
    assert told.keys() == {"file scl", "file visual"}
    assert "not there (404)" in told["file scl"]
    assert right(found)["search"].startswith("16 of 16 items over Middle")
    assert right(found)["asset scl"].startswith("in 16 of 16 items")


def test_a_recorded_answer_to_a_collection_that_is_not_there(
    tmp_path: Path, real_data: Path, desert: dict[str, Any]
) -> None:
    missing = route("/v1/collections/.*", exchange(real_data, "v1-landing-and-404-collection", 2), status=404)
    with Replay(tmp_path, [landing(real_data), missing]) as server:
        found = check(tmp_path, server.origin, desert, collection="sentinel-2-l3a")
    assert "did you mean sentinel-2-l2a?" in only(found, "collection")


def test_the_older_generation_of_the_catalogue(tmp_path: Path, real_data: Path) -> None:
    """It lists no conformance classes, and its items lack fields; an asset of the cloud rule has another key."""
    item = json.loads((real_data / "stac" / "items" / "v0-S2A_17SPR_20221106.json").read_text())
    first, listed = (exchange(real_data, "v0-landing-collections", number) for number in (1, 3))
    (document,) = [one for one in listed["collections"] if one["id"] == item["collection"]]
    routes = [
        route("/v0", local(first), method="GET"),
        route(f"/v0/collections/{item['collection']}", local(document)),
        {**page([item]), "path": "/v0/search"},
    ]
    with Replay(tmp_path, routes) as server:
        found = check(tmp_path, server.origin, item, api="/v0", collection=item["collection"], scl="SCL")
        assert "GET /v0/conformance" in server.requests
    told = alarms(found)
    assert told.keys() == {"conformance", "item fields", "file scl", "file visual"}
    assert told["conformance"].startswith("odd: the catalogue lists no conformance classes")
    assert "version: no product_uri, updated or generation time in 1 of 1 items" in told["item fields"]


def test_a_collection_that_is_listed_but_has_no_page(
    tmp_path: Path, real_data: Path, desert: dict[str, Any]
) -> None:
    with Replay(tmp_path, [landing(real_data), page([desert])], files(real_data)) as server:
        found = check(tmp_path, server.origin, desert)
    assert alarms(found) == {}
    assert right(found)["collection"] == "sentinel-2-l2a (it has items, but no page of its own)"


def test_the_newer_projection_extension(tmp_path: Path, real_data: Path) -> None:
    item = json.loads((real_data / "stac" / "items" / "proj-code-S2A_32TPS_20230602.json").read_text())
    routes = [landing(real_data), collection(real_data, "sentinel-2-l2a"), page([item])]
    with Replay(tmp_path, routes) as server:
        found = check(tmp_path, server.origin, item)
    assert alarms(found).keys() == {"file scl", "file visual"}, "the files are not recorded"
    assert "proj:code" in right(found)["item fields"]


def test_another_provider(tmp_path: Path, real_data: Path) -> None:
    """Planetary Computer: other keys, no time of update; its files need signed addresses."""
    item = json.loads((real_data / "stac" / "items" / "planetary-computer-13TDE-2-items.json").read_text())[
        "features"
    ][0]
    document = json.loads(
        (real_data / "stac" / "collections" / "planetary-computer-sentinel-2-l2a.json").read_text()
    )
    routes = [
        landing(real_data),
        route("/v1/collections/sentinel-2-l2a", local(document)),
        page([item]),
        route("/sentinel2-l2/.*", "<Error><Code>PublicAccessNotPermitted</Code></Error>", status=403),
    ]
    with Replay(tmp_path, routes) as server:
        found = check(tmp_path, server.origin, item, scl="SCL")
    told = alarms(found)
    assert told.keys() == {"item fields", "file scl"}
    assert (
        told["item fields"]
        == "odd: updated: missing in 1 of 1 items; a changed item is noticed by its assets only"
    )
    assert "access denied (403)" in told["file scl"]
    assert found.exit_code == 3


def test_a_recorded_header_of_full_size(tmp_path: Path, real_data: Path) -> None:
    """Of 219 MB, the first kilobytes are recorded; its blocks are not, and read as zeros here."""
    folder = real_data / "cog-header"
    recorded = json.loads((folder / "c1-B04-S2B_T10TFR_20231223T190950.json").read_text())
    header = folder / "c1-B04-S2B_T10TFR_20231223T190950.header-reconstructed.bin"
    item = json.loads((real_data / "stac" / "items" / "c1-S2B_T10TFR_20231223-pystac-upgraded.json").read_text())
    path = recorded["href"].removeprefix(BUCKETS[1])
    routes = [landing(real_data), collection(real_data, "sentinel-2-c1-l2a"), page([item])]
    served = {path: {"file": header, "size": recorded["file_size"]}}
    with Replay(tmp_path, routes, served) as server:
        found = check(tmp_path, server.origin, item, collection="sentinel-2-c1-l2a", assets=["red"])
    (told,) = [one for one in found.findings if one.topic == "file red"]
    assert told.verdict is Verdict.WRONG
    assert "block" in told.text
    assert alarms(found).keys() == {"file scl", "file red"}, "the classification is not recorded"


# ---- TLS ----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("openssl"), reason="makes a certificate with openssl")
def test_a_certificate_of_an_unknown_authority(tmp_path: Path, real_data: Path, desert: dict[str, Any]) -> None:
    """As behind a company's proxy; with the certificate named, everything is right."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    made = ["-keyout", str(key), "-out", str(certificate), "-days", "2"]
    subprocess.run(["openssl", "req", "-x509", *curve, *made, *subject], check=True, capture_output=True)
    routes = [landing(real_data), collection(real_data, "sentinel-2-l2a"), page([desert])]
    with Replay(tmp_path, routes, files(real_data), (certificate, key)) as server:
        found = check(tmp_path, server.origin, desert)
        told = only(found, "TLS")
        assert "certificate verify failed" in told
        assert "name its certificates (PEM) in SSL_CERT_FILE" in told
        assert (found.exit_code, found.requests) == (3, 0)
        trusted = process("check", tmp_path / "config.toml", "--json", SSL_CERT_FILE=str(certificate))
    verdicts = {one["check"]: one["verdict"] for one in json.loads(trusted.out)["findings"]}
    assert set(verdicts.values()) == {"right"}
    assert trusted.code == 0
