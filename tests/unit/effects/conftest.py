from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from headgated.effects.history import History


@pytest.fixture
def swift(tmp_path: Path) -> Iterator[Path]:
    """A directory where syncing costs nothing, if there is one: for tests that deploy a thousand times."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    directory = Path(tempfile.mkdtemp(dir=memory, prefix="headgate-"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def path(swift: Path) -> Path:
    """Where a test's history is."""
    return swift / "history.db"


@pytest.fixture
def history(path: Path) -> Iterator[History]:
    history = History(path)
    yield history
    history.close()
