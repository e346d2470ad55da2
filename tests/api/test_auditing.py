"""Every call that changes something is written down before it begins, with who asked; refused ones too; values never."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.api.conftest import Served, audit_in, wait_until
from tests.api.memory import deployment, environment
from tests.api.test_guard import CHANGES, VALID, outcome, raw_call
from tests.api.test_roles import mine, only

from headgate.v1 import daemon_pb2, deployment_pb2, environment_pb2
from headgated.api.auditing import Auditor
from headgated.core.errors import RefusedError
from headgated.core.orders import Caller
from headgated.core.roles import Role
from headgated.effects.audit_log import AuditLog


def entries(served: Served) -> list[dict[str, Any]]:
    return served.audit.newest(1000)[::-1]


@pytest.fixture
def filled(served: Served) -> Served:
    served.control.put(environment())
    served.control.tell(deployment())
    return served


@pytest.mark.parametrize("method", VALID)
async def test_every_change_is_two_lines_and_a_read_none(filled: Served, method: str) -> None:
    call = raw_call(filled, method, VALID[method].SerializeToString())
    if "Watch" in method:
        await call.read()
        call.cancel()
    else:
        await outcome(call)
    found = entries(filled)
    if method not in CHANGES:
        assert found == []
        return
    asked, answered = found
    assert (asked["phase"], asked["method"]) == ("asked", method.partition("/")[2])
    assert (asked["uid"], asked["pid"], asked["from"]) == (os.getuid(), os.getpid(), "socket")
    assert (answered["phase"], answered["call"]) == ("answered", asked["sequence"])
    if not method.startswith("DaemonService"):
        assert asked["environment"] == "web"


async def test_entry_says_why_for_whom_and_what_came_of_it(filled: Served) -> None:
    request = deployment_pb2.DeployRequest(
        environment="web", reason="new\nport", on_behalf_of="bob", request_id="r1"
    )
    answer = await filled.deployments.Deploy(request)
    asked, answered = entries(filled)
    said = {key: asked[key] for key in ("reason", "on_behalf_of", "request_id")}
    assert said == {"reason": "new\nport", "on_behalf_of": "bob", "request_id": "r1"}
    assert answered["outcome"] == {"code": "OK", "deployment_id": answer.deployment.deployment_id}
    page = await filled.daemon.ListAudit(daemon_pb2.ListAuditRequest(page_size=1))
    assert (page.entries[0].code, page.entries[0].call) == ("OK", asked["sequence"])
    page = await filled.daemon.ListAudit(daemon_pb2.ListAuditRequest(page_token=page.next_page_token))
    assert [(e.phase, e.on_behalf_of, e.uid) for e in page.entries] == [("asked", "bob", os.getuid())]
    verdict = await filled.daemon.VerifyAudit(daemon_pb2.VerifyAuditRequest())
    assert (list(verdict.damages), verdict.lines, verdict.head_sequence) == ([], 2, 2)
    assert verdict.head_digest == filled.audit.head.digest


def strace_works() -> bool:
    return (
        shutil.which("strace") is not None
        and not subprocess.run(
            ["strace", "-f", "-qq", "-o", os.devnull, "true"], check=False, capture_output=True
        ).returncode
    )


@pytest.mark.skipif(not strace_works(), reason="strace is not installed, or may not trace here")
def test_change_is_on_disk_before_it_begins(tmp_path: Path) -> None:
    program = f"""
import asyncio, os
from pathlib import Path
from headgated.api.auditing import Auditor
from headgated.core.orders import Caller
from headgated.effects.audit_log import AuditLog

async def work():
    os.access("/work/begins", os.F_OK)

