"""What waits for a service for minutes holds up nobody else: not other environments, not a stop."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest
from tests.e2e.harness import FAILED, SUCCESS, Daemon, eventually, running, same, tree_of

from headgate import Client
from headgate.errors import RefusedError
from headgate.v1 import deployment_pb2 as dp, environment_pb2

COMMANDS = """
[commands.hangs]
argv = ["sh", "-c", "echo x >> {target}.tries; exec sleep 300"]
timeout = "10m"
"""
WAITING = 70
"""More than there are threads for work."""


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with running(COMMANDS) as daemon:
        yield daemon


def create(
    daemon: Daemon,
    client: Client,
    name: str,
    *,
    hangs: bool,
    auto_sync: bool = True,
    strategy: str = "in-place",
) -> None:
    source = daemon.home / f"source-{name}"
    source.mkdir()
    (source / "a").write_text("one\n")
    client.create_environment(
        name,
        type="development",
        config_path=str(daemon.home / name),
        sources=[str(source)],
        auto_sync=auto_sync,
        policies={"strategy": strategy, "reloads": ("hangs",) if hangs else ()},
    )


def test_many_that_wait_leave_room_for_others_and_for_a_stop(daemon: Daemon) -> None:
    with daemon.client() as client:
        names = [f"waits-{number}" for number in range(WAITING)]
        for name in names:
            create(daemon, client, name, hangs=True)
        eventually(lambda: all((daemon.home / f"{name}.tries").exists() for name in names), within=60)
        create(daemon, client, "web", hangs=False)
        # Far less than what the others wait for.
        eventually((daemon.home / "web" / "a").exists)
        assert client.wait_for_deployment(client.deploy("web").deployment_id, 30).status == SUCCESS
    assert daemon.stop() == 0  # In less time than systemd gives it: `stop` waits for no more.


@pytest.mark.parametrize("strategy", ["in-place", "atomic"])
def test_what_is_still_being_checked_is_cancelled_and_nothing_has_changed(
    daemon: Daemon, strategy: str
) -> None:
    source, target, tries = (daemon.home / name for name in ("source-web", "web", "web.tries"))
    with daemon.client() as client:
        create(daemon, client, "web", hangs=False, auto_sync=False, strategy=strategy)
        client.wait_for_deployment(client.deploy("web").deployment_id, 20)
        before, beside = tree_of(target), os.listdir(daemon.home)
        (source / "a").write_text("two\n")
        (source / "new").mkdir()
        (source / "new" / "b").write_text("b\n")
        client.update_environment("web", policies={"checks": ("hangs",)})
        asked = client.deploy("web").deployment_id
        eventually(tries.exists)
        client.cancel_deployment(asked)
        done = client.wait_for_deployment(asked, 20)
        assert (done.status, done.error.reason) == (FAILED, "CANCELLED")
        assert not done.HasField("applied_at")
        assert tree_of(target) == before
        assert sorted(os.listdir(daemon.home)) == sorted([*beside, tries.name])
        client.update_environment("web", policies={"checks": ()})
        assert client.wait_for_deployment(client.deploy("web").deployment_id, 20).status == SUCCESS
        assert same(source, target)


def test_what_waits_for_its_turn_is_cancelled_at_once(daemon: Daemon) -> None:
    with daemon.client() as client:
        create(daemon, client, "web", hangs=True, auto_sync=False)
        runs = client.deploy("web").deployment_id
        eventually((daemon.home / "web.tries").exists)
        waits, stays = (client.deploy("web").deployment_id for _ in range(2))
        assert client.cancel_deployment(waits).error.reason == "CANCELLED"
        assert client.get_deployment(waits).status == FAILED
        assert client.get_deployment(runs).status == dp.DEPLOYMENT_STATUS_IN_PROGRESS
        assert client.get_deployment(stays).status == dp.DEPLOYMENT_STATUS_PENDING
        with pytest.raises(RefusedError, match="it is over"):
            client.cancel_deployment(waits)
        for deployment_id in (stays, runs):
            client.cancel_deployment(deployment_id)
            assert client.wait_for_deployment(deployment_id, 20).error.reason == "CANCELLED"
    assert daemon.stop() == 0
    daemon.start()
    with daemon.client() as client:
        (record,) = (each for each in client.list_deployments("web") if each.deployment_id == waits)
        assert (record.status, record.error.reason) == (FAILED, "CANCELLED")


def test_what_auto_sync_checks_is_cancelled_and_held_back_until_the_sources_change(daemon: Daemon) -> None:
    source, target, tries = (daemon.home / name for name in ("source-web", "web", "web.tries"))

    def state() -> environment_pb2.SyncState.ValueType:
        return client.get_environment("web").sync.state

    with daemon.client() as client:
        create(daemon, client, "web", hangs=False)
        eventually((target / "a").exists)
        client.update_environment("web", policies={"checks": ("hangs",)})
        (source / "a").write_text("two\n")
        eventually(tries.exists)
        runs = client.get_environment("web").sync.message.split()[0]
        client.cancel_deployment(runs)
        done = client.wait_for_deployment(runs, 20)
        assert (done.status, done.error.reason) == (FAILED, "CANCELLED")
        eventually(lambda: state() == environment_pb2.SYNC_STATE_HELD)
    assert daemon.stop() == 0
    daemon.start()
    with daemon.client() as client:
        eventually(lambda: state() == environment_pb2.SYNC_STATE_HELD)
        sync = client.get_environment("web").sync
        assert (sync.hold.deployment_id, list(sync.hold.paths)) == (runs, ["a"])
        assert f"{runs} was cancelled" in sync.message
        time.sleep(1.5)  # Else it would have been tried again by now.
        assert tries.read_text().split() == ["x"]
        assert (target / "a").read_text() == "one\n"
        client.update_environment("web", policies={"checks": ()})
        (source / "a").write_text("three\n")
        eventually(lambda: (target / "a").read_text() == "three\n")


def test_what_auto_sync_or_a_restart_began_can_be_cancelled_too(daemon: Daemon) -> None:
    tries = daemon.home / "web.tries"
    with daemon.client() as client:
        create(daemon, client, "web", hangs=True)
        eventually(tries.exists)
    assert daemon.stop() == 0
    daemon.start()
    with daemon.client() as client:
        eventually(lambda: len(tries.read_text().split()) == 2)
        (newest,) = client.list_deployments("web")
        client.cancel_deployment(newest.deployment_id)
        done = client.wait_for_deployment(newest.deployment_id, 20)
        assert (done.status, done.error.reason) == (FAILED, "CANCELLED")
        eventually(lambda: not (daemon.home / "web" / "a").exists())
