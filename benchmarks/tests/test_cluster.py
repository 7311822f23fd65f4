"""The cluster benchmarks: the results with workers are compared with those without."""

from __future__ import annotations

import json

import pytest

from benchmarks import __main__ as command
from benchmarks import cluster

pytest.importorskip("distributed")
pytestmark = pytest.mark.long


def test_two_workers_leave_what_a_run_here_leaves(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "WORKERS", (2,))
    assert command.main(["dask", "--items", "2", "--rounds", "1", "--delay", "0", "--bandwidth", "1000"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    here, there = (line for line in lines if "round" in line)
    assert (here["workers"], there["workers"]) == (0, 2)
    for key in ("jobs", "outcome"):
        assert here[key] == there[key]
    # How much of a block is requested first is learned by each process from the blocks before; where it is too
    # little, which is so for one in a hundred (`cog.prefix.SHORT`), there is a second request.
    assert there["requests"] == pytest.approx(here["requests"], rel=0.1)
    assert there["jobs"] == 18
    assert min(there["sent_per_job"], there["received_per_job"], there["worker_cpu_seconds"]) > 0
    assert there["batches"] == 2
