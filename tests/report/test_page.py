"""A page can do nothing, whatever is in it."""

from __future__ import annotations

import base64
import hashlib
import re
import unicodedata
from collections import Counter
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from s2async.causes import Cause
from s2async.events import SearchReport
from s2async.report import maps, page, sections
from s2async.report.area_section import AreaPage, Thumbnail, area_section
from s2async.report.data import Saving, Scatter, Watched
from s2async.report.maps import Spot
from s2async.report.markup import text
from s2async.report.scene_pairs import Candidate, Kind, Missing, Pair, View
from s2async.report.sections import DrawnMap, Entry, Figure, ReportPage
from s2async.report.values_section import Valued, values_section
from s2async.state.records import LackRow, Problem
from tests.support.curves import curve, value
from tests.support.looks import AREA, look
from tests.support.pages import Page

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "javascript:alert(1)",
    "</style><style>*{display:none}</style>",
    "\u202egnp.exe",
)


def hostile_page(name: str) -> ReportPage:
    """A page with a text of others wherever a text of others can be."""
    area = replace(AREA, name=name)
    drawn = curve(value(0, 0.5), value(1, 0.6), name=name, unit=name)
    seen = Watched(area=area, looks=(replace(look(0, "saved"), item=name, grid=name),), curves=(drawn,))
    scatter, candidate, valued = Scatter(), Candidate(kind=Kind.CLEAR, area=area, look=seen.looks[0]), Valued()
    scatter.add(seen)
    valued.add(seen, name=name, href="#x")
    image = View(data=b"RIFF", width=60, height=40, outline="M1 1h2v2h-2Z")
    spot = Spot(name=name, polygon=AREA.polygon, label=name, href="#x")
    lack = LackRow(area=name, item=name, status="saved", asset=name, cause=Cause.FORMAT, reason=name, tries=1)
    unseen = Missing(kind=Kind.COVERED, item=name, cause=name, reason=name)
    section = area_section(
        seen, [Thumbnail(look=seen.looks[0], data=b"")], km2=1, first=date(2022, 1, 1), last=date(2022, 1, 2)
    )
    return ReportPage(
        heading=name,
        facts=(name, name),
        notices=(name,),
        figures=(Figure(value=name, label=name),),
        values=values_section(valued, date(2022, 1, 1), date(2022, 1, 2)),
        bytes=sections.bytes_section(
            Saving(whole=9, skipped=3, moved=3, files=1, estimated=0, unknown=0), unfinished=True
        ),
        clouds=sections.clouds_section(scatter, max_scene=80, max_area=2),
        pairs=sections.pairs_section(
            [Pair(candidate=candidate, scene=image, area=image, origin=name, requests=1, bytes=1)], [unseen]
        ),
        maps=(DrawnMap(svg=maps.draw((13, 52, 14, 53), [spot], [], names=True, label=name), caption=name),),
        index=sections.area_index([Entry(name=name, href="#x", counts={"saved": 1}, last_clear=None)]),
        areas=(section,),
        note=name,
        problems=sections.problem_groups(
            [Problem(area=name, item=name, status="failed", reason=name)],
            [SearchReport(label=name, key="", complete=False, items=0, reason=name)],
            [lack],
            [unseen],
        ),
        credits=(name,),
    )


def test_the_policy_allows_the_style_sheet_by_its_hash_and_images_inside_the_page() -> None:
    found = page.document("report.html.j2", hostile_page("x"), title="t", style="p > a { color: red }").decode()
    style = re.search("<style>(.*)</style>", found, re.DOTALL)
    assert style
    assert style[1] == "p > a { color: red }"
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    policy = dict(zip(Page(found).values("http-equiv"), Page(found).values("content", "meta"), strict=False))
    rules = dict(rule.split(" ", 1) for rule in policy["Content-Security-Policy"].split("; "))
    assert rules == {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": f"'sha256-{digest}'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_texts_stay_texts(name: str) -> None:
    view = hostile_page(name)
    for template, variables in (
        ("report.html.j2", view),
        ("area_page.html.j2", AreaPage(area=view.areas[0], note=name, back="#areas", credits=(name,))),
    ):
        found = page.document(template, variables, title=name, style="p {}").decode()
        shown = Page(found)
        plain = Page(found.replace(str(text(name)), "plain"))
        assert Counter(shown.tags) == Counter(plain.tags)
        assert not {"script", "img", "iframe"} & set(shown.tags)
        assert shown.tags.count("style") == 1
        assert not [name for _, name, _ in shown.attributes if name.startswith("on") or name == "style"]
        assert {value for value in shown.values("href") if value[0] not in "#d"} == set()
        assert shown.text.count(name.replace("\u202e", "\\u202e")) >= (20 if template == "report.html.j2" else 4)
        hidden = {char for char in found if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
        assert hidden <= {"\n"}


def test_no_template_switches_the_escaping_off() -> None:
    """`Markup` is made in Python only: a template that marks text as safe would go around the escaping."""
    templates = sorted((Path(page.__file__).parent / "templates").glob("*.html.j2"))
    assert len(templates) >= 9
    for path in templates:
        source = path.read_text("utf-8")
        assert not re.search(r"\|\s*safe\b|autoescape|Markup", source), path.name


def test_a_variable_that_is_missing_is_an_error() -> None:
    view = AreaPage(area=hostile_page("x").areas[0], note="", back="#", credits=())
    with pytest.raises(UndefinedError):
        page.document("report.html.j2", view, title="t", style="")


def test_the_key_is_among_the_first_bytes() -> None:
    view = hostile_page("x")
    found = page.document("report.html.j2", view, title="t", style="p {}", key="0123456789abcdef")
    assert page.has_key(found[:512], "0123456789abcdef")
    assert not page.has_key(found[:512], "fedcba9876543210")
    assert not page.has_key(page.document("report.html.j2", view, title="t", style="p {}")[:512], "")
