"""Mounts of a test's own; skipped where they cannot be made."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(where: Path, *arguments: str | Path) -> Iterator[None]:
    """Mount something as `mount` is told to, and unmount it in the end."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts")
    if subprocess.run(["mount", *arguments, where], check=False, capture_output=True).returncode:
        pytest.skip("may not mount here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", where], check=True)
