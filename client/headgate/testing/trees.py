"""What is in directories, as paths and contents, and what a deployment makes of it. Pure."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from headgate.v1 import deployment_pb2 as pb

Tree = Mapping[str, bytes]
Edits = Mapping[str, bytes | None]
"""Content by path; None: there is no file."""

_REFERENCE = re.compile(rb"(\$+)(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(?::-([^{}\n]*))?\})", re.ASCII)
_MODE = 0o644
_SMALL, _HALF = 10, 2


def rendered(content: bytes, variables: Mapping[str, str]) -> bytes:
    """Return a file with its variables put in (docs/rendering.md)."""

    def put(found: re.Match[bytes]) -> bytes:
        dollars, name = found[1], (found[2] or found[3]).decode()
        if name not in variables and found[4] is None:
            return found[0]
        pairs, odd = divmod(len(dollars), 2)
        value = variables.get(name, "").encode() or found[4] or b""
        return b"$" * pairs + (value if odd else found[0][len(dollars) :])

    return _REFERENCE.sub(put, content) if variables and b"\0" not in content else content


def version(tree: Tree) -> str:
    """Return the name of a tree: a digest."""
    whole = hashlib.sha256()
    for path, content in sorted(tree.items()):
        whole.update(f"{path}\0{len(content)}\0".encode() + content)
    return f"sha256:{whole.hexdigest()}"


@dataclass(frozen=True, slots=True)
class Step:
    """What a deployment does to a target."""

    found: Edits
    """What it finds at each path that it changes."""
    left: Edits
    """What it leaves there."""
    managed: Tree
    """What Headgate answers for afterwards."""
    notes: tuple[str, ...] = ()

    @property
    def changes(self) -> pb.Changes:
        """The changes as the protocol has them."""
        message = pb.Changes(unchanged_count=len(self.managed.keys() - self.left.keys()), notes=self.notes)
        for path, after in sorted(self.left.items()):
            before = self.found[path]
            kind = "removed" if after is None else "added" if before is None else "modified"
            getattr(message, kind).add(path=path, before=_state(before), after=_state(after))
            setattr(message, f"{kind}_count", getattr(message, f"{kind}_count") + 1)
        return message


def step_to(wanted: Tree, managed: Tree, live: Tree, *, prune: bool) -> Step:
    """Return what brings a target to what is wanted; what somebody else put there or changed is not removed."""
    left: dict[str, bytes | None] = {path: new for path, new in wanted.items() if live.get(path) != new}
    gone = [path for path in managed if path not in wanted and path in live]
    edited = [path for path in gone if live[path] != managed[path]]
    kept = [] if prune else gone
    left |= {path: None for path in gone if path not in edited and path not in kept}
    notes = tuple(f"{path} stays: it was changed at the target" for path in edited)
    after = {**wanted, **{path: managed[path] for path in kept if path not in edited}}
    return Step({path: live.get(path) for path in left}, left, after, notes)


def step_back(newest_first: Iterable[Step], managed: Tree, live: Tree) -> Step:
    """Return what gives every path back what the oldest of these steps found there."""
    before: dict[str, bytes | None] = {}
    for step in newest_first:
        before |= step.found
    left = {path: content for path, content in before.items() if live.get(path) != content}
    return Step({path: live.get(path) for path in left}, left, managed)


def drifted(managed: Tree, live: Tree) -> list[str]:
    """Return the paths that are no longer what was deployed."""
    return sorted(path for path, content in managed.items() if live.get(path) != content)


def removes_most(managed: Tree, wanted: Tree) -> bool:
    """Tell whether more than half of at least ten files would go."""
    gone = len(managed.keys() - wanted.keys())
    return len(managed) >= _SMALL and gone * _HALF > len(managed)


def unified(path: str, old: bytes | None, new: bytes | None) -> str:
    """Return a unified diff of one file."""
    before, after = ((content or b"").decode(errors="replace").splitlines() for content in (old, new))
    names = ("/dev/null" if old is None else f"a/{path}", "/dev/null" if new is None else f"b/{path}")
    return "\n".join(difflib.unified_diff(before, after, names[0], names[1], lineterm=""))


def _state(content: bytes | None) -> pb.FileState | None:
    if content is None:
        return None
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return pb.FileState(kind=pb.FILE_KIND_FILE, mode=_MODE, size=len(content), digest=digest)
