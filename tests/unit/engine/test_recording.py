"""An order that is carried out while it is put on disk: nothing comes of it before it is there, and nothing at all where it cannot be."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.torture.trees import picture

from headgated import ConfigDeployment, ConfigurationDeployer, DeploymentStatus
from headgated.core.environment import Environment, Strategy
from headgated.core.errors import DeploymentFailedError, NotFoundError, UnavailableError
from headgated.core.orders import AdoptOrder, Caller, DeployOrder, Order, RestoreOrder, RollbackOrder
from headgated.engine.jobs import Job

SOMEBODY = Caller("somebody")
SECONDS = 20.0


class Place:
    """An environment with two deployments, whose source has moved on, and an edit at its target."""

    def __init__(self, home: Path, strategy: Strategy = Strategy.IN_PLACE) -> None:
        self.home, self.source, self.target = home, home / "source", home / "target"
        self.source.mkdir()
        self.told: list[ConfigDeployment] = []
        self.deployer = ConfigurationDeployer(home / "state", on_deployment=self.told.append)
        self.deployer.create_environment("web", "testing", self.target, sources=[self.source])
        go_by(self.deployer, strategy)
        self.ids = [self.deploy(text) for text in ("one\n", "two\n")]
        (self.target / "edited").write_text("by hand\n")
        self.write("three\n")
        self.told.clear()

    def write(self, text: str) -> None:
        (self.source / "app.conf").write_text(text)
        (self.source / "edited").write_text("ours\n")

    def deploy(self, text: str) -> str:
        self.write(text)
        return self.deployer.deploy_configuration("web").deployment_id

    def order(self, kind: str) -> Order:
        orders: dict[str, Order] = {
            "deploy": DeployOrder("web"),
            "rollback": RollbackOrder(self.ids[1]),
            "restore": RestoreOrder(self.ids[0]),
            "adopt": AdoptOrder("web"),
        }
        return orders[kind]

    def listed(self) -> list[str]:
        return [record.deployment_id for record in self.deployer.list_deployments("web")]

    def seen(self) -> dict[str, object]:
        return dict(picture(self.target))


def go_by(deployer: ConfigurationDeployer, strategy: Strategy) -> None:
    def change(environment: Environment) -> Environment:
        return replace(environment, policies=replace(environment.policies, strategy=strategy))

    deployer.change_environment("web", change)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.deployer.close()


@contextmanager
def carried_out(place: Place, job: Job) -> Iterator[Future[ConfigDeployment]]:
    """Carry an order out beside; leaves only when that has ended."""
    ended: Future[ConfigDeployment] = Future()

    def run() -> None:
        try:
            ended.set_result(place.deployer.jobs.run(job))
        except BaseException as error:  # noqa: BLE001 - for the test
            ended.set_exception(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield ended
    finally:
        thread.join(SECONDS)
        assert not thread.is_alive()


def waits_for_its_record(ended: Future[ConfigDeployment], at_the_gate: threading.Event) -> None:
    assert at_the_gate.wait(SECONDS)
    assert not ended.done()


def watched(job: Job) -> threading.Event:
    """Tell when somebody waits for the record."""
    asked, result = threading.Event(), job.recorded.result

    def wait(timeout: float | None = None) -> None:
        asked.set()
        result(timeout)

    job.recorded.result = wait  # type: ignore[method-assign]
    return asked


@pytest.mark.parametrize("kind", ["deploy", "rollback", "restore", "adopt"])
def test_nothing_comes_of_an_order_before_it_is_on_disk(place: Place, kind: str) -> None:
    jobs, history, before = place.deployer.jobs, place.deployer.history, place.seen()
    job = jobs.accept(place.order(kind), SOMEBODY)
    asked, name = watched(job), job.record.deployment_id
    with carried_out(place, job) as ended:
        try:
            waits_for_its_record(ended, asked)
            assert place.seen() == before
            if kind == "adopt":  # Its commit is all of it.
                with pytest.raises(NotFoundError):
                    history.changes(name)
            assert place.told == [], "nobody is told of what might never have been"
            assert not list((place.home / "state").rglob(f"{name}.json"))
        finally:
            jobs.record(job)
        assert ended.result(SECONDS).status == DeploymentStatus.SUCCESS
    assert next(told.status for told in place.told if told.deployment_id == name) == "pending"
    assert place.deployer.ledger.get(name).status == DeploymentStatus.SUCCESS


@pytest.mark.parametrize("strategy", Strategy)
def test_what_would_be_found_after_a_kill_is_not_made_before_the_order_is_on_disk(
    tmp_path: Path, strategy: Strategy
) -> None:
    """Temporaries with names, a target or the directories above it that were missing."""
    place = Place(tmp_path, strategy)
    jobs = place.deployer.jobs
    (place.source / "link").symlink_to("app.conf")  # It cannot be staged without a name.
    before = place.seen()
    job = jobs.accept(DeployOrder("web"), SOMEBODY)
    asked = watched(job)
    with carried_out(place, job) as ended:
        try:
            waits_for_its_record(ended, asked)
            assert place.seen() == before
            assert {path.name for path in tmp_path.iterdir()} == {"source", "state", "target"}
        finally:
            jobs.record(job)
    place.deployer.close()


@pytest.mark.parametrize("strategy", Strategy)
def test_missing_target_is_not_made_before_the_order_is_on_disk(tmp_path: Path, strategy: Strategy) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "f").write_text("f\n")
    target = tmp_path / "above" / "target"
    deployer = ConfigurationDeployer(tmp_path / "state")
    deployer.create_environment("web", "testing", target, sources=[tmp_path / "source"])
    go_by(deployer, strategy)
    job = deployer.jobs.accept(DeployOrder("web"), SOMEBODY)
    asked, thread = watched(job), threading.Thread(target=deployer.jobs.run, args=(job,))
    thread.start()
    try:
        assert asked.wait(SECONDS)
        assert not target.parent.exists()
    finally:
        deployer.jobs.record(job)
        thread.join(SECONDS)
    assert (target / "f").read_text() == "f\n"
    deployer.close()


@pytest.mark.parametrize("kind", ["deploy", "rollback", "restore", "adopt"])
def test_order_that_cannot_be_put_on_disk_never_was(place: Place, kind: str) -> None:
    jobs, before, listed = place.deployer.jobs, place.seen(), place.listed()
    sequence = place.deployer.runtime("web").sequence
    job = jobs.accept(place.order(kind), SOMEBODY)
    asked = watched(job)
    with carried_out(place, job) as ended:
        try:
            waits_for_its_record(ended, asked)
        finally:
            with pytest.raises(UnavailableError):
                jobs.record(job, cannot_be_written)
        with pytest.raises(DeploymentFailedError) as caught:
            ended.result(SECONDS)
        assert caught.value.reason == "AUDIT_NOT_WRITABLE"
    never_was(place, job, listed)
    assert place.seen() == before
    assert place.deployer.runtime("web").sequence == sequence, "the next order may expect what it sees"
    assert place.deployer.jobs.run(jobs.prepare(place.order(kind), SOMEBODY)).status == "success"


def test_order_that_cannot_be_put_on_disk_and_waits_never_was(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = place.listed()
    jobs, accepted = place.deployer.jobs, list[Job]()
    accept: Callable[[Order, Caller], Job] = jobs.accept

    def remember(order: Order, caller: Caller) -> Job:
        accepted.append(accept(order, caller))
        return accepted[-1]

    monkeypatch.setattr(jobs, "accept", remember)
    monkeypatch.setattr(place.deployer.ledger.store, "create", lambda *_: cannot_be_written())
    with pytest.raises(UnavailableError):
        jobs.prepare(DeployOrder("web"), SOMEBODY)
    never_was(place, accepted[0], listed)


def test_order_that_fails_before_it_is_on_disk_is_on_record_as_failed(place: Place) -> None:
    (place.source / "app.conf").unlink()
    (place.source / "edited").unlink()
    jobs = place.deployer.jobs
    job = jobs.accept(DeployOrder("web"), SOMEBODY)
    with carried_out(place, job) as ended:
        jobs.record(job)
        with pytest.raises(DeploymentFailedError) as caught:
            ended.result(SECONDS)
    assert caught.value.reason == "SOURCE_EMPTY"
    assert place.deployer.ledger.get(job.record.deployment_id).status == DeploymentStatus.FAILED


def cannot_be_written() -> None:
    raise UnavailableError("cannot write", reason="AUDIT_NOT_WRITABLE", hint="make room")


def never_was(place: Place, job: Job, listed: list[str]) -> None:
    name = job.record.deployment_id
    assert place.told == []
    assert place.listed() == listed
    assert place.deployer.history.unfinished() == []
    assert place.deployer.ledger.under_way() == []
    assert not list((place.home / "state").rglob(f"*{name}*"))
    assert not list((place.home / "state").rglob("*.tmp"))
    with pytest.raises(NotFoundError):
        place.deployer.ledger.get(name)
