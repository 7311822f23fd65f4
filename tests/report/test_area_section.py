"""What is told of one area."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import date

from s2async.models import Attribute
from s2async.report import page
from s2async.report.area_section import AreaSection, Thumbnail, area_section, keys, stems
from s2async.report.data import Watched
from tests.support.curves import curve, value
from tests.support.looks import AREA, look, watched
from tests.support.pages import Page


@dataclass(frozen=True)
class Variables:
    """What the template needs."""

    area: AreaSection


def shown(
    seen: Watched,
    *thumbnails: Thumbnail,
    km2: float = 1,
    first: date = date(2022, 1, 1),
    last: date = date(2022, 12, 31),
) -> str:
    section = area_section(seen, thumbnails, km2=km2, first=first, last=last)
    return page.fragment("area.html.j2", Variables(area=section))


def test_an_area_tells_its_looks() -> None:
    seen = watched(look(0, "saved"), look(30, "saved"), look(31, "cloudy"))
    found = Page(shown(seen, km2=0.5))
    assert "2 clear" in found.text
    assert "30 days, 2022-01-01 to 2022-01-31" in found.text
    assert "50 ha" in found.text
    assert found.values("id") == ["area-" + "0" * 16]


def test_calendars_come_newest_first_and_older_ones_are_folded() -> None:
    found = shown(watched(), first=date(2018, 5, 1), last=date(2022, 4, 1))
    years = re.findall("<figcaption>(.*?)</figcaption>", found)
    assert years == ["2022", "2021", "2020", "2019", "2018"]
    assert found.index("<details>") > found.index("2021")
    assert "2018 to 2020" in Page(found).text
    assert "no scenes found yet" in Page(found).text


def test_pictures_have_date_and_cloud_and_those_that_are_gone_say_so() -> None:
    webp = Thumbnail(look=look(0, "saved", area=1.26), data=b"RIFF....WEBP")
    png = Thumbnail(look=look(1, "saved", area=0.0), data=b"\x89PNG")
    gone = Thumbnail(look=look(2, "saved"), data=b"")
    seen = watched(*(thumbnail.look for thumbnail in (webp, png, gone)))
    found = Page(shown(seen, gone, png, webp))
    assert [source.split(";")[0] for source in found.values("src", "img")] == ["data:image/png", "data:image/webp"]
    assert "2022-01-01" in found.values("alt")[1]
    assert "1.3 % cloud" in found.text
    assert "cannot be read" in found.text


def test_a_season_and_the_areas_own_columns_are_facts() -> None:
    columns: dict[str, Attribute] = {"crop": "<rye>", "plot": 7, "sown": date(2024, 4, 1), "owner": None}
    area = replace(AREA, start=date(2022, 1, 1), end=date(2022, 3, 31), attributes=columns)
    found = Page(shown(replace(watched(look(0, "saved")), area=area))).text
    for fact in ("season2022-01-01 to 2022-03-31", "crop<rye>", "plot7", "sown2024-04-01"):
        assert f"\n{fact}\n" in found
    assert "owner" not in found


def test_areas_of_one_polygon_have_keys_of_their_own() -> None:
    other = replace(AREA, fingerprint="1" * 16)
    assert keys([AREA, other, AREA, AREA]) == ["0" * 16, "1" * 16, f"{'0' * 16}-2", f"{'0' * 16}-3"]


def test_files_of_one_name_are_told_apart_by_their_first_days() -> None:
    later = replace(AREA, start=date(2023, 1, 1))
    assert stems([AREA, later, replace(AREA, folder="b")]) == ["a", "a~2023-01-01", "b"]


def test_curves_stand_above_the_pictures_and_at_most_so_many() -> None:
    several = tuple(curve(value(-400, 0.4), value(0, 0.5), name=f"I{number}") for number in range(8))
    picture = Thumbnail(look=look(0, "saved"), data=b"RIFF")
    found = shown(replace(watched(look(0, "saved")), curves=several), picture, first=date(2020, 1, 1))
    labels = [label for label in Page(found).values("aria-label") if label.endswith("over time")]
    assert labels == [f"I{number} of a over time" for number in range(6)]
    assert "\nNot shown: I6, I7.\n" in Page(found).text
    assert "2022; paler: 2020" in found
    assert "\nvalues2 dates\n" in Page(found).text
    assert found.index("over time") < found.index("Clear crops of a")
    assert "over time" not in shown(watched(look(0, "saved")))
