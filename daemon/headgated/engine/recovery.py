"""Makes right, at start, what a crash or power cut left half done. Idempotent: it may itself be cut off at any point.

For each environment, before it serves: a deployment that had not committed is forgotten and its temporaries removed; one that
had is finished where every rename was done, and undone otherwise (FAILED, reason INTERRUPTED). Only when the record is on disk does
history call the deployment applied, so what was cut off in between is simply done again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from headgated.core.deployment import ConfigDeployment, DeploymentKind
from headgated.core.errors import DeploymentFailedError, HeadgateError, HistoryDamagedError
from headgated.core.steps import steps
from headgated.effects.history import History, Unfinished
from headgated.effects.logs import about, facts
from headgated.effects.records import decode_deployment
from headgated.effects.target import Target
from headgated.engine.ledger import Ledger, failed
from headgated.engine.leftovers import Leftovers

log = logging.getLogger("headgated.recovery")

Succeed = Callable[[ConfigDeployment], None]
"""Finishes the record of a deployment that was applied."""


class Recovery:
    """Brings targets, history and records into agreement."""

    def __init__(
        self,
        history: History,
        ledger: Ledger,
        succeed: Succeed,
        to_follow: Callable[[ConfigDeployment], None],
        leftovers: Leftovers,
        open_target: Callable[[str], Target] = Target,
    ) -> None:
        self._history, self._ledger, self._succeed = history, ledger, succeed
        self._to_follow = to_follow
        self._leftovers, self._open_target = leftovers, open_target

    def run(self) -> dict[str, str]:
        """Recover everything; returns, for each environment that could not be, why it must not be deployed."""
        broken: dict[str, str] = {}
        for unfinished in self._history.unfinished():
            try:
                with about(environment=unfinished.environment, deployment_id=unfinished.deployment_id):
                    self._recover(unfinished)
            except (HeadgateError, OSError) as error:
                log.exception(
                    "cannot recover %s",
                    unfinished.deployment_id,
                    extra=facts(
                        environment=unfinished.environment,
                        deployment_id=unfinished.deployment_id,
                        reason=getattr(error, "reason", None),
                    ),
                )
                broken[unfinished.environment] = f"cannot recover {unfinished.deployment_id}: {error}"
        for record in self._ledger.store.unfinished():
            if record.environment in broken:
                continue
            if record.applied_at is not None:
                self._to_follow(record)
            else:
                self._ledger.finish(failed(record, _interrupted(record.deployment_id)))
        return broken

    def recover(self, environment: str) -> None:
        """Recover one environment, whose last deployment could not be brought to its end.

        Raises:
            HeadgateError: it still cannot be.
        """
        for unfinished in self._history.unfinished():
            if unfinished.environment == environment:
                self._recover(unfinished)

    def _recover(self, unfinished: Unfinished) -> None:
        if unfinished.damage:
            # Its temporaries may hold the only copy of what it replaced: nothing is swept, and nothing forgotten.
            raise HistoryDamagedError(
                f"history cannot tell what {unfinished.deployment_id} was to change: {unfinished.damage}",
                hint="compare the target with its sources by hand; files named .headgate-* may hold what was replaced",
            )
        if unfinished.applied:
            self._leftovers.found(unfinished.environment)
            return
        target = self._open_target(unfinished.target)
        if unfinished.intent is None:
            target.sweep(unfinished.directories, unfinished.token)
            self._history.abandoned(unfinished.deployment_id)
            return
        intent = unfinished.intent
        record = decode_deployment(intent.record)
        # An adoption has nothing to do at the target: it was done when it was committed to.
        adopted = record.kind == DeploymentKind.ADOPT
        notes: list[str] = []
        completed = adopted or target.recover(steps(intent.changes, intent.token), notes, token=intent.token)
        if completed:
            log.warning("%s was cut off after its last step and is finished now", intent.deployment_id)
            self._succeed(record)
            self._history.applied(intent.deployment_id, untidy=bool(notes))
            if notes:
                self._leftovers.note(intent.environment)
        else:
            log.warning("%s was cut off and is undone: the target is as it was before", intent.deployment_id)
            self._ledger.finish(failed(record, _interrupted(record.deployment_id)))
            self._history.abandoned(intent.deployment_id)


def _interrupted(deployment_id: str) -> DeploymentFailedError:
    return DeploymentFailedError(
        f"cannot finish {deployment_id}: the daemon was stopped while it ran; the target is as it was before",
        reason="INTERRUPTED",
        hint="ask for it again; auto-sync does so by itself",
    )
