from __future__ import annotations

import gzip
import json
import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2async.causes import Cause
from s2async.errors import (
    AccessDenied,
    BadAnswer,
    FileChanged,
    NotFound,
    RemoteError,
    TransientError,
    WrongKind,
)
from s2async.net import responses
from s2async.reasons import cause_of

HREF = "https://cogs.test/a/TCI.tif"
NOW = datetime(2024, 2, 29, 12, 0, 0, tzinfo=UTC)
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("", None),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("1000000000", 1e9),
        ("9" * 400, float("inf")),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("٣", None),
        ("Thu, 29 Feb 2024 12:01:30 GMT", 90.0),
        ("Thu, 29 Feb 2024 13:01:30 +0100", 90.0),
        ("Thursday, 29-Feb-24 12:00:10 GMT", 10.0),
        ("Thu Feb 29 12:00:10 2024", 10.0),
        ("Thu, 29 Feb 2024 11:00:00 GMT", 0.0),
        ("Thu, 29 Feb 2024 11:00:00 +9999", None),
        ("99999999999999999999 Jan 2024 1:1:1", None),
    ],
)
def test_retry_after(text: str, seconds: float | None) -> None:
    assert responses.retry_after(text, NOW) == seconds


@given(
    st.text()
    | st.from_regex(r"[A-Z][a-z]{2}, ?[0-9]{1,25} [A-Z][a-z]{2} -?[0-9]{1,5} [0-9:]{1,9} [-+A-Z0-9]{0,6}")
)
def test_a_retry_after_of_any_kind_is_a_wait_or_nothing(text: str) -> None:
    seconds = responses.retry_after(text)
    assert seconds is None or seconds >= 0


@given(st.integers(-(10**6), 10**6))
def test_a_date_is_that_many_seconds_away_and_never_in_the_past(seconds: int) -> None:
    text = format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)
    assert responses.retry_after(text, NOW) == max(0, seconds)


def test_what_a_server_repeats_of_an_address_is_not_shown() -> None:
    for body in (b"Cannot GET /x.tif?sig=canary&a=b", b'<a href="/login?next=canary">log in</a>', HREF.encode()):
        error = responses.status_error(400, {}, body, HREF, responses.TRANSIENT)
        assert "canary" not in str(error)
    assert "Cannot GET /x.tif?...'" in str(
        responses.status_error(400, {}, b"Cannot GET /x.tif?a=b", HREF, frozenset())
    )


@pytest.mark.parametrize(
    ("status", "kind"),
    [(code, TransientError) for code in (408, 425, 429, 500, 502, 503, 504, 507, 522)]
    + [(404, NotFound), (410, NotFound), (412, FileChanged), (401, AccessDenied), (403, AccessDenied)]
    + [(code, BadAnswer) for code in (204, 304, 400, 405, 409, 416, 418, 501)],
)
def test_statuses(status: int, kind: type[RemoteError]) -> None:
    error = responses.status_error(status, {}, b"", HREF + "?sig=secret", responses.TRANSIENT)
    assert type(error) is kind
    assert str(status) in str(error) or status == 412
    assert HREF in str(error)
    assert "secret" not in str(error)


def test_a_storage_that_needs_signed_addresses_says_so() -> None:
    body = b"<?xml version='1.0'?><Error><Code>PublicAccessNotPermitted</Code><Message>Public access is not ..."
    error = responses.status_error(409, {}, body, HREF + "?sig=secret", responses.TRANSIENT)
    assert cause_of(error) is Cause.DENIED
    assert "this storage needs signed addresses" in str(error)
    assert HREF in str(error)
    assert "secret" not in str(error)
    other = responses.status_error(409, {}, b"<Error><Code>LeaseIdMissing</Code>", HREF, responses.TRANSIENT)
    assert cause_of(other) is Cause.ANSWER


def test_secrets_of_a_request_are_not_repeated_from_its_answer() -> None:
    body = b"invalid key sk-12345 (sk-12345)"
    assert responses.concealed(body, ["sk-12345", "other"]) == b"invalid key *** (***)"
    with pytest.raises(WrongKind) as caught:
        responses.decode_json(body, {"Content-Type": "text/plain"}, HREF, secrets=["sk-12345"])
    assert "sk-12345" not in str(caught.value)
    assert "invalid key ***" in str(caught.value)


@pytest.mark.parametrize(
    ("secret", "body", "told"),
    [
        ("sk-12345", b'{"message": "invalid key sk-12345"}', "invalid key ***"),
        ("Bearer sk-12345", b'{"message": "sk-12345 has expired"}', "*** has expired"),
        ('a"b\\c-12345', json.dumps({"message": 'a"b\\c-12345'}).encode(), "***"),
    ],
)
def test_a_secret_that_json_repeats_is_not_told(secret: str, body: bytes, told: str) -> None:
    error = responses.status_error(400, {}, responses.concealed(body, [secret]), HREF, responses.TRANSIENT)
    value = responses.decode_json(body, {"Content-Type": "application/json"}, HREF, secrets=[secret])
    assert value == {"message": told}
    assert told in str(error)
    assert "12345" not in str(error)


def test_documents_of_a_catalogue_are_as_it_sends_them() -> None:
    page = {"type": "FeatureCollection", "features": [{"id": "tenant-1"}], "links": []}
    kind = {"Content-Type": "application/geo+json"}
    assert responses.decode_json(json.dumps(page).encode(), kind, HREF, secrets=["tenant-1"]) == page


