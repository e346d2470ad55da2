"""Environments and deployments to make records of: one with everything, and any that there may be."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

from hypothesis import strategies as st
from tests.unit.core.test_tree import DIRECTORIES, FILES, LINKS

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
from headgated.core.paths import escape

AT = datetime(2026, 11, 22, 19, 20, tzinfo=UTC)


def deployment(
    deployment_id: str = "deploy_prod_1",
    environment: str = "prod",
    sequence: int = 1,
    status: DeploymentStatus = DeploymentStatus.SUCCESS,
    deployed_at: datetime = AT,
) -> ConfigDeployment:
    return ConfigDeployment(
        deployment_id=deployment_id,
        environment=environment,
        kind=DeploymentKind.DEPLOY,
        status=status,
        sequence=sequence,
        deployed_at=deployed_at,
        deployed_by="anna",
    )


def environment(name: str = "prod") -> Environment:
    return Environment(name, EnvironmentType.PRODUCTION, "/etc/app", AT, AT, sources=("/srv/app",))


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NAMES = st.binary(min_size=1, max_size=6).map(lambda raw: "/" + os.fsdecode(raw.replace(b"\0", b"x")))
ESCAPED = st.binary(min_size=1, max_size=6).map(escape)
TIMES = st.datetimes(
    datetime(1000, 1, 1),  # noqa: DTZ001 - the zone is given below
    datetime(9000, 1, 1),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=-7))]),
)
ENTRIES = st.one_of(FILES.map(lambda entry: replace(entry, template=False, seal=b"")), DIRECTORIES, LINKS)
FILE_CHANGES = st.lists(
    st.builds(FileChange, ESCAPED, st.none() | ENTRIES, st.none() | ENTRIES, st.booleans()), max_size=2
).map(tuple)
COUNTS = st.integers(0, 10**6)
CHANGES = st.builds(
    Changes,
    *[FILE_CHANGES] * 3,
    *[COUNTS] * 5,
    st.lists(st.builds(SettingChange, ESCAPED, TEXT, st.none() | TEXT, st.none() | TEXT), max_size=2).map(
        tuple
    ),
    st.lists(TEXT, max_size=2).map(tuple),
)
TEXTS = st.lists(TEXT, max_size=2).map(tuple)
DEPLOYMENTS = st.builds(
    ConfigDeployment,
    deployment_id=TEXT,
    environment=TEXT,
    kind=st.sampled_from(DeploymentKind),
    status=st.sampled_from(DeploymentStatus),
    sequence=COUNTS,
    deployed_at=TIMES,
    deployed_by=TEXT,
    trigger=st.sampled_from(Trigger),
    config_version=TEXT,
    config_files=TEXTS,
    changes=CHANGES,
    rollback_info=st.none() | st.builds(RollbackInfo, TEXT, TEXTS, TEXT, st.none() | TIMES),
    error=st.none() | st.builds(DeploymentError, TEXT, TEXT, TEXT, TEXTS),
    reason=TEXT,
    on_behalf_of=TEXT,
    started_at=st.none() | TIMES,
    finished_at=st.none() | TIMES,
    attempts=COUNTS,
    progress=st.none(),
)
SECONDS = st.none() | st.floats(0, 3600)
ENVIRONMENTS = st.builds(
    Environment,
    name=TEXT,
    type=st.sampled_from(EnvironmentType),
    config_path=NAMES,
    created_at=TIMES,
    updated_at=TIMES,
    sources=st.lists(NAMES, max_size=2).map(tuple),
    variables=st.dictionaries(TEXT, TEXT, max_size=2),
    secrets=st.dictionaries(TEXT, TEXT, max_size=2),
    auto_sync=st.booleans(),
    policies=st.builds(
        Policies,
        st.booleans(),
        TEXTS,
        st.sampled_from(UndefinedPolicy),
        st.sampled_from(Strategy),
        st.sampled_from(DriftPolicy),
        TEXT,
        st.booleans(),
        SECONDS,
        SECONDS,
        TEXTS,
        TEXTS,
        TEXTS,
        st.integers(0, 0o777),
        TEXT,
    ),
    generation=COUNTS,
    hold=st.none() | st.builds(Hold, TEXT, TIMES, st.dictionaries(ESCAPED, TEXT, max_size=2)),
    halt=st.none() | st.builds(Halt, TEXT, TEXT, TIMES),
    pause=st.none() | st.builds(Pause, TEXT, TEXT, TIMES, st.none() | TIMES),
    marks=st.dictionaries(
        NAMES, st.builds(SourceMark, COUNTS, COUNTS, st.booleans(), st.booleans()), max_size=2
    ),
)
