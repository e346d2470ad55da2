"""The shape of an environment's record, apart from the model. docs/records.md tells it to people.

Directories are escaped like every path, so that one whose name is not UTF-8 comes back as it was.
"""

from __future__ import annotations

import os

import msgspec

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
from headgated.core.paths import escape, unescape
from headgated.effects.records.coding import (
    SCHEMA_VERSION,
    decode,
    encode,
    moment,
    moment_or_none,
    time_or_none,
    time_text,
)


class _Policies(msgspec.Struct):
    prune: bool = True
    verbatim: list[str] = []
    undefined: UndefinedPolicy = UndefinedPolicy.KEEP
    strategy: Strategy = Strategy.IN_PLACE
    drift: DriftPolicy = DriftPolicy.REPORT
    owner: str = "keep"
    allow_external_symlinks: bool = False
    settle_quiet: float | None = None
    settle_latest: float | None = None
    checks: list[str] = []
    reloads: list[str] = []
    health: list[str] = []
    secret_mode: str = "0600"  # noqa: S105 - permission bits
    mode: str = "source"


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
    until: str | None = None


class _Mark(msgspec.Struct):
    device: int
    inode: int
    is_mount: bool
    had_files: bool


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
    hold: _Hold | None = None
    halt: _Halt | None = None
    pause: _Pause | None = None
    marks: dict[str, _Mark] = {}


def encode_environment(environment: Environment) -> bytes:
    """Return an environment as its record has it."""
    hold, halt, pause = environment.hold, environment.halt, environment.pause
    return encode(
        _Environment(
            schema_version=SCHEMA_VERSION,
            name=environment.name,
            type=environment.type,
            config_path=_shown(environment.config_path),
            sources=[_shown(source) for source in environment.sources],
            variables=dict(sorted(environment.variables.items())),
            secrets=dict(sorted(environment.secrets.items())),
            auto_sync=environment.auto_sync,
            policies=_policies_shape(environment.policies),
            generation=environment.generation,
            created_at=time_text(environment.created_at),
            updated_at=time_text(environment.updated_at),
            hold=None
            if hold is None
            else _Hold(hold.deployment_id, time_text(hold.since), sorted(hold.rejected), dict(hold.rejected)),
            halt=None if halt is None else _Halt(halt.reason, halt.message, time_text(halt.since)),
            pause=None
            if pause is None
            else _Pause(pause.reason, pause.paused_by, time_text(pause.since), time_or_none(pause.until)),
            marks={
                _shown(source): _Mark(mark.device, mark.inode, mark.is_mount, mark.had_files)
                for source, mark in environment.marks.items()
            },
        )
    )


def decode_environment(raw: bytes) -> Environment:
    """Return the environment that a record tells of.

    Raises:
        RecordError: RECORD_CORRUPT, RECORD_NEWER.
    """
    return decode(raw, _Environment, _environment)


def _environment(shape: _Environment) -> Environment:
    hold, halt, pause = shape.hold, shape.halt, shape.pause
    return Environment(
        name=shape.name,
        type=shape.type,
        config_path=_read(shape.config_path),
        created_at=moment(shape.created_at),
        updated_at=moment(shape.updated_at),
        sources=tuple(_read(source) for source in shape.sources),
        variables=shape.variables,
        secrets=shape.secrets,
        auto_sync=shape.auto_sync,
        policies=_policies(shape.policies),
        generation=shape.generation,
        hold=None if hold is None else Hold(hold.deployment_id, moment(hold.since), hold.rejected),
        halt=None if halt is None else Halt(halt.reason, halt.message, moment(halt.since)),
        pause=None
        if pause is None
        else Pause(pause.reason, pause.paused_by, moment(pause.since), moment_or_none(pause.until)),
        marks={
            _read(source): SourceMark(mark.device, mark.inode, mark.is_mount, mark.had_files)
            for source, mark in shape.marks.items()
        },
    )


def _policies_shape(policies: Policies) -> _Policies:
    return _Policies(
        prune=policies.prune,
        verbatim=list(policies.verbatim),
        undefined=policies.undefined,
        strategy=policies.strategy,
        drift=policies.drift,
        owner=policies.owner,
        allow_external_symlinks=policies.allow_external_symlinks,
        settle_quiet=policies.settle_quiet,
        settle_latest=policies.settle_latest,
        checks=list(policies.checks),
        reloads=list(policies.reloads),
        health=list(policies.health),
        secret_mode=f"{policies.secret_mode:04o}",
        mode=policies.mode,
    )


def _policies(shape: _Policies) -> Policies:
    return Policies(
        prune=shape.prune,
        verbatim=tuple(shape.verbatim),
        undefined=shape.undefined,
        strategy=shape.strategy,
        drift=shape.drift,
        owner=shape.owner,
        allow_external_symlinks=shape.allow_external_symlinks,
        settle_quiet=shape.settle_quiet,
        settle_latest=shape.settle_latest,
        checks=tuple(shape.checks),
        reloads=tuple(shape.reloads),
        health=tuple(shape.health),
        secret_mode=int(shape.secret_mode, 8),
        mode=shape.mode,
    )


def _shown(path: str) -> str:
    return escape(os.fsencode(path))


def _read(text: str) -> str:
    return os.fsdecode(unescape(text))
