"""Looks through the records of one environment at start: what is there, what cannot be read, what is taken all the same.

Takes the remembered line of each record that is still the same file; reads every other one once and decodes only what the
index needs. Nothing that it meets stops it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from headgated.core.deployment import DeploymentStatus
from headgated.effects.durable import is_temporary
from headgated.effects.records.coding import SCHEMA_VERSION, microseconds, moment
from headgated.effects.records.deployment_shape import decode_deployment
from headgated.effects.records.index import Line
from headgated.effects.records.reading import SetAside, is_marked, mark_of, read_record, read_whole

_SEQUENCE = re.compile(rb'"sequence"\s*:\s*(\d{1,18})')
_SUFFIX = ".json"
_MOVED_AWAY = re.compile(r"(.*)\.json\.corrupt-\d+", re.DOTALL)


class _Head(msgspec.Struct, gc=False):
    """As much of a record as the index needs; read straight from it."""

    schema_version: int
    deployment_id: str
    environment: str
    status: DeploymentStatus
    sequence: int
    deployed_at: str


_decoder = msgspec.json.Decoder(_Head)


@dataclass(slots=True)
class Survey:
    """What the directory of an environment holds."""

    directory: Path
    known: Sequence[Line] = ()
    """Remembered lines."""
    lines: list[Line] = field(default_factory=list)
    set_aside: list[SetAside] = field(default_factory=list)
    unusable: dict[str, str] = field(default_factory=dict)
    """Ids of records that are there and cannot be read, and why."""
    gone: set[str] = field(default_factory=set)
    """Ids of records that were moved away as damaged."""
    highest: int = 0
    """The highest sequence that was, or may have been, given out."""
    trusted: list[Line] = field(default_factory=list)
    """Those of `lines` that were taken as remembered."""
    _unknown: int = 0
    """Records whose sequence nobody can tell."""
    _name: str = ""

    def __post_init__(self) -> None:
        self._name = self.directory.name

    def run(self) -> Survey:
        """Look through the directory."""
        try:
            descriptor = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                with os.scandir(descriptor) as entries:
                    unknown = self._take_known(entries)
                self._each(sorted(unknown), descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            self.set_aside.append(SetAside(self.directory, None, f"it cannot be read: {error.strerror}"))
        self.highest += self._unknown
        return self

    def again(self, deployment_id: str) -> Survey:
        """Look at one record, which has changed since it was remembered."""
        with suppress(OSError):
            descriptor = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if os.path.lexists(self.directory / f"{deployment_id}{_SUFFIX}"):
                    self._record(f"{deployment_id}{_SUFFIX}", descriptor)
            finally:
                os.close(descriptor)
        return self

    def _take_known(self, entries: Iterable[os.DirEntry[str]]) -> list[str]:
        """Take the lines whose records are still the same files; return the names of all others.

        Names are not gathered: of a hundred thousand that come and go at once, what is free afterwards lies between what stays.
        """
        known = {line.deployment_id: line for line in self.known}
        there, unknown = set[str](), list[str]()
        for entry in entries:
            line = known.get(entry.name.removesuffix(_SUFFIX))
            if line is not None and entry.name.endswith(_SUFFIX) and is_marked(line.mark, entry.inode()):
                there.add(line.deployment_id)
            else:
                unknown.append(entry.name)
        for line in known.values():
            if line.deployment_id in there:
                self._take(line)
        self.trusted = self.lines.copy()
        return unknown

    def _each(self, names: list[str], directory: int) -> None:
        """In the order of names, which is nearly that of sequences, so that there is little left to sort."""
        for name in names:
            if name.endswith(_SUFFIX):
                self._record(name, directory)
            elif moved := _MOVED_AWAY.fullmatch(name):
                self.gone.add(moved[1])
                self._guess_sequence(name, directory)
            elif is_temporary(name):
                with suppress(OSError):
                    os.unlink(name, dir_fd=directory)

    def _take(self, line: Line) -> None:
        line.environment = self._name  # one text for all of them
        self.lines.append(line)
        self.highest = max(self.highest, line.sequence)

    def _record(self, name: str, directory: int) -> None:
        try:
            # First: what comes later is noticed.
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            head = _decoder.decode(read_whole(name, directory))
            at = microseconds(moment(head.deployed_at))
        except (OSError, msgspec.MsgspecError, ValueError):
            self._unreadable(name, directory)
            return
        if head.schema_version > SCHEMA_VERSION or not self._belongs(head, name):
            self._unreadable(name, directory)
            return
        self._take(Line(head.deployment_id, self._name, head.status, head.sequence, at, mark_of(status)))

    def _belongs(self, head: _Head, name: str) -> bool:
        return head.environment == self._name and f"{head.deployment_id}{_SUFFIX}" == name

    def _unreadable(self, name: str, directory: int) -> None:
        self._guess_sequence(name, directory)
        path = self.directory / name
        found = read_record(path, decode_deployment)
        if not isinstance(found, SetAside):
            why = f"it is the record of {found.deployment_id!r:.200} in {found.environment!r:.80} and lies in the wrong place"
            found = SetAside(path, None, why)
        self.set_aside.append(found)
        if found.moved_to is None:
            self.unusable[path.stem] = found.why
        else:
            self.gone.add(path.stem)

    def _guess_sequence(self, name: str, directory: int) -> None:
        """Make sure that the sequence of a damaged record is not given out again, as far as it can be made out."""
        try:
            found = _SEQUENCE.search(read_whole(name, directory))
        except OSError:
            found = None
        if found is None:
            self._unknown += 1
        else:
            self.highest = max(self.highest, int(found[1]))
