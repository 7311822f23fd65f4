"""The parts of a page: what they say, and that nothing in them can do anything."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from datetime import date

import pytest

from s2async import page
from s2async.markup import text
from s2async.models import SearchReport
from s2async.page import Entry, Picture
from s2async.records import Problem
from s2async.report_data import Saving, Scatter
from tests.pages import Page
from tests.test_report_data import look, watched

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "javascript:alert(1)",
    "</style><style>*{display:none}</style>",
    "\u202egnp.exe",
)


def saving(**changed: int) -> Saving:
    told = {"whole": 40_800, "skipped": 20_000, "moved": 400, "files": 9, "estimated": 2, "unknown": 0}
    return Saving(**(told | changed))


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
        page.index([Entry(name=name, href="#x", counts={"saved": 1}, last_clear=None)]),
        page.area(
            seen, [Picture(look=look(0, "saved"), data=b"")], km2=1, first=date(2022, 1, 1), last=date(2022, 1, 2)
        ),
        page.problems(
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


def test_bytes_are_split_into_what_was_skipped_not_read_and_moved() -> None:
    told = Page(page.bytes_section(saving(), unfinished=False)).text
    assert "400 B were moved instead of about 40.8 kB of whole files: 102 times less." in told
    assert "about 20.0 kB skipped, because no area was clear in the scene, 49.0 %" in told
    assert "about 20.4 kB not read" in told
    assert "2 of them were never opened" in told
    assert "still to do" not in told


def test_sizes_that_are_known_are_not_about_so_much() -> None:
    told = Page(page.bytes_section(saving(estimated=0), unfinished=True)).text
    assert "about" not in told
    assert "Jobs are still to do, and count here as if they were skipped" in told


@pytest.mark.parametrize(
    "odd", [{"whole": 0, "skipped": 0, "moved": 0}, {"whole": 500, "skipped": 0, "moved": 900}]
)
def test_where_whole_files_would_be_no_more_there_is_no_bar(odd: dict[str, int]) -> None:
    found = Page(page.bytes_section(saving(**odd), unfinished=False))
    assert "svg" not in found.tags
    assert f"{odd['moved']} B were moved." in found.text


def test_the_scatter_tells_its_finding_in_numbers() -> None:
    scatter = Scatter()
    scatter.add(
        watched(
            look(0, "saved", scene=60.0), look(1, "saved", scene=20.0), look(2, "cloudy", scene=5.0, area=80.0)
        )
    )
    told = Page(page.clouds_section(scatter, max_scene=80, max_area=2)).text
    assert "In 2 of 3 examined jobs (67 %) less than 2 % of the area is covered, or 98 % and more." in told
    assert "In 1 of 2 clear views (50 %) the scene is 50 % cloud or more." in told
    assert "In 1 of 2 views in scenes of at most 20 % cloud (50 %) half of the area or more is covered." in told
    assert "No job has been examined yet" in Page(page.clouds_section(Scatter(), max_scene=80, max_area=2)).text


def test_an_area_tells_its_looks() -> None:
    seen = watched(look(0, "saved"), look(30, "saved"), look(31, "cloudy"))
    found = Page(page.area(seen, [], km2=0.5, first=date(2022, 1, 1), last=date(2022, 12, 31)))
    assert "2 clear" in found.text
    assert "30 days, 2022-01-01 to 2022-01-31" in found.text
    assert "0.50 km\u00b2" in found.text
    assert found.values("id") == ["area-" + "0" * 16]


def test_calendars_come_newest_first_and_older_ones_are_folded() -> None:
    found = page.area(watched(), [], km2=100, first=date(2018, 5, 1), last=date(2022, 4, 1))
    years = re.findall("<figcaption>(.*?)</figcaption>", found)
    assert years == ["2022", "2021", "2020", "2019", "2018"]
    assert found.index("<details>") > found.index("2021")
    assert "2018 to 2020" in Page(found).text
    assert "no scene has been found yet" in Page(found).text


def test_pictures_have_date_and_cloud_and_those_that_are_gone_say_so() -> None:
    webp = Picture(look=look(0, "saved", area=1.26), data=b"RIFF....WEBP")
    png = Picture(look=look(1, "saved", area=0.0), data=b"\x89PNG")
    gone = Picture(look=look(2, "saved"), data=b"")
    seen = watched(*(picture.look for picture in (webp, png, gone)))
    found = Page(page.area(seen, [gone, png, webp], km2=1, first=date(2022, 1, 1), last=date(2022, 12, 31)))
    assert [source.split(";")[0] for source in found.values("src", "img")] == ["data:image/png", "data:image/webp"]
    assert "2022-01-01" in found.values("alt")[1]
    assert "1.3 % cloud" in found.text
    assert "cannot be read" in found.text


def test_problems_are_listed_by_kind_and_not_without_end() -> None:
    failed = [
        Problem(area="a", item=f"i{n}", status="failed", reason="timed out") for n in range(page.PROBLEMS + 5)
    ]
    found = Page(page.problems([*failed, Problem(area="b", item="j", status="missing", reason="404")], []))
    assert "205 jobs failed" in found.text
    assert "and 5 more; s2async status --json lists them all" in found.text
    assert "1 job whose files do not exist" in found.text
    assert found.tags.count("tr") == page.PROBLEMS + 1 + 2
    assert "None." in Page(page.problems([], [])).text
