"""What would change at a target, and the rule by which that is found.

A plan compares three things path by path: what we deployed last (*managed*), what the sources ask for now (*wanted*), and
what the target has (*live*). Each change carries what it expects to find, so that applying can tell when the world moved.
Only what we deployed is ever removed, and only while it is still what we deployed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from headgated.core.errors import DeploymentFailedError
from headgated.core.paths import escape, parent
from headgated.core.tree import Directory, Entry, Kind, Node, diff, edit, lookup, own


@dataclass(frozen=True, slots=True)
class Change:
    """One path to change."""

    path: bytes
    expected: Entry | None
    """What the target has now, as observed; None: nothing."""
    wanted: Entry | None
    """What it shall have; None: nothing. Attributes that are None there stay as they are."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What would change at a target."""

    changes: tuple[Change, ...]
    """Ordered by path, parents before children."""
    result: Directory
    """What is managed afterwards."""
    unchanged: int = 0
    """Managed files that stay as they are."""
    notes: tuple[str, ...] = ()
    """What stays although it left the sources, and why."""


def affected(
    managed: Directory, wanted: Directory, suspects: Iterable[bytes] = ()
) -> dict[bytes, Entry | None]:
    """Return the paths to look at live, with what is wanted at each: where wanted differs from managed, and `suspects`.

    The directories that these are in are among them: one may be gone from the target, or be something else by now.

    Args:
        managed: what was deployed last.
        wanted: what shall be deployed.
        suspects: paths of managed where the target seems to have something else.
    """
    paths = {path: after for path, _, after in diff(managed, wanted)}
    for path in suspects:
        node = lookup(wanted, path)
        paths[path] = None if node is None else own(node)
    for path in [path for path, after in paths.items() if after is not None]:
        above = parent(path)
        while above and above not in paths:
            node = lookup(wanted, above)
            if node is not None:
                paths[above] = own(node)
            above = parent(above)
    return paths


def make_plan(
    managed: Directory,
    wanted: Mapping[bytes, Entry | None],
    live: Mapping[bytes, Entry | None],
    foreign: Mapping[bytes, Mapping[bytes, Entry]],
    *,
    prune: bool = True,
    whole: Directory | None = None,
) -> Plan:
    """Return the changes that give the target `wanted` at each of its paths.

    Args:
        managed: what was deployed last.
        wanted: path -> what shall be there (None: it left the sources). Paths that are not named are left alone.
        live: what the target has at each path of `wanted`.
        foreign: for each path where a directory gives way to a file or symlink: everything that is live below it.
        prune: remove what left the sources; otherwise it stays, and stays managed.
        whole: the tree that `wanted` has all differences of from `managed`, if it has; where nothing is in the way, that very
            tree is what is managed afterwards, with all that it has worked out.

    Raises:
        DeploymentFailedError: TYPE_CLASH where a live directory with content that is not ours stands in the way of a file or
            symlink, or a file or symlink that is not ours in the way of a directory.
    """
    planner = _Planner(managed, wanted, live, foreign, prune=prune)
    return planner.run(whole)


