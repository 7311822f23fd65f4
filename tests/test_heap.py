from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from s2async import heap

HOLES = """
from pathlib import Path
from s2async import heap

def megabytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

blocks = [bytearray(60_000) for _ in range(2_000)]  # too small for pages of their own
full = megabytes()
kept = blocks[::20]
del blocks
freed = megabytes()
assert heap.give_back()
print(full - freed, freed - megabytes(), len(kept))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives free pages back on demand")
def test_free_memory_between_blocks_in_use_goes_back_to_the_machine() -> None:
    """In a process of its own: what others left in the heap would count too."""
    done = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, check=True)
    by_itself, on_demand, _ = map(float, done.stdout.split())
    assert by_itself < 20  # the blocks that are kept hold the rest
    assert on_demand > 80


def test_where_nothing_is_free_or_no_such_call_nothing_is_said_to_be_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(heap, "_TRIM", None)
    assert not heap.give_back()
