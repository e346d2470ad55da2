"""Messages as plain dicts, in the shape of the records on disk: what `-o json` prints.

Enum values are lower-case words, times RFC 3339 in UTC with microseconds, modes text such as "0644", what is not there null.
What the protocol does not carry is left out (which content a hold rejects).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC
from typing import Any, TypeAlias

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from headgate.v1 import daemon_pb2 as daemon, deployment_pb2 as deployment, environment_pb2 as environment
from headgate.words import word

Record: TypeAlias = dict[str, Any]

SCHEMA_VERSION = 1


def environment_record(message: environment.Environment) -> Record:
    """Return an environment as its record has it, and `sync` beside it."""
    sync = message.sync
    return {
        "schema_version": SCHEMA_VERSION,
        "name": message.name,
        "type": word(environment.EnvironmentType, message.type),
        "config_path": message.config_path,
        "sources": list(message.sources),
        "variables": dict(sorted(message.variables.items())),
        "secrets": dict(sorted(message.secrets.items())),
        "auto_sync": message.auto_sync,
        "policies": policies_record(message.policies),
        "generation": message.generation,
        "created_at": _time(message, "created_at"),
        "updated_at": _time(message, "updated_at"),
        "hold": _hold(sync.hold) if sync.HasField("hold") else None,
        "halt": _halt(sync.halt) if sync.HasField("halt") else None,
        "pause": _pause(sync.pause) if sync.HasField("pause") else None,
        "sync": sync_record(sync),
    }


def policies_record(message: environment.Policies) -> Record:
    """Return policies with the defaults in place of what is unset."""
    return {
        "prune": message.prune if message.HasField("prune") else True,
        "verbatim": list(message.verbatim),
        "undefined": word(environment.UndefinedPolicy, message.undefined) or "keep",
        "strategy": word(environment.Strategy, message.strategy) or "in-place",
        "drift": word(environment.DriftPolicy, message.drift) or "report",
        "owner": message.owner or "keep",
        "allow_external_symlinks": message.allow_external_symlinks,
        "settle_quiet": _seconds(message.settle_quiet) if message.HasField("settle_quiet") else None,
        "settle_latest": _seconds(message.settle_latest) if message.HasField("settle_latest") else None,
        "checks": list(message.checks),
        "reloads": list(message.reloads),
        "health": list(message.health),
        "secret_mode": f"{message.secret_mode if message.HasField('secret_mode') else 0o600:04o}",
        "mode": message.mode or "source",
    }


def sync_record(message: environment.Sync) -> Record:
    """Return how an environment stands; hold, halt and pause are in the environment itself."""
    return {
        "state": word(environment.SyncState, message.state) or "unknown",
        "message": message.message,
        "last_deployment_id": message.last_deployment_id,
        "current_deployment_id": message.current_deployment_id,
        "last_success_at": _time(message, "last_success_at"),
        "deployed_version": message.deployed_version,
        "next_attempt_at": _time(message, "next_attempt_at"),
        "failed_attempts": message.failed_attempts,
        "drifted": list(message.drifted),
        "drifted_count": message.drifted_count,
        "sequence": message.sequence,
    }


def deployment_record(message: deployment.ConfigDeployment) -> Record:
    """Return a deployment as its record has it; while it runs also its `progress`."""
    record: Record = {
        "schema_version": SCHEMA_VERSION,
        "deployment_id": message.deployment_id,
        "environment": message.environment,
        "kind": word(deployment.DeploymentKind, message.kind),
        "config_version": message.config_version,
        "status": word(deployment.DeploymentStatus, message.status),
        "sequence": message.sequence,
        "deployed_at": _time(message, "deployed_at"),
        "deployed_by": message.deployed_by,
        "trigger": word(deployment.DeploymentTrigger, message.trigger),
        "reason": message.reason,
        "on_behalf_of": message.on_behalf_of,
        "config_files": list(message.config_files),
        "changes": changes_record(message.changes),
        "rollback_info": _rollback_info(message.rollback_info) if message.HasField("rollback_info") else None,
        "error": error_record(message.error) if message.HasField("error") else None,
        "started_at": _time(message, "started_at"),
        "finished_at": _time(message, "finished_at"),
        "attempts": message.attempts,
        "steps": [_step(each) for each in message.steps],
        "applied_at": _time(message, "applied_at"),
        "confirm_within": _seconds(message.confirm_within),
        "confirm_by": _time(message, "confirm_by"),
        "confirmed_at": _time(message, "confirmed_at"),
        "confirmed_by": message.confirmed_by,
    }
    if message.HasField("progress"):
        progress = message.progress
        record["progress"] = {
            "step": progress.step,
            "files_done": progress.files_done,
            "files_total": progress.files_total,
        }
    return record


def _step(message: deployment.StepResult) -> Record:
    return {
        "step": message.step,
        "name": message.name,
        "ok": message.ok,
        "message": message.message,
        "output": message.output,
        "seconds": message.seconds,
        "attempts": message.attempts,
    }


def changes_record(message: deployment.Changes) -> Record:
    """Return what a deployment changes."""
    return {
        "added": _file_changes(message.added),
        "modified": _file_changes(message.modified),
        "removed": _file_changes(message.removed),
        "added_count": message.added_count,
        "modified_count": message.modified_count,
        "removed_count": message.removed_count,
        "unchanged_count": message.unchanged_count,
        "omitted_count": message.omitted_count,
        "settings_changed": [
            {
                "path": each.path,
                "key": each.key,
                "old": each.old if each.HasField("old") else None,
                "new": each.new if each.HasField("new") else None,
            }
            for each in message.settings_changed
        ],
        "notes": list(message.notes),
    }


def error_record(message: deployment.DeploymentError) -> Record:
    """Return what went wrong."""
    return {
        "reason": message.reason,
        "message": message.message,
        "hint": message.hint,
        "paths": list(message.paths),
    }


def plan_record(message: deployment.PlanDeploymentResponse) -> Record:
    """Return what a deployment would change."""
    return {
        "environment": message.environment,
        "config_version": message.config_version,
        "changes": changes_record(message.changes),
        "diffs": [{"path": each.path, "unified": each.unified, "note": each.note} for each in message.diffs],
        "drifted": _file_changes(message.drifted),
        "blocked": error_record(message.blocked) if message.HasField("blocked") else None,
    }


def status_record(message: daemon.GetStatusResponse) -> Record:
    """Return how the daemon stands."""
    return {
        "version": message.version,
        "pid": message.pid,
        "started_at": _time(message, "started_at"),
        "state_directory": message.state_directory,
        "sources": [_source(each) for each in message.sources],
        "environments": [environment_record(each) for each in message.environments],
        "problems": [
            {"reason": each.reason, "message": each.message, "hint": each.hint} for each in message.problems
        ],
    }


def mode_text(state: deployment.FileState) -> str | None:
    """Return permission bits the way people write them; None where there are none of its own (a symbolic link's)."""
    return f"{state.mode:04o}" if state.HasField("mode") else None


def time_text(stamp: Timestamp) -> str:
    """Return a time in RFC 3339, in UTC, with microseconds."""
    return stamp.ToDatetime(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _time(message: Any, name: str) -> str | None:  # noqa: ANN401 -- any message that has a time of that name
    return time_text(getattr(message, name)) if message.HasField(name) else None


def _seconds(duration: Duration) -> float:
    return duration.ToNanoseconds() / 1e9


def _hold(message: environment.Hold) -> Record:
    return {
        "deployment_id": message.deployment_id,
        "since": _time(message, "since"),
        "paths": list(message.paths),
    }


def _halt(message: environment.Halt) -> Record:
    return {"reason": message.reason, "message": message.message, "since": _time(message, "since")}


def _pause(message: environment.Pause) -> Record:
    return {
        "reason": message.reason,
        "paused_by": message.paused_by,
        "since": _time(message, "since"),
        "until": _time(message, "until"),
    }


def _rollback_info(message: deployment.RollbackInfo) -> Record:
    return {
        "target_deployment_id": message.target_deployment_id,
        "undone": list(message.undone),
        "rolled_back_by": message.rolled_back_by,
        "rolled_back_at": _time(message, "rolled_back_at"),
    }


def _file_changes(messages: Iterable[deployment.FileChange]) -> list[Record]:
    return [
        {
            "path": each.path,
            "before": _file_state(each.before) if each.HasField("before") else None,
            "after": _file_state(each.after) if each.HasField("after") else None,
            "drifted": each.drifted,
        }
        for each in messages
    ]


def _file_state(message: deployment.FileState) -> Record:
    return {
        "kind": word(deployment.FileKind, message.kind),
        "mode": mode_text(message),
        "size": message.size if message.kind == deployment.FILE_KIND_FILE else 0,
        "digest": message.digest,
        "link_target": message.link_target,
        "uid": message.uid if message.HasField("uid") else None,
        "gid": message.gid if message.HasField("gid") else None,
    }


def _source(message: daemon.WatchedSource) -> Record:
    return {
        "path": message.path,
        "mode": word(daemon.WatchMode, message.mode),
        "message": message.message,
        "directories": message.directories,
        "last_event_at": _time(message, "last_event_at"),
        "last_scan_at": _time(message, "last_scan_at"),
        "environments": list(message.environments),
    }
