"""How a plan's changes become renames, each with an exact inverse.

The same changes and token always give the same steps, so that recovery knows what a crashed deployment was about to do
without a record of its own. Nothing is overwritten and nothing is unlinked by a step: what goes away is renamed to a
temporary name beside its place, and lies there until the deployment is recorded as applied.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from headgated.core.paths import join, parent
from headgated.core.plan import Change
from headgated.core.tree import Entry, Kind

OWN_PREFIX = b".headgate-"
"""Names that begin so are Headgate's own: never deployed, never scanned."""
TEMPORARY = re.compile(r"\.headgate-([0-9a-f]{12})-\d+$")
"""The name of a step's temporary, with the token of its deployment."""


@dataclass(frozen=True, slots=True)
class Put:
    """A file, symlink or whole new directory, staged at `temp` and brought to `path` by one rename.

    Where something is `expected` there, the two change places and the old one then lies at `temp`.
    """

    path: bytes
    temp: bytes
    expected: Entry | None
    wanted: Entry
    members: tuple[Change, ...] = ()
    """What is below: all of a new directory, or all of a directory that gives way to a file or symlink."""


@dataclass(frozen=True, slots=True)
class Take:
    """A file or symlink that is removed: renamed to `temp`."""

    path: bytes
    temp: bytes
    expected: Entry


@dataclass(frozen=True, slots=True)
class Attributes:
    """Mode or owner of a directory that stays, changed in place."""

    path: bytes
    expected: Entry
    wanted: Entry

    @property
    def closes(self) -> bool:
        """Whether nobody gets a right that was not there before."""
        before, after = self.expected.mode or 0, self.wanted.mode
        return after is not None and after & ~before == 0 and after & 0o077 != before & 0o077


@dataclass(frozen=True, slots=True)
class RemoveDirectory:
    """A directory that is removed when all is done, if nothing is left in it."""

    path: bytes
    expected: Entry


Step = Put | Take | Attributes | RemoveDirectory


def steps(changes: Iterable[Change], token: str) -> tuple[Step, ...]:
    """Return the steps that bring `changes` about, in the order in which they are to be performed.

    New things come before removals, so that a file that moves is never missing. A directory that closes does so first and
    one that opens does so last, so that nothing is readable by more people on the way than before or after. Directories are
    removed last, the deepest first. Changes that change nothing give no step.

    Args:
        changes: in any order; each path once.
        token: 12 lower-case hexadecimal digits, unique to the deployment.
    """
    puts: list[Put] = []
    takes: list[Take] = []
    attributes: list[Attributes] = []
    removals: list[RemoveDirectory] = []
    count = 0
    for change, members in _roofs(changes):
        path, before, after = change.path, change.expected, change.wanted
        temp = join(parent(path), b"%s%s-%d" % (OWN_PREFIX, token.encode("ascii"), count))
        if after is None:
            if before is None:
                continue
            if before.kind == Kind.DIRECTORY:
                removals.append(RemoveDirectory(path, before))
                continue
            takes.append(Take(path, temp, before))
        elif before is not None and before.kind == after.kind == Kind.DIRECTORY:
            attributes.append(Attributes(path, before, after))
            continue
        else:
            puts.append(Put(path, temp, before, after, members))
        count += 1
    first = [step for step in attributes if step.closes]
    last = [step for step in attributes if not step.closes]
    return (*first, *puts, *takes, *last, *reversed(removals))


def _roofs(changes: Iterable[Change]) -> Iterable[tuple[Change, tuple[Change, ...]]]:
    """Yield each change that stands for itself, with the changes that happen below it in the same rename."""
    ordered = sorted(changes, key=lambda change: change.path.split(b"/"))
    at = 0
    while at < len(ordered):
        change = ordered[at]
        at += 1
        if change.wanted is not None and change.wanted.matches(change.expected):
            continue
        end = at
        if _covers(change):
            inside = change.path + b"/"
            while end < len(ordered) and ordered[end].path.startswith(inside):
                end += 1
        yield change, tuple(ordered[at:end])
        at = end


def _covers(change: Change) -> bool:
    """Whether all that is below belongs to the same rename: a directory comes where none was, or gives way to a file."""
    before, after = change.expected, change.wanted
    was_directory = before is not None and before.kind == Kind.DIRECTORY
    return after is not None and (after.kind == Kind.DIRECTORY) != was_directory


def parents(planned: Iterable[Step]) -> list[bytes]:
    """Return the directories that the steps rename things in, each once, in order of first use."""
    return list(dict.fromkeys(parent(step.path) for step in planned if isinstance(step, Put | Take)))


def touched(planned: Iterable[Step]) -> list[bytes]:
    """Return the directories that the steps change by being performed, each once."""
    found: dict[bytes, None] = {}
    for step in planned:
        if isinstance(step, Put | Take):
            found[parent(step.path)] = None
        elif isinstance(step, Attributes):
            found[step.path] = None
    return list(found)


def found_by(planned: Iterable[Step]) -> dict[bytes, Entry | None]:
    """Return what the plan found at every path that the steps change; None: nothing."""
    found: dict[bytes, Entry | None] = {}
    for step in planned:
        found[step.path] = step.expected
        if isinstance(step, Put):
            found.update((member.path, member.expected) for member in step.members)
    return found


def left_by(planned: Iterable[Step]) -> dict[bytes, Entry]:
    """Return what the steps leave at every path that is not empty afterwards."""
    left: dict[bytes, Entry] = {}
    for step in planned:
        if isinstance(step, Put | Attributes):
            left[step.path] = step.wanted
        if isinstance(step, Put):
            left.update((m.path, m.wanted) for m in step.members if m.wanted is not None)
    return left
