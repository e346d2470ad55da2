"""Says what the figures were measured on, without naming the machine."""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
import subprocess
from importlib.metadata import version
from pathlib import Path

ASKED = {
    "rsync": ["rsync", "--version"],
    "lsyncd": ["lsyncd", "--version"],
    "inotifywait": ["inotifywait", "--help"],
    "watchman": ["watchman", "--version"],
    "envsubst": ["envsubst", "--version"],
    "cc": ["cc", "--version"],
}
PACKAGES = {
    "inotifywait": "inotify-tools",
    "envsubst": "gettext-base",
    "cc": "gcc",
}


def describe(directory: Path) -> str:
    """Return cores, memory, kernel, file system and versions, in a line."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    parts = [
        f"{len(os.sched_getaffinity(0))} cores ({platform.machine()})",
        f"{memory:.0f} GiB of memory",
        f"Linux {platform.release().partition('-')[0]}",
        _file_system(directory),
        f"Python {platform.python_version()}",
        f"SQLite {sqlite3.sqlite_version}",
        f"grpcio {version('grpcio')}",
        f"load average {os.getloadavg()[1]:.0f} at the end",
        *(f"{name} {found}" for name in ASKED if name != "cc" and (found := _version(name))),
    ]
    return ", ".join(parts)


def without(*names: str) -> list[str]:
    """Return a sentence for each program that is not installed."""
    return [
        f"{name} is not installed (Debian: {PACKAGES.get(name, name)})"
        for name in names
        if not shutil.which(name)
    ]


def _version(name: str) -> str:
    if not shutil.which(name):
        return ""
    told = subprocess.run(ASKED[name], capture_output=True, text=True, check=False, timeout=20)
    words = (told.stdout or told.stderr).split("\n", 1)[0].split()
    return next((word.rstrip(",") for word in words if word[:1].isdigit()), "")


def _file_system(directory: Path) -> str:
    """Return the type of the file system that `directory` is on."""
    best, found = "", "unknown file system"
    real = str(directory.resolve())
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        _, place, kind, *_ = line.split()
        if (real == place or real.startswith(place.rstrip("/") + "/")) and len(place) >= len(best):
            best, found = place, kind
    return found
