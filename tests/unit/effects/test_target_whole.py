"""A target that is exchanged as a whole: all or nothing, nothing rewritten, nothing of others lost."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import stat
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Thread

import pytest
from tests.unit.effects.faults import DeadError, Fault, Faulty, in_child
from tests.unit.effects.mounts import mounted
from tests.unit.effects.test_target import CASES
from tests.unit.effects.test_target_faults import AFTER, BEFORE, NO_FAULT, cut_off, faults
from tests.unit.effects.world import TOKEN, D, F, L, Special, Thing, World, build, changes, look, reader

from headgated.core.errors import DeploymentFailedError, HeadgateError, TargetMovedError
from headgated.core.steps import Step, steps
from headgated.effects import kernel
from headgated.effects.target import Target
from headgated.effects.target.whole import Whole

FOREIGN: World = {
    b"other": F(b"not ours", 0o604),
    b"nowhere": L(b"/nothing/here"),
    b"theirs": D(0o1777),
    b"theirs/deep": D(0o700),
    b"theirs/deep/file": F(b"deep"),
    b"opens/theirs": F(b"among ours"),
    b".headgate-kept-ffffffffffff-0": F(b"kept"),
}
FIFO: World = {b"fifo": Special(stat.S_IFIFO)}
OLD: World = {**BEFORE, **FOREIGN}
NEW: World = {**AFTER, **FOREIGN}
ACLS = {
    # user::rwx, user 1: rwx, group::r-x, mask::rwx, other::r-x; by default user 2: r too
    "system.posix_acl_access": "02000000 01000700ffffffff 0200070001000000 04000500ffffffff 10000700ffffffff 20000500ffffffff",
    "system.posix_acl_default": "02000000 01000700ffffffff 0200040002000000 04000500ffffffff 10000500ffffffff 20000500ffffffff",
}
TARGETS = pytest.mark.parametrize("there", ["there", "missing"])


@pytest.fixture
def root(swift: Path) -> Path:
    return swift / "t"


def fresh(root: Path, world: World = OLD) -> None:
    for name in root.parent.iterdir():
        shutil.rmtree(name)
    if world:
        build(root, world)


def plan_of(root: Path, before: World, after: World) -> tuple[Step, ...]:
    return steps(changes(Target(str(root)), before, after), TOKEN)


def deploy(root: Path, before: World, after: World, acts: Faulty | None = None) -> list[str]:
    """All of it, as the engine does; return the notes."""
    target = Target(str(root), acts=acts, leeway=0)
    todo = changes(target, before, after)
    plan = steps(todo, TOKEN)
    whole = target.whole(TOKEN)
    try:
        whole.prepare(todo)
        whole.stage(plan, reader(after))
    except HeadgateError:
        target.sweep([], TOKEN)
        raise
    whole.apply(plan)
    return whole.finish(plan)


def staged(
    root: Path, before: World, after: World, acts: Faulty | None = None
) -> tuple[Whole, tuple[Step, ...]]:
    """Build the new directory beside the target."""
    target = Target(str(root), acts=acts, leeway=0)
    todo = changes(target, before, after)
    plan, whole = steps(todo, TOKEN), target.whole(TOKEN)
    whole.prepare(todo)
    whole.stage(plan, reader(after))
    return whole, plan


def alone(root: Path) -> bool:
    """Tell whether nothing lies beside the target."""
    return os.listdir(root.parent) in ([], [root.name])


def names_in(root: Path) -> list[str]:
    return sorted(name for name in os.listdir(root.parent) if name != root.name)


@pytest.mark.parametrize("case", CASES)
def test_deploy_brings_what_is_wanted_and_back(root: Path, case: str) -> None:
    before, after = CASES[case]
    build(root, before)
    for one, other in ((before, after), (after, before)):
        assert deploy(root, one, other) == []
        assert look(root) == other
        assert alone(root)


def test_a_missing_target_is_made_with_all_above_it(root: Path) -> None:
    deep = root / "a" / "b"
    assert deploy(deep, {}, AFTER) == []
    assert look(deep) == AFTER
    assert stat.S_IMODE(deep.stat().st_mode) == 0o755
    assert alone(deep)


def test_what_others_put_there_is_the_very_same_and_directories_are_alike(root: Path) -> None:
    fresh(root)
    os.mkfifo(root / "fifo", 0o620)
    with socket.socket(socket.AF_UNIX) as listening:
        here = os.open(root, os.O_RDONLY)
        listening.bind(f"/proc/self/fd/{here}/socket")
        os.close(here)
        os.link(root / "other", root / "theirs" / "second name")
        for path in (root / "theirs", root / "theirs" / "deep", root):
            os.setxattr(path, "user.note", b"kept")
            os.utime(path, ns=(10**18, 10**18 + 1))
        (root).chmod(0o2751)
        before = {path: path.lstat() for path in sorted(root.rglob("*"))} | {root: root.lstat()}
        assert deploy(root, BEFORE, AFTER) == []
    untouched = [p for p in before if os.fsencode(p.relative_to(root)) not in BEFORE]
    for path in untouched:
        was, now = before[path], path.lstat()
        assert (now.st_mode, now.st_uid, now.st_gid) == (was.st_mode, was.st_uid, was.st_gid), path
        if stat.S_ISDIR(was.st_mode):
            assert os.getxattr(path, "user.note") == b"kept"
            assert path == root or now.st_mtime_ns == was.st_mtime_ns, path
        else:
            assert (now.st_ino, now.st_mtime_ns, now.st_nlink) == (
                was.st_ino,
                was.st_mtime_ns,
                was.st_nlink,
            ), path
    assert before[root].st_ino != root.stat().st_ino
    assert alone(root)


@pytest.mark.root
def test_owners_lists_and_devices_go_along(root: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root gives files away")
    fresh(root)
    os.mknod(root / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.chown(root / "theirs", 1234, 4321)
    for name, hexadecimal in ACLS.items():
        os.setxattr(root / "theirs", name, bytes.fromhex(hexadecimal))
    listed = {name: os.getxattr(root / "theirs", name) for name in os.listxattr(root / "theirs")}
    assert deploy(root, BEFORE, AFTER) == []
    assert (root / "null").stat().st_rdev == os.makedev(1, 3)
    there = (root / "theirs").stat()
    assert (there.st_uid, there.st_gid) == (1234, 4321)
    assert {name: os.getxattr(root / "theirs", name) for name in os.listxattr(root / "theirs")} == listed


def test_unchanged_files_need_not_be_read_again(root: Path) -> None:
    fresh(root)
    target = Target(str(root), leeway=0)
    paths = [path for path, thing in OLD.items() if isinstance(thing, F)]
    after: World = {**OLD, b"app.conf": F(b"new")}
    for content in (b"new", b"newer", b"newest"):
        after = {**after, b"app.conf": F(content)}
        todo = changes(target, OLD, after)
        plan, whole = steps(todo, TOKEN), target.whole(TOKEN)
        whole.prepare(todo)
        whole.stage(plan, reader(after))
        whole.apply(plan)
        assert whole.finish(plan) == []
    lens = target._lens
    if any(lens.fine_times.values()):
        assert all(lens.digest(path, (root / os.fsdecode(path)).lstat()) for path in paths)
    assert look(root) == after


def acts_of(root: Path, before: World, after: World) -> list[str]:
    fresh(root, before)
    acts = Faulty()
    deploy(root, before, after, acts)
    return acts.log


@TARGETS
def test_every_failing_act_leaves_all_or_nothing(root: Path, there: str) -> None:
    before, after = (OLD, NEW) if there == "there" else ({}, AFTER)
    log = acts_of(root, before, after)
    assert look(root) == after
    outcomes = set()
    for fault in faults(log, [errno.EIO, errno.ENOSPC, errno.EACCES]):
        if fault.at not in points(log):
            continue
        fresh(root, before)
        acts = Faulty(fault)
        context = f"{fault} at {log[fault.at - 1]}"
        plan = plan_of(root, before, after)
        try:
            deploy(root, before, after, acts)
        except HeadgateError as error:
            if error.reason == "UNDO_FAILED":
                assert Target(str(root)).recover(plan, token=TOKEN) is False, context
            else:
                Target(str(root)).sweep([], TOKEN)
            assert look(root) == before, context
            outcomes.add(error.reason)
            assert names_in(root) == [], context
        else:
            assert_finished(root, plan, after, context)
        assert acts.fired, context
    assert outcomes >= {"IO_ERROR", "NO_SPACE", "PERMISSION"}


def points(log: list[str]) -> list[int]:
    """Return the acts to fail at: every one after the build, and every eighth before, where the target cannot be touched."""
    return [at for at in range(1, len(log) + 1) if at % 8 == 0 or at > built_by(log) - 3]


def built_by(log: list[str]) -> int:
    """Return which act, from 1, is the first after the build."""
    return log.index("rename", len(log) - log[::-1].index("create")) + 1


def assert_finished(root: Path, plan: tuple[Step, ...], after: World, context: str) -> None:
    """It was applied; what could not be tidied up then is by recovery, as it would be if this were the end of the process."""
    Target(str(root)).recover(plan, token=TOKEN)
    assert look(root) == after, context
    assert names_in(root) == [], context


@TARGETS
def test_every_verb_that_goes_on_failing_is_repaired_when_it_works_again(root: Path, there: str) -> None:
    before, after = (OLD, NEW) if there == "there" else ({}, AFTER)
    log = acts_of(root, before, after)
    for at in points(log):
        fresh(root, before)
        acts = Faulty(Fault(at, errno.EIO, persistent=True))
        plan = plan_of(root, before, after)
        context = f"{log[at - 1]} from {at}"
        committed = applied = False
        try:
            whole, plan = staged(root, before, after, acts)
            committed = True
            whole.apply(plan)
            applied = True
            whole.finish(plan)
        except HeadgateError as error:
            recover = error.reason == "UNDO_FAILED"
        else:
            recover = True
        again = Target(str(root))
        if not committed:
            again.sweep([], TOKEN)
        elif recover:  # where the very last rename goes on failing, both ends are right
            applied = again.recover(plan, token=TOKEN) or applied
        assert look(root) == (after if applied else before), context
        assert names_in(root) == [], context


def deployment(
    root: Path, before: World, after: World, fault: Fault
) -> Callable[[Callable[[bytes], None]], None]:
    """Say `c` when it would be committed, `a` when it would be recorded as applied."""

    def work(say: Callable[[bytes], None]) -> None:
        whole, plan = staged(root, before, after, Faulty(fault))
        say(b"c")
        whole.apply(plan)
        say(b"a")
        whole.finish(plan)

    return work


def repaired(
    root: Path, plan: tuple[Step, ...], ends: tuple[World, World], said: bytes, context: str
) -> bool:
    """Do what the engine does at its start; return whether the deployment is in force. Once more changes nothing."""
    done = False
    if not said:
        Target(str(root)).sweep([], TOKEN)
    else:
        notes: list[str] = []
        done = Target(str(root)).recover(plan, notes, token=TOKEN)
        assert notes == [], context
        assert done or b"a" not in said, context
    assert look(root) == ends[done], context
    assert names_in(root) == [], context
    if said:
        assert Target(str(root)).recover(plan, token=TOKEN) is done, context
        assert look(root) == ends[done], context
    return done


@TARGETS
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_any_act_is_recovered(root: Path, there: str, when: str) -> None:
    before, after = (OLD, NEW) if there == "there" else ({}, AFTER)
    log = acts_of(root, before, after)
    outcomes = set()
    fresh(root, before)
    plan = plan_of(root, before, after)
    for at in points(log):
        fresh(root, before)
        killed, said = in_child(deployment(root, before, after, Fault(at, done=when == "after")))
        assert killed, "the fault did not fire"
        outcomes.add((said, repaired(root, plan, (before, after), said, f"{log[at - 1]} {at}")))
    assert outcomes == {(b"", False), (b"c", False), (b"c", True), (b"ca", True)}


@TARGETS
def test_killed_while_recovering_is_recovered(root: Path, there: str) -> None:
    before, after = (OLD, NEW) if there == "there" else ({}, AFTER)
    log = acts_of(root, before, after)
    fresh(root, before)
    plan = plan_of(root, before, after)
    tried = 0
    steps_of = 3 if there == "there" else 1
    for at in range(built_by(log), len(log) + 1, steps_of):
        for second in range(1 + at // 2 % steps_of, len(log), steps_of):
            fresh(root, before)
            said: list[bytes] = []
            assert cut_off(partial(deployment(root, before, after, Fault(at, dead=True)), said.append))
            if not said:
                break
            if not cut_off(partial(_recover, root, plan, second)):
                break
            repaired(root, plan, (before, after), b"".join(said), f"{log[at - 1]} {at}, then {second}")
            tried += 1
    assert tried > (30 if there == "there" else 5)


def _recover(root: Path, plan: tuple[Step, ...], dead_at: int) -> bool:
    acts = Faulty(Fault(dead_at, dead=True))
    return Target(str(root), acts=acts, leeway=0).recover(plan, token=TOKEN)


def test_killed_while_changing_back_is_recovered(root: Path) -> None:
    """A hand-edit that is found only after the exchange has it undone; killed anywhere in that, too."""
    fresh(root)
    plan = plan_of(root, OLD, NEW)

    def edited(fault: Fault) -> Callable[[], object]:
        fresh(root)
        acts = Faulty(fault)
        whole, _ = staged(root, OLD, NEW, acts)
        real = acts.rename

        def rename(directory: int, old: bytes, new: bytes, flags: int = 0) -> None:
            if flags == kernel.RENAME_EXCHANGE and new == b"t" and not edits:
                edits.append(True)
                (root / "app.conf").write_bytes(b"by hand")
            real(directory, old, new, flags)

        acts.rename = rename  # type: ignore[method-assign]
        edits: list[bool] = []
        return partial(whole.apply, plan)

    by_hand: World = {**OLD, b"app.conf": F(b"by hand", 0o640)}
    with pytest.raises(TargetMovedError):
        edited(NO_FAULT)()
    assert look(root) == by_hand
    assert names_in(root) == []
    outcomes = set()
    for at in range(1, 1000, 3):
        try:
            edited(Fault(at, dead=True))()
        except DeadError:
            pass
        except TargetMovedError:
            break
        else:
            raise AssertionError("an edit was not found")
        edit = (root / "app.conf").read_bytes() == b"by hand" or b"by hand" in _contents(root.parent)
        done = Target(str(root)).recover(plan, token=TOKEN)
        outcomes.add((edit, done))
        assert look(root) == (by_hand if edit else OLD), at
        assert names_in(root) == [], at
    assert outcomes == {(True, False), (False, False)}


def _contents(directory: Path) -> list[bytes]:
    return [path.read_bytes() for path in directory.rglob("app.conf") if path.is_file()]


MEANWHILE: dict[str, tuple[Callable[[Path], object], World]] = {
    "new file": (lambda r: (r / "late").write_bytes(b"late"), {b"late": F(b"late")}),
    "new file in a directory": (
        lambda r: (r / "theirs" / "late").write_bytes(b"late"),
        {b"theirs/late": F(b"late")},
    ),
    "new fifo": (lambda r: os.mkfifo(r / "late", 0o600), {b"late": Special(stat.S_IFIFO)}),
    "new symlink": (lambda r: (r / "late").symlink_to("x"), {b"late": L(b"x")}),
    "new tree": (
        lambda r: build(r / "late", {b"a": D(0o711), b"a/f": F(b"f", 0o600)}),
        {b"late": D(), b"late/a": D(0o711), b"late/a/f": F(b"f", 0o600)},
    ),
    "written in place": (lambda r: (r / "other").write_bytes(b"written"), {b"other": F(b"written", 0o604)}),
    "written by an editor": (lambda r: _edit(r / "other"), {b"other": F(b"edited", 0o604)}),
    "mode of a directory": (lambda r: (r / "theirs" / "deep").chmod(0o711), {b"theirs/deep": D(0o711)}),
    "mode of a file": (lambda r: (r / "other").chmod(0o600), {b"other": F(b"not ours", 0o600)}),
}
GONE_MEANWHILE: dict[str, tuple[Callable[[Path], object], list[bytes], World]] = {
    "removed": (lambda r: (r / "other").unlink(), [b"other"], {}),
    "removed tree": (
        lambda r: shutil.rmtree(r / "theirs"),
        [b"theirs", b"theirs/deep", b"theirs/deep/file"],
        {},
    ),
    "renamed": (
        lambda r: (r / "other").rename(r / "renamed"),
        [b"other"],
        {b"renamed": F(b"not ours", 0o604)},
    ),
    "rotated": (
        lambda r: _rotate(r / "other"),
        [],
        {b"other": F(b"fresh"), b"other.1": F(b"not ours", 0o604)},
    ),
    "moved tree": (
        lambda r: (r / "theirs").rename(r / "moved"),
        [b"theirs", b"theirs/deep", b"theirs/deep/file"],
        {b"moved": D(0o1777), b"moved/deep": D(0o700), b"moved/deep/file": F(b"deep")},
    ),
}
ALL_MEANWHILE: dict[str, tuple[Callable[[Path], object], list[bytes], World]] = {
    **{name: (act, [], more) for name, (act, more) in MEANWHILE.items()},
    **GONE_MEANWHILE,
}


def _edit(path: Path) -> None:
    """As many editors do: a new file, renamed over the old one."""
    other = path.with_name("edit~")
    other.write_bytes(b"edited")
    other.chmod(path.stat().st_mode)
    other.rename(path)


def _make_directory_of(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _rotate(path: Path) -> None:
    path.rename(path.with_name(path.name + ".1"))
    path.write_bytes(b"fresh")


@pytest.mark.parametrize("what", ALL_MEANWHILE)
@pytest.mark.parametrize("when", ["built", "at the exchange"])
def test_what_others_do_meanwhile_is_brought_over(root: Path, what: str, when: str) -> None:
    act, gone, more = ALL_MEANWHILE[what]
    fresh(root)
    acts = Faulty()
    whole, plan = staged(root, OLD, NEW, acts)
    if when == "built":
        act(root)
    else:  # the second rename of all that follow is the exchange
        acts.fault = Fault(_nth_rename(root, 2), meanwhile=lambda: act(root))
        fresh(root)
        acts.log.clear()
        whole, plan = staged(root, OLD, NEW, acts)
    whole.apply(plan)
    assert whole.finish(plan) == []
    assert look(root) == {path: thing for path, thing in {**NEW, **more}.items() if path not in gone}
    assert names_in(root) == []


def _nth_rename(root: Path, n: int) -> int:
    """Return which act the n-th rename after staging is."""
    fresh(root)
    acts = Faulty()
    whole, plan = staged(root, OLD, NEW, acts)
    done = len(acts.log)
    whole.apply(plan)
    found = [at for at, verb in enumerate(acts.log, 1) if verb == "rename" and at > done]
    return found[n - 1]


IN_THE_WAY: dict[str, Callable[[Path], object]] = {
    "edited": lambda r: (r / "app.conf").write_bytes(b"by hand"),
    "replaced": lambda r: _edit(r / "app.conf"),
    "removed": lambda r: (r / "gone").unlink(),
    "made first": lambda r: (r / "fresh").write_bytes(b"by hand"),
    "closed": lambda r: (r / "opens").chmod(0o500),
    "filled": lambda r: (r / "was-dir" / "theirs").write_bytes(b"by hand"),
    "another kind": lambda r: _make_directory_of(r / "other"),
}


@pytest.mark.parametrize("what", IN_THE_WAY)
@pytest.mark.parametrize("when", ["built", "at the exchange"])
def test_what_meets_the_plan_meanwhile_undoes_it(root: Path, what: str, when: str) -> None:
    act = IN_THE_WAY[what]
    acts = Faulty()
    at = _nth_rename(root, 2)
    fresh(root)
    whole, plan = staged(root, OLD, NEW, acts)
    if when == "built":
        act(root)
    else:
        acts.fault = Fault(at, meanwhile=lambda: act(root))
    wanted = root.parent / "wanted"
    build(wanted, OLD)
    act(wanted)
    expected = look(wanted)
    shutil.rmtree(wanted)
    with pytest.raises(TargetMovedError):
        whole.apply(plan)
    assert look(root) == expected
    assert names_in(root) == []


def test_target_replaced_meanwhile_is_not_lost(root: Path) -> None:
    at = _nth_rename(root, 2)
    fresh(root)
    acts = Faulty()
    whole, plan = staged(root, OLD, NEW, acts)

    def replace() -> None:
        root.rename(root.parent / "aside")
        build(root, {b"mine": F(b"mine")})

    acts.fault = Fault(at, meanwhile=replace)
    with pytest.raises(TargetMovedError):
        whole.apply(plan)
    assert look(root) == {b"mine": F(b"mine")}
    assert names_in(root) == ["aside"]


def test_new_target_made_by_somebody_meanwhile_stays(root: Path) -> None:
    whole, plan = staged(root, {}, AFTER)
    build(root, {b"mine": F(b"mine")})
    with pytest.raises(TargetMovedError):
        whole.apply(plan)
    assert look(root) == {b"mine": F(b"mine")}
    assert names_in(root) == []


def test_what_is_written_to_the_new_tree_before_it_goes_back_is_kept(root: Path) -> None:
    """The exchange is done, its sync fails: what somebody wrote in between is not lost with the new tree."""
    at = _nth_rename(root, 3)
    fresh(root)
    acts = Faulty()
    whole, plan = staged(root, OLD, NEW, acts)

    def write() -> None:
        (root / "app.conf").write_bytes(b"to the new one")
        (root / "tree" / "more").write_bytes(b"in a new directory")
        (root / "late").write_bytes(b"late")
        (root / "made").mkdir()
        (root / "made" / "in").write_bytes(b"in")
        acts.fail("sync", errno.EIO)

    acts.fault = Fault(at, meanwhile=write)
    with pytest.raises(DeploymentFailedError) as caught:
        whole.apply(plan)
    assert caught.value.reason == "UNDO_FAILED"
    notes: list[str] = []
    assert Target(str(root)).recover(plan, notes, token=TOKEN) in (True, False)
    now = look(root)
    contents = {thing.content for thing in now.values() if isinstance(thing, F)}
    assert {b"to the new one", b"in a new directory", b"late", b"in"} <= contents
    assert now[b"late"] == F(b"late")
    assert now[b"made/in"] == F(b"in")
    assert names_in(root) == []


def test_held_directory_stays_the_old_one(root: Path) -> None:
    fresh(root)
    held = os.open(root, os.O_RDONLY)
    deploy(root, BEFORE, AFTER)
    assert os.fstat(held).st_ino != root.stat().st_ino
    assert os.listdir(held) == []
    os.close(held)


class TestMounts:
    @pytest.fixture
    def world(self, tmp_path: Path) -> Path:
        root = tmp_path / "t"
        build(root, OLD)
        return root

    def test_mount_inside_is_refused_with_its_path(self, world: Path) -> None:
        with mounted(world / "theirs" / "deep", "-t", "tmpfs", "tmpfs"):
            with pytest.raises(DeploymentFailedError) as caught:
                deploy(world, BEFORE, AFTER)
            assert caught.value.reason == "MOUNT_POINT"
            assert any("theirs/deep" in path for path in caught.value.paths)
        assert look(world) == OLD
        assert names_in(world) == []

    def test_mount_inside_that_comes_after_the_check_is_refused(self, world: Path) -> None:
        target = Target(str(world))
        todo = changes(target, BEFORE, AFTER)
        plan, whole = steps(todo, TOKEN), target.whole(TOKEN)
        whole.prepare(todo)
        with mounted(world / "theirs" / "deep", "-t", "tmpfs", "tmpfs"):
            with pytest.raises(DeploymentFailedError) as caught:
                whole.stage(plan, reader(AFTER))
            assert (caught.value.reason, caught.value.paths) == ("MOUNT_POINT", ("theirs/deep",))
            target.sweep([], TOKEN)
        assert look(world) == OLD
        assert names_in(world) == []

    def test_bind_mounted_file_is_refused(self, world: Path) -> None:
        source = world.parent / "source"
        source.write_bytes(b"bound")
        with mounted(world / "other", "--bind", source):
            with pytest.raises(DeploymentFailedError) as caught:
                deploy(world, BEFORE, AFTER)
            assert caught.value.reason == "MOUNT_POINT"
        assert look(world) == OLD

    @pytest.mark.parametrize("when", ["built", "at the exchange"])
    def test_mount_that_comes_later_has_everything_undone(self, world: Path, when: str) -> None:
        acts = Faulty()
        whole, plan = staged(world, BEFORE, AFTER, acts)
        inside = world / "theirs" / "deep"

        def mount() -> None:
            subprocess.run(["mount", "-t", "tmpfs", "tmpfs", inside], check=True)
            (inside / "precious").write_bytes(b"precious")

        if os.geteuid() != 0:
            pytest.skip("only root mounts")
        if when == "built":
            mount()
        else:
            acts.fault = Fault(len(acts.log) + 2, meanwhile=mount)
        try:
            with pytest.raises(DeploymentFailedError) as caught:
                whole.apply(plan)
            assert caught.value.reason == "MOUNT_POINT"
            assert (inside / "precious").read_bytes() == b"precious"
        finally:
            subprocess.run(["umount", "-l", inside], check=True)
        assert look(world) == OLD
        assert names_in(world) == []

    def test_target_that_is_a_mount_point_is_refused(self, tmp_path: Path) -> None:
        root = tmp_path / "t"
        root.mkdir()
        with mounted(root, "-t", "tmpfs", "tmpfs"):
            with pytest.raises(DeploymentFailedError) as caught:
                deploy(root, {}, AFTER)
            assert caught.value.reason == "MOUNT_POINT"
            assert look(root) == {}


def test_immutable_foreign_file_is_refused_with_its_path(tmp_path: Path) -> None:
    root = tmp_path / "t"
    build(root, OLD)
    if subprocess.run(["chattr", "+i", root / "other"], check=False, capture_output=True).returncode:
        pytest.skip("needs root and a file system with flags")
    try:
        with pytest.raises(DeploymentFailedError) as caught:
            deploy(root, BEFORE, AFTER)
    finally:
        subprocess.run(["chattr", "-i", root / "other"], check=True)
    assert (caught.value.reason, caught.value.paths) == ("CANNOT_CARRY", ("other",))
    assert look(root) == OLD
    assert names_in(root) == []


def test_file_system_without_exchange_is_said_to_be_one(root: Path) -> None:
    fresh(root)
    acts = Faulty(flagged=False)
    with pytest.raises(DeploymentFailedError) as caught:
        deploy(root, BEFORE, AFTER, acts)
    assert caught.value.reason == "EXCHANGE_UNSUPPORTED"
    Target(str(root)).sweep([], TOKEN)
    assert look(root) == OLD


def test_everything_is_synced_in_order(root: Path) -> None:
    """The whole new tree, and its name, before it is exchanged; the exchange before anything old is removed."""
    fresh(root)
    acts = Faulty()
    whole, plan = staged(root, OLD, NEW, acts)
    assert acts.log[-1] == "sync"
    built = len(acts.log)
    whole.apply(plan)
    assert acts.log[built:] == ["rename", "rename", "rename", "sync"]
    whole.finish(plan)
    after = acts.log[built + 4 :]
    assert after[-1] == "sync"
    assert "unlink" in after
    thing: Thing = look(root)[b"other"]
    assert thing == FOREIGN[b"other"]


def test_old_directory_stays_whole_for_a_moment(root: Path) -> None:
    """Whoever opened it just before the exchange can read it to its end."""
    fresh(root)
    target = Target(str(root), leeway=0.5)
    todo = changes(target, OLD, NEW)
    plan, whole = steps(todo, TOKEN), target.whole(TOKEN)
    whole.prepare(todo)
    whole.stage(plan, reader(NEW))
    held = os.open(root, os.O_RDONLY)
    whole.apply(plan)
    finishing = Thread(target=whole.finish, args=(plan,))
    finishing.start()
    assert look(root).keys() - {b".headgate-%s-new" % TOKEN.encode()} == NEW.keys()
    assert look(Path(f"/proc/self/fd/{held}")) == OLD
    finishing.join()
    assert os.listdir(held) == []
    os.close(held)


def test_old_directory_that_cannot_be_removed_is_named(root: Path) -> None:
    fresh(root)
    acts = Faulty()
    whole, plan = staged(root, OLD, NEW, acts)
    whole.apply(plan)
    acts.fail("remove_directory", errno.EIO)
    notes = whole.finish(plan)
    assert any("Input/output error" in note for note in notes)
    assert any(f".headgate-{TOKEN}-old" in note for note in notes)
    assert look(root) == NEW, "the marker is gone all the same"
