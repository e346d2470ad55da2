"""Where content comes from, as those who write it ask for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from headgated.core.tree import Entry

Content = Callable[[bytes, Entry], Iterable[bytes]]
"""Gives the content of the file that shall be (or was) at a path, in chunks."""
