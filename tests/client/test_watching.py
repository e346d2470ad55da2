"""Watching and waiting: over restarts, for slow watchers, with an end to every wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.client.conftest import until
from tests.client.fake_daemon import FakeDaemon, Refusal

from headgate.client import Client
from headgate.errors import HeadgateError, NotFoundError, TimedOutError, UnreachableError
from headgate.v1 import deployment_pb2 as dp, environment_pb2 as ep

PENDING, RUNNING, DONE = (
    dp.DEPLOYMENT_STATUS_PENDING,
    dp.DEPLOYMENT_STATUS_IN_PROGRESS,
    dp.DEPLOYMENT_STATUS_SUCCESS,
)


def deployment(
    name: str, status: Any = PENDING, environment: str = "canal", step: str = ""
) -> dp.ConfigDeployment:
    made = dp.ConfigDeployment(deployment_id=name, environment=environment, status=status)
    if step:
        made.progress.step = step
    return made


class Watcher(threading.Thread):
    """Watches on a thread, and keeps what it was told."""

    def __init__(self, client: Client, **how: Any) -> None:
        super().__init__(daemon=True)
        self.client = client
        self.how = how
        self.told: list[dp.WatchDeploymentsResponse] = []
        self.lost: list[UnreachableError] = []
        self.error: HeadgateError | None = None

    def run(self) -> None:
        try:
            for event in self.client.watch_deployments(on_lost=self.lost.append, **self.how):
                self.told.append(event)
        except HeadgateError as error:
            self.error = error

    def ids(self, kind: Any = ep.WATCH_EVENT_KIND_UPDATED) -> list[str]:
        return [event.deployment.deployment_id for event in self.told if event.kind == kind]


@pytest.fixture
def watcher(daemon: FakeDaemon, connect: Any) -> Iterator[Any]:
    made = []

    def watch(**how: Any) -> Watcher:
        watching = Watcher(connect(str(daemon.socket), timeout=5), **how)
        made.append(watching)
        watching.start()
        until(lambda: daemon.watchers > 0 or watching.error is not None)
        return watching

    yield watch
    daemon.stop()
    for each in made:
        each.client.close()
        each.join(10)
        assert not each.is_alive()


def test_watch_begins_with_what_there_is_then_tells_changes(daemon: FakeDaemon, watcher: Any) -> None:
    daemon.publish(deployment("d1", DONE))
    watching = watcher()
    daemon.publish(deployment("d2"))
    until(lambda: watching.ids() == ["d2"])
    assert watching.ids(ep.WATCH_EVENT_KIND_SNAPSHOT) == ["d1"]
    assert [event.kind for event in watching.told] == [
        ep.WATCH_EVENT_KIND_SNAPSHOT,
        ep.WATCH_EVENT_KIND_SNAPSHOT_END,
        ep.WATCH_EVENT_KIND_UPDATED,
    ]


def test_watch_of_one_environment_is_of_that_one(daemon: FakeDaemon, watcher: Any) -> None:
    watching = watcher(environment="dike")
    daemon.publish(deployment("d1"))
    daemon.publish(deployment("d2", environment="dike"))
    until(lambda: watching.ids() == ["d2"])


def test_watch_of_one_deployment_ends_with_it(daemon: FakeDaemon, watcher: Any) -> None:
    daemon.publish(deployment("d1"))
    watching = watcher(deployment_id="d1")
    daemon.publish(deployment("d1", RUNNING))
    daemon.publish(deployment("d1", DONE))
    watching.join(10)
    assert not watching.is_alive()
    assert watching.error is None
    assert watching.told[-1].deployment.status == DONE


def test_watch_that_is_cut_off_goes_on_where_it_was(daemon: FakeDaemon, watcher: Any) -> None:
    watching = watcher()
    daemon.publish(deployment("d1"))
    until(lambda: watching.ids() == ["d1"])
    daemon.interrupt(Refusal(grpc.StatusCode.UNAVAILABLE, "Socket closed", details=False))
    daemon.publish(deployment("d2"))
    until(lambda: watching.ids() == ["d1", "d2"])
    assert len(watching.ids(ep.WATCH_EVENT_KIND_SNAPSHOT_END)) == 1
    assert len(watching.lost) == 1
    assert daemon.requests[-1].from_revision


def test_watch_tells_the_present_state_again_after_a_restart(daemon: FakeDaemon, watcher: Any) -> None:
    watching = watcher()
    daemon.publish(deployment("d1"))
    until(lambda: watching.ids() == ["d1"])
    daemon.stop()
    until(lambda: len(watching.lost) > 0)
    daemon.publish(deployment("d1", DONE))
    daemon.forget_revisions()
    daemon.start()
    until(lambda: watching.ids(ep.WATCH_EVENT_KIND_SNAPSHOT) == ["d1"])
    assert watching.told[-1].kind in (ep.WATCH_EVENT_KIND_SNAPSHOT, ep.WATCH_EVENT_KIND_SNAPSHOT_END)


def test_watcher_that_was_too_slow_is_told_the_present_state_again(daemon: FakeDaemon, watcher: Any) -> None:
    """A3."""
    watching = watcher()
    daemon.publish(deployment("d1"))
    until(lambda: watching.ids() == ["d1"])
    daemon.forget_revisions()
    daemon.interrupt(Refusal(grpc.StatusCode.ABORTED, "cannot go on watching", "WATCHER_TOO_SLOW"))
    until(lambda: watching.ids(ep.WATCH_EVENT_KIND_SNAPSHOT) == ["d1"])


def test_watch_without_a_daemon_fails_at_once(socket_path: Path, connect: Any) -> None:
    with connect(str(socket_path)) as client, pytest.raises(UnreachableError):
        next(client.watch_deployments())


def test_watch_that_a_daemon_does_not_begin_times_out(daemon: FakeDaemon, connect: Any) -> None:
    """A4."""
    daemon.hanging.add("WatchDeployments")
    with (
        connect(str(daemon.socket), timeout=0.2) as client,
        pytest.raises(TimedOutError, match=r"within 0\.2 s"),
    ):
        next(client.watch_deployments())


def test_watch_that_is_left_is_ended_at_the_daemon(daemon: FakeDaemon, client: Client) -> None:
    events = client.watch_deployments()
    next(events)
    assert daemon.watchers == 1
    events.close()
    until(lambda: daemon.watchers == 0)


def test_waiting_returns_the_finished_deployment_whole(daemon: FakeDaemon, client: Client) -> None:
    daemon.publish(deployment("d1"))
    steps: list[str] = []

    def finish() -> None:
        until(lambda: daemon.watchers > 0)
        daemon.publish(deployment("d1", RUNNING, step="stage"))
        done = deployment("d1", DONE)
        done.changes.added.add(path="a.conf")
        daemon.publish(done)

    thread = threading.Thread(target=finish)
    thread.start()
    found = client.wait_for_deployment("d1", 10, on_update=lambda each: steps.append(each.progress.step))
    thread.join()
    assert found.status == DONE
    assert found.changes.added[0].path == "a.conf"
    assert steps == ["", "stage", ""]


def test_waiting_for_what_is_finished_returns_at_once(daemon: FakeDaemon, client: Client) -> None:
    daemon.publish(deployment("d1", DONE))
    began = time.monotonic()
    assert client.wait_for_deployment("d1").status == DONE
    assert time.monotonic() - began < 2


def test_waiting_ends_at_its_timeout_and_says_that_it_goes_on(daemon: FakeDaemon, client: Client) -> None:
    daemon.publish(deployment("d1"))
    with pytest.raises(TimedOutError, match=r"still runs after 0\.2 s") as caught:
        client.wait_for_deployment("d1", 0.2)
    assert "headgate show d1" in caught.value.hint


def test_waiting_survives_a_restart_of_the_daemon(daemon: FakeDaemon, client: Client) -> None:
    daemon.publish(deployment("d1"))

    def restart() -> None:
        until(lambda: daemon.watchers > 0)
        daemon.stop()
        daemon.publish(deployment("d1", DONE))
        daemon.forget_revisions()
        daemon.start()

    thread = threading.Thread(target=restart)
    thread.start()
    assert client.wait_for_deployment("d1", 20).status == DONE
    thread.join()


def test_waiting_for_an_unknown_deployment_is_not_found(client: Client) -> None:
    with pytest.raises(NotFoundError):
        client.wait_for_deployment("nothing")


def test_watch_continues_after_the_revision_of_an_earlier_one(daemon: FakeDaemon, watcher: Any) -> None:
    daemon.publish(deployment("d1"))
    seen = daemon.revision
    daemon.publish(deployment("d2"))
    watching = watcher(from_revision=seen)
    until(lambda: watching.ids() == ["d2"])
    assert not watching.ids(ep.WATCH_EVENT_KIND_SNAPSHOT)


def test_watch_after_a_revision_that_nobody_remembers_begins_anew(daemon: FakeDaemon, watcher: Any) -> None:
    daemon.publish(deployment("d1"))
    daemon.forget_revisions()
    watching = watcher(from_revision=3)
    until(lambda: watching.ids(ep.WATCH_EVENT_KIND_SNAPSHOT) == ["d1"])
