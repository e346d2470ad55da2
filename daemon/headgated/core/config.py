"""The daemon's configuration file: what may be in it, what it defaults to, and everything that is wrong with one.

`docs/configuration.md` is its manual. The file is root's: nobody can grant themselves over the API what it does not grant. Reading
it from disk, and looking at who may write it, is not done here.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Container, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from headgated.core.errors import Fault, InvalidRequestError
from headgated.core.quantities import (
    Read,
    absolute_path,
    absolute_paths,
    count,
    duration,
    group_name,
    one_of,
    size,
    socket_path,
)

T = TypeVar("T")
GIB = 1024**3


def _key(default: T, read: Read[T]) -> T:
    """Declare a key: its default, and how its value is read. A key has the name of its field."""
    return field(default=default, metadata={"read": read})


@dataclass(frozen=True, slots=True)
class DaemonSettings:
    """`[daemon]`: where it keeps its state and listens."""

    state_directory: str = _key("/var/lib/headgate", absolute_path)
    socket: str = _key("/run/headgate/headgate.sock", socket_path)
    socket_group: str = _key("headgate", group_name)
    """Its members may talk to the daemon; empty: the daemon's own group."""
    log_level: str = _key("info", one_of("debug", "info", "warning", "error"))


@dataclass(frozen=True, slots=True)
class SettleSettings:
    """`[settle]`: how long sources must be quiet, where an environment does not say it itself. Seconds."""

    quiet: float = _key(0.02, duration(0, 3600))
    latest: float = _key(2.0, duration(0, 3600))


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """`[watch]`: what is done besides waiting for events. Seconds."""

    scan_interval: float = _key(60.0, duration(1, 86400))
    full_hash_interval: float = _key(3600.0, duration(60, 30 * 86400))
    git_wait: float = _key(60.0, duration(0, 3600))


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """`[limits]`: of one source."""

    max_files: int = _key(1_000_000, count(1, 100_000_000))
    max_file_size: int = _key(GIB, size(1, 1024 * GIB))
    """Bytes."""


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """`[retention]`: what history keeps. What exceeds any limit goes, the oldest first."""

    count: int = _key(100, count(1, 1_000_000))
    """Deployments of each environment."""
    max_age: float = _key(90 * 86400.0, duration(60, 36500 * 86400))
    """Seconds."""
    max_size: int = _key(10 * GIB, size(1024**2, 1024**2 * GIB))
    """Bytes, of all environments together."""
    interval: float = _key(3600.0, duration(1, 30 * 86400))
    """Seconds between two collections."""


@dataclass(frozen=True, slots=True)
class RootSettings:
    """`[roots]`: directories that sources and targets must be in. None: they may be anywhere."""

    sources: tuple[str, ...] = _key((), absolute_paths)
    targets: tuple[str, ...] = _key((), absolute_paths)


@dataclass(frozen=True, slots=True)
class Settings:
    """All that the file says, with defaults for what it does not. Each field is one table."""

    daemon: DaemonSettings = DaemonSettings()
    settle: SettleSettings = SettleSettings()
    watch: WatchSettings = WatchSettings()
    limits: LimitSettings = LimitSettings()
    retention: RetentionSettings = RetentionSettings()
    roots: RootSettings = RootSettings()


_TABLES: dict[str, type] = {table.name: type(table.default) for table in fields(Settings)}


def parse(text: str) -> Settings:
    """Return the settings that a configuration file makes.

    Raises:
        InvalidRequestError: with every fault, each with the line that it is in.
    """
    try:
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError("read the configuration", [_syntax_fault(error)]) from error
    reader = _Reader(text)
    settings = reader.read(tables)
    if reader.faults:
        raise InvalidRequestError("read the configuration", reader.faults)
    return settings


def _syntax_fault(error: Exception) -> Fault:
    """`tomllib` ends its messages with the place: take it to the front, where other faults have it."""
    message, _, place = str(error).rpartition(" (at ")
    if not message:
        return Fault("file", f"is not TOML: {error}"[:300])
    return Fault(place.removesuffix(")"), f"is not TOML: {message}"[:300])


class _Reader:
    """Reads tables, and gathers what is wrong with them."""

    def __init__(self, text: str) -> None:
        self.faults: list[Fault] = []
        self._lines = _lines_of_keys(text)

    def read(self, tables: Mapping[str, Any]) -> Settings:
        made: dict[str, Any] = {}
        for name, table in tables.items():
            if name not in _TABLES:
                self._fault((name,), _unknown_table(name, table))
            elif not isinstance(table, dict):
                self._fault((name,), f"must be a table: [{name}]")
            else:
                made[name] = self._read_table(name, table)
        settings = Settings(**made)
        self._check_order(settings.settle, self._lines)
        return settings

    def _check_order(self, settle: SettleSettings, given: Container[tuple[str, ...]]) -> None:
        if settle.quiet <= settle.latest:
            return
        if ("settle", "quiet") in given:
            self._fault(("settle", "quiet"), f"is longer than latest ({settle.latest:g} s)")
        else:
            self._fault(("settle", "latest"), f"is shorter than quiet ({settle.quiet:g} s)")

    def _read_table(self, name: str, table: Mapping[str, Any]) -> object:
        reads: dict[str, Read[object]] = {key.name: key.metadata["read"] for key in fields(_TABLES[name])}
        values = {}
        for key, value in table.items():
            if key not in reads:
                self._fault((name, key), _unknown_key(name, key))
                continue
            try:
                values[key] = reads[key](value)
            except ValueError as error:
                self._fault((name, key), str(error))
        return _TABLES[name](**values)

    def _fault(self, way: tuple[str, ...], message: str) -> None:
        line = self._lines.get(way) or self._lines.get(way[:1])
        place = f"line {line}: " if line else ""
        self.faults.append(Fault(place + ".".join(way), message))


def _unknown_table(name: str, value: object) -> str:
    homes = [table for table, made in _TABLES.items() if name in {key.name for key in fields(made)}]
    if homes and not isinstance(value, dict):
        return f"stands outside of its table; it belongs in [{homes[0]}]"
    return "is unknown" + _did_you_mean(name, _TABLES)


def _unknown_key(table: str, key: str) -> str:
    here = {known.name for known in fields(_TABLES[table])}
    close = _did_you_mean(key, here)
    homes = [other for other, made in _TABLES.items() if key in {known.name for known in fields(made)}]
    if not close and homes:
        return f"is unknown here; it belongs in [{homes[0]}]"
    return "is unknown" + (close or f"; [{table}] has {', '.join(sorted(here))}")


def _did_you_mean(name: str, known: Mapping[str, Any] | set[str]) -> str:
    close = difflib.get_close_matches(name.lower(), sorted(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _lines_of_keys(text: str) -> dict[tuple[str, ...], int]:
    """Return the line (from 1) of each table and key, found by eye rather than by grammar: it is for messages only."""
    lines: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.split("\n"), 1):
        name, equals, _ = line.partition("=")
        stripped = line.strip()
        if stripped.startswith("[") and "]" in stripped:
            table = _way(stripped.strip("[").partition("]")[0])
            lines.setdefault(table, number)
        elif equals:
            way = table + _way(name)
            for length in range(1, len(way) + 1):
                lines.setdefault(way[:length], number)
    return lines


def _way(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))
