"""The audit log on disk: `audit.jsonl` in the state directory, full ones beside it as `audit.<number of their first line>.jsonl`.

Only ever appended to (0600). Promises that a line that was told to be synced is on disk when `append` returns, that lines of several threads
share a sync, that a kill in the middle of a line costs that line alone and shows, and that a full disk leaves whole lines. The head
(`audit.head`) is written after each line without a sync: after a power cut it may be behind, never ahead.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from headgated.core.audit import LONGEST, Check, Head, Place, digest_of, entry_of, line_of
from headgated.core.errors import UnavailableError
from headgated.effects.durable import sync_directory

_log = logging.getLogger("headgated.audit")

NAME, HEAD = "audit.jsonl", "audit.head"
_FULL = re.compile(r"audit\.(\d{12})\.jsonl")
_TOLD = 10_000
_APPEND = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class AuditLog:
    """Thread-safe.

    Attributes:
        damage: what is wrong with the end of the log as it was found; empty where nothing is.
    """

    def __init__(self, directory: Path, *, max_size: int = 16 * 1024**2, keep: int = 50) -> None:
        """Open the log, or begin one; nobody else may have it open.

        Raises:
            UnavailableError: AUDIT_NOT_WRITABLE.
        """
        self._directory, self._max_size, self._keep = directory, max_size, keep
        self._lock, self._syncing = threading.Lock(), threading.Lock()
        self._torn, self._broken, self.damage = "", False, ""
        self._synced = 0
        with _told(directory / NAME):
            self._descriptor = os.open(directory / NAME, _APPEND, 0o600)
            os.fchmod(self._descriptor, 0o600)
            self._anchor = os.open(
                directory / HEAD, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
            )
            sync_directory(directory)
            self._head = self._find_end()

    def go_by(self, max_size: int, keep: int) -> None:
        """Begin a new file at another size, and keep another number, from now on."""
        self._max_size, self._keep = max_size, keep

    @property
    def head(self) -> Head:
        """The newest line."""
        return self._head

    def close(self) -> None:
        """Sync and close. Harmless when closed."""
        with self._lock:
            if self._descriptor >= 0:
                with contextlib.suppress(OSError):
                    os.fsync(self._descriptor)
                os.close(self._descriptor)
                os.close(self._anchor)
                self._descriptor = self._anchor = -1

    def append(self, entry: Mapping[str, Any], *, sync: bool) -> int:
        """Write an entry; returns its number.

        Args:
            entry: what to write, ready for JSON; `sequence` and `previous` come by themselves.
            sync: wait until it is on disk.

        Raises:
            UnavailableError: AUDIT_NOT_WRITABLE; the entry is not in the log.
        """
        with _told(self._directory / NAME):
            with self._lock:
                self._make_room()
                sequence = self._write({**entry, **({"torn": self._torn} if self._torn else {})})
            if sync:
                self._sync(sequence)
        return sequence

    def verify(self) -> tuple[int, list[str]]:
        """Return how many lines there are and a sentence for each damage (of 10,000 at most). Reads all of it; lines may be added meanwhile."""
        with self._lock:
            head, files = self._head, [open(path, "rb") for path in self._files()]  # noqa: SIM115 - closed below
        check, damages = Check(), list[str]()
        try:
            places = (place for file in files for place in _places(file))
            for sentence in check.run(places, head):
                damages.append(sentence)
                if len(damages) >= _TOLD:
                    break
        finally:
            for file in files:
                file.close()
        return check.lines, damages

    def newest(self, count: int, before: int | None = None) -> list[dict[str, Any]]:
        """Return entries, newest first, those numbered below `before` where it is given. What is no line of ours is passed over."""
        found: list[dict[str, Any]] = []
        for path in reversed(self._files()):
            with contextlib.suppress(FileNotFoundError):  # Dropped meanwhile.
                for raw in reversed(path.read_bytes().splitlines()):
                    entry = entry_of(raw)
                    if entry is not None and (before is None or entry["sequence"] < before):
                        found.append(entry)
                        if len(found) == count:
                            return found
        return found

    def _files(self) -> list[Path]:
        """Return all files, oldest first."""
        full = sorted(name for name in os.listdir(self._directory) if _FULL.fullmatch(name))
        return [self._directory / name for name in [*full, NAME]]

    def _write(self, entry: Mapping[str, Any]) -> int:
        line, head = line_of(entry, self._head)
        size = os.fstat(self._descriptor).st_size
        try:
            left = memoryview(line)
            while left:  # What a full disk leaves over fails at the second write.
                left = left[os.write(self._descriptor, left) :]
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, size)
            self._mend()
            raise
        self._head, self._torn = head, ""
        with contextlib.suppress(OSError):  # It is then found to be behind, which is no damage.
            os.pwrite(self._anchor, f"{head.sequence:020d} {head.digest}\n".encode(), 0)
        return head.sequence

    def _sync(self, sequence: int) -> None:
        with self._syncing:
            if self._synced >= sequence:
                return
            with self._lock:
                descriptor, upto = os.dup(self._descriptor), self._head.sequence
            try:
                os.fdatasync(descriptor)
            except OSError:
                self._broken = (
                    True  # What this file lost it may not say again: the next line goes to a new one.
                )
                raise
            finally:
                os.close(descriptor)
            self._synced = upto

    def _make_room(self) -> None:
        """Begin a new file where this one is full, or can no longer be trusted to keep what is written."""
        size = os.fstat(self._descriptor).st_size
        if not size or (size < self._max_size and not self._broken):
            return
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        first = entry_of(os.pread(self._descriptor, LONGEST, 0).partition(b"\n")[0])
        number = first["sequence"] if first else self._head.sequence
        with contextlib.suppress(OSError):
            os.fsync(self._descriptor)
        os.rename(self._directory / NAME, self._directory / f"audit.{number:012d}.jsonl")
        fresh = os.open(self._directory / NAME, _APPEND | os.O_EXCL, 0o600)
        os.close(self._descriptor)
        self._descriptor, self._broken = fresh, False
        sync_directory(self._directory)
        self._drop_oldest()

    def _drop_oldest(self) -> None:
        """Drop full files beyond those that are kept, each after the log says so."""
        for path in self._files()[: -self._keep - 1]:
            places = [place for place in _places_at(path) if place.whole]
            last = entry_of(places[-1].raw) if places else None
            if last is None:
                continue  # Damaged: it stays, to be looked at.
            self._write(
                {"phase": "dropped", "through": last["sequence"], "digest": digest_of(places[-1].raw)}
            )
            os.fdatasync(self._descriptor)
            os.unlink(path)

    def _find_end(self) -> Head:
        """Find the newest line, and what is wrong with the end."""
        self._mend()
        known = self._known_head()
        last = Head()
        for path in reversed(self._files()):
            whole = [place.raw for place in _places_at(path) if place.whole]
            entries = [(entry, raw) for raw in reversed(whole) if (entry := entry_of(raw)) is not None]
            if entries:
                last = Head(entries[0][0]["sequence"], digest_of(entries[0][1]))
                break
        if known is None and last.sequence:
            self.damage = (
                f"{HEAD} is missing or unreadable: whether lines are missing at the end cannot be told"
            )
        elif known is not None and (
            known.sequence > last.sequence or (known.sequence == last.sequence and known != last)
        ):
            self.damage = f"lines are missing at the end, or changed: {known.sequence} were written, {last.sequence} are there"
            return known  # What follows cannot fit what is there, and shall not.
        return last

    def _mend(self) -> None:
        """End a line that was cut off, by a kill or a full disk, so that the next one begins on its own; that one will name it."""
        with contextlib.suppress(OSError):
            size = os.fstat(self._descriptor).st_size
            start = max(0, size - LONGEST)
            tail = os.pread(self._descriptor, LONGEST, start)
            if not tail or tail.endswith(b"\n"):
                if tail.endswith(b"\n"):
                    raw = tail[:-1].rpartition(b"\n")[2]
                    self._torn = digest_of(raw) if entry_of(raw) is None else ""
                return
            os.write(self._descriptor, b"\n")
            raw = tail.rpartition(b"\n")[2]
            self._torn = digest_of(raw) if entry_of(raw) is None else ""

    def _known_head(self) -> Head | None:
        raw = os.pread(self._anchor, 200, 0).decode("ascii", "replace").split()
        if len(raw) != 2 or not raw[0].isdecimal():  # noqa: PLR2004 - number and digest
            return None
        return Head(int(raw[0]), raw[1])


def _places_at(path: Path) -> Iterator[Place]:
    with open(path, "rb") as file:
        yield from _places(file)


def _places(file: Any) -> Iterator[Place]:  # noqa: ANN401 - a binary file
    name = os.path.basename(file.name)
    for number, line in enumerate(iter(lambda: file.readline(LONGEST), b""), 1):
        yield Place(name, number, line.rstrip(b"\n"), line.endswith(b"\n"))


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        _log.error("cannot write %s: %s", path, error.strerror)
        raise UnavailableError(
            f"cannot write the audit log {path}: {error.strerror}",
            reason="AUDIT_NOT_WRITABLE",
            hint="nothing is changed by anybody's order while it cannot be written: free some space there, or mend its permissions",
            paths=[str(path)],
        ) from error
