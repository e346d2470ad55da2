"""Keeps a state directory to one daemon. The kernel ends the lock with the process, however that ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from headgated.core.errors import RefusedError, UnavailableError

MODE = 0o700


class StateLock:
    """The lock on a state directory, which is made if need be and is nobody else's to read."""

    def __init__(self, state_dir: Path) -> None:
        self._directory, self._path = state_dir, state_dir / "lock"
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            RefusedError: STATE_LOCKED, another process has it; the message names it.
            UnavailableError: STATE_NOT_WRITABLE, the directory can be neither made nor written.
        """
        try:
            self._directory.mkdir(mode=MODE, parents=True, exist_ok=True)
            self._directory.chmod(MODE)
            self._descriptor = self._take()
        except OSError as error:
            raise UnavailableError(
                f"cannot use {self._directory} as state directory: {error.strerror}",
                reason="STATE_NOT_WRITABLE",
                hint="name another one with --state-dir, or let the daemon's user write there",
                paths=[str(self._directory)],
            ) from error

    def release(self) -> None:
        """Give the lock back; safe to repeat."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None

    def _take(self) -> int:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise RefusedError(
                f"cannot use {self._directory}: another daemon (process {holder}) has it",
                reason="STATE_LOCKED",
                hint="stop that one first, or name another directory with --state-dir",
                paths=[str(self._directory)],
            ) from None
        except OSError:
            os.close(descriptor)
            raise
        _sign(descriptor)
        return descriptor


def _sign(descriptor: int) -> None:
    """Write who has the lock, for the message to the next one. Not being able to changes nothing."""
    with contextlib.suppress(OSError):
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
