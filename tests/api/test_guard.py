"""What no handler can forget: errors, limits, sizes, cancellation. Tried on every RPC of every service."""

from __future__ import annotations

import asyncio
import logging
import re
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from tests.api.conftest import Served, wait_until
from tests.api.memory import deployment, environment

from headgate.v1 import daemon_pb2, deployment_pb2, environment_pb2
from headgated.core.errors import DeploymentFailedError, UnavailableError
from headgated.engine.views import FileDiff

WEB = environment_pb2.Environment(
    name="web", type=environment_pb2.ENVIRONMENT_TYPE_STAGING, config_path="/srv/web", variables={"A": "1"}
)
VALID: dict[str, Message] = {
    "EnvironmentService/CreateEnvironment": environment_pb2.CreateEnvironmentRequest(environment=WEB),
    "EnvironmentService/GetEnvironment": environment_pb2.GetEnvironmentRequest(name="web"),
    "EnvironmentService/ListEnvironments": environment_pb2.ListEnvironmentsRequest(),
    "EnvironmentService/UpdateEnvironment": environment_pb2.UpdateEnvironmentRequest(
        environment=WEB, update_mask=FieldMask(paths=["variables"])
    ),
    "EnvironmentService/DeleteEnvironment": environment_pb2.DeleteEnvironmentRequest(name="web"),
    "EnvironmentService/ResumeEnvironment": environment_pb2.ResumeEnvironmentRequest(name="web"),
    "EnvironmentService/PauseEnvironment": environment_pb2.PauseEnvironmentRequest(name="web"),
    "EnvironmentService/WatchEnvironments": environment_pb2.WatchEnvironmentsRequest(name="web"),
    "DeploymentService/Deploy": deployment_pb2.DeployRequest(environment="web"),
    "DeploymentService/PlanDeployment": deployment_pb2.PlanDeploymentRequest(environment="web"),
    "DeploymentService/Rollback": deployment_pb2.RollbackRequest(deployment_id="deploy_web_1"),
    "DeploymentService/Restore": deployment_pb2.RestoreRequest(deployment_id="deploy_web_1"),
    "DeploymentService/AdoptDrift": deployment_pb2.AdoptDriftRequest(environment="web"),
    "DeploymentService/GetDeployment": deployment_pb2.GetDeploymentRequest(deployment_id="deploy_web_1"),
    "DeploymentService/ListDeployments": deployment_pb2.ListDeploymentsRequest(),
    "DeploymentService/CancelDeployment": deployment_pb2.CancelDeploymentRequest(
        deployment_id="deploy_web_1"
    ),
    "DeploymentService/ConfirmDeployment": deployment_pb2.ConfirmDeploymentRequest(
        deployment_id="deploy_web_1"
    ),
    "DeploymentService/WatchDeployments": deployment_pb2.WatchDeploymentsRequest(
        deployment_id="deploy_web_1"
    ),
    "DeploymentService/ExportDeployment": deployment_pb2.ExportDeploymentRequest(
        deployment_id="deploy_web_1"
    ),
    "DaemonService/GetStatus": daemon_pb2.GetStatusRequest(),
    "DaemonService/Reload": daemon_pb2.ReloadRequest(),
    "DaemonService/VerifyHistory": daemon_pb2.VerifyHistoryRequest(),
    "DaemonService/CollectHistory": daemon_pb2.CollectHistoryRequest(),
    "DaemonService/VerifyAudit": daemon_pb2.VerifyAuditRequest(),
    "DaemonService/ListAudit": daemon_pb2.ListAuditRequest(),
}
READS = re.compile(r".*/(Get|List|Plan|Watch|Verify|Export)")
ASKED_OF_CONTROL = [method for method in VALID if "Audit" not in method]
CHANGES = [method for method in VALID if not READS.match(method)]


def raw_call(served: Served, method: str, raw: bytes, channel: Any = None) -> Any:
    kind = "unary_stream" if re.search("/(Watch|Export)", method) else "unary_unary"
    return getattr(channel or served.channel, kind)(f"/headgate.v1.{method}")(raw)


async def outcome(call: Any) -> grpc.aio.AioRpcError | None:
    try:
        if hasattr(call, "__aiter__"):
            async for _ in call:
                pass
        else:
            await call
    except grpc.aio.AioRpcError as error:
        return error
    return None


def filled(served: Served) -> None:
    served.control.put(environment())
    served.control.tell(deployment())


def test_every_rpc_is_tried_here() -> None:
    files = (environment_pb2, deployment_pb2, daemon_pb2)
    services = [service for file in files for service in file.DESCRIPTOR.services_by_name.values()]
    assert {f"{service.name}/{method.name}" for service in services for method in service.methods} == set(
        VALID
    )


