"""Who may call what: every RPC with every role, narrowed grants, roles that change while a stream is open, other users."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2
from tests.api.conftest import Served, granted, wait_until
from tests.api.memory import deployment, environment
from tests.api.test_guard import VALID, outcome, raw_call

from headgate.v1 import daemon_pb2, deployment_pb2, environment_pb2
from headgated.api.methods import RULES, environment_of
from headgated.api.terms import Terms
from headgated.core.environment import EnvironmentType
from headgated.core.roles import Grant, Permit, Role, Roles

DENIED = grpc.StatusCode.PERMISSION_DENIED
MY_ROLES = (None, *Role)
LEAST = {
    "EnvironmentService/CreateEnvironment": Role.ADMIN,
    "EnvironmentService/GetEnvironment": Role.READER,
    "EnvironmentService/ListEnvironments": Role.READER,
    "EnvironmentService/UpdateEnvironment": Role.ADMIN,
    "EnvironmentService/DeleteEnvironment": Role.ADMIN,
    "EnvironmentService/ResumeEnvironment": Role.DEPLOYER,
    "EnvironmentService/PauseEnvironment": Role.DEPLOYER,
    "EnvironmentService/WatchEnvironments": Role.READER,
    "DeploymentService/Deploy": Role.DEPLOYER,
    "DeploymentService/PlanDeployment": Role.DEPLOYER,
    "DeploymentService/Rollback": Role.DEPLOYER,
    "DeploymentService/Restore": Role.DEPLOYER,
    "DeploymentService/AdoptDrift": Role.DEPLOYER,
    "DeploymentService/GetDeployment": Role.READER,
    "DeploymentService/ListDeployments": Role.READER,
    "DeploymentService/CancelDeployment": Role.DEPLOYER,
    "DeploymentService/ConfirmDeployment": Role.DEPLOYER,
    "DeploymentService/WatchDeployments": Role.READER,
    "DeploymentService/ExportDeployment": Role.DEPLOYER,
    "DaemonService/GetStatus": Role.READER,
    "DaemonService/Reload": Role.ADMIN,
    "DaemonService/VerifyHistory": Role.ADMIN,
    "DaemonService/CollectHistory": Role.ADMIN,
    "DaemonService/VerifyAudit": Role.ADMIN,
    "DaemonService/ListAudit": Role.ADMIN,
}
"""Said here once more, by hand: a slip in the daemon's own table must show."""


def mine(role: Role, *, environments: tuple[str, ...] = (), types: tuple[str, ...] = ()) -> Permit:
    grant = Grant(role=str(role), users=("me",), environments=environments, types=types)
    return Permit(grant, role, frozenset({os.getuid()}), frozenset())


def only(*permits: Permit) -> Terms:
    """Terms by which nobody is trusted beyond these permits."""
    return Terms(Roles(permits, ()))


async def code_of(call: Any) -> grpc.StatusCode:
    try:
        async with asyncio.timeout(0.3 if hasattr(call, "__aiter__") else 5):
            error = await outcome(call)
    except TimeoutError:
        call.cancel()
        return grpc.StatusCode.OK  # A stream that goes on.
    return error.code() if error else grpc.StatusCode.OK


@pytest.fixture
def filled(served: Served) -> Served:
    served.control.put(environment("web"))
    served.control.put(environment("shop", type=EnvironmentType.PRODUCTION))
    served.control.tell(deployment(1))
    served.control.tell(deployment(2, "shop"))
    return served


@pytest.mark.parametrize("role", MY_ROLES)
async def test_every_rpc_takes_its_role_and_no_less(filled: Served, role: Role | None) -> None:
    assert LEAST.keys() == VALID.keys()
    filled.server.go_by(only(*([mine(role)] if role else [])))
    for method, request in VALID.items():
        filled.control.put(environment("web"))
        code = await code_of(raw_call(filled, method, request.SerializeToString()))
        assert (code is not DENIED) == (role is not None and role >= LEAST[method]), (method, code)


async def test_health_is_for_everybody_and_reflection_for_readers(filled: Served) -> None:
    filled.server.go_by(only())
    check = filled.channel.unary_unary("/grpc.health.v1.Health/Check")
    assert await code_of(check(b"")) is grpc.StatusCode.OK

    def reflect() -> Any:
        call = filled.channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        )
        return call(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))

    assert await code_of(reflect()) is DENIED
    filled.server.go_by(only(mine(Role.READER, environments=("nothing",))))
    assert await code_of(reflect()) is grpc.StatusCode.OK


