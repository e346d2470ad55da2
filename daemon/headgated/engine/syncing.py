"""Auto-sync: makes one environment right, or says why it waits.

Called whenever anything may have changed; doing nothing is the usual case and cheap. An attempt is made once for each state of
sources and environment; a failed one is tried again with growing pauses, and a new state starts afresh.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from threading import Event

from headgated.core.deployment import ConfigDeployment, DeploymentError, DeploymentKind, Trigger
from headgated.core.environment import DriftPolicy, Environment, Halt, Hold
from headgated.core.errors import HeadgateError, SourceMovedError, UnavailableError
from headgated.core.hold import lifts, rejected
from headgated.core.plan import Plan
from headgated.core.safety import Verdict, is_back
from headgated.core.source import Snapshot
from headgated.effects.logs import facts
from headgated.effects.scan import ScanEndedError
from headgated.engine.deploying import Deploying, told_error
from headgated.engine.drift import DRIFTED, in_the_way, look_at_all, refusal, verdict as drift_verdict
from headgated.engine.environments import Environments
from headgated.engine.following import SavedError
from headgated.engine.healing import HEAL, Healing, to_heal
from headgated.engine.ledger import Ledger, failed, utc_now
from headgated.engine.planning import (
    Allowed,
    Planned,
    Planning,
    UnsoundError,
    again_when_moved,
    environment_version,
    sources_version,
)
from headgated.engine.runtime import Failure, Runtime
from headgated.engine.wanted import Wanted

log = logging.getLogger("headgated.sync")

FIRST_PAUSE = 1.0
"""Seconds until a failed attempt is tried again; doubles each time."""
LONGEST_PAUSE = 300.0
"""Seconds."""
LONGEST_UNWRITABLE_PAUSE = 30.0
"""Seconds until the state directory, which could not be written, is tried again at the latest."""
RECOVERY = "recovery"
"""What was attempted, when it was to bring an earlier deployment to its end."""
UNSETTLED_PAUSE = 1.0
"""Seconds until sources that would not hold still are read again."""
MANY_PATHS = 1000
"""So many changed paths leave enough behind in memory for it to be given back."""
BY = "auto-sync"


@dataclass(frozen=True, slots=True)
class SyncOutcome:
    """What came of one look."""

    again_in: float | None = None
    """Seconds after which to look again although nothing happens; None: no need."""


class Syncing:
    """Decides and carries out what auto-sync does. Thread-safe; one look at a time for each environment."""

    def __init__(
        self,
        environments: Environments,
        planning: Planning,
        deploying: Deploying,
        ledger: Ledger,
        tell: Callable[[str], None],
    ) -> None:
        self._environments, self._planning, self._deploying = environments, planning, deploying
        self._ledger, self._tell = ledger, tell
        self._healing = Healing(planning, deploying, ledger)

    def sync(self, runtime: Runtime) -> SyncOutcome:
        """Look at one environment and make it right if that is to be done now. Never raises what it foresaw."""
        with runtime.lock:
            environment = self._environments.get(runtime.name)
            before = _told(runtime, environment)
            try:
                outcome = _no_later(self._look(runtime, environment), runtime)
                self._writable(runtime)
            except UnavailableError as error:
                outcome = self._unwritable(runtime, error)
            finally:
                self._free_memory(runtime)
                if _told(runtime, self._environments.get(runtime.name)) != before:
                    self._tell(runtime.name)
            return outcome

    def _free_memory(self, runtime: Runtime) -> None:
        """Give back what large deployments took; not after each small one, for that takes longer than such a deployment."""
        many = runtime.wanted is not None and runtime.wanted.forget_contents()
        if many or runtime.paths_changed >= MANY_PATHS:
            runtime.paths_changed = 0
            self._deploying.free_memory()

    def accept(self, runtime: Runtime) -> None:
        """Take the sources as they are now for meant, however broken they look: somebody said so.

        Edits at the target, as they are now, may be overwritten where the policy refuses that.
        """
        with runtime.lock:
            environment = self._environments.get(runtime.name)
            runtime.failure, runtime.synced_version = None, None
            try:
                runtime.accepted = sources_version(self._planning.read(runtime, environment))
            except HeadgateError:
                runtime.accepted = None
            if environment.policies.drift == DriftPolicy.REFUSE:
                with suppress(HeadgateError):
                    look_at_all(runtime, environment, self._planning)
                runtime.edits.allow()

    def _look(self, runtime: Runtime, environment: Environment) -> SyncOutcome:
        self._ledger.save_kept()
        waits = self._recover(runtime, environment) or self._await_confirmation(runtime, environment)
        if waits is not None:
            return waits
        if runtime.misfit:
            return SyncOutcome()
        self._deploying.look_for_leftovers(runtime, environment)
        # Anew: what was followed up or taken back may have left a hold.
        environment = self._end_pause(self._environments.get(runtime.name))
        if not environment.sources:
            return self._heal(runtime, self._weigh_drift(runtime, environment))
        snapshots = self._planning.look(environment)
        verdict = self._planning.unsound(runtime, environment, snapshots)
        if verdict is not None:
            return self._halt(environment, verdict)
        environment = self._weigh_drift(runtime, environment)
        if _halted_by_drift(environment):
            return SyncOutcome()
        try:
            wanted = self._read(runtime, environment, snapshots)
        except HeadgateError as error:
            return self._read_failed(runtime, environment, error)
        runtime.unsettled = False
        version = f"{sources_version(wanted)}/{environment_version(runtime, environment)}"
        if version == runtime.synced_version and environment.halt is None:
            return self._in_step(runtime, environment, version)
        return self._compare(runtime, environment, wanted, version)

    def _read(self, runtime: Runtime, environment: Environment, snapshots: Mapping[str, Snapshot]) -> Wanted:
        try:
            return self._planning.read(runtime, environment, snapshots)
        except SourceMovedError:
            return again_when_moved(lambda: self._planning.read(runtime, environment))

    def _compare(
        self, runtime: Runtime, environment: Environment, wanted: Wanted, version: str
    ) -> SyncOutcome:
        accepted = runtime.accepted == sources_version(wanted)
        failure = runtime.failure
        if failure is not None and failure.version == version and time.time() < failure.next_at:
            return SyncOutcome(failure.next_at - time.time())
        try:
            planned = self._planning.plan_sources(
                runtime,
                environment,
                wanted,
                full=False,
                allowed=Allowed(empty=accepted, mass_removal=accepted),
            )
        except UnsoundError as error:
            return self._halt(environment, Verdict(error.reason, error.message, error.hint))
        except HeadgateError as error:
            return self._failed(runtime, environment, version, error)
        environment = self._end_halt(environment, planned, accepted=accepted)
        environment = self._weigh_drift(runtime, environment, planned.seen)
        if environment.halt is not None:
            return SyncOutcome()
        environment = self._end_hold(environment, wanted)
        if not planned.plan.changes and planned.plan.result.digest == runtime.managed.digest:
            self._deploying.share(runtime, planned.plan.result)
            return self._in_step(runtime, environment, version)
        runtime.out_of_sync = True
        if not environment.auto_sync or environment.pause is not None or environment.hold is not None:
            return SyncOutcome(_until(environment))
        return self._deploy(runtime, environment, planned, version, accepted=accepted)

    def _deploy(
        self, runtime: Runtime, environment: Environment, first: Planned, version: str, *, accepted: bool
    ) -> SyncOutcome:
        allowed = Allowed(empty=accepted, mass_removal=accepted)
        self._ledger.store.check_writable()
        record = self._ledger.begin(
            environment.name, DeploymentKind.DEPLOY, deployed_by=BY, trigger=Trigger.AUTO_SYNC
        )
        runtime.sequence = max(runtime.sequence, record.sequence)
        record = self._deploying.start(runtime, record)

        planned, plans = first, [first]
        runtime.cancelled = cancelled = Event()

        def attempt() -> ConfigDeployment:
            nonlocal planned
            ready = self._deploying.ready(runtime, record)
            if plans:
                planned = plans.pop()
            else:
                now = self._planning.read(runtime, environment)
                planned = self._planning.plan_sources(runtime, environment, now, full=False, allowed=allowed)
            edited = in_the_way(runtime, environment, planned.seen)
            if edited:
                raise refusal(runtime.name, edited)
            return self._deploying.carry_out(runtime, environment, ready, planned, cancelled=cancelled)

        try:
            again_when_moved(attempt)
        except UnavailableError as error:
            self._ledger.forget(failed(record, told_error(error)))
            raise
        except SavedError:
            return SyncOutcome(0.0)  # A hold keeps it out.
        except Exception as error:  # noqa: BLE001 - whatever goes wrong is a failed attempt, to be made again
            if cancelled.is_set() and self._hold_back(runtime, environment, record, planned.plan, error):
                return SyncOutcome()
            return self._failed(runtime, environment, version, error, record)
        finally:
            runtime.cancelled = None
            self._deploying.stop(runtime)
        runtime.synced_version, runtime.out_of_sync, runtime.failure = version, False, None
        # Sources may have moved on while this was applied; the next look tells. Drift waits for it too.
        again = bool(to_heal(runtime, environment)) or self._moved(environment, first)
        return SyncOutcome(0.0 if again else None)

    def _hold_back(
        self,
        runtime: Runtime,
        environment: Environment,
        record: ConfigDeployment,
        plan: Plan,
        error: Exception,
    ) -> bool:
        """Note that a deployment was cancelled, and keep from making it again; False where that cannot be kept: secrets have no hold."""
        refused = rejected([plan.changes])
        if not refused:
            return False
        try:
            self._environments.note(replace(environment, hold=Hold(record.deployment_id, utc_now(), refused)))
        finally:
            self._deploying.fail(runtime, record, error)
        return True

    def _in_step(self, runtime: Runtime, environment: Environment, version: str) -> SyncOutcome:
        """Note that the target is what the sources say: whatever failed before is over, but for what was to be put back."""
        runtime.synced_version = version
        if runtime.failure is None or runtime.failure.version != HEAL:
            runtime.failure, runtime.out_of_sync = None, False
        return self._heal(runtime, environment)

    def _heal(self, runtime: Runtime, environment: Environment) -> SyncOutcome:
        """Put back what was edited at the target, where that is auto-sync's to do."""

        def fail(version: str, error: Exception, record: ConfigDeployment | None) -> float | None:
            return self._failed(runtime, environment, version, error, record).again_in

        again = self._healing.heal(runtime, environment, fail)
        return SyncOutcome(_until(environment) if again is None else again)

    def _weigh_drift(
        self, runtime: Runtime, environment: Environment, plan: Plan | None = None
    ) -> Environment:
        """Halt for edits that must not be overwritten, or go on when they are gone; a halt for another reason comes first."""
        paths, halt = in_the_way(runtime, environment, plan), environment.halt
        if paths and (halt is None or halt.reason == DRIFTED):
            told = drift_verdict(environment.name, paths)
            message = f"{told.message}. {told.hint}"
            if halt is None or halt.message != message:
                log.error(
                    "%s halts: %s: %s",
                    environment.name,
                    told.reason,
                    message,
                    extra=facts(reason=told.reason),
                )
                environment = replace(environment, halt=Halt(told.reason, message, utc_now()))
                self._environments.note(environment)
        elif not paths and _halted_by_drift(environment):
            log.info("%s goes on: nothing at its target is in the way any more", environment.name)
            environment = replace(environment, halt=None)
            self._environments.note(environment)
        return environment

    def _recover(self, runtime: Runtime, environment: Environment) -> SyncOutcome | None:
        """Bring to its end what an earlier deployment could not; return when to look again if that fails."""
        spoiled = runtime.spoiled is not None and runtime.spoiled.wait() == 0
        if runtime.misfit or not (runtime.needs_recovery or runtime.following or spoiled):
            return None
        failure = runtime.failure
        if failure is not None and failure.version == RECOVERY and time.time() < failure.next_at:
            return SyncOutcome(failure.next_at - time.time())
        try:
            self._deploying.make_usable(runtime)
        except UnavailableError:
            raise
        except HeadgateError as error:
            return self._failed(runtime, environment, RECOVERY, error)
        if failure is not None and failure.version == RECOVERY:
            runtime.failure = None
        return None

    def _await_confirmation(self, runtime: Runtime, environment: Environment) -> SyncOutcome | None:
        """Do nothing until a deployment is confirmed, and take it back when nobody did in time; None: there is none."""
        record = runtime.unconfirmed
        if record is None or runtime.misfit:
            return None
        left = (record.confirm_by - utc_now()).total_seconds() if record.confirm_by is not None else 0.0
        if left > 0:
            return SyncOutcome(left)
        if runtime.spoiled is None:
            self._deploying.expire(runtime, environment, record)
        return SyncOutcome(0.0 if runtime.spoiled is None else runtime.spoiled.wait())

    def _unwritable(self, runtime: Runtime, error: UnavailableError) -> SyncOutcome:
        """Wait until the state directory can be written again, ever longer; say so once."""
        if not runtime.unwritable:
            log.error(
                "%s: nothing is deployed: %s. %s",
                runtime.name,
                error.message,
                error.hint,
                extra=facts(reason=error.reason),
            )
        runtime.unwritable = f"nothing is deployed: {error.message}. {error.hint}: it goes on by itself"
        runtime.unwritable_looks += 1
        pause = min(LONGEST_UNWRITABLE_PAUSE, FIRST_PAUSE * 2 ** min(runtime.unwritable_looks - 1, 16))
        return SyncOutcome(pause)

    def _writable(self, runtime: Runtime) -> None:
        if runtime.unwritable:
            log.info("%s goes on: the state directory can be written again", runtime.name)
        runtime.unwritable, runtime.unwritable_looks = "", 0

    def _moved(self, environment: Environment, planned: Planned) -> bool:
        before = planned.wanted.snapshots if planned.wanted is not None else {}
        now = self._planning.look(environment)
        return any(root not in before or now[root].tree is not before[root].tree for root in now)

    def _read_failed(self, runtime: Runtime, environment: Environment, error: HeadgateError) -> SyncOutcome:
        if isinstance(error, ScanEndedError):
            raise error
        if error.reason in ("SOURCE_UNSETTLED", "SOURCE_MOVED"):
            if not runtime.unsettled:
                log.warning("%s waits: %s", environment.name, error.message)
            runtime.unsettled = True
            return SyncOutcome(UNSETTLED_PAUSE)
        runtime.out_of_sync = True
        if not environment.auto_sync or environment.pause is not None or environment.hold is not None:
            return SyncOutcome(_until(environment))
        return self._failed(
            runtime,
            environment,
            f"{error.reason}/{error.message}/{environment_version(runtime, environment)}",
            error,
        )

    def _failed(
        self,
        runtime: Runtime,
        environment: Environment,
        version: str,
        error: Exception,
        record: ConfigDeployment | None = None,
    ) -> SyncOutcome:
        """Note a failed attempt: a record of its own the first time, a count on that record while it fails the same way."""
        told, old = told_error(error), runtime.failure
        if old is not None and old.version == version and old.next_at > time.time():
            return SyncOutcome(old.next_at - time.time())
        if old is not None and old.version == version and _is_same(old.record.error, told):
            attempts = old.attempts + 1
            if record is not None:
                self._ledger.forget(failed(record, told))
            kept = replace(old.record, attempts=attempts)
            with suppress(UnavailableError):  # the look that follows finds that out by itself
                kept = self._ledger.repeat_failure(old.record, attempts)
        else:
            attempts = 1
            if record is None:
                record = self._ledger.begin(
                    environment.name, DeploymentKind.DEPLOY, deployed_by=BY, trigger=Trigger.AUTO_SYNC
                )
                runtime.sequence = max(runtime.sequence, record.sequence)
            kept = failed(record, told)
            with suppress(UnavailableError):  # kept in memory, and told
                self._ledger.finish(kept)
        runtime.last = kept
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (attempts - 1))
        runtime.failure = Failure(version, kept, attempts, time.time() + pause)
        runtime.out_of_sync = True
        return SyncOutcome(pause)

    def _halt(self, environment: Environment, verdict: Verdict) -> SyncOutcome:
        if environment.halt is None or environment.halt.reason != verdict.reason:
            text = f"{verdict.message}. {verdict.hint}" if verdict.hint else verdict.message
            log.error(
                "%s halts: %s: %s", environment.name, verdict.reason, text, extra=facts(reason=verdict.reason)
            )
            self._environments.note(replace(environment, halt=Halt(verdict.reason, text, utc_now())))
        return SyncOutcome()

    def _end_halt(self, environment: Environment, planned: Planned, *, accepted: bool) -> Environment:
        """Go on by itself only when the sources are back as they were; otherwise somebody has to say so."""
        if environment.halt is None:
            return environment
        unchanged = not planned.plan.changes
        snapshots = planned.wanted.snapshots if planned.wanted is not None else {}
        same = all(is_back(environment.marks.get(path), now) for path, now in snapshots.items())
        if not (accepted or unchanged or same):
            message = (
                "the sources are back, but not as they were. Look at what would change (headgate plan"
                f" {environment.name}), then say: headgate env resume {environment.name}"
            )
            if environment.halt.message != message:
                log.error("%s stays halted: %s", environment.name, message)
                environment = replace(environment, halt=replace(environment.halt, message=message))
                self._environments.note(environment)
            return environment
        log.info("%s goes on: its sources are back", environment.name)
        environment = replace(environment, halt=None)
        self._environments.note(environment)
        return environment

    def _end_hold(self, environment: Environment, wanted: Wanted) -> Environment:
        if environment.hold is None or not lifts(environment.hold.rejected, wanted.tree):
            return environment
        log.info(
            "%s: the hold of %s lifts: its sources have moved on",
            environment.name,
            environment.hold.deployment_id,
        )
        environment = replace(environment, hold=None)
        self._environments.note(environment)
        return environment

    def _end_pause(self, environment: Environment) -> Environment:
        if (
            environment.pause is None
            or environment.pause.until is None
            or environment.pause.until > utc_now()
        ):
            return environment
        log.info("%s: the pause ends", environment.name)
        environment = replace(environment, pause=None)
        self._environments.note(environment)
        return environment


