"""Deployments that overtake each other between being asked for and being begun: what is undone is undone in the order of doing."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.torture.trees import clear, picture

from headgated import ConfigurationDeployer, DeploymentStatus
from headgated.core.errors import DeploymentFailedError, RefusedError
from headgated.core.orders import Caller, DeployOrder, Order, RestoreOrder, RollbackOrder
from headgated.core.tree import Entry, Kind, walk
from headgated.engine.jobs import Job

SOMEBODY = Caller("somebody")
KINDS = {Kind.FILE: "file", Kind.DIRECTORY: "directory", Kind.SYMLINK: "link"}


class Place:
    """An environment whose source changes in content and in kind, and somebody who edits it and gives orders."""

    def __init__(self, home: Path, seed: int) -> None:
        self.home, self.rng = home, random.Random(seed)
        self.source, self.target = home / "source", home / "target"
        self.source.mkdir(parents=True)
        self.deployer = ConfigurationDeployer(home / "state")
        self.edit()
        self.deployer.create_environment("web", "testing", self.target, sources=[self.source])

    def edit(self) -> None:
        """Write, remove, link, and make directories of files and files of directories."""
        for _ in range(self.rng.randint(1, 4)):
            at = self.source / self.rng.choice(("", "a")) / self.rng.choice(("f0", "f1", "f2"))
            clear(at)
            at.parent.mkdir(exist_ok=True)
            match self.rng.choice(("file", "file", "nothing", "link", "directory")):
                case "file":
                    at.write_bytes(b"%d\n" % self.rng.randrange(4))
                case "link":
                    at.symlink_to("elsewhere")
                case "directory":
                    (at / "deep").mkdir(parents=True)
                    (at / "inner").write_bytes(b"%d\n" % self.rng.randrange(4))
                    (at / "deep" / "er").write_bytes(b"%d\n" % self.rng.randrange(4))
        for name in ("always", "ever", "still"):
            (self.source / name).write_bytes(b"%d\n" % self.rng.randrange(4))

    def order(self) -> Order:
        """Return something that somebody might want now."""
        records = self.deployer.list_deployments("web")
        kind = self.rng.choice(("deploy", "deploy", "restore", "rollback")) if records else "deploy"
        if kind == "deploy":
            return DeployOrder("web", allow_mass_removal=True)
        if kind == "restore":
            return RestoreOrder(self.rng.choice(records[:10]).deployment_id)
        return RollbackOrder(self.rng.choice(records[:2]).deployment_id, include_later=True)

    def prepare(self) -> Job | None:
        """Have an order accepted, if it can be."""
        try:
            return self.deployer.jobs.prepare(self.order(), SOMEBODY)
        except RefusedError:
            return None

    def carry_out(self, job: Job) -> None:
        """Begin with an order, whatever came before it; it succeeds, or has become impossible in a way that is foreseen."""
        try:
            done = self.deployer.jobs.run(job)
        except DeploymentFailedError as error:
            assert error.reason in {"ALREADY_ROLLED_BACK", "NOT_REACHED"}, error  # noqa: PT017
        else:
            assert done.status == DeploymentStatus.SUCCESS

    def managed(self) -> dict[str, Entry]:
        tree = self.deployer.runtime("web").managed
        return {os.fsdecode(path): entry for path, entry in walk(tree)}

    def check(self) -> None:
        """What is managed is what is there: all of it, ours, and nothing else."""
        there, managed = picture(self.target), self.managed()
        assert there.keys() == managed.keys()
        for path, entry in managed.items():
            assert there[path].startswith(KINDS[entry.kind])
            assert entry.kind == Kind.SYMLINK or entry.mode is not None, path


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    fast = Path("/dev/shm")
    home = fast / f"hg-overtaking-{os.getpid()}" if fast.is_dir() else tmp_path / "home"
    yield home
    shutil.rmtree(home, ignore_errors=True)


@pytest.mark.parametrize("seed", range(4))
def test_orders_that_overtake_each_other_leave_what_is_managed_at_the_target(home: Path, seed: int) -> None:
    place = Place(home, seed)
    with place.deployer:
        for _ in range(20):
            place.edit()
            jobs = [
                job for job in (place.prepare() for _ in range(place.rng.randint(1, 3))) if job is not None
            ]
            place.rng.shuffle(jobs)
            for job in jobs:
                place.edit()
                place.carry_out(job)
                place.check()
        reached = [record for record in place.deployer.list_deployments("web") if record.status.reached]
        begun = [record.started_at for record in reversed(reached) if record.started_at is not None]
        assert begun == sorted(begun)
        assert len({record.sequence for record in reached}) == len(reached)


def test_overtaken_deployment_is_undone_first(home: Path) -> None:
    """It was asked for first and begun last, so it is the newest: rolling back the other one needs a word."""
    place = Place(home, 0)
    with place.deployer as deployer:
        deployer.deploy_configuration("web")
        (place.source / "always").write_text("by the second\n")
        first = deployer.jobs.prepare(DeployOrder("web"), SOMEBODY)
        second = deployer.deploy_configuration("web")
        (place.source / "always").write_text("by the first\n")
        done = deployer.jobs.run(first)
        assert done.sequence > second.sequence > first.record.sequence
        assert deployer.runtime("web").sequence == done.sequence
        with pytest.raises(RefusedError) as caught:
            deployer.rollback_deployment(second.deployment_id)
        assert caught.value.reason == "LATER_DEPLOYMENTS"
        deployer.rollback_deployment(done.deployment_id)
        assert (place.target / "always").read_text() == "by the second\n"
        assert deployer.list_deployments("web")[1].deployment_id == done.deployment_id
