"""Trees on disk, told and compared as dicts: path -> F (file), L (symlink) or D (directory)."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from headgated.core.plan import Change
from headgated.core.steps import Step, steps
from headgated.core.tree import Entry, Kind
from headgated.effects.target import Target
from headgated.effects.target.look import RACY

TOKEN = "0123456789ab"


@dataclass(frozen=True)
class F:
    content: bytes = b""
    mode: int = 0o644


@dataclass(frozen=True)
class L:
    target: bytes


@dataclass(frozen=True)
class D:
    mode: int = 0o755


@dataclass(frozen=True)
class Special:
    """A FIFO, socket or device; never made here."""

    kind: int


Thing = F | L | D | Special
World = Mapping[bytes, Thing]


def build(root: Path, world: World) -> None:
    """Make exactly this at root, which may exist if it is empty. Every parent must be named."""
    base = os.fsencode(root)
    os.makedirs(base, exist_ok=True)
    for path in sorted(world):
        thing, at = world[path], os.path.join(base, path)
        if isinstance(thing, F):
            with open(at, "wb") as file:
                file.write(thing.content)
            os.chmod(at, thing.mode)
        elif isinstance(thing, L):
            os.symlink(thing.target, at)
        elif isinstance(thing, D):
            os.mkdir(at)
    for path in sorted(world, reverse=True):
        thing = world[path]
        if isinstance(thing, D):
            os.chmod(os.path.join(base, path), thing.mode)


def look(root: Path) -> dict[bytes, Thing]:
    """Return all that is at root, temporaries included."""
    found: dict[bytes, Thing] = {}
    base = os.fsencode(root)
    for directory, directories, files in os.walk(base):
        for name in directories + files:
            at = os.path.join(directory, name)
            there, path = os.lstat(at), os.path.relpath(at, base)
            mode = stat.S_IMODE(there.st_mode)
            if stat.S_ISLNK(there.st_mode):
                found[path] = L(os.readlink(at))
            elif stat.S_ISDIR(there.st_mode):
                found[path] = D(mode)
            elif stat.S_ISREG(there.st_mode):
                with open(at, "rb") as file:
                    found[path] = F(file.read(), mode)
            else:
                found[path] = Special(stat.S_IFMT(there.st_mode))
    return found


def entry(thing: Thing) -> Entry:
    """Return what a plan wants for a thing."""
    match thing:
        case F(content, mode):
            return Entry(Kind.FILE, mode, hashlib.sha256(content).digest(), len(content))
        case L(target):
            return Entry(Kind.SYMLINK, target=target)
        case D(mode):
            return Entry(Kind.DIRECTORY, mode)
        case Special():
            raise AssertionError(thing)


def changes(target: Target, before: Iterable[bytes], after: World) -> tuple[Change, ...]:
    """Return what brings a target that has `before` (paths) to `after`; everything is ours."""
    live = target.observe({*before, *after})
    found = []
    for path in sorted(live, key=lambda path: path.split(b"/")):
        wanted = entry(after[path]) if path in after else None
        now = live[path]
        if (wanted is None and now is not None) or (wanted is not None and not wanted.matches(now)):
            found.append(Change(path, now, wanted))
    return tuple(found)


def reader(after: World) -> Callable[[Change], Iterable[bytes]]:
    """Return what gives contents."""

    def read(change: Change) -> Iterable[bytes]:
        thing = after[change.path]
        assert isinstance(thing, F)
        middle = len(thing.content) // 2
        return [thing.content[:middle], thing.content[middle:]]

    return read


def planned(target: Target, before: Iterable[bytes], after: World, token: str = TOKEN) -> tuple[Step, ...]:
    return steps(changes(target, before, after), token)


def deploy(target: Target, before: Iterable[bytes], after: World, token: str = TOKEN) -> Sequence[Step]:
    """All of it, as the engine does."""
    todo = changes(target, before, after)
    target.prepare(todo)
    path = steps(todo, token)
    target.stage(path, reader(after))
    target.apply(path)
    target.finish(path)
    return path


def wait_until_old(path: Path) -> None:
    """Return when the file is old enough for its times to be trusted."""
    while time.time_ns() - path.lstat().st_ctime_ns < RACY:
        time.sleep(0.005)
