"""What could not be removed at a target is told, goes with the next deployment, and is found again after a restart."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tests.torture.trees import picture

from headgated import ConfigurationDeployer, DeploymentStatus
from headgated.core.environment import Strategy
from headgated.core.errors import DeploymentFailedError
from headgated.effects.target import Target
from headgated.effects.target.acts import Acts

OLD_FILE = r"\.headgate-\w+-\d+$"
IN_OLD_TREE = r"-old/"
OLD_TREE = r"-old$"
MARKER = r"target/\.headgate-\w+-new$"
NOTHING = r"$^"


class Stubborn(Acts):
    """Does not remove what matches a pattern, and syncs nothing where the disk is full."""

    stays = re.compile(NOTHING)
    full = False

    def sync(self, fd: int) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().sync(fd)

    def unlink(self, directory: int, name: bytes) -> None:
        self._refuse(directory, name)
        super().unlink(directory, name)

    def remove_directory(self, directory: int, name: bytes) -> None:
        self._refuse(directory, name)
        super().remove_directory(directory, name)

    def _refuse(self, directory: int, name: bytes) -> None:
        if self.stays.search(os.path.join(os.readlink(f"/proc/self/fd/{directory}"), os.fsdecode(name))):
            raise OSError(errno.EIO, os.strerror(errno.EIO))


class Place:
    """An environment, and a deployer of it that can be started anew."""

    def __init__(self, home: Path) -> None:
        self.home, self.source, self.target = home, home / "source", home / "place" / "target"
        self.acts, self.boot = Stubborn(), "the first"
        self.opened: list[str] = []
        """Targets."""
        self.source.mkdir()
        self.target.mkdir(parents=True)
        (self.target / "theirs").write_text("not ours\n")
        (self.target / ".headgate-0123456789ab-0").write_text("by its name as good as ours, but not ours\n")
        self.deployer = self.open()
        self.deployer.create_environment(
            "web", "testing", self.target, sources=[self.source], auto_sync=False
        )

    def open(self) -> ConfigurationDeployer:
        return ConfigurationDeployer(
            self.home / "state",
            open_target=self._target,
            boot=self.boot,
        )

    def _target(self, root: str) -> Target:
        self.opened.append(root)
        return Target(root, acts=self.acts, leeway=0)

    def restart(self) -> None:
        self.deployer.close()
        self.deployer = self.open()

    def look(self) -> None:
        """As auto-sync does before anything else."""
        deployer = self.deployer
        deployer.deploying.look_for_leftovers(deployer.runtime("web"), deployer.get_environment_config("web"))

    def use(self, strategy: Strategy) -> None:
        self.deployer.change_environment(
            "web", lambda e: replace(e, policies=replace(e.policies, strategy=strategy))
        )

    def deploy(self, word: str, stays: str = NOTHING, names: Sequence[str] = ("a", "b")) -> tuple[str, ...]:
        """Deploy other content while some things cannot be removed; returns what is told of it."""
        for name in names:
            (self.source / "d").mkdir(exist_ok=True)
            (self.source / "d" / name).write_text(f"{name} {word}\n")
        self.acts.stays = re.compile(stays)
        record = self.deployer.deploy_configuration("web")
        assert record.status == DeploymentStatus.SUCCESS
        return record.changes.notes

    def left(self) -> list[str]:
        """What lies at the target and beside it, and is neither deployed nor somebody's."""
        found = picture(self.home / "place").keys() - {"target", "target/d", "target/d/a", "target/d/b"}
        return sorted(found - {"target/theirs", "target/.headgate-0123456789ab-0"})

    def theirs(self) -> list[str]:
        return [(self.target / name).read_text() for name in ("theirs", ".headgate-0123456789ab-0")]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    assert place.theirs() == ["not ours\n", "by its name as good as ours, but not ours\n"]
    assert place.deployer.history.verify() == []
    place.deployer.close()


KINDS = [
    (Strategy.IN_PLACE, OLD_FILE),
    (Strategy.ATOMIC, IN_OLD_TREE),
    (Strategy.ATOMIC, OLD_TREE),
    (Strategy.ATOMIC, MARKER),
]


