"""Finds what cannot work before anything changes.

Nothing here is a guarantee: a disk may fill up a moment later. It turns the common failures into one clear answer that
names every path, and spares the target the back and forth.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping

from headgated.core.paths import parent
from headgated.core.plan import Change
from headgated.core.steps import Put, Step, Take, steps
from headgated.effects import kernel
from headgated.effects.beneath import GONE
from headgated.effects.target.failure import failed, moved, refused, show
from headgated.effects.target.room import check_room
from headgated.effects.target.site import Site
from headgated.effects.target.unnamed import fits

NOTHING: Mapping[int, int] = {}
_LONGEST_PATH = 4095
_LONGEST_NAME = 255


def probe(site: Site, root: bytes, changes: Iterable[Change], beside: Mapping[int, int] = NOTHING) -> bool:
    """Check that the changes can be made; return whether what they bring can be staged without a name (`unnamed.fits`).

    Args:
        site: where.
        root: of the target: absolute.
        changes: what is to be done.
        beside: bytes that the deployment needs for something else, by device.

    Raises:
        DeploymentFailedError: NAME_TOO_LONG, READ_ONLY, NOT_WRITABLE, MOUNT_POINT, NO_SPACE; the paths are all there are.
        TargetMovedError: a directory that the plan counted on is gone.
    """
    changes = tuple(changes)
    planned = steps(changes, "")
    _names(root, changes)
    _places(site, planned)
    _refuse_each(
        [path for path in _in_the_way(planned) if _is_mounted(site, path)],
        "MOUNT_POINT",
        "is a mount point, so it cannot be replaced",
        "unmount it, or leave this path out of the source",
    )
    _space(site, planned, beside)
    return fits(site, planned)


def _refuse_each(paths: list[bytes], reason: str, what: str, hint: str) -> None:
    if paths:
        raise refused(reason, what, paths, hint)


def _names(root: bytes, changes: Iterable[Change]) -> None:
    long = [
        change.path
        for change in changes
        if change.wanted is not None
        and (
            len(root) + 1 + len(change.path) > _LONGEST_PATH
            or max(map(len, change.path.split(b"/"))) > _LONGEST_NAME
            or len(change.wanted.target) > _LONGEST_PATH
        )
    ]
    _refuse_each(
        long, "NAME_TOO_LONG", "is too long, or points to a path that is", "use a shorter name in the source"
    )


def _places(site: Site, planned: Iterable[Step]) -> None:
    """Check each directory that something is made, renamed or removed in."""
    read_only, closed = [], []
    for path, step_path in {parent(step.path): step.path for step in planned}.items():
        directory = _open(site, path, step_path)
        if os.fstatvfs(directory).f_flag & os.ST_RDONLY:
            read_only.append(path)
        elif not os.access(".", os.W_OK | os.X_OK, dir_fd=directory, effective_ids=True):
            closed.append(path)
    _refuse_each(
        read_only,
        "READ_ONLY",
        "is on a read-only file system",
        "mount it writable, and let the service write there (ReadWritePaths=)",
    )
    _refuse_each(
        closed,
        "NOT_WRITABLE",
        "is a directory that the daemon may not write to",
        "let the daemon's user write there; look for an immutable flag (lsattr)",
    )


def _in_the_way(planned: Iterable[Step]) -> Iterator[bytes]:
    """Yield what is to be renamed or removed, and every directory in it."""
    for step in planned:
        if isinstance(step, Put | Take) and step.expected is not None:
            yield step.path
        if isinstance(step, Put):
            yield from (change.path for change in step.members if change.expected is not None)


def _is_mounted(site: Site, path: bytes) -> bool:
    try:
        return kernel.is_mount_point(*site.beneath.place(path))
    except OSError as error:
        raise moved(path) if error.errno in GONE else failed("look at", path, error) from error


def _space(site: Site, planned: Iterable[Step], beside: Mapping[int, int]) -> None:
    """Check free bytes and inodes of each file system for everything that is staged on it."""
    needs: dict[int, tuple[bytes, list[Put]]] = {}
    for step in planned:
        if isinstance(step, Put):
            path = parent(step.path)
            device = os.fstat(_open(site, path, step.path)).st_dev
            needs.setdefault(device, (path, []))[1].append(step)
    for device, (path, puts) in needs.items():
        there = os.fstatvfs(_open(site, path, puts[0].path))
        check_room(there, show(path), puts, beside.get(device, 0))


def _open(site: Site, path: bytes, on_behalf: bytes) -> int:
    try:
        return site.beneath.directory(path)
    except OSError as error:
        raise moved(on_behalf) if error.errno in GONE else failed("look into", path, error) from error
