"""Random churn: whatever happened, in the end every directory is watched, under its path and no other."""

from __future__ import annotations

import ctypes
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.effects.watching import (
    Told,
    assert_sees_every_directory,
    directories_in,
    kernel_watches,
    lookout_of,
    until,
    watching,
)

EXCHANGE = 2
AT_CWD = -100


class Churn:
    """Makes, copies, moves, exchanges and removes directories, few names in few places, so that events meet each other."""

    def __init__(self, seed: int, root: Path, outside: Path) -> None:
        self._random = random.Random(seed)
        self._root = root
        self._outside = outside
        self._libc = ctypes.CDLL(None)

    def run(self, seconds: float, pause: float) -> None:
        acts: list[Callable[[], object]] = [
            self._make,
            self._move,
            self._swap,
            self._remove,
            self._replace,
            self._copy,
        ]
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for act in self._random.choices(acts, weights=[40, 30, 10, 15, 3, 2], k=20):
                try:
                    act()
                except (OSError, shutil.Error):
                    continue  # not there, or in its own way: churn
            time.sleep(pause)

    def _somewhere(self) -> Path:
        depth = self._random.randint(1, 3)
        base = self._outside if depth < 3 and self._random.random() < 0.15 else self._root
        return base.joinpath(*(f"n{self._random.randrange(3)}" for _ in range(depth)))

    def _make(self) -> None:
        (self._somewhere() / "n0" / "n1").mkdir(parents=True)

    def _move(self) -> None:
        self._somewhere().rename(self._somewhere())

    def _swap(self) -> None:
        one, other = bytes(self._somewhere()), bytes(self._somewhere())
        self._libc.renameat2(AT_CWD, one, AT_CWD, other, EXCHANGE)

    def _remove(self) -> None:
        shutil.rmtree(self._somewhere())

    def _replace(self) -> None:
        place = self._somewhere()
        place.rename(self._outside / "replaced")
        place.mkdir()
        (self._outside / "replaced").rename(place / "n3")

    def _copy(self) -> None:
        shutil.copytree(self._somewhere(), self._outside / "copied")
        (self._outside / "copied").rename(self._somewhere())


@pytest.mark.parametrize("seed", range(3))
def test_churn_leaves_every_directory_watched(seed: int, swift: Path) -> None:
    """watchdog's own recursive watches come out of this clean in one run of four."""
    root, outside, told = swift / "root", swift / "outside", Told()
    root.mkdir()
    outside.mkdir()
    with watching(told, root) as watcher:
        command = [sys.executable, "-m", f"tests.unit.effects.{Path(__file__).stem}", str(root), str(outside)]
        churners = [
            subprocess.Popen(
                [*command, str(10 * seed + number), str(0.002 * seed)], cwd=Path(__file__).parents[3]
            )
            for number in range(2)
        ]
        assert [churner.wait(30) for churner in churners] == [0, 0]
        lookout = lookout_of(watcher, root)
        there = len(directories_in(root))
        assert until(lambda: kernel_watches(lookout) == there + 2)  # one for the parent, one for the cookie
        assert until(lambda: lookout.directories == there)
        assert lookout.verify() == 0
        told.forget()
        for directory in directories_in(outside):
            Path(directory, "stray").touch()
        assert_sees_every_directory(told, root)
        assert not any(path.endswith(b"stray") for path in told.paths(root))
        assert lookout is lookout_of(watcher, root)


if __name__ == "__main__":
    Churn(int(sys.argv[3]), Path(sys.argv[1]), Path(sys.argv[2])).run(1.0, float(sys.argv[4]))
    sys.exit(os.EX_OK)
