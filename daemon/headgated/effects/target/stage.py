"""Makes what is to be put, whole and on disk, under temporary names beside its destination.

Nothing that readers look at changes here. Each file is written, given its owner and bits, and being synced when `begin` returns;
many files are synced together, and made some ahead. A few may be staged without a name (`unnamed`).
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from headgated.core.errors import SourceMovedError
from headgated.core.paths import escape, parent
from headgated.core.plan import Change
from headgated.core.steps import Put, Step
from headgated.core.tree import Entry, Kind
from headgated.effects.target.clear import remove_all
from headgated.effects.target.failure import failed
from headgated.effects.target.look import open_file
from headgated.effects.target.making import Files
from headgated.effects.target.metadata import dress, dress_link
from headgated.effects.target.site import Site
from headgated.effects.target.syncs import FEW, Syncs
from headgated.effects.target.unnamed import Unnamed

_TICKS = 8
"""Changes in a row, all within microseconds: a clock that ticks every millisecond cannot tell them apart."""
_TOGETHER = 16
"""So many files, of many, are made by one thread while others are filled."""
_AHEAD = 1
"""So many threads make files at once. Two get into each other's way: they look for free inodes in the same place."""


@dataclass(frozen=True, slots=True)
class _Item:
    """One file, symlink or directory to be made; or a directory to be closed, when all is in it."""

    change: Change
    wanted: Entry
    temp: bytes
    closes: bool = False

    @property
    def is_file(self) -> bool:
        return self.wanted.kind == Kind.FILE


@dataclass(frozen=True, slots=True)
class _Batch:
    """Some things of which the directories are there, and the files are or are being made."""

    items: Sequence[_Item]
    files: Files


