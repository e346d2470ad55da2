"""What an environment's sources ask for: read, laid over each other, rendered.

Keeps what it worked out: after a change only the changed files are read and rendered again. Not thread-safe; the deployer
holds the environment's lock around it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from headgated.core.environment import Environment, UndefinedPolicy
from headgated.core.errors import DeploymentFailedError, SourceMovedError
from headgated.core.globs import globs
from headgated.core.layers import Layers
from headgated.core.links import changed_links, leads_out
from headgated.core.paths import escape, join
from headgated.core.render import Renderer
from headgated.core.sealing import NO_SECRETS, Sealing
from headgated.core.source import Snapshot
from headgated.core.tree import EMPTY, Directory, Entry, Node, changed_names, lookup, succeeding
from headgated.effects.owner import Owner
from headgated.effects.scan import Source
from headgated.engine.content import Content

_REMEMBERED = 200_000
_KEPT_BYTES = 48 * 1024 * 1024
"""Bytes of rendered contents that are kept until they are written: those of ten thousand files of 4 KB."""
_LARGEST_KEPT = 1024 * 1024
_MUCH = 1024 * 1024
"""Bytes of contents that are worth being given back to the system."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the sources ask for, at one moment."""

    tree: Directory
    """Rendered: exactly what the target shall have."""
    layered: Directory
    """The sources laid over each other, before rendering."""
    snapshots: Mapping[str, Snapshot]
    content: Content
    """Gives the content that `tree` has at a path, with slots for secrets; SourceMovedError where the source has changed since."""


