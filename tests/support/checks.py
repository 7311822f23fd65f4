"""The check of a configuration in this process, and what it found."""

from __future__ import annotations

import asyncio
from pathlib import Path

from s2async.check import checkup
from s2async.check.findings import Checked, Verdict
from s2async.config.model import Config


def checked(path: Path) -> Checked:
    return asyncio.run(checkup.check(Config.load(path)))


def alarms(found: Checked) -> dict[str, str]:
    """What is odd or wrong, by topic; a topic that has both, or several, is joined."""
    told: dict[str, str] = {}
    for one in found.findings:
        if one.verdict in (Verdict.ODD, Verdict.WRONG):
            told[one.topic] = " | ".join(filter(None, (told.get(one.topic), f"{one.verdict}: {one.line}")))
    return told


def untried(found: Checked) -> set[str]:
    return {one.topic for one in found.findings if one.verdict is Verdict.NOT_TRIED}


def right(found: Checked) -> dict[str, str]:
    return {one.topic: one.text for one in found.findings if one.verdict is Verdict.RIGHT}


def only(found: Checked, topic: str) -> str:
    """The single alarm, which must be on this topic."""
    told = alarms(found)
    assert list(told) == [topic], told
    return told[topic]
