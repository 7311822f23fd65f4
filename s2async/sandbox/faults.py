"""What can go wrong on purpose: faults by name, and which requests they meet.

A new fault is one function from a request and its answer to a spoilt answer, and its line in the ``FAULTS`` of one
of the modules ``faults_http``, ``faults_api`` and ``faults_files``.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from s2async.sandbox import faults_api, faults_files, faults_http
from s2async.sandbox.answers import Answer, Asked, Fault

FAULTS: Final[Mapping[str, Callable[..., Fault]]] = {
    **faults_http.FAULTS,
    **faults_api.FAULTS,
    **faults_files.FAULTS,
}
"""Makers of faults by name; their parameters are the settings of the fault."""

SHAPES: Final = frozenset({"pages"})
"""What is a way of the server rather than a fault: an answer that has it can have a fault, too."""


def _sought(asked: Asked) -> dict[str, Any] | None:
    """What a request to the search asks for; None for all other requests."""
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
"""Where a request stands: any page of a search, its first, a later one; the start of a file, the rest of it."""


def _subject(asked: Asked) -> str:
    """What a request is about: a file, or a search with all its pages."""
    sought = _sought(asked)
    return asked.path if sought is None else f"{asked.path} {sought.get('datetime')}"


@dataclass(kw_only=True, slots=True)
class _Rule:
    kind: str
    fault: Fault
    path: re.Pattern[str]
    position: str
    left: int | None
    each: bool
    met: int = 0
    subjects: Counter[str] = field(default_factory=Counter)

    def meets(self, asked: Asked) -> bool:
        """Whether the fault befalls this request; if so, it is counted."""
        if not self.path.search(asked.path) or not POSITIONS[self.position](asked):
            return False
        if self.left is not None and self.each:
            subject = _subject(asked)
            if self.subjects[subject] >= self.left:
                return False
            self.subjects[subject] += 1
        elif self.left is not None:
            if not self.left:
                return False
            self.left -= 1
        self.met += 1
        return True


class FaultTable:
    """The faults that are set, in order; a request meets the first that fits it, and all `SHAPES` before that."""

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
        **settings: Any,
    ) -> None:
        """Set a fault.

        Args:
            kind: A name in ``FAULTS``.
            path: Regular expression that is searched in the path of a request.
            position: A name in ``POSITIONS``.
            count: How many requests it meets; None for all.
            each: So many of each file, and of each search (told by its dates).
            **settings: Those of the fault.

        Raises:
            ValueError: An unknown fault, position or setting, or a bad pattern.
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
                left=count,
                each=each,
            )
        except (TypeError, ValueError, re.error) as error:
            raise ValueError(f"fault {kind}: {error}") from error
        self._rules.append(rule)

    def clear(self) -> None:
        """Remove all faults."""
        self._rules.clear()

    def listing(self) -> list[dict[str, Any]]:
        """The faults that are set, with how many requests they met, and how many more they will meet."""
        return [
            {
                "kind": rule.kind,
                "path": rule.path.pattern,
                "position": rule.position,
                "left": rule.left,
                "met": rule.met,
            }
            for rule in self._rules
        ]

    def spoil(self, asked: Asked, answer: Answer) -> Answer:
        """The answer as it goes out."""
        for rule in self._rules:
            if rule.meets(asked):
                answer = rule.fault(asked, answer)
                if rule.kind not in SHAPES:
                    break
        return answer
