"""A directory to work in that is in memory where possible: what is tested here does not need a disk, and is quicker without."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.torture.killing import FAST


@pytest.fixture
def quick() -> Iterator[Path]:
    home = Path(tempfile.mkdtemp(prefix="hg-quick-", dir=FAST if FAST.is_dir() else None))
    yield home
    shutil.rmtree(home, ignore_errors=True)
