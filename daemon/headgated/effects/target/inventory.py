"""What a whole tree consists of: by which a tree that was carried along is compared with what it is later."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from headgated.core.paths import join
from headgated.effects import kernel
from headgated.effects.beneath import GONE
from headgated.effects.target.failure import refused
from headgated.effects.target.metadata import attributes_of
from headgated.effects.target.site import Site
from headgated.effects.target.survey import bits


@dataclass(frozen=True, slots=True)
class Item:
    """One name in a tree."""

    kind: int
    """As `stat.S_IFMT` gives it."""
    inode: int = 0
    """Of anything but a directory."""
    bits: tuple[int, int, int] = (0, 0, 0)
    """Mode, uid and gid of a directory; all else shares its inode with what it is compared with."""
    attributes: tuple[tuple[str, bytes], ...] = ()
    """Extended attributes of a directory, its access control lists among them."""

    @property
    def is_directory(self) -> bool:
        """Whether it is one."""
        return self.kind == stat.S_IFDIR


Inventory = dict[bytes, Item]
"""Every path of a tree, the root (`b""`) included."""


def walk(site: Site) -> Iterator[tuple[bytes, os.stat_result]]:
    """Yield every path below the root with its stat, a directory before what is in it. What goes meanwhile is left out.

    Raises:
        DeploymentFailedError: MOUNT_POINT, every directory that something is mounted on; at the end.
        OSError: a directory cannot be read.
    """
    mounts = []
    ahead = [b""]
    while ahead:
        at = ahead.pop()
        try:
            names = os.listdir(site.beneath.directory(at))
        except OSError as error:
            if at and error.errno in GONE:
                continue
            raise
        for name in sorted(os.fsencode(name) for name in names):
            path = join(at, name)
            there = _look(site, path)
            if there is None:
                continue
            if stat.S_ISDIR(there.st_mode):
                if is_mounted(site, path):
                    mounts.append(path)
                    continue
                ahead.append(path)
            yield path, there
    refuse_mounts(mounts)


def _look(site: Site, path: bytes) -> os.stat_result | None:
    try:
        return site.look(path)
    except OSError as error:
        if error.errno in GONE:
            return None
        raise


def is_mounted(site: Site, path: bytes) -> bool:
    """Tell whether something is mounted on a path; no, where there is nothing."""
    try:
        return kernel.is_mount_point(*site.beneath.place(path))
    except OSError as error:
        if error.errno in GONE:
            return False
        raise


def refuse_mounts(paths: list[bytes]) -> None:
    """Refuse mount points in a tree that is to be exchanged.

    Raises:
        DeploymentFailedError: MOUNT_POINT, if there are any.
    """
    if paths:
        raise refused(
            "MOUNT_POINT",
            "is a mount point, so the directory cannot be exchanged as a whole",
            paths,
            "unmount it, or use strategy in-place",
        )


def item_of(there: os.stat_result, fd: int | None = None) -> Item:
    """Return what a stat tells; of a directory, give the descriptor too."""
    kind = stat.S_IFMT(there.st_mode)
    if kind != stat.S_IFDIR:
        return Item(kind, there.st_ino)
    attributes = () if fd is None else tuple(sorted(attributes_of(fd).items()))
    return Item(kind, bits=bits(there), attributes=attributes)


def take_inventory(site: Site) -> Inventory:
    """Return all that is in a tree.

    Raises:
        DeploymentFailedError: MOUNT_POINT. OSError: it cannot be read.
    """
    root = site.beneath.directory(b"")
    found = {b"": item_of(os.fstat(root), root)}
    for path, there in walk(site):
        if not stat.S_ISDIR(there.st_mode):
            found[path] = item_of(there)
            continue
        try:
            fd = site.beneath.directory(path)
        except OSError as error:
            if error.errno in GONE:
                continue
            raise
        found[path] = item_of(os.fstat(fd), fd)
    return found
