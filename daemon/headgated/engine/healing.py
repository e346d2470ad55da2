"""Puts back what was edited by hand at a target, where the policy says so: from history, as a deployment of its own.

The edited content is kept in history first, as with every deployment. Nothing is put back while it is still being edited; and
whoever edits the same again and again meets ever longer pauses, not an endless row of deployments.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from headgated.core.deployment import ConfigDeployment, DeploymentKind, Trigger
from headgated.core.environment import DriftPolicy, Environment
from headgated.core.errors import HeadgateError, UnavailableError
from headgated.core.tree import Entry, lookup, own
from headgated.engine.deploying import Deploying, told_error
from headgated.engine.drift import remember
from headgated.engine.following import SavedError
from headgated.engine.ledger import Ledger, failed
from headgated.engine.planning import Planned, Planning, again_when_moved
from headgated.engine.runtime import Runtime

BY = "auto-sync"
HEAL = "heal"
"""What was attempted, when it was to put drifted files back."""
QUIET = 1.0
"""Seconds without an edit at the target after which it counts as done, unless the environment's settle time is longer."""
LATEST = 10.0
"""Seconds after the first edit, however much is edited."""
LONGEST_PAUSE = 300.0
"""Seconds."""
_CALM = 10.0
"""Seconds beyond the last pause after which an edit is no longer one of a row."""

Fail = Callable[[str, Exception, ConfigDeployment | None], float | None]
"""Notes a failed attempt (what, why, its record); returns when to try again."""


def to_heal(runtime: Runtime, environment: Environment) -> dict[bytes, Entry | None]:
    """Return the drifted paths that auto-sync is to put back: all by policy `heal`, by `refuse` those that somebody said."""
    policy, known = environment.policies.drift, runtime.edits.known
    if not known or policy == DriftPolicy.REPORT:
        return {}
    if policy == DriftPolicy.HEAL:
        return dict(known)
    return {path: live for path, live in known.items() if runtime.edits.allowed(path, live)}


class Healing:
    """Heals one environment at a time; whoever calls holds its lock."""

    def __init__(self, planning: Planning, deploying: Deploying, ledger: Ledger) -> None:
        self._planning, self._deploying, self._ledger = planning, deploying, ledger

    def heal(self, runtime: Runtime, environment: Environment, fail: Fail) -> float | None:
        """Put back what is to be put back; return the seconds after which to come again, None: no need."""
        failure = runtime.failure if runtime.failure and runtime.failure.version == HEAL else None
        if not to_heal(runtime, environment):
            if failure is not None:
                runtime.failure, runtime.out_of_sync = None, False
            return None
        if _waits_for_somebody(environment):
            return None
        wait = max(_wait(runtime, environment), 0.0 if failure is None else failure.next_at - time.time())
        if wait > 0:
            return wait
        record: ConfigDeployment | None = None
        try:
            planned = again_when_moved(lambda: self._plan(runtime, environment))
            if not planned.plan.changes:
                remember(runtime, {})
                runtime.edits.mark(None)  # Others may have come; the next look finds them.
                return None
            record = self._begin(runtime)
            self._carry_out(runtime, environment, record)
        except UnavailableError as error:
            if record is not None:
                self._ledger.forget(failed(record, told_error(error)))
            raise
        except SavedError:
            return 0.0  # Its records are saved, and a hold keeps it out.
        except (HeadgateError, OSError) as error:
            return fail(HEAL, error, record)
        _note(runtime)
        return 0.0 if to_heal(runtime, environment) else None

    def _begin(self, runtime: Runtime) -> ConfigDeployment:
        self._ledger.store.check_writable()
        record = self._ledger.begin(
            runtime.name,
            DeploymentKind.DEPLOY,
            deployed_by=BY,
            trigger=Trigger.AUTO_SYNC,
            reason="heal drift",
        )
        runtime.sequence = max(runtime.sequence, record.sequence)
        return self._deploying.start(runtime, record)

    def _carry_out(self, runtime: Runtime, environment: Environment, record: ConfigDeployment) -> None:
        synced = runtime.synced_version

        def attempt() -> ConfigDeployment:
            ready = self._deploying.ready(runtime, record)
            return self._deploying.carry_out(runtime, environment, ready, self._plan(runtime, environment))

        try:
            again_when_moved(attempt)
            runtime.synced_version, runtime.out_of_sync = synced, False
        finally:
            self._deploying.stop(runtime)

    def _plan(self, runtime: Runtime, environment: Environment) -> Planned:
        deployed = {
            path: own(node)
            for path in to_heal(runtime, environment)
            if (node := lookup(runtime.managed, path)) is not None
        }
        return self._planning.plan_deployed(runtime, environment, deployed)


def _waits_for_somebody(environment: Environment) -> bool:
    stopped = (environment.pause, environment.hold, environment.halt)
    return not environment.auto_sync or any(stop is not None for stop in stopped)


def _wait(runtime: Runtime, environment: Environment) -> float:
    policies, edits = environment.policies, runtime.edits
    quiet = max(QUIET, policies.settle_quiet or 0.0)
    latest = max(LATEST, policies.settle_latest or 0.0, quiet)
    return max(edits.unsettled_for(quiet, latest), edits.healed_at + edits.pause - time.monotonic())


def _note(runtime: Runtime) -> None:
    edits, now = runtime.edits, time.monotonic()
    again = edits.healed_at > 0 and now - edits.healed_at < edits.pause + _CALM
    edits.pause = min(LONGEST_PAUSE, max(1.0, edits.pause * 2)) if again else 0.0
    edits.healed_at = now
    edits.calm()
