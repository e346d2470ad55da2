"""After a power cut any of the renames may have reached the disk, those of one directory in their order (T10, T12)."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from fcntl import ioctl
from pathlib import Path

import pytest
from tests.torture.scale import times
from tests.unit.effects.faults import DeadError, Fault, Faulty
from tests.unit.effects.world import TOKEN, D, F, L, Thing, World, build, look, planned, reader

from headgated.core.errors import DeploymentFailedError
from headgated.core.paths import parent
from headgated.core.steps import Step
from headgated.effects.target import Target
from headgated.effects.target.syncs import MUCH

PLACES = [b"a", b"b", b"c"]


def everywhere(world: World) -> World:
    """Have the same in each of the places."""
    found: dict[bytes, Thing] = {place: D() for place in PLACES}
    found |= {place + b"/" + path: thing for place in PLACES for path, thing in world.items()}
    return found


BEFORE = everywhere(
    {b"changed": F(b"old"), b"removed": F(b"removed"), b"type": D(), b"type/x": F(b"x")},
)
AFTER = everywhere(
    {b"changed": F(b"new", 0o600), b"type": L(b"changed"), b"new": D(0o700), b"new/y": F(b"y")},
)
MANY: World = {b"d%d" % n: D() for n in range(40)} | {b"d%d/f" % n: F(b"%d" % n) for n in range(40)}
MANY_BEFORE: World = {path: thing if isinstance(thing, D) else F(b"old") for path, thing in MANY.items()}


@pytest.fixture
def plan(swift: Path) -> tuple[Step, ...]:
    root = swift / "t"
    build(root, BEFORE)
    return planned(Target(str(root)), BEFORE, AFTER)


def states(swift: Path, plan: tuple[Step, ...]) -> dict[str, Path]:
    """Make a copy of the target for each stage of a deployment."""
    root = swift / "t"
    target = Target(str(root))
    made = {"unstaged": copy(root, swift / "unstaged")}
    target.stage(plan, reader(AFTER))
    target.on_disk()
    made["staged"] = copy(root, swift / "staged")
    target.apply(plan)
    made["applied"] = copy(root, swift / "applied")
    target.finish(plan)
    made["finished"] = copy(root, swift / "finished")
    return made


def copy(source: Path, to: Path) -> Path:
    subprocess.run(["cp", "-a", source, to], check=True)
    return to


def mixed(swift: Path, made: dict[str, Path], choice: tuple[str, ...]) -> Path:
    """Return a target each directory of which is in another of the states."""
    root = swift / "mixed"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    for place, state in zip(PLACES, choice, strict=True):
        copy(made[state] / os.fsdecode(place), root / os.fsdecode(place))
    return root


def test_any_mix_of_directories_before_finishing_is_all_or_nothing(
    swift: Path, plan: tuple[Step, ...]
) -> None:
    made = states(swift, plan)
    for choice in itertools.product(["unstaged", "staged", "applied"], repeat=len(PLACES)):
        root = mixed(swift, made, choice)
        done = Target(str(root)).recover(plan)
        assert done is (set(choice) == {"applied"})
        assert look(root) == (AFTER if done else BEFORE), choice
    print({"mixes of directories before finishing": 3 ** len(PLACES)})  # noqa: T201 - figures


def test_any_mix_of_directories_while_finishing_is_all(swift: Path, plan: tuple[Step, ...]) -> None:
    made = states(swift, plan)
    for choice in itertools.product(["applied", "finished"], repeat=len(PLACES)):
        root = mixed(swift, made, choice)
        assert Target(str(root)).recover(plan) is True
        assert look(root) == AFTER, choice
    print({"mixes of directories while finishing": 2 ** len(PLACES)})  # noqa: T201 - figures


def test_any_mix_of_directories_while_undoing_is_nothing(swift: Path, plan: tuple[Step, ...]) -> None:
    """Temporaries go only when every rename back is on disk, so not both undone and unstaged ones are left with applied."""
    made = states(swift, plan)
    for choice in itertools.product(["applied", "staged"], repeat=len(PLACES)):
        root = mixed(swift, made, choice)
        Target(str(root)).undo(plan)
        assert look(root) == BEFORE, choice
    print({"mixes of directories while undoing": 2 ** len(PLACES)})  # noqa: T201 - figures


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small ext4 disk of its own."""
    if os.geteuid() != 0 or not shutil.which("mkfs.ext4"):
        pytest.skip("needs root and mkfs.ext4")
    image, mount = tmp_path / "image", tmp_path / "mount"
    with image.open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    mount.mkdir()
    # Without the heuristic that hides a missing sync.
    if subprocess.run(
        ["mount", "-o", "loop,noauto_da_alloc", image, mount], check=False, capture_output=True
    ).returncode:
        pytest.skip("cannot mount a loop device here")
    yield mount
    subprocess.run(["umount", mount], check=False)


