"""What in the daemon's status needs somebody, and what to do about it. No input or output."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from headgate.cli.moments import moment
from headgate.v1.daemon_pb2 import WATCH_MODE_ABSENT, WATCH_MODE_EVENTS, GetStatusResponse, WatchedSource
from headgate.v1.environment_pb2 import (
    SYNC_STATE_DEPLOYING,
    SYNC_STATE_FAILING,
    SYNC_STATE_HALTED,
    SYNC_STATE_HELD,
    Environment,
    SyncState,
)
from headgate.words import word


@dataclass(frozen=True, slots=True)
class Concern:
    """One thing to know."""

    text: str
    hint: str = ""
    urgent: bool = True
    """Somebody should act; else it is only worth knowing."""


def concerns(status: GetStatusResponse) -> list[Concern]:
    """Return everything worth saying: environments in the order given, then sources, then problems."""
    found: list[Concern] = []
    for environment in status.environments:
        found += _of_environment(environment)
    halted = {each.name for each in status.environments if each.sync.state == SYNC_STATE_HALTED}
    for source in status.sources:
        found += _of_source(source, told=not halted.isdisjoint(source.environments))
    found += [Concern(f"{problem.message} ({problem.reason})", problem.hint) for problem in status.problems]
    return found


def state_word(environment: Environment) -> str:
    """Return the sync state as people read it: `out of sync`."""
    return (word(SyncState, environment.sync.state) or "unknown").replace("_", " ")


_HOLDS = {
    "adopt": ("adopted {}, auto-sync keeps it so", "give the adoption up"),
    "deploy": ("was cancelled, auto-sync leaves {} alone", "have it deployed all the same"),
}
"""What a hold's deployment, by its kind, did, and what lifts the hold; where it is none of these it was a rollback."""


def _of_environment(environment: Environment) -> Iterator[Concern]:
    name, sync = environment.name, environment.sync
    if sync.HasField("halt") or sync.state == SYNC_STATE_HALTED:
        yield Concern(
            f"{name} is halted{_since(sync.halt)}: {sync.halt.message or sync.message} ({sync.halt.reason})",
            _way_on(name, sync.halt.reason),
        )
    if sync.HasField("hold") or sync.state == SYNC_STATE_HELD:
        many = f"{len(sync.hold.paths)} path{'s' if len(sync.hold.paths) != 1 else ''}"
        what = sync.hold.deployment_id
        did, it = _HOLDS.get(
            what.partition("_")[0], ("undid {}, auto-sync keeps it so", "give the rollback up")
        )
        yield Concern(
            f"{name} is held{_since(sync.hold)}: {what} {did.format(many)}",
            f"change the sources there, or {it}: headgate env resume {name}",
        )
    if sync.state == SYNC_STATE_DEPLOYING and sync.message:
        # What runs, or is applied and waits: a reload that is tried again, a confirmation.
        yield Concern(f"{name}: {sync.message}", urgent=False)
    if sync.state == SYNC_STATE_FAILING:
        again = f"; next try {moment(sync.next_attempt_at)}" if sync.HasField("next_attempt_at") else ""
        if sync.failed_attempts:
            last = sync.last_deployment_id
            yield Concern(
                f"{name} fails, {sync.failed_attempts} in a row{again}: {sync.message}",
                f"headgate show {last}" if last else f"headgate plan {name}",
            )
        else:  # No deployment failed: none can be begun, or what did not work cannot be taken back.
            yield Concern(f"{name} fails: {sync.message}")
    if sync.drifted_count:
        listed = ", ".join(sync.drifted[:3])
        more = ", ..." if sync.drifted_count > len(sync.drifted[:3]) else ""
        yield Concern(
            f"{name}: {sync.drifted_count} at the target no longer as deployed: {listed}{more}",
            f"see what a deployment would overwrite: headgate plan {name}; or keep it: headgate adopt {name}",
        )
    if sync.HasField("pause"):
        until = f" until {moment(sync.pause.until)}" if sync.pause.HasField("until") else ""
        yield Concern(
            f"{name} is paused by {sync.pause.paused_by}{until}: {sync.pause.reason}",
            f"headgate env resume {name}",
            urgent=False,
        )


def _of_source(source: WatchedSource, *, told: bool) -> Iterator[Concern]:
    """Yield what is wrong with a source; `told`: an environment is halted for it, so it does not count again."""
    for_whom = f" (for {', '.join(source.environments)})" if source.environments else ""
    if source.mode == WATCH_MODE_ABSENT:
        yield Concern(
            f"source {source.path} cannot be read{for_whom}: {source.message or 'it is not there'}",
            "bring it back, or take it out: headgate env set NAME --source DIR",
            urgent=not told,
        )
    elif source.mode != WATCH_MODE_EVENTS:
        yield Concern(f"source {source.path} is polled{for_whom}: {source.message}", urgent=False)
    elif source.message:
        yield Concern(f"source {source.path}{for_whom}: {source.message}", urgent=False)


def _way_on(name: str, reason: str) -> str:
    if reason == "DRIFTED":
        return f"keep the edits: headgate adopt {name}; or have them overwritten: headgate env resume {name}"
    return f"bring the sources back as they were, or accept them as they are: headgate env resume {name}"


def _since(what: object) -> str:
    since = getattr(what, "since", None)
    return f" since {moment(since)}" if since is not None and since.ByteSize() else ""