def test_every_rpc_that_is_served_is_declared() -> None:
    """And one that is not is refused: see the next test."""
    services = ("environment", "deployment", "daemon")
    files = (environment_pb2, deployment_pb2, daemon_pb2)
    declared = {
        f"/{service.full_name}/{method.name}"
        for file in files
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    assert len(services) == len(files)
    assert declared == {method for method in RULES if method.startswith("/headgate.")}


async def test_rpc_without_a_declared_role_is_refused_even_to_root(
    filled: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(RULES, "/headgate.v1.DaemonService/GetStatus")
    error = await outcome(raw_call(filled, "DaemonService/GetStatus", b""))
    assert error is not None
    assert (error.code(), "nobody may" in str(error.details())) == (DENIED, True)


async def test_refusal_says_who_you_are_what_it_takes_and_who_can_give_it(filled: Served) -> None:
    ops = Permit(Grant(role="deployer", groups=("ops",)), Role.DEPLOYER, frozenset(), frozenset({4242}))
    filled.server.go_by(only(mine(Role.READER), ops))
    error = await outcome(raw_call(filled, "DeploymentService/Deploy", b"\n\x03web"))
    assert error is not None
    told = f"{error.details()} {error.trailing_metadata()}"
    for part in (
        f"(uid {os.getuid()}, groups ",
        "have the role reader on environment web",
        "it takes the role deployer",
        "members of group ops have it",
        "root can grant it",
    ):
        assert part in told


# Narrowed


async def asked(served: Served, method: str, raw: bytes) -> grpc.StatusCode:
    return await code_of(raw_call(served, method, raw))


NOT_PRODUCTION = ("development", "staging", "testing")


async def test_deployers_may_be_kept_from_production_and_still_look_at_it(filled: Served) -> None:
    filled.server.go_by(only(mine(Role.READER), mine(Role.DEPLOYER, types=NOT_PRODUCTION)))
    assert await asked(filled, "DeploymentService/Deploy", b"\n\x03web") is grpc.StatusCode.OK
    for method, raw in {
        "DeploymentService/Deploy": b"\n\x04shop",
        "DeploymentService/PlanDeployment": b"\n\x04shop",
        "DeploymentService/Rollback": b"\n\x0ddeploy_shop_2",
        "DeploymentService/CancelDeployment": b"\n\x0ddeploy_shop_2",
        "DeploymentService/ConfirmDeployment": b"\n\x0ddeploy_shop_2",
        "EnvironmentService/PauseEnvironment": b"\n\x04shop",
    }.items():
        assert await asked(filled, method, raw) is DENIED
    assert await asked(filled, "EnvironmentService/GetEnvironment", b"\n\x04shop") is grpc.StatusCode.OK


async def test_narrowed_admin_cannot_reach_beyond_by_creating_or_retyping(filled: Served) -> None:
    filled.server.go_by(only(mine(Role.ADMIN, types=NOT_PRODUCTION)))

    async def create(name: str, kind: int) -> grpc.StatusCode:
        wanted = environment_pb2.Environment(name=name, type=kind, config_path="/x")  # type: ignore[arg-type]
        request = environment_pb2.CreateEnvironmentRequest(environment=wanted)
        return await asked(filled, "EnvironmentService/CreateEnvironment", request.SerializeToString())

    async def retype(name: str, kind: int) -> grpc.StatusCode:
        wanted = environment_pb2.Environment(name=name, type=kind)  # type: ignore[arg-type]
        request = environment_pb2.UpdateEnvironmentRequest(environment=wanted)
        request.update_mask.paths.append("type")
        return await asked(filled, "EnvironmentService/UpdateEnvironment", request.SerializeToString())

    production, testing = (
        environment_pb2.ENVIRONMENT_TYPE_PRODUCTION,
        environment_pb2.ENVIRONMENT_TYPE_TESTING,
    )
    assert await create("new", production) is DENIED
    assert await create("new", testing) is grpc.StatusCode.OK
    assert await retype("web", production) is DENIED
    assert await retype("shop", testing) is DENIED
    assert await retype("web", testing) is grpc.StatusCode.OK
    assert await asked(filled, "DaemonService/Reload", b"") is DENIED


async def test_who_may_not_see_an_environment_is_not_told_whether_there_is_one(filled: Served) -> None:
    filled.server.go_by(only(mine(Role.READER, types=("staging",))))
    answers = [
        await outcome(raw_call(filled, "EnvironmentService/GetEnvironment", raw))
        for raw in (b"\n\x04shop", b"\n\x04shup")
    ]
    told = {str(error.details()).replace("shup", "shop") for error in answers if error}
    assert len(told) == 1
    assert {error.code() for error in answers if error} == {DENIED}


async def test_lists_status_and_streams_show_what_one_may_see(filled: Served) -> None:
    filled.server.go_by(only(mine(Role.READER, environments=("we*",))))
    environments = await filled.environments.ListEnvironments(environment_pb2.ListEnvironmentsRequest())
    deployments = await filled.deployments.ListDeployments(deployment_pb2.ListDeploymentsRequest())
    status = await filled.daemon.GetStatus(daemon_pb2.GetStatusRequest())
    assert [e.name for e in environments.environments] == ["web"]
    assert [d.environment for d in deployments.deployments] == ["web"]
    assert ([e.name for e in status.environments], list(status.problems)) == (["web"], [])
    stream = filled.deployments.WatchDeployments(deployment_pb2.WatchDeploymentsRequest())
    names = [(await stream.read()).deployment.environment for _ in range(2)]
    filled.control.tell(deployment(3, "shop"))
    filled.control.tell(deployment(4, "web"))
    names.append((await stream.read()).deployment.deployment_id)
    assert names == ["web", "", "deploy_web_4"]
    stream.cancel()
    watch = filled.environments.WatchEnvironments(environment_pb2.WatchEnvironmentsRequest())
    seen = [(await watch.read()).environment.name for _ in range(2)]
    filled.control.put(environment("shop", type=EnvironmentType.PRODUCTION))
    filled.control.put(environment("well"))
    seen.append((await watch.read()).environment.name)
    assert seen == ["web", "", "well"]


async def test_pages_are_filled_up_with_what_one_may_see(filled: Served) -> None:
    for number in range(3, 40):
        filled.control.tell(deployment(number, "shop" if number % 4 else "web"))
    filled.server.go_by(only(mine(Role.READER, environments=("web",))))
    page = await filled.deployments.ListDeployments(deployment_pb2.ListDeploymentsRequest(page_size=5))
    assert [d.sequence for d in page.deployments] == [36, 32, 28, 24, 20]


# Changed while a stream is open


@pytest.fixture
async def stream(filled: Served) -> AsyncIterator[Any]:
    filled.server.go_by(only(mine(Role.READER)))
    stream = filled.deployments.WatchDeployments(deployment_pb2.WatchDeploymentsRequest())
    for _ in range(3):
        await stream.read()
    yield stream
    stream.cancel()


async def ending(stream: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async with asyncio.timeout(5):
            await stream.read()
    return caught.value


async def test_stream_of_somebody_who_has_lost_the_role_ends(filled: Served, stream: Any) -> None:
    filled.server.go_by(only())
    filled.control.tell(deployment(9))
    assert (await ending(stream)).code() is DENIED
    await wait_until(lambda: not filled.server._calls._streams)


async def test_stream_of_somebody_who_sees_less_now_has_to_begin_anew(filled: Served, stream: Any) -> None:
    filled.server.go_by(only(mine(Role.READER, environments=("web",))))
    filled.control.tell(deployment(9, "shop"))
    error = await ending(stream)
    assert error.code() is grpc.StatusCode.ABORTED
    assert "your roles have changed" in str(error.details())


async def test_stream_that_new_roles_do_not_concern_goes_on(filled: Served, stream: Any) -> None:
    other = Permit(Grant(role="admin", users=("x",)), Role.ADMIN, frozenset({4242}), frozenset())
    filled.server.go_by(only(mine(Role.READER), other))
    filled.control.tell(deployment(9))
    assert (await stream.read()).deployment.sequence == 9


# Other users

CHILD = """
import json, os, sys
import grpc
from headgate.v1 import deployment_pb2 as d, deployment_pb2_grpc as g
uid, gid, *groups = map(int, sys.argv[2:])
os.setgroups(groups); os.setgid(gid); os.setuid(uid)
with grpc.insecure_channel("unix:" + sys.argv[1]) as channel:
    try:
        answer = g.DeploymentServiceStub(channel).Deploy(d.DeployRequest(environment="web"), timeout=10)
        print(json.dumps(["OK", answer.deployment.deployed_by]))
    except grpc.RpcError as error:
        print(json.dumps([error.code().name, error.details()]))
"""


async def deploy_as(path: Path, *ids: int) -> list[str]:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD, path, *map(str, ids), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await child.communicate()
    answer: list[str] = json.loads(out)
    return answer


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="becomes other users")
async def test_groups_count_as_the_kernel_knows_them(filled: Served) -> None:
    """The main group, a supplementary one, and one among more than fit at first; not one that is claimed nowhere."""
    filled.socket.chmod(0o666)
    filled.server.go_by(Terms(granted(Grant(role="deployer", groups=("4242",)))))
    answers = await asyncio.gather(
        deploy_as(filled.socket, 54321, 4242),
        deploy_as(filled.socket, 54321, 100, 7, 4242),
        deploy_as(filled.socket, 54321, 100, *range(5000, 5400), 4242),
        deploy_as(filled.socket, 54321, 100, 7),
    )
    assert [answer[0] for answer in answers] == ["OK", "OK", "OK", "PERMISSION_DENIED"]
    assert "uid:54321 (uid 54321, groups 7, 100)" in answers[3][1]


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="becomes other users")
async def test_socket_that_is_not_for_others_keeps_them_out(filled: Served) -> None:
    assert (await deploy_as(filled.socket, 54321, 54321))[0] == "UNAVAILABLE"
    assert (await deploy_as(filled.private, 54321, 54321))[0] == "UNAVAILABLE"


@pytest.mark.parametrize(
    ("deployment_id", "name"),
    [
        ("deploy_web_1", "web"),
        ("rollback_a-b_17_2", "a-b"),
        ("deploy_web_1/../x", ""),
        ("web", ""),
        ("deploy_web_x_1", ""),
    ],
)
def test_id_of_a_deployment_names_its_environment(deployment_id: str, name: str) -> None:
    assert environment_of(deployment_id) == name