class _Planner:
    def __init__(
        self,
        managed: Directory,
        wanted: Mapping[bytes, Entry | None],
        live: Mapping[bytes, Entry | None],
        foreign: Mapping[bytes, Mapping[bytes, Entry]],
        *,
        prune: bool,
    ) -> None:
        self.managed, self.wanted, self.live, self.foreign, self.prune = managed, wanted, live, foreign, prune
        self.changes: dict[bytes, Change] = {}
        self.edits: dict[bytes, Node | None] = {}
        self.notes: list[str] = []
        self.clashes: dict[str, str] = {}

    def run(self, whole: Directory | None) -> Plan:
        for path in sorted(self.wanted):
            entry = self.wanted[path]
            if entry is None:
                self._leave(path)
            else:
                self._want(path, entry)
        if self.clashes:
            clash, what = next(iter(self.clashes.items()))
            raise DeploymentFailedError(
                f"cannot deploy: {clash} {what}",
                reason="TYPE_CLASH",
                hint="move it away, or use another name in the source",
                paths=self.clashes,
            )
        as_asked = whole is not None and self.edits == self.wanted
        result = whole if whole is not None and as_asked else edit(self.managed, self.edits)
        changed = sum(
            1 for c in self.changes.values() if c.wanted is not None and c.wanted.kind != Kind.DIRECTORY
        )
        return Plan(
            changes=tuple(self.changes[path] for path in sorted(self.changes, key=_order)),
            result=result,
            unchanged=max(0, result.files - changed),
            notes=tuple(self.notes),
        )

    def _want(self, path: bytes, entry: Entry) -> None:
        live = self.live.get(path)
        if self._parent_goes(path):
            live = None
        ours = lookup(self.managed, path)
        if entry.kind == Kind.DIRECTORY:
            self._want_directory(path, entry, live, None if ours is None else own(ours))
            return
        if live is not None and live.kind == Kind.DIRECTORY and not self._clear(path):
            return
        self.edits[path] = entry
        if not entry.matches(live):
            self.changes[path] = Change(path, live, entry)

    def _want_directory(self, path: bytes, entry: Entry, live: Entry | None, ours: Entry | None) -> None:
        """A directory that was there before us stays as it is and does not become ours; what else was there is not replaced."""
        managed = ours is not None and (ours.kind != Kind.DIRECTORY or ours.mode is not None)
        if live is not None and live.kind != Kind.DIRECTORY and not managed:
            self.clashes[escape(path)] = (
                "stands where a directory is to be, and Headgate did not put it there"
            )
            return
        if live is not None and live.kind == Kind.DIRECTORY and not (managed and _is_directory(ours)):
            entry = replace(entry, mode=None, uid=None, gid=None)
        self.edits[path] = entry
        if not entry.matches(live):
            self.changes[path] = Change(path, live, entry)

    def _clear(self, path: bytes) -> bool:
        """Plan the removal of what is below a directory that gives way; only known, unchanged content may go."""
        inside = self.foreign.get(path, {})
        for below, entry in inside.items():
            ours = lookup(self.managed, below)
            if (
                ours is None
                or not own(ours).matches(entry)
                or (entry.kind == Kind.DIRECTORY and own(ours).mode is None)
            ):
                self.clashes[escape(path)] = "is a directory with content that Headgate did not put there"
                return False
        for below, entry in inside.items():
            self.changes[below] = Change(below, entry, None)
        return True

    def _parent_goes(self, path: bytes) -> bool:
        """Whether the live path is below something that is replaced by a directory, so that nothing is there."""
        above = parent(path)
        while above:
            live, wanted = self.live.get(above), self.wanted.get(above)
            if live is not None and live.kind != Kind.DIRECTORY and wanted is not None:
                return True
            above = parent(above)
        return False

    def _leave(self, path: bytes) -> None:
        node = lookup(self.managed, path)
        if node is None or path in self.changes:
            return
        ours, live = own(node), self.live.get(path)
        if not self.prune:
            self.notes.append(f"{escape(path)} left the sources and stays: prune is off")
            return
        self.edits[path] = None
        if live is None or (ours.kind == Kind.DIRECTORY and ours.mode is None):
            return
        if (ours.kind == Kind.DIRECTORY and live.kind == Kind.DIRECTORY) or ours.matches(live):
            self.changes[path] = Change(path, live, None)
        else:
            self.notes.append(f"{escape(path)} left the sources and stays: it was changed at the target")


def _is_directory(entry: Entry | None) -> bool:
    return entry is not None and entry.kind == Kind.DIRECTORY


def _order(path: bytes) -> list[bytes]:
    return path.split(b"/")


def new_modes(plan: Plan, source: Directory) -> dict[bytes, int]:
    """Return the modes that files get whose mode is not ours to say and that replace none: those of their source, by path."""
    found = {}
    for change in plan.changes:
        new = change.wanted
        if new is not None and new.kind == Kind.FILE and new.mode is None and not _is_file(change.expected):
            node = lookup(source, change.path)
            if isinstance(node, Entry) and node.mode is not None:
                found[change.path] = node.mode
    return found


def _is_file(entry: Entry | None) -> bool:
    return entry is not None and entry.kind == Kind.FILE
