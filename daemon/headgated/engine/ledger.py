"""The deployments that there are: those under way in memory, all of them on disk, each change of one told to watchers.

A deployment that somebody asked for is on disk before the answer goes out and before its target changes, and told when it is; one
that auto-sync begins is written when it is finished (until then its intent in history stands for it), and told, from its beginning
on, when it shows progress or ends: waking those who listen must not hold up who works. One log line for each that ends.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from headgated.core import lifecycle
from headgated.core.deployment import (
    ConfigDeployment,
    DeploymentError,
    DeploymentKind,
    DeploymentStatus,
    Progress,
    Trigger,
)
from headgated.core.errors import HeadgateError, UnavailableError
from headgated.core.report import emptied
from headgated.effects.durable import at_once
from headgated.effects.known_secrets import hide
from headgated.effects.logs import facts
from headgated.effects.records import DeploymentStore

log = logging.getLogger("headgated.deploy")
_PROGRESS_EVERY = 0.2


def utc_now() -> datetime:
    """Return the time, with its zone."""
    return datetime.now(UTC)


class Ledger:
    """Keeps the record of every deployment. Thread-safe.

    Args:
        store: the records on disk.
        publish: told of each deployment that is new or has changed, with counts in place of lists.
    """

    def __init__(self, store: DeploymentStore, publish: Callable[[ConfigDeployment], None]) -> None:
        self.store, self._publish = store, publish
        self._under_way: dict[str, ConfigDeployment] = {}
        self._unsaved: dict[str, ConfigDeployment] = {}
        """Finished, and not on disk because the state directory could not be written."""
        self._told: dict[str, float] = {}
        self._held: dict[str, list[ConfigDeployment]] = {}
        """What is yet to be told of deployments that were begun a moment ago."""
        self._uncreated: set[str] = set()
        """What was asked for and is not on disk yet: nobody is told of it."""
        self._lock, self._telling = threading.Lock(), threading.Lock()

    def begin(
        self,
        environment: str,
        kind: DeploymentKind,
        *,
        deployed_by: str,
        trigger: Trigger,
        reason: str = "",
        on_behalf_of: str = "",
        config_files: tuple[str, ...] = (),
    ) -> ConfigDeployment:
        """Return a new deployment in PENDING, with an id and sequence of its own. It is neither on disk yet nor told."""
        now = utc_now()
        deployment_id, sequence = self.store.reserve(environment, kind, now)
        record = ConfigDeployment(
            deployment_id=deployment_id,
            environment=environment,
            kind=kind,
            status=DeploymentStatus.PENDING,
            sequence=sequence,
            deployed_at=now,
            deployed_by=deployed_by,
            trigger=trigger,
            reason=reason,
            on_behalf_of=on_behalf_of,
            config_files=config_files,
        )
        self._held[deployment_id] = []
        if trigger == Trigger.REQUEST:
            self._uncreated.add(deployment_id)
        self.update(record)
        return record

    def create(self, record: ConfigDeployment, after: Callable[[], object] = at_once) -> None:
        """Put a deployment that was begun on disk, then tell of it.

        Args:
            record: as it was begun.
            after: waits for what has to be on disk before the record is seen.

        Raises:
            UnavailableError: it is not on disk and is not told; to be discarded. Whatever else `after` raises.
        """
        self.store.create(record, after)
        self._uncreated.discard(record.deployment_id)
        self._release(record.deployment_id)

    def discard(self, record: ConfigDeployment) -> None:
        """Forget a deployment that could not be put on disk when it was begun: there never was one."""
        with self._telling:
            self._held.pop(record.deployment_id, None)
        self._uncreated.discard(record.deployment_id)
        self._drop(record)

    def renumber(self, record: ConfigDeployment) -> ConfigDeployment:
        """Return a deployment that has not begun, as the newest of its environment."""
        return replace(record, sequence=self.store.reserve_sequence(record.environment))

    def update(self, record: ConfigDeployment) -> None:
        """Note how a deployment under way stands."""
        with self._lock:
            self._under_way[record.deployment_id] = record
        with self._telling:
            held = self._held.get(record.deployment_id)
            if held is not None:
                held.append(record)
            else:
                self._publish(replace(record, changes=emptied(record.changes)))

    def progress(self, record: ConfigDeployment, step: str, done: int, total: int) -> None:
        """Note how far a deployment is; watchers hear of it a few times a second at most."""
        now, key = time.monotonic(), record.deployment_id
        if 0 < done < total and now - self._told.get(key, 0.0) < _PROGRESS_EVERY:
            return
        self._told[key] = now
        self._release(key)
        self.update(replace(record, progress=Progress(step, done, total)))

    def keep(self, record: ConfigDeployment) -> None:
        """Put a deployment that is not finished on disk as it stands now, and tell of it.

        Raises:
            UnavailableError: it is not on disk.
        """
        self.store.save(record)
        self._release(record.deployment_id)
        self.update(record)

    def finish(self, record: ConfigDeployment) -> None:
        """Put a finished deployment on disk, then tell of it, then log it.

        Raises:
            UnavailableError: it is not on disk. It is told all the same, and kept in memory until `save_kept` can write it.
        """
        try:
            self.store.save(record)
        except UnavailableError:
            with self._lock:
                self._under_way[record.deployment_id] = self._unsaved[record.deployment_id] = record
            raise
        else:
            self._drop(record)
        finally:
            self._release(record.deployment_id)
            self._publish(replace(record, changes=emptied(record.changes)))
            _log_outcome(record)

    def amend(self, record: ConfigDeployment) -> None:
        """Put on disk what is noted on a finished deployment, and tell of it.

        Raises:
            UnavailableError: it is not on disk.
        """
        self.store.save(record)
        self._publish(replace(record, changes=emptied(record.changes)))

    def save_kept(self) -> None:
        """Put on disk what ended while the state directory could not be written. Nothing, as a rule.

        Raises:
            UnavailableError: it still cannot be.
        """
        with self._lock:
            kept = list(self._unsaved.values())
        for record in kept:
            self.store.save(record)
            self._drop(record)

    def forget(self, record: ConfigDeployment) -> None:
        """Drop a deployment that came to nothing new and never was on disk, after telling its watchers how it ended."""
        self._drop(record)
        self._release(record.deployment_id)
        self._publish(replace(record, changes=emptied(record.changes)))

    def _release(self, deployment_id: str) -> None:
        """Tell what was held back."""
        with self._telling:
            if deployment_id in self._uncreated:
                return
            for record in self._held.pop(deployment_id, ()):
                self._publish(replace(record, changes=emptied(record.changes)))

    def repeat_failure(self, old: ConfigDeployment, attempts: int) -> ConfigDeployment:
        """Note on the record of a failed attempt that it failed again in the same way."""
        again = replace(old, attempts=attempts, finished_at=utc_now())
        self.store.save(again)
        return again

    def mark_undone(self, deployment_ids: tuple[str, ...], by: str) -> None:
        """Mark what a rollback undid. May be repeated."""
        for deployment_id in deployment_ids:
            old = self.store.get(deployment_id)
            new = lifecycle.undo(old, by, utc_now())
            if new is not old:
                self.store.save(new)
                self._publish(replace(new, changes=emptied(new.changes)))

    def get(self, deployment_id: str) -> ConfigDeployment:
        """Return a deployment as it stands now.

        Raises:
            NotFoundError: DEPLOYMENT_NOT_FOUND.
        """
        with self._lock:
            record = self._under_way.get(deployment_id)
        return record if record is not None else self.store.get(deployment_id)

    def environment_of(self, deployment_id: str) -> str:
        """Return the environment of a deployment. Reads no file.

        Raises:
            NotFoundError: DEPLOYMENT_NOT_FOUND.
        """
        with self._lock:
            record = self._under_way.get(deployment_id)
        return record.environment if record is not None else self.store.environment_of(deployment_id)

    def at_hand(self, deployment_id: str) -> ConfigDeployment | None:
        """Return a deployment as it stands now if that takes no reading of files; None: ask `get`."""
        with self._lock:
            record = self._under_way.get(deployment_id)
        return record if record is not None else self.store.recent(deployment_id)

    def current(self, record: ConfigDeployment) -> ConfigDeployment:
        """Return a record from disk as it stands now."""
        with self._lock:
            return self._under_way.get(record.deployment_id, record)

    def under_way(self) -> list[ConfigDeployment]:
        """Return the deployments that are not finished, newest first."""
        with self._lock:
            return sorted(
                self._under_way.values(),
                key=lambda record: (record.deployed_at, record.sequence),
                reverse=True,
            )

    def _drop(self, record: ConfigDeployment) -> None:
        with self._lock:
            self._under_way.pop(record.deployment_id, None)
            self._unsaved.pop(record.deployment_id, None)
            self._told.pop(record.deployment_id, None)


def failed(record: ConfigDeployment, error: HeadgateError) -> ConfigDeployment:
    """Return the record of a deployment that did not succeed; no secret is in it, whatever the error says."""
    if record.status == DeploymentStatus.PENDING:
        record = lifecycle.start(record, utc_now())
    told = DeploymentError.of(error)
    told = replace(told, message=hide(told.message), hint=hide(told.hint), paths=tuple(map(hide, told.paths)))
    return lifecycle.fail(record, told, utc_now())


def _log_outcome(record: ConfigDeployment) -> None:
    changes = record.changes
    seconds = (
        (record.finished_at - record.started_at).total_seconds()
        if record.finished_at and record.started_at
        else 0.0
    )
    text = (
        f"{record.kind} {record.deployment_id} environment={record.environment} status={record.status}"
        f" added={changes.added_count} modified={changes.modified_count} removed={changes.removed_count}"
        f" seconds={seconds:.3f} by={record.deployed_by} trigger={record.trigger}"
    )
    if record.reason:
        text += f" why={record.reason!r:.200}"
    known = facts(
        environment=record.environment,
        deployment_id=record.deployment_id,
        kind=record.kind,
        status=record.status,
        trigger=record.trigger,
        user=record.deployed_by,
        reason=record.error.reason if record.error is not None else None,
    )
    if record.error is not None:
        log.error("%s error=%s: %s", text, record.error.reason, record.error.message, extra=known)
    else:
        log.info("%s", text, extra=known)
