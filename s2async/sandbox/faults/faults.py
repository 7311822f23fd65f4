"""Deliberate faults by name, and which requests they affect.

A new fault is a function that turns a request and its response into a faulty response, and its line in the
``FAULTS`` of one of the modules `http`, `api` and `files`.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from s2async.sandbox.faults import api, files, http
from s2async.sandbox.server.answers import Answer, Asked, Fault

FAULTS: Final[Mapping[str, Callable[..., Fault]]] = {
    **http.FAULTS,
    **api.FAULTS,
    **files.FAULTS,
}
"""Functions that make faults, keyed by name; their parameters are the settings of the fault."""

SHAPES: Final = frozenset({"pages", "always"})
"""Modes of the server rather than faults: they can be combined with a fault in the same response."""


def _sought(asked: Asked) -> dict[str, Any] | None:
    """Return the parameters of a search request; None for all other requests."""
    if not asked.path.rstrip("/").endswith(("/search", "/items")):
        return None
    if asked.method != "POST":
        return dict(asked.parameters)
    try:
        found = json.loads(asked.body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


POSITIONS: Final[Mapping[str, Callable[[Asked], bool]]] = {
    "": lambda _: True,
    "page": lambda asked: _sought(asked) is not None,
    "first": lambda asked: "next" not in (_sought(asked) or {"next": ""}),
    "later": lambda asked: "next" in (_sought(asked) or {}),
    "header": lambda asked: asked.headers.get("Range", "").startswith("bytes=0-"),
    "tile": lambda asked: not asked.headers.get("Range", "bytes=0-").startswith("bytes=0-"),
}
"""The position of a request: any page of a search, its first page, a later page; the start of a file, the rest."""


def _subject(asked: Asked) -> str:
    """Return what a request is about: a file, or a search with all its pages."""
    sought = _sought(asked)
    return asked.path if sought is None else f"{asked.path} {sought.get('datetime')}"


def _part(asked: Asked) -> str:
    """Return which part a request asks for: a range of a file, or a page of a search."""
    sought = _sought(asked) or {}
    return f"{_subject(asked)} {asked.headers.get('Range')} {sought.get('next')}"


@dataclass(kw_only=True, slots=True)
class _Rule:
    kind: str
    fault: Fault
    path: re.Pattern[str]
    position: str
    count: int | None
    each: bool
    by_range: bool
    skip: int
    seconds: float | None
    onwards: bool
    came: Counter[str] = field(default_factory=Counter)
    """Number of matching requests, by file, search or part with a separate count."""
    met: Counter[str] = field(default_factory=Counter)
    until: float | None = None
    """When the fault ends, if its time is limited; set when it first affects a request."""

    def meets(self, asked: Asked) -> bool:
        """Return whether the fault affects this request; if so, it is counted."""
        if not self.path.search(asked.path):
            return False
        whose = (_part if self.by_range else _subject)(asked) if self.each else ""
        if not (self.onwards and self.met[whose]) and not (
            POSITIONS[self.position](asked) and self._is_due(whose)
        ):
            return False
        self.met[whose] += 1
        return True

    def _is_due(self, whose: str) -> bool:
        self.came[whose] += 1
        if self.came[whose] <= self.skip or (self.count is not None and self.met[whose] >= self.count):
            return False
        if self.seconds is None:
            return True
        now = time.monotonic()
        if self.until is None:
            self.until = now + self.seconds
        return now < self.until


class FaultTable:
    """The faults that are set, in order.

    A request is affected by the first one that matches, and by all `SHAPES`.
    """

    def __init__(self) -> None:
        self._rules: list[_Rule] = []

    def add(
        self,
        kind: str,
        *,
        path: str = "",
        position: str = "",
        count: int | None = 1,
        each: bool = False,
        by_range: bool = False,
        skip: int = 0,
        seconds: float | None = None,
        onwards: bool = False,
        **settings: Any,
    ) -> None:
        """Set a fault.

        Args:
            kind: a name in ``FAULTS``.
            path: regular expression to search for in the path of a request.
            position: a name in ``POSITIONS``.
            count: number of requests that are affected; None for all.
            each: count separately for each file, and for each search (identified by its dates).
            by_range: count separately for each range of a file, and for each page of a search; only with ``each``.
            skip: number of matching requests before the first one that is affected.
            seconds: duration of the fault after the first request that is affected.
            onwards: after a request has been affected, affect all later ones for the same file or search, at any
                position.
            **settings: settings of the fault.

        Raises:
            ValueError: an unknown fault, position or setting, or an invalid pattern.
        """
        if kind not in FAULTS:
            raise ValueError(f"unknown fault {kind!r}; there are {', '.join(FAULTS)}")
        if position not in POSITIONS:
            raise ValueError(f"unknown position {position!r}; there are {', '.join(POSITIONS)}")
        try:
            rule = _Rule(
                kind=kind,
                fault=FAULTS[kind](**settings),
                path=re.compile(path),
                position=position,
                count=count,
                each=each,
                by_range=by_range,
                skip=skip,
                seconds=seconds,
                onwards=onwards,
            )
        except (TypeError, ValueError, re.error) as error:
            raise ValueError(f"fault {kind}: {error}") from error
        self._rules.append(rule)

    def clear(self) -> None:
        """Remove all faults."""
        self._rules.clear()

    def listing(self) -> list[dict[str, Any]]:
        """Return the faults that are set, with the number of requests affected so far and still to be affected."""
        return [
            {
                "kind": rule.kind,
                "path": rule.path.pattern,
                "position": rule.position,
                "left": rule.count if rule.count is None or rule.each else rule.count - rule.met.total(),
                "met": rule.met.total(),
            }
            for rule in self._rules
        ]

    def spoil(self, asked: Asked, answer: Answer) -> Answer:
        """Return the response that is sent."""
        spoilt = False
        for rule in self._rules:
            if (rule.kind in SHAPES or not spoilt) and rule.meets(asked):
                answer = rule.fault(asked, answer)
                spoilt = spoilt or rule.kind not in SHAPES
        return answer
