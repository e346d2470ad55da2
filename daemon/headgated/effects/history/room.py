"""Whether history's file system has room for a deployment, found out before it begins.

An estimate, and no guarantee: sums over the plan of what the pages of SQLite take, from above. What is kept is written twice, to the log and
later to the file. What is little is not asked about: room for a few small files was looked for when the deployment was asked for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from headgated.core.deployment import LISTED_CHANGES
from headgated.core.errors import DeploymentFailedError
from headgated.core.plan import Change
from headgated.core.tree import Directory, Kind, lookup, parts_with
from headgated.effects.history.contents import BLOCK
from headgated.effects.history.outbox import FULL

LITTLE = 64 * 1024
"""Bytes of contents and directories up to which nothing is asked."""
RESERVE = 256 * 1024
"""Bytes that a deployment leaves free: for its record and those of others."""

_PAGE, _FRAME, _USABLE = 4096, 24, 4088
_IN_A_LEAF, _LEAST_IN_A_LEAF = 4061, 489
"""Bytes of the longest row that lies in one page, and of a longer one that lie there at least."""
_BESIDE = 6 * _PAGE
"""Bytes that change for each piece of a large content, beside itself."""
_ROW, _KEY = 45, 65
"""Bytes that a content costs beside itself: in the table, and in the index of digests, which is two thirds full."""
_CHANGE, _LISTED = 300, 700
"""Bytes of a change in history, and in the record, which lists some; beside its path."""


@dataclass(frozen=True, slots=True)
class Volume:
    """What a deployment brings into history."""

    sizes: Mapping[bytes, int]
    """Of each content and directory node, by digest: bytes."""
    notes: int
    """Bytes of everything else."""

    def need(self, leaves: int | None = None, in_log: int = 0) -> int:
        """Return the bytes that it takes at most.

        Args:
            leaves: pages that the index of digests has; None: no idea, so that each content changes another one.
            in_log: bytes of the log that are written over.
        """
        rows = len(self.sizes)
        kept = sum(map(_in_pages, self.sizes.values())) + rows * _KEY + self.notes + self.notes // 8
        sends = 1 + sum(self.sizes.values()) // FULL
        index = rows if leaves is None else min(rows, sends * (leaves + 1 + rows * _KEY // _PAGE))
        log = (kept + (index + sends) * _PAGE) * (_PAGE + _FRAME) // _PAGE
        return kept + max(0, log - in_log) + RESERVE


def volume(changes: Iterable[Change], result: Directory) -> Volume:
    """Return what a plan brings into history if nothing of it is there yet.

    Args:
        changes: of the plan.
        result: what is managed afterwards.
    """
    sizes: dict[bytes, int] = {}
    notes = 0
    inside: dict[bytes, set[bytes]] = {}
    for number, change in enumerate(changes):
        notes += 3 * len(change.path) + _CHANGE + (_LISTED if number < LISTED_CHANGES else 0)
        for entry in (change.expected, change.wanted):
            if entry is not None and entry.kind == Kind.FILE:
                sizes[entry.digest] = entry.size
        path = change.path
        while path:
            path, _, name = path.rpartition(b"/")
            names = inside.setdefault(path, set())
            if name in names:
                break
            names.add(name)
    for path, names in inside.items():
        node = lookup(result, path)
        if isinstance(node, Directory):
            sizes.update((part.digest, len(part.encoded)) for part in parts_with(node, names))
    return Volume(sizes, notes)


def without(found: Volume, stored: Callable[[bytes], bool]) -> Volume:
    """Return what is not stored yet."""
    return Volume({digest: size for digest, size in found.sizes.items() if not stored(digest)}, found.notes)


def is_little(found: Volume) -> bool:
    """Tell whether there is no need to ask."""
    return sum(found.sizes.values()) + found.notes <= LITTLE


def leaves(contents: int) -> int:
    """Return how many pages the index of so many digests has, about."""
    return 1 + contents * _KEY // _PAGE


def check_room(directory: Path, found: Volume, refine: Callable[[], int]) -> dict[int, int]:
    """Compare with what is free.

    Args:
        directory: where history is.
        found: what a deployment brings into it at most.
        refine: finds out better how many bytes it needs; asked where there is little room.

    Returns:
        The bytes that it needs, by the device that they are needed on.

    Raises:
        DeploymentFailedError: NO_SPACE.
    """
    there, device = os.statvfs(directory), os.stat(directory).st_dev
    free, need = there.f_bavail * there.f_frsize, found.need()
    if need > free:
        need = refine()
    if need > free:
        raise DeploymentFailedError(
            f"cannot deploy: history needs {need} bytes on the file system of {directory}, and {free} are free",
            reason="NO_SPACE",
            hint="make room there: it goes on by itself; headgate history gc drops what need not be kept",
            paths=[str(directory)],
        )
    return {device: need}


def _in_pages(size: int) -> int:
    """Return the bytes of the pages that a content takes: a share of a leaf, and pages that overflow (sqlite.org/fileformat2.html, 1.6)."""
    if size > BLOCK:
        pieces = 1 + size // BLOCK
        return pieces * _BESIDE + size // (_PAGE - 4) * _PAGE
    row = size + _ROW
    here = row
    if row > _IN_A_LEAF:
        here = _LEAST_IN_A_LEAF + (row - _LEAST_IN_A_LEAF) % (_PAGE - 4)
        here = here if here <= _IN_A_LEAF else _LEAST_IN_A_LEAF
    return _PAGE // (_USABLE // here) + -(-(row - here) // (_PAGE - 4)) * _PAGE
