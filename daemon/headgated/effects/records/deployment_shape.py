"""The shape of a deployment's record, apart from the model. docs/records.md tells it to people."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

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
    StepResult,
    Trigger,
)
from headgated.core.paths import escape, unescape
from headgated.core.report import emptied
from headgated.core.tree import Entry, Kind
from headgated.effects.records.coding import (
    SCHEMA_VERSION,
    decode,
    encode,
    moment,
    moment_or_none,
    time_or_none,
    time_text,
)

_NAMES = {Kind.FILE: "file", Kind.DIRECTORY: "directory", Kind.SYMLINK: "symlink"}
_KINDS = {name: kind for kind, name in _NAMES.items()}
_DIGEST_BYTES = 32
C = TypeVar("C")


class _FileState(msgspec.Struct):
    kind: str
    mode: str | None = None
    size: int = 0
    digest: str = ""
    link_target: str = ""
    uid: int | None = None
    gid: int | None = None


class _FileChange(msgspec.Struct):
    path: str
    before: _FileState | None
    after: _FileState | None
    drifted: bool = False


class _SettingChange(msgspec.Struct):
    path: str
    key: str
    old: str | None
    new: str | None


class _Changes(msgspec.Struct):
    added: list[_FileChange]
    modified: list[_FileChange]
    removed: list[_FileChange]
    added_count: int
    modified_count: int
    removed_count: int
    unchanged_count: int
    omitted_count: int = 0
    settings_changed: list[_SettingChange] = []
    notes: list[str] = []


class _Counts(msgspec.Struct):
    """Of `_Changes` what says how many there are: the rest is skipped where it stands, however long."""

    added_count: int
    modified_count: int
    removed_count: int
    unchanged_count: int


class _RollbackInfo(msgspec.Struct):
    target_deployment_id: str = ""
    undone: list[str] = []
    rolled_back_by: str = ""
    rolled_back_at: str | None = None


class _Error(msgspec.Struct):
    reason: str
    message: str
    hint: str = ""
    paths: list[str] = []


class _StepResult(msgspec.Struct):
    step: str
    name: str
    ok: bool
    message: str = ""
    output: str = ""
    seconds: float = 0.0
    attempts: int = 1


class _Deployment(msgspec.Struct, Generic[C]):
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
    changes: C
    rollback_info: _RollbackInfo | None
    error: _Error | None
    started_at: str | None
    finished_at: str | None
    attempts: int = 1
    steps: list[_StepResult] = []
    applied_at: str | None = None
    confirm_within: float = 0.0
    confirm_by: str | None = None
    confirmed_at: str | None = None
    confirmed_by: str = ""


def encode_deployment(record: ConfigDeployment) -> bytes:
    """Return a deployment as its record has it. Progress is not recorded."""
    return encode(
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
            changes=_changes_shape(record.changes),
            rollback_info=_rollback_shape(record.rollback_info),
            error=_error_shape(record.error),
            started_at=time_or_none(record.started_at),
            finished_at=time_or_none(record.finished_at),
            attempts=record.attempts,
            steps=[_step_shape(step) for step in record.steps],
            applied_at=time_or_none(record.applied_at),
            confirm_within=record.confirm_within,
            confirm_by=time_or_none(record.confirm_by),
            confirmed_at=time_or_none(record.confirmed_at),
            confirmed_by=record.confirmed_by,
        )
    )


def decode_deployment(raw: bytes) -> ConfigDeployment:
    """Return the deployment that a record tells of.

    Raises:
        RecordError: RECORD_CORRUPT, RECORD_NEWER.
    """
    return decode(raw, _Deployment[_Changes], lambda shape: _deployment(shape, _changes(shape.changes)))


def decode_brief(raw: bytes) -> ConfigDeployment:
    """Return the deployment that a record tells of, with counts in place of lists; not even looks at the lists.

    Raises:
        RecordError: RECORD_CORRUPT, RECORD_NEWER.
    """
    return decode(raw, _Deployment[_Counts], lambda shape: _deployment(shape, _counted(shape.changes)))


def _deployment(shape: _Deployment[Any], changes: Changes) -> ConfigDeployment:
    info, error = shape.rollback_info, shape.error
    return ConfigDeployment(
        deployment_id=shape.deployment_id,
        environment=shape.environment,
        kind=shape.kind,
        status=shape.status,
        sequence=shape.sequence,
        deployed_at=moment(shape.deployed_at),
        deployed_by=shape.deployed_by,
        trigger=shape.trigger,
        config_version=shape.config_version,
        config_files=tuple(shape.config_files),
        changes=changes,
        rollback_info=None
        if info is None
        else RollbackInfo(
            info.target_deployment_id,
            tuple(info.undone),
            info.rolled_back_by,
            moment_or_none(info.rolled_back_at),
        ),
        error=None
        if error is None
        else DeploymentError(error.reason, error.message, error.hint, tuple(error.paths)),
        reason=shape.reason,
        on_behalf_of=shape.on_behalf_of,
        started_at=moment_or_none(shape.started_at),
        finished_at=moment_or_none(shape.finished_at),
        attempts=shape.attempts,
        steps=tuple(map(_step, shape.steps)),
        applied_at=moment_or_none(shape.applied_at),
        confirm_within=shape.confirm_within,
        confirm_by=moment_or_none(shape.confirm_by),
        confirmed_at=moment_or_none(shape.confirmed_at),
        confirmed_by=shape.confirmed_by,
    )


def _step_shape(step: StepResult) -> _StepResult:
    return _StepResult(
        step.step, step.name, step.ok, step.message, step.output, round(step.seconds, 3), step.attempts
    )


def _step(shape: _StepResult) -> StepResult:
    return StepResult(
        shape.step,
        shape.name,
        ok=shape.ok,
        message=shape.message,
        output=shape.output,
        seconds=shape.seconds,
        attempts=shape.attempts,
    )


def _changes_shape(changes: Changes) -> _Changes:
    return _Changes(
        added=[_change_shape(change) for change in changes.added],
        modified=[_change_shape(change) for change in changes.modified],
        removed=[_change_shape(change) for change in changes.removed],
        added_count=changes.added_count,
        modified_count=changes.modified_count,
        removed_count=changes.removed_count,
        unchanged_count=changes.unchanged_count,
        omitted_count=changes.omitted_count,
        settings_changed=[_SettingChange(s.path, s.key, s.old, s.new) for s in changes.settings_changed],
        notes=list(changes.notes),
    )


def _changes(shape: _Changes) -> Changes:
    return Changes(
        added=tuple(map(_change, shape.added)),
        modified=tuple(map(_change, shape.modified)),
        removed=tuple(map(_change, shape.removed)),
        added_count=shape.added_count,
        modified_count=shape.modified_count,
        removed_count=shape.removed_count,
        unchanged_count=shape.unchanged_count,
        omitted_count=shape.omitted_count,
        settings_changed=tuple(SettingChange(s.path, s.key, s.old, s.new) for s in shape.settings_changed),
        notes=tuple(shape.notes),
    )


def _counted(shape: _Counts) -> Changes:
    return emptied(
        Changes(
            added_count=shape.added_count,
            modified_count=shape.modified_count,
            removed_count=shape.removed_count,
            unchanged_count=shape.unchanged_count,
        )
    )


def _change_shape(change: FileChange) -> _FileChange:
    return _FileChange(change.path, _state(change.before), _state(change.after), change.drifted)


def _change(shape: _FileChange) -> FileChange:
    return FileChange(shape.path, _entry(shape.before), _entry(shape.after), shape.drifted)


def _state(entry: Entry | None) -> _FileState | None:
    if entry is None:
        return None
    is_file = entry.kind == Kind.FILE
    return _FileState(
        kind=_NAMES[entry.kind],
        mode=None if entry.mode is None else f"{entry.mode:04o}",
        size=entry.size if is_file else 0,
        digest=f"sha256:{entry.digest.hex()}" if is_file else "",
        link_target=escape(entry.target),
        uid=entry.uid,
        gid=entry.gid,
    )


def _entry(shape: _FileState | None) -> Entry | None:
    if shape is None:
        return None
    if shape.kind not in _KINDS:
        raise ValueError(f"{shape.kind!r:.40} is no kind of file")
    digest = bytes.fromhex(shape.digest.removeprefix("sha256:"))
    if len(digest) not in (0, _DIGEST_BYTES):
        raise ValueError(f"{shape.digest!r:.80} is no digest")
    return Entry(
        kind=_KINDS[shape.kind],
        mode=None if shape.mode is None else int(shape.mode, 8),
        digest=digest,
        size=shape.size,
        target=unescape(shape.link_target),
        uid=shape.uid,
        gid=shape.gid,
    )


def _rollback_shape(info: RollbackInfo | None) -> _RollbackInfo | None:
    if info is None:
        return None
    at = time_or_none(info.rolled_back_at)
    return _RollbackInfo(info.target_deployment_id, list(info.undone), info.rolled_back_by, at)


def _error_shape(error: DeploymentError | None) -> _Error | None:
    if error is None:
        return None
    return _Error(error.reason, error.message, error.hint, list(error.paths))
