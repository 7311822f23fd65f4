"""Verdicts on values: clock, conformance, fields, headers; exit codes, and what a bug report may hold."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from s2async.check import fields, rasters, service
from s2async.check.findings import Checked, Verdict, not_tried, odd, right, without_people, wrong
from s2async.cog import tiff
from s2async.cog.tiff import Layout
from s2async.errors import AccessDenied, NotFound, TransientError, WrongKind
from s2async.net.editions import Edition
from tests.support.items import EARTH_SEARCH, an_item

NOON = datetime(2024, 6, 1, 12, 0, 0, tzinfo=UTC)


# ---- the whole ----------------------------------------------------------------------------------------------


def test_the_exit_code_is_that_of_the_first_thing_that_is_wrong() -> None:
    found = (right("a", ""), odd("b", ""), wrong("c", "", 6), not_tried("d", ""), wrong("e", "", 2))
    assert Checked(findings=found).exit_code == 6
    assert Checked(findings=found).verdict == "2 things are wrong and 1 odd: a run would end with exit code 6"
    assert Checked(findings=found[:2]).exit_code == 0
    assert Checked(findings=found[:2]).verdict == "a run can start; 1 thing is odd"
    assert Checked(findings=found[:1]).verdict == "everything is right: a run can start"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/anna/fields/c.toml:3", "~/fields/c.toml:3"),
        ("/home/annabel/x and /home/anna", "/home/***/x and ~"),
        ("/Users/bob/x", "/Users/***/x"),
        (r"C:\Users\carl\x", r"C:\Users\***\x"),
        ("/mnt/anna/x, /mnt/annas/x", "/mnt/***/x, /mnt/annas/x"),
        ("anna is a name", "anna is a name"),
    ],
)
def test_names_of_people_are_left_out(text: str, shown: str) -> None:
    assert without_people(text, homes=["/home/anna"], user="anna") == shown


def test_a_home_that_is_the_root_folder_hides_nothing() -> None:
    assert without_people("/data/x", homes=["/"], user="") == "/data/x"


# ---- the clock ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "age", "verdict", "says"),
    [
        (timedelta(0), "", Verdict.RIGHT, "2024-06-01 12:00 UTC"),
        (timedelta(seconds=59), "", Verdict.RIGHT, ""),
        (timedelta(minutes=-10), "600", Verdict.RIGHT, ""),
        (timedelta(minutes=5), "", Verdict.ODD, "5 minutes behind"),
        (timedelta(minutes=-5), "", Verdict.ODD, "5 minutes ahead of"),
        (timedelta(hours=-3), "", Verdict.ODD, "3.0 hours ahead of"),
        (timedelta(days=400), "", Verdict.ODD, "400 days behind"),
    ],
)
def test_clocks(there: timedelta, age: str, verdict: Verdict, says: str) -> None:
    headers = {"Date": f"{NOON + there:%a, %d %b %Y %H:%M:%S} GMT", "Age": age}
    found = service.clock(headers, NOON, NOON + timedelta(seconds=0.2))
    assert (found.verdict, says in found.text) == (verdict, True), found


@pytest.mark.parametrize("date", ["", "yesterday"])
def test_a_catalogue_that_tells_no_time(date: str) -> None:
    assert service.clock({"Date": date}, NOON, NOON).verdict is Verdict.NOT_TRIED


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("certificate verify failed: certificate is not yet valid", "clock says 2024-06-01 12:00 UTC"),
        ("certificate has expired", "clock says 2024-06-01"),
        ("unable to get local issuer certificate", "SSL_CERT_FILE"),
        ("Hostname mismatch, certificate is not valid for 'x'", "another host"),
    ],
)
def test_what_to_do_about_a_certificate(text: str, says: str) -> None:
    assert says in service.tls_advice(text, NOON)


# ---- the catalogue ------------------------------------------------------------------------------------------

CORE, SEARCH = "https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0-rc.2/item-search"


@pytest.mark.parametrize(
    ("classes", "verdict", "says"),
    [
        ([CORE, SEARCH], Verdict.RIGHT, "core, item-search"),
        ([CORE, SEARCH, f"{SEARCH}#sort"], Verdict.RIGHT, "core, item-search (and sort, not needed)"),
        ([CORE], Verdict.ODD, "does not claim item-search"),
        ([f"{CORE}s"], Verdict.ODD, "does not claim core and item-search"),
        (None, Verdict.ODD, "lists no conformance classes"),
    ],
)
def test_conformance(classes: list[str] | None, verdict: Verdict, says: str) -> None:
    found = service.conformance(classes)
    assert (found.verdict, says in found.text) == (verdict, True), found


@pytest.mark.parametrize(
    ("page", "verdict", "says"),
    [
        ({"stac_version": "1.1.0", "links": [], "title": "A"}, Verdict.RIGHT, "https://h/v1: A (STAC 1.1.0)"),
        ({"stac_version": 7, "links": [], "id": ["\x1b[2J"]}, Verdict.RIGHT, r"['\x1b[2J'] (STAC 7)"),
        ({"stac_version": "1.1.0", "links": {}}, Verdict.ODD, "not a STAC catalogue"),
        ([1], Verdict.ODD, "https://h/v1 is not a STAC catalogue: [1]"),
        (None, Verdict.ODD, "not a STAC catalogue: None"),
    ],
)
def test_landing_pages(page: Any, verdict: Verdict, says: str) -> None:
    found = service.landing(page, "https://me:geheim@h/v1?key=geheim")
    assert (found.verdict, says in found.text, "geheim" in found.text) == (verdict, True, False), found


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (AccessDenied("x"), "an API key under [network] headers"),
        (TransientError("x", status=403), "credentials"),
        (TransientError("x", status=502), "has a problem"),
        (WrongKind("x"), "sign in"),
        (NotFound("x"), "correct url"),
        (TransientError("x"), ""),
    ],
)
def test_what_to_do_about_an_error(error: Any, says: str) -> None:
    assert says in service.advice(error)
    assert bool(says) == bool(service.advice(error))


# ---- items --------------------------------------------------------------------------------------------------


def judged(*items: Any) -> list[tuple[str, str]]:
    return [(one.verdict.value, one.text) for one in fields.read(items, EARTH_SEARCH).findings]


def test_an_item_as_expected_gives_one_line() -> None:
    ((verdict, text),) = judged(an_item())
    assert verdict == "right"
    assert text.startswith("id, collection, datetime, geometry, eo:cloud_cover")


def test_each_odd_field_has_its_line_with_how_many_items() -> None:
    changed = an_item()
    del changed["properties"]["eo:cloud_cover"]
    told = judged(an_item(), changed, changed)
    assert told[0][0] == "right"
    assert "eo:cloud_cover" not in told[0][1]
    assert told[1:] == [
        (
            "odd",
            "eo:cloud_cover: missing in 2 of 3 items; such scenes are kept: max_scene_cloud has no effect on them",
        )
    ]


def test_items_that_name_no_datatake_are_told_by_their_second() -> None:
    assert "datatake" in judged(an_item())[0][1]
    nameless = an_item(properties={"s2:product_uri": "S2B_33UUU.SAFE"})
    ((verdict, text),) = judged(nameless)[1:]
    assert verdict == "odd"
    assert text.startswith("datatake: not in s2:datatake_id, s2:product_uri or the id in 1 of 1 items; ")


def test_a_field_that_is_odd_in_many_ways_has_one_line() -> None:
    clouds = [an_item(properties={"eo:cloud_cover": value}) for value in (101, 102, "x", None)]
    (_, (verdict, text)) = judged(*clouds)
    assert verdict == "odd"
    assert text.startswith(
        "eo:cloud_cover: not as expected, such as not usable (101), in 4 of 4 items; such scenes"
    )


def test_items_of_another_collection_and_of_no_use() -> None:
    other = an_item() | {"collection": "landsat"}
    assert judged(other) == [("wrong", "1 of 1 items are of another collection ('landsat')")]
    told = judged(an_item(), other, 7)
    assert [verdict for verdict, _ in told] == ["right", "odd", "odd"]
    assert "2 of 3" not in told[1][1]


# ---- files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edition", "says"),
    [
        (Edition(size=9, etag='"x"'), ""),
        (Edition(size=9, etag='W/"x"', modified="m"), "weak ETag"),
        (Edition(size=9, modified="m"), "no ETag"),
        (Edition(size=9), "neither ETag nor Last-Modified"),
    ],
)
def test_editions(edition: Edition, says: str, layout: Layout) -> None:
    found = rasters.header("file x", [layout], edition, layout.grid.epsg)
    assert (found.verdict is Verdict.RIGHT) == (not says)
    assert says in found.text


def test_a_crs_that_differs(layout: Layout) -> None:
    edition = Edition(size=9, etag='"x"')
    assert rasters.header("file x", [layout], edition, None).verdict is Verdict.RIGHT
    found = rasters.header("file x", [layout], edition, 32601)
    assert f"the item says EPSG:32601, the file EPSG:{layout.grid.epsg}" in found.text


def test_the_block_in_the_middle_lies_inside_the_raster(layout: Layout) -> None:
    cutout = rasters.middle_block(layout)
    assert cutout is not None
    window = cutout.window
    assert window.col % layout.block_width == window.row % layout.block_height == 0
    assert 0 < window.width <= layout.block_width
    assert window.clip(layout.grid.width, layout.grid.height) == window


@pytest.fixture
def layout(tmp_path: Any) -> Layout:
    from tests.support import served

    served.make(tmp_path / "x.tif", side=300, **served.COG)
    found = tiff.parse((tmp_path / "x.tif").read_bytes())
    assert isinstance(found, Layout)
    return found