os.access("/asked", os.F_OK)
asyncio.run(Auditor(AuditLog(Path({str(tmp_path)!r}))).carry_out(Caller("ann"), "Deploy", None, work()))
"""
    report = tmp_path / "trace"
    calls = "trace=access,write,fsync,fdatasync"
    command = ["strace", "-f", "-qq", "-y", "-e", calls, "-o", str(report), sys.executable, "-c", program]
    subprocess.run(command, check=True)
    asked, begun = report.read_text().split('"/asked"')[1].split('"/work/begins"')
    log = re.escape(str(tmp_path / "audit.jsonl"))
    assert re.search(rf"write\(\d+<{log}>.*\n(?:.*\n)*?.*f(?:data)?sync\(\d+<{log}>", asked), asked
    assert re.search(rf"write\(\d+<{log}>", begun), "what came of it is written after it was done"


async def test_change_is_written_before_it_begins(filled: Served) -> None:
    filled.control.open.clear()
    call = raw_call(filled, "DeploymentService/Deploy", b"\n\x03web")
    await wait_until(lambda: any(asked[0] == "deploy" for asked in filled.control.asked))
    assert [entry["phase"] for entry in entries(filled)] == ["asked"]
    call.cancel()  # Whoever asked goes away: what comes of it is written all the same.
    filled.control.open.set()
    await wait_until(lambda: [entry["phase"] for entry in entries(filled)] == ["asked", "answered"])


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (
            RefusedError("cannot do that", reason="NOT_NOW"),
            {"code": "FAILED_PRECONDITION", "reason": "NOT_NOW", "message": "cannot do that"},
        ),
        (ValueError("canary-4711"), {"code": "INTERNAL"}),
    ],
)
async def test_failure_is_an_outcome(filled: Served, failure: Exception, expected: dict[str, str]) -> None:
    filled.control.failure = failure
    await outcome(raw_call(filled, "DeploymentService/Deploy", b"\n\x03web"))
    assert entries(filled)[-1]["outcome"] == expected


async def test_request_that_cannot_be_right_is_written_too(filled: Served) -> None:
    await outcome(raw_call(filled, "DeploymentService/Deploy", b"\n\x04../x"))
    assert entries(filled)[-1]["outcome"]["code"] == "INVALID_ARGUMENT"


@pytest.mark.parametrize("method", sorted(CHANGES))
async def test_nothing_is_changed_while_the_log_cannot_be_written(filled: Served, method: str) -> None:
    """An order begins beside its line, and finds out by itself that there is none."""
    filled.audit.close()
    error = await outcome(raw_call(filled, method, VALID[method].SerializeToString()))
    assert error is not None
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert filled.control.asked == []
    assert [problem.reason for problem in filled.control.problems] == ["AUDIT_NOT_WRITABLE"]
    assert await outcome(raw_call(filled, "EnvironmentService/GetEnvironment", b"\n\x03web")) is None


async def test_refused_calls_are_written_and_a_flood_of_them_is_counted(filled: Served) -> None:
    filled.server.go_by(only(mine(Role.READER)))
    for _ in range(60):
        await outcome(raw_call(filled, "DeploymentService/Deploy", b"\n\x03web"))
    await wait_until(lambda: len(entries(filled)) >= 20)
    filled.server.auditor._patience[entries(filled)[0]["user"]]._left = 1.0
    await outcome(raw_call(filled, "DeploymentService/Rollback", b"\n\x0cdeploy_web_1"))
    await wait_until(lambda: entries(filled)[-1]["method"] == "Rollback")
    refused = entries(filled)
    assert len(refused) < 25
    assert {entry["phase"] for entry in refused} == {"refused"}
    assert refused[0]["outcome"]["code"] == "PERMISSION_DENIED"
    assert refused[-1]["omitted"] + len(refused) == 61
    assert not any(asked[0] == "deploy" for asked in filled.control.asked)


async def test_count_of_refused_calls_is_whole_when_the_server_has_stopped(filled: Served) -> None:
    filled.server.go_by(only(mine(Role.READER)))
    for _ in range(50):
        await outcome(raw_call(filled, "DeploymentService/Deploy", b"\n\x03web"))
    await filled.server.stop(1.0)
    found = entries(filled)
    assert len(found) + found[-1]["omitted"] - ("method" not in found[-1]) == 50


def refuse(auditor: Auditor, user: str, times: int = 1) -> None:
    for _ in range(times):
        auditor.refused(Caller(user, uid=1), "Deploy", None, RefusedError("no", reason="FORBIDDEN"))


def told_of(log: AuditLog, user: str) -> tuple[int, list[int]]:
    """Return how many refusals of a user the log tells of in all, and how many each line says were left out."""
    lines = [entry for entry in log.newest(10_000)[::-1] if entry["user"] == user]
    omitted = [entry.get("omitted", 0) for entry in lines]
    return sum(omitted) + sum("method" in entry for entry in lines), omitted


async def test_flood_of_refusals_that_ends_is_owned_up_to_soon(short_dir: Path) -> None:
    log = audit_in(short_dir)
    auditor = Auditor(log, pace=5)
    refuse(auditor, "eve", 500)
    await wait_until(lambda: told_of(log, "eve")[0] == 500)
    assert told_of(log, "eve")[1] == [0] * 20 + [480]
    (last,) = log.newest(1)
    assert (last["phase"], last["from"], "method" in last) == ("refused", "socket", False)
    await auditor.finish()
    assert told_of(log, "eve")[0] == 500, "it is told once"
    log.close()


async def test_flood_of_refusals_that_goes_on_is_owned_up_to_at_its_pace(short_dir: Path) -> None:
    log = audit_in(short_dir)
    auditor, loop, asked = Auditor(log, pace=20), asyncio.get_running_loop(), 0
    began = loop.time()
    while loop.time() < began + 1:
        refuse(auditor, "eve")
        asked += 1
        await asyncio.sleep(0)
    await auditor.finish()
    lines = len(told_of(log, "eve")[1])
    assert lines <= 20 + 20 * (loop.time() - began) + 1
    assert told_of(log, "eve")[0] == asked
    log.close()


async def test_what_was_left_out_is_written_when_the_daemon_stops(short_dir: Path) -> None:
    log = audit_in(short_dir)
    auditor = Auditor(log)
    refuse(auditor, "eve", 30)
    refuse(auditor, "mallory", 21)
    refuse(auditor, "ann", 1)
    await auditor.finish()
    assert [told_of(log, user)[0] for user in ("eve", "mallory", "ann")] == [30, 21, 1]
    assert log.verify() == (20 + 1 + 20 + 1 + 1, [])
    log.close()


async def test_nothing_is_lost_where_too_many_users_are_refused(short_dir: Path) -> None:
    log = audit_in(short_dir)
    auditor = Auditor(log, pace=0.0001)
    refuse(auditor, "eve", 30)
    for number in range(1000):
        refuse(auditor, f"user-{number}")
        await wait_until(lambda: len(auditor._pending) < 100)
    await wait_until(lambda: told_of(log, "eve")[0] == 30)
    assert len(auditor._patience) == 1000
    await auditor.finish()
    log.close()


async def test_no_value_gets_into_the_log(filled: Served, short_dir: Path) -> None:
    wanted = environment_pb2.Environment(
        name="web",
        type=environment_pb2.ENVIRONMENT_TYPE_STAGING,
        config_path="/x",
        variables={"DB_PASSWORD": "canary-4711"},
        secrets={"KEY": "canary-4711"},
    )
    request = environment_pb2.UpdateEnvironmentRequest(environment=wanted)
    request.update_mask.paths.extend(["variables", "secrets"])
    await outcome(raw_call(filled, "EnvironmentService/UpdateEnvironment", request.SerializeToString()))
    create = environment_pb2.CreateEnvironmentRequest(environment=wanted)
    await outcome(raw_call(filled, "EnvironmentService/CreateEnvironment", create.SerializeToString()))
    assert entries(filled)[0]["changes"] == "variables,secrets"
    for path in (short_dir / "state").iterdir():
        assert b"canary" not in path.read_bytes()


async def test_lines_stay_short_whatever_is_asked(filled: Served) -> None:
    long = "\x01\U0001f6b0" * 300_000
    request = deployment_pb2.DeployRequest(
        environment="web", reason=long, on_behalf_of=long, request_id=long, config_files=[long]
    )
    await asyncio.gather(
        *(
            outcome(raw_call(filled, "DeploymentService/Deploy", request.SerializeToString()))
            for _ in range(3)
        )
    )
    assert all(len(json.dumps(entry)) < 64 * 1024 for entry in entries(filled))
    assert filled.audit.verify() == (6, [])
