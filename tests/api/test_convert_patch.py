from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from tests.api.memory import environment

from headgate.v1 import environment_pb2 as wire
from headgated.api.convert.checks import Checks
from headgated.api.convert.patch import FIELDS, POLICIES, apply_mask, read_patch
from headgated.core.environment import DriftPolicy, EnvironmentType, Policies, Strategy, UndefinedPolicy
from headgated.core.errors import InvalidRequestError

PRESENT = environment(
    variables={"A": "1", "B": "2"},
    secrets={"S": "file:s"},
    auto_sync=True,
    policies=Policies(
        prune=False, verbatim=("*.bin",), drift=DriftPolicy.HEAL, settle_quiet=1.0, owner="a:b"
    ),
)

CHANGES: dict[str, tuple[wire.Environment, dict[str, Any]]] = {
    "type": (wire.Environment(type=wire.ENVIRONMENT_TYPE_PRODUCTION), {"type": EnvironmentType.PRODUCTION}),
    "config_path": (wire.Environment(config_path="/srv/new"), {"config_path": "/srv/new"}),
    "sources": (wire.Environment(sources=["/a", "/b"]), {"sources": ("/a", "/b")}),
    "variables": (wire.Environment(variables={"B": "3"}), {"variables": {"B": "3"}}),
    "secrets": (wire.Environment(), {"secrets": {}}),
    "auto_sync": (wire.Environment(auto_sync=False), {"auto_sync": False}),
}
POLICY_CHANGES: dict[str, tuple[wire.Policies, Any]] = {
    "prune": (wire.Policies(prune=True), True),
    "verbatim": (wire.Policies(verbatim=["a", "b"]), ("a", "b")),
    "undefined": (wire.Policies(undefined=wire.UNDEFINED_POLICY_ERROR), UndefinedPolicy.ERROR),
    "strategy": (wire.Policies(strategy=wire.STRATEGY_ATOMIC), Strategy.ATOMIC),
    "drift": (wire.Policies(), DriftPolicy.REPORT),
    "owner": (wire.Policies(), "keep"),
    "mode": (wire.Policies(mode="keep"), "keep"),
    "secret_mode": (wire.Policies(secret_mode=0o640), 0o640),
    "allow_external_symlinks": (wire.Policies(allow_external_symlinks=True), True),
    "settle_quiet": (wire.Policies(), None),
    "settle_latest": (wire.Policies(settle_latest=Duration(seconds=3)), 3.0),
    "checks": (wire.Policies(checks=["nginx"]), ("nginx",)),
    "reloads": (wire.Policies(reloads=["nginx"]), ("nginx",)),
    "health": (wire.Policies(health=["http"]), ("http",)),
}


def test_every_field_that_can_change_is_tried_here() -> None:
    assert set(CHANGES) == set(FIELDS)
    assert set(POLICY_CHANGES) == set(POLICIES)
    output_only = {"name", "policies", "created_at", "updated_at", "generation", "sync"}
    assert {field.name for field in wire.Environment.DESCRIPTOR.fields} == set(FIELDS) | output_only
    assert {field.name for field in wire.Policies.DESCRIPTOR.fields} == set(POLICIES)


@pytest.mark.parametrize("path", CHANGES)
def test_mask_changes_the_field_that_it_names_and_no_other(path: str) -> None:
    message, changed = CHANGES[path]
    assert apply_mask(PRESENT, message, [path]) == replace(PRESENT, **changed)


@pytest.mark.parametrize("name", POLICY_CHANGES)
def test_mask_changes_the_policy_that_it_names_and_no_other(name: str) -> None:
    policies, value = POLICY_CHANGES[name]
    changes: dict[str, Any] = {name: value}
    changed = apply_mask(PRESENT, wire.Environment(policies=policies), [f"policies.{name}"])
    assert changed == replace(PRESENT, policies=replace(PRESENT.policies, **changes))


def test_mask_of_all_policies_resets_those_that_are_unset() -> None:
    message = wire.Environment(policies=wire.Policies(prune=False))
    assert apply_mask(PRESENT, message, ["policies"]).policies == Policies(prune=False)


@pytest.mark.parametrize(("kind", "syncs"), [("PRODUCTION", False), ("STAGING", True)])
def test_mask_of_auto_sync_without_a_value_means_the_default_of_the_type(kind: str, syncs: Any) -> None:
    message = wire.Environment(type=wire.EnvironmentType.Value(f"ENVIRONMENT_TYPE_{kind}"))
    before = replace(PRESENT, auto_sync=not syncs)
    assert apply_mask(before, message, ["auto_sync", "type"]).auto_sync is syncs
    assert apply_mask(before, message, ["type"]).auto_sync is not syncs


def test_directories_are_read_in_the_escaped_form() -> None:
    shown = r"/srv/caf\xe9\\x"
    message = wire.Environment(config_path=shown, sources=[shown])
    changed = apply_mask(PRESENT, message, ["config_path", "sources"])
    assert (changed.config_path, changed.sources) == ("/srv/caf\udce9\\x", ("/srv/caf\udce9\\x",))


BAD_PATHS = {
    "nonsense": "is no field",
    "": "is no field",
    "*": "is no field",
    "policies.nonsense": "is no field",
    "policies.prune.x": "is no field",
    "policies.": "is no field",
    "name": "cannot change",
    "created_at": "is set by the daemon",
    "updated_at.seconds": "is set by the daemon",
    "generation": "is set by the daemon",
    "sync.hold": "is set by the daemon",
    "variables.A": "is replaced whole",
    "sources[0]": "is no field",
}


def test_mask_is_refused_with_every_path_that_cannot_be() -> None:
    with pytest.raises(InvalidRequestError) as refused:
        apply_mask(PRESENT, wire.Environment(), ["variables", *BAD_PATHS])
    found = {fault.field: fault.message for fault in refused.value.faults}
    assert list(found) == [f"update_mask.paths[{n}]" for n in range(1, len(BAD_PATHS) + 1)]
    for said, expected in zip(found.values(), BAD_PATHS.values(), strict=True):
        assert expected in said


def test_mask_gathers_the_faults_of_paths_and_values() -> None:
    message = wire.Environment(
        type=77,  # type: ignore[arg-type] # nobody knows it
        policies=wire.Policies(drift=99, settle_quiet=Duration(seconds=-1)),  # type: ignore[arg-type]
    )
    with pytest.raises(InvalidRequestError) as refused:
        apply_mask(PRESENT, message, ["type", "policies.drift", "policies.settle_quiet", "oops"])
    assert [fault.field for fault in refused.value.faults] == [
        "environment.type",
        "environment.policies.drift",
        "environment.policies.settle_quiet",
        "update_mask.paths[3]",
    ]


def test_equal_requests_give_patches_that_look_equal() -> None:
    """So that a repeated request can be told from another one by what it asks for."""
    one = wire.Environment(variables={"A": "1", "B": "2", "C": "3"})
    other = wire.Environment(variables={"C": "3", "A": "1", "B": "2"})
    first = read_patch(Checks(), one, ["variables", "auto_sync"])
    second = read_patch(Checks(), other, ["auto_sync", "variables"])
    assert first == second
    assert repr(first) == repr(second)
