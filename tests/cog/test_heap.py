from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from s2async.cog import heap

HOLES = """
from pathlib import Path
from s2async.cog import heap

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

LAZY = """
from pathlib import Path
from s2async.cog import heap

def megabytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

before = megabytes()
pieces = [heap.zeros(1_000_000) for _ in range(100)]
empty = megabytes()
for piece in pieces:
    piece[:500_000] = bytes([1]) * 500_000
half = megabytes()
kept = pieces[::10]
del pieces, piece
print(empty - before, half - before, megabytes() - before, len(kept))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells its memory in /proc")
def test_large_pieces_take_memory_where_they_are_written_to_and_only_while_somebody_has_them() -> None:
    done = subprocess.run([sys.executable, "-c", LAZY], capture_output=True, text=True, check=True)
    empty, half, after, _ = map(float, done.stdout.split())
    assert empty < 5
    assert 50 <= half < 60
    assert after < 10  # of ten that are kept, 5


@pytest.mark.parametrize("size", [0, 1, heap.LARGE - 1, heap.LARGE, heap.LARGE + 1])
def test_memory_to_be_filled_is_all_zeros(size: int) -> None:
    found = memoryview(heap.zeros(size))
    assert found == bytes(size)
    assert not found.readonly


def test_more_memory_than_there_is_is_an_error_that_says_so() -> None:
    with pytest.raises(MemoryError, match=r"^no room for 4,611,686,018,427,387,904 bytes$"):
        heap.zeros(1 << 62)


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