def cut_power(mount: Path) -> None:
    """Drop all that is not on disk (EXT4_IOC_SHUTDOWN, without flushing the log), and come up again."""
    fd = os.open(mount, os.O_RDONLY)
    ioctl(fd, 0x8004587D, struct.pack("=I", 2))
    os.close(fd)
    image = mount.with_name("image")
    subprocess.run(["umount", mount], check=True)
    subprocess.run(["mount", "-o", "loop,noauto_da_alloc", image, mount], check=True)


@pytest.mark.root
@pytest.mark.torture
@pytest.mark.slow
def test_power_cut_at_any_act_leaves_all_or_nothing(disk: Path) -> None:
    root, outcomes = disk / "t", set()
    for at in range(1, 200):
        shutil.rmtree(root, ignore_errors=True)
        build(root, BEFORE)
        os.sync()
        acts = Faulty()
        target = Target(str(root), acts=acts)
        plan = planned(target, BEFORE, AFTER)
        target.stage(plan, reader(AFTER))
        target.on_disk()
        acts.fault = Fault(len(acts.log) + at, dead=True)
        applied = False
        try:
            target.apply(plan)
            applied = True
            target.finish(plan)
        except DeadError:
            pass
        cut_power(disk)
        done = Target(str(root)).recover(plan)
        assert done or not applied
        assert look(root) == (AFTER if done else BEFORE), at
        outcomes.add(done)
        if not acts.fired:
            break
    print({"power cuts, one after each act": at, "outcomes": outcomes})  # noqa: T201 - figures
    assert outcomes == {True, False}
    assert at > 20


@pytest.mark.root
@pytest.mark.torture
@pytest.mark.slow
def test_power_cut_at_any_act_of_undoing_leaves_all_or_nothing(disk: Path) -> None:
    """What was applied and is undone: cut off, it is one or the other, and another recovery changes nothing."""
    root, cuts, outcomes = disk / "t", 0, set()
    for at in range(1, 200, times(3, 1)):
        shutil.rmtree(root, ignore_errors=True)
        build(root, BEFORE)
        os.sync()
        acts = Faulty()
        target = Target(str(root), acts=acts)
        plan = planned(target, BEFORE, AFTER)
        target.stage(plan, reader(AFTER))
        target.on_disk()
        target.apply(plan)
        acts.fault = Fault(len(acts.log) + at, dead=True)
        # What fails for a dead act is tried again after the cut.
        with suppress(DeadError, DeploymentFailedError):
            target.undo(plan)
        cut_power(disk)
        done = Target(str(root)).recover(plan)
        for _ in range(2):
            assert look(root) == (AFTER if done else BEFORE), at
            assert Target(str(root)).recover(plan) is done
        cuts += 1
        outcomes.add(done)
        if not acts.fired:
            break
    print({"power cuts while undoing": cuts, "outcomes": outcomes})  # noqa: T201 - figures
    assert False in outcomes
    assert at > 20


@pytest.mark.root
@pytest.mark.torture
@pytest.mark.slow
def test_power_cut_at_any_act_of_an_exchange_leaves_all_or_nothing(disk: Path) -> None:
    """Of the whole directory: from the commit to the last removal, every second act."""
    root, outcomes = disk / "t", set()
    for at in range(1, 200, 2):
        for name in disk.iterdir():
            if name.name != "lost+found":
                shutil.rmtree(name)
        build(root, BEFORE)
        (root / "foreign").write_bytes(b"not ours")
        os.sync()
        acts = Faulty()
        target = Target(str(root), acts=acts, leeway=0)
        whole, plan = target.whole(TOKEN), planned(target, BEFORE, AFTER)
        whole.prepare([])
        whole.stage(plan, reader(AFTER))
        acts.fault = Fault(len(acts.log) + at, dead=True)
        applied = False
        try:
            whole.apply(plan)
            applied = True
            whole.finish(plan)
        except DeadError:
            pass
        cut_power(disk)
        done = Target(str(root)).recover(plan, token=TOKEN)
        assert done or not applied
        assert look(root) == {**(AFTER if done else BEFORE), b"foreign": F(b"not ours")}, at
        assert sorted(os.listdir(disk)) == ["lost+found", "t"], at
        outcomes.add(done)
        if not acts.fired:
            break
    assert outcomes == {True, False}
    assert at > 20


