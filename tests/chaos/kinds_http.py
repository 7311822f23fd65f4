"""Kinds of faults that any answer can have, of the API or of a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tests.chaos.kind import FILES, PAGES, Kind


def kinds() -> Iterator[Kind]:
    """Statuses, connections, and answers to another question."""
    yield from _statuses()
    yield from _connections()
    yield from _odd_answers()
    yield from _redirects()


def _statuses() -> Iterator[Kind]:
    for status in (408, 425, 429, 500, 502, 503, 504):
        yield Kind(name=f"{status} twice", fault="code", settings={"status": status}, count=2)
    yield Kind(name="503 for ever", fault="code", count=None, recovers=False, by_itself=True)
    for text, retry_after in (("0", "0"), ("-5", "-5"), ("garbage", "soon"), ("1 s", "1")):
        settings = {"status": 429, "retry_after": retry_after}
        yield Kind(name=f"429, Retry-After {text}", fault="code", settings=settings,
                   lasts=5 if text == "1 s" else 0)  # fmt: skip
    yield Kind(name="503, Retry-After as a date", fault="code", settings={"date": 1}, lasts=5)
    yield Kind(name="503, Retry-After 1e9", fault="code", settings={"retry_after": 1e9}, recovers=False)
    for status in (404, 410):
        yield Kind(name=f"{status}", fault="code", settings={"status": status}, recovers=False, missing=True,
                   by_itself=True)  # fmt: skip
    yield Kind(name="451", fault="code", settings={"status": 451}, recovers=False)
    yield Kind(name="412", fault="code", settings={"status": 412}, positions=FILES)


def _connections() -> Iterator[Kind]:
    yield Kind(name="cut in the middle", fault="cut")
    yield Kind(name="cut before the body", fault="cut", settings={"after": 0})
    yield Kind(name="cut for ever", fault="cut", count=None, recovers=False, by_itself=True)
    yield Kind(name="RST in the middle", fault="reset")
    yield Kind(name="RST without an answer", fault="close", settings={"rudely": True})
    yield Kind(name="closed without an answer", fault="close")
    yield Kind(name="stall before headers", fault="stall", waits=True)
    yield Kind(name="stall after headers", fault="stall", settings={"after": 0}, waits=True)
    yield Kind(name="stall in the middle", fault="stall", settings={"after": 100}, waits=True)
    yield Kind(name="drip", fault="drip", waits=True)


def _odd_answers() -> Iterator[Kind]:
    """What is no answer to the question, but might be one to the next: no file is lost for it."""
    answers: dict[str, tuple[str, Mapping[str, Any]]] = {
        **{f"{status}": ("code", {"status": status}) for status in (204, 304, 400, 401, 403, 416)},
        "HTML with 200": ("html", {}),
        "HTML in the guise of an answer": ("html", {"disguised": True}),
        "HTML with 403": ("html", {"status": 403}),
        "gzip that nobody asked for": ("packed", {}),
        "gzip bomb": ("bomb", {}),
        "unknown encoding": ("header", {"name": "Content-Encoding", "value": "br"}),
    }
    for name, (fault, settings) in answers.items():
        yield Kind(name=f"{name}, once", fault=fault, settings=settings, positions=FILES)
        yield Kind(name=f"{name}, for ever", fault=fault, settings=settings, positions=FILES, count=None,
                   recovers=False, missing="403" in name, by_itself=True)  # fmt: skip
        if fault != "packed":  # what is compressed is sound where it was allowed to be
            yield Kind(name=f"{name}, as a page", fault=fault, settings=settings, positions=PAGES, recovers=False)


def _redirects() -> Iterator[Kind]:
    for status in (301, 307):
        yield Kind(name=f"{status} to itself, once", fault="redirect", settings={"status": status})
    for name, to in (
        ("a file:", "file:///etc/passwd"),
        ("the forbidden origin", "FORBIDDEN/v1/search"),
        ("a private address", "http://169.254.169.254/latest/meta-data/"),
        ("nowhere", ""),
        ("garbage", "http://[::1"),
    ):
        yield Kind(name=f"redirect to {name}", fault="redirect", settings={"to": to}, recovers=False)
    yield Kind(name="redirect loop", fault="redirect", count=None, recovers=False)
