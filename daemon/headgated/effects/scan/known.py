"""What is known of one directory of a source, and how the next look at it becomes the next knowledge.

`Known` is a value: a later one shares every part that is the same, down to the identity of its `Directory`, so that "did
anything change" costs one comparison and trees keep their computed digests.
"""

from __future__ import annotations

from collections.abc import Mapping, Set as AbstractSet
from dataclasses import dataclass, field
from itertools import chain
from typing import TypeVar

from headgated.core.ignore import Rules
from headgated.core.source import ScanFault
from headgated.core.tree import EMPTY, Directory, Entry, Node, succeeding

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Known:
    """One directory as it was last seen."""

    directory: Directory = EMPTY
    identity: tuple[int, int] = (0, 0)
    """(device, inode)."""
    inherited: Rules | None = None
    """What the directories above ignore. None: never seen."""
    rules: Rules | None = None
    """What is ignored in here."""
    rules_signature: bytes = b""
    """Of the ignore file; empty: there is none, or it must be read again."""
    signatures: Mapping[bytes, bytes] = field(default_factory=dict)
    """By name of each file and symlink; empty: must be read again."""
    below: Mapping[bytes, Known] = field(default_factory=dict)
    own_faults: Mapping[bytes, ScanFault] = field(default_factory=dict)
    """By name in here; `b""` for the ignore file's."""
    faults: tuple[ScanFault, ...] = ()
    """All of them, those below included."""
    count: int = 0
    """Entries at all levels below."""


NEVER_SEEN = Known()


class Draft:
    """The next `Known` of a directory: what was known, and what one look found to be different."""

    def __init__(self, known: Known) -> None:
        self.known = known
        self._nodes: dict[bytes, Node | None] = {}
        self._signatures: dict[bytes, bytes | None] = {}
        self._below: dict[bytes, Known | None] = {}
        self._faults: dict[bytes, ScanFault | None] = {}

    def keep_leaf(self, name: bytes, entry: Entry, signature: bytes) -> None:
        """Note that `name` is a file or symlink."""
        if self.known.directory.children.get(name) != entry:
            self._nodes[name] = entry
        if self.known.signatures.get(name) != signature:
            self._signatures[name] = signature
        _forget(name, self.known.below, self._below)
        self.clear_fault(name)

    def keep_directory(self, name: bytes, below: Known) -> None:
        """Note that `name` is a directory."""
        if self.known.below.get(name) is not below:
            self._below[name] = below
        if self.known.directory.children.get(name) is not below.directory:
            self._nodes[name] = below.directory
        _forget(name, self.known.signatures, self._signatures)
        self.clear_fault(name)

    def keep_fault(self, name: bytes, fault: ScanFault) -> None:
        """Note that `name` cannot be had; what was known of it stays, and it is looked at again next time."""
        if self.known.own_faults.get(name) != fault:
            self._faults[name] = fault
        if self.known.signatures.get(name):
            self._signatures[name] = b""

    def clear_fault(self, name: bytes) -> None:
        """Note that nothing is wrong with `name` any more."""
        _forget(name, self.known.own_faults, self._faults)

    def drop(self, name: bytes) -> None:
        """Note that there is no such name."""
        _forget(name, self.known.directory.children, self._nodes)
        _forget(name, self.known.signatures, self._signatures)
        _forget(name, self.known.below, self._below)
        self.clear_fault(name)

    def drop_all_but(self, names: AbstractSet[bytes]) -> None:
        """Note that there are no names but these."""
        if not self.known.own_faults and names >= self.known.directory.children.keys():
            return
        for name in chain(self.known.directory.children, self.known.own_faults):
            if name and name not in names:
                self.drop(name)

    def finished(
        self,
        entry: Entry,
        identity: tuple[int, int],
        inherited: Rules,
        rules: Rules,
        rules_signature: bytes,
    ) -> Known:
        """Return the next knowledge; the same object where nothing is different."""
        known = self.known
        if (
            not (self._nodes or self._signatures or self._below or self._faults)
            and known.directory.entry == entry
            and known.identity == identity
            and known.inherited is inherited
            and known.rules is rules
            and known.rules_signature == rules_signature
        ):
            return known
        own_faults, below = _merged(known.own_faults, self._faults), _merged(known.below, self._below)
        return Known(
            self._directory(entry),
            identity,
            inherited,
            rules,
            rules_signature,
            _merged(known.signatures, self._signatures),
            below,
            own_faults,
            self._all_faults(own_faults, below),
            self._count(),
        )

    def _directory(self, entry: Entry) -> Directory:
        old = self.known.directory
        if not self._nodes and old.entry == entry:
            return old
        return succeeding(old, entry, self._nodes)

    def _count(self) -> int:
        """Count by what is different, so that a wide directory costs no more than a narrow one."""
        count = self.known.count
        children = self.known.directory.children
        count += sum((node is not None) - (name in children) for name, node in self._nodes.items())
        for name, below in self._below.items():
            old = self.known.below.get(name)
            count += (below.count if below else 0) - (old.count if old else 0)
        return count

    def _all_faults(
        self, own: Mapping[bytes, ScanFault], below: Mapping[bytes, Known]
    ) -> tuple[ScanFault, ...]:
        if not self.known.faults and not any(known.faults for known in self._below.values() if known):
            return tuple(own.values())
        return (*own.values(), *(fault for known in below.values() for fault in known.faults))


def _forget(name: bytes, known: Mapping[bytes, _T], changes: dict[bytes, _T | None]) -> None:
    if name in known:
        changes[name] = None


def _merged(old: Mapping[bytes, _T], changes: Mapping[bytes, _T | None]) -> Mapping[bytes, _T]:
    if not changes:
        return old
    new = dict(old)
    for name, value in changes.items():
        if value is None:
            new.pop(name, None)
        else:
            new[name] = value
    return new
