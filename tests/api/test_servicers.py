"""Every RPC: what the control is asked, and what the client is told."""

from __future__ import annotations

import inspect
import os
import pwd
from dataclasses import replace
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc.error_details_pb2 import (  # type: ignore[import-untyped] # generated without types
    BadRequest,
    ErrorInfo,
)
from grpc_status import rpc_status
from tests.api.conftest import Served
from tests.api.memory import HELD, LATER, MemoryControl, deployment, environment

from headgate.v1 import daemon_pb2, deployment_pb2, environment_pb2 as wire
from headgated.api.convert.status import LISTED_DAMAGES
from headgated.core.deployment import DeploymentStatus
from headgated.core.environment import EnvironmentType, auto_sync_by_default
from headgated.core.errors import AlreadyExistsError, Fault, InvalidRequestError, RefusedError
from headgated.core.orders import AdoptOrder, Caller, DeployOrder, RestoreOrder, RollbackOrder
from headgated.engine.control import Control
from headgated.engine.views import FileDiff

ME = Caller(
    pwd.getpwuid(os.getuid()).pw_name,
    os.getuid(),
    os.getgid(),
    os.getpid(),
    frozenset({os.getgid(), *os.getgroups()}),
)
WEB = wire.Environment(
    name="web", type=wire.ENVIRONMENT_TYPE_STAGING, config_path="/srv/web", sources=["/src/web"]
)


