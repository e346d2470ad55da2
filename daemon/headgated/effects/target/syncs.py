"""Bringing what was changed to the disk: each thing by itself, or, of many, their whole file systems at once.

A sync of one file waits for a commit of the file system's journal; of a hundred files that is a hundred commits, where one
sync of the file system is one. It also writes what others have not synced yet, so a few things are synced one by one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from headgated.effects import kernel
from headgated.effects.target.failure import failed
from headgated.effects.target.site import Site

FEW = 32
"""So many things are synced one by one."""


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
        try:
            self._together = count > FEW and all(
                self._note(site.beneath.directory(path)) for path in directories
            )
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
        """Sync one file or directory, now or with all others in `end`.

        Raises:
            DeploymentFailedError: it did not reach the disk.
        """
        if self._together:
            return
        try:
            self._acts.sync(fd)
        except OSError as error:
            raise failed("sync", path, error) from error

    def end(self) -> None:
        """Return when all is on disk.

        Raises:
            DeploymentFailedError: it cannot be said what is.
        """
        if not self._together:
            return
        for fd in self._file_systems.values():
            try:
                self._acts.sync_file_system(fd)
            except OSError as error:
                raise failed("sync", b"", error) from error

    def close(self) -> None:
        """Close what was opened."""
        while self._file_systems:
            os.close(self._file_systems.popitem()[1])


def sync_directories(site: Site, paths: Iterable[bytes]) -> None:
    """Bring the names in each of these directories to the disk.

    Raises:
        DeploymentFailedError: it cannot be said what reached the disk.
    """
    directories = list(paths)
    try:
        syncs = Syncs(site, directories, len(directories))
        try:
            for path in directories:
                syncs.add(path, site.beneath.directory(path))
            syncs.end()
        finally:
            syncs.close()
    except OSError as error:
        raise failed("sync", b"", error) from error