@pytest.mark.parametrize("method", ASKED_OF_CONTROL)
async def test_unforeseen_error_stays_in_the_log(
    served: Served, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    filled(served)
    served.control.failure = ValueError("the secret is canary-4711")
    error = await outcome(raw_call(served, method, VALID[method].SerializeToString()))
    assert error is not None
    assert error.code() is grpc.StatusCode.INTERNAL
    told = f"{error.details()} {error.trailing_metadata()}"
    assert "canary" not in told
    assert "ValueError" not in told
    log_id = re.search(r"log id (\w+)", str(error.details()))
    [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert log_id is not None
    assert log_id[1] in record.getMessage()
    assert method in record.getMessage()
    assert "canary-4711" in caplog.text  # With the traceback.


@pytest.mark.parametrize("method", ASKED_OF_CONTROL)
async def test_error_of_ours_is_told_and_not_logged(
    served: Served, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    filled(served)
    served.control.failure = UnavailableError("cannot write", reason="STATE_NOT_WRITABLE")
    error = await outcome(raw_call(served, method, VALID[method].SerializeToString()))
    assert error is not None
    assert (error.code(), error.details()) == (grpc.StatusCode.UNAVAILABLE, "cannot write")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("method", [method for method, request in VALID.items() if request.ByteSize()])
async def test_request_that_is_no_message_is_refused(
    served: Served, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    for raw in (b"\xff\xff\xff", b"\x0a\x02\xff\xfe"):  # No protobuf; text that is not UTF-8.
        error = await outcome(raw_call(served, method, raw))
        assert error is not None
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert served.control.asked == []
    assert not caplog.records


@pytest.mark.parametrize("method", VALID)
async def test_client_that_did_not_come_through_the_door_is_refused(served: Served, method: str) -> None:
    async with served.connect(served.private) as behind:
        error = await outcome(raw_call(served, method, VALID[method].SerializeToString(), behind))
    assert error is not None
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert served.control.asked == []


@pytest.mark.parametrize("method", CHANGES)
async def test_change_goes_on_when_the_client_goes_away(
    served: Served, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    filled(served)
    served.control.open.clear()
    call = raw_call(served, method, VALID[method].SerializeToString())
    await wait_until(lambda: len(served.control.asked) == 1)
    call.cancel()
    await asyncio.sleep(0.05)  # Time for a cancellation to arrive, if it did.
    assert served.control.ended == []
    served.control.open.set()
    await wait_until(lambda: len(served.control.ended) == 1)
    assert "cancelled" not in served.control.ended[0]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def contains(caplog: pytest.LogCaptureFixture, words: str) -> bool:
    return words in caplog.text


async def test_change_that_fails_after_its_client_went_away_is_logged(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for failure in (DeploymentFailedError("cannot deploy: no space"), ValueError("unforeseen")):
        served.control.failure = failure
        served.control.open.clear()
        call = served.deployments.Deploy(VALID["DeploymentService/Deploy"])
        await wait_until(lambda: bool(served.control.asked))
        served.control.asked.clear()
        call.cancel()
        await asyncio.sleep(0.05)  # Time for the cancellation to arrive.
        served.control.open.set()
        await wait_until(partial(contains, caplog, str(failure)))


async def test_read_ends_when_the_client_goes_away(served: Served) -> None:
    served.control.open.clear()
    call = served.daemon.GetStatus(daemon_pb2.GetStatusRequest())
    await wait_until(lambda: len(served.control.asked) == 1)
    call.cancel()
    await wait_until(lambda: served.control.ended == ["status cancelled"])


async def test_deadline_of_the_client_ends_a_read(served: Served) -> None:
    served.control.open.clear()
    error = await outcome(served.daemon.GetStatus(daemon_pb2.GetStatusRequest(), timeout=0.1))
    assert error is not None
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await wait_until(lambda: served.control.ended == ["status cancelled"])


async def test_request_of_15_mib_arrives_and_one_of_17_is_refused(served: Served) -> None:
    request = deployment_pb2.DeployRequest(environment="web", reason="x" * 15 * 1024 * 1024)
    error = await outcome(served.deployments.Deploy(request))
    assert error is not None
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "reason: is longer than 1000 characters" in str(error.details())
    request.reason += "x" * 2 * 1024 * 1024
    error = await outcome(served.deployments.Deploy(request))
    assert error is not None
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_answer_that_is_too_large_is_refused_with_what_to_do(served: Served) -> None:
    served.control.put(environment(variables={"A": "x" * 17 * 1024 * 1024}))
    error = await outcome(
        served.environments.GetEnvironment(environment_pb2.GetEnvironmentRequest(name="web"))
    )
    assert error is not None
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "too large (17 MiB, at most 16)" in str(error.details())


async def test_large_answer_arrives_whole(short_dir: Path, served: Served) -> None:
    served.control.diffs = tuple(FileDiff(f"f{n}", f"{n}" * 500_000) for n in range(10))
    async with served.connect(
        served.socket, ("grpc.max_receive_message_length", 32 * 1024 * 1024)
    ) as channel:
        raw = await raw_call(served, "DeploymentService/PlanDeployment", b"\x0a\x03web", channel)
    answer = deployment_pb2.PlanDeploymentResponse.FromString(raw)
    assert [diff.unified for diff in answer.diffs] == [f"{n}" * 500_000 for n in range(10)]


async def test_unknown_method_is_unimplemented(served: Served) -> None:
    error = await outcome(served.channel.unary_unary("/headgate.v1.DaemonService/Nothing")(b""))
    assert error is not None
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
