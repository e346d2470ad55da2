"""Files that are staged without a name, and get one only when everything is committed to.

Nothing of them is left behind by a crash before that, so nothing has to be noted about them; and each is synced by a thread of
its own while the deployment is committed to: syncs in flight together share one commit of the file system's journal. For a few
files, and where the file system can do it (`kernel.syncs_unnamed`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass

from headgated.core.paths import parent
from headgated.core.steps import Put, Step
from headgated.core.tree import Kind
from headgated.effects import kernel
from headgated.effects.target.beside import beside
from headgated.effects.target.failure import failed, moved
from headgated.effects.target.site import Site

FEW = 16
"""So many files at most: each is held open."""
_LATER = (17, 28, 122)  # EEXIST, ENOSPC, EDQUOT: no reason to doubt that files can be named


def fits(site: Site, planned: Iterable[Step]) -> bool:
    """Tell whether all that is to be staged can be staged without a name."""
    puts = [step for step in planned if isinstance(step, Put)]
    if len(puts) > FEW or any(put.wanted.kind != Kind.FILE for put in puts):
        return False
    return all(_can(site, path) for path in {parent(put.path) for put in puts})


def _can(site: Site, path: bytes) -> bool:
    try:
        directory = site.beneath.directory(path)
    except OSError:
        return False  # staging says what is wrong
    device, known = os.fstat(directory).st_dev, site.lens.unnamed
    if device not in known:
        known[device] = kernel.syncs_unnamed(directory)
    return known[device]


@dataclass(frozen=True, slots=True)
class _File:
    fd: int
    path: bytes
    digest: bytes
    synced: Future[None]


class Unnamed:
    """The files of one deployment, by the temporary name that each is to get. Not thread-safe."""

    def __init__(self) -> None:
        self._files: dict[bytes, _File] = {}

    def add(self, site: Site, put: Put, fd: int, digest: bytes) -> None:
        """Take in a file that is written and holds what has this SHA-256, and begin to sync it. It is closed by `close`."""
        self._files[put.temp] = _File(fd, put.path, digest, beside(site.acts.sync, fd))

    def wait(self) -> None:
        """Return when all are on disk.

        Raises:
            DeploymentFailedError: it cannot be said what is.
        """
        for file in self._files.values():
            try:
                file.synced.result()
            except OSError as error:
                raise failed("sync", file.path, error) from error

    def name(self, site: Site, put: Put) -> None:
        """Give the file of a step its temporary name; nothing where it has one.

        Raises:
            OSError: it cannot be given, because of what is there or has no room.
            TargetMovedError: it cannot be given here at all; staged anew, files have names from the start.
        """
        file = self._files.get(put.temp)
        if file is None:
            return
        directory, name = site.beneath.place(put.temp)
        try:
            site.acts.give_name(file.fd, directory, name)
        except OSError as error:
            if error.errno in _LATER:
                raise
            site.lens.unnamed[os.fstat(directory).st_dev] = False
            raise moved(put.path) from error
        # A name more is another ctime; nobody but us could write to the file until now.
        site.lens.remember(put.temp, os.fstat(file.fd), file.digest, time.time_ns())

    def close(self) -> None:
        """Close the files; those without a name are gone."""
        while self._files:
            file = self._files.popitem()[1]
            file.synced.exception()
            os.close(file.fd)
