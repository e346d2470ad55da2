"""Which parts of a source must be looked at again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from headgated.core.paths import is_safe

Dirty: TypeAlias = "dict[bytes, Dirty]"
"""By name, what is dirty below; an empty one means all that is there."""


def dirty_tree(paths: Iterable[bytes]) -> Dirty:
    """Return `paths` as a tree. A path that is no path below the root (such as the root's own, `b""`) means everything."""
    root: Dirty = {}
    for path in sorted(paths):
        if not is_safe(path):
            return {}
        _add(root, path.split(b"/"))
    return root


def _add(here: Dirty, parts: list[bytes]) -> None:
    for part in parts[:-1]:
        if here.get(part) == {}:
            return
        here = here.setdefault(part, {})
    here[parts[-1]] = {}
