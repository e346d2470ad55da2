"""Looks through the records of one environment at start: what is there, what cannot be read, what is taken all the same.

Reads each file once and decodes only what the index needs. Nothing that it meets stops it.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from headgated.effects.durable import is_temporary
from headgated.effects.records.coding import SCHEMA_VERSION
from headgated.effects.records.deployment_shape import decode_deployment
from headgated.effects.records.index import Line
from headgated.effects.records.reading import SetAside, read_record, read_whole

_SEQUENCE = re.compile(rb'"sequence"\s*:\s*(\d{1,18})')
_MOVED_AWAY = re.compile(r"(.*)\.json\.corrupt-\d+", re.DOTALL)


@dataclass(slots=True)
class Survey:
    """What the directory of an environment holds."""

    directory: Path
    lines: list[Line] = field(default_factory=list)
    set_aside: list[SetAside] = field(default_factory=list)
    unusable: dict[str, str] = field(default_factory=dict)
    """Ids of records that are there and cannot be read, and why."""
    gone: set[str] = field(default_factory=set)
    """Ids of records that were moved away as damaged."""
    highest: int = 0
    """The highest sequence that was, or may have been, given out."""
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
                self._each(sorted(os.listdir(descriptor)), descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            self.set_aside.append(SetAside(self.directory, None, f"it cannot be read: {error.strerror}"))
        self.highest += self._unknown
        return self

    def _each(self, names: list[str], directory: int) -> None:
        """In the order of names, which is nearly that of sequences, so that there is little left to sort."""
        decoder = msgspec.json.Decoder(Line)
        for name in names:
            if name.endswith(".json"):
                self._record(name, directory, decoder)
            elif moved := _MOVED_AWAY.fullmatch(name):
                self.gone.add(moved[1])
                self._guess_sequence(name, directory)
            elif is_temporary(name):
                with suppress(OSError):
                    os.unlink(name, dir_fd=directory)

    def _record(self, name: str, directory: int, decoder: msgspec.json.Decoder[Line]) -> None:
        try:
            line = decoder.decode(read_whole(name, directory))
        except (OSError, msgspec.MsgspecError):
            line = None
        if line is not None and line.schema_version <= SCHEMA_VERSION and self._belongs(line, name):
            line.environment = self._name  # one text for all of them
            self.lines.append(line)
            self.highest = max(self.highest, line.sequence)
        else:
            self._unreadable(name, directory)

    def _belongs(self, line: Line, name: str) -> bool:
        return line.environment == self._name and f"{line.deployment_id}.json" == name

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