def _is_same(old: DeploymentError | None, now: HeadgateError) -> bool:
    """Whether an attempt failed as one did before. How much room there is may differ each time."""
    if old is None or old.reason != now.reason:
        return False
    return old.message == now.message or old.reason == "NO_SPACE"


def _no_later(outcome: SyncOutcome, runtime: Runtime) -> SyncOutcome:
    """Return the outcome, with another look when it is time to take back what could not be."""
    if runtime.spoiled is None or runtime.misfit:
        return outcome
    wait = runtime.spoiled.wait()
    return SyncOutcome(wait if outcome.again_in is None else min(wait, outcome.again_in))


def _halted_by_drift(environment: Environment) -> bool:
    return environment.halt is not None and environment.halt.reason == DRIFTED


def _until(environment: Environment) -> float | None:
    """Return in how many seconds a pause ends by itself."""
    if environment.pause is None or environment.pause.until is None:
        return None
    return max(0.0, (environment.pause.until - utc_now()).total_seconds())


def _told(runtime: Runtime, environment: Environment) -> tuple[object, ...]:
    """Return what of an environment's state watchers are told, to know whether it changed."""
    return (
        environment,
        runtime.out_of_sync,
        runtime.failure,
        runtime.unsettled,
        runtime.synced_version is None,
        runtime.last,
        runtime.unwritable,
    )
