"""Which two pairs are shown, and how: chosen from rows alone."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest
from shapely import MultiPolygon, Polygon, box

from s2async.models import Area, Status
from s2async.report import page, scene_pairs, sections
from s2async.report.data import Look, Watched
from s2async.report.scene_pairs import Candidate, Candidates, Kind, Pair, View
from s2async.report.sections import PairsSection
from tests.support.pages import Page


def area(name: str = "a") -> Area:
    return Area(name=name, wkb=box(13, 52, 13.1, 52.1).wkb, fingerprint=name[0] * 16, folder="a")


def look(item: str, status: str, scene: float | None, inside: float | None) -> Look:
    return Look(day=date(2022, 5, 1), item=item, grid="33UUU", status=status, scene_cloud=scene, area_cloud=inside)


SAVED, CLOUDY = Status.SAVED, Status.CLOUDY


def chosen(candidates: Candidates) -> dict[Kind, list[str]]:
    return {kind: [one.look.item for one in found] for kind, found in candidates.by_kind.items()}


def test_the_largest_differences_are_chosen_whatever_the_order() -> None:
    looks = [
        look("cloud over clear 60", SAVED, 60.0, 0.0),
        look("cloud over clear 75", SAVED, 76.0, 1.0),
        look("cloud over clear 20", SAVED, 20.0, 0.0),
        look("cloud over clear 40", SAVED, 40.0, 0.0),
        look("blue over cloud 85", CLOUDY, 15.0, 100.0),
        look("blue over cloud 50", CLOUDY, 2.0, 52.0),
    ]
    for order in itertools.islice(itertools.permutations(looks), 0, 720, 37):
        candidates = Candidates()
        for number, one in enumerate(order):
            candidates.add(Watched(area=area("abcdef"[number]), looks=(one,)))
        assert chosen(candidates) == {
            Kind.CLEAR: [f"cloud over clear {gap}" for gap in (75, 60, 40)],
            Kind.COVERED: ["blue over cloud 85", "blue over cloud 50"],
        }


@pytest.mark.parametrize(
    "useless",
    [
        look("not measured", SAVED, 80.0, None),
        look("no cloud of the scene", SAVED, None, 0.0),
        look("no data", Status.NODATA, 10.0, 90.0),
        look("failed", Status.FAILED, 10.0, 90.0),
        look("missing", Status.MISSING, 80.0, 0.0),
        look("as one thinks", CLOUDY, 90.0, 40.0),
        look("as one thinks", SAVED, 0.0, 2.0),
        look("no difference", SAVED, 2.0, 2.0),
    ],
)
def test_what_tells_nothing_is_not_chosen(useless: Look) -> None:
    candidates = Candidates()
    candidates.add(Watched(area=area(), looks=(useless,)))
    assert not any(candidates.by_kind.values())


def test_an_area_is_outlined_and_a_tiny_one_marked_by_a_square() -> None:
    ring = [(100.0, 100.0), (200.0, 110.0), (150.0, 200.0)]
    assert scene_pairs.path(Polygon(ring), 600, 600) == "M100.0 100.0L200.0 110.0L150.0 200.0Z"
    hole = Polygon([(0, 0), (90, 0), (90, 90), (0, 90)], [[(10, 10), (20, 10), (20, 20)]])
    assert scene_pairs.path(MultiPolygon([hole, Polygon(ring)]), 600, 600).count("M") == 3
    assert scene_pairs.path(box(300, 300, 304, 302), 600, 400) == "M287.0 286.0h30.0v30.0h-30.0Z"
    assert scene_pairs.path(box(0, 398, 4, 400), 600, 400) == "M0.0 370.0h30.0v30.0h-30.0Z", (
        "it stays in the picture"
    )


def pair(**changes: Any) -> Pair:
    view = View(data=b"RIFF", width=60, height=40, outline="M1 1h2v2h-2Z")
    one = Candidate(kind=Kind.CLEAR, area=area('<script>"'), look=look("item", SAVED, 73.6, 0.2))
    plain: dict[str, Any] = {"candidate": one, "scene": view, "area": view, "requests": 3, "bytes": 9}
    plain["origin"] = "https://cogs.example"
    return Pair(**plain | changes)


@dataclass(frozen=True)
class PairsView:
    """What the template needs."""

    pairs: PairsSection


def test_a_drawn_pair_says_what_it_shows_and_names_stay_text() -> None:
    section = PairsView(pairs=sections.pairs_section([pair()], []))
    found = Page(page.fragment("pairs.html.j2", section))
    assert '2022-05-01: 74 % of the scene is cloud, but 0 % of <script>"' in found.text
    assert "script" not in found.tags
    assert found.tags.count("image") == 2
    assert set(found.values("href")) == {"data:image/webp;base64,UklGRg=="}
    assert found.values("d") == ["M1 1h2v2h-2Z"] * 2
    assert set(found.values("stroke")) == {scene_pairs.RED}
