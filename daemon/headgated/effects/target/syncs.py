"""Bringing what was changed to the disk: each thing by itself, or, of many, their whole file systems at once.

A sync of one file waits for a commit of the file system's journal; of a hundred files that is a hundred commits, where one
sync of the file system is one. It also writes what others have not synced yet, so a few things are synced each by itself, by
threads: syncs in flight together share a commit.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import Future

from headgated.effects import kernel
from headgated.effects.target.beside import beside
from headgated.effects.target.failure import failed
from headgated.effects.target.site import Site

FEW = 32
"""So many things are synced each by itself."""
MUCH = 250
"""After so many things more, of many, the disk is set to work on them beside, so that little is left for the end."""


class Syncs:
    """Syncs what is made or renamed in some directories."""

    def __init__(self, site: Site, directories: Iterable[bytes], count: int) -> None:
        """Choose the way. To be made before the first change, so that no failed write goes unnoticed.

        Args:
            site: where.
            directories: all that something is made in.
            count: how many things are to be synced.

        Raises:
            OSError: a directory cannot be opened.
        """
        self._acts = site.acts
        self._file_systems: dict[int, int] = {}
        self._alone, self._added = count == 1, 0
        self._under_way: list[tuple[bytes, Future[None]]] = []
        try:
            self.together = count > FEW and all(
                self._note(site.beneath.directory(path)) for path in directories
            )
            """Whether whole file systems are synced, so that what is there already needs not be added."""
        except BaseException:
            self.close()
            raise

    def _note(self, directory: int) -> bool:
        device = os.fstat(directory).st_dev
        if device not in self._file_systems:
            if not kernel.syncs_whole(directory):
                return False
            self._file_systems[device] = os.dup(directory)
        return True

    def add(self, path: bytes, fd: int) -> None:
        """Begin to sync one file or directory; it may be closed at once.

        Raises:
            DeploymentFailedError: it did not reach the disk.
        """
        if self.together:
            self._added += 1
            if self._added >= MUCH and all(synced.done() for _, synced in self._under_way):
                self.rest()
            return
        if self._alone:
            self._check(path, lambda: self._acts.sync(fd))
            return
        self._begin(path, fd, self._acts.sync)

    def rest(self) -> None:
        """Begin to sync what is not being synced yet; of file systems everything that was done until now, added or not."""
        if self.together and (self._added or not self._under_way):
            self._added = 0
            for fd in self._file_systems.values():
                self._begin(b"", fd, self._acts.sync_file_system)

    def end(self) -> None:
        """Return when all is on disk.

        Raises:
            DeploymentFailedError: it cannot be said what is.
        """
        self.rest()
        for path, synced in self._under_way:
            self._check(path, synced.result)

    def _begin(self, path: bytes, fd: int, sync: Callable[[int], None]) -> None:
        self._under_way.append((path, beside(_sync_and_close, sync, os.dup(fd))))

    def _check(self, path: bytes, sync: Callable[[], None]) -> None:
        try:
            sync()
        except OSError as error:
            raise failed("sync", path, error) from error

    def close(self) -> None:
        """Close what was opened, when nothing is under way any more."""
        while self._file_systems:
            os.close(self._file_systems.popitem()[1])
        while self._under_way:
            self._under_way.pop()[1].exception()


def _sync_and_close(sync: Callable[[int], None], fd: int) -> None:
    try:
        sync(fd)
    finally:
        os.close(fd)


def sync_directories(site: Site, paths: Iterable[bytes]) -> None:
    """Bring the names in each of these directories to the disk.

    Raises:
        DeploymentFailedError: it cannot be said what reached the disk.
    """
    directories = list(paths)
    try:
        syncs = Syncs(site, directories, len(directories))
        try:
            if not syncs.together:
                for path in directories:
                    syncs.add(path, site.beneath.directory(path))
            syncs.end()
        finally:
            syncs.close()
    except OSError as error:
        raise failed("sync", b"", error) from error
