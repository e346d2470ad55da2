"""What a rollback or restore means: which deployments it undoes, and what the target shall have then.

History is a list of applied deployments, each with what it found (`expected`) and what it left (`wanted`) at every path
it changed. Undoing some of the newest is giving each path back what the oldest of them found there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from headgated.core.deployment import ConfigDeployment, DeploymentStatus
from headgated.core.errors import DeploymentFailedError, RefusedError
from headgated.core.paths import escape
from headgated.core.plan import Change, Plan
from headgated.core.tree import Directory, Entry, Kind


def compose(newest_first: Iterable[Sequence[Change]]) -> dict[bytes, Entry | None]:
    """Return, for each path that any of these deployments changed, what was there before the oldest that changed it."""
    found: dict[bytes, Entry | None] = {}
    for changes in newest_first:
        for change in changes:
            found[change.path] = change.expected
    return found


def standing_after(records: Sequence[ConfigDeployment], sequence: int) -> list[ConfigDeployment]:
    """Return the deployments after `sequence` that are in force, newest first.

    Failed ones never were, but for those that failed after they had been applied. What a rollback in force undid is not; what a rollback undid that was itself rolled back is again. A
    rollback all of whose undone deployments are later than `sequence` cancels out with them.
    """
    order = {record.deployment_id: record.sequence for record in records}
    cancelled: set[str] = set()
    standing = []
    for record in sorted(records, key=lambda record: -record.sequence):
        if record.sequence <= sequence or not _was_reached(record) or record.deployment_id in cancelled:
            continue
        undone = record.rollback_info.undone if record.rollback_info is not None else ()
        cancelled.update(undone)
        if not undone or any(order.get(earlier, 0) <= sequence for earlier in undone):
            standing.append(record)
    return standing


def _was_reached(record: ConfigDeployment) -> bool:
    failed_late = record.status == DeploymentStatus.FAILED and record.applied_at is not None
    return record.status.reached or failed_late


def check_undoable(
    record: ConfigDeployment, later: Sequence[ConfigDeployment], *, include_later: bool
) -> None:
    """Refuse what cannot be rolled back.

    Raises:
        RefusedError: NOT_REACHED (it failed or is not finished), ALREADY_ROLLED_BACK, LATER_DEPLOYMENTS.
    """
    name = record.deployment_id
    if record.status == DeploymentStatus.ROLLED_BACK:
        by = record.rollback_info.rolled_back_by if record.rollback_info else ""
        raise RefusedError(
            f"cannot roll back {name}: {by or 'a rollback'} has undone it already",
            reason="ALREADY_ROLLED_BACK",
            hint=f"to bring its state back: headgate restore {name}",
        )
    check_reached(record, "roll back")
    if later and not include_later:
        names = [other.deployment_id for other in later]
        raise RefusedError(
            f"cannot roll back {name}: {len(names)} later deployment(s) stand on it: {', '.join(names[:10])}",
            reason="LATER_DEPLOYMENTS",
            hint=f"undo them too: headgate rollback {name} --include-later",
            paths=names,
        )


def check_reached(record: ConfigDeployment, verb: str) -> None:
    """Refuse a deployment whose state the target never had."""
    if not record.status.reached:
        raise RefusedError(
            f"cannot {verb} {record.deployment_id}: it is {record.status}, so the target never had its state",
            reason="NOT_REACHED",
            hint="choose one that succeeded: headgate deployments",
        )


def collected(deployment_id: str, held: Sequence[str], verb: str) -> RefusedError:
    """Return why nothing can be done with a deployment whose content history has dropped.

    Args:
        deployment_id: the deployment.
        held: those of its environment that history still has, oldest first.
        verb: what was to be done with it.
    """
    oldest = f"; the oldest state that it still has: headgate restore {held[0]}" if held else ""
    return RefusedError(
        f"cannot {verb} {deployment_id}: history no longer holds its content",
        reason="HISTORY_COLLECTED",
        hint=f"deploy the wanted content anew{oldest}",
    )


def plan_undo(
    result: Directory,
    wanted: Mapping[bytes, Entry | None],
    live: Mapping[bytes, Entry | None],
    below: Mapping[bytes, Mapping[bytes, Entry]],
) -> Plan:
    """Return the changes that give each path of `wanted` back, whatever is there now.

    Args:
        result: what is managed afterwards.
        wanted: path -> what was there before; None: nothing was.
        live: what is there now.
        below: for each live directory that gives way to a file or symlink: everything below it.

    Raises:
        DeploymentFailedError: TYPE_CLASH where such a directory holds something that no undone deployment put there.
    """
    changes: dict[bytes, Change] = {}
    clashes: list[str] = []
    for path, before in wanted.items():
        now = live.get(path)
        if before is not None and now is not None and now.kind == Kind.DIRECTORY != before.kind:
            inside = below.get(path, {})
            if any(inner not in wanted for inner in inside):
                clashes.append(escape(path))
            for inner, entry in inside.items():
                changes[inner] = Change(inner, entry, None)
        there = now is None if before is None else before.matches(now)
        if path not in changes and not there:
            changes[path] = Change(path, now, before)
    if clashes:
        raise DeploymentFailedError(
            f"cannot roll back: {clashes[0]} is a directory with content that Headgate did not put there",
            reason="TYPE_CLASH",
            hint="move that directory away and roll back again",
            paths=clashes,
        )
    ordered = tuple(changes[path] for path in sorted(changes, key=lambda path: path.split(b"/")))
    return Plan(changes=ordered, result=result, unchanged=max(0, result.files - len(ordered)))
