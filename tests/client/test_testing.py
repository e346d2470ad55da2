"""The fake daemon's knobs. That it does as the real one does is tested in tests/contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.client.conftest import until

from headgate import Client
from headgate.errors import ForbiddenError, HeadgateError, LimitError, RefusedError, TimedOutError
from headgate.testing import FakeDaemon
from headgate.v1 import deployment_pb2 as dp


@pytest.fixture
def fake() -> Iterator[FakeDaemon]:
    with FakeDaemon(user="alice") as daemon:
        daemon.write("/src/web", "app.conf", "port = ${PORT}")
        with daemon.client() as client:
            client.create_environment(
                "web",
                type="production",
                config_path="/etc/web",
                sources=["/src/web"],
                variables={"PORT": "8080"},
            )
        yield daemon


@pytest.fixture
def talk(fake: FakeDaemon) -> Iterator[Client]:
    with fake.client() as client:
        yield client


def test_example_of_the_documentation(fake: FakeDaemon, talk: Client) -> None:
    done = talk.wait_for_deployment(talk.deploy("web").deployment_id)
    assert (done.status, done.deployed_by) == (dp.DEPLOYMENT_STATUS_SUCCESS, "alice")
    assert fake.files("/etc/web") == {"app.conf": b"port = 8080"}
    assert isinstance(fake.requests[-1], dp.GetDeploymentRequest)


def test_next_call_of_a_method_fails_as_told(fake: FakeDaemon, talk: Client) -> None:
    fake.fail_next(
        "Deploy", ForbiddenError("cannot deploy: you are carol", hint="ask alice", paths=["/a", "/b"])
    )
    with pytest.raises(ForbiddenError) as caught:
        talk.deploy("web")
    assert (caught.value.hint, caught.value.paths) == ("ask alice", ("/a", "/b"))
    talk.deploy("web")


def test_deployments_fail_as_told(fake: FakeDaemon, talk: Client) -> None:
    fake.fail_deployments(HeadgateError("cannot deploy: the disk is full", reason="NO_SPACE"))
    failed = talk.wait_for_deployment(talk.deploy("web").deployment_id)
    assert (failed.status, failed.error.reason) == (dp.DEPLOYMENT_STATUS_FAILED, "NO_SPACE")
    assert fake.files("/etc/web") == {}
    assert talk.wait_for_deployment(talk.deploy("web").deployment_id).status == dp.DEPLOYMENT_STATUS_SUCCESS


def test_busy_daemon_lets_deployments_wait_and_be_cancelled(fake: FakeDaemon, talk: Client) -> None:
    with fake.busy():
        waiting, second = talk.deploy("web").deployment_id, talk.deploy("web").deployment_id
        with pytest.raises(TimedOutError, match="still runs"):
            talk.wait_for_deployment(waiting, 0.1)
        with pytest.raises(RefusedError, match="never had its state"):
            talk.rollback(waiting)
        assert talk.cancel_deployment(waiting).error.reason == "CANCELLED"
    assert talk.wait_for_deployment(second).status == dp.DEPLOYMENT_STATUS_SUCCESS
    assert talk.get_deployment(waiting).status == dp.DEPLOYMENT_STATUS_FAILED


def test_auto_sync_that_failed_is_not_tried_for_the_same_again(fake: FakeDaemon, talk: Client) -> None:
    fake.fail_deployments(HeadgateError("cannot deploy: the disk is full", reason="NO_SPACE"))
    talk.update_environment("web", auto_sync=True)
    until(lambda: len(list(talk.list_deployments("web"))) == 1)
    fake.sync()
    fake.write("/src/web", "new.conf", b"new")
    until(lambda: "new.conf" in fake.files("/etc/web"))
    assert len(list(talk.list_deployments("web"))) == 2


def test_too_many_watches_are_refused_and_those_that_end_make_room(fake: FakeDaemon, talk: Client) -> None:
    watches = [talk.watch_environments() for _ in range(24)]
    for each in watches:
        next(each)
    with pytest.raises(LimitError):
        next(talk.watch_environments())
    for each in watches:
        each.close()
    until(lambda: fake.feed.watchers == 0)
    next(talk.watch_environments())


def test_socket_may_be_chosen(short_path: Path) -> None:
    with FakeDaemon(short_path / "mine.sock") as daemon:
        assert daemon.address == f"unix:{short_path}/mine.sock"
        with daemon.client() as client:
            assert client.health()
