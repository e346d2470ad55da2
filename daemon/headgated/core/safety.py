"""The rules that keep a broken source from emptying a target, each named after the disaster it prevents.

A verdict says why nothing may be deployed as things stand: what, why, and what to do. None says that nothing speaks against it.
What becomes of a verdict, and which explicit word overrules it, is the engine's to decide.
"""

from __future__ import annotations

from dataclasses import dataclass

from headgated.core.environment import SourceMark
from headgated.core.source import RootState, Snapshot

MASS = 10
"""Fewer managed files than this are no mass; all of them may go, one would be told by `emptied`."""

ACCEPTABLE = frozenset({"SOURCE_UNMOUNTED", "SOURCE_EMPTY", "MASS_REMOVAL"})
"""Reasons that somebody may overrule by saying that the sources are meant to be as they are."""

_ROOT_WRONG = {
    RootState.ABSENT: (
        "SOURCE_MISSING",
        "there is no such directory",
        "put it back, or take it from the environment's sources; the target stays as it is until then",
    ),
    RootState.NOT_A_DIRECTORY: (
        "SOURCE_NOT_A_DIRECTORY",
        "it is not a directory",
        "put the directory back; the target stays as it is until then",
    ),
    RootState.UNREADABLE: (
        "SOURCE_UNREADABLE",
        "the directory cannot be read",
        "let the daemon's user read and enter it, or mend the file system; the target stays as it is until then",
    ),
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why an environment must keep its target for now."""

    reason: str
    """UPPER_SNAKE_CASE, for machines."""
    message: str
    """"cannot deploy X: why", without a full stop."""
    hint: str
    """What to do about it."""


def source_halt(
    path: str, now: Snapshot, *, was_mount: bool | None, had_files: bool, environment: str = "NAME"
) -> Verdict | None:
    """Return what is wrong with a source as a whole.

    Args:
        path: the source's directory, for the message.
        now: what it is now.
        was_mount: whether it was a mount point when it was last deployed from; None: it never was deployed from.
        had_files: whether it had any file then.
        environment: the environment's name, for the hint.
    """
    if now.root in _ROOT_WRONG:
        reason, why, hint = _ROOT_WRONG[now.root]
        return Verdict(reason, f"cannot deploy from {path}: {why}", hint)
    if was_mount and not now.is_mount:
        return _unmounted(path, environment)
    if had_files and not now.tree.files:
        return _source_emptied(path, environment)
    return None


def _unmounted(path: str, environment: str) -> Verdict:
    return Verdict(
        "SOURCE_UNMOUNTED",
        f"cannot deploy from {path}: it was a mount point when it was last deployed from, and nothing is mounted there now",
        f"mount it again; if it is to be an ordinary directory from now on: headgate env resume {environment}",
    )


def _source_emptied(path: str, environment: str) -> Verdict:
    return Verdict(
        "SOURCE_EMPTY",
        f"cannot deploy from {path}: it had files when it was last deployed from, and has none now",
        f"put them back; if it is meant to be empty: headgate deploy {environment} --allow-empty",
    )


def emptied(managed_files: int, wanted_files: int, *, environment: str = "NAME") -> Verdict | None:
    """Return a verdict where files were deployed and the sources together ask for none any more."""
    if managed_files == 0 or wanted_files > 0:
        return None
    return Verdict(
        "SOURCE_EMPTY",
        f"cannot deploy: the sources hold no file any more, and {_files(managed_files)} came from them",
        f"put the files back; if they are meant to go: headgate deploy {environment} --allow-empty",
    )


def mass_removal(managed_files: int, removed: int, *, environment: str = "NAME") -> Verdict | None:
    """Return a verdict where more than half of at least `MASS` managed files would go at once."""
    if managed_files < MASS or removed * 2 <= managed_files:
        return None
    return Verdict(
        "MASS_REMOVAL",
        f"cannot deploy: {removed} of {_files(managed_files)} would be removed, more than half",
        f"see which (headgate plan {environment}); if they are meant to go: "
        f"headgate deploy {environment} --allow-mass-removal",
    )


def is_back(mark: SourceMark | None, now: Snapshot) -> bool:
    """Tell whether a source is what it was when it was last deployed from, so that a halt may end by itself.

    It is when it is the same directory on the same file system and not empty unless it was. That its content is what it was is
    not asked; whoever calls has found that nothing else speaks against it. A source that never was deployed
    from has nothing to come back to: there it is enough that it can be read.
    """
    if now.root != RootState.OK or not now.settled or now.faults:
        return False
    if mark is None:
        return True
    same_place = now.identity == (mark.device, mark.inode) and now.is_mount == mark.is_mount
    return same_place and (now.tree.files > 0 or not mark.had_files)


def _files(count: int) -> str:
    return "1 managed file" if count == 1 else f"{count} managed files"
