"""Which assets of an item can be read, and at which address: the alternate ones of an asset."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from s2async.catalog.assets import ONLY_JP2, UNUSABLE
from s2async.catalog.items import to_scene
from s2async.catalog.providers import KNOWN, custom
from s2async.causes import Cause
from s2async.models import Scene

COG = "image/tiff; application=geotiff; profile=cloud-optimized"
CATALOG = replace(custom("https://api.example/v1", "c", {"scl": "scl"}), listed=("https://data.example",))
ELSEWHERE = "s3://somewhere/TCI.tif"


def scene(visual: object, catalog: Any = CATALOG, **properties: Any) -> Scene:
    item = {
        "id": "S2A_33UUU_20220101_0_L2A",
        "bbox": [13, 52, 14, 53],
        "properties": {"datetime": "2022-01-01T10:00:00Z", **properties},
        "assets": {"visual": visual},
    }
    return to_scene(item, catalog)


def asset(href: str, *alternates: object, media: str = COG) -> dict[str, Any]:
    return {"href": href, "type": media, "alternate": {f"a{number}": one for number, one in enumerate(alternates)}}


@pytest.mark.parametrize(
    ("entry", "href"),
    [
        (asset(ELSEWHERE, {"href": "https://data.example/a"}), "https://data.example/a"),
        (asset(ELSEWHERE, {"href": "https://api.example/a"}), "https://api.example/a"),
        (asset(ELSEWHERE, {"href": "HTTPS://DATA.example:443/a"}), "HTTPS://DATA.example:443/a"),
        (asset(ELSEWHERE, 7, {"href": ELSEWHERE}, {"href": "https://data.example/a"}), "https://data.example/a"),
        (asset("https://other.example/a.tif", {"href": "https://data.example/a"}), "https://data.example/a"),
        (asset("https://data.example/main", {"href": "https://data.example/a"}), "https://data.example/main"),
        (asset("https://x/a.jp2", {"href": "https://data.example/a.tif"}, media=""), "https://data.example/a.tif"),
        (asset(ELSEWHERE, {"href": "https://data.example/a", "type": COG}, media="image/jp2"),
         "https://data.example/a"),
        (asset("", {"href": "https://data.example/a"}), "https://data.example/a"),
        (asset(ELSEWHERE, {"href": "https://other.example/a"}, {"href": "https://data.example/b"}),
         "https://data.example/b"),
    ],
)  # fmt: skip
def test_an_alternate_of_an_allowed_origin_is_read_where_the_asset_itself_cannot(
    entry: dict[str, Any], href: str
) -> None:
    found = scene(entry)
    assert {key: one.href for key, one in found.assets.items()} == {"visual": href}
    assert found.absent == {}


def test_an_alternate_in_a_public_bucket_is_read_over_https() -> None:
    entry = asset("https://other.example/TCI.tif", {"href": "s3://sentinel-cogs/a/TCI.tif"})
    found = scene(entry, KNOWN["earth-search"])
    assert found.assets["visual"].href == "https://sentinel-cogs.s3.us-west-2.amazonaws.com/a/TCI.tif"


@pytest.mark.parametrize(
    "alternate",
    [
        {"href": "https://data.example/a.jp2"},
        {"href": "https://data.example/a", "type": "image/jp2"},
        {"href": "https://data.example/a", "storage:requester_pays": True},
        {"href": "https://data.example/a", "storage:refs": ["paid"]},
        {"href": "https://data.example/a b"},
        {"href": "https://me:pw@data.example/a"},
        {"href": "file:///etc/passwd"},
        {"href": "s3://sentinel-s2-l2a/a.tif"},
        {"href": None},
        {},
        "https://data.example/a",
    ],
)
def test_an_alternate_that_cannot_be_read_is_none(alternate: object) -> None:
    schemes = {"paid": {"requester_pays": True}, "free": {"requester_pays": False}}
    found = scene(asset(ELSEWHERE, alternate), **{"storage:schemes": schemes})
    assert found.assets == {}
    assert found.absent["visual"].cause is Cause.SCHEME
    free = {"href": "https://data.example/b", "storage:refs": ["free"], "storage:requester_pays": False}
    assert scene(asset(ELSEWHERE, alternate, free), **{"storage:schemes": schemes}).assets


@pytest.mark.parametrize("odd", [7, "x", None, [], {"a": 7}, {"a": {"href": 7}}, {"a": {"storage:refs": 7}}])
def test_odd_alternates_are_none(odd: object) -> None:
    assert scene({"href": "file:///x.tif", "alternate": odd}).absent == {"visual": UNUSABLE}
    assert scene({"href": "https://h/x.jp2", "alternate": odd}).absent == {"visual": ONLY_JP2}


def test_an_origin_that_would_have_to_be_listed_is_named() -> None:
    found = scene(asset(ELSEWHERE, {"href": "https://Other.example:443/a"}, {"href": "https://third.example/a"}))
    reason = found.absent["visual"]
    assert (reason.cause, reason.host) == (Cause.ORIGIN, "https://other.example")
    assert reason.text == (
        "s3:// bucket somewhere is not public over https; an alternate is on https://other.example: "
        'if you trust it, add "https://other.example" to origins in [network]'
    )
    listed = replace(CATALOG, listed=("https://other.example",))
    assert scene(asset(ELSEWHERE, {"href": "https://Other.example:443/a"}), listed).assets


def test_an_asset_of_a_foreign_origin_without_an_alternate_stays_what_it_is() -> None:
    """The transport refuses it by name, as it does with redirects."""
    assert scene(asset("https://other.example/a.tif", {"href": ELSEWHERE})).assets["visual"].href == (
        "https://other.example/a.tif"
    )