class Stager:
    """Stages the puts of one deployment."""

    def __init__(
        self,
        site: Site,
        read: Callable[[Change], Iterable[bytes]],
        progress: Callable[[int], None],
        unnamed: Unnamed | None = None,
    ) -> None:
        """Take what gives the content of a change, what is told how many files are staged, and what holds those without a name."""
        self._unnamed = unnamed
        self._site, self._read, self._progress = site, read, progress
        self._acts = site.acts
        self._done = 0
        self._path = b""

    def run(self, planned: Sequence[Step]) -> None:
        """Stage, and wait until all is on the disk; otherwise as `begin`."""
        syncs = self.begin(planned)
        try:
            syncs.end()
        except BaseException:
            self._remove(step for step in planned if isinstance(step, Put))
            raise
        finally:
            syncs.close()

    def begin(self, planned: Sequence[Step]) -> Syncs:
        """Stage; on any error remove what was staged (what cannot be removed is left for `sweep`) and raise.

        Returns:
            What brings it to the disk, to be ended and closed; nothing where it has no name (see `Unnamed`).

        Raises:
            DeploymentFailedError: the reason says why.
            TargetMovedError: a directory or a file to be replaced is gone.
            SourceMovedError: the content is not what was planned.
        """
        puts = [step for step in planned if isinstance(step, Put)]
        begun: list[Put] = []
        try:
            return self._stage(puts, begun)
        except OSError as error:
            self._remove(begun)
            raise failed("stage", self._path, error) from error
        except BaseException:
            self._remove(begun)
            raise

    def _stage(self, puts: list[Put], begun: list[Put]) -> Syncs:
        if self._unnamed is not None:
            for put in puts:
                self._path = put.path
                self._make_unnamed(put, self._unnamed)
            return Syncs(self._site, (), 0)
        count = len(puts) + sum(len(put.members) for put in puts)
        syncs = Syncs(self._site, dict.fromkeys(parent(put.path) for put in puts), count)
        items, ahead = _items(puts, begun), _AHEAD if count > FEW else 0
        batches: deque[_Batch] = deque()
        try:
            while some := list(islice(items, _TOGETHER if ahead else 1)):
                batches.append(self._begin(some, batches[-1].files if batches else None, ahead=ahead > 0))
                if len(batches) > ahead:
                    self._finish(batches.popleft(), syncs)
            while batches:
                self._finish(batches.popleft(), syncs)
            syncs.rest()
        except BaseException:
            syncs.close()
            raise
        finally:
            for batch in batches:
                batch.files.close()
        return syncs

    def _remove(self, begun: Iterable[Put]) -> None:
        for put in begun:
            with suppress(OSError):
                remove_all(self._site, put.temp)

    def _begin(self, items: Sequence[_Item], before: Files | None, *, ahead: bool) -> _Batch:
        """Make directories, and begin to make files, when those before them are made."""
        places = []
        for item in items:
            self._path = item.change.path
            if item.is_file:
                places.append(self._site.beneath.place(item.temp))
            elif item.wanted.kind == Kind.DIRECTORY and not item.closes:
                self._make_directory(item.temp)
        return _Batch(items, Files(self._acts, places, ahead=ahead, after=before))

    def _finish(self, batch: _Batch, syncs: Syncs) -> None:
        before = self._done
        try:
            for item in batch.items:
                self._path = item.change.path
                if item.closes:
                    self._close_directory(item.change, item.wanted, item.temp, syncs)
                elif item.wanted.kind != Kind.DIRECTORY:
                    self._make(item, batch.files, syncs)
        finally:
            batch.files.close()
        if self._done > before:
            self._progress(self._done)

    def _make_directory(self, temp: bytes) -> None:
        directory, name = self._site.beneath.place(temp)
        self._acts.make_directory(directory, name)

    def _close_directory(self, change: Change, wanted: Entry, temp: bytes, syncs: Syncs) -> None:
        """Give a filled directory its attributes; only now, for it may become one that we cannot write to."""
        fd = self._site.beneath.directory(temp)
        dress(self._acts, fd, change.path, wanted, change.expected, None)
        syncs.add(change.path, fd)

    def _make(self, item: _Item, files: Files, syncs: Syncs) -> None:
        if item.is_file:
            self._make_file(item, files.take(), syncs)
        else:
            directory, name = self._site.beneath.place(item.temp)
            self._acts.symlink(item.wanted.target, directory, name)
            dress_link(self._acts, directory, name, item.change.path, item.wanted, item.change.expected)
        self._done += 1

    def _make_unnamed(self, put: Put, unnamed: Unnamed) -> None:
        directory = self._site.beneath.directory(parent(put.path))
        fd = self._acts.create_unnamed(directory)
        try:
            _, digest = self._fill(
                fd, Change(put.path, put.expected, put.wanted), put.wanted, parent(put.path)
            )
        except BaseException:
            os.close(fd)
            raise
        unnamed.add(self._site, put, fd, digest)
        self._done += 1
        self._progress(self._done)

    def _make_file(self, item: _Item, fd: int, syncs: Syncs) -> None:
        try:
            there, digest = self._fill(fd, item.change, item.wanted, parent(item.temp))
            self._site.lens.remember(item.temp, there, digest, time.time_ns())
            syncs.add(item.change.path, fd)
        finally:
            os.close(fd)

    def _fill(self, fd: int, change: Change, wanted: Entry, at: bytes) -> tuple[os.stat_result, bytes]:
        """Give a new file its content and all attributes; return its stat then, and the SHA-256 of what it holds."""
        digest = self._write(fd, change, wanted)
        replaced = self._replaced(change, at)
        try:
            there = dress(self._acts, fd, change.path, wanted, change.expected, replaced)
        finally:
            if replaced is not None:
                os.close(replaced)
        return self._learn_times(fd, there), digest

    def _write(self, fd: int, change: Change, wanted: Entry) -> bytes:
        digest = hashlib.sha256()
        for chunk in self._read(change):
            digest.update(chunk)
            rest = memoryview(chunk)
            while rest:
                rest = rest[self._acts.write(fd, rest) :]
        if not self._site.lens.holds(wanted, digest.digest()):
            shown = escape(change.path)
            raise SourceMovedError(
                f"cannot stage {shown}: its content is not what was planned", paths=[shown]
            )
        return digest.digest()

    def _replaced(self, change: Change, at: bytes) -> int | None:
        """Open the file whose extended attributes are carried over; it is in the directory at `at`."""
        if change.expected is None or change.expected.kind != Kind.FILE:
            return None
        return open_file(self._site.beneath.directory(at), change.path.rpartition(b"/")[2])

    def _learn_times(self, fd: int, there: os.stat_result) -> os.stat_result:
        """Find out once for each device how fine its times are, so that what we wrote need not be read again."""
        known = self._site.lens.fine_times
        if there.st_dev in known:
            return there
        known[there.st_dev] = self._has_fine_times(fd, stat.S_IMODE(there.st_mode))
        return os.fstat(fd)

    def _has_fine_times(self, fd: int, mode: int) -> bool:
        """Whether each change of a file that was looked at gives it another ctime, whatever the clock's tick."""
        last = os.fstat(fd).st_ctime_ns
        for _ in range(_TICKS):
            self._acts.chmod(fd, mode)
            now = os.fstat(fd).st_ctime_ns
            if now == last:
                return False
            last = now
        return True


def _items(puts: Iterable[Put], begun: list[Put]) -> Iterator[_Item]:
    """Yield all that is to be made, in order: a directory before what is in it, and to be closed after all that.

    Args:
        puts: what is to be put.
        begun: gets each of them before anything of it is made.
    """
    for put in puts:
        begun.append(put)
        items = [_Item(Change(put.path, put.expected, put.wanted), put.wanted, put.temp)]
        if put.wanted.kind == Kind.DIRECTORY:
            items += (
                _Item(member, member.wanted, put.temp + member.path[len(put.path) :])
                for member in put.members
                if member.wanted is not None
            )
        yield from items
        for item in reversed(items):
            if item.wanted.kind == Kind.DIRECTORY:
                yield _Item(item.change, item.wanted, item.temp, closes=True)
