"""What a plan changes inside files: settings and lines, for people. Bounded; never part of deploying itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from headgated.core.deployment import SettingChange
from headgated.core.hold import only_secrets
from headgated.core.masking import SecretNames
from headgated.core.paths import escape
from headgated.core.plan import Change, Plan
from headgated.core.sealing import mask_slots, names_in
from headgated.core.settings import settings_changed
from headgated.core.textdiff import unified
from headgated.core.tree import Entry, Kind
from headgated.engine.content import Content
from headgated.engine.views import FileDiff

FILES = 200
"""So many files are looked into."""
BYTES = 1024 * 1024
"""A larger file is not looked into."""
SETTINGS = 1000
"""So many changed settings are told."""


def changed_settings(plan: Plan, old: Content, new: Content, names: SecretNames) -> tuple[SettingChange, ...]:
    """Return the settings that change in modified structured files.

    Args:
        old, new: give the content of a path before and after.
        names: say which settings are secret.
    """
    found: list[SettingChange] = []
    for change, before, after in _contents(plan, old, new):
        if before is not None and after is not None:
            found += settings_changed(change.path, before, after, names=names) or ()
    return tuple(map(_without_slots, found[:SETTINGS]))


def _without_slots(change: SettingChange) -> SettingChange:
    return replace(
        change,
        key=mask_slots(change.key),
        old=None if change.old is None else mask_slots(change.old),
        new=None if change.new is None else mask_slots(change.new),
    )


def line_diffs(plan: Plan, old: Content, new: Content, names: SecretNames) -> tuple[FileDiff, ...]:
    """Return a unified diff of each file that changes; a note in its place where there is none to show."""
    diffs = []
    for change, before, after in _contents(plan, old, new):
        if before != after:
            text, note = unified(change.path, before, after, names=names)
            diffs.append(FileDiff(escape(change.path), mask_slots(text), note))
        elif only_secrets(change):
            of = ", ".join(names_in(after or b""))
            diffs.append(FileDiff(escape(change.path), "", f"only secrets in it change (of {of})"))
    skipped = len(plan.changes) - FILES
    if skipped > 0:
        diffs.append(FileDiff("", "", f"{skipped} more changed paths are not shown"))
    return tuple(diffs)


def _contents(plan: Plan, old: Content, new: Content) -> Iterator[tuple[Change, bytes | None, bytes | None]]:
    """Yield the contents of changed files; None where there is no file; what is too large is left out."""
    for change in plan.changes[:FILES]:
        entries = [
            entry
            for entry in (change.expected, change.wanted)
            if entry is not None and entry.kind == Kind.FILE
        ]
        if entries and max(entry.size for entry in entries) <= BYTES:
            yield (
                change,
                _content(change.path, change.expected, old),
                _content(change.path, change.wanted, new),
            )


def _content(path: bytes, entry: Entry | None, read: Content) -> bytes | None:
    if entry is None or entry.kind != Kind.FILE:
        return None
    chunks: Iterable[bytes] = read(path, entry)
    return b"".join(chunks)
