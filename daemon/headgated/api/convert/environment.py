"""Environments as the protocol has them."""

from __future__ import annotations

from headgate.v1 import environment_pb2 as wire
from headgated.api.convert import choices
from headgated.api.convert.values import duration, shown_path, text, timestamp
from headgated.core import environment as model
from headgated.engine.views import EnvironmentView, SyncView


def environment_message(view: EnvironmentView) -> wire.Environment:
    """Return an environment with its sync state as the protocol has it."""
    environment = view.environment
    return wire.Environment(
        name=environment.name,
        type=choices.TYPES[environment.type],
        config_path=shown_path(environment.config_path),
        sources=map(shown_path, environment.sources),
        variables={text(name): text(value) for name, value in environment.variables.items()},
        secrets={text(name): text(reference) for name, reference in environment.secrets.items()},
        auto_sync=environment.auto_sync,
        policies=_policies_message(environment.policies),
        created_at=timestamp(environment.created_at),
        updated_at=timestamp(environment.updated_at),
        generation=environment.generation,
        sync=_sync_message(environment, view.sync),
    )


def _policies_message(policies: model.Policies) -> wire.Policies:
    return wire.Policies(
        prune=policies.prune,
        verbatim=map(text, policies.verbatim),
        undefined=choices.UNDEFINED[policies.undefined],
        strategy=choices.STRATEGIES[policies.strategy],
        drift=choices.DRIFT[policies.drift],
        owner=text(policies.owner),
        secret_mode=policies.secret_mode,
        mode=text(policies.mode),
        allow_external_symlinks=policies.allow_external_symlinks,
        settle_quiet=duration(policies.settle_quiet),
        settle_latest=duration(policies.settle_latest),
        checks=map(text, policies.checks),
        reloads=map(text, policies.reloads),
        health=map(text, policies.health),
    )


def _sync_message(environment: model.Environment, sync: SyncView) -> wire.Sync:
    return wire.Sync(
        state=choices.SYNC_STATES[sync.state],
        message=text(sync.message),
        hold=_hold_message(environment.hold),
        halt=_halt_message(environment.halt),
        pause=_pause_message(environment.pause),
        last_deployment_id=sync.last_deployment_id,
        current_deployment_id=sync.current_deployment_id,
        last_success_at=timestamp(sync.last_success_at),
        deployed_version=sync.deployed_version,
        next_attempt_at=timestamp(sync.next_attempt_at),
        failed_attempts=sync.failed_attempts,
        drifted=map(text, sync.drifted),
        drifted_count=sync.drifted_count,
        sequence=sync.sequence,
    )


def _hold_message(hold: model.Hold | None) -> wire.Hold | None:
    if hold is None:
        return None
    paths = map(text, sorted(hold.rejected))
    return wire.Hold(deployment_id=hold.deployment_id, paths=paths, since=timestamp(hold.since))


def _halt_message(halt: model.Halt | None) -> wire.Halt | None:
    if halt is None:
        return None
    return wire.Halt(reason=halt.reason, message=text(halt.message), since=timestamp(halt.since))


def _pause_message(pause: model.Pause | None) -> wire.Pause | None:
    if pause is None:
        return None
    return wire.Pause(
        reason=text(pause.reason),
        paused_by=text(pause.paused_by),
        since=timestamp(pause.since),
        until=timestamp(pause.until),
    )