@pytest.mark.root
@pytest.mark.torture
@pytest.mark.slow
def test_applied_survives_a_power_cut(disk: Path) -> None:
    for number, (before, after) in enumerate([(BEFORE, AFTER), (MANY_BEFORE, MANY), ({}, MANY)]):
        root = disk / str(number)
        build(root, before)
        os.sync()
        target = Target(str(root))
        plan = planned(target, before, after)
        target.stage(plan, reader(after))
        target.on_disk()
        target.apply(plan)
        (root / "unsynced").write_bytes(b"so that something is lost")
        cut_power(disk)
        assert not (root / "unsynced").exists()
        assert Target(str(root)).recover(plan) is True
        assert look(root) == after


def test_everything_is_synced_in_order(swift: Path) -> None:
    """Each file and directory that is staged before the first rename; each directory with renames after the last."""
    root = swift / "t"
    build(root, BEFORE)
    acts = Faulty()
    target = Target(str(root), acts=acts)
    plan = planned(target, BEFORE, AFTER)
    target.stage(plan, reader(AFTER))
    target.on_disk()
    assert acts.log.count("sync") == acts.log.count("create") + acts.log.count("make_directory")
    staged = len(acts.log)
    target.apply(plan)
    last = max(at for at, verb in enumerate(acts.log) if verb == "rename")
    assert acts.log[last + 1 :] == ["sync"] * len(PLACES)
    assert "sync" not in acts.log[staged:last]


def test_temporaries_go_only_when_what_is_undone_is_on_disk(swift: Path, plan: tuple[Step, ...]) -> None:
    """Otherwise some of it might come up undone without a trace and the rest performed."""
    acts = Faulty()
    target = Target(str(swift / "t"), acts=acts)
    target.stage(plan, reader(AFTER))
    target.on_disk()
    target.apply(plan)
    del acts.log[:]
    target.undo(plan)
    last = max(at for at, verb in enumerate(acts.log) if verb == "rename")
    assert acts.log[last + 1 :][: len(PLACES)] == ["sync"] * len(PLACES)
    assert not {"unlink", "remove_directory"} & set(acts.log[:last])


def test_one_file_costs_two_syncs(swift: Path) -> None:
    root = swift / "t"
    build(root, {b"f": F(b"old")})
    acts = Faulty()
    target = Target(str(root), acts=acts)
    plan = planned(target, [b"f"], {b"f": F(b"new")})
    target.stage(plan, reader({b"f": F(b"new")}))
    target.apply(plan)
    target.finish(plan)
    assert acts.log.count("sync") == 2
    assert acts.log.count("sync_file_system") == 0


def test_many_files_are_synced_together(swift: Path) -> None:
    root = swift / "t"
    build(root, MANY_BEFORE)
    acts = Faulty()
    target = Target(str(root), acts=acts)
    plan = planned(target, MANY_BEFORE, MANY)
    target.stage(plan, reader(MANY))
    target.on_disk()
    assert (acts.log.count("sync"), acts.log.count("sync_file_system")) == (0, 1)
    target.apply(plan)
    assert (acts.log.count("sync"), acts.log.count("sync_file_system")) == (0, 2)
    target.finish(plan)
    assert look(root) == MANY


def test_very_many_directories_are_synced_once(swift: Path) -> None:
    """Nothing changes any more by then: there is nothing to begin early with."""
    directories: World = {b"%03d" % number: D() for number in range(MUCH + 50)}
    before: World = {**directories, **{name + b"/f": F(b"old") for name in directories}}
    after: World = {**directories, **{name + b"/f": F(b"new") for name in directories}}
    root, acts = swift / "t", Faulty()
    build(root, before)
    target = Target(str(root), acts=acts)
    plan = planned(target, before, after)
    target.stage(plan, reader(after))
    target.on_disk()
    del acts.log[:]
    target.apply(plan)
    assert acts.log.count("sync_file_system") == 1
    assert look(root)[b"000/f"] == F(b"new")


@pytest.mark.parametrize("when", ["stage", "apply"])
def test_failing_sync_of_many_files_is_undone(swift: Path, when: str) -> None:
    root = swift / "t"
    build(root, MANY_BEFORE)
    acts = Faulty()
    target = Target(str(root), acts=acts)
    plan = planned(target, MANY_BEFORE, MANY)
    if when == "apply":
        target.stage(plan, reader(MANY))
        target.on_disk()
    acts.fail("sync_file_system", errno.EIO)
    if when == "stage":
        target.stage(plan, reader(MANY))
    with pytest.raises(DeploymentFailedError) as caught:
        target.on_disk() if when == "stage" else target.apply(plan)
    assert caught.value.reason == ("IO_ERROR" if when == "stage" else "UNDO_FAILED")
    if when == "stage":
        acts.fired = ""
        target.sweep({parent(step.path) for step in plan}, TOKEN)
    else:
        assert Target(str(root)).recover(plan) is False
    assert look(root) == MANY_BEFORE