async def failed(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value


def status_in(error: Any) -> Any:
    return rpc_status.from_call(error)


def test_memory_control_takes_what_the_real_one_takes() -> None:
    for name, method in inspect.getmembers(Control, inspect.iscoroutinefunction):
        if not name.startswith("_"):
            ours = inspect.signature(getattr(MemoryControl, name)).parameters
            theirs = inspect.signature(method).parameters
            assert list(ours) == list(theirs), name


async def test_create_environment(served: Served) -> None:
    request = wire.CreateEnvironmentRequest(environment=WEB, request_id="i", validate_only=True)
    answer = await served.environments.CreateEnvironment(request)
    [(verb, draft, caller, *rest)] = served.control.asked
    assert (verb, caller, rest) == ("create", ME, ["i", True, False])
    assert (draft.name, draft.type, draft.sources) == ("web", EnvironmentType.STAGING, ("/src/web",))
    assert answer.environment.auto_sync is auto_sync_by_default(EnvironmentType.STAGING)
    assert answer.environment.sync.sequence == 7


async def test_create_environment_tells_whether_auto_sync_was_given(served: Served) -> None:
    chosen = wire.Environment()
    chosen.CopyFrom(WEB)
    chosen.auto_sync = False
    answer = await served.environments.CreateEnvironment(wire.CreateEnvironmentRequest(environment=chosen))
    assert served.control.asked[0][-1] is True
    assert answer.environment.auto_sync is False


async def test_get_and_list_environments(served: Served) -> None:
    for name in ("b", "a", "c"):
        served.control.put(environment(name))
    one = await served.environments.GetEnvironment(wire.GetEnvironmentRequest(name="b"))
    assert one.environment.config_path == "/srv/b"
    first = await served.environments.ListEnvironments(wire.ListEnvironmentsRequest(page_size=2))
    second = await served.environments.ListEnvironments(
        wire.ListEnvironmentsRequest(page_size=2, page_token=first.next_page_token)
    )
    assert [e.name for page in (first, second) for e in page.environments] == ["a", "b", "c"]
    assert not second.next_page_token


async def test_update_environment(served: Served) -> None:
    served.control.put(environment(variables={"A": "1"}))
    request = wire.UpdateEnvironmentRequest(
        environment=wire.Environment(name="web", variables={"B": "2"}),
        update_mask=FieldMask(paths=["variables"]),
        request_id="i",
        expected_generation=1,
    )
    answer = await served.environments.UpdateEnvironment(request)
    assert dict(answer.environment.variables) == {"B": "2"}
    assert answer.environment.config_path == "/srv/web"
    verb, name, _, caller, *rest = served.control.asked[0]
    assert (verb, name, caller, rest) == ("update", "web", ME, [1, "i", False])
    assert (await failed(served.environments.UpdateEnvironment(request))).code() is grpc.StatusCode.ABORTED


async def test_delete_pause_and_resume_environment(served: Served) -> None:
    served.control.put(HELD)
    until = wire.PauseEnvironmentRequest(name="held", reason="why", request_id="i")
    until.until.FromDatetime(LATER + timedelta(hours=1))
    paused = await served.environments.PauseEnvironment(until)
    assert paused.environment.sync.pause.paused_by == ME.user
    resumed = await served.environments.ResumeEnvironment(
        wire.ResumeEnvironmentRequest(name="held", request_id="j")
    )
    assert not resumed.environment.sync.HasField("hold")
    request = wire.DeleteEnvironmentRequest(name="held", remove_target_files=True, request_id="k")
    deleted = await served.environments.DeleteEnvironment(request)
    assert deleted.deployment_id == "deploy_held_9"
    assert served.control.asked == [
        ("pause", "held", "why", LATER + timedelta(hours=1), ME, "i"),
        ("resume", "held", ME, "j"),
        ("delete", "held", ME, True, "k"),
    ]


async def test_deploy_rollback_restore_and_cancel(served: Served) -> None:
    answer = await served.deployments.Deploy(deployment_pb2.DeployRequest(environment="web", request_id="i"))
    assert answer.deployment.status == deployment_pb2.DEPLOYMENT_STATUS_PENDING
    assert answer.deployment.deployed_by == ME.user
    name = answer.deployment.deployment_id
    undone = await served.deployments.Rollback(
        deployment_pb2.RollbackRequest(deployment_id=name, include_later=True)
    )
    assert undone.deployment.kind == deployment_pb2.DEPLOYMENT_KIND_ROLLBACK
    restored = await served.deployments.Restore(deployment_pb2.RestoreRequest(deployment_id=name))
    assert restored.deployment.kind == deployment_pb2.DEPLOYMENT_KIND_RESTORE
    cancel = deployment_pb2.CancelDeploymentRequest(deployment_id=name, request_id="j")
    assert (await served.deployments.CancelDeployment(cancel)).deployment.deployment_id == name
    assert served.control.asked == [
        ("deploy", DeployOrder("web", request_id="i"), ME),
        ("rollback", RollbackOrder(name, include_later=True), ME),
        ("restore", RestoreOrder(name), ME),
        ("cancel", name, ME, "j"),
    ]


async def test_adopt(served: Served) -> None:
    request = deployment_pb2.AdoptDriftRequest(
        environment="web",
        paths=["a", "b/c"],
        reason="r",
        on_behalf_of="o",
        request_id="i",
        expected_sequence=4,
    )
    adopted = await served.deployments.AdoptDrift(request)
    assert adopted.deployment.kind == deployment_pb2.DEPLOYMENT_KIND_ADOPT
    assert served.control.asked == [("adopt", AdoptOrder("web", ("a", "b/c"), "r", "o", 4, "i"), ME)]


async def test_plan_deployment(served: Served) -> None:
    served.control.diffs = (FileDiff("a", "-x\n+y\n"),)
    request = deployment_pb2.PlanDeploymentRequest(environment="web", config_files=["a"], no_diff=True)
    answer = await served.deployments.PlanDeployment(request)
    assert served.control.asked == [("plan", "web", ("a",), False)]
    assert answer.diffs[0].unified == "-x\n+y\n"
    assert answer.drifted[0].path == "a.conf"


async def test_get_and_list_deployments(served: Served) -> None:
    for number in range(1, 6):
        status = DeploymentStatus.SUCCESS if number % 2 else DeploymentStatus.FAILED
        served.control.tell(deployment(number, status=status))
    got = await served.deployments.GetDeployment(
        deployment_pb2.GetDeploymentRequest(deployment_id="deploy_web_2")
    )
    assert got.deployment.sequence == 2
    request = deployment_pb2.ListDeploymentsRequest(
        environment="web", page_size=2, statuses=[deployment_pb2.DEPLOYMENT_STATUS_SUCCESS]
    )
    first = await served.deployments.ListDeployments(request)
    assert [one.sequence for one in first.deployments] == [5, 3]
    request.page_token = first.next_page_token
    second = await served.deployments.ListDeployments(request)
    assert [one.sequence for one in second.deployments] == [1]
    assert not second.next_page_token


async def test_status_and_reload(served: Served) -> None:
    served.control.put(environment())
    status = await served.daemon.GetStatus(daemon_pb2.GetStatusRequest())
    assert (status.version, status.pid, len(status.environments)) == ("1.2.3", 42, 1)
    assert status.sources[0].mode == daemon_pb2.WATCH_MODE_EVENTS
    assert list((await served.daemon.Reload(daemon_pb2.ReloadRequest())).changed) == ["one thing"]
    assert served.control.asked[-1] == ("reload", ME)
    refused = await failed(served.daemon.Reload(daemon_pb2.ReloadRequest(request_id="x" * 129)))
    assert refused.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_history_is_verified_and_collected(served: Served) -> None:
    assert not (await served.daemon.VerifyHistory(daemon_pb2.VerifyHistoryRequest())).damages
    served.control.damages = [f"content {n}: wrong \udcff" + "x" * 2000 for n in range(LISTED_DAMAGES + 5)]
    found = await served.daemon.VerifyHistory(daemon_pb2.VerifyHistoryRequest())
    assert (len(found.damages), found.omitted_count) == (LISTED_DAMAGES, 5)
    assert found.damages[0].startswith("content 0: wrong \\xff")
    done = await served.daemon.CollectHistory(daemon_pb2.CollectHistoryRequest(request_id="r"))
    assert (done.deployments, done.contents, done.bytes_returned) == (3, 20, 4096)
    assert served.control.asked[-1] == ("collect history", ME, "r")
    refused = await failed(
        served.daemon.CollectHistory(daemon_pb2.CollectHistoryRequest(request_id="x" * 129))
    )
    assert refused.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_export_is_sent_piece_by_piece(served: Served) -> None:
    request = deployment_pb2.ExportDeploymentRequest(deployment_id="deploy_web_1")
    assert [piece.tar async for piece in served.deployments.ExportDeployment(request)] == [b"tar", b"ball"]
    assert served.control.ended[-1] == "export closed"
    served.control.failure = RefusedError("cannot export deploy_web_1: gone", reason="HISTORY_COLLECTED")
    refused = await failed(served.deployments.ExportDeployment(request).read())
    assert refused.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert served.control.ended[-1] == "export closed"


async def test_error_reaches_the_client_with_its_details(served: Served) -> None:
    error = await failed(served.environments.GetEnvironment(wire.GetEnvironmentRequest(name="nope")))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert error.details() == "cannot find environment nope: there is none of that name"
    info = ErrorInfo()
    status_in(error).details[0].Unpack(info)
    assert (info.reason, info.domain, info.metadata["hint"]) == (
        "ENVIRONMENT_NOT_FOUND",
        "headgate",
        "headgate env list",
    )


async def test_every_fault_of_a_request_reaches_the_client(served: Served) -> None:
    bad = wire.Environment(name="NO", config_path="x", variables={str(n): "" for n in range(20)})
    error = await failed(
        served.environments.CreateEnvironment(wire.CreateEnvironmentRequest(environment=bad))
    )
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    faults = BadRequest()
    status_in(error).details[1].Unpack(faults)
    assert {fault.field for fault in faults.field_violations} == {
        "environment.name",
        "environment.type",
        "environment.config_path",
        *(f"environment.variables.{n}" for n in range(20)),
    }
    assert served.control.environments == {}


def violations(error: Any) -> list[tuple[str, str]]:
    faults = BadRequest()
    assert status_in(error).details[1].Unpack(faults)
    return [(fault.field, fault.description) for fault in faults.field_violations]


async def test_engine_is_asked_what_else_is_wrong_with_a_request(served: Served) -> None:
    """As a question only, and not by what cannot be meant: neither the request's id nor a generation that it expects."""
    served.control.failure = InvalidRequestError("x", [Fault("config_path", "overlaps")])
    bad = wire.Environment(name="web", config_path="/srv/web", variables={"9": ""})
    update = wire.UpdateEnvironmentRequest(
        environment=bad,
        update_mask=FieldMask(paths=["type", "variables"]),
        request_id="i",
        expected_generation=7,
    )
    create = wire.CreateEnvironmentRequest(environment=bad, request_id="i")
    for ask, request in (
        (served.environments.CreateEnvironment, create),
        (served.environments.UpdateEnvironment, update),
    ):
        error = await failed(ask(request))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert violations(error) == [
            ("environment.type", "is missing"),
            (
                "environment.variables.9",
                "must be a letter or underscore, then letters, digits, underscores",
            ),
            ("environment.config_path", "overlaps"),
        ]
    assert [asked[0] for asked in served.control.asked] == ["create", "update"]
    assert served.control.asked[0][4] is True, "only checked"
    assert served.control.asked[1][4::2] == (None, True), "only checked, whatever the generation"


async def test_error_of_another_kind_carries_what_is_wrong_besides(served: Served) -> None:
    served.control.failure = AlreadyExistsError("cannot: taken", faults=[Fault("config_path", "overlaps")])
    error = await failed(
        served.environments.CreateEnvironment(wire.CreateEnvironmentRequest(environment=WEB))
    )
    assert error.code() is grpc.StatusCode.ALREADY_EXISTS
    assert violations(error) == [("environment.config_path", "overlaps")]


NAMELESS = {
    "GetEnvironment": ("environments", wire.GetEnvironmentRequest()),
    "DeleteEnvironment": ("environments", wire.DeleteEnvironmentRequest()),
    "ResumeEnvironment": ("environments", wire.ResumeEnvironmentRequest()),
    "PauseEnvironment": ("environments", wire.PauseEnvironmentRequest()),
    "UpdateEnvironment": ("environments", wire.UpdateEnvironmentRequest()),
    "CreateEnvironment": ("environments", wire.CreateEnvironmentRequest()),
    "Deploy": ("deployments", deployment_pb2.DeployRequest()),
    "PlanDeployment": ("deployments", deployment_pb2.PlanDeploymentRequest()),
    "Rollback": ("deployments", deployment_pb2.RollbackRequest()),
    "Restore": ("deployments", deployment_pb2.RestoreRequest()),
    "AdoptDrift": ("deployments", deployment_pb2.AdoptDriftRequest()),
    "GetDeployment": ("deployments", deployment_pb2.GetDeploymentRequest()),
    "CancelDeployment": ("deployments", deployment_pb2.CancelDeploymentRequest()),
}


@pytest.mark.parametrize("method", NAMELESS)
async def test_request_about_nothing_is_refused(served: Served, method: str) -> None:
    stub, request = NAMELESS[method]
    error = await failed(getattr(getattr(served, stub), method)(request))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "is missing" in str(error.details())
    assert all(verb in ("create", "update") for verb, *_ in served.control.asked), "which only check it"
    assert served.control.environments == {}


async def test_environment_with_odd_bytes_survives_the_way_there_and_back(served: Served) -> None:
    odd = replace(environment(), config_path="/srv/caf\udce9")
    served.control.put(odd)
    got = await served.environments.GetEnvironment(wire.GetEnvironmentRequest(name="web"))
    request = wire.UpdateEnvironmentRequest(
        environment=got.environment, update_mask=FieldMask(paths=["config_path"])
    )
    await served.environments.UpdateEnvironment(request)
    assert served.control.environments["web"].config_path == odd.config_path
