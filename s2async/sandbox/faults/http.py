"""Faults that any response can have, of the API or of a file: statuses, connections, redirects, headers."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

from s2async.sandbox.server.answers import Answer, Asked, Fault, api_error, content, s3_error

_LOGIN: Final = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Please sign in.</body></html>\n"


def code(status: int = 503, retry_after: float | str | None = None, date: float | None = None) -> Fault:
    """Return a fault that responds with another status, with the error body of the API or of S3.

    Args:
        status: status of the response.
        retry_after: seconds for Retry-After, or its text.
        date: number of seconds from now, sent as an HTTP date in Retry-After.
    """
    phrase = HTTPStatus(status).phrase
    bare = status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)
    if isinstance(retry_after, float | int):
        retry_after = f"{retry_after:.0f}" if retry_after == int(retry_after) else f"{retry_after:g}"

    def spoil(asked: Asked, _answer: Answer) -> Answer:
        if bare:
            error = Answer(status=status)
        elif asked.path.startswith("/cogs/"):
            slow = status == HTTPStatus.SERVICE_UNAVAILABLE
            name, message = (
                ("SlowDown", "Please reduce your request rate.") if slow else (phrase.replace(" ", ""), phrase)
            )
            error = s3_error(status, name, message)
        else:
            error = api_error(status, phrase)
        wait = retry_after if date is None else formatdate(time.time() + date, usegmt=True)
        return replace(error, headers=error.headers if wait is None else {**error.headers, "Retry-After": wait})

    return spoil


def limited(rate: float = 100, burst: float = 10, status: int = 503) -> Fault:
    """Return a fault that limits the rate of requests; requests beyond it are answered with this status.

    At most ``rate`` requests per second are answered normally, and at most ``burst`` of them at once.
    """
    refuse = code(status)
    free, since = burst, time.monotonic()

    def spoil(asked: Asked, answer: Answer) -> Answer:
        nonlocal free, since
        now = time.monotonic()
        free, since = min(burst, free + (now - since) * rate), now
        if free < 1:
            return refuse(asked, answer)
        free -= 1
        return answer

    return spoil


def cut(after: int | None = None) -> Fault:
    """Return a fault that closes the connection after this many bytes of the body, by default half of them."""
    return lambda _asked, answer: replace(answer, cut=_early(answer, after))


def reset(after: int | None = None) -> Fault:
    """Return a fault that resets the connection after this many bytes of the body, by default half of them."""
    return lambda _asked, answer: replace(answer, cut=_early(answer, after), reset=True)


def close(rudely: bool = False) -> Fault:
    """Return a fault that closes or resets the connection without a response."""
    return lambda _asked, answer: replace(answer, closed=True, reset=rudely)


def stall(after: int | None = None) -> Fault:
    """Return a fault that sends no response, or nothing after some bytes of its body.

    The connection stays open.
    """
    if after is None:
        return lambda _asked, answer: replace(answer, stalled=True)
    return lambda _asked, answer: replace(answer, hang=_early(answer, after))


def drip(rate: float = 10) -> Fault:
    """Return a fault that sends the body at this many bytes per second."""
    return lambda _asked, answer: replace(answer, drip=rate)


def html(status: int = 200, disguised: bool = False) -> Fault:
    """Return a fault that responds with a web page, such as a login page of a hotel's network.

    Args:
        status: status of the response.
        disguised: use the status, headers and length of the correct response.
    """
    headers = {"Content-Type": "text/html; charset=utf-8"}

    def spoil(_asked: Asked, answer: Answer) -> Answer:
        if disguised:
            return replace(answer, body=_LOGIN.ljust(len(answer.body))[: len(answer.body)])
        return Answer(status=status, headers=headers, body=_LOGIN)

    return spoil


def redirect(to: str | None = None, status: int = 302) -> Fault:
    """Return a fault that redirects to ``to``, or to the same URL; an empty text omits the Location."""

    def spoil(asked: Asked, _answer: Answer) -> Answer:
        target = asked.path if to is None else to
        return Answer(status=status, headers={"Location": target} if target else {}, body=b"over there")

    return spoil


def header(name: str, value: str | None = None) -> Fault:
    """Return a fault that replaces or removes one header of the response."""

    def spoil(_asked: Asked, answer: Answer) -> Answer:
        others = {key: text for key, text in answer.headers.items() if key.lower() != name.lower()}
        return replace(answer, headers=others if value is None else {**others, name: value})

    return spoil


def packed() -> Fault:
    """Return a fault that compresses the body although the client does not accept compression."""

    def spoil(_asked: Asked, answer: Answer) -> Answer:
        headers = {**answer.headers, "Content-Encoding": "gzip"}
        return replace(answer, headers=headers, body=gzip.compress(content(answer.body), 1))

    return spoil


def bomb(size: int = 300_000_000) -> Fault:
    """Return a fault with a small body that decompresses to this many bytes."""
    packed = gzip.compress(b" " * size, 9)

    def spoil(_asked: Asked, answer: Answer) -> Answer:
        return replace(answer, headers={**answer.headers, "Content-Encoding": "gzip"}, body=packed)

    return spoil


def _early(answer: Answer, after: int | None) -> int:
    size = len(answer.body)
    return size // 2 if after is None else min(after, size)


FAULTS: Final[Mapping[str, Callable[..., Fault]]] = {
    "code": code,
    "limited": limited,
    "cut": cut,
    "reset": reset,
    "close": close,
    "stall": stall,
    "drip": drip,
    "html": html,
    "redirect": redirect,
    "header": header,
    "always": header,
    "packed": packed,
    "bomb": bomb,
}
"""Functions that make faults, keyed by name; their parameters are the settings of the fault.

``always`` is ``header`` as a mode of the server, which can be combined with a fault in the same response."""
