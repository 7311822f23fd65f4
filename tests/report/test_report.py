"""The command report, from the state to the page; and what a browser makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
from click.testing import CliRunner, Result
from shapely import box

from s2async import files
from s2async.areas import loader as area_files
from s2async.cli.commands import cli
from s2async.config.model import Config
from s2async.errors import ConfigError, LocalError
from s2async.events import SearchReport
from s2async.report import build
from s2async.sandbox.settings import toml
from s2async.state.writer import State
from tests.support import shelves
from tests.support.browser import Browser
from tests.support.pages import Page
from tests.support.shelves import PARK, fill
from tests.support.states import add, cloudy, make_scene, record, start

HOSTILE = {
    "<script>alert(1)</script>": PARK,
    '"><img src=x onerror=alert(1)>': box(13.46, 52.50, 13.47, 52.505),
    "javascript:alert(1)": box(13.42, 52.50, 13.43, 52.505),
    "../../etc/#a?b%20\u202egnp.exe": box(13.44, 52.50, 13.45, 52.505),
}


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["report", *map(str, arguments)], catch_exceptions=False)


def check_links(folder: Path) -> set[str]:
    """Every link of every page leads to a page or a place that is there; tells the pages that were reached."""
    reached, todo = set(), ["report.html"]
    while todo:
        name = todo.pop()
        if name in reached:
            continue
        reached.add(name)
        page = Page.read(folder / name)
        ids = page.values("id")
        assert len(ids) == len(set(ids)), "an id is there twice"
        for href in page.values("href"):
            path, place = urldefrag(href)
            other = (folder / name).parent / unquote(path) if path else folder / name
            assert other.is_file(), f"{name} leads to {href}"
            assert other.resolve().is_relative_to(folder.resolve())
            assert not place or place in Page.read(other).values("id"), f"{name} leads to {href}"
            todo.append(str(other.resolve().relative_to(folder.resolve())))
    return reached


def check_inert(page: Page) -> None:
    """Nothing in a page is fetched or run."""
    assert not {"script", "iframe", "object", "embed", "link", "form", "base"} & set(page.tags)
    assert all(value.startswith("data:image/") for value in page.values("src"))
    assert not [name for _, name, _ in page.attributes if name.startswith("on") or name == "style"]
    assert not [href for href in page.values("href") if ":" in href.split("#")[0]]


def test_the_page_lies_beside_the_crops_and_tells_what_the_state_knows(tmp_path: Path) -> None:
    shelf = fill(tmp_path, rejected=True)
    result = call(shelf.config)
    path = shelf.output / "report.html"
    fetching, wrote = result.output.splitlines()
    assert fetching.startswith("fetching pictures of 2 scenes from https://cogs.example, about ")
    assert wrote.startswith(f"wrote {path} (")
    page = Page.read(path)
    check_inert(page)
    assert check_links(shelf.output) == {"report.html"}
    assert "Clear views of 3 areas" in page.text
    assert "6clear views, saved as 12 crops\n9jobs (one area in one scene)" in page.text
    assert "contains modified Copernicus Sentinel data 2022" in page.text
    assert "1 job failed" in page.text
    assert "timed out" in page.text
    assert "1 job with missing files" in page.text
    assert "visual: not there" in page.text
    assert "of 7 examined jobs" in page.text, "missing and failed jobs without a measurement are not examined"
    assert len([cx for tag, name, cx in page.attributes if (tag, name) == ("circle", "r") and cx == "3.4"]) == 7
    for name in shelf.areas:
        assert name.replace("\n", "\\u000a") in page.text
    assert not list(shelf.output.glob(".*.part"))


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.slow
def test_the_days_are_those_of_what_is_shown_not_of_a_period_that_was_narrowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, several: bool
) -> None:
    shelf = fill(tmp_path, shapes={"park": PARK}, dates=5)
    monkeypatch.setattr(build, "AREAS", 0 if several else 50)
    shelf.config.write_text(shelf.config.read_text() + '[search]\ndatetime = "2023-03-01/2023-03-31"\n')
    call(shelf.config)
    page = Page.read(shelf.output / "report.html")
    assert "config.toml \u00b7 2022-01-01 to 2022-01-05 \u00b7 5 scenes" in page.text
    assert "contains modified Copernicus Sentinel data 2022." in page.text
    calendars = Page.read(shelf.output / "report" / "park.html") if several else page
    assert {"Calendar of 2022", "Calendar of 2023"} <= set(calendars.values("aria-label"))


@pytest.mark.slow
def test_another_place_can_be_named_and_is_made(tmp_path: Path) -> None:
    shelf = fill(tmp_path)
    call(shelf.config, "--output", tmp_path / "new" / "page.html")
    assert Page.read(tmp_path / "new" / "page.html").tags[0] == "html"
    assert not (shelf.output / "report.html").exists()


@pytest.mark.slow
def test_pictures_are_the_newest_ones_and_at_most_so_many(tmp_path: Path) -> None:
    shelf = fill(tmp_path, dates=5)
    call(shelf.config, "--crops", 2)
    page = Page.read(shelf.output / "report.html")
    assert [alt[-10:] for alt in page.values("alt", "img")] == ["2022-01-05", "2022-01-04"] * 3
    assert page.text.count("and 3 older") == 3


@pytest.mark.slow
def test_a_crop_that_is_gone_or_damaged_stops_nothing(tmp_path: Path) -> None:
    shelf = fill(tmp_path)
    first, second, *_ = sorted(shelf.output.rglob("*_visual.tif"))
    first.unlink()
    second.write_bytes(second.read_bytes()[:100])
    call(shelf.config)
    page = Page.read(shelf.output / "report.html")
    assert page.text.count("cannot be read") == 2
    assert page.tags.count("img") == 4


@pytest.mark.slow
def test_areas_of_one_name_are_told_apart_by_their_seasons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = fill(tmp_path, shapes={"park": PARK, "plain": box(13.40, 52.50, 13.41, 52.505)})
    day = date(2022, 1, 1)
    other = replace(shelf.areas["plain"], name="park", folder="park", start=date(2022, 1, 2))
    with State.create_or_open(shelf.settings.run.state) as state:
        state.sync_areas([replace(shelf.areas["park"], end=day), other])
    call(shelf.config)
    page = Page.read(shelf.output / "report.html")
    for label in ("park (until 2022-01-01)", "park (from 2022-01-02)"):
        assert page.text.count(label) >= 2, "in the table and above the calendar"
    monkeypatch.setattr(build, "AREAS", 0)
    call(shelf.config)
    assert "park (until 2022-01-01)" in Page.read(shelf.output / "report" / "park.html").text


@pytest.mark.slow
def test_hostile_names_are_texts(tmp_path: Path) -> None:
    shelf = fill(tmp_path, shapes=HOSTILE)
    call(shelf.config)
    page = Page.read(shelf.output / "report.html")
    check_inert(page)
    check_links(shelf.output)
    for name in HOSTILE:
        assert page.text.count(name.replace("\u202e", "\\u202e")) >= 3


@pytest.mark.slow
def test_many_areas_have_pages_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "AREAS", 3)
    shelf = fill(tmp_path, shapes=HOSTILE)
    call(shelf.config)
    folders = {area.folder for area in shelf.areas.values()}
    assert check_links(shelf.output) == {"report.html"} | {f"report/{folder}.html" for folder in folders}
    for path in (shelf.output / "report").iterdir():
        check_inert(Page.read(path))
        assert "2 clear" in Page.read(path).text


@pytest.mark.slow
def test_pages_of_areas_are_written_anew_where_they_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "AREAS", 3)
    shelf = fill(tmp_path, shapes=HOSTILE)
    assert "4 pages of areas, 4 of them new" in call(shelf.config).output
    before = {path: path.stat().st_mtime_ns for path in (shelf.output / "report").iterdir()}
    changed, gone, *_ = sorted(before)
    gone.unlink()
    folders = {area.folder: area for area in shelf.areas.values()}
    with State.create_or_open(shelf.settings.run.state) as state:
        start(state, list(shelf.areas.values()))
        (job,) = add(state, make_scene("new", minutes=9000), [folders[changed.stem]])
        record(state, cloudy(job))
        state.end_run("finished")
    assert "4 pages of areas, 2 of them new" in call(shelf.config).output
    assert gone.exists()
    assert "1 cloudy" in Page.read(changed).text
    assert {path for path, time in before.items() if path.stat().st_mtime_ns != time} == {changed, gone}
    assert "4 pages of areas, 4 of them new" in call(shelf.config, "--crops", 1).output


def write_config(tmp_path: Path, **changed: object) -> Path:
    tables: dict[str, object] = {
        "areas": [{"name": "Park", "wkt": PARK.wkt}],
        "output": {"folder": "data"},
        "run": {"state": "state.sqlite"},
    }
    path = tmp_path / "config.toml"
    path.write_text(toml(**(tables | changed)))
    return path


# ---- values -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.slow
def test_values_are_shown_as_curves_of_each_area_and_small_ones_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, several: bool
) -> None:
    monkeypatch.setattr(build, "AREAS", 0 if several else 50)
    shelf = fill(tmp_path, shapes=HOSTILE, indices=["NDVI", "EVI"])
    call(shelf.config)
    reached = check_links(shelf.output)
    page = Page.read(shelf.output / "report.html")
    for name in reached:
        check_inert(Page.read(shelf.output / name))
    assert "8days with a value (one area on one day)" in page.text
    small = [name for name in page.values("class", "svg") if name == "curve small"]
    assert len(small) == len(HOSTILE)
    for area in shelf.areas.values():
        own = Page.read(shelf.output / "report" / f"{area.folder}.html") if several else page
        shown = area.name.replace("\u202e", "\\u202e")
        assert {f"NDVI of {shown} over time", f"EVI of {shown} over time"} <= set(own.values("aria-label"))
        assert "The larger a point, the more of the area is clear." in own.text
    before = {path: path.stat().st_mtime_ns for path in (shelf.output / "report").glob("*.html")}
    assert "0 of them new" in call(shelf.config).output or not several
    assert before == {path: path.stat().st_mtime_ns for path in before}


@pytest.mark.slow
def test_without_values_nothing_is_said_of_them(tmp_path: Path) -> None:
    call(fill(tmp_path).config)
    page = Page.read(tmp_path / "data" / "report.html")
    assert "#values" not in page.values("href")
    assert not {"Values", "curves", "days with a value"} & set(page.text.split())


# ---- other states -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_offline_is_told_on_the_page_and_asks_nobody(tmp_path: Path) -> None:
    shelf = fill(tmp_path, rejected=True)
    result = call(shelf.config, "--offline")
    assert "fetching" not in result.output
    page = Page.read(shelf.output / "report.html")
    assert "missing from this report: not asked for" in page.text
    assert "nothing was to be fetched (--offline)" in page.text
    assert "Not available: a clear area in a cloudy scene" in page.text
    assert "Problems lists the reason" in page.text


def test_before_the_first_run_there_is_nothing_to_report(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing has been run yet; next: s2async run"):
        call(write_config(tmp_path))


def test_an_empty_state_is_told_as_such(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    State.create_or_open(tmp_path / "state.sqlite").close()
    call(path)
    page = Page.read(tmp_path / "data" / "report.html")
    check_links(tmp_path / "data")
    for told in (
        "Clear views of 0 areas",
        "No run has been started yet",
        "0 B were downloaded",
        "There are no areas",
        "None.",
    ):
        assert told in page.text


def test_a_run_that_goes_on_and_what_it_has_not_done_yet_are_told(tmp_path: Path) -> None:
    path, day = write_config(tmp_path), f"{datetime.now(UTC):%Y-%m-%d}"
    with State.create_or_open(tmp_path / "state.sqlite") as state:
        areas = area_files.load(Config.load(path))
        start(state, areas)
        add(state, make_scene(), areas)
        state.record_search(
            SearchReport(label="a search", key="k", complete=False, items=0, reason="server is down")
        )
        call(path)
    page = Page.read(tmp_path / "data" / "report.html")
    # midnight may come in between
    assert f"The run of {day}" in page.text or f"The run of {datetime.now(UTC):%Y-%m-%d}" in page.text
    assert "Still to do: 1 job." in page.text
    assert "1 search incomplete" in page.text
    assert "server is down" in page.text
    assert "mark-open" in str(page.values("href"))


def test_measuring_only_makes_a_report_without_crops(tmp_path: Path) -> None:
    shelf = fill(tmp_path, assets=())
    call(shelf.config)
    page = Page.read(shelf.output / "report.html")
    assert "6clear views\n6jobs" in page.text
    assert "img" not in page.tags
    assert page.text.count("2 clear") == 3


@pytest.mark.parametrize("datetime_", ["2022-01-01/..", "../2022-06-30"])
@pytest.mark.slow
def test_a_period_with_an_open_end_has_calendars_of_what_is_known(tmp_path: Path, datetime_: str) -> None:
    shelf = fill(tmp_path)
    shelf.config.write_text(shelf.config.read_text() + f'[search]\ndatetime = "{datetime_}"\n')
    before = datetime.now(UTC).year
    call(shelf.config)
    page = Page.read(shelf.output / "report.html")
    assert page.values("aria-label").count("Calendar of 2022") == 3
    calendars = len([label for label in page.values("aria-label") if label.startswith("Calendar")])
    until = {2022} if datetime_.startswith("..") else {before, datetime.now(UTC).year}
    assert calendars in {3 * (year - 2021) for year in until}


def test_a_page_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = fill(tmp_path)
    old = shelf.output / "report.html"
    old.write_text("old")

    def full(*_: object, **__: object) -> None:
        raise LocalError("disk full")

    monkeypatch.setattr(files, "replace", full)
    with pytest.raises(LocalError):
        call(shelf.config)
    assert old.read_text() == "old"


# ---- in a browser -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with odd names, rejected jobs and pictures."""
    shelf = fill(
        tmp_path_factory.mktemp("seen"),
        shapes=HOSTILE | dict(list(shelves.SHAPES.items())[1:]),
        dates=30,
        indices=["NDVI", "EVI"],
    )
    call(shelf.config)
    return shelf.output / "report.html"


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_it_and_asks_nobody(browser: Browser, seen: Path, width: int, dark: bool) -> None:
    browser.requests.clear()
    browser.complaints.clear()
    browser.show(seen, width=width, dark=dark)
    assert [address for address in browser.requests if not address.startswith("data:")] == [seen.as_uri()]
    assert not browser.complaints
    sizes = browser.value("[...document.images].map(image => image.naturalWidth)")
    assert all(sizes)
    assert browser.value("document.documentElement.scrollWidth") <= width, "it scrolls to the side"
    ink, paper = browser.value("(s => [s.color, s.backgroundColor])(getComputedStyle(document.body))")
    assert (_light(paper) < 0.2, _light(ink) > 0.8) == (dark, dark), "the style sheet is used, and its scheme"
    assert abs(_light(ink) - _light(paper)) > 0.7


