"""What is at a path: kind, attributes and the digest of its content.

A file is read once for each `signature` it has been seen with. A signature is remembered
only if its ctime was old enough when it was taken that a later write must show: 50 ms, or at once on a file system that
was found to give every looked-at change its own time (Linux 6.13). What no signature shows is a write through a memory
mapping made before; only reading anew finds that.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter

from headgated.core.paths import join
from headgated.core.tree import Entry, Kind, Node, own
from headgated.effects.beneath import GONE, Beneath
from headgated.effects.signature import bits_in, signature, signatures
from headgated.effects.target.failure import moved

CHUNK = 1 << 20
"""Bytes read at once."""
RACY = 50_000_000
"""Nanoseconds for which a change may hide behind the ctime of the one before it."""

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DIGEST_BYTES = 32
_SHOWN_BYTES = 16
_ATTEMPTS = 5
_NOTHING: Mapping[bytes, bytes] = {}

lasting: Callable[[os.stat_result], tuple[int, ...]] = attrgetter(
    "st_mode", "st_uid", "st_gid", "st_size", "st_mtime_ns", "st_ino"
)
"""Returns what of a file's stat a rename leaves as it is, which changes nothing but the ctime."""


Mac = Callable[[bytes], bytes]
"""Makes the seal of a content of its SHA-256; empty where there are no secrets at all."""


def no_mac(_digest: bytes) -> bytes:
    """There are no secrets."""
    return b""


class SpecialFileError(Exception):
    """A FIFO, socket or device is there."""


