"""The deployments on disk: `config_deployments/ENVIRONMENT/DEPLOYMENT_ID.json`, and a light index of them in memory.

One record that cannot be read harms no other: it is set aside and named, and everything else goes on without it.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from itertools import islice
from pathlib import Path

from headgated.core.deployment import ConfigDeployment, DeploymentKind, DeploymentStatus
from headgated.core.environment import name_faults
from headgated.core.errors import HeadgateError, NotFoundError, RecordError
from headgated.effects.durable import (
    at_once,
    check_writable,
    has_room,
    not_writable,
    sync_directory,
    write_durable,
)
from headgated.effects.records.coding import microseconds, time_at
from headgated.effects.records.deployment_shape import decode_brief, decode_deployment, encode_deployment
from headgated.effects.records.index import Cursor, Index, Line, place
from headgated.effects.records.reading import SetAside, mark_of, read_record
from headgated.effects.records.recent import Recent
from headgated.effects.records.remembered import Remembered
from headgated.effects.records.survey import Survey

log = logging.getLogger("headgated.records")
_REMEMBERED = 10_000
_SHORT = 100
"""Records of at most so many changes are kept as read or written."""
_UNFINISHED = tuple(status for status in DeploymentStatus if not status.finished)
_BELIEVED = 5.0
"""Seconds after a write for which another one is taken to be possible, as long as there is room."""


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
        self._trusted: list[Line] = []
        """Lines that were taken as remembered, and nobody has checked yet."""
        self._news: dict[str, int] = {}
        """How many lines of each environment are not remembered as they are."""
        self._briefs, self._wholes = Recent(), Recent()
        self._written_at = float("-inf")
        """When something could be written here, in monotonic seconds."""
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
                    survey = Survey(self._directory / name, self._remembered(name).read()).run()
                    self._learn(name, survey)
                    lines += survey.lines
                    aside += survey.set_aside
                    self._trusted += survey.trusted
                    self._news[name] = len(survey.lines) - len(survey.trusted)
            self._index.fill(lines)
        return aside

    def check(self, stopping: Callable[[], bool] = lambda: False) -> list[SetAside]:
        """Look whether each record that was taken as remembered is still what it was; returns what cannot be read.

        To be called once after `open`, while everything else goes on: it takes a second or two where there are many. Ends
        early when told so.
        """
        trusted, self._trusted = self._trusted, []
        aside: list[SetAside] = []
        for line in trusted:
            if stopping():
                break
            if self._mark(line.environment, line.deployment_id) != line.mark:
                aside += self._look_again(line)
        return aside

    def remember(self, least: int = 1) -> None:
        """Write down what is known of records, where at least so many are news, so that the next start need not read them."""
        with self._lock:
            news = [name for name, count in self._news.items() if count >= least]
            found = [(name, self._index.of(name).copy()) for name in news]
            self._news = {name: count for name, count in self._news.items() if count < least}
        for name, lines in found:
            self._remembered(name).write(lines)

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
        if time.monotonic() - self._written_at > _BELIEVED or not has_room(self._directory):
            check_writable(self._directory)
            self._written_at = time.monotonic()

    def create(self, record: ConfigDeployment, after: Callable[[], object] = at_once) -> None:
        """Write a record that is not there yet, durably.

        Args:
            record: the record.
            after: waits for what has to be on disk before the record is seen; what it raises leaves no record.

        Raises:
            FileExistsError: it is there.
            UnavailableError: STATE_NOT_WRITABLE.
        """
        self._write(record, replace=False, after=after)

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
        return self._read(self._line(deployment_id))

    def _line(self, deployment_id: str) -> Line:
        with self._lock:
            self._check_usable(deployment_id)
            line = self._index.get(deployment_id)
        if line is None:
            raise NotFoundError(
                f"there is no deployment {deployment_id!r:.200}",
                reason="DEPLOYMENT_NOT_FOUND",
                hint="list them: headgate deployments",
            )
        return line

    def recent(self, deployment_id: str) -> ConfigDeployment | None:
        """Return a record that was read or written lately and is not long; None: ask `get`. Reads no file."""
        with self._lock:
            line = self._index.get(deployment_id)
        if line is None or deployment_id in self._unusable:
            return None
        return self._wholes.get(deployment_id, self._mark(line.environment, deployment_id))

    def page(
        self,
        environment: str | None,
        *,
        limit: int,
        before: Cursor | None,
        statuses: frozenset[DeploymentStatus],
        brief: bool = False,
    ) -> tuple[list[ConfigDeployment], Cursor | None]:
        """Return up to `limit` records, newest first, and where the next page begins (None: there is none).

        Args:
            environment: None: all, ordered by when they were asked for.
            limit: how many at most.
            before: what the page before returned.
            statuses: empty: any.
            brief: with counts in place of lists of files, which then cost nothing.
        """
        lines, following = self._find(environment, limit, before, statuses)
        return list(self._readable(lines, self._read_brief if brief else self._read)), following

    def environment_of(self, deployment_id: str) -> str:
        """Return the environment of a deployment. Reads no file; raises as `get`."""
        return self._line(deployment_id).environment

    def asked_at(self, deployment_id: str) -> datetime | None:
        """Return when a deployment was asked for, None where there is no such record. Reads no file."""
        with self._lock:
            line = self._index.get(deployment_id)
        return None if line is None else time_at(line.deployed_at)

    def last(self, environment: str) -> ConfigDeployment | None:
        """Return an environment's newest record with counts in place of lists of files, None where there is none."""
        before: Cursor | None = None
        while lines := self._find(environment, 1, before, frozenset())[0]:
            for record in self._readable(lines, self._read_brief):
                return record
            before = place(lines[0])
        return None

    def brief(self, deployment_id: str) -> ConfigDeployment | None:
        """Return one record with counts in place of lists of files, None where there is none.

        Raises:
            RecordError: it cannot be read.
        """
        with self._lock:
            line = self._index.get(deployment_id)
        return None if line is None else self._read_brief(line)

    def by_status(self, environment: str, status: DeploymentStatus) -> list[str]:
        """Return the ids of an environment's deployments in a status, oldest first."""
        with self._lock:
            return [line.deployment_id for line in self._index.of(environment) if line.status is status]

    def unfinished(self) -> list[ConfigDeployment]:
        """Return the records that say they are not finished."""
        with self._lock:
            lines = [line for line in self._index.all() if line.status in _UNFINISHED]
        return list(self._readable(lines, self._read))

    def _find(
        self,
        environment: str | None,
        limit: int,
        before: Cursor | None,
        statuses: frozenset[DeploymentStatus],
    ) -> tuple[list[Line], Cursor | None]:
        with self._lock:
            candidates = self._index.newest_first(environment, before)
            wanted = tuple(statuses)  # compared one by one that is faster than hashed
            found = (line for line in candidates if line.status in wanted) if wanted else candidates
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
            or os.path.lexists(self._name_of(environment, deployment_id))
        )

    def _write(
        self, record: ConfigDeployment, *, replace: bool, after: Callable[[], object] = at_once
    ) -> None:
        directory = self._directory / record.environment
        try:
            if not directory.is_dir():
                directory.mkdir(mode=0o700, exist_ok=True)
                sync_directory(self._directory)
        except OSError as error:
            raise not_writable(directory, error) from error
        name, encoded = f"{record.deployment_id}.json", encode_deployment(record)
        write_durable(directory, name, encoded, replace=replace, after=after)
        self._written_at = time.monotonic()
        self._note(record)

    def _note(self, record: ConfigDeployment) -> None:
        name, deployment_id, at = record.environment, record.deployment_id, microseconds(record.deployed_at)
        mark = self._mark(name, deployment_id)
        if record.changes.total <= _SHORT:
            self._wholes.put(replace(record, progress=None), mark)
        line = Line(deployment_id, name, record.status, record.sequence, at, mark)
        with self._lock:
            self._index.add(line)
            self._news[name] = self._news.get(name, 0) + 1
            self.pass_over(name, record.sequence)
            self._reserved.pop(deployment_id, None)

    def _learn(self, environment: str, survey: Survey) -> None:
        """Note what a survey found besides lines."""
        self._unusable |= survey.unusable
        self._gone |= survey.gone
        self.pass_over(environment, survey.highest)

    def _look_again(self, line: Line) -> list[SetAside]:
        """Read the record of a line whose file has changed."""
        survey = Survey(self._directory / line.environment).again(line.deployment_id)
        with self._lock:
            if self._index.get(line.deployment_id) is line:  # else it was written meanwhile
                self._index.remove(line.deployment_id)
                self._learn(line.environment, survey)
                for found in survey.lines:
                    self._index.add(found)
                self._news[line.environment] = self._news.get(line.environment, 0) + 1
        return survey.set_aside

    def _remembered(self, environment: str) -> Remembered:
        return Remembered(self._directory / environment)

    def _mark(self, environment: str, deployment_id: str) -> int:
        """Return the mark of a record's file; 0 where there is none."""
        try:
            return mark_of(os.lstat(self._name_of(environment, deployment_id)))
        except OSError:
            return 0

    def _path(self, environment: str, deployment_id: str) -> Path:
        return Path(self._name_of(environment, deployment_id))

    def _name_of(self, environment: str, deployment_id: str) -> str:
        return f"{self._directory}/{environment}/{deployment_id}.json"

    def _readable(
        self, lines: list[Line], read: Callable[[Line], ConfigDeployment]
    ) -> Iterator[ConfigDeployment]:
        for line in lines:
            try:
                yield read(line)
            except HeadgateError:
                continue  # it is in the log

    def _read(self, line: Line) -> ConfigDeployment:
        """Read a record whole."""
        return self._decoded(line, self._wholes, decode_deployment)

    def _read_brief(self, line: Line) -> ConfigDeployment:
        """Read a record without its lists."""
        return self._decoded(line, self._briefs, decode_brief)

    def _decoded(
        self, line: Line, recent: Recent, decode: Callable[[bytes], ConfigDeployment]
    ) -> ConfigDeployment:
        """Read a record, unless that was done lately; one that turns out to be damaged is dropped from the index."""
        mark = self._mark(line.environment, line.deployment_id)
        known = recent.get(line.deployment_id, mark)
        if known is not None:
            return known
        path = self._path(line.environment, line.deployment_id)
        found = read_record(path, decode)
        if not isinstance(found, SetAside):
            if recent is self._briefs or found.changes.total <= _SHORT:
                recent.put(found, mark)
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
