"""Globs that somebody names files with, in gitignore syntax: in an environment's policies and in root's definitions."""

from __future__ import annotations

from collections.abc import Iterable

from headgated.core.errors import Fault
from headgated.core.ignore import Rules


def globs(patterns: Iterable[str]) -> Rules:
    """Return what tells whether one of some globs covers a path."""
    return Rules().extended(b"", "\n".join(patterns).encode("utf-8", "surrogateescape"))[0]


def glob_faults(where: str, patterns: Iterable[str]) -> list[Fault]:
    """Return what is wrong with globs, each fault at its index in the field `where`."""
    found = []
    for index, pattern in enumerate(patterns):
        complaints: tuple[str, ...] = ("line breaks separate patterns",) if "\n" in pattern else ()
        complaints += Rules().extended(b"", pattern.encode("utf-8", "surrogateescape"))[1]
        found += [Fault(f"{where}[{index}]", complaint) for complaint in complaints]
    return found
