"""The client's methods, against the generated servicers on a real socket."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.client.conftest import until
from tests.client.fake_daemon import FakeDaemon, Refusal

import headgate
from headgate.client import Client
from headgate.errors import (
    ConflictError,
    DamagedError,
    Fault,
    ForbiddenError,
    HeadgateError,
    InternalError,
    InvalidRequestError,
    LimitError,
    NotFoundError,
    RefusedError,
    TimedOutError,
    UnavailableError,
    UnreachableError,
)
from headgate.v1 import deployment_pb2 as dp, environment_pb2 as ep


def create(client: Client, name: str = "canal", **more: Any) -> ep.Environment:
    wanted = {"type": "staging", "config_path": f"/srv/{name}", "sources": ["/src"], **more}
    return client.create_environment(name, **wanted)


def test_environment_goes_there_and_back(client: Client, daemon: FakeDaemon) -> None:
    made = create(client, variables={"PORT": "80"}, policies={"prune": False, "settle_quiet": 0.25})
    assert (made.name, made.type, made.auto_sync) == ("canal", ep.ENVIRONMENT_TYPE_STAGING, True)
    assert made.policies.prune is False
    assert made.policies.settle_quiet.ToMilliseconds() == 250
    assert client.get_environment("canal") == made
    assert [each.name for each in client.list_environments()] == ["canal"]


def test_environments_are_listed_over_all_pages(client: Client, daemon: FakeDaemon) -> None:
    for name in "abcde":
        create(client, name)
    assert [each.name for each in client.list_environments(page_size=2)] == list("abcde")
    assert len([each for each in daemon.requests if isinstance(each, ep.ListEnvironmentsRequest)]) == 3


def test_update_changes_exactly_what_is_given(client: Client, daemon: FakeDaemon) -> None:
    create(client, variables={"A": "1"}, policies={"prune": False, "owner": "source"})
    changed = client.update_environment("canal", variables={"B": "2"}, policies={"owner": None})
    assert list(daemon.requests[-1].update_mask.paths) == ["variables", "policies.owner"]
    assert dict(changed.variables) == {"B": "2"}
    assert changed.policies.prune is False
    assert changed.policies.owner == ""
    assert changed.generation == 2


def test_update_of_a_changed_environment_is_a_conflict(client: Client) -> None:
    create(client)
    with pytest.raises(ConflictError) as caught:
        client.update_environment("canal", auto_sync=False, expected_generation=7)
    assert caught.value.reason == "GENERATION"


def test_validate_only_changes_nothing(client: Client, daemon: FakeDaemon) -> None:
    create(client, validate_only=True)
    assert not daemon.environments


def test_delete_pause_and_resume(client: Client, daemon: FakeDaemon) -> None:
    create(client)
    until_time = datetime(2030, 1, 1, tzinfo=UTC)
    paused = client.pause_environment("canal", "holiday", until_time)
    assert paused.sync.pause.until.ToDatetime(UTC) == until_time
    assert not client.resume_environment("canal").sync.HasField("pause")
    assert client.delete_environment("canal", remove_target_files=True) == "deploy_canal_9"
    assert not daemon.environments


def test_every_change_carries_a_request_id_of_its_own(client: Client, daemon: FakeDaemon) -> None:
    create(client)
    deployment = client.deploy("canal").deployment_id
    client.update_environment("canal", auto_sync=False)
    client.pause_environment("canal", "x")
    client.resume_environment("canal")
    client.rollback(deployment)
    client.restore(deployment)
    client.cancel_deployment(deployment)
    client.reload()
    client.delete_environment("canal")
    ids = [each.request_id for each in daemon.requests]
    assert len(set(ids)) == len(ids) == 10
    assert all(ids)


def test_request_id_given_is_sent(client: Client, daemon: FakeDaemon) -> None:
    create(client)
    first, again = (client.deploy("canal", request_id="mine") for _ in range(2))
    assert first == again
    assert len(daemon.deployments) == 1


def test_deploy_sends_everything_it_was_given(client: Client, daemon: FakeDaemon) -> None:
    client.deploy(
        "canal",
        ["a.conf"],
        reason="why",
        on_behalf_of="bob",
        allow_empty=True,
        allow_mass_removal=True,
        expected_sequence=0,
    )
    sent = daemon.requests[-1]
    assert list(sent.config_files) == ["a.conf"]
    assert (sent.reason, sent.on_behalf_of) == ("why", "bob")
    assert (sent.allow_empty, sent.allow_mass_removal) == (True, True)
    assert sent.HasField("expected_sequence")
    assert sent.expected_sequence == 0
    client.deploy("canal")
    assert not daemon.requests[-1].HasField("expected_sequence")


def test_files_that_are_one_text_are_refused(client: Client, daemon: FakeDaemon) -> None:
    with pytest.raises(InvalidRequestError, match="must be a list"):
        client.deploy("canal", "a.conf")
    assert not daemon.requests


def test_closed_client_ends_its_watches(daemon: FakeDaemon, connect: Any) -> None:
    watching = connect(str(daemon.socket))
    ended = threading.Thread(target=lambda: list(watching.watch_deployments()))
    ended.start()
    until(lambda: daemon.watchers > 0)
    watching.close()
    ended.join(10)
    assert not ended.is_alive()


def test_rollback_and_restore_send_everything(client: Client, daemon: FakeDaemon) -> None:
    deployment = client.deploy("canal").deployment_id
    client.rollback(deployment, include_later=True, reason="bad", expected_sequence=4)
    sent = daemon.requests[-1]
    assert (sent.include_later, sent.reason, sent.expected_sequence) == (True, "bad", 4)
    client.restore(deployment, on_behalf_of="bob")
    assert daemon.requests[-1].on_behalf_of == "bob"


def test_adopt_sends_everything(client: Client, daemon: FakeDaemon) -> None:
    client.adopt("canal", ["a", "d"], reason="mine", expected_sequence=4)
    sent = daemon.requests[-1]
    assert (sent.environment, list(sent.paths), sent.reason) == ("canal", ["a", "d"], "mine")
    assert (sent.expected_sequence, bool(sent.request_id)) == (4, True)
    with pytest.raises(InvalidRequestError, match="must be a list"):
        client.adopt("canal", "a")


def test_plan_can_leave_the_diffs_out(client: Client, daemon: FakeDaemon) -> None:
    client.plan("canal", ["x"], diff=False)
    assert daemon.requests[-1].no_diff
    client.plan("canal")
    assert not daemon.requests[-1].no_diff


def test_deployments_are_listed_newest_first_over_pages_by_status(client: Client, daemon: FakeDaemon) -> None:
    asked = [client.deploy("canal").deployment_id for _ in range(5)]
    daemon.deployments[asked[0]].status = dp.DEPLOYMENT_STATUS_FAILED
    found = [each.deployment_id for each in client.list_deployments("canal", page_size=2)]
    assert found == asked[::-1]
    assert [each.deployment_id for each in client.list_deployments(statuses=["failed"])] == asked[:1]


def test_unknown_status_is_a_fault_that_names_the_known_ones(client: Client) -> None:
    with pytest.raises(InvalidRequestError, match="success"):
        list(client.list_deployments(statuses=["lost"]))


def test_status_reload_and_health(client: Client, daemon: FakeDaemon) -> None:
    daemon.status.version = "1.2.3"
    daemon.changed = ["roles: 1 added"]
    assert client.status().version == "1.2.3"
    assert client.reload() == ["roles: 1 added"]
    assert client.health() is True


def test_watch_environments_tells_the_present_ones(client: Client, daemon: FakeDaemon) -> None:
    create(client)
    kinds = []
    for event in client.watch_environments():
        kinds.append(event.kind)
        if event.kind == ep.WATCH_EVENT_KIND_SNAPSHOT_END:
            break
    assert kinds == [ep.WATCH_EVENT_KIND_SNAPSHOT, ep.WATCH_EVENT_KIND_SNAPSHOT_END]


def test_all_faults_of_a_request_come_with_their_fields(client: Client) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        client.create_environment("CANAL", type="staging", config_path="srv")
    assert caught.value.faults == (
        Fault("environment.name", "must be lower-case"),
        Fault("environment.config_path", "must be an absolute path"),
    )


def test_settings_that_cannot_be_are_told_with_what_the_daemon_finds_and_change_nothing(
    client: Client, daemon: FakeDaemon
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        client.create_environment("canal", type="stagging", sources="/src", policies={"drift": "no"})
    assert [fault.field for fault in caught.value.faults] == [
        "type",
        "sources",
        "policies.drift",
        "config_path",
    ]
    assert [request.validate_only for request in daemon.requests] == [True]
    create(client)
    with pytest.raises(InvalidRequestError) as caught:
        client.update_environment("canal", type="stagging", auto_sync=False, expected_generation=7)
    assert [fault.field for fault in caught.value.faults] == ["type"]
    assert daemon.environments["canal"].generation == 1


def test_settings_that_cannot_be_are_told_where_there_is_no_daemon(
    client: Client, daemon: FakeDaemon
) -> None:
    daemon.stop()
    with pytest.raises(InvalidRequestError, match="must be one of"):
        client.create_environment("canal", type="stagging", config_path="/t")


WRONG_NUMBERS = {
    "deploy": (
        lambda c: c.deploy("canal", "a.conf", expected_sequence=-1, confirm_within=float("inf")),
        ["config_files", "confirm_within", "expected_sequence"],
    ),
    "not a number": (lambda c: c.deploy("canal", confirm_within=float("nan")), ["confirm_within"]),
    "rollback": (lambda c: c.rollback("d", expected_sequence=2**64), ["expected_sequence"]),
    "restore": (lambda c: c.restore("d", expected_sequence=-1), ["expected_sequence"]),
    "adopt": (lambda c: c.adopt("canal", "a", expected_sequence=-1), ["paths", "expected_sequence"]),
    "update": (lambda c: c.update_environment("canal", expected_generation=-1), ["expected_generation"]),
    "environments": (lambda c: list(c.list_environments(page_size=-1)), ["page_size"]),
    "deployments": (
        lambda c: list(c.list_deployments(statuses=["x"], page_size=2**32)),
        ["statuses", "page_size"],
    ),
    "audit": (lambda c: list(c.list_audit(page_size=-1)), ["page_size"]),
}


@pytest.mark.parametrize("what", WRONG_NUMBERS)
def test_what_the_protocol_cannot_carry_is_told_all_at_once(
    client: Client, daemon: FakeDaemon, what: str
) -> None:
    create(client)
    call, fields = WRONG_NUMBERS[what]
    with pytest.raises(InvalidRequestError) as caught:
        call(client)
    assert sorted(fault.field for fault in caught.value.faults) == sorted(fields)


FROM_TRANSPORT = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
CODES = [
    (grpc.StatusCode.NOT_FOUND, NotFoundError),
    (grpc.StatusCode.ALREADY_EXISTS, RefusedError),
    (grpc.StatusCode.FAILED_PRECONDITION, RefusedError),
    (grpc.StatusCode.ABORTED, ConflictError),
    (grpc.StatusCode.PERMISSION_DENIED, ForbiddenError),
    (grpc.StatusCode.UNAUTHENTICATED, ForbiddenError),
    (grpc.StatusCode.RESOURCE_EXHAUSTED, LimitError),
    (grpc.StatusCode.UNAVAILABLE, UnavailableError),
    (grpc.StatusCode.DEADLINE_EXCEEDED, TimedOutError),
    (grpc.StatusCode.INTERNAL, InternalError),
    (grpc.StatusCode.UNKNOWN, InternalError),
    (grpc.StatusCode.DATA_LOSS, DamagedError),
    (grpc.StatusCode.INVALID_ARGUMENT, InvalidRequestError),
]


@pytest.mark.parametrize(("code", "kind"), CODES)
def test_error_has_the_class_of_its_code_and_the_facts_of_its_details(
    client: Client, daemon: FakeDaemon, code: Any, kind: Any
) -> None:
    daemon.failures["GetStatus"].append(
        Refusal(code, "cannot do it: because", "SOME_REASON", "do that", ["/a", r"/b\x0a"])
    )
    with pytest.raises(HeadgateError) as caught:
        client.status()
    error = caught.value
    assert type(error) is kind
    assert (error.message, error.reason, error.hint) == ("cannot do it: because", "SOME_REASON", "do that")
    if kind is not InvalidRequestError:
        assert error.paths == ("/a", r"/b\x0a")


@pytest.mark.parametrize(("code", "kind"), [each for each in CODES if each[0] not in FROM_TRANSPORT])
def test_error_without_details_says_what_could_not_be_done(
    client: Client, daemon: FakeDaemon, code: Any, kind: Any
) -> None:
    daemon.failures["GetStatus"].append(Refusal(code, "boom", details=False))
    with pytest.raises(kind, match="cannot read the status: boom"):
        client.status()


def test_error_with_many_long_paths_arrives_whole(client: Client, daemon: FakeDaemon) -> None:
    paths = [f"/srv/{'x' * 100}/{number}" for number in range(300)]
    daemon.failures["GetStatus"].append(
        Refusal(grpc.StatusCode.FAILED_PRECONDITION, "cannot: no", "R", paths=paths)
    )
    with pytest.raises(RefusedError) as caught:
        client.status()
    assert len(caught.value.paths) == 300


def test_method_that_the_daemon_lacks_says_to_restart_it(client: Client, daemon: FakeDaemon) -> None:
    daemon.failures["GetStatus"].append(
        Refusal(grpc.StatusCode.UNIMPLEMENTED, "Method not found!", details=False)
    )
    with pytest.raises(InternalError, match="older than this client"):
        client.status()


def test_call_that_hangs_ends_at_the_timeout(daemon: FakeDaemon, connect: Any) -> None:
    """A4."""
    daemon.hanging.add("GetStatus")
    with (
        connect(str(daemon.socket), timeout=0.2) as client,
        pytest.raises(TimedOutError, match="no answer in time"),
    ):
        client.status()


def test_no_daemon_is_said_at_once(socket_path: Path, connect: Any) -> None:
    with connect(str(socket_path), timeout=30) as client, pytest.raises(UnreachableError) as caught:
        client.status()
    assert "there is no such socket" in caught.value.message
    assert str(socket_path) in caught.value.message
    assert "systemctl start headgated" in caught.value.hint
    assert caught.value.address == str(socket_path)


def test_change_that_a_restart_interrupts_is_made_once(client: Client, daemon: FakeDaemon) -> None:
    daemon.failures["Deploy"].append(Refusal(grpc.StatusCode.UNAVAILABLE, "the daemon stops", "STOPPING"))
    daemon.failures["Deploy"].append(Refusal(grpc.StatusCode.UNAVAILABLE, "Socket closed", details=False))
    client.deploy("canal")
    assert len(daemon.requests) == 3
    assert len({each.request_id for each in daemon.requests}) == 1
    assert len(daemon.deployments) == 1


def test_daemon_that_says_it_cannot_is_not_asked_again(client: Client, daemon: FakeDaemon) -> None:
    daemon.failures["Deploy"].append(
        Refusal(
            grpc.StatusCode.UNAVAILABLE,
            "cannot deploy: the state directory is read-only",
            "STATE_NOT_WRITABLE",
        )
    )
    with pytest.raises(UnavailableError):
        client.deploy("canal")
    assert len(daemon.requests) == 1


def test_client_that_knows_the_daemon_waits_for_its_restart(client: Client, daemon: FakeDaemon) -> None:
    client.status()
    daemon.stop()
    timer = threading.Timer(0.3, daemon.start)
    timer.start()
    daemon.status.version = "2"
    assert client.status().version == "2"
    timer.join()


def test_daemon_that_is_slow_to_greet_is_not_given_up(socket_path: Path, connect: Any) -> None:
    """Its socket is there, but a busy machine lets it answer late."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(socket_path))
        listening.listen()
        fake = FakeDaemon(socket_path.with_name("real.sock"))
        fake.start()

        def greet_late() -> None:
            time.sleep(0.3)
            outside, _ = listening.accept()
            inside = socket.socket(socket.AF_UNIX)
            inside.connect(str(fake.socket))
            threads = [
                threading.Thread(target=pour, args=pair) for pair in ((outside, inside), (inside, outside))
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            outside.close()
            inside.close()

        relay = threading.Thread(target=greet_late)
        relay.start()
        with connect(str(socket_path)) as client:
            assert client.health()
        relay.join(10)
        fake.stop()


def pour(source: socket.socket, target: socket.socket) -> None:
    """Hand on what comes, until either end goes; then end both."""
    with contextlib.suppress(OSError):
        while part := source.recv(65536):
            target.sendall(part)
    for each in (source, target):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


def test_daemon_that_does_not_come_back_is_unreachable_within_the_timeout(
    daemon: FakeDaemon, connect: Any
) -> None:
    with connect(str(daemon.socket), timeout=0.4) as client:
        client.status()
        daemon.stop()
        with pytest.raises(UnreachableError):
            client.status()


def test_socket_with_an_odd_name_is_reached(short_path: Path, connect: Any) -> None:
    fake = FakeDaemon(short_path / "plain.sock")
    fake.start()
    odd = short_path / "a b%20#ä.sock"
    odd.symlink_to(fake.socket)
    try:
        with connect(str(odd)) as client:
            assert client.health()
    finally:
        fake.stop()


def test_importing_headgate_imports_nothing_big() -> None:
    code = "import headgate, headgate.v1, sys; print([m for m in sys.modules if m.split('.')[0] in ('grpc', 'google', 'yaml', 'click')])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_client_is_exported_and_switches_fork_support_off_before_grpc() -> None:
    code = "import os; os.environ.pop('GRPC_ENABLE_FORK_SUPPORT', 0); from headgate import Client; print(Client.__name__, os.environ['GRPC_ENABLE_FORK_SUPPORT'])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["Client", "0"]


def test_unknown_export_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Clint"):
        headgate.Clint  # noqa: B018 -- what is tested


def test_client_serves_threads_side_by_side(client: Client, daemon: FakeDaemon) -> None:
    threads = [threading.Thread(target=client.deploy, args=("canal",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until(lambda: len(daemon.deployments) == 8)


def test_closed_client_says_that_it_is_closed(daemon: FakeDaemon, connect: Any) -> None:
    client = connect(str(daemon.socket))
    assert client.health()
    client.close()
    for call in (client.status, lambda: next(client.watch_deployments())):
        with pytest.raises(UnreachableError, match="this client is closed") as caught:
            call()
        assert caught.value.reason == "CLIENT_CLOSED"


def test_client_that_is_closed_during_a_call_says_so(daemon: FakeDaemon, connect: Any) -> None:
    daemon.hanging.add("GetStatus")
    client = connect(str(daemon.socket))
    timer = threading.Timer(0.2, client.close)
    timer.start()
    with pytest.raises(UnreachableError, match="this client is closed"):
        client.status()
    timer.join()
