"""What can go wrong on purpose: faults by name, and which requests they meet.

A new fault is one function from an answer to a spoilt answer, and its line in ``FAULTS``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Protocol

from s2async.sandbox.answers import Answer, Asked, api_error, s3_error


class Fault(Protocol):
    """One way to spoil an answer."""

    def __call__(self, asked: Asked, answer: Answer, /) -> Answer:
        """The answer that goes out instead."""


def code(status: int = 503, retry_after: float | None = None) -> Fault:
    """Another status, in the words of whoever is asked; ``retry_after`` seconds go into Retry-After."""
    phrase = HTTPStatus(status).phrase
    headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}

    def spoil(asked: Asked, _answer: Answer) -> Answer:
        if asked.path.startswith("/cogs/"):
            slow = status == HTTPStatus.SERVICE_UNAVAILABLE
            name, message = (
                ("SlowDown", "Please reduce your request rate.") if slow else (phrase.replace(" ", ""), phrase)
            )
            error = s3_error(status, name, message)
        else:
            error = api_error(status, phrase)
        return replace(error, headers={**error.headers, **headers})

    return spoil


def cut(after: int | None = None) -> Fault:
    """The connection is closed after so many bytes of the body, by default after half of it."""

    def spoil(_asked: Asked, answer: Answer) -> Answer:
        size = len(answer.body)
        return replace(answer, cut=size // 2 if after is None else min(after, size))

    return spoil


def stall() -> Fault:
    """No answer ever comes; the connection stays open."""
    return lambda _asked, answer: replace(answer, stalled=True)


FAULTS: Mapping[str, Callable[..., Fault]] = {"code": code, "cut": cut, "stall": stall}
"""Makers of faults by name; their parameters are the settings of the fault."""


@dataclass(kw_only=True, slots=True)
class _Rule:
    kind: str
    fault: Fault
    path: re.Pattern[str]
    left: int | None


class FaultTable:
    """The faults that are set, in order; a request meets the first that fits it."""

    def __init__(self) -> None:
        self._rules: list[_Rule] = []

    def add(self, kind: str, *, path: str = "", count: int | None = 1, **settings: Any) -> None:
        """Set a fault.

        Args:
            kind: A name in ``FAULTS``.
            path: Regular expression that is searched in the path of a request.
            count: How many requests it meets; None for all.
            **settings: Those of the fault.

        Raises:
            ValueError: An unknown fault or setting, or a bad pattern.
        """
        if kind not in FAULTS:
            raise ValueError(f"unknown fault {kind!r}; there are {', '.join(FAULTS)}")
        try:
            rule = _Rule(kind=kind, fault=FAULTS[kind](**settings), path=re.compile(path), left=count)
        except (TypeError, ValueError, re.error) as error:
            raise ValueError(f"fault {kind}: {error}") from error
        self._rules.append(rule)

    def clear(self) -> None:
        """Remove all faults."""
        self._rules.clear()

    def listing(self) -> list[dict[str, Any]]:
        """The faults that are set, with the number of requests that they will still meet."""
        return [{"kind": rule.kind, "path": rule.path.pattern, "left": rule.left} for rule in self._rules]

    def spoil(self, asked: Asked, answer: Answer) -> Answer:
        """The answer as it goes out."""
        for rule in self._rules:
            if rule.left != 0 and rule.path.search(asked.path):
                if rule.left is not None:
                    rule.left -= 1
                return rule.fault(asked, answer)
        return answer
