"""Puts together how an environment stands, from what is on record and what is in memory."""

from __future__ import annotations

from datetime import UTC, datetime

from headgated.core.environment import Environment, EnvironmentType
from headgated.core.report import version_of
from headgated.engine.runtime import Runtime, Spoiled
from headgated.engine.views import EnvironmentView, SyncState, SyncView


def view(environment: Environment, runtime: Runtime) -> EnvironmentView:
    """Return an environment and how it stands."""
    state, message = _state(environment, runtime)
    failure = runtime.failure
    return EnvironmentView(
        environment,
        SyncView(
            state=state,
            message=message,
            last_deployment_id=runtime.last.deployment_id if runtime.last is not None else "",
            current_deployment_id=runtime.current_id,
            last_success_at=runtime.last_success_at,
            deployed_version=version_of(runtime.managed) if runtime.current_id else "",
            next_attempt_at=None if failure is None else datetime.fromtimestamp(failure.next_at, UTC),
            failed_attempts=0 if failure is None else failure.attempts,
            drifted=runtime.drifted,
            drifted_count=runtime.drifted_count,
            sequence=runtime.sequence,
        ),
    )


def gone(name: str, kind: EnvironmentType) -> EnvironmentView:
    """Return what watchers are told of an environment that is deleted: its name. `kind` was its type: who may be told depends on it."""
    never = datetime.fromtimestamp(0, UTC)
    return EnvironmentView(Environment(name, kind, "", never, never), SyncView())


def _state(environment: Environment, runtime: Runtime) -> tuple[SyncState, str]:
    busy = _busy(runtime)
    if busy:
        return SyncState.DEPLOYING, busy
    if runtime.unwritable:
        return SyncState.FAILING, runtime.unwritable
    if runtime.misfit:
        return SyncState.HALTED, runtime.misfit
    if runtime.spoiled is not None:
        return SyncState.FAILING, _spoiled(runtime.spoiled)
    if environment.halt is not None:
        return SyncState.HALTED, environment.halt.message
    if environment.pause is not None:
        return SyncState.PAUSED, f"paused by {environment.pause.paused_by}: {environment.pause.reason}"
    if environment.hold is not None and runtime.out_of_sync:
        return SyncState.HELD, (
            f"{_hold(environment.hold.deployment_id)} until the sources"
            f" change there, or somebody says: headgate env resume {environment.name}"
        )
    return _sync_state(environment, runtime)


def _hold(name: str) -> str:
    """Say what a hold that a deployment placed keeps auto-sync from."""
    match name.partition("_")[0]:
        case "adopt":
            return f"{name} is kept: auto-sync does not overwrite what it adopted"
        case "deploy":
            return f"{name} was cancelled: auto-sync does not bring what it was to bring"
        case _:
            return f"{name} is kept: auto-sync does not bring back what it undid"


def _busy(runtime: Runtime) -> str:
    """Say what runs or is not finished; of what is applied already, what it waits for."""
    unconfirmed = runtime.unconfirmed
    if runtime.running is not None and runtime.following is None:
        return f"{runtime.running.deployment_id} is running"
    if runtime.following is not None:
        failing = [step for step in runtime.steps if not step.ok]
        if not failing:
            return f"{runtime.following.deployment_id} is applied; reloads or health probes are due"
        step = failing[-1]
        tries = f"{step.step} {step.name} pending after {step.attempts} attempt(s): {step.message}"
        return f"{runtime.following.deployment_id} is applied; {tries}"
    if unconfirmed is not None and unconfirmed.confirm_by is not None:
        name, until = unconfirmed.deployment_id, f"{unconfirmed.confirm_by:%H:%M:%S} UTC"
        return f"{name} is taken back at {until} unless somebody says: headgate confirm {name}"
    return ""


def _spoiled(spoiled: Spoiled) -> str:
    name, error = spoiled.record.deployment_id, spoiled.failed.error if spoiled.failed is not None else None
    why = f": {error.message}" if error is not None else ""
    return f"{name} does not work ({spoiled.why.reason}) and is still in place; taking it back failed {spoiled.attempts} time(s){why}"


def _sync_state(environment: Environment, runtime: Runtime) -> tuple[SyncState, str]:
    failure = runtime.failure
    if failure is not None:
        why = failure.record.error.message if failure.record.error is not None else "it failed"
        return SyncState.FAILING, f"{why} ({failure.attempts} attempt(s))"
    if runtime.unsettled:
        return SyncState.OUT_OF_SYNC, "the sources do not settle: files keep changing while they are read"
    if runtime.out_of_sync:
        waits = (
            ""
            if environment.auto_sync
            else f"auto-sync is off; deploy it: headgate deploy {environment.name}"
        )
        return SyncState.OUT_OF_SYNC, waits or "a deployment is due"
    if not environment.sources:
        return (
            (SyncState.SYNCED, "")
            if runtime.current_id
            else (SyncState.UNKNOWN, "it subscribes to no source")
        )
    if runtime.synced_version is None:
        return SyncState.UNKNOWN, "its sources have not been read yet"
    return SyncState.SYNCED, ""