@pytest.mark.parametrize(("strategy", "stays"), KINDS)
def test_what_could_not_be_removed_is_told_and_goes_with_the_next_deployment(
    place: Place, strategy: Strategy, stays: str
) -> None:
    place.use(strategy)
    place.deploy("one")
    assert place.left() == []
    notes = place.deploy("two", stays)
    assert place.left()
    assert "EIO" in " ".join(notes)
    place.deploy("three", stays)
    assert place.left()
    assert place.deploy("four") == ()
    assert place.left() == []
    assert place.deployer.history.unfinished() == []


@pytest.mark.parametrize(("strategy", "stays"), KINDS)
def test_what_could_not_be_removed_is_found_again_at_the_next_start(
    place: Place, strategy: Strategy, stays: str
) -> None:
    place.use(strategy)
    place.deploy("one")
    place.deploy("two", stays)
    place.restart()
    place.deploy("three", stays)
    assert place.left()
    place.acts.stays = re.compile(NOTHING)
    place.restart()
    place.look()
    assert place.left() == []
    assert place.deployer.history.unfinished() == []


@pytest.mark.parametrize(("strategy", "stays"), KINDS)
def test_what_still_cannot_be_removed_at_a_start_goes_with_the_deployment_after_it(
    place: Place, strategy: Strategy, stays: str
) -> None:
    place.use(strategy)
    place.deploy("one")
    place.deploy("two", stays)
    place.restart()
    place.look()
    assert place.left()
    place.deploy("three")
    assert place.left() == []


@pytest.mark.parametrize("restarted", [False, True])
def test_what_somebody_wrote_to_a_leftover_is_kept(place: Place, *, restarted: bool) -> None:
    place.deploy("one")
    place.deploy("two", OLD_FILE)
    for name in place.left():
        (place.home / "place" / name).write_text("an edit\n")
    if restarted:
        place.restart()
    place.deploy("three")
    kept = place.left()
    assert len(kept) == 2
    assert all(".headgate-kept-" in name for name in kept)
    assert [(place.home / "place" / name).read_text() for name in kept] == ["an edit\n"] * 2


def test_what_later_deployments_replaced_goes_from_an_old_directory_too(place: Place) -> None:
    """It was there by a second name; now history alone has it, and that is enough."""
    place.use(Strategy.ATOMIC)
    place.deploy("one")
    place.deploy("two", IN_OLD_TREE, names="a")
    place.deploy("three", IN_OLD_TREE, names="b")
    place.deploy("four", IN_OLD_TREE)
    place.acts.stays = re.compile(NOTHING)
    place.restart()
    place.look()
    assert place.left() == []


@pytest.mark.parametrize("restarted", [False, True])
def test_what_somebody_made_in_an_old_directory_is_brought_over(place: Place, *, restarted: bool) -> None:
    place.use(Strategy.ATOMIC)
    place.deploy("one")
    place.deploy("two", IN_OLD_TREE)
    (old,) = [name for name in os.listdir(place.home / "place") if name.endswith("-old")]
    (place.home / "place" / old / "made").write_text("made meanwhile\n")
    if restarted:
        place.restart()
    place.deploy("three")
    assert place.left() == ["target/made"]
    assert (place.target / "made").read_text() == "made meanwhile\n"


def test_staged_files_of_a_failed_deployment_that_could_not_be_removed_go_with_the_next(place: Place) -> None:
    place.deploy("one")
    (place.source / "e").mkdir()
    (place.source / "e" / "f").write_text("new\n")
    place.acts.full, place.acts.stays = True, re.compile(r"\.headgate-\w+-\d+")
    with pytest.raises(DeploymentFailedError, match="ENOSPC"):
        place.deployer.deploy_configuration("web")
    assert place.left()
    place.acts.full, place.acts.stays = False, re.compile(NOTHING)
    place.deployer.deploy_configuration("web")
    assert place.left() == ["target/e", "target/e/f"]


