from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
from pathlib import Path

import pytest

from headgated.effects.memory import give_back, use_one_heap

MEBIBYTE = 1024 * 1024


def resident() -> int:
    """Return the bytes of memory that this process holds beside what it maps from files."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("RssAnon:"))


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "malloc_trim"),
    reason="this C library keeps nothing, or gives nothing back",
)
def test_memory_that_was_freed_between_what_stays_is_given_back() -> None:
    contents = [bytes(4096) for _ in range(10_000)]
    for content in contents:  # Untouched memory is not resident.
        assert not content[-1]
    stays = contents[::100]
    del contents, content
    gc.collect()
    before = resident()
    give_back()
    assert before - resident() > 20 * MEBIBYTE
    assert len(stays) == 100


def test_a_c_library_without_such_a_call_is_none_the_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: object())
    give_back()
    use_one_heap()


_IN_THE_HEAP = """
import ctypes, threading
from headgated.effects.memory import use_one_heap

use_one_heap()
allocate = ctypes.CDLL(None).malloc
allocate.restype = ctypes.c_size_t
found = []
threads = [threading.Thread(target=lambda: found.append(allocate(1000))) for _ in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
heap = next(line for line in open("/proc/self/maps") if line.rstrip().endswith("[heap]"))
first, end = (int(bound, 16) for bound in heap.split()[0].split("-"))
print(sum(first <= address < end for address in found))
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="this C library has no such choice")
def test_all_threads_share_one_heap() -> None:
    ran = subprocess.run([sys.executable, "-c", _IN_THE_HEAP], capture_output=True, check=True, text=True)
    assert ran.stdout == "3\n"
