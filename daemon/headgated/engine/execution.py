"""Carries out a plan: all or nothing, with everything that goes kept in history first.

The order of the steps is the promise. Before `History.commit` nothing at the target has changed; after it, whatever happens,
the change can be undone or finished from what lies on disk:

    make sure of room -> prepare -> keep in history what goes -> stage beside the target, keeping what comes (-> check) -> COMMIT (synced)
            -> rename into place -> remove what was replaced (-> record -> mark as applied)

What somebody asked for waits in between, at the latest before it renames, until its record is on disk, and before that the line of the
audit log (`Work.recorded`): nothing that others see is done before. An intent without a record is undone like any other.

With strategy atomic the same steps are carried out in a second directory while staging, and renaming into place is one exchange
of the two (`effects.target.whole`).

What is staged is brought to the disk while history takes in what it has to keep; only the commitment itself waits for it. A few
files are staged without a name: a crash before the commit leaves nothing of them, and they are brought to the disk beside it;
the first rename waits for both.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set as AbstractSet
from dataclasses import dataclass, field, replace

from headgated.core.deployment import ConfigDeployment
from headgated.core.errors import HeadgateError
from headgated.core.intent import Intent
from headgated.core.paths import parent
from headgated.core.plan import Change, Plan
from headgated.core.steps import steps
from headgated.core.tree import Directory, Entry, Kind
from headgated.effects.durable import at_once
from headgated.effects.history import History
from headgated.effects.records import encode_deployment
from headgated.effects.target import Target
from headgated.engine.content import Content

log = logging.getLogger("headgated.deploy")


SMALL = 1024 * 1024
"""Bytes up to which a file is held in memory while it is kept and staged."""
Progress = Callable[[str, int, int], None]
"""Told of a step, how many of its files are done, and how many there are. What it raises ends the deployment."""


@dataclass(frozen=True, slots=True)
class Work:
    """A plan to carry out, and for what."""

    plan: Plan
    content: Content
    record: ConfigDeployment
    """In progress."""
    target_path: str
    managed: Directory
    """What is managed before."""
    open: Callable[[bytes], bytes] = bytes
    """Puts secrets into the content of a file that has a seal."""
    kept: Mapping[bytes, bytes] = field(default_factory=dict)
    """Contents, by digest, that history is to keep in place of what the target has."""
    modes: Mapping[bytes, int] = field(default_factory=dict)
    """What new files get, by path, whose mode is not ours to say afterwards."""
    whole: bool = False
    """Exchange the whole directory (strategy atomic) instead of file by file."""
    recorded: Callable[[], object] = at_once
    """Waits until it is on disk who asked for this; what it raises ends the deployment."""


def execute(
    history: History,
    target: Target,
    work: Work,
    progress: Progress,
    check: Callable[[], ConfigDeployment] | None = None,
) -> tuple[str, ...]:
    """Make the target what the plan says, or leave it as it is.

    Args:
        history: keeps what goes and what comes, and the commitment.
        target: where to.
        work: what to do.
        progress: told of step, files done and files in all.
        check: called when all is staged, before anything is committed to; returns the record with what came of it. What it
            raises ends the deployment.

    Returns:
        Notes on what could not be tidied up. The intent stands until the caller says `History.applied`.

    Raises:
        HeadgateError: why not; the target is as it was before, unless the reason is UNDO_FAILED.
    """
    plan, content, record = work.plan, work.content, work.record
    changes, deployment_id = plan.changes, record.deployment_id
    token = secrets.token_hex(6)
    if not changes:
        work.recorded()
        history.commit(intent_of(work, token))
        return ()
    what = steps([_with_mode(change, work.modes) for change in changes], token)
    directories = sorted({parent(change.path) for change in changes})
    total = len(changes)
    way = target.whole(token) if work.whole else target
    progress("stage", 0, total)
    unnamed = way.prepare(changes, history.make_sure_of_room(changes, plan.result), work.recorded)
    if check is not None or not unnamed:
        work.recorded()
    history.begin(record.environment, deployment_id, token, work.target_path, () if unnamed else directories)
    try:
        stored = history.hold(_contents(changes))
        _keep(history, target, work, progress, stored)
        way.stage(
            what,
            lambda change: _kept(history, change, content, work.open, stored),
            lambda done: progress("stage", done, total),
            unnamed=unnamed,
        )
        if check is not None:
            work = replace(work, record=check())
        progress("apply", 0, total)
        history.commit(intent_of(work, token), way.on_disk)
        work.recorded()
    except BaseException:
        _give_up(history, target, directories, token, deployment_id)
        raise
    try:
        way.apply(what)
    except HeadgateError as error:
        if error.reason != "UNDO_FAILED":  # Else the intent stands, for recovery to try again.
            history.abandoned(deployment_id)
        raise
    return tuple(way.finish(what))


def _with_mode(change: Change, modes: Mapping[bytes, int]) -> Change:
    mode = modes.get(change.path)
    if mode is None or change.wanted is None:
        return change
    return replace(change, wanted=replace(change.wanted, mode=mode))


def _contents(changes: Iterable[Change]) -> Iterator[bytes]:
    """Yield the digest of every content that some changes take away or bring."""
    for change in changes:
        for entry in (change.expected, change.wanted):
            if entry is not None and entry.kind == Kind.FILE:
                yield entry.digest


def _keep(
    history: History, target: Target, work: Work, progress: Progress, stored: AbstractSet[bytes]
) -> None:
    """Put into history what the target loses and is not `stored`."""
    total = len(work.plan.changes)
    progress("keep", 0, total)
    for done, change in enumerate(work.plan.changes):
        old = change.expected
        if old is not None and old.kind == Kind.FILE and old.digest not in stored:
            progress("keep", done, total)
            keep_live(history, target, change.path, old, work.kept)


def keep_live(
    history: History, target: Target, path: bytes, entry: Entry, kept: Mapping[bytes, bytes]
) -> None:
    """Put into history what the target has at a path; what is in `kept` instead, where secrets are in it."""
    if history.has(entry.digest):
        return
    content = kept.get(entry.digest)
    history.put(entry.digest, entry.size, target.read(path, entry) if content is None else (content,))


def intent_of(work: Work, token: str) -> Intent:
    """Return what a piece of work commits to."""
    record = work.record
    return Intent(
        deployment_id=record.deployment_id,
        environment=record.environment,
        sequence=record.sequence,
        target=work.target_path,
        token=token,
        managed_before=work.managed,
        managed_after=work.plan.result,
        changes=work.plan.changes,
        record=encode_deployment(record),
    )


def _kept(
    history: History,
    change: Change,
    content: Content,
    opened: Callable[[bytes], bytes],
    stored: AbstractSet[bytes],
) -> Iterable[bytes]:
    """Return what shall be at a path, after putting it into history if it is not `stored`. What is small is read once for both."""
    new = change.wanted
    if new is None or new.kind != Kind.FILE:
        return ()
    if new.seal:
        sealed = b"".join(content(change.path, new))
        if new.digest not in stored:
            history.put(new.digest, new.size, (sealed,))
        return (opened(sealed),)
    if new.digest in stored:
        return content(change.path, new)
    if new.size > SMALL:
        history.put(new.digest, new.size, content(change.path, new))
        return history.read(new.digest)
    chunks = tuple(content(change.path, new))
    history.put(new.digest, new.size, chunks)
    return chunks


def _give_up(
    history: History, target: Target, directories: Sequence[bytes], token: str, deployment_id: str
) -> None:
    """Remove what was staged. What cannot be removed now is left to `Leftovers`."""
    try:
        target.sweep(directories, token)
        history.abandoned(deployment_id)
    except (HeadgateError, OSError) as error:
        log.warning(
            "cannot remove what was staged for %s; it is removed with the next deployment, or at the next start: %s",
            deployment_id,
            error,
        )