def test_collection_keeps_what_tidying_up_goes_by(place: Place) -> None:
    place.deploy("one")
    place.deploy("two", OLD_FILE)
    for word in ("three", "four"):
        place.deploy(word, OLD_FILE)
    newest = place.deployer.list_deployments("web")[0].deployment_id
    place.deployer.history.collect(frozenset({newest}))
    assert place.deployer.history.verify() == []
    place.acts.stays = re.compile(NOTHING)
    place.restart()
    place.look()
    assert place.left() == []


def test_environment_that_is_gone_leaves_nothing_to_tidy_up(place: Place) -> None:
    place.deploy("one")
    place.deploy("two", OLD_FILE)
    place.deployer.remove_environment("web")
    place.acts.stays = re.compile(NOTHING)
    place.deployer.create_environment("web", "testing", place.target, sources=[place.source], auto_sync=False)
    left = place.left()
    place.deployer.deploy_configuration("web")
    assert place.left() == left, "whose it is, nobody knows any more"


def come_back(place: Place) -> None:
    """Have what a deployment removed there again, as a power cut does where the removal was not on the disk."""
    place.deploy("one")
    place.deploy("two", OLD_FILE)
    left = {name: (place.home / "place" / name).read_bytes() for name in place.left()}
    place.deploy("three")
    assert left
    assert place.left() == []
    for name, content in left.items():
        (place.home / "place" / name).write_bytes(content)


def test_what_a_power_cut_brings_back_goes_at_the_next_start_of_the_machine(place: Place) -> None:
    come_back(place)
    place.boot = "the second"
    place.restart()
    place.look()
    assert place.left() == []
    assert place.deployer.history.unfinished() == []


def test_what_a_power_cut_brings_back_goes_with_the_next_deployment_without_a_daemon(place: Place) -> None:
    come_back(place)
    place.boot = "the second"
    place.restart()
    place.deploy("four")
    assert place.left() == []


def test_what_a_power_cut_brings_back_is_kept_where_somebody_wrote_to_it(place: Place) -> None:
    come_back(place)
    for name in place.left():
        (place.home / "place" / name).write_text("an edit\n")
    place.boot = "the second"
    place.restart()
    place.look()
    kept = place.left()
    assert len(kept) == 2
    assert all(".headgate-kept-" in name for name in kept)


def test_start_that_is_not_one_of_the_machine_looks_for_nothing(place: Place) -> None:
    """A restart loses nothing that was done, so it need not list the directories of all targets."""
    come_back(place)
    left = place.left()
    place.look()
    place.restart()
    place.look()
    assert place.left() == left


def test_start_waits_for_no_target(place: Place) -> None:
    """It might never answer, and the other environments are to be served."""
    come_back(place)
    place.deploy("four", OLD_FILE)
    place.opened.clear()
    place.boot = "the second"
    place.restart()
    assert place.opened == []


def test_target_that_could_not_be_looked_at_is_looked_at_with_the_next_start(place: Place) -> None:
    come_back(place)
    aside = place.target.rename(place.target.with_name("aside"))
    place.boot = "the second"
    place.restart()
    place.look()
    aside.rename(place.target)
    place.restart()
    place.look()
    assert place.left() == []


def test_removal_of_what_was_staged_is_on_the_disk_before_it_is_forgotten(place: Place) -> None:
    place.deploy("one")
    (place.source / "e").mkdir()
    (place.source / "e" / "f").write_text("new\n")
    place.acts.full, place.acts.stays = True, re.compile(r"\.headgate-\w+-\d+")
    with pytest.raises(DeploymentFailedError):
        place.deployer.deploy_configuration("web")
    place.acts.stays = re.compile(NOTHING)
    place.restart()
    place.look()
    assert place.left() == []
    assert len(place.deployer.history.unfinished()) == 1, "removed, but not for good yet"
    place.restart()
    assert len(place.deployer.history.unfinished()) == 1, "nor when nothing is left to remove"
    place.acts.full = False
    place.restart()
    assert place.deployer.history.unfinished() == []
