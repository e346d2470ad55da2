"""Follows recorded system calls on one directory, and so knows at each moment what of it is on the disk."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.torture.recorded import Begun, Done
from tests.torture.unsynced import Mode, Names, Node, Resize, Write

UMASK = 0o022
MARKS = b"/mark/"
"""Where a process looks for something to say how far it is."""
_OWN = b"/proc/self/fd/"
_PLAIN = ("access", "faccessat2", "close")
_NOT_HERE = (
    *(
        "writev",
        "pwritev",
        "pwritev2",
        "sendfile",
        "copy_file_range",
        "splice",
        "fallocate",
        "sync_file_range",
    ),
    *("truncate", "mknod", "mknodat", "creat"),
)
"""What nothing that is followed does; if it begins to, it has to be learnt."""

Argument = str | bytes


@dataclass
class _Open:
    node: Node
    position: int = 0


class Followed:
    """The directory `top` (absolute, without symlinks), in which there is `root` when the recording begins, and what is left out."""

    def __init__(self, top: Path, root: Node, leave_out: frozenset[str]) -> None:
        self.root = root
        self._leave_out = frozenset(map(os.fsencode, leave_out))
        self.marks: list[str] = []
        """What the process has said."""
        self._top = os.fsencode(top)
        self._files: dict[int, _Open] = {}
        self._syncing: dict[int, list[tuple[Node, int]]] = {}
        """By number of the call: what it brings to the disk, and how much of what was done to it."""

    def follow(self, event: Begun | Done) -> bool:
        """Take in what happened; tell whether a power cut may leave something else now."""
        if isinstance(event, Begun):
            self._begin(event)
            return False
        if event.name in ("fsync", "fdatasync", "syncfs", "sync"):
            return self._end_sync(event)
        if event.name in _PLAIN or event.result < 0:
            return False
        if event.name in _NOT_HERE:
            assert not any(self._is_followed(part) for part in event.arguments), event
            return False
        act: Callable[..., bool | None] = getattr(self, f"_{event.name}")
        return bool(act(event.result, *event.arguments))

    def _begin(self, event: Begun) -> None:
        first = event.arguments[0] if event.arguments else ""
        if event.name == "close":
            self._files.pop(_number(first), None)
        elif event.name == "access" and isinstance(first, bytes) and first.startswith(MARKS):
            self.marks.append(os.fsdecode(first.removeprefix(MARKS)))
        elif event.name in ("fsync", "fdatasync") and (node := self._node(first)) is not None:
            self._syncing[event.number] = [(node, len(node.pending))]
        elif event.name == "sync" or (event.name == "syncfs" and self._node(first) is not None):
            self._syncing[event.number] = [(node, len(node.pending)) for node in self._all()]

    def _end_sync(self, event: Done) -> bool:
        """What was done before the sync began is on the disk; of what was done since, nobody knows."""
        settled = False
        for node, count in self._syncing.pop(event.number, []):
            if event.result < 0 or count == 0:
                continue
            settled = True
            node.settle(count)
            for number, others in self._syncing.items():
                self._syncing[number] = [
                    (other, max(0, left - count) if other is node else left) for other, left in others
                ]
        return settled

    def _all(self) -> list[Node]:
        found: dict[int, Node] = {}
        waiting = [self.root, *(each.node for each in self._files.values())]
        while waiting:
            node = waiting.pop()
            if id(node) not in found:
                found[id(node)] = node
                waiting += [*node.names.values(), *node.now.values()]
        return list(found.values())

    # Where things are.

    def _node(self, fd: Argument) -> Node | None:
        opened = self._files.get(_number(fd))
        return None if opened is None else opened.node

    def _is_followed(self, part: Argument) -> bool:
        if isinstance(part, bytes):
            return part.startswith(self._top)
        return part.isdigit() and int(part) in self._files

    def _place(self, at: Argument, path: Argument) -> tuple[Node, bytes] | None:
        """Return the directory and the name that a path leads to; None: elsewhere."""
        assert isinstance(path, bytes)
        if path.startswith(b"/"):
            if path != self._top and not path.startswith(self._top + b"/"):
                return None
            start, parts = self.root, path[len(self._top) :].split(b"/")
        else:
            found = self._node(at)
            if found is None:
                return None
            start, parts = found, path.split(b"/")
        parts = [part for part in parts if part not in (b"", b".")]
        assert b".." not in parts
        if start is self.root and parts and parts[0] in self._leave_out:
            return None
        for part in parts[:-1]:
            if part not in start.now:
                return None
            start = start.now[part]
        return start, parts[-1] if parts else b""

    def _at(self, at: Argument, path: Argument) -> Node | None:
        place = self._place(at, path)
        if place is None:
            return None
        directory, name = place
        return directory.now.get(name) if name else directory

    # Opening.

    def _open_at(self, fd: int, at: Argument, path: Argument, flags: str, mode: str = "0") -> bool:
        self._files.pop(fd, None)
        place = self._place(at, path)
        if place is None:
            return False
        directory, name = place
        new = Node(stat.S_IFREG, int(mode, 8) & ~UMASK)
        if "O_TMPFILE" in flags:
            self._files[fd] = _Open(new)
            return False
        node = directory.now.get(name) if name else directory
        made = node is None
        if node is None:
            assert "O_CREAT" in flags, path
            node = new
            directory.change(Names({name: node}))
        elif "O_TRUNC" in flags:
            node.change(Resize(0))
        self._files[fd] = _Open(node)
        return made or "O_TRUNC" in flags

    def _open(self, fd: int, path: bytes, flags: str, mode: str = "0") -> bool:
        return self._open_at(fd, "", path, flags, mode)

    def _openat(self, fd: int, at: str, path: bytes, flags: str, mode: str = "0") -> bool:
        return self._open_at(fd, at, path, flags, mode)

    def _openat2(self, fd: int, at: str, path: bytes, how: str, _size: str) -> bool:
        return self._open_at(fd, at, path, how)

    def _dup(self, new: int, fd: str) -> None:
        self._files.pop(new, None)
        if (opened := self._files.get(_number(fd))) is not None:
            self._files[new] = opened

    def _fcntl(self, result: int, fd: str, what: str, *_: str) -> None:
        if what.startswith("F_DUPFD"):
            self._dup(result, fd)

    def _dup2(self, new: int, fd: str, *_: str) -> None:
        self._dup(new, fd)

    _dup3 = _dup2

    def _lseek(self, result: int, fd: str, *_: str) -> None:
        if (opened := self._files.get(_number(fd))) is not None:
            opened.position = result

    # Files.

    def _write(self, result: int, fd: str, data: bytes, _count: str) -> bool:
        opened = self._files.get(_number(fd))
        if opened is None:
            return False
        opened.node.change(Write(opened.position, data[:result]))
        opened.position += result
        return True

    def _pwrite64(self, result: int, fd: str, data: bytes, _count: str, at: str) -> bool:
        node = self._node(fd)
        if node is not None:
            node.change(Write(int(at), data[:result]))
        return node is not None

    def _ftruncate(self, _result: int, fd: str, size: str) -> bool:
        node = self._node(fd)
        if node is not None:
            node.change(Resize(int(size)))
        return node is not None

    def _set_mode(self, node: Node | None, mode: str) -> bool:
        if node is None or node.after(node.pending)[0] == int(mode, 8):
            return False
        node.change(Mode(int(mode, 8)))
        return True

    def _fchmod(self, _result: int, fd: str, mode: str) -> bool:
        return self._set_mode(self._node(fd), mode)

    def _chmod(self, _result: int, path: bytes, mode: str) -> bool:
        return self._set_mode(self._at("", path), mode)

    def _fchmodat(self, _result: int, at: str, path: bytes, mode: str, *_: str) -> bool:
        return self._set_mode(self._at(at, path), mode)

    _fchmodat2 = _fchmodat

    # Names.

    def _name(self, at: Argument, path: Argument, node: Node | None) -> bool:
        place = self._place(at, path)
        if place is None:
            return False
        directory, name = place
        directory.change(Names({name: node}))
        return True

    def _renameat2(self, _result: int, at: str, old: bytes, to: str, new: bytes, flags: str = "0") -> bool:
        source, destination = self._place(at, old), self._place(to, new)
        if source is None and destination is None:
            return False
        assert source is not None
        assert destination is not None
        directory, name = source
        assert directory is destination[0], "a rename from one directory to another is not known here"
        gone = directory.now.get(destination[1]) if "RENAME_EXCHANGE" in flags else None
        directory.change(Names({name: gone, destination[1]: directory.now[name]}))
        return True

    _renameat = _renameat2

    def _rename(self, result: int, old: bytes, new: bytes) -> bool:
        return self._renameat2(result, "", old, "", new)

    def _linkat(self, _result: int, at: str, old: bytes, to: str, new: bytes, *_: str) -> bool:
        node = self._node(os.fsdecode(old.removeprefix(_OWN))) if old.startswith(_OWN) else self._at(at, old)
        if node is None:
            return False
        return self._name(to, new, node)

    def _link(self, result: int, old: bytes, new: bytes) -> bool:
        return self._linkat(result, "", old, "", new)

    def _symlinkat(self, _result: int, target: bytes, at: str, path: bytes) -> bool:
        return self._name(at, path, Node(stat.S_IFLNK, 0o777, target))

    def _symlink(self, result: int, target: bytes, path: bytes) -> bool:
        return self._symlinkat(result, target, "", path)

    def _unlinkat(self, _result: int, at: str, path: bytes, _flags: str) -> bool:
        return self._name(at, path, None)

    def _unlink(self, result: int, path: bytes) -> bool:
        return self._unlinkat(result, "", path, "0")

    _rmdir = _unlink

    def _mkdirat(self, _result: int, at: str, path: bytes, mode: str) -> bool:
        return self._name(at, path, Node(stat.S_IFDIR, int(mode, 8) & ~UMASK))

    def _mkdir(self, result: int, path: bytes, mode: str) -> bool:
        return self._mkdirat(result, "", path, mode)


def _number(fd: Argument) -> int:
    return int(fd) if isinstance(fd, str) and fd.isdigit() else -1
