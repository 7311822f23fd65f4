"""Periods, sizes and origins."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2async.config.types import normal_origin, parse_duration, parse_period, parse_size

DAY = timedelta(days=1)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type, misc]


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("2022-01-01/2022-12-31", utc(2022, 1, 1), utc(2023, 1, 1)),
        ("2022-02-28", utc(2022, 2, 28), utc(2022, 3, 1)),
        ("../2020-02-28", None, utc(2020, 2, 29)),
        ("2020-02-29/..", utc(2020, 2, 29), None),
        ("2022-01-01T10:20/2022-01-01T10:20", utc(2022, 1, 1, 10, 20), utc(2022, 1, 1, 10, 21)),
        ("2022-01-01T10:20:30Z", utc(2022, 1, 1, 10, 20, 30), utc(2022, 1, 1, 10, 20, 31)),
        ("2022-01-01t10:20:30.5z", utc(2022, 1, 1, 10, 20, 30, 500000), utc(2022, 1, 1, 10, 20, 30, 500001)),
        ("2022-01-01T00:30:00+02:00/2022-01-01", utc(2021, 12, 31, 22, 30), utc(2022, 1, 2)),
        ("2022-01-01 00:00:00/..", utc(2022, 1, 1), None),
    ],
)
def test_periods(text: str, start: datetime | None, end: datetime | None) -> None:
    found = parse_period(text)
    assert (found.start, found.end) == (start, end)


@pytest.mark.parametrize(
    "text",
    ["", "/", "/2022-01-01", "..", "../..", "2022", "2022-1-1", "20220101", "2022-W01-1",
     "2022-01-01/2022-02-01/..", "2022-02-30", "2022-01-01T25:00", "2022-01-01T10",
     "9999-12-31", "0001-01-01T00:00:00+01:00", "٢٠٢٢-01-01",
     "2022-01-02/2022-01-01", "2022-01-01T10:00:00Z/2022-01-01T09:59:59Z", "2022-01-01\n", " 2022-01-01"],
)  # fmt: skip
def test_bad_periods(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_period(text)
    assert "; " in str(caught.value)
    assert str(caught.value).isprintable()


@given(st.dates(date(2015, 6, 23), date(2100, 1, 1)), st.dates(date(2015, 6, 23), date(2100, 1, 1)))
def test_both_days_are_included(first: date, last: date) -> None:
    if first > last:
        with pytest.raises(ValueError, match="ends before it starts"):
            parse_period(f"{first}/{last}")
        return
    found = parse_period(f"{first}/{last}")
    assert found.start is not None
    assert found.end is not None
    assert found.end - found.start == (last - first) + DAY
    assert (found.start.date(), found.start.time(), found.start.tzinfo) == (first, datetime.min.time(), UTC)


@given(st.integers(0, 1 << 50))
def test_whole_numbers_are_bytes(size: int) -> None:
    assert parse_size(size) == parse_size(f"{size} B" if size < 10**16 else size) == size


@given(st.integers(0, 9999), st.sampled_from(["KiB", "MiB", "GiB", "kB", "MB", "GB"]), st.sampled_from(["", " "]))
def test_sizes_scale_by_their_unit(count: int, unit: str, space: str) -> None:
    base = 1024 if "i" in unit else 1000
    assert parse_size(f"{count}{space}{unit}") == count * base ** ("KMG".index(unit[0].upper()) + 1)


def test_half_sizes() -> None:
    assert parse_size("1.5 GiB") == 3 << 29
    assert parse_size("0.001 kB") == 1


@pytest.mark.parametrize(
    "value",
    [-1, True, 1.5, None, [], "", "MiB", "128", "128 mb", "128 KB", "1e3 MB", "-1 MiB", "128  MiB", "0.0001 kB",
     (1 << 50) + 1, "1125900 GB", "9" * 40 + " GiB", "٣ MiB", "1 MiB\n"],
)  # fmt: skip
def test_bad_sizes(value: object) -> None:
    with pytest.raises(ValueError, match=r"is not .*; write a whole number of bytes or a size") as caught:
        parse_size(value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("https://Ex.ORG", "https://ex.org"),
        ("HTTPS://ex.org:443/", "https://ex.org"),
        ("http://ex.org:80", "http://ex.org"),
        ("http://ex.org:443", "http://ex.org:443"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
    ],
)
def test_origins_have_one_form(text: str, wanted: str) -> None:
    assert normal_origin(text) == wanted
    assert normal_origin(wanted) == wanted


@pytest.mark.parametrize(
    "text",
    ["", "ex.org", "//ex.org", "ftp://ex.org", "file:///etc", "https://", "https:///x", "https://*.ex.org",
     "https://a b.org", "https://ex.org\n", "https://ex.org/a", "https://ex.org?", "https://ex.org/?a=1",
     "https://ex.org#a", "https://u@ex.org", "https://u:p@ex.org", "https://ex.org:99999", "https://ex.org:x",
     "https://ex.org\\@evil.org", "https://good.org%2f@evil.org", "/vsicurl/https://ex.org", "vrt://x"],
)  # fmt: skip
def test_bad_origins(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        normal_origin(text)
    assert "; " in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("90 min", 5400),
        ("2h", 7200),
        ("1.5 h", 5400),
        ("45s", 45),
        ("2 d", 172_800),
        ("60", 60),
        (7, 7),
        (0.5, 0.5),
    ],
)
def test_a_duration_is_read(value: object, seconds: float) -> None:
    assert parse_duration(value) == seconds


@pytest.mark.parametrize(
    "value", ["", "soon", "2 weeks", "-1 h", "1 h 30", True, None, "999999999 d", float("nan"), -1]
)
def test_what_is_no_duration_is_refused_with_advice(value: object) -> None:
    with pytest.raises(ValueError, match="write a number of seconds or a duration"):
        parse_duration(value)
