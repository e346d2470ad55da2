"""Reads the tables of a configuration file into dataclasses, and gathers everything that is wrong with them, with lines.

A table's keys are the fields of a dataclass, declared with `key`; a list of tables (`[[name]]`) is a tuple of such. Knows no table
itself: `config` has them.
"""

from __future__ import annotations

import difflib
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, fields
from typing import Any, TypeVar

from headgated.core.errors import Fault, InvalidRequestError
from headgated.core.quantities import Read

T = TypeVar("T")
Way = tuple[str, ...]
Made = TypeVar("Made")


def key(default: T, read: Read[T]) -> T:
    """Declare a key: its default, and how its value is read. A key has the name of its field."""
    return field(default=default, metadata={"read": read})


def each(default: tuple[T, ...], made: type[T]) -> tuple[T, ...]:
    """Declare a list of tables, each read as a `made`."""
    return field(default=default, metadata={"each": made})


def apart(default: T) -> T:
    """Declare what is made of tables that are read elsewhere."""
    return field(default=default, metadata={"apart": True})


class Tables:
    """A configuration file on its way to a dataclass whose fields are tables."""

    def __init__(self, text: str, whole: type, besides: Sequence[str] = ()) -> None:
        """Prepare to read `text`.

        Args:
            text: the file.
            whole: the dataclass that it becomes.
            besides: tables that are read elsewhere.

        Raises:
            InvalidRequestError: it is not TOML.
        """
        try:
            self._read = tomllib.loads(text)
        except (ValueError, RecursionError) as error:
            raise InvalidRequestError("read the configuration", [_syntax_fault(error)]) from error
        self._lines = _lines_of_keys(text)
        self._tables: dict[str, type] = {}
        self._lists: set[str] = set()
        self._besides = besides
        for table in fields(whole):
            if table.metadata.get("apart"):
                continue
            element = table.metadata.get("each")
            self._tables[table.name] = element or type(table.default)
            if element:
                self._lists.add(table.name)
        self._faults: list[Fault] = []

    def read(self) -> dict[str, Any]:
        """Return each table that is in the file, made; faults are kept for `close`."""
        made: dict[str, Any] = {}
        for name, table in self._read.items():
            if name in self._besides:
                continue
            if name not in self._tables:
                self.fault((name,), self._unknown_table(name, table))
            elif name in self._lists:
                made[name] = self._read_list(name, table)
            elif not isinstance(table, dict):
                self.fault((name,), f"must be a table: [{name}]")
            else:
                made[name] = self._read_table((name,), table)
        return made

    def besides(self) -> dict[str, object]:
        """Return the tables that are read elsewhere, as TOML has them."""
        return {name: self._read[name] for name in self._besides if name in self._read}

    def given(self, *way: str) -> bool:
        """Tell whether the file says anything there."""
        return way in self._lines

    def fault(self, way: Way, message: str) -> None:
        """Note a fault at a key, or where the key is not in the file, at its table."""
        line = next((self._lines[way[:n]] for n in range(len(way), 0, -1) if way[:n] in self._lines), 0)
        self._faults.append(Fault((f"line {line}: " if line else "") + _shown(way), message))

    def close(self) -> None:
        """Raise InvalidRequestError if anything is wrong."""
        if self._faults:
            raise InvalidRequestError("read the configuration", self._faults)

    def _read_list(self, name: str, tables: object) -> tuple[object, ...]:
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            self.fault((name,), f"must be a list of tables: [[{name}]]")
            return ()
        return tuple(self._read_table((name, str(index)), table) for index, table in enumerate(tables))

    def _read_table(self, way: Way, table: Mapping[str, Any]) -> object:
        made = self._tables[way[0]]
        reads: dict[str, Read[object]] = {known.name: known.metadata["read"] for known in fields(made)}
        values = {}
        for name, value in table.items():
            if name not in reads:
                self.fault((*way, name), self._unknown_key(way[0], name))
                continue
            try:
                values[name] = reads[name](value)
            except ValueError as error:
                self.fault((*way, name), str(error))
        self._check(way, made, values, table)
        return made(**values)

    def _check(self, way: Way, made: type, values: Mapping[str, Any], table: Mapping[str, Any]) -> None:
        """Let a table say what is wrong with it as a whole, where it can; not about keys that have faults already."""
        check: Callable[..., Mapping[str, str]] | None = getattr(made, "faults", None)
        if check is None:
            return
        for name, message in check(made(**values), frozenset(table)).items():
            if name in values or name not in table:
                self.fault((*way, name), message)

    def _unknown_table(self, name: str, value: object) -> str:
        homes = self._homes(name)
        if homes and not isinstance(value, dict):
            return f"stands outside of its table; it belongs in [{homes[0]}]"
        return "is unknown" + _did_you_mean(name, {*self._tables, *self._besides})

    def _unknown_key(self, table: str, name: str) -> str:
        here = {known.name for known in fields(self._tables[table])}
        close = _did_you_mean(name, here)
        homes = self._homes(name)
        if not close and homes:
            return f"is unknown here; it belongs in [{homes[0]}]"
        return "is unknown" + (close or f"; [{table}] has {', '.join(sorted(here))}")

    def _homes(self, name: str) -> list[str]:
        return [
            table for table, made in self._tables.items() if name in {known.name for known in fields(made)}
        ]


def _syntax_fault(error: Exception) -> Fault:
    """`tomllib` ends its messages with the place: take it to the front, where other faults have it."""
    message, _, place = str(error).rpartition(" (at ")
    if not message:
        return Fault("file", f"is not TOML: {error}"[:300])
    return Fault(place.removesuffix(")"), f"is not TOML: {message}"[:300])


def _did_you_mean(name: str, known: Mapping[str, Any] | set[str]) -> str:
    close = difflib.get_close_matches(name.lower(), sorted(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _lines_of_keys(text: str) -> dict[Way, int]:
    """Return the line (from 1) of each table and key, found by eye rather than by grammar: it is for messages only."""
    lines: dict[Way, int] = {}
    table: Way = ()
    counts: Counter[Way] = Counter()
    for number, line in enumerate(text.split("\n"), 1):
        name, equals, _ = line.partition("=")
        stripped = line.strip()
        if stripped.startswith("[") and "]" in stripped:
            table = _way(stripped.strip("[").partition("]")[0])
            lines.setdefault(table, number)
            if stripped.startswith("[["):
                table, listed = (*table, str(counts[table])), table
                counts[listed] += 1
                lines.setdefault(table, number)
        elif equals:
            way = table + _way(name)
            for length in range(1, len(way) + 1):
                lines.setdefault(way[:length], number)
    return lines


def _way(dotted: str) -> Way:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))


def _shown(way: Way) -> str:
    return "".join(f"[{part}]" if part.isdecimal() else f".{part}" for part in way).removeprefix(".")
