"""The demo's table of values by area and season of the year."""

from __future__ import annotations

from datetime import date

from s2async.cli import season_table


def test_means_and_numbers_of_dates_by_season() -> None:
    values = [
        ("Tiergarten", date(2022, 1, 5), 0.30),
        ("Tiergarten", date(2022, 12, 1), 0.20),
        ("Tiergarten", date(2022, 2, 28), 0.40),
        ("Tiergarten", date(2022, 3, 1), 0.50),
        ("Tiergarten", date(2022, 8, 31), 0.80),
        ("Lake", date(2022, 11, 30), -0.125),
        ("Lake", date(2022, 9, 1), -0.135),
    ]
    assert list(season_table.lines("NDVI", values)) == [
        "NDVI             winter       spring       summer       autumn",
        "Tiergarten     0.30 (3)     0.50 (1)     0.80 (1)            -",
        "Lake                  -            -            -    -0.13 (2)",
    ]
    assert list(season_table.lines("NDVI", [])) == []


def test_lines_fit_a_terminal_whatever_the_names_are() -> None:
    names = ["x" * 300, "a\x1b[31mb", "VolksparkFriedrichshain"]
    values = [(name, date(2022, month, 1), -0.1234) for name in names for month in range(1, 13) for _ in range(40)]
    found = list(season_table.lines("a long name of a formula, too long", values))
    assert {len(line) for line in found} == {season_table.LETTERS + 52}
    assert len(found[0]) <= 80
    assert found[1].startswith("x" * 21 + "...")
    assert "\x1b" not in found[2]
    assert found[3].count("-0.12 (120)") == 4
