"""The deployments on disk: `config_deployments/ENVIRONMENT/DEPLOYMENT_ID.json`, and a light index of them in memory.

One record that cannot be read harms no other: it is set aside and named, and everything else goes on without it.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path

from headgated.core.deployment import ConfigDeployment, DeploymentKind, DeploymentStatus
from headgated.core.environment import name_faults
from headgated.core.errors import HeadgateError, NotFoundError, RecordError
from headgated.effects.durable import check_writable, not_writable, sync_directory, write_durable
from headgated.effects.records.coding import SCHEMA_VERSION, time_text
from headgated.effects.records.deployment_shape import decode_deployment, encode_deployment
from headgated.effects.records.index import Cursor, Index, Line, place
from headgated.effects.records.reading import SetAside, read_record
from headgated.effects.records.survey import Survey

log = logging.getLogger("headgated.records")
_REMEMBERED = 10_000


class DeploymentStore:
    """Keeps deployments below a state directory. Thread-safe; a record is written by one at a time."""

    def __init__(self, state_dir: Path) -> None:
        self._directory = state_dir / "config_deployments"
        self._index = Index()
        self._unusable: dict[str, str] = {}
        """Ids of records that are there and cannot be read, and why."""
        self._gone: set[str] = set()
        """Ids of records that were moved away as damaged: not to be given out again."""
        self._reserved: dict[str, None] = {}
        """Ids given out and not yet on disk; many never are, so only the last ones are remembered."""
        self._highest: dict[str, int] = {}
        self._lock = threading.RLock()

    def open(self) -> list[SetAside]:
        """Build the index; returns what could not be read.

        Raises:
            UnavailableError: STATE_NOT_WRITABLE.
        """
        aside: list[SetAside] = []
        lines: list[Line] = []
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            names = [
                entry.name for entry in os.scandir(self._directory) if entry.is_dir(follow_symlinks=False)
            ]
        except OSError as error:
            raise not_writable(self._directory, error) from error
        with self._lock:
            for name in sorted(names):
                if not name_faults(name):
                    survey = Survey(self._directory / name).run()
                    lines += survey.lines
                    aside += survey.set_aside
                    self._unusable |= survey.unusable
                    self._gone |= survey.gone
                    self.pass_over(name, survey.highest)
            self._index.fill(lines)
        return aside

    def reserve(self, environment: str, kind: DeploymentKind, now: datetime) -> tuple[str, int]:
        """Return a deployment id that nobody has or gets, and the environment's next sequence."""
        first = f"{kind.value}_{environment}_{int(now.timestamp())}"
        with self._lock:
            deployment_id, number = first, 1
            while self._taken(environment, deployment_id):
                number += 1
                deployment_id = f"{first}_{number}"
            self._reserved[deployment_id] = None
            if len(self._reserved) > _REMEMBERED:
                del self._reserved[next(iter(self._reserved))]
            return deployment_id, self.reserve_sequence(environment)

    def reserve_sequence(self, environment: str) -> int:
        """Return the environment's next sequence."""
        with self._lock:
            self._highest[environment] = self._highest.get(environment, 0) + 1
            return self._highest[environment]

    def pass_over(self, environment: str, sequence: int) -> None:
        """Give out no sequence up to this one: somebody else knows that it was used."""
        with self._lock:
            self._highest[environment] = max(self._highest.get(environment, 0), sequence)

    def check_writable(self) -> None:
        """Find out whether records can be written now.

        Raises:
            UnavailableError: STATE_NOT_WRITABLE.
        """
        check_writable(self._directory)

    def create(self, record: ConfigDeployment) -> None:
        """Write a record that is not there yet, durably.

        Raises:
            FileExistsError: it is there.
            UnavailableError: STATE_NOT_WRITABLE.
        """
        self._write(record, replace=False)

    def save(self, record: ConfigDeployment) -> None:
        """Write a record durably, over what is there.

        Raises:
            RecordError: RECORD_UNREADABLE, what is there cannot be read and must not be lost (a newer daemon's).
            UnavailableError: STATE_NOT_WRITABLE.
        """
        with self._lock:
            self._check_usable(record.deployment_id)
        self._write(record, replace=True)

    def get(self, deployment_id: str) -> ConfigDeployment:
        """Return one record.

        Raises:
            NotFoundError: DEPLOYMENT_NOT_FOUND.
            RecordError: it cannot be read; the message says why.
        """
        with self._lock:
            self._check_usable(deployment_id)
            line = self._index.get(deployment_id)
        if line is None:
            raise NotFoundError(
                f"there is no deployment {deployment_id!r:.200}",
                reason="DEPLOYMENT_NOT_FOUND",
                hint="list them: headgate deployments",
            )
        return self._read(line)

    def page(
        self,
        environment: str | None,
        *,
        limit: int,
        before: Cursor | None,
        statuses: frozenset[DeploymentStatus],
    ) -> tuple[list[ConfigDeployment], Cursor | None]:
        """Return up to `limit` records, newest first, and where the next page begins (None: there is none).

        Args:
            environment: None: all, ordered by when they were asked for.
            limit: how many at most.
            before: what the page before returned.
            statuses: empty: any.
        """
        lines, following = self._find(environment, limit, before, statuses)
        return list(self._readable(lines)), following

    def asked_at(self, deployment_id: str) -> datetime | None:
        """Return when a deployment was asked for, None where there is no such record. Reads no file."""
        with self._lock:
            line = self._index.get(deployment_id)
        return None if line is None else datetime.fromisoformat(line.deployed_at)

    def last(self, environment: str) -> ConfigDeployment | None:
        """Return an environment's newest record, None where there is none."""
        with self._lock:
            lines = self._index.of(environment)[::-1]
        return next(self._readable(lines), None)

    def by_status(self, environment: str, status: DeploymentStatus) -> list[str]:
        """Return the ids of an environment's deployments in a status, oldest first."""
        with self._lock:
            return [line.deployment_id for line in self._index.of(environment) if line.status == status]

    def unfinished(self) -> list[ConfigDeployment]:
        """Return the records that say they are not finished."""
        with self._lock:
            lines = [line for line in self._index.all() if not line.status.finished]
        return list(self._readable(lines))

    def _find(
        self,
        environment: str | None,
        limit: int,
        before: Cursor | None,
        statuses: frozenset[DeploymentStatus],
    ) -> tuple[list[Line], Cursor | None]:
        with self._lock:
            candidates = self._index.newest_first(environment, before)
            found = (line for line in candidates if not statuses or line.status in statuses)
            lines = list(islice(found, limit + 1))
        return lines[:limit], place(lines[limit - 1]) if len(lines) > limit else None

    def _check_usable(self, deployment_id: str) -> None:
        if deployment_id in self._unusable:
            raise RecordError(
                f"cannot use the record of {deployment_id}: {self._unusable[deployment_id]}",
                reason="RECORD_UNREADABLE",
                hint="look at the file; the daemon goes on without it",
            )

    def _taken(self, environment: str, deployment_id: str) -> bool:
        return (
            deployment_id in self._reserved
            or deployment_id in self._gone
            or deployment_id in self._index
            or os.path.lexists(self._path(environment, deployment_id))
        )

    def _write(self, record: ConfigDeployment, *, replace: bool) -> None:
        directory = self._directory / record.environment
        try:
            if not directory.is_dir():
                directory.mkdir(mode=0o700, exist_ok=True)
                sync_directory(self._directory)
        except OSError as error:
            raise not_writable(directory, error) from error
        write_durable(directory, f"{record.deployment_id}.json", encode_deployment(record), replace=replace)
        self._note(record)

    def _note(self, record: ConfigDeployment) -> None:
        at = time_text(record.deployed_at)
        line = Line(
            SCHEMA_VERSION, record.deployment_id, record.environment, record.status, record.sequence, at
        )
        with self._lock:
            self._index.add(line)
            self.pass_over(record.environment, record.sequence)
            self._reserved.pop(record.deployment_id, None)

    def _path(self, environment: str, deployment_id: str) -> Path:
        return self._directory / environment / f"{deployment_id}.json"

    def _readable(self, lines: list[Line]) -> Iterator[ConfigDeployment]:
        for line in lines:
            try:
                yield self._read(line)
            except HeadgateError:
                continue  # it is in the log

    def _read(self, line: Line) -> ConfigDeployment:
        """Read a record whole; one that turns out to be damaged is dropped from the index."""
        path = self._path(line.environment, line.deployment_id)
        found = read_record(path, decode_deployment)
        if not isinstance(found, SetAside):
            return found
        log.error("%s: %s%s", path, found.why, f"; now {found.moved_to}" if found.moved_to else "")
        with self._lock:
            self._index.remove(line.deployment_id)
            if found.moved_to is None:
                self._unusable[line.deployment_id] = found.why
            else:
                self._gone.add(line.deployment_id)
        raise RecordError(
            f"cannot use the record of {line.deployment_id}: {found.why}",
            reason="RECORD_UNREADABLE",
            hint=f"look at {found.moved_to or path}; the daemon goes on without it",
            paths=[str(path)],
        )
