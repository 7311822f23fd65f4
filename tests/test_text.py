"""Texts on one line: nothing secret in an address, nothing that does not print, figures in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2async.text import duration, excerpt, masked, one_line, public, shown, size, surface


@pytest.mark.parametrize(
    ("href", "text"),
    [
        ("https://a.test/x.tif?sig=secret#part", "https://a.test/x.tif"),
        ("https://user:secret@a.test/x.tif", "https://a.test/x.tif"),
        ("https://a.test/x@y.tif", "https://a.test/x@y.tif"),
        ("https://a.test/x\n\x1b[31m.tif", "https://a.test/x \\x1b[31m.tif"),
        ("https://a.test/x\u202e.tif", "https://a.test/x\\u202e.tif"),
        ("https://a.test/" + "x" * 1000, "https://a.test/" + "x" * 285),
        ("https://a.test/\ud800", "https://a.test/?"),
        ("", ""),
    ],
)
def test_addresses_are_shown_in_one_line_and_without_secrets(href: str, text: str) -> None:
    assert shown(href) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("see https://me:pass@a.test/x?sig=1, or not", "see https://a.test/x?... or not"),
        ("'HTTP://pass@a.test' <ftp://b/c#pass>", "'HTTP://a.test' <ftp://b/c?...>"),
        ("https:/me:pass@a.test/b", "https:/a.test/b"),
        ("s3://me:p@ss@bucket/key", "s3://bucket/key"),
        ("C:/me@home/x?y, a@b.test, 12:/3@4", "C:/me@home/x?y, a@b.test, 12:/3@4"),
        ("a:/b@c", "a:/b@c"),
        ("", ""),
    ],
)
def test_texts_are_shown_without_the_secrets_of_their_addresses(text: str, shown: str) -> None:
    assert masked(text) == shown
    assert masked(shown) == shown


plain = st.text(st.characters(codec="utf-8", exclude_characters="/?#@ \"'<>", exclude_categories=("Z", "C")))


@given(plain, plain, plain, plain)
def test_no_part_of_an_address_that_may_be_secret_is_shown(before: str, user: str, place: str, after: str) -> None:
    href = f"https://{user}:canary@{place}/?{after}&sig=canary"
    told = (masked(f"{before} {href}"), shown(href), public(href))
    for text in (*told, excerpt(f"{before} {href}".encode(), 1000)):
        assert "canary" not in text.replace(before, "").replace(place, "")


@given(st.binary(max_size=500))
def test_an_excerpt_is_short_and_printable(raw: bytes) -> None:
    text = excerpt(raw, 20)
    assert text.isprintable()
    assert len(text) <= 200


@given(st.text(st.characters()), st.integers(4, 100))
def test_one_line_is_printable_and_short(text: str, limit: int) -> None:
    assert one_line(text, limit).isprintable()
    assert len(one_line(text, limit)) <= limit


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("a\nb", "a\\nb"), ("\x1b[31m", "\\x1b[31m"), ("ü\u202e", "ü\\u202e"), ("x" * 61, "x" * 57 + "...")],
)
def test_one_line(text: str, wanted: str) -> None:
    assert one_line(text) == wanted


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (8192, "8.2 kB"),
        (99_949, "99.9 kB"),
        (99_960, "100 kB"),
        (999_499, "999 kB"),
        (999_600, "1.0 MB"),
        (85_400_000_000, "85.4 GB"),
        (1_200_000_000_000_000, "1200 TB"),
        (-1500, "-1.5 kB"),
    ],
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text


@given(st.integers(0, 10**15))
def test_sizes_are_right_to_one_part_in_a_hundred(count: int) -> None:
    number, unit = size(count).split()
    exact = float(number) * {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}[unit]
    assert exact == pytest.approx(count, rel=0.051)
    assert len(number) <= 4


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (3599.7, "1 h 00 min"),
        (7500, "2 h 05 min"),
        (100 * 3600, "100 h 00 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("km2", "text"),
    [
        (12_345.6, "12,346 km2"),
        (76.2, "76 km2"),
        (1.0, "1 km2"),
        (0.97, "97 ha"),
        (0.062, "6.2 ha"),
        (1e-4, "0.01 ha"),
        (9e-6, "9 m2"),
        (9e-7, "less than 1 m2"),
    ],
)
def test_sizes_of_areas_have_a_unit_in_which_they_are_no_fractions(km2: float, text: str) -> None:
    assert surface(km2) == text


def test_sizes_of_areas_have_as_many_digits_as_are_asked_for() -> None:
    assert surface(3.14159, digits=3, squared="\u00b2") == "3.14 km\u00b2"
    assert surface(0.5, digits=3) == "50 ha"
