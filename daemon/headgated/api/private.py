"""Where gRPC itself listens: a socket that only the daemon's own user can reach, and so only the door.

Promises that the directory is private, or that nothing is served; that a socket left by a crash is in nobody's way; and that the
path can be used however long the directory's name is.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from headgated.api.listener import PATH_BYTES
from headgated.core.errors import RefusedError, UnavailableError

_NAME = "api.sock"


@contextlib.contextmanager
def private_socket(directory: Path) -> Iterator[Path]:
    """Yield a free path for a socket in a directory that nobody else can enter; the socket is gone afterwards.

    Raises:
        RefusedError: others may enter the directory.
        UnavailableError: it can be neither made nor used.
    """
    path = directory / _NAME
    with contextlib.ExitStack() as cleanup:
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            opened = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            cleanup.callback(os.close, opened)
            _refuse_public(directory, os.fstat(opened))
            path.unlink(missing_ok=True)
        except OSError as error:
            raise _unusable(directory, error) from error
        cleanup.callback(path.unlink, missing_ok=True)
        # A socket's path must be short; the same directory by its descriptor always is.
        short = len(os.fsencode(path)) <= PATH_BYTES
        yield path if short else Path(f"/proc/self/fd/{opened}/{_NAME}")


def _refuse_public(directory: Path, found: os.stat_result) -> None:
    if found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise RefusedError(
            f"cannot serve: others may enter {directory}",
            reason="DIRECTORY_NOT_NAME",
            hint=f"chown {os.geteuid()} {directory} && chmod 0700 {directory}",
        )


def _unusable(directory: Path, error: OSError) -> UnavailableError:
    return UnavailableError(
        f"cannot serve from {directory}: {error.strerror}",
        reason="DIRECTORY_NOT_USABLE",
        hint="check the directory's owner and permissions",
    )
