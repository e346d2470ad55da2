"""What follows a deployment, cut off, hindered and overtaken: exactly one outcome, and nothing is endless."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.unit.engine.test_safeguards import Site, deploy_to_confirm, eventually, running

from headgated import DeploymentStatus
from headgated.core import config
from headgated.core.deployment import ConfigDeployment, DeploymentKind
from headgated.core.environment import DriftPolicy
from headgated.core.errors import DeploymentFailedError
from headgated.core.orders import Caller, DeployOrder
from headgated.engine.drift import look_at_all
from headgated.engine.following import SavedError, TakenBackError
from headgated.engine.views import SyncState

SLOW = '[commands.slow]\nargv = ["sh", "-c", "echo x >> {target}.tries; exec sleep 60"]\n'


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    site.write(a="one\n", x_conf="one\n")
    yield site
    site.deployer.close()


def killed(site: Site, when: Callable[[ConfigDeployment], bool]) -> None:
    """Have a child look, and kill itself when it tells of a deployment as given; then open the state anew."""
    site.deployer.close()
    child = os.fork()
    if child == 0:
        try:
            site.start()

            def told(record: ConfigDeployment) -> None:
                if when(record):
                    os.kill(os.getpid(), signal.SIGKILL)

            site.deployer.ledger._publish = told
            site.look()
        finally:
            os._exit(1)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    site.start()


def fails(site: Site) -> None:
    with pytest.raises(DeploymentFailedError):
        site.deploy()


def finished(site: Site) -> list[ConfigDeployment]:
    """Look until nothing is to be done any more; return the records."""
    for _ in range(20):
        again = site.look().again_in
        if again is None:
            break
        time.sleep(min(again, 0.2))
    records = site.records()
    assert all(record.status.finished for record in records), records
    return records


BAD: dict[str, Callable[[ConfigDeployment], bool]] = {
    "applied": lambda r: r.applied_at is not None,
    "failed": lambda r: r.status == DeploymentStatus.FAILED,
    "the way back begun": lambda r: r.kind == DeploymentKind.ROLLBACK,
    "it applied": lambda r: r.kind == DeploymentKind.ROLLBACK and r.status == DeploymentStatus.IN_PROGRESS,
    "undone": lambda r: r.rollback_info is not None and r.rollback_info.rolled_back_by != "",
    "way back followed": lambda r: r.kind == DeploymentKind.ROLLBACK and r.applied_at is not None,
    "way back done": lambda r: r.kind == DeploymentKind.ROLLBACK and r.status.finished,
}


@pytest.mark.parametrize("point", BAD)
def test_killed_while_it_is_taken_back_it_is_taken_back_all_the_same(site: Site, point: str) -> None:
    site.create(auto_sync=True)
    site.look()
    site.set(reloads=("notes",), health=("gate",))
    site.write(x_conf="bad\n")
    killed(site, BAD[point])
    records = finished(site)
    assert site.read("x.conf") == "one\n"
    bad = next(record for record in reversed(records[:-1]) if record.kind == DeploymentKind.DEPLOY)
    assert (bad.status, bad.error and bad.error.reason) == (DeploymentStatus.FAILED, "HEALTH_FAILED")
    assert bad.rollback_info is not None
    assert bad.rollback_info.rolled_back_by in [record.deployment_id for record in records]
    assert site.deployer.get_environment_config("web").hold is not None
    site.open()
    site.write(x_conf="good\n")
    finished(site)
    assert site.read("x.conf") == "good\n"
    restored = site.deployer.restore_deployment(records[-1].deployment_id)
    assert restored.status == DeploymentStatus.SUCCESS
    assert site.read("x.conf") == "one\n"


@pytest.mark.parametrize("point", ["the way back begun", "it applied", "undone", "way back done"])
def test_killed_while_nobodys_confirmation_expires(site: Site, point: str) -> None:
    site.create(auto_sync=True)
    site.look()
    site.write(a="locks me out\n")
    deploy_to_confirm(site, 0.1)
    time.sleep(0.1)
    killed(site, BAD[point])
    records = finished(site)
    assert site.read("a") == "one\n"
    assert records[-2].status == DeploymentStatus.ROLLED_BACK
    assert sum(record.status == DeploymentStatus.SUCCESS for record in records[:-2]) == 1


def test_what_cannot_be_taken_back_is_tried_again_without_a_record_each_time(site: Site) -> None:
    site.create(auto_sync=True)
    site.look()
    (site.source / "n").mkdir()
    (site.source / "n" / "file").write_text("x")
    (site.source / "a").unlink()
    (site.source / "a").mkdir()
    (site.source / "a" / "inner").write_text("x")
    deploy_to_confirm(site, 0.1)
    (site.target / "a" / "foreign").write_text("theirs")  # It was a file, and cannot be one again.
    time.sleep(0.1)
    assert eventually(lambda: bool(site.look()) and site.records()[0].attempts >= 2)
    assert len(site.records()) == 3
    assert "headgate confirm" in site.state()[1]
    (site.target / "a" / "foreign").unlink()
    assert eventually(lambda: bool(site.look()) and (site.target / "a").is_file())
    assert finished(site)[-2].status == DeploymentStatus.ROLLED_BACK


def test_stop_ends_a_long_reload_and_a_restart_resumes_it(tmp_path: Path) -> None:
    site = Site(tmp_path, SLOW)
    site.write(a="one\n")
    site.create(reloads=("slow",))
    with running(site.deploy):
        assert eventually(lambda: site.tries() == 1)
        began = time.monotonic()
        site.deployer.runtime("web").stopping.set()
    assert time.monotonic() - began < 10
    assert site.records()[0].status == DeploymentStatus.IN_PROGRESS
    site.deployer.close()


def test_stop_ends_a_long_check(tmp_path: Path) -> None:
    site = Site(tmp_path, SLOW)
    site.write(a="one\n")
    site.create(checks=("slow",))
    with running(lambda: fails(site)):
        assert eventually(lambda: site.tries() == 1)
        began = time.monotonic()
        site.deployer.runtime("web").stopping.set()
    assert time.monotonic() - began < 10
    error = site.records()[0].error
    assert error is not None
    assert error.reason == "INTERRUPTED"
    site.deployer.close()


def test_definition_that_goes_meanwhile_is_used_to_the_end(site: Site) -> None:
    site.create(reloads=("gate",), health=("gate",))
    with running(site.deploy):
        assert eventually(lambda: site.tries() >= 1)
        site.deployer.settings = config.parse("")
        site.open()
    assert site.records()[0].status == DeploymentStatus.SUCCESS


def test_heal_that_does_not_work_is_taken_back_once(site: Site) -> None:
    site.create(auto_sync=True)
    site.look()
    site.set(drift=DriftPolicy.HEAL, health=("gate",))
    (site.target / "a").write_text("edited\n")
    runtime = site.deployer.runtime("web")
    with runtime.lock:
        look_at_all(runtime, site.deployer.get_environment_config("web"), site.deployer.planning)
    assert eventually(lambda: bool(site.look()) and len(site.records()) >= 3)
    for _ in range(3):
        site.look()
    undo, healed = site.records()[:2]
    assert len(site.records()) == 3
    assert healed.rollback_info is not None
    assert healed.rollback_info.rolled_back_by == undo.deployment_id
    assert healed.steps
    assert site.read("a") == "edited\n"


def test_rollback_that_is_not_well_stands_in_nobodys_way(site: Site) -> None:
    """It was applied, and later ones undo it with the rest."""
    site.create()
    first = site.deploy()
    site.write(a="two\n")
    second = site.deploy()
    site.set(health=("gate",))
    with pytest.raises(SavedError) as caught:
        site.deployer.rollback_deployment(second.deployment_id)
    assert not isinstance(caught.value, TakenBackError)
    assert site.records()[0].applied_at is not None
    site.set(health=())
    assert site.deployer.rollback_deployment(first.deployment_id).status == DeploymentStatus.SUCCESS
    assert not (site.target / "a").exists()
    assert site.deploy().status == DeploymentStatus.SUCCESS


def test_order_that_waits_for_a_way_back_comes_after_it(site: Site) -> None:
    site.create()
    first = site.deploy()
    site.set(health=("gate",))
    site.write(a="bad\n")
    with running(site.deploy):
        assert eventually(lambda: site.tries() >= 1)
        site.deployer.runtime("web").stopping.set()
    site.restart()
    site.write(a="good\n")
    job = site.deployer.jobs.prepare(DeployOrder("web"), Caller("somebody"))
    thread = threading.Thread(target=lambda: site.deployer.jobs.run(job))
    thread.start()
    assert eventually(lambda: site.read("a") == "one\n")
    site.open()
    thread.join(20)
    good, bad, undo = (
        next(r for r in site.records() if r.deployment_id.startswith(n))
        for n in (job.record.deployment_id, "deploy_web", "rollback")
    )
    assert good.sequence > undo.sequence
    assert good.status == DeploymentStatus.SUCCESS, bad
    assert site.deployer.rollback_deployment(good.deployment_id).status == DeploymentStatus.SUCCESS
    assert site.read("a") == "one\n"
    assert site.deployer.restore_deployment(first.deployment_id).status == DeploymentStatus.SUCCESS


def test_deleted_environment_leaves_nothing_unfinished(site: Site) -> None:
    site.create(reloads=("gate",))
    with running(site.deploy):
        assert eventually(lambda: site.tries() >= 1)
        site.deployer.runtime("web").stopping.set()
    site.deployer.remove_environment("web")
    for _ in range(2):
        record = site.records()[0]
        assert (record.status, record.error and record.error.reason) == (
            DeploymentStatus.FAILED,
            "ENVIRONMENT_DELETED",
        )
        site.restart()


def test_success_that_cannot_be_saved_stays_one(site: Site) -> None:
    """The state directory fills up while a reload is tried."""
    site.create(reloads=("gate",))
    records = site.home / "state" / "config_deployments" / "web"
    with running(site.deploy):
        assert eventually(lambda: site.tries() >= 1)
        records.rename(records.with_name("aside"))
        records.write_text("no directory")
        site.open()
    assert site.read("a") == "one\n"
    assert site.deployer.ledger.under_way()[0].status == DeploymentStatus.SUCCESS
    records.unlink()
    records.with_name("aside").rename(records)
    site.look()
    site.restart()
    finished(site)
    assert site.records()[0].status == DeploymentStatus.SUCCESS
    assert len(site.records()) == 1


def test_way_back_waits_for_the_state_directory(site: Site) -> None:
    site.create()
    site.deploy()
    site.set(health=("gate",))
    site.write(a="bad\n")
    history = site.deployer.history
    begin = history.begin
    full = DeploymentFailedError("cannot write", reason="STATE_NOT_WRITABLE")

    def refuse(*_args: object) -> None:
        raise full

    with running(lambda: fails(site)):
        assert eventually(lambda: site.tries() >= 1)
        history.begin = refuse  # type: ignore[method-assign, assignment]
    assert site.read("a") == "bad\n"
    assert site.state()[0] == SyncState.FAILING
    history.begin = begin  # type: ignore[method-assign]
    site.open()
    assert eventually(lambda: bool(site.look()) and site.read("a") == "one\n")
    finished(site)
    assert site.deploy().status == DeploymentStatus.SUCCESS
    assert site.records()[0].status == DeploymentStatus.SUCCESS