class Lens:
    """Tells what is at a path; remembers digests. Thread-safe."""

    def __init__(self, mac: Mac = no_mac) -> None:
        """Take what makes the keyed hash by which files with secrets are recognised."""
        self.mac = mac
        self._known: dict[bytes, dict[bytes, bytes]] = {}
        """Signature and digest by the path of the directory and the name in it."""
        self._agreed: dict[bytes, tuple[Mapping[bytes, Node], bytes]] = {}
        """What was expected in a directory and is there beyond doubt, and a digest of the signatures that showed it: as long as
        both are the same, nothing has to be compared name by name."""
        self.fine_times: dict[int, bool] = {}
        """For each device that was tried: whether it gives every looked-at change its own ctime."""
        self.unnamed: dict[int, bool] = {}
        """For each device that was asked: whether files can be staged there without a name."""

    def entry(self, directory: int, name: bytes, path: bytes) -> Entry | None:
        """Return what `name` in the open directory is; None where there is nothing.

        Args:
            directory: a descriptor.
            name: in it.
            path: relative to the target, for what is remembered and for errors.

        Raises:
            SpecialFileError: neither file nor directory nor symlink.
            TargetMovedError: it changes all the time.
            OSError: it cannot be read.
        """
        try:
            there = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if stat.S_ISREG(there.st_mode):
                digest = self.digest(path, there)
                if digest is None:
                    there, digest = self._read(directory, name, path)
                return self.file(there, digest)
            if stat.S_ISLNK(there.st_mode):
                target = os.readlink(name, dir_fd=directory)
                return Entry(Kind.SYMLINK, target=target, uid=there.st_uid, gid=there.st_gid)
        except FileNotFoundError:
            return None
        if stat.S_ISDIR(there.st_mode):
            return Entry(Kind.DIRECTORY, stat.S_IMODE(there.st_mode), uid=there.st_uid, gid=there.st_gid)
        raise SpecialFileError(path)

    def doubtful(
        self, directory: int, names: Sequence[bytes], expected: Mapping[bytes, Node], at: bytes
    ) -> list[bytes]:
        """Return the names at which a look at attributes alone does not show that what is expected there is there.

        This is what a look at everything spends its time with: one call for each name, and next to nothing beside it.

        Args:
            directory: a descriptor.
            names: which to look at.
            expected: what is expected in the directory, by name. Only files are ever beyond doubt.
            at: the directory's path from the target.
        """
        try:
            now = signatures(directory, names)
        except OSError:
            return list(names)
        whole, shown = len(names) == len(expected), b""
        if whole:
            shown = hashlib.blake2b(b"".join(now), digest_size=_SHOWN_BYTES).digest()
            agreed = self._agreed.get(at)
            if agreed is not None and agreed[0] is expected and agreed[1] == shown:
                return []
        doubtful, known = [], self._known.get(at, _NOTHING).get
        for name, one in zip(names, now, strict=True):
            entry, kept = expected[name], known(name)
            if (
                type(entry) is not Entry
                or kept is None
                or not (self._is_sealed(entry, kept, one) if entry.seal else kept == one + entry.digest)
                or not _has_bits(entry, *bits_in(one))
            ):
                doubtful.append(name)
        if whole and not doubtful and not any(own(expected[name]).seal for name in names):
            self._agreed[at] = expected, shown
        return doubtful

    def _is_sealed(self, entry: Entry, kept: bytes, found: bytes) -> bool:
        return kept[:-_DIGEST_BYTES] == found and self.mac(kept[-_DIGEST_BYTES:]) == entry.seal

    def file(self, there: os.stat_result, digest: bytes) -> Entry:
        """Return the entry of a regular file."""
        return Entry(
            Kind.FILE,
            stat.S_IMODE(there.st_mode),
            digest,
            there.st_size,
            uid=there.st_uid,
            gid=there.st_gid,
            seal=self.mac(digest),
        )

    def holds(self, wanted: Entry, digest: bytes) -> bool:
        """Tell whether a content, by its SHA-256, is what an entry asks for."""
        return self.mac(digest) == wanted.seal if wanted.seal else digest == wanted.digest

    def below(self, beneath: Beneath, path: bytes) -> dict[bytes, Entry | None]:
        """Return all that is below the directory at `path`, by path from there; None for special files.

        Raises:
            OSError, TargetMovedError: as `entry`, and where there is no directory.
        """
        found: dict[bytes, Entry | None] = {}
        ahead = [b""]
        while ahead:
            inner = ahead.pop()
            at = join(path, inner) if inner else path
            try:
                directory = beneath.directory(at)
            except OSError as error:
                if inner and error.errno in GONE:
                    continue  # it went while we looked
                raise
            for name in sorted(os.fsencode(n) for n in os.listdir(directory)):
                here = join(inner, name)
                try:
                    entry = self.entry(directory, name, join(at, name))
                except SpecialFileError:
                    found[here] = None
                    continue
                if entry is not None:
                    found[here] = entry
                    if entry.kind == Kind.DIRECTORY:
                        ahead.append(here)
        return found

    def digest(self, path: bytes, there: os.stat_result) -> bytes | None:
        """Return the digest of the file at `path` if it is known to be the same as when it was read."""
        at, _, name = path.rpartition(b"/")
        kept = self._known.get(at, _NOTHING).get(name)
        return (
            kept[-_DIGEST_BYTES:] if kept is not None and kept[:-_DIGEST_BYTES] == signature(there) else None
        )

    def remember(self, path: bytes, there: os.stat_result, digest: bytes, taken_at: int) -> None:
        """Note that the file at `path`, when its stat was `there`, had this content.

        Args:
            path: relative to the target.
            there: taken before the content was read, or after we wrote it.
            digest: SHA-256.
            taken_at: when `there` was taken, nanoseconds since the epoch.
        """
        if self.fine_times.get(there.st_dev) or taken_at - there.st_ctime_ns >= RACY:
            at, _, name = path.rpartition(b"/")
            self._known.setdefault(at, {})[name] = signature(there) + digest
        else:
            self.forget(path)

    def forget(self, path: bytes) -> None:
        """Read the file at `path` anew when next asked."""
        at, _, name = path.rpartition(b"/")
        self._agreed.pop(at, None)
        here = self._known.get(at)
        if here is not None:
            here.pop(name, None)
            if not here:
                self._known.pop(at, None)

    def moved(self, old: bytes, new: bytes) -> None:
        """Note that the directory at `old` is at `new`, with the files in it; those further below are not meant."""
        self._agreed.pop(old, None)
        self._agreed.pop(new, None)
        here = self._known.pop(old, None)
        if here is not None:
            self._known[new] = here

    def fork(self) -> Lens:
        """Return another that knows the same."""
        other = Lens(self.mac)
        other._known = {at: dict(here) for at, here in list(self._known.items())}
        other.fine_times = self.fine_times
        return other

    def become(self, other: Lens) -> None:
        """Know what another knows, and nothing else."""
        self._known, self._agreed = other._known, {}

    def renew(self, path: bytes, before: os.stat_result, after: os.stat_result) -> None:
        """Note that only the number of names of the file at `path` has changed, by our own doing."""
        digest = self.digest(path, before)
        if digest is not None and lasting(before) == lasting(after):
            self.remember(path, after, digest, time.time_ns())

    def _read(self, directory: int, name: bytes, path: bytes) -> tuple[os.stat_result, bytes]:
        fd = os.open(name, _READ, dir_fd=directory)
        try:
            for _ in range(_ATTEMPTS):
                taken_at = time.time_ns()
                before = os.fstat(fd)
                if not stat.S_ISREG(before.st_mode):
                    raise SpecialFileError(path)
                digest = hashlib.sha256()
                for chunk in chunks(fd):
                    digest.update(chunk)
                if signature(os.fstat(fd)) == signature(before):
                    self.remember(path, before, digest.digest(), taken_at)
                    return before, digest.digest()
                os.lseek(fd, 0, os.SEEK_SET)
        finally:
            os.close(fd)
        raise moved(path)


def open_file(directory: int, name: bytes) -> int:
    """Open a file for reading without following a symlink or waiting for a FIFO's writer."""
    return os.open(name, _READ, dir_fd=directory)


def chunks(fd: int) -> Iterator[bytes]:
    """Yield the rest of a file, at most `CHUNK` bytes at a time."""
    while chunk := os.read(fd, CHUNK):
        yield chunk


def _has_bits(entry: Entry, mode: int, uid: int, gid: int) -> bool:
    """Tell whether a regular file with this mode and owner is what an entry asks for."""
    return (
        (entry.mode is None or entry.mode | stat.S_IFREG == mode)
        and (entry.uid is None or entry.uid == uid)
        and (entry.gid is None or entry.gid == gid)
    )