class WantedTree:
    """Works out what one environment's sources ask for.

    A new one is needed when the environment's variables, secrets or policies change.
    """

    def __init__(
        self,
        environment: Environment,
        sources: Sequence[Source],
        owner: Owner,
        stream_above: int,
        sealing: Sealing = NO_SECRETS,
    ) -> None:
        self._environment, self._stream_above, self._sealing = environment, stream_above, sealing
        self._sources = dict(zip(environment.sources, sources, strict=True))
        self._layers = Layers()
        self._owner = owner
        self._renderer = Renderer({**environment.variables, **sealing.slots()}, stream_above)
        policies = environment.policies
        self._verbatim = globs(policies.verbatim) if policies.verbatim else None
        self._strict = policies.undefined == UndefinedPolicy.ERROR
        self._last = EMPTY, EMPTY
        """What the sources held, laid over each other, when last all of it could be rendered, and what came of it."""
        self._rendered: dict[bytes, tuple[bytes, int, bytes]] = {}
        self._contents: dict[bytes, bytes] = {}
        self._kept = 0
        self._links_checked: Directory = EMPTY

    def read(self, snapshots: Mapping[str, Snapshot]) -> Wanted:
        """Return what is wanted, given a snapshot of each source.

        Raises:
            DeploymentFailedError: LAYER_CLASH, RENDER_FAILED, SYMLINK_LEADS_OUT; every path named.
            SourceMovedError: a file changed since the snapshot; take another one.
        """
        layered = self._layers.overlay([snapshots[path].tree for path in self._sources])
        self._check_links(layered)
        reading = _Reading(layered, snapshots, {})
        tree = self._render(reading, layered, b"", *self._last)
        if reading.faults:
            path, why = next(iter(reading.faults.items()))
            raise DeploymentFailedError(
                f"cannot render {path}: {why}",
                reason="RENDER_FAILED",
                hint="declare the variables (headgate env set NAME --var KEY=VALUE), or copy the file as it is (verbatim)",
                paths=reading.faults,
            )

        self._last = layered, tree

        def content(path: bytes, _entry: Entry) -> Iterator[bytes]:
            return self._content(layered, snapshots, path)

        return Wanted(tree, layered, snapshots, content)

    def _content(self, layered: Directory, snapshots: Mapping[str, Snapshot], path: bytes) -> Iterator[bytes]:
        source, entry = self._origin(layered, snapshots, path)
        if not self._is_template(path, entry):
            return _read(source, path, entry)
        kept = self._contents.get(entry.digest)
        return iter((self._render_content(source, path, entry)[0] if kept is None else kept,))

    def _origin(
        self, layered: Directory, snapshots: Mapping[str, Snapshot], path: bytes
    ) -> tuple[Source, Entry]:
        """Return the source that has the file which is wanted at `path`, and the file as it is there."""
        entry = lookup(layered, path)
        for name in reversed(self._sources):
            tree = snapshots[name].tree
            if isinstance(entry, Entry) and (tree is layered or lookup(tree, path) == entry):
                return self._sources[name], entry
        raise SourceMovedError(f"cannot read {escape(path)}: it left the sources", paths=[escape(path)])

    def _check_links(self, layered: Directory) -> None:
        """Refuse symlinks that lead out; only what changed since the last look is looked at."""
        if self._environment.policies.allow_external_symlinks:
            return
        outside = sorted(
            escape(path)
            for path, target in changed_links(self._links_checked, layered)
            if leads_out(path, target)
        )
        if outside:
            raise DeploymentFailedError(
                f"cannot deploy {outside[0]}: the symbolic link leads out of the tree",
                reason="SYMLINK_LEADS_OUT",
                hint="make it relative and inside the source, or set the policy allow_external_symlinks",
                paths=outside,
            )
        self._links_checked = layered

    def _render(
        self, reading: _Reading, directory: Directory, at: bytes, old: Directory, rendered: Directory
    ) -> Directory:
        """Return a directory as it is wanted, given an older one and what came of that: equal parts are taken from it."""
        if directory is old:
            return rendered
        changes: dict[bytes, Node | None] = {}
        for name in changed_names(old, directory):
            node = directory.children.get(name)
            if node is None:
                changes[name] = None
            elif isinstance(node, Directory):
                before, after = old.children.get(name), rendered.children.get(name)
                if not isinstance(before, Directory) or not isinstance(after, Directory):
                    before = after = EMPTY
                changes[name] = self._render(reading, node, join(at, name), before, after)
            else:
                changes[name] = self._render_entry(reading, join(at, name), node)
        entry = self._owner.apply(directory.entry) if at else EMPTY.entry
        return succeeding(rendered, entry, changes)

    def _render_entry(self, reading: _Reading, path: bytes, entry: Entry) -> Entry:
        if not self._is_template(path, entry):
            return self._owner.apply(entry)
        known = self._rendered.get(entry.digest) or self._render_file(reading, path, entry)
        if known is None:
            return entry
        return self._owner.deployed(entry, *known)

    def _render_file(self, reading: _Reading, path: bytes, entry: Entry) -> tuple[bytes, int, bytes] | None:
        if entry.size > self._stream_above:
            reading.faults[escape(path)] = f"it has {entry.size} bytes, and {self._too_large}"
            return None
        source, _ = self._origin(reading.layered, reading.snapshots, path)
        try:
            content, undefined = self._render_content(source, path, entry)
        except DeploymentFailedError as error:
            if error.reason != "RENDER_TOO_LARGE":
                raise
            reading.faults[escape(path)] = f"it would become larger, and {self._too_large}"
            return None
        if undefined and self._strict:
            reading.faults[escape(path)] = f"not declared: {', '.join(undefined)}"
            return None
        self._keep(entry.digest, content)
        known = (hashlib.sha256(content).digest(), len(content), self._sealing.seal(content))
        if len(self._rendered) > _REMEMBERED:
            self._rendered.clear()
        self._rendered[entry.digest] = known
        return known

    @property
    def _too_large(self) -> str:
        return (
            f"files of more than {self._stream_above} bytes are copied only (limits.stream_above);"
            " list it under the policy verbatim"
        )

    def _render_content(self, source: Source, path: bytes, entry: Entry) -> tuple[bytes, tuple[str, ...]]:
        rendered = self._renderer.render(b"".join(_read(source, path, entry)))
        return rendered.content, rendered.undefined

    def _keep(self, digest: bytes, content: bytes) -> None:
        """Keep small rendered contents a while, as far as there is room: what was rendered to be compared is about to be written."""
        if (
            len(content) <= _LARGEST_KEPT
            and self._kept + len(content) <= _KEPT_BYTES
            and digest not in self._contents
        ):
            self._contents[digest] = content
            self._kept += len(content)

    @property
    def layered(self) -> Directory:
        """The sources laid over each other, when they were last read."""
        return self._last[0]

    def forget_contents(self) -> bool:
        """Let go of contents in memory: what was to be written with them is. Tell whether they were many."""
        many = self._kept > _MUCH
        self._contents, self._kept = {}, 0
        for source in self._sources.values():
            many |= source.forget_contents()
        return many

    def _is_template(self, path: bytes, entry: Entry) -> bool:
        if not entry.template or not (self._environment.variables or self._sealing.active):
            return False
        return self._verbatim is None or not self._verbatim.covers(path)


def _read(source: Source, path: bytes, entry: Entry) -> Iterator[bytes]:
    """Return a file's content as it was scanned: from memory where it was read a moment ago."""
    fresh = source.recall(entry.digest)
    return source.read(path, entry) if fresh is None else iter((fresh,))


@dataclass(frozen=True, slots=True)
class _Reading:
    """One run of `WantedTree.read`: what it reads from, and what was wrong."""

    layered: Directory
    snapshots: Mapping[str, Snapshot]
    faults: dict[str, str]
