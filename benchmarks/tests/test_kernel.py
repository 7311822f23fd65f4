"""The kernel and other tools: compared results are equal, and missing tools are reported."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.util import find_spec

import pytest

from benchmarks import __main__ as command
from benchmarks import kernel


def test_the_kernel_gives_what_numpy_gives_field_by_field(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "GRID", replace(kernel.GRID, width=400, height=300))
    assert command.main(["kernel", "--areas", "60", "--sample", "20", "--rounds", "1"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    by_way = {line["way"]: line for line in lines if "round" in line}
    assert by_way["numpy, field by field, masks in hand"]["compared"] == 20
    for name in ("exactextract", "rasterstats"):
        skipped = [line for line in lines if line.get("way") == name]
        assert len(skipped) == (find_spec(name) is None)
    assert {line["way"] for line in lines if "median" in line} == set(by_way)


def test_a_difference_is_a_fault(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "GRID", replace(kernel.GRID, width=400, height=300))
    monkeypatch.setattr(kernel, "STATISTICS", ("mean", "stdev", "min", "median", "max"))
    assert command.main(["kernel", "--areas", "20", "--sample", "20", "--rounds", "1"]) == 1
    assert "numbers differ" in capsys.readouterr().out
