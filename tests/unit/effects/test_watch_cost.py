"""Cost: nothing while nothing happens, next to nothing for one change, whatever the number of directories."""

from __future__ import annotations

import os
import statistics
import threading
import time
from pathlib import Path

from tests.unit.effects.watching import Told, watching

from headgated.effects.watch import Watcher


def _make(root: Path, directories: int) -> None:
    for number in range(directories):
        os.makedirs(root / f"a{number % 50}" / f"b{number}")


def _threads() -> set[Path]:
    return set(Path("/proc/self/task").iterdir())


def _wakeups(threads: set[Path]) -> int:
    lines = [line for task in threads for line in (task / "status").read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))


def test_idle_watch_costs_nothing(tmp_path: Path) -> None:
    _make(tmp_path / "root", 1_000)
    told, others = Told(), _threads()
    watcher = Watcher(told.change)
    watcher.add(str(tmp_path / "root"))
    time.sleep(0.2)
    own = _threads() - others  # Other tests leave threads behind that are awake now and then.
    cpu, wakeups = time.process_time(), _wakeups(own)
    time.sleep(2)
    cpu, wakeups = time.process_time() - cpu, _wakeups(own) - wakeups
    watcher.close()
    assert cpu / 2 < 0.005
    assert wakeups / 2 < 10
    assert told.changes == []


def test_one_change_is_told_at_once(tmp_path: Path) -> None:
    """The limit is wide, for busy machines; see benchmarks for figures."""
    root = tmp_path / "root"
    _make(root, 1_000)
    (root / "file").touch()
    heard, at = threading.Event(), [0.0]

    def change(_root: str, _paths: frozenset[bytes] | None) -> None:
        at[0] = time.perf_counter()
        heard.set()

    watcher = Watcher(change, scan_interval=3600)
    watcher.add(str(root))
    latencies = []
    for _ in range(200):
        heard.clear()
        started = time.perf_counter()
        os.utime(root / "file")
        assert heard.wait(5)
        latencies.append(at[0] - started)
    watcher.close()
    assert statistics.median(latencies) < 0.005


def test_large_storm_is_told_whole(tmp_path: Path) -> None:
    """S5: many files, each in new nested directories, as fast as one process makes them."""
    root, told = tmp_path / "root", Told()
    root.mkdir()
    wanted = set()
    with watching(told, root):
        for number in range(3_000):
            directory = f"a{number % 10}/b{number % 100}/c{number}/d"
            os.makedirs(root / directory)
            (root / directory / "file").touch()
            wanted.add(f"{directory}/file".encode())
        assert told.wait(lambda: not told.uncovered(root, wanted), 20)
