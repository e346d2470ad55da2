from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from headgate.v1 import deployment_pb2 as wire
from headgated.api.convert import orders
from headgated.core.deployment import DeploymentStatus
from headgated.core.errors import InvalidRequestError
from headgated.core.orders import DeployOrder, RestoreOrder, RollbackOrder


def faults_of(read: Any, request: Any) -> set[str]:
    with pytest.raises(InvalidRequestError) as refused:
        read(request)
    return {fault.field for fault in refused.value.faults}


def test_deploy_is_read_whole() -> None:
    request = wire.DeployRequest(
        environment="web",
        config_files=["a", "/src/b"],
        reason="r",
        on_behalf_of="o",
        request_id="i",
        allow_empty=True,
        allow_mass_removal=True,
        expected_sequence=0,
        confirm_within=Duration(seconds=90),
    )
    assert orders.read_deploy(request) == DeployOrder(
        "web",
        ("a", "/src/b"),
        "r",
        "o",
        allow_empty=True,
        allow_mass_removal=True,
        expected_sequence=0,
        request_id="i",
        confirm_within=90,
    )
    assert orders.read_deploy(wire.DeployRequest(environment="web")) == DeployOrder("web")


def test_rollback_and_restore_are_read_whole() -> None:
    rollback = wire.RollbackRequest(
        deployment_id="d_1",
        include_later=True,
        reason="r",
        on_behalf_of="o",
        request_id="i",
        expected_sequence=4,
    )
    assert orders.read_rollback(rollback) == RollbackOrder("d_1", True, "r", "o", 4, "i")  # noqa: FBT003
    restore = wire.RestoreRequest(
        deployment_id="d_1", reason="r", on_behalf_of="o", request_id="i", expected_sequence=4
    )
    assert orders.read_restore(restore) == RestoreOrder("d_1", "r", "o", 4, "i")


def test_deploy_is_refused_with_every_fault_at_once() -> None:
    request = wire.DeployRequest(
        environment="NO",
        config_files=["", "fine/../no"],
        reason="x" * 1001,
        on_behalf_of="\0",
        request_id="x" * 129,
        confirm_within=Duration(nanos=1),
    )
    assert faults_of(orders.read_deploy, request) == {
        "environment",
        "config_files[0]",
        "config_files[1]",
        "reason",
        "on_behalf_of",
        "request_id",
        "confirm_within",
    }


@pytest.mark.parametrize("name", ["/", "a//b", "../a", "/etc/../a", "a\0b"])
def test_name_of_a_file_that_is_none_is_refused_by_what_takes_files(name: str) -> None:
    bad: Any = ["fine", "/fine/too", "d/", name]
    deploy = wire.DeployRequest(environment="web", config_files=bad)
    plan = wire.PlanDeploymentRequest(environment="web", config_files=bad)
    adopt = wire.AdoptDriftRequest(environment="web", paths=bad)
    assert faults_of(orders.read_deploy, deploy) == {"config_files[3]"}
    assert faults_of(orders.read_plan, plan) == {"config_files[3]"}
    assert faults_of(orders.read_adopt, adopt) == {"paths[3]"}


@pytest.mark.parametrize("seconds", [-1, 0, 7 * 86400 + 1, 2**63 - 1, -(2**63)])
def test_confirmation_is_within_bounds(seconds: int) -> None:
    request = wire.DeployRequest(environment="web", confirm_within=Duration(seconds=seconds))
    assert faults_of(orders.read_deploy, request) == {"confirm_within"}


@pytest.mark.parametrize("kind", ["rollback", "restore"])
def test_undoing_is_refused_with_every_fault_at_once(kind: str) -> None:
    make = {"rollback": wire.RollbackRequest, "restore": wire.RestoreRequest}[kind]
    request = make(deployment_id="a/b", reason="x" * 1001, request_id="x" * 129)
    assert faults_of(getattr(orders, f"read_{kind}"), request) == {"deployment_id", "reason", "request_id"}


def test_page_is_read_with_its_defaults() -> None:
    assert orders.read_page(wire.ListDeploymentsRequest()) == orders.Page("", 50, "", frozenset())
    request = wire.ListDeploymentsRequest(
        environment="web", page_size=1000, page_token="t", statuses=[wire.DEPLOYMENT_STATUS_FAILED]
    )
    assert orders.read_page(request) == orders.Page("web", 1000, "t", frozenset({DeploymentStatus.FAILED}))


def test_page_is_refused_with_every_fault_at_once() -> None:
    request = wire.ListDeploymentsRequest(
        environment="NO",
        page_size=1001,
        page_token="x" * 1025,
        statuses=[1, 0, 77],  # type: ignore[list-item] # nobody knows the last one
    )
    found = faults_of(orders.read_page, request)
    assert found == {"environment", "page_size", "page_token", "statuses[1]", "statuses[2]"}


def test_watch_and_plan_and_ids_are_checked() -> None:
    watch = wire.WatchDeploymentsRequest(environment="NO", deployment_id="a/b")
    assert faults_of(orders.read_watch, watch) == {"environment", "deployment_id"}
    assert orders.read_watch(wire.WatchDeploymentsRequest(from_revision=7)) == orders.Watch("", "", 7)
    assert faults_of(orders.read_plan, wire.PlanDeploymentRequest(config_files=["\0"])) == {
        "environment",
        "config_files[0]",
    }
    with pytest.raises(InvalidRequestError, match="cannot cancel: "):
        orders.read_deployment_id("", "cancel", request_id="x" * 129)
