"""A copy of a target as it will be after a deployment, for checks to look at before anything is replaced.

The copy has the final relative layout: what stays at the target, foreign files too, and over it what the deployment brings, with the
modes and owners that they will have. Nothing in it is linked with the target: a check that writes into it harms nothing. It costs
what the whole target costs to copy, and is made only where a command asks for it.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from headgated.core.errors import DeploymentFailedError, TargetMovedError
from headgated.core.ignore import OWN_PREFIX
from headgated.core.paths import escape, join
from headgated.core.plan import Change
from headgated.core.tree import Entry, Kind
from headgated.effects.beneath import Beneath

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_OURS = "headgate-check-"
"""How the names of what is made here begin."""
_MOVED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.ESTALE, errno.EINVAL})
"""What is said where somebody changes the target while it is copied; EINVAL of what was a symlink a moment ago."""
_PIECE = 1 << 24
_MAY_PASS = 0o711
"""Others may pass through by name, to what the files' own modes let them see: a check may run as another user."""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """Where the copy is."""

    staged: Path
    """The target as it will be."""
    changed: Path
    """A file with the changed paths, relative to the target, each on a line of its own, escaped."""


@contextmanager
def rehearsal(
    base: Path, target: str, changes: Sequence[Change], content: Callable[[bytes, Entry], Iterable[bytes]]
) -> Iterator[Rehearsal]:
    """Make the copy; it is removed at the end.

    Args:
        base: where to; made if need be.
        target: the target directory; it need not exist.
        changes: what the deployment changes there.
        content: gives what shall be at a path.

    Raises:
        DeploymentFailedError: CHECK_IMPOSSIBLE, it cannot be made.
    """
    place = base / f"{_OURS}{secrets.token_hex(6)}"
    try:
        try:
            make_passable(place)
            made = _make(place, target, changes, content)
        except OSError as error:
            raise DeploymentFailedError(
                f"cannot check {target}: no copy of it can be made in {base}: {_told(error)}",
                reason="CHECK_IMPOSSIBLE",
                hint=_hint(error),
            ) from error
        yield made
    finally:
        _remove(place)


def make_passable(directory: Path) -> None:
    """Make a directory and those above it, as far as they are missing, so that others may pass through by name, whatever the umask."""
    missing = [one for one in (directory, *directory.parents) if not one.exists()]
    for one in reversed(missing):
        with suppress(FileExistsError):  # Another deployment was faster.
            one.mkdir(mode=_MAY_PASS)
            one.chmod(_MAY_PASS)


def list_of_changes(base: Path, deployment_id: str) -> Path:
    """Return where the changed paths of a deployment are written for its reloads and probes."""
    return base / f"{_OURS}{deployment_id}.changed"


def write_changes(file: Path, changes: Iterable[Change]) -> None:
    """Write the changed paths, readable for whoever a command runs as."""
    file.write_text("".join(f"{escape(change.path)}\n" for change in changes), "utf-8")
    file.chmod(0o644)


def sweep(base: Path) -> None:
    """Remove what a killed daemon left. Nothing else: the directory is one that root chose, and may hold what is not ours."""
    with suppress(OSError):
        for name in os.listdir(base):
            if name.startswith(_OURS):
                _remove(base / name)


def _remove(place: Path) -> None:
    """Remove a copy, or a file; what cannot be stays. A directory of the copy may be closed to its owner too, as its original is."""
    if place.is_symlink() or not place.is_dir():
        with suppress(OSError):
            place.unlink()
        return
    for above, _, _ in os.walk(place, onerror=_open_up):
        _open_up(PermissionError(errno.EACCES, "", above))
    shutil.rmtree(place, ignore_errors=True)


def _open_up(error: OSError) -> None:
    with suppress(OSError):
        os.chmod(error.filename, 0o700, follow_symlinks=True)


def _told(error: OSError) -> str:
    what = error.filename
    where = f" ({escape(os.fsencode(what))})" if isinstance(what, str | bytes) else ""
    return f"{error.strerror or type(error).__name__}{where}"


