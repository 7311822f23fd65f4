from __future__ import annotations

from collections import Counter
from datetime import date
from itertools import pairwise

import pytest

from s2async.sandbox.world.passes import COVERS, MONTHS, Take, takes

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
        assert one.datatake == other.datatake
    for one, other in halves:
        assert one.datatake == other.datatake
        assert (one.half, other.half) == (True, True)
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


def test_days_of_passes_do_not_depend_on_the_period() -> None:
    """A period has the passes of its days, whatever else it contains; some of them are lost."""
    for first, last in ((date(2022, 5, 1), date(2022, 8, 31)), (date(2024, 1, 10), date(2025, 3, 1))):
        found = takes(2022, EDGES, period=(first, last))
        days = {take.time.date() for take in found}
        assert first <= min(days)
        assert max(days) <= last
        for take in found:
            offset = (take.time.date() - date(2022, 1, 1)).days
            assert offset % 5 == (1 if take.orbit == 22 else 3)
            assert take.look.season == (take.time.month - 1) // 3
        expected = (last - first).days / 365 * 132
        assert abs(len(days) - expected) <= 3


def test_a_period_without_a_pass_has_no_takes() -> None:
    assert takes(1, EDGES, period=(date(2022, 1, 1), date(2022, 1, 1))) == []
    assert len(takes(1, EDGES, period=(date(2022, 1, 2), date(2022, 1, 2)))) == 1


def test_fewer_kinds_of_skies_are_fewer_looks() -> None:
    looks = {covers: {take.look for take in takes(2022, (), covers=covers)} for covers in (COVERS, (0.0, 1.0))}
    assert len(looks[0.0, 1.0]) == 8 < len(looks[COVERS])
    assert {look.sky.cover for look in looks[0.0, 1.0]} == {0.0, 1.0}


def test_each_day_has_the_baseline_of_new_products() -> None:
    found = takes(2022, (), period=(date(2017, 1, 1), date(2025, 1, 1)))
    known = {take.time.date(): take.baseline for take in found if not take.edition}

    def on(first: date, last: date) -> set[str]:
        return {baseline for day, baseline in known.items() if first <= day <= last}

    assert on(date(2020, 3, 1), date(2020, 12, 31)) == {"02.14"}
    assert on(date(2021, 7, 1), date(2022, 1, 24)) == {"03.01"}
    assert on(date(2022, 1, 25), date(2022, 12, 5)) == {"04.00"}
    assert on(date(2023, 12, 13), date(2024, 7, 22)) == {"05.10"}


def test_old_passes_were_processed_again_and_are_stamped_minutes_apart() -> None:
    """As the recorded granule of 2017-12-19, whose editions 02.06 and 05.00 lie 208.6 s apart."""
    found = takes(2022, (), period=(date(2017, 6, 1), date(2018, 5, 31)))
    pairs = [(day[0], day[1]) for day in passes(found) if len(day) == 2]
    assert len(pairs) >= 5
    for one, other in pairs:
        assert (one.baseline, other.baseline) == ("02.06", "05.00")
        assert (other.time - one.time).total_seconds() == 208.6
        assert (one.datatake, one.strip) == (other.datatake, other.strip)
        assert (one.edition, other.edition) == (0, 1)


def test_months_differ_where_the_season_counts() -> None:
    months, quarters = takes(2022, EDGES, seasons=MONTHS), YEAR
    assert [take.time for take in months] == [take.time for take in quarters]
    for take in months:
        assert take.look.month == take.time.month - 0.5
