from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2async.errors import BadAnswer
from s2async.models import Traffic, Use
from s2async.net.accounting import Meter, Tally


def test_a_meter_books_by_kind_and_forgets_what_it_told() -> None:
    meter = Meter()
    meter.add("header", "scl", Use.USEFUL, requests=1, size=8192)
    meter.add("header", "scl", Use.USEFUL, requests=1, size=100)
    meter.add("tiles", "scl", Use.RETRIED, requests=0, size=0)
    meter.waste("header", "scl", 4000)
    assert meter.drain() == [
        Traffic(stage="header", asset="scl", use=Use.USEFUL, requests=2, bytes=4292),
        Traffic(stage="header", asset="scl", use=Use.WASTED, requests=0, bytes=4000),
    ]
    assert meter.drain() == []
    assert (meter.requests, meter.bytes) == (2, 8292)


def test_a_meter_takes_back_what_it_told_too_early() -> None:
    meter = Meter()
    meter.add("header", "scl", Use.USEFUL, requests=1, size=10)
    told = meter.drain()
    meter.waste("header", "scl", 4)
    told += meter.drain()
    assert {use: sum(t.bytes for t in told if t.use is use) for use in (Use.USEFUL, Use.WASTED)} == {
        Use.USEFUL: 6,
        Use.WASTED: 4,
    }


async def body(pieces: Sequence[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=10), st.integers(0, 3))
def test_a_body_is_what_came_and_every_byte_of_it_is_counted(pieces: list[bytes], spare: int) -> None:
    whole = b"".join(pieces)
    for size in (len(whole), len(whole) + spare):
        known, unknown = Tally(), Tally()
        assert asyncio.run(known.fill(body(pieces), size, "http://a.test/x")) == whole
        assert asyncio.run(unknown.receive(body(pieces), size, "http://a.test/x")) == whole
        assert known.bytes == unknown.bytes == len(whole)


def test_a_body_whose_headers_tell_its_size_is_whole_when_it_has_come() -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b"abc"
        raise AssertionError("nobody should wait for more")

    tally = Tally()
    assert asyncio.run(tally.fill(endless(), 3, "http://a.test/x", exact=True)) == b"abc"
    assert tally.bytes == 3


@given(st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=10), st.data())
def test_a_body_that_is_too_long_is_refused_at_the_piece_that_makes_it_so(
    pieces: list[bytes], data: st.DataObject
) -> None:
    whole = b"".join(pieces)
    limit = data.draw(st.integers(0, len(whole) - 1))
    for method in ("fill", "receive"):
        tally = Tally()
        with pytest.raises(BadAnswer, match=f"more than {limit} bytes: http://a.test/x$"):
            asyncio.run(getattr(tally, method)(body(pieces), limit, "http://a.test/x?sig=secret"))
        assert limit < tally.bytes <= limit + 20


def test_what_could_not_be_recorded_is_drained_again() -> None:
    meter = Meter()
    meter.add("tiles", "red", Use.USEFUL, requests=2, size=30)
    lost = meter.drain()
    meter.add("tiles", "red", Use.USEFUL, requests=1, size=5)
    meter.take_back(lost)
    assert [(one.requests, one.bytes) for one in meter.drain()] == [(3, 35)]
    assert (meter.requests, meter.bytes) == (3, 35)
