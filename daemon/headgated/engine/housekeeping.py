"""Looks after history: verifies it, drops what need not be kept, and gives out what a deployment left.

Blocking and thread-safe; deployments go on meanwhile. What somebody is about to return to, or is being given, is not dropped.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from datetime import datetime

from headgated.core.config import RetentionSettings
from headgated.core.deployment import ConfigDeployment, DeploymentKind
from headgated.core.errors import NotFoundError, RefusedError, UnavailableError
from headgated.core.paths import escape
from headgated.core.retention import Limits, Past, kept
from headgated.core.tree import Directory, Kind, walk
from headgated.core.undo import check_reached, collected
from headgated.effects.history import Collected, Finished, History
from headgated.effects.memory import give_back
from headgated.engine.environments import Environments
from headgated.engine.ledger import Ledger, utc_now

log = logging.getLogger("headgated.history")

PIECE = 64 * 1024
"""Bytes that an export gives out at a time."""
LOGGED = 20
"""Damages that the log names; whoever asked is told them all."""


class Housekeeping:
    """Verifies, collects and exports.

    Args:
        environments: whose holds count.
        ledger: who was asked for when, and what is under way.
        history: what is looked after.
        rules: how much is kept.
        clock: tells the time.
    """

    def __init__(
        self,
        environments: Environments,
        ledger: Ledger,
        history: History,
        rules: RetentionSettings,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._environments, self._ledger, self._history = environments, ledger, history
        self._rules, self._clock = rules, clock
        self._given: Counter[str] = Counter()
        """Deployments that are being exported."""
        self._going: frozenset[str] = frozenset()
        """Deployments that are being dropped."""
        self._lock = threading.Lock()
        self._collecting = threading.Lock()
        self._stopping = threading.Event()

    def keep_by(self, rules: RetentionSettings) -> None:
        """Go by other rules from the next collection on."""
        self._rules = rules

    def stop(self) -> None:
        """End what is under way soon, with an error; nothing is begun any more."""
        self._stopping.set()

    def verify(self) -> list[str]:
        """Return a line for each damage: contents that are not what their digest says, trees that cannot be reached.

        Raises:
            UnavailableError: STOPPING.
        """
        began = time.monotonic()
        lines = self._history.verify(self._check)
        log.info("history was verified in %.1f s: %d damage(s)", time.monotonic() - began, len(lines))
        for line in lines[:LOGGED]:
            log.error("history is damaged: %s", line)
        return lines

    def collect(self, *, only_if_any: bool = False) -> Collected:
        """Drop what exceeds the limits, and all content that nobody refers to.

        Args:
            only_if_any: do not even look for such content where no deployment is to be dropped.

        Raises:
            HistoryDamagedError: what is kept cannot be read; nothing was removed.
            UnavailableError: STOPPING, STATE_NOT_WRITABLE; what was removed until then is gone.
        """
        with self._collecting:
            began = time.monotonic()
            finished = self._history.finished()
            environments, room = self._weighed(finished)
            with self._lock:
                keep = self._kept(finished, environments, room)
                self._going = frozenset(each.deployment_id for each in finished) - keep
            try:
                if only_if_any and not self._going:
                    return Collected(0, 0, 0)
                done = self._history.collect(keep, among=self._going, now_and_then=self._check)
            finally:
                self._going = frozenset()
        self._history.free_memory()
        give_back()
        log.info(
            "history was collected in %.1f s: %d deployment(s) and %d content(s) dropped, %d bytes returned",
            time.monotonic() - began,
            done.deployments,
            done.contents,
            done.bytes_returned,
        )
        return done

    def export(self, deployment_id: str) -> Generator[bytes, None, None]:
        """Yield the state that a deployment left, as a tar archive in pieces of at most 64 KiB. It is not dropped meanwhile.

        Nothing is looked at before the first piece is asked for.

        Raises:
            NotFoundError: DEPLOYMENT_NOT_FOUND.
            RefusedError: NOT_REACHED, HISTORY_COLLECTED, CONTENT_NOT_HELD.
            HistoryDamagedError, UnavailableError: between pieces as well; what was given until then is no whole archive.
        """
        from headgated.effects.archive import archive, regrouped  # noqa: PLC0415 - rarely needed, and much to have in memory

        record = self._ledger.get(deployment_id)
        check_reached(record, "export")
        with self._lock:
            if deployment_id in self._going:
                raise self._collected(record)
            self._given[deployment_id] += 1
        try:
            tree = self._left(record)
            self._check_contents(deployment_id, tree)
            at = record.finished_at or record.deployed_at
            for piece in regrouped(archive(tree, self._history.read, int(at.timestamp())), PIECE):
                self._check()
                yield piece
        finally:
            with self._lock:
                self._given -= Counter({deployment_id: 1})

    def _left(self, record: ConfigDeployment) -> Directory:
        try:
            return self._history.managed(record.deployment_id)[1]
        except NotFoundError as error:
            raise self._collected(record) from error

    def _collected(self, record: ConfigDeployment) -> RefusedError:
        held = [name for _, name in self._history.applied_ids(record.environment, 0)]
        return collected(record.deployment_id, [name for name in held if name not in self._going], "export")

    def _check(self) -> None:
        if self._stopping.is_set():
            raise UnavailableError("the daemon stops", reason="STOPPING", hint="try again in a moment")

    def _check_contents(self, deployment_id: str, tree: Directory) -> None:
        """Refuse a tree with files that were at the target already, as they should be, and so were never put into history."""
        missing = [
            escape(path)
            for path, entry in walk(tree)
            if entry.kind == Kind.FILE and not self._history.holds(entry.digest)
        ]
        if missing:
            raise RefusedError(
                f"cannot export {deployment_id}: history does not hold {len(missing)} of its files, which were at the "
                "target before Headgate deployed there",
                reason="CONTENT_NOT_HELD",
                hint="take these from the target or from a source",
                paths=missing,
            )

    def _weighed(self, finished: Sequence[Finished]) -> tuple[dict[str, list[Past]], int | None]:
        """Return what was applied in each environment, newest first, and the room for all of it; sizes only if it is scarce."""
        now = self._clock()
        ages = {each.deployment_id: self._age(each, now) for each in finished if each.applied}
        sizes: dict[str, int] = {}
        room = None
        if self._history.size() > self._rules.max_size:
            base, sizes = self._history.weigh(sorted(ages, key=lambda name: ages[name]), self._check)
            room = self._rules.max_size - base
        environments: dict[str, list[Past]] = {}
        for each in finished:
            past = environments.setdefault(each.environment, [])
            if each.applied:
                name = each.deployment_id
                past.append(Past(name, ages[name], sizes.get(name, 0)))
        return environments, room

    def _age(self, deployment: Finished, now: datetime) -> float:
        """Return seconds; one without a record is as good as new, and goes by the other limits."""
        asked_at = self._ledger.store.asked_at(deployment.deployment_id)
        return 0.0 if asked_at is None else (now - asked_at).total_seconds()

    def _kept(
        self, finished: Sequence[Finished], environments: Mapping[str, Sequence[Past]], room: int | None
    ) -> frozenset[str]:
        """Return what stays: by the limits, and all of an environment in which somebody is about to undo something."""
        keep = kept(
            environments,
            {name for name in environments if self._history.head(name) is not None},
            self._named(),
            Limits(self._rules.count, self._rules.max_age, room),
        )
        oldest: dict[str, int] = {}
        for each in finished:
            if each.deployment_id in keep:
                oldest[each.environment] = each.sequence
        for record in self._ledger.under_way():
            if record.kind != DeploymentKind.DEPLOY:
                oldest[record.environment] = 0
        return frozenset(
            each.deployment_id
            for each in finished
            if each.environment in oldest and each.sequence >= oldest[each.environment]
        )

    def _named(self) -> set[str]:
        holds = {each.hold.deployment_id for each in self._environments.all() if each.hold is not None}
        return holds | set(self._given)
