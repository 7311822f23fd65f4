"""What is told of all areas together."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from s2async.report import page, sections
from s2async.report.data import Saving, Scatter
from s2async.report.scene_pairs import Kind, Missing
from s2async.report.sections import BytesSection, CloudsSection, ProblemGroup
from s2async.state.records import Doubt, Problem
from tests.support.looks import look, watched
from tests.support.pages import Page


@dataclass(frozen=True)
class Variables:
    """What the template of one section needs."""

    bytes: BytesSection | None = None
    clouds: CloudsSection | None = None
    problems: tuple[ProblemGroup, ...] = ()


def shown(template: str, variables: Variables) -> Page:
    return Page(page.fragment(template, variables))


def bytes_of(saved: Saving, *, unfinished: bool) -> Page:
    return shown("bytes.html.j2", Variables(bytes=sections.bytes_section(saved, unfinished=unfinished)))


def clouds_of(scatter: Scatter) -> Page:
    return shown("clouds.html.j2", Variables(clouds=sections.clouds_section(scatter, max_scene=80, max_area=2)))


def problems_of(*problems: Problem) -> Page:
    return shown("problems.html.j2", Variables(problems=sections.problem_groups(problems, [])))


def saving(**changed: int) -> Saving:
    told = {"whole": 40_800, "skipped": 20_000, "moved": 400, "files": 9, "estimated": 2, "unknown": 0}
    return Saving(**(told | changed))


def test_bytes_are_split_into_what_was_skipped_not_read_and_moved() -> None:
    told = bytes_of(saving(), unfinished=False).text
    assert (
        "400 B were downloaded instead of about 40.8 kB for the whole files, which are 102 times as large." in told
    )
    assert "about 20.0 kB not downloaded: no area was clear in the scene, 49.0 %" in told
    assert "about 20.4 kB not downloaded: outside" in told
    assert "2 of them were never opened" in told
    assert "still to do" not in told


def test_sizes_that_are_known_are_not_about_so_much() -> None:
    told = bytes_of(saving(estimated=0), unfinished=True).text
    assert "about" not in told
    assert "Jobs that are still to do are counted as skipped" in told


@pytest.mark.parametrize(
    "odd", [{"whole": 0, "skipped": 0, "moved": 0}, {"whole": 500, "skipped": 0, "moved": 900}]
)
def test_where_whole_files_would_be_no_more_there_is_no_bar(odd: dict[str, int]) -> None:
    found = bytes_of(saving(**odd), unfinished=False)
    assert "svg" not in found.tags
    assert f"{odd['moved']} B were downloaded." in found.text


def test_the_scatter_tells_its_finding_in_numbers() -> None:
    scatter = Scatter()
    scatter.add(
        watched(
            look(0, "saved", scene=60.0), look(1, "saved", scene=20.0), look(2, "cloudy", scene=5.0, area=80.0)
        )
    )
    told = clouds_of(scatter).text
    assert "In 2 of 3 examined jobs (67 %) less than 2 % or at least 98 % of the area is cloud." in told
    assert "In 1 of 2 clear views (50 %) at least 50 % of the scene is cloud." in told
    assert (
        "In 1 of 2 examined jobs in scenes with at most 20 % cloud (50 %) at least half of the area is cloud."
        in told
    )
    assert "No jobs have been examined yet" in clouds_of(Scatter()).text


def test_problems_are_listed_by_kind_and_not_without_end() -> None:
    failed = [
        Problem(area="a", item=f"i{n}", status="failed", reason="timed out") for n in range(sections.PROBLEMS + 5)
    ]
    found = problems_of(*failed, Problem(area="b", item="j", status="missing", reason="404"))
    assert "205 jobs failed" in found.text
    assert "5 more are listed by s2async status --json" in found.text
    assert "1 job with missing files" in found.text
    assert found.tags.count("tr") == sections.PROBLEMS + 1 + 2
    assert "None." in problems_of().text


def test_problems_of_many_areas_are_a_row_for_each_scene() -> None:
    gone = [
        Problem(area=f"F{area:02}", item=item, status="missing", reason=f"404: {item}")
        for area in range(20)
        for item in ("i1", "i2")
    ]
    other = Problem(area="F07", item="i1", status="missing", reason="another reason")
    (group,) = sections.problem_groups([*gone, other], [])
    assert (group.summary, group.columns) == ("41 jobs with missing files", ("scene", "areas", "reason"))
    assert group.rows == (
        ("i1", "20 areas: F00, F01, F02, F03, F04, ...", "404: i1"),
        ("i1", "F07", "another reason"),
        ("i2", "20 areas: F00, F01, F02, F03, F04, ...", "404: i2"),
    )


def test_crops_with_an_uncertain_offset_are_problems() -> None:
    doubt = Doubt(crops=12, scenes=3, item="S2B_X", basis="source", reason="pixels are darker", untold=False)
    old = Doubt(crops=1, scenes=1, item="S2A_Y", basis="", reason="", untold=True)
    page = shown("problems.html.j2", Variables(problems=sections.problem_groups([], [], doubts=[doubt, old])))
    for text in ("13 crops with an uncertain offset", "S2B_X", "pixels are darker", "S2A_Y", "s2async verify"):
        assert text in page.text


def unseen(*lacks: Missing) -> Page:
    return shown("problems.html.j2", Variables(problems=sections.problem_groups([], [], [], lacks)))


def test_pictures_that_could_not_be_had_are_counted_by_reason() -> None:
    gone = [Missing(kind=Kind.CLEAR, item=f"i{n}", cause="not there", reason=f"404: i{n}") for n in range(2)]
    denied = Missing(kind=Kind.COVERED, item="j", cause="access denied", reason="403: j")
    found = unseen(*gone, denied)
    told = "2 pictures of whole scenes missing from this report (3 scenes tried): 2 not there, 1 access denied"
    assert told in found.text
    for text in ("a clear area in a cloudy scene", "i0", "404: i1", "a cloudy area in a clear scene", "403: j"):
        assert text in found.text
    assert found.tags.count("tr") == 1 + 3


def test_one_picture_that_was_not_asked_for_is_told_as_such() -> None:
    lack = Missing(
        kind=Kind.CLEAR, item="i", cause="not asked for", reason="nothing was to be fetched (--offline)"
    )
    text = unseen(lack).text
    assert "1 picture of whole scenes missing from this report: not asked for" in text
    assert "--offline" in text