def _hint(error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        return "let the daemon's user read the whole target: a check sees all of it"
    return "free some space there, or choose another check_directory in the daemon's configuration"


def _make(
    place: Path, target: str, changes: Sequence[Change], content: Callable[[bytes, Entry], Iterable[bytes]]
) -> Rehearsal:
    staged, changed = place / "staged", place / "changed"
    staged.mkdir()
    wanted = {change.path: change.wanted for change in changes}
    with Beneath(os.fsencode(staged)) as copy:
        try:
            directories = _copy(target, copy, wanted)
        except OSError as error:
            if error.errno not in _MOVED:
                raise
            raise TargetMovedError(
                f"cannot check {target}: it changes while it is copied: {_told(error)}"
            ) from error
        for path, entry in wanted.items():
            if entry is not None:
                _put(copy, path, entry, content)
                if entry.kind == Kind.DIRECTORY:
                    directories[path] = _Attributes(entry.mode, entry.uid, entry.gid)
        for path in sorted(
            directories, reverse=True
        ):  # Last, and from below: nothing can be put into one that is read-only.
            if path in wanted and wanted[path] is None:
                # It goes, unless there is something in it that is not ours.
                above, name = copy.place(path)
                with suppress(OSError):
                    os.rmdir(name, dir_fd=above)
                    continue
            directories[path].give(copy.directory(path), 0o755)
    write_changes(changed, changes)
    return Rehearsal(staged, changed)


@dataclass(frozen=True, slots=True)
class _Attributes:
    mode: int | None
    uid: int | None
    gid: int | None

    @classmethod
    def of(cls, there: os.stat_result) -> _Attributes:
        return cls(stat.S_IMODE(there.st_mode), there.st_uid, there.st_gid)

    def give(self, descriptor: int, usual: int) -> None:
        """Set them on a file or directory of the copy; nothing there runs with anybody else's rights."""
        if os.geteuid() == 0:
            os.fchown(descriptor, -1 if self.uid is None else self.uid, -1 if self.gid is None else self.gid)
        os.fchmod(descriptor, (usual if self.mode is None else self.mode) & 0o1777)


def _copy(target: str, copy: Beneath, wanted: Mapping[bytes, Entry | None]) -> dict[bytes, _Attributes]:
    """Copy what stays; return what attributes each directory has.

    What is neither file nor directory nor symlink is nothing to check, and left out.
    """
    directories: dict[bytes, _Attributes] = {}
    try:
        source = Beneath(os.fsencode(target))
    except FileNotFoundError:
        return {b"": _Attributes(None, None, None)}
    with source:
        ahead = [b""]
        while ahead:
            at = ahead.pop()
            here, there = source.directory(at), copy.directory(at)
            directories[at] = _Attributes.of(os.fstat(here))
            for name in map(os.fsencode, os.listdir(here)):
                if name.startswith(OWN_PREFIX):
                    continue  # what is staged; it is put in its place below
                path = join(at, name)
                try:
                    found = os.stat(name, dir_fd=here, follow_symlinks=False)
                except FileNotFoundError:
                    continue  # removed a moment ago
                if stat.S_ISDIR(found.st_mode):
                    gives_way = wanted.get(path)
                    if gives_way is None or gives_way.kind == Kind.DIRECTORY:
                        os.mkdir(name, 0o700, dir_fd=there)
                        ahead.append(path)
                elif path not in wanted:
                    _copy_one(here, there, name, found)
    return directories


def _copy_one(here: int, there: int, name: bytes, found: os.stat_result) -> None:
    if stat.S_ISLNK(found.st_mode):
        os.symlink(os.readlink(name, dir_fd=here), name, dir_fd=there)
        return
    if not stat.S_ISREG(found.st_mode):
        return
    try:
        old = os.open(name, _READ, dir_fd=here)
    except FileNotFoundError:
        return  # removed a moment ago
    try:
        new = os.open(name, _NEW, 0o600, dir_fd=there)
        try:
            _copy_content(old, new)
            _Attributes.of(os.fstat(old)).give(new, 0o644)
        finally:
            os.close(new)
    finally:
        os.close(old)


def _copy_content(old: int, new: int) -> None:
    try:
        while os.copy_file_range(old, new, _PIECE):
            pass
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        while piece := os.read(old, _PIECE):
            _write(new, piece)


def _put(
    copy: Beneath, path: bytes, wanted: Entry, content: Callable[[bytes, Entry], Iterable[bytes]]
) -> None:
    directory, name = copy.place(path)
    if wanted.kind == Kind.DIRECTORY:
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=directory)
    elif wanted.kind == Kind.SYMLINK:
        os.symlink(wanted.target, name, dir_fd=directory)
    else:
        new = os.open(name, _NEW, 0o600, dir_fd=directory)
        try:
            for piece in content(path, wanted):
                _write(new, piece)
            _Attributes(wanted.mode, wanted.uid, wanted.gid).give(new, 0o644)
        finally:
            os.close(new)


def _write(descriptor: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(descriptor, view) :]
