"""How a plan is told in a record: file by file, sorted into added, modified and removed, never endless."""

from __future__ import annotations

from collections.abc import Iterable

from headgated.core.deployment import LISTED_CHANGES, Changes, FileChange
from headgated.core.hold import only_secrets
from headgated.core.paths import escape
from headgated.core.plan import Change, Plan
from headgated.core.tree import Directory, lookup, own


def changes_of(plan: Plan, managed: Directory, notes: Iterable[str] = ()) -> Changes:
    """Return what a record says of `plan`; `managed` is what was deployed before it."""
    added: list[Change] = []
    modified: list[Change] = []
    removed: list[Change] = []
    for change in plan.changes:
        group = added if change.expected is None else removed if change.wanted is None else modified
        group.append(change)
    room = LISTED_CHANGES
    listed = []
    for group in (added, modified, removed):
        listed.append(tuple(file_change(change, managed) for change in group[:room]))
        room = max(0, room - len(group))
    return Changes(
        added=listed[0],
        modified=listed[1],
        removed=listed[2],
        added_count=len(added),
        modified_count=len(modified),
        removed_count=len(removed),
        unchanged_count=plan.unchanged,
        omitted_count=len(plan.changes) - sum(map(len, listed)),
        notes=(*plan.notes, *_secret_notes(plan), *notes)[:1000],
    )


def _secret_notes(plan: Plan) -> Iterable[str]:
    """Say where nothing but secrets changes: nothing else would show it."""
    return [
        f"{escape(change.path)}: only secrets in it change" for change in plan.changes if only_secrets(change)
    ]


def file_change(change: Change, managed: Directory) -> FileChange:
    """Return one change as a record tells it."""
    node = lookup(managed, change.path)
    ours = None if node is None else own(node)
    drifted = change.expected is not None and (ours is None or not ours.matches(change.expected))
    return FileChange(escape(change.path), change.expected, change.wanted, drifted)


def emptied(changes: Changes) -> Changes:
    """Return `changes` with counts alone, for lists and streams."""
    return Changes(
        added_count=changes.added_count,
        modified_count=changes.modified_count,
        removed_count=changes.removed_count,
        unchanged_count=changes.unchanged_count,
        omitted_count=changes.total,
    )


def version_of(tree: Directory) -> str:
    """Return a tree's name as records and people see it."""
    return f"sha256:{tree.digest.hex()}"
