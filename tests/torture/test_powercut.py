"""Cut off by a power cut after any system call, nothing is torn and nothing is lost (T10, T12, promise 1)."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.torture.powercut import WRONG
from tests.torture.scale import times

pytestmark = [
    pytest.mark.torture,
    pytest.mark.slow,
    pytest.mark.timeout(100_000),
    pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed"),
]

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("strategy", "shuffles"), [("in-place", 1), ("in-place", 8), ("atomic", 1)])
def test_power_cut_after_any_call_leaves_all_or_nothing(strategy: str, shuffles: int) -> None:
    """A share of the calls of a deployment, a rollback and a recovery; each of those of several where more is asked for.

    After several shuffles there are so many changes that whole file systems are synced instead of files.
    """
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.torture.powercut", "--strategy", strategy),
            *("--seed", str(time.time_ns()), "--every", str(times(8, 1)), "--random", str(times(2, 4))),
            *("--recoveries", str(times(1, 20)), "--shuffles", str(shuffles)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if "PermissionError" in done.stderr or "LostTrackError" in done.stderr:
        pytest.skip(f"strace cannot trace here: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stderr[-3000:]
    figures = json.loads(done.stdout)
    print(figures)  # noqa: T201 - the figures are what a long run is made for
    assert figures["prefixes"] > 20  # as few as the smallest trees need calls
    assert figures["before"]
    assert figures["after"]
    assert figures["recoveries cut"]
    assert not {name: figures[name] for name in WRONG if figures[name]}, done.stderr[:3000]
