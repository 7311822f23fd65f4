"""What explains that nothing was found, or that nothing of an area is ever kept."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from s2async.cli import hints
from s2async.config.model import Config
from s2async.state.records import Unheld

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
BERLIN = 13.0, 52.0, 14.0, 53.0
TOKYO = 139.0, 35.0, 140.0, 36.0


def config(datetime: str = "2022-01-01/2022-12-31", **search: Any) -> Config:
    return Config.of(
        {
            "areas": [{"name": "a", "wkt": "POLYGON ((0 0, 1 0, 1 1, 0 0))"}],
            "search": {"datetime": datetime} | search,
        }
    )


@pytest.mark.parametrize(
    ("period", "days"),
    [
        ("2026-11-30/2026-12-31", "0.5"),
        ("2026-12-01/..", "0.0"),
        ("2026-11-22/..", "8.5"),
        ("2022-06-01/2022-06-04", "4.0"),
    ],
)
def test_a_period_of_few_days_explains_it(period: str, days: str) -> None:
    told = hints.nothing_found(config(period), "here", BERLIN, now=NOON)
    assert f"the period ({period}) has {days} days so far" in told
    assert "latitude" not in told


def test_places_that_may_be_swapped_explain_it() -> None:
    told = hints.nothing_found(config(), "1 area: here", BERLIN, now=NOON)
    assert told.startswith("No scene was found. Check the position of the areas (1 area: here) and the dates")
    assert "(2022-01-01/2022-12-31)." in told
    assert told.endswith("Longitude comes before latitude in WKT and GeoJSON.")


def test_places_that_cannot_be_swapped_do_not() -> None:
    """139 E is no latitude."""
    assert "latitude" not in hints.nothing_found(config(), "here", TOKYO, now=NOON)
    assert "latitude" not in hints.nothing_found(config(), "here", (-122.0, 37.0, -121.0, 38.0), now=NOON)


def test_a_catalogue_of_ones_own_may_not_have_the_collection() -> None:
    own = {"url": "https://stac.example.org/v1", "collection": "s2"}
    assert 'has a collection "s2".' in hints.nothing_found(config(catalog=own), "here", TOKYO, now=NOON)
    assert "collection" not in hints.nothing_found(config(), "here", TOKYO, now=NOON)


def test_areas_that_no_scene_holds_are_named_by_what_helps() -> None:
    areas = [
        Unheld(name="Meadow", share=0.600049),
        Unheld(name="Sea", share=0.0),
        Unheld(name="Rim", share=0.949999),
    ]
    partly, beyond = hints.unheld(areas, 95.0)
    assert partly == (
        "no scene so far covers enough of 2 areas: Meadow (at most 60 %), Rim (at most 94.99 %); "
        "min_area_valid is 95 %, and other dates do not help: lower it under [clouds], or split the areas"
    )
    assert beyond.startswith("no scene so far covers any part of 1 area: Sea; ")
    assert hints.unheld([], 95.0) == []


def test_ten_areas_are_named_and_the_others_counted() -> None:
    (told,) = hints.unheld([Unheld(name=f"a{n}", share=0.5) for n in range(1234)], 80)
    assert "enough of 1,234 areas: a0 (at most 50 %), a1" in told
    assert "a9 (at most 50 %) and 1,224 more; " in told
    assert "a10" not in told


@pytest.mark.parametrize("share", [0.29, 0.57, 0.58, 1 / 3, 0.9999, 1e-9])
def test_a_share_is_never_rounded_up(share: float) -> None:
    assert share * 100 - 0.01 < hints.floored(share) + 1e-9
    assert hints.floored(share) <= share * 100 + 1e-9


def test_seasons_outside_the_period_are_named() -> None:
    for seasons in ((date(2023, 1, 1), None), (date(2023, 4, 1), date(2023, 9, 30)), (None, date(2019, 5, 1))):
        told = hints.nothing_found(config(), "here", BERLIN, now=NOON, seasons=seasons)
        assert "the seasons of the areas" in told
        assert str(seasons[0] or seasons[1]) in told
    within = hints.nothing_found(config(), "here", BERLIN, now=NOON, seasons=(date(2022, 4, 1), None))
    assert "seasons" not in within
