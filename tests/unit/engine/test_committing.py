"""What is committed to is on the disk before: a power cut must not leave less of it than history says was staged."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.torture.trees import leftovers, picture
from tests.unit.effects.faults import Faulty

from headgated import ConfigurationDeployer, DeploymentStatus
from headgated.core.errors import DeploymentFailedError
from headgated.effects.history.journal import Journal
from headgated.effects.target import Target
from headgated.effects.target.syncs import FEW, MUCH

MANY = 2 * FEW


class Slow(Faulty):
    """A disk that takes its time with the syncs of whole file systems."""

    def __init__(self) -> None:
        super().__init__()
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.done = 0

    def sync_file_system(self, fd: int) -> None:
        assert self.goes_on.wait(30)
        super().sync_file_system(fd)
        self.done += 1


class Site:
    def __init__(self, home: Path) -> None:
        self.source, self.target, self.acts = home / "source", home / "target", Slow()
        self.source.mkdir()
        self.deployer = ConfigurationDeployer(
            home / "state", open_target=lambda root: Target(root, acts=self.acts)
        )
        self.deployer.create_environment(
            "web", "testing", self.target, sources=[self.source], auto_sync=False
        )

    def change(self, content: str, files: int = MANY) -> None:
        for number in range(files):
            (self.source / f"{number:04d}").write_text(f"{content} {number}\n")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.acts.goes_on.set()
    site.deployer.close()


def test_commitment_waits_until_what_is_staged_is_on_the_disk(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, committed = threading.Event(), []
    wait, write = Target.on_disk, Journal._write_intent

    def noted(target: Target) -> None:
        asked.set()
        wait(target)

    def written(journal: Journal, *what: object) -> None:
        committed.append(site.acts.done)
        write(journal, *what)  # type: ignore[arg-type]

    monkeypatch.setattr(Target, "on_disk", noted)
    monkeypatch.setattr(Journal, "_write_intent", written)
    site.change("first")
    site.acts.goes_on.clear()
    deploying = threading.Thread(target=site.deployer.deploy_configuration, args=("web",))
    deploying.start()
    assert asked.wait(30)
    assert committed == []
    site.acts.goes_on.set()
    deploying.join(30)
    assert committed == [1]
    assert picture(site.target) == picture(site.source)


def test_what_could_not_be_brought_to_the_disk_is_not_committed_to(site: Site) -> None:
    site.change("first")
    site.deployer.deploy_configuration("web")
    before = picture(site.target)
    site.change("second")
    site.acts.fail("sync_file_system", errno.EIO)
    with pytest.raises(DeploymentFailedError, match="EIO"):
        site.deployer.deploy_configuration("web")
    record = site.deployer.list_deployments("web")[0]
    assert record.status == DeploymentStatus.FAILED
    assert picture(site.target) == before
    assert leftovers(site.target) == []
    site.acts.fired = ""
    site.deployer.deploy_configuration("web")
    assert picture(site.target) == picture(site.source)


def test_of_very_many_files_some_are_brought_to_the_disk_while_others_are_staged(site: Site) -> None:
    site.change("first", 3 * MUCH)
    site.deployer.deploy_configuration("web")
    log = site.acts.log
    assert "sync_file_system" in log[: len(log) - log[::-1].index("create")]
    assert picture(site.target) == picture(site.source)


def test_fault_of_an_early_sync_is_not_forgotten(site: Site) -> None:
    """The kernel tells of a failed write once: later syncs of the same files succeed."""
    site.change("first", 3 * MUCH)
    real = site.acts.sync_file_system
    failed: list[int] = []

    def once(fd: int) -> None:
        if not failed:
            failed.append(fd)
            raise OSError(errno.EIO, "the disk is failing")
        real(fd)

    site.acts.sync_file_system = once  # type: ignore[method-assign]
    with pytest.raises(DeploymentFailedError, match="EIO"):
        site.deployer.deploy_configuration("web")
    assert picture(site.target) == {}
