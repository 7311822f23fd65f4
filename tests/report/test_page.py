"""A page can do nothing, whatever is in it."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from datetime import date

import pytest

from s2async.models import SearchReport
from s2async.report import page, sections, sheet
from s2async.report.html import text
from s2async.report.sections import Entry
from s2async.report.sheet import Picture
from s2async.state.records import Problem
from tests.support.looks import look, watched
from tests.support.pages import Page

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "javascript:alert(1)",
    "</style><style>*{display:none}</style>",
    "\u202egnp.exe",
)


def test_the_policy_allows_the_style_sheet_by_its_hash_and_pictures_inside_the_page() -> None:
    found = page.document("t", "p > a { color: red }", "body").decode()
    style = re.search("<style>(.*)</style>", found, re.DOTALL)
    assert style
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    policy = dict(zip(Page(found).values("http-equiv"), Page(found).values("content"), strict=False))
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
    seen = watched(look(0, "saved"))
    found = page.document(
        name,
        "p {}",
        page.header(name, [name], {}),
        sections.index([Entry(name=name, href="#x", counts={"saved": 1}, last_clear=None)]),
        sheet.area(
            seen, [Picture(look=look(0, "saved"), data=b"")], km2=1, first=date(2022, 1, 1), last=date(2022, 1, 2)
        ),
        sections.problems(
            [Problem(area=name, item=name, status="failed", reason=name)],
            [SearchReport(label=name, key="", complete=False, items=0, reason=name)],
        ),
        page.footer(name),
    ).decode()
    shown = Page(found)
    plain = Page(found.replace(str(text(name)), "plain"))
    assert Counter(shown.tags) == Counter(plain.tags)
    assert not {"script", "img", "iframe"} & set(shown.tags)
    assert shown.tags.count("style") == 1
    assert not [name for _, name, _ in shown.attributes if name.startswith("on") or name == "style"]
    assert {value for value in shown.values("href") if not value.startswith("#")} == set()
    assert shown.text.count(name.replace("\u202e", "\\u202e")) >= 9
