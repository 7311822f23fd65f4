"""Findings: what was checked, the verdict, and what to do; exit code and JSON of all findings. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from s2async.errors import S2AsyncError

_OTHER_HOMES: Final = re.compile(r"((?:/home|/Users|[A-Za-z]:[/\\]Users)[/\\])[^/\\\s\"';,:]+")
"""A user name in a path: Linux, macOS, Windows."""
_LEAST_NAME: Final = 3
"""Minimum number of characters of a user name that is masked: shorter ones occur in any text."""


class Verdict(StrEnum):
    """The result of one check."""

    RIGHT = "right"
    ODD = "odd"
    """A run can start, but with a limitation that the user should know about."""
    WRONG = "wrong"
    """A run would end with an error."""
    NOT_TRIED = "not tried"
    """An earlier finding made the check impossible."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One line of the result."""

    topic: str
    """What was checked."""
    verdict: Verdict
    text: str
    """What was found: one line, or a heading and a line for each area that cannot be used."""
    advice: str = ""
    """What to do; empty if the text says it, or nothing needs to be done."""
    code: int = 0
    """Exit code of a run that meets this; 0 unless the verdict is ``wrong``."""

    @property
    def line(self) -> str:
        """What was found, and what to do."""
        return f"{self.text}; {self.advice}" if self.advice else self.text


def right(topic: str, text: str) -> Finding:
    """Return a finding that everything is as expected."""
    return Finding(topic=topic, verdict=Verdict.RIGHT, text=text)


def odd(topic: str, text: str, advice: str = "") -> Finding:
    """Return a finding that a run can start, but with a limitation."""
    return Finding(topic=topic, verdict=Verdict.ODD, text=text, advice=advice)


def wrong(topic: str, text: str, code: int, advice: str = "") -> Finding:
    """Return a finding that a run would end with exit code ``code``."""
    return Finding(topic=topic, verdict=Verdict.WRONG, text=text, advice=advice, code=code)


def not_tried(topic: str, why: str) -> Finding:
    """Return a finding that something cannot be checked until another fault is corrected."""
    return Finding(topic=topic, verdict=Verdict.NOT_TRIED, text=why)


def judged(topic: str, check: Callable[[], Finding]) -> Finding:
    """Return the finding of a check, or one for the error that it raises."""
    try:
        return check()
    except S2AsyncError as error:
        return wrong(topic, str(error), error.exit_code)


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """All findings, in the order in which a run would meet them."""

    findings: tuple[Finding, ...]
    requests: int = 0
    """Number of requests sent; likewise `bytes`."""
    bytes: int = 0

    @property
    def exit_code(self) -> int:
        """Exit code of a run, by the first finding that would stop it; 0 if none would."""
        return next((found.code for found in self.findings if found.verdict is Verdict.WRONG), 0)

    @property
    def verdict(self) -> str:
        """The result in one sentence."""
        wrong = _counted(self.findings, Verdict.WRONG)
        odd = _counted(self.findings, Verdict.ODD)
        if wrong:
            things = "1 thing is" if wrong == 1 else f"{wrong} things are"
            also = f" and {odd} odd" if odd else ""
            return f"{things} wrong{also}: a run would end with exit code {self.exit_code}"
        if odd:
            return f"a run can start; {'1 thing is' if odd == 1 else f'{odd} things are'} odd"
        return "everything is right: a run can start"

    def as_json(self, hide: Callable[[str], str]) -> dict[str, Any]:
        """Return the findings as JSON values.

        Args:
            hide: masks what a bug report must not contain; applied to all strings.
        """
        return {
            "exit_code": self.exit_code,
            "verdict": self.verdict,
            "requests": self.requests,
            "bytes": self.bytes,
            "findings": [
                {
                    "check": found.topic,
                    "verdict": found.verdict.value,
                    "found": hide(found.text),
                    "advice": hide(found.advice),
                    "code": found.code,
                }
                for found in self.findings
            ],
        }


def _counted(findings: Iterable[Finding], verdict: Verdict) -> int:
    return sum(found.verdict is verdict for found in findings)


def without_people(text: str, *, homes: Sequence[str], user: str) -> str:
    """Return a string without home folders and user names.

    Args:
        text: text of a finding.
        homes: paths of the home folder; each is replaced by ``~``.
        user: name of the user who runs the program.
    """
    for home in sorted(homes, key=len, reverse=True):
        if len(home) > 1:  # not the root folder, which is the home of some services
            text = re.sub(re.escape(home) + r"(?![\w.-])", "~", text)
    text = _OTHER_HOMES.sub(r"\1***", text)
    if len(user) < _LEAST_NAME:
        return text
    return re.sub(rf"(?<=[/\\]){re.escape(user)}(?![\w.-])", "***", text)
