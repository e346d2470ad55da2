"""The shape of records on disk, apart from the model: what is written, and how it is read back.

Keys keep the order they have here. Enum values are in lower case as in the model; times are RFC 3339 in UTC with microseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from headgated.core.deployment import (
    Changes,
    ConfigDeployment,
    DeploymentError,
    DeploymentKind,
    DeploymentStatus,
    FileChange,
    RollbackInfo,
    SettingChange,
    Trigger,
)
from headgated.core.environment import (
    DriftPolicy,
    Environment,
    EnvironmentType,
    Halt,
    Hold,
    Pause,
    Policies,
    SourceMark,
    Strategy,
    UndefinedPolicy,
)
from headgated.core.errors import RecordError
from headgated.core.paths import escape, unescape
from headgated.core.tree import Entry, Kind

SCHEMA_VERSION = 1
T = TypeVar("T")
S = TypeVar("S")
_KINDS = {Kind.FILE: "file", Kind.DIRECTORY: "directory", Kind.SYMLINK: "symlink"}


class _Version(msgspec.Struct):
    schema_version: int


class _FileState(msgspec.Struct):
    kind: str
    mode: str | None
    size: int
    digest: str
    link_target: str
    uid: int | None = None
    gid: int | None = None


class _FileChange(msgspec.Struct):
    path: str
    before: _FileState | None
    after: _FileState | None
    drifted: bool


class _Changes(msgspec.Struct):
    added: list[_FileChange]
    modified: list[_FileChange]
    removed: list[_FileChange]
    added_count: int
    modified_count: int
    removed_count: int
    unchanged_count: int
    omitted_count: int
    settings_changed: list[SettingChange]
    notes: list[str]


class _RollbackInfo(msgspec.Struct):
    target_deployment_id: str
    undone: list[str]
    rolled_back_by: str
    rolled_back_at: str | None


class _Deployment(msgspec.Struct):
    schema_version: int
    deployment_id: str
    environment: str
    kind: DeploymentKind
    config_version: str
    status: DeploymentStatus
    sequence: int
    deployed_at: str
    deployed_by: str
    trigger: Trigger
    reason: str
    on_behalf_of: str
    config_files: list[str]
    changes: _Changes
    rollback_info: _RollbackInfo | None
    error: DeploymentError | None
    started_at: str | None
    finished_at: str | None
    attempts: int


class _Policies(msgspec.Struct):
    prune: bool
    verbatim: list[str]
    undefined: UndefinedPolicy
    strategy: Strategy
    drift: DriftPolicy
    owner: str
    allow_external_symlinks: bool
    settle_quiet: float | None
    settle_latest: float | None
    checks: list[str]
    reloads: list[str]
    health: list[str]


class _Hold(msgspec.Struct):
    deployment_id: str
    since: str
    paths: list[str]
    rejected: dict[str, str]


class _Halt(msgspec.Struct):
    reason: str
    message: str
    since: str


class _Pause(msgspec.Struct):
    reason: str
    paused_by: str
    since: str
    until: str | None


class _Environment(msgspec.Struct):
    schema_version: int
    name: str
    type: EnvironmentType
    config_path: str
    sources: list[str]
    variables: dict[str, str]
    secrets: dict[str, str]
    auto_sync: bool
    policies: _Policies
    generation: int
    created_at: str
    updated_at: str
    hold: _Hold | None
    halt: _Halt | None
    pause: _Pause | None
    marks: dict[str, SourceMark]


def encode_deployment(record: ConfigDeployment) -> bytes:
    """Return a deployment as its record has it."""
    changes, info = record.changes, record.rollback_info
    return _encode(
        _Deployment(
            schema_version=SCHEMA_VERSION,
            deployment_id=record.deployment_id,
            environment=record.environment,
            kind=record.kind,
            config_version=record.config_version,
            status=record.status,
            sequence=record.sequence,
            deployed_at=time_text(record.deployed_at),
            deployed_by=record.deployed_by,
            trigger=record.trigger,
            reason=record.reason,
            on_behalf_of=record.on_behalf_of,
            config_files=list(record.config_files),
            changes=_Changes(
                added=[_change(change) for change in changes.added],
                modified=[_change(change) for change in changes.modified],
                removed=[_change(change) for change in changes.removed],
                added_count=changes.added_count,
                modified_count=changes.modified_count,
                removed_count=changes.removed_count,
                unchanged_count=changes.unchanged_count,
                omitted_count=changes.omitted_count,
                settings_changed=list(changes.settings_changed),
                notes=list(changes.notes),
            ),
            rollback_info=None
            if info is None
            else _RollbackInfo(
                info.target_deployment_id,
                list(info.undone),
                info.rolled_back_by,
                _time_or_none(info.rolled_back_at),
            ),
            error=record.error,
            started_at=_time_or_none(record.started_at),
            finished_at=_time_or_none(record.finished_at),
            attempts=record.attempts,
        )
    )


def decode_deployment(raw: bytes) -> ConfigDeployment:
    """Return the deployment that a record tells of.

    Raises:
        RecordError: RECORD_CORRUPT, RECORD_NEWER.
    """
    return _decode(raw, _Deployment, _to_deployment)


def encode_environment(environment: Environment) -> bytes:
    """Return an environment as its record has it."""
    hold, halt, pause = environment.hold, environment.halt, environment.pause
    return _encode(
        _Environment(
            schema_version=SCHEMA_VERSION,
            name=environment.name,
            type=environment.type,
            config_path=environment.config_path,
            sources=list(environment.sources),
            variables=dict(environment.variables),
            secrets=dict(environment.secrets),
            auto_sync=environment.auto_sync,
            policies=msgspec.convert(asdict(environment.policies), _Policies),
            generation=environment.generation,
            created_at=time_text(environment.created_at),
            updated_at=time_text(environment.updated_at),
            hold=None
            if hold is None
            else _Hold(hold.deployment_id, time_text(hold.since), sorted(hold.rejected), dict(hold.rejected)),
            halt=None if halt is None else _Halt(halt.reason, halt.message, time_text(halt.since)),
            pause=None
            if pause is None
            else _Pause(pause.reason, pause.paused_by, time_text(pause.since), _time_or_none(pause.until)),
            marks=dict(environment.marks),
        )
    )


def decode_environment(raw: bytes) -> Environment:
    """Return the environment that a record tells of.

    Raises:
        RecordError: RECORD_CORRUPT, RECORD_NEWER.
    """
    return _decode(raw, _Environment, _to_environment)


def _to_deployment(shape: _Deployment) -> ConfigDeployment:
    changes, info = shape.changes, shape.rollback_info
    return ConfigDeployment(
        deployment_id=shape.deployment_id,
        environment=shape.environment,
        kind=shape.kind,
        status=shape.status,
        sequence=shape.sequence,
        deployed_at=_moment(shape.deployed_at),
        deployed_by=shape.deployed_by,
        trigger=shape.trigger,
        config_version=shape.config_version,
        config_files=tuple(shape.config_files),
        changes=Changes(
            added=tuple(map(_file_change, changes.added)),
            modified=tuple(map(_file_change, changes.modified)),
            removed=tuple(map(_file_change, changes.removed)),
            added_count=changes.added_count,
            modified_count=changes.modified_count,
            removed_count=changes.removed_count,
            unchanged_count=changes.unchanged_count,
            omitted_count=changes.omitted_count,
            settings_changed=tuple(changes.settings_changed),
            notes=tuple(changes.notes),
        ),
        rollback_info=None
        if info is None
        else RollbackInfo(
            info.target_deployment_id,
            tuple(info.undone),
            info.rolled_back_by,
            _moment_or_none(info.rolled_back_at),
        ),
        error=shape.error,
        reason=shape.reason,
        on_behalf_of=shape.on_behalf_of,
        started_at=_moment_or_none(shape.started_at),
        finished_at=_moment_or_none(shape.finished_at),
        attempts=shape.attempts,
    )


def _to_environment(shape: _Environment) -> Environment:
    hold, halt, pause = shape.hold, shape.halt, shape.pause
    policies: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in msgspec.structs.asdict(shape.policies).items()
    }
    return Environment(
        name=shape.name,
        type=shape.type,
        config_path=shape.config_path,
        created_at=_moment(shape.created_at),
        updated_at=_moment(shape.updated_at),
        sources=tuple(shape.sources),
        variables=shape.variables,
        secrets=shape.secrets,
        auto_sync=shape.auto_sync,
        policies=Policies(**policies),
        generation=shape.generation,
        hold=None if hold is None else Hold(hold.deployment_id, _moment(hold.since), hold.rejected),
        halt=None if halt is None else Halt(halt.reason, halt.message, _moment(halt.since)),
        pause=None
        if pause is None
        else Pause(pause.reason, pause.paused_by, _moment(pause.since), _moment_or_none(pause.until)),
        marks=shape.marks,
    )


def _encode(shape: msgspec.Struct) -> bytes:
    return msgspec.json.format(msgspec.json.encode(shape), indent=2) + b"\n"


def _decode(raw: bytes, shape: type[S], build: Callable[[S], T]) -> T:
    try:
        version = msgspec.json.decode(raw, type=_Version).schema_version
        if version > SCHEMA_VERSION:
            raise RecordError(
                f"it has schema version {version}, and this headgated knows versions up to {SCHEMA_VERSION}",
                reason="RECORD_NEWER",
                hint="start the version of headgated that wrote it, or a newer one",
            )
        return build(msgspec.json.decode(raw, type=shape))
    except (msgspec.MsgspecError, ValueError) as error:
        raise RecordError(f"it is damaged: {error}", hint="restore it from a backup") from error


def _change(change: FileChange) -> _FileChange:
    return _FileChange(change.path, _state(change.before), _state(change.after), change.drifted)


def _state(entry: Entry | None) -> _FileState | None:
    if entry is None:
        return None
    is_file = entry.kind == Kind.FILE
    return _FileState(
        kind=_KINDS[entry.kind],
        mode=None if entry.mode is None else f"{entry.mode:04o}",
        size=entry.size if is_file else 0,
        digest=f"sha256:{entry.digest.hex()}" if is_file else "",
        link_target=escape(entry.target),
        uid=entry.uid,
        gid=entry.gid,
    )


def _file_change(shape: _FileChange) -> FileChange:
    return FileChange(shape.path, _entry(shape.before), _entry(shape.after), shape.drifted)


def _entry(shape: _FileState | None) -> Entry | None:
    if shape is None:
        return None
    kind = next((kind for kind, name in _KINDS.items() if name == shape.kind), None)
    if kind is None:
        raise ValueError(f"{shape.kind!r} is no kind of file")
    return Entry(
        kind=kind,
        mode=None if shape.mode is None else int(shape.mode, 8),
        digest=bytes.fromhex(shape.digest.removeprefix("sha256:")),
        size=shape.size,
        target=unescape(shape.link_target),
        uid=shape.uid,
        gid=shape.gid,
    )


def time_text(moment: datetime) -> str:
    """Return a time as records have it: RFC 3339 in UTC with microseconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _time_or_none(moment: datetime | None) -> str | None:
    return None if moment is None else time_text(moment)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _moment_or_none(text: str | None) -> datetime | None:
    return None if text is None else _moment(text)