TABLE = "document.querySelector('#areas table')"


def test_on_a_phone_all_of_a_row_of_the_table_is_seen_with_its_words(browser: Browser, seen: Path) -> None:
    browser.show(seen, width=390, height=844)
    assert browser.value(f"{TABLE}.scrollWidth <= {TABLE}.parentElement.clientWidth"), "no scrolling in its box"
    assert browser.value(f"{TABLE}.getBoundingClientRect().right") <= 390
    cells = browser.value(
        f"[...{TABLE}.querySelectorAll('tbody tr:first-child > *')].filter(cell => cell.offsetWidth)"
        ".map(cell => [...['::before', '::after'].map(which => getComputedStyle(cell, which).content),"
        " cell.innerText, cell.getBoundingClientRect().left >= 0])"
    )
    words = [before + text + after for before, after, text, _ in cells]
    assert any(word.endswith('" clear"') for word in words)
    assert any(word.startswith('"last clear "2022-01-') for word in words)
    assert all(inside for *_, inside in cells)
    assert not any("\u00b7" in word for word in words), "counts of 0 take no room"


def test_on_a_wide_screen_it_is_a_table(browser: Browser, seen: Path) -> None:
    browser.show(seen, width=1280)
    shown = browser.value(f"getComputedStyle({TABLE}.querySelector('tbody tr')).display")
    assert shown == "table-row"
    content = browser.value(f"getComputedStyle({TABLE}.querySelector('tbody td'), '::after').content")
    assert content == "none"


def test_links_lead_to_what_they_name(browser: Browser, seen: Path) -> None:
    browser.show(seen)
    for place in browser.value(
        "[...document.querySelectorAll('nav a, tbody a')].map(a => a.getAttribute('href'))"
    ):
        link = f'[href="{place}"]'
        browser.value(f"document.querySelector('nav {link}, tbody {link}').click()")
        top = browser.value(
            "(i => Math.round(document.getElementById(i).getBoundingClientRect().top) + 0)(location.hash.slice(1))"
        )
        end = browser.value("Math.round(document.documentElement.scrollHeight - innerHeight - scrollY) + 0")
        assert top == 0 or end == 0, f"{place} is not where the page went"


def _light(colour: str) -> float:
    """Mean of the channels of ``rgb(1, 2, 3)``, from 0 to 1."""
    return sum(int(channel) for channel in colour.removeprefix("rgb(").removesuffix(")").split(",")) / 3 / 255
