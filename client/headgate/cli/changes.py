"""How the files and settings that a deployment changes are shown."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from headgate.cli.terminal import Paint
from headgate.filename import shown

if TYPE_CHECKING:
    from headgate.v1.deployment_pb2 import Changes, FileChange, FileState


def counts(changes: Changes) -> str:
    """Return how many files are added, modified and removed: `+1 ~2 -0`."""
    return f"+{changes.added_count} ~{changes.modified_count} -{changes.removed_count}"


def total(changes: Changes) -> int:
    """Return how many files are changed."""
    return changes.added_count + changes.modified_count + changes.removed_count


def change_lines(changes: Changes, paint: Paint, at_most: int = sys.maxsize) -> Iterator[str]:
    """Yield a line for each file, each setting and each note; of files and settings `at_most` so many each."""
    every = sorted((*changes.added, *changes.modified, *changes.removed), key=lambda change: change.path)
    for change in every[:at_most]:
        yield _file_line(change, paint)
    yield from _more(changes.omitted_count + max(len(every) - at_most, 0))
    if changes.settings_changed:
        yield "settings:"
    yield from setting_lines(changes, at_most)
    for note in changes.notes:
        yield shown(f"note: {note}")


def setting_lines(changes: Changes, at_most: int = sys.maxsize) -> Iterator[str]:
    """Yield a line for each setting that changes, `at_most` so many."""
    for setting in changes.settings_changed[:at_most]:
        old = setting.old if setting.HasField("old") else "(not set)"
        new = setting.new if setting.HasField("new") else "(not set)"
        yield shown(f"  {setting.path}  {setting.key}: {old} -> {new}")
    yield from _more(len(changes.settings_changed) - at_most)


def _more(count: int) -> Iterator[str]:
    if count > 0:
        yield f"  and {count} more"


def drift_lines(drifted: list[FileChange]) -> Iterator[str]:
    """Yield a line for each managed file that is no longer what was deployed."""
    for change in drifted:
        what = "was changed" if change.HasField("before") else "was removed"
        yield shown(f"  {change.path}  {what}")


def _file_line(change: FileChange, paint: Paint) -> str:
    before = change.before if change.HasField("before") else None
    after = change.after if change.HasField("after") else None
    remarks = [*_remarks(before, after), *(["changed by hand; kept in history"] if change.drifted else [])]
    text = shown(f"{change.path}  {', '.join(remarks)}".rstrip())
    if before is None:
        return paint.good(f"  + {text}")
    if after is None:
        return paint.bad(f"  - {text}")
    return paint.odd(f"  ~ {text}")


def _remarks(before: FileState | None, after: FileState | None) -> Iterator[str]:
    """Yield what the path alone does not say: another kind, another mode, where a link points."""
    from headgate.records import mode_text  # noqa: PLC0415 -- brings protobuf
    from headgate.v1.deployment_pb2 import FileKind  # noqa: PLC0415 -- as above
    from headgate.words import word  # noqa: PLC0415 -- as above

    if before is not None and after is not None:
        if before.kind != after.kind:
            yield f"{word(FileKind, before.kind)} -> {word(FileKind, after.kind)}"
        elif before.mode != after.mode and after.HasField("mode"):
            yield f"mode {mode_text(before)} -> {mode_text(after)}"
    if after is not None and after.link_target:
        yield f"-> {after.link_target}"