def test_a_transient_status_tells_what_the_server_asks_for() -> None:
    error = responses.status_error(503, {"Retry-After": "1200"}, b"", HREF, responses.TRANSIENT)
    assert isinstance(error, TransientError)
    assert (error.status, error.retry_after) == (503, 1200.0)
    assert "asks to wait 1,200 s" in str(error)


def test_a_refused_request_tells_what_the_server_says() -> None:
    error = responses.status_error(400, {}, b'{"detail":\n "bad datetime"}', HREF, responses.TRANSIENT)
    assert '400 \'{"detail": "bad datetime"}\'' in str(error)


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (206, {"Content-Range": "bytes 0-9/100"}, (0, 9, 100)),
        (206, {"Content-Range": "Bytes 10-10/11 ", "Content-Encoding": "identity"}, (10, 10, 11)),
        (206, {}, BadAnswer),
        (206, {"Content-Range": "bytes 0-9/*"}, BadAnswer),
        (206, {"Content-Range": "bytes */100"}, BadAnswer),
        (206, {"Content-Range": "bytes 0-9/100, 20-29/100"}, BadAnswer),
        (206, {"Content-Range": "bytes 0-9/" + "9" * 30}, BadAnswer),
        (206, {"Content-Range": "items 0-9/100"}, BadAnswer),
        (206, {"Content-Range": "bytes 0-9/100", "Content-Encoding": "gzip"}, BadAnswer),
        (200, {"Content-Type": "image/tiff"}, BadAnswer),
        (200, {"Content-Type": "Text/HTML"}, BadAnswer),
    ],
)
def test_content_range(status: int, headers: dict[str, str], expected: Any) -> None:
    if isinstance(expected, tuple):
        assert responses.content_range(status, headers, HREF) == expected
    else:
        with pytest.raises(expected, match=re.escape(HREF)):
            responses.content_range(status, headers, HREF)


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(documents, st.booleans())
def test_json_comes_back_as_it_was(value: Any, packed: bool) -> None:
    raw = json.dumps(value).encode()
    headers = JSON | ({"Content-Encoding": "GZIP"} if packed else {})
    assert responses.decode_json(gzip.compress(raw) if packed else raw, headers, HREF) == value


@given(st.data())
def test_json_that_was_cut_is_transient_wherever_it_was_cut(data: st.DataObject) -> None:
    raw = gzip.compress(json.dumps({"features": list(range(50))}).encode())
    cut = raw[: data.draw(st.integers(0, len(raw) - 1))]
    with pytest.raises(TransientError):
        responses.decode_json(cut, JSON | {"Content-Encoding": "gzip"}, HREF)
    plain = gzip.decompress(raw)
    with pytest.raises(TransientError, match="not JSON at byte"):
        responses.decode_json(plain[: data.draw(st.integers(0, len(plain) - 1))], JSON, HREF)


@given(st.data())
def test_a_flipped_byte_in_gzip_is_an_error_or_harmless(data: st.DataObject) -> None:
    raw = bytearray(gzip.compress(json.dumps({"features": list(range(50))}).encode(), mtime=0))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    try:
        found = responses.decode_json(bytes(raw), JSON | {"Content-Encoding": "gzip"}, HREF)
    except RemoteError:
        return
    assert found == {"features": list(range(50))}


@pytest.mark.parametrize(
    ("raw", "headers", "kind", "text"),
    [
        (
            b"<html>\nSign in",
            {"Content-Type": "text/html; charset=x"},
            WrongKind,
            "got text/html '<html> Sign in'",
        ),
        (b"{}", {}, WrongKind, "got no type '{}'"),
        (b"{}", JSON | {"Content-Encoding": "br"}, BadAnswer, "unknown encoding 'br'"),
        (b"[" * 200_000, JSON, BadAnswer, "nested too deeply"),
        (b"[" * 101 + b"]" * 101, JSON, BadAnswer, "nested too deeply"),
        (b'{"a":' * 500 + b"1" + b"}" * 500, JSON, BadAnswer, "nested too deeply"),
        (b'[7, {"a": [' + b"[" * 98 + b"]" * 98 + b"]}]", JSON, BadAnswer, "nested too deeply"),
        (b"[" * 20_000 + b"]" * 20_000, JSON, BadAnswer, "nested too deeply"),
        (b"\xff\xfe\xfa", JSON, TransientError, "not JSON"),
        (b"", JSON, TransientError, "not JSON at byte 0 of 0"),
    ],
)
def test_what_is_not_json(raw: bytes, headers: dict[str, str], kind: type[RemoteError], text: str) -> None:
    with pytest.raises(kind, match=re.escape(text)) as caught:
        responses.decode_json(raw, headers, HREF)
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * 100 + b"]" * 100,
        b'{"a":' * 100 + b"1" + b"}" * 100,
        b'["' + b"[{" * 5000 + b'", "\\"[[["]',
        b"[[],{}]",
    ],
)
def test_json_as_deep_as_it_may_be_and_brackets_in_texts_are_taken(raw: bytes) -> None:
    assert responses.decode_json(raw, JSON, HREF) == json.loads(raw)


def test_what_unpacks_to_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responses, "MAX_JSON", 10_000)
    raw = gzip.compress(b"[" + b" " * 9_998 + b"]")
    assert responses.decode_json(raw, JSON | {"Content-Encoding": "gzip"}, HREF) == []
    with pytest.raises(BadAnswer, match="more than 10,000 bytes"):
        responses.decode_json(
            gzip.compress(b"[" + b" " * 20_000 + b"]"), JSON | {"Content-Encoding": "gzip"}, HREF
        )
