from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.api.memory import HELD, LATER, NOW, environment

from headgate.v1 import environment_pb2 as wire
from headgated.api.convert.changes import read_draft
from headgated.api.convert.checks import Checks
from headgated.api.convert.environment import environment_message
from headgated.core.environment import DriftPolicy, EnvironmentType, Policies, Strategy, UndefinedPolicy
from headgated.engine.views import EnvironmentView, SyncState, SyncView

FULL = environment(
    type=EnvironmentType.DEVELOPMENT,
    sources=("/a", "/b"),
    variables={"A": "1"},
    secrets={"S": "file:s"},
    auto_sync=True,
    policies=Policies(
        prune=False,
        verbatim=("*.bin",),
        undefined=UndefinedPolicy.ERROR,
        strategy=Strategy.ATOMIC,
        drift=DriftPolicy.REFUSE,
        owner="root:adm",
        allow_external_symlinks=True,
        settle_quiet=0.02,
        settle_latest=2.5,
        checks=("c",),
        reloads=("r",),
        health=("h",),
        secret_mode=0o640,
        mode="keep",
    ),
    generation=3,
)


def shown(model: Any, sync: SyncView | None = None) -> wire.Environment:
    return environment_message(EnvironmentView(model, sync or SyncView()))


def test_environment_goes_out_and_comes_back_the_same() -> None:
    request = wire.CreateEnvironmentRequest(environment=shown(FULL))
    draft = read_draft(Checks(), request)
    assert replace(draft, created_at=NOW, updated_at=NOW, generation=3) == FULL


def test_environment_shows_every_field_of_the_protocol() -> None:
    sync = SyncView(SyncState.HELD, "m", "d1", "d2", NOW, "sha256:1", LATER, 3, ("a", "b"), 2, 9)
    message = shown(replace(HELD, variables={"A": "1"}, secrets={"S": "r"}, auto_sync=True), sync)
    assert {field.name for field, _ in message.ListFields()} == {
        f.name for f in wire.Environment.DESCRIPTOR.fields
    }
    assert {field.name for field, _ in message.sync.ListFields()} == {
        f.name for f in wire.Sync.DESCRIPTOR.fields
    }
    assert list(message.sync.hold.paths) == ["a.conf", "b.conf"]
    assert message.sync.halt.reason == "SOURCE_MISSING"
    assert message.sync.pause.until.ToDatetime(LATER.tzinfo) == LATER
    assert message.created_at.ToDatetime(NOW.tzinfo) == NOW


@pytest.mark.parametrize("state", SyncState)
def test_environment_shows_every_sync_state(state: Any) -> None:
    assert wire.SyncState.Name(shown(FULL, SyncView(state)).sync.state) == f"SYNC_STATE_{state.name}"


def test_environment_without_a_setting_shows_none_and_gets_its_default() -> None:
    message = shown(environment())
    assert not message.policies.HasField("settle_quiet")
    assert not message.sync.HasField("hold")
    bare = wire.Environment(name="web", type=wire.ENVIRONMENT_TYPE_TESTING, config_path="/srv/web")
    assert read_draft(Checks(), wire.CreateEnvironmentRequest(environment=bare)).policies == Policies()


def test_environment_with_odd_bytes_in_its_directories_goes_out_and_comes_back() -> None:
    odd = environment(config_path="/srv/caf\udce9", sources=("/src/back\\slash", "/src/ü"))
    message = shown(odd)
    assert message.config_path == r"/srv/caf\xe9"
    assert list(message.sources) == [r"/src/back\\slash", "/src/ü"]
    draft = read_draft(Checks(), wire.CreateEnvironmentRequest(environment=message))
    assert (draft.config_path, draft.sources) == (odd.config_path, odd.sources)
