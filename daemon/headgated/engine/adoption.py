"""Takes edits by hand at a target into history as they are: a deployment after which they are what was deployed.

Nothing at the target changes. History keeps what was deployed and what is there now, path by path, so that undoing the adoption
gives back what was deployed, and undoing a later deployment gives back the edits. The commitment is all there is to do: once it
is made, the adoption has succeeded, whatever happens.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace

from headgated.core.errors import DeploymentFailedError
from headgated.core.hold import comes_or_goes, fingerprint, same
from headgated.core.paths import escape, unescape
from headgated.core.plan import Change, Plan
from headgated.core.tree import Directory, Entry, Kind, edit, lookup, own
from headgated.effects.history import History
from headgated.effects.target import Target
from headgated.engine.edits import Found
from headgated.engine.execution import Progress, Work, intent_of, keep_live

NOT_DRIFTED = "NOT_DRIFTED"
"""The reason why nothing can be adopted."""


def asked_paths(named: Sequence[str], config_path: str) -> list[bytes]:
    """Return the paths that somebody named, absolute or relative to the target, as those of the target."""
    root = config_path.rstrip("/") + "/"
    return [unescape(name.removeprefix(root).removeprefix("./").rstrip("/")) for name in named]


def plan_adoption(name: str, managed: Directory, found: Found, asked: Sequence[bytes]) -> Plan:
    """Return what adopting changes in history.

    Args:
        name: of the environment, for errors.
        managed: what was deployed.
        found: what is there in place of it.
        asked: which of it to adopt; a directory stands for all below it; none: all of it.

    Raises:
        DeploymentFailedError: NOT_DRIFTED, nothing to adopt there, with every such path.
    """
    idle = [path for path in asked if not any(_within(drifted, path) for drifted in found)]
    if idle or not found:
        where = escape(idle[0]) if idle else "the target"
        raise DeploymentFailedError(
            f"cannot adopt {where}: everything there is as it was deployed to {name}",
            reason=NOT_DRIFTED,
            hint=f"see what has drifted: headgate plan {name}; only managed files can be adopted",
            paths=[escape(path) for path in idle],
        )
    changes = []
    for path in sorted(found, key=lambda path: path.split(b"/")):
        node = lookup(managed, path)
        if node is not None and (not asked or any(_within(path, above) for above in asked)):
            changes.append(Change(path, own(node), _as_managed(own(node), found[path])))
    result = edit(managed, {change.path: change.wanted for change in changes})
    files = sum(1 for c in changes if c.wanted is not None and c.wanted.kind != Kind.DIRECTORY)
    return Plan(tuple(changes), result, unchanged=max(0, result.files - files))


def take_over(history: History, target: Target, work: Work, progress: Progress) -> tuple[str, ...]:
    """Commit to an adoption: the counterpart of `execution.execute`, which leaves the target alone.

    Raises:
        HeadgateError: why not; nothing has changed.
    """
    changes = work.plan.changes
    history.make_sure_of_room(changes, work.plan.result)
    for done, change in enumerate(changes):
        progress("keep", done, len(changes))
        live = change.wanted
        if live is not None and live.kind == Kind.FILE:
            keep_live(history, target, change.path, live, work.kept)
        before = change.expected
        if before is not None and before.kind == Kind.FILE:
            history.has(before.digest)  # It stays until this is committed to.
    progress("record", 0, len(changes))
    work.recorded()
    history.commit(intent_of(work, secrets.token_hex(6)))
    return ()


def rejected_by(
    changes: Sequence[Change], wanted: Directory | None, before: Mapping[str, str]
) -> dict[str, str]:
    """Return what the sources must not bring back by themselves: what they ask for now where an edit was adopted.

    Directories that are missing, or came in place of something else, count only where nothing else was adopted, as with a rollback.

    Args:
        wanted: what the sources ask for; None: they cannot tell, so what they had brought.
        before: what an earlier hold rejects, which still is.
    """
    files: dict[str, str] = {}
    directories: dict[str, str] = {}
    for change in changes:
        node = None if wanted is None else lookup(wanted, change.path)
        asked = change.expected if wanted is None else None if node is None else own(node)
        if not same(asked, fingerprint(change.wanted)):
            group = directories if comes_or_goes(asked, change.wanted) else files
            group[escape(change.path)] = fingerprint(asked)
    return {**before, **(files or directories)}


def _within(path: bytes, above: bytes) -> bool:
    return not above or path == above or path.startswith(above + b"/")


def _as_managed(deployed: Entry, live: Entry | None) -> Entry | None:
    """Return what is there as something deployed. A directory that came in place of a file does not become ours."""
    if live is None:
        return None
    if live.kind == Kind.DIRECTORY != deployed.kind:
        return Entry(Kind.DIRECTORY)
    return replace(
        live,
        uid=None if deployed.uid is None else live.uid,
        gid=None if deployed.gid is None else live.gid,
    )
