from __future__ import annotations

import ctypes
import gc
from pathlib import Path

import pytest

from headgated.effects.memory import give_back

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
