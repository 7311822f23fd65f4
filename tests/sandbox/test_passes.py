from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from s2async.sandbox.world.passes import Take, takes

EDGES = (900.0, 1100.0, 1300.0)
YEAR = takes(2022, EDGES)


def passes(year: list[Take]) -> list[list[Take]]:
    """Takes of one day together."""
    days = sorted({take.time.date() for take in year})
    return [[take for take in year if take.time.date() == day] for day in days]


def test_a_year_has_141_takes_of_132_passes() -> None:
    assert len(YEAR) == 141
    assert len(passes(YEAR)) == 132
    assert [take.time for take in YEAR] == sorted(take.time for take in YEAR)
    assert {take.time.year for take in YEAR} == {2022}


def test_two_satellites_take_turns_on_each_orbit() -> None:
    assert Counter(take.platform for take in YEAR if not take.sequence).keys() == {"sentinel-2a", "sentinel-2b"}
    for orbit in (22, 65):
        on_it = [take for take in YEAR if take.orbit == orbit and not take.sequence]
        for one, other in pairwise(on_it):
            days = (other.time.date() - one.time.date()).days
            assert days % 5 == 0
            assert (one.platform != other.platform) == bool(days // 5 % 2)


def test_how_often_each_kind_of_pass_occurs() -> None:
    pairs = [day for day in passes(YEAR) if len(day) == 2]
    twins = [(one, other) for one, other in pairs if one.look == other.look]
    halves = [(one, other) for one, other in pairs if one.look != other.look]
    single = [day[0] for day in passes(YEAR) if len(day) == 1]
    assert (len(twins), len(halves)) == (7, 2)
    assert sum(take.look.sky.edge is not None for take in single) == 10
    assert sum(take.only_jp2 for take in YEAR) == 1
    for one, other in twins:
        assert (one.strip, one.sequence, other.sequence) == (other.strip, 0, 1)
        assert abs(other.time - one.time).total_seconds() <= 0.001
        assert (one.baseline, other.baseline) == ("04.00", "05.10")
        assert other.generated > one.generated
    for one, other in halves:
        assert one.look.sky.edge == other.look.sky.edge in EDGES
        assert (one.look.sky.before, other.look.sky.before) == (True, False)
        assert one.strip != other.strip
        assert (other.time - one.time).total_seconds() > 1


@pytest.mark.parametrize("dates", [1, 2, 7, 8, 20, 132, 500])
def test_fewer_dates_are_spread_over_the_year(dates: int) -> None:
    year = takes(7, EDGES, dates=dates)
    days = passes(year)
    assert len(days) == min(dates, 132)
    if dates > 1:
        assert (days[0][0].time.month, days[-1][0].time.month) == (1, 12)
    if dates >= 8:
        kinds = {(take.only_jp2, take.sequence, take.look.sky.edge is None) for take in year}
        assert kinds >= {(True, 0, True), (False, 1, True), (False, 1, False), (False, 0, False)}
    else:
        assert len(year) == dates


def test_without_edges_every_swath_is_whole() -> None:
    assert all(take.look.sky.edge is None for take in takes(2022, ()))


def test_a_year_follows_from_its_seed() -> None:
    assert takes(2022, EDGES) == YEAR
    assert takes(2023, EDGES) != YEAR
