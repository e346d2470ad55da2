"""Which symlinks stay inside their tree."""

from __future__ import annotations

from collections.abc import Iterator

from headgated.core.paths import join
from headgated.core.tree import EMPTY, Directory, Kind, changed_names


def changed_links(old: Directory, new: Directory) -> Iterator[tuple[bytes, bytes]]:
    """Yield the path and the target of each symlink in `new` that is not the same in `old`; equal parts are skipped unread."""
    waiting = [(b"", old, new)]
    while waiting:
        at, before, after = waiting.pop()
        for name in changed_names(before, after) if before is not after else ():
            node = after.children.get(name)
            if isinstance(node, Directory):
                known = before.children.get(name)
                waiting.append((join(at, name), known if isinstance(known, Directory) else EMPTY, node))
            elif node is not None and node.kind == Kind.SYMLINK:
                yield join(at, name), node.target


def leads_out(path: bytes, target: bytes) -> bool:
    """Tell whether a symlink at `path` (relative to the root of its tree) that points to `target` may lead out of the tree.

    It may when it is absolute, when it climbs higher than the root, and when it climbs (`..`) after a name: that name may be a
    symlink itself, and `..` then goes up from wherever that one ends. What is left are links that climb from where they
    really are and then only go down; if every link of a tree is such a one, no chain of them leaves the tree.
    """
    if target.startswith(b"/"):
        return True
    room = path.count(b"/")
    descended = False
    for part in target.split(b"/"):
        if part in (b"", b"."):
            continue
        if part != b"..":
            descended = True
        elif descended or room == 0:
            return True
        else:
            room -= 1
    return False
