"""Whether a file system has room for what is staged on it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from headgated.core.errors import DeploymentFailedError
from headgated.core.paths import escape
from headgated.core.steps import Put
from headgated.core.tree import Entry

RESERVE = 256 * 1024
"""Bytes that a deployment leaves free."""


def check_room(there: os.statvfs_result, where: str, puts: Sequence[Put], beside: int) -> None:
    """Compare free bytes and inodes with what is staged.

    Args:
        there: what the file system says of itself.
        where: a directory on it, for people.
        puts: what is staged on it.
        beside: bytes that the deployment needs there for something else: history, where it is on the same one.

    Raises:
        DeploymentFailedError: NO_SPACE.
    """
    entries = [entry for put in puts for entry in _staged(put)]
    need = sum(-(-entry.size // there.f_frsize) or 1 for entry in entries) * there.f_frsize + RESERVE + beside
    free = (there.f_bfree if os.geteuid() == 0 else there.f_bavail) * there.f_frsize
    if need > free:
        for_history = f", {beside} of them for history," if beside else ""
        raise _full(where, f"{need} bytes", f"{free}", for_history, puts)
    if there.f_files and len(entries) > there.f_ffree:
        raise _full(where, f"{len(entries)} inodes", f"{there.f_ffree}", "", puts)


def _staged(put: Put) -> Iterator[Entry]:
    yield put.wanted
    yield from (change.wanted for change in put.members if change.wanted is not None)


def _full(where: str, need: str, free: str, for_history: str, puts: Sequence[Put]) -> DeploymentFailedError:
    return DeploymentFailedError(
        f"cannot deploy: {need} are needed{for_history} on the file system of {where} and {free} are free",
        reason="NO_SPACE",
        hint="make room on the target's file system",
        paths=[escape(put.path) for put in puts],
    )
