"""strace, attached to a process that runs."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def attached(pid: int, options: Sequence[str]) -> Iterator[None]:
    """Trace a process and all its threads until the block ends.

    Raises:
        PermissionError: strace may not attach here.
    """
    tracer = subprocess.Popen(["strace", "-f", *options, "-p", str(pid)], stderr=subprocess.PIPE, text=True)
    try:
        assert tracer.stderr is not None
        told = tracer.stderr.readline()
        if "not permitted" in told:
            raise PermissionError(told.strip())
        assert "attached" in told, told
        yield
    finally:
        tracer.terminate()
        tracer.communicate()
