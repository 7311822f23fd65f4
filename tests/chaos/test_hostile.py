"""Addresses that must lead nowhere, wherever a server puts them; and proof that it would be noticed."""

from __future__ import annotations

import sys

import pytest

from s2async.net import allowlist
from tests.chaos import hostile

pytestmark = [
    pytest.mark.usefixtures("no_proxies"),
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="openings of files are counted by inotify"),
]


def test_hostile_addresses_lead_nowhere_and_are_refused_in_one_clear_line() -> None:
    tried, traces = hostile.run()
    assert set(tried) == {
        "asked directly",
        "redirect of a search",
        "link to the next page",
        "asset of an item",
        "redirect of an asset",
    }
    for position, answers in tried.items():
        assert len(answers) == len({answer.target for answer in answers}) >= hostile.LEAST
        assert not [(answer.target, answer.fault, answer.text) for answer in answers if answer.fault]
        # A link to a page is asked for at the server's own origin, where nothing has its path.
        most = len(answers) * (0.75 if position == "link to the next page" else 0.2)
        assert sum(answer.asked for answer in answers) < most, "the rest was not even asked for"
    assert traces == {
        "connections to the forbidden server": 0,
        "openings of the private raster": 0,
        "files outside the output folder": 0,
    }


def test_a_hole_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allowlist, "may_stand_for", lambda *_, **__: True)
    _, traces = hostile.run(36)
    assert traces["connections to the forbidden server"] > 0
    monkeypatch.undo()
    monkeypatch.setattr(hostile, "SECRET", "user")
    assert hostile.Answer(target="x", text="shows the user").fault == "shows a secret"
    assert hostile.Answer(target="x", text="").fault == "was followed"
    assert "one clear line" in hostile.Answer(target="x", text="two\nlines").fault
