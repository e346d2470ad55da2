"""Where content comes from, as those who write it ask for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from headgated.core.tree import Entry
from headgated.effects.history import History

Content = Callable[[bytes, Entry], Iterable[bytes]]
"""Gives the content of the file that shall be (or was) at a path, in chunks."""


def from_history(history: History) -> Content:
    """Return what gives every content as history holds it, wherever it was."""

    def content(_path: bytes, entry: Entry) -> Iterable[bytes]:
        return history.read(entry.digest)

    return content
