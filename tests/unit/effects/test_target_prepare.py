"""What cannot work is refused before anything changes (T9, T11), or undone when it shows too late."""

from __future__ import annotations

import os
import resource
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.unit.effects.faults import in_child
from tests.unit.effects.mounts import mounted
from tests.unit.effects.world import TOKEN, D, F, L, Thing, World, build, changes, deploy, entry, look, reader

from headgated.core.errors import DeploymentFailedError, TargetMovedError
from headgated.core.plan import Change
from headgated.core.steps import steps
from headgated.effects.target import Target

ROOT = pytest.mark.root
WORLD: World = {b"f": F(b"old"), b"d": D(), b"d/x": F(b"x"), b"d/e": D(), b"d/e/y": F(b"y")}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    build(tmp_path / "t", WORLD)
    return tmp_path / "t"


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of one MiB and forty inodes."""
    where = tmp_path / "small"
    where.mkdir()
    with mounted(where, "-t", "tmpfs", "-o", "size=1m,nr_inodes=40", "none"):
        yield where


def refused(target: Target, before: World, after: World) -> DeploymentFailedError:
    todo = changes(target, before, after)
    with pytest.raises(DeploymentFailedError) as caught:
        target.prepare(todo)
    assert all(caught.value.paths)
    return caught.value


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_missing_target_is_made_with_its_parents_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    root = tmp_path / "not" / "yet"
    before = os.umask(umask)
    try:
        deploy(Target(str(root)), {}, {b"f": F(b"new")})
    finally:
        os.umask(before)
    assert look(root) == {b"f": F(b"new")}
    assert [stat.S_IMODE(made.stat().st_mode) for made in (root.parent, root)] == [0o755, 0o755]


def test_nothing_to_do_changes_nothing(root: Path) -> None:
    deploy(Target(str(root)), WORLD, WORLD)
    assert look(root) == WORLD


@pytest.mark.parametrize(
    "path",
    [b"n" * 256, b"/".join([b"n" * 200] * 21), b"d/" + b"n" * 300 + b"/x"],
    ids=["name", "path", "inside"],
)
def test_too_long_names_are_refused(root: Path, path: bytes) -> None:
    with pytest.raises(DeploymentFailedError) as caught:
        Target(str(root)).prepare([Change(path, None, entry(F())), Change(b"ok", None, entry(F()))])
    assert caught.value.reason == "NAME_TOO_LONG"
    assert caught.value.paths == (os.fsdecode(path),)


def test_longest_name_can_be_deployed(root: Path) -> None:
    after = {**WORLD, b"n" * 255: F(b"long")}
    deploy(Target(str(root)), WORLD, after)
    assert look(root) == after


def test_symlink_to_too_long_a_path_is_refused(root: Path) -> None:
    assert refused(Target(str(root)), WORLD, {**WORLD, b"l": L(b"x" * 4096)}).reason == "NAME_TOO_LONG"


def test_directory_that_went_means_the_target_moved(root: Path) -> None:
    target = Target(str(root))
    todo = changes(target, WORLD, {**WORLD, b"d/x": F(b"new")})
    shutil.rmtree(root / "d")
    with pytest.raises(TargetMovedError):
        target.prepare(todo)


@ROOT
@pytest.mark.parametrize("flags", ["remount,ro,bind", "remount,ro"])
def test_read_only_target_is_refused(tmp_path: Path, flags: str) -> None:
    root = tmp_path / "ro"
    root.mkdir()
    with mounted(root, "-t", "tmpfs", "none"):
        build(root, WORLD)
        target = Target(str(root))
        todo = changes(target, WORLD, {**WORLD, b"f": F(b"new"), b"d/x": F(b"new")})
        plan = steps(todo, TOKEN)
        subprocess.run(["mount", "-o", flags, root], check=True)
        with pytest.raises(DeploymentFailedError) as caught:
            target.prepare(todo)
        assert (caught.value.reason, caught.value.paths) == ("READ_ONLY", ("d", "the target directory"))
        with pytest.raises(DeploymentFailedError) as caught:
            target.stage(plan, reader({b"f": F(b"new"), b"d/x": F(b"new")}))
        assert caught.value.reason == "READ_ONLY"
        assert look(root) == WORLD


@ROOT
def test_target_that_becomes_read_only_is_repaired_when_it_is_writable_again(tmp_path: Path) -> None:
    root = tmp_path / "ro"
    root.mkdir()
    with mounted(root, "-t", "tmpfs", "none"):
        build(root, WORLD)
        target = Target(str(root))
        after = {**WORLD, b"f": F(b"new"), b"d/x": F(b"new")}
        plan = steps(changes(target, WORLD, after), TOKEN)
        target.stage(plan, reader(after))
        target.on_disk()
        subprocess.run(["mount", "-o", "remount,ro", root], check=True)
        with pytest.raises(DeploymentFailedError) as caught:
            target.apply(plan)
        assert caught.value.reason == "UNDO_FAILED"  # the temporaries are still there
        subprocess.run(["mount", "-o", "remount,rw", root], check=True)
        assert target.recover(plan) is False
        assert look(root) == WORLD


@ROOT
def test_immutable_directory_is_refused_and_file_undone(root: Path) -> None:
    after = {**WORLD, b"d/x": F(b"new"), b"f": F(b"new")}
    target = Target(str(root))
    plan = steps(changes(target, WORLD, after), TOKEN)
    for path in ("d", "f"):
        if os.geteuid() != 0 or subprocess.run(["chattr", "+i", root / path], check=False).returncode:
            pytest.skip("no immutable files here")
        try:
            if path == "d":
                error = refused(target, WORLD, after)
                assert (error.reason, error.paths) == ("NOT_WRITABLE", ("d",))
            else:
                target.stage(plan, reader(after))
                with pytest.raises(DeploymentFailedError) as caught:
                    target.apply(plan)
                assert caught.value.reason == "PERMISSION"
                assert "EPERM" in caught.value.message
            assert look(root) == WORLD
        finally:
            subprocess.run(["chattr", "-i", root / path], check=True)


@ROOT
@pytest.mark.parametrize("path", [b"f", b"d/x", b"d/e", b"d/e/y"])
def test_mount_point_in_the_way_is_refused(root: Path, tmp_path: Path, path: bytes) -> None:
    at, other = root / os.fsdecode(path), tmp_path / "other"
    other.mkdir() if at.is_dir() else other.touch()
    after: dict[bytes, Thing] = {b"f": F(b"new"), b"d": F(b"a file instead")}
    target = Target(str(root))
    with mounted(at, "--bind", other):
        error = refused(target, WORLD, after)
        assert (error.reason, error.paths) == ("MOUNT_POINT", (os.fsdecode(path),))
        remaining = look(root)
    assert set(remaining) == set(WORLD) - ({b"d/e/y"} if path == b"d/e" else set())


@ROOT
def test_mount_after_preparing_is_undone(root: Path, tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"old")
    after = {**WORLD, b"d/x": F(b"new"), b"f": F(b"new")}
    target = Target(str(root))
    todo = changes(target, WORLD, after)
    target.prepare(todo)
    plan = steps(todo, TOKEN)
    target.stage(plan, reader(after))
    with mounted(root / "f", "--bind", tmp_path / "other"):
        with pytest.raises(DeploymentFailedError) as caught:
            target.apply(plan)
        assert caught.value.reason == "BUSY"
        assert look(root) == WORLD
    assert look(root) == WORLD


@ROOT
def test_other_file_system_below_is_deployed_to(root: Path) -> None:
    with mounted(root / "d", "-t", "tmpfs", "none"):
        target = Target(str(root))
        after: World = {b"f": F(b"new"), b"d": D(0o1777), b"d/x": F(b"there"), b"d/n": D(), b"d/n/m": F(b"m")}
        deploy(target, [b"f", b"d"], after)
        assert look(root) == after
        deploy(target, after, {b"f": F(b"new"), b"d": D(0o1777), b"d/x": L(b"n")}, "f" * 12)
        assert look(root) == {b"f": F(b"new"), b"d": D(0o1777), b"d/x": L(b"n")}


@ROOT
@pytest.mark.parametrize("what", ["bytes", "inodes"])
def test_too_little_space_is_refused(small: Path, what: str) -> None:
    after: World = {b"big": F(bytes(900_000))} if what == "bytes" else {b"%d" % n: F() for n in range(41)}
    error = refused(Target(str(small)), {}, after)
    assert error.reason == "NO_SPACE"
    assert what in error.message
    assert os.fsdecode(next(iter(after))) in error.paths
    assert look(small) == {}


@ROOT
@pytest.mark.parametrize("what", ["bytes", "inodes"])
def test_full_disk_while_staging_leaves_nothing(small: Path, what: str) -> None:
    before: World = {b"f": F(b"old"), b"d": D()}
    build(small, before)
    after: dict[bytes, Thing] = {**before, b"f": F(b"new"), b"d/n": D()}
    after |= {b"d/n/%03d" % n: F(bytes(200_000 if what == "bytes" else 0)) for n in range(50)}
    target = Target(str(small))
    plan = steps(changes(target, before, after), TOKEN)
    told: list[int] = []
    with pytest.raises(DeploymentFailedError) as caught:
        target.stage(plan, reader(after), told.append)
    assert caught.value.reason == "NO_SPACE"
    assert told == sorted(set(told))
    assert look(small) == before
    (small / "f").unlink()
    assert target.recover(plan) is False


@ROOT
def test_full_disk_cannot_stop_applying_or_undoing(small: Path) -> None:
    """Renames need no space, there and back; nor does removing."""
    before: World = {b"f": F(b"old"), b"gone": F(b"gone"), b"dir": D(), b"dir/x": F(b"x")}
    after: World = {b"f": F(b"new"), b"dir": F(b"file"), b"new": D(), b"new/y": F(b"y")}
    build(small, before)
    target = Target(str(small))
    plan = steps(changes(target, before, after), TOKEN)
    for undo in (True, False):
        target.stage(plan, reader(after))
        fill(small / "filler")
        target.apply(plan)
        if undo:
            target.undo(plan)
            (small / "filler").unlink()
            assert look(small) == before
        else:
            assert target.finish(plan) == []
            (small / "filler").unlink()
            assert look(small) == after


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for size in (65536, 4096):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue


def test_file_size_limit_is_an_error_that_leaves_nothing(root: Path) -> None:
    """A short write first, then EFBIG."""
    after = {**WORLD, b"big": F(bytes(100_000)), b"f": F(b"new")}
    target = Target(str(root))
    plan = steps(changes(target, WORLD, after), TOKEN)

    def work(say: Callable[[bytes], None]) -> None:
        import signal  # noqa: PLC0415 - only in the child

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        try:
            target.stage(plan, reader(after))
        except DeploymentFailedError as error:
            say(error.reason.encode())

    assert in_child(work) == (0, b"TOO_LARGE")
    assert look(root) == WORLD


def limit_with_free(count: int) -> int:
    """Return below which number so many descriptors are free: the kernel's limit is one of numbers, and others may lie above gaps."""
    listed = {int(name) for name in os.listdir("/proc/self/fd")}
    taken = {number for number in listed if os.path.lexists(f"/proc/self/fd/{number}")}
    limit, free = 0, 0
    while free < count or limit in taken:
        free += limit not in taken
        limit += 1
    return limit


def test_too_few_descriptors_are_an_error_that_leaves_nothing(root: Path) -> None:
    after = {**WORLD, b"d/e/y": F(b"new"), b"f": F(b"new"), b"d/x": F(b"new")}
    target = Target(str(root))
    plan = steps(changes(target, WORLD, after), TOKEN)

    def work(say: Callable[[bytes], None]) -> None:
        reasons = set()
        for more in range(6):
            spare = limit_with_free(more)
            resource.setrlimit(resource.RLIMIT_NOFILE, (spare, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
            try:
                target.stage(plan, reader(after))
                target.apply(plan)
                target.undo(plan)
                say(b"+")
            except DeploymentFailedError as error:
                reasons.add(error.reason)
                resource.setrlimit(
                    resource.RLIMIT_NOFILE, (spare + 100, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
                )
                say(b"-")
                assert target.recover(plan) is False
        assert reasons <= {"OS_ERROR", "UNDO_FAILED"}

    ended, said = in_child(work)
    assert ended == 0
    assert b"-" in said
    assert look(root) == WORLD


@ROOT
@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_directory_of_somebody_else_is_refused(root: Path) -> None:
    for directory in (root, *root.parents):
        if directory.stat().st_uid == 0 and not directory.stat().st_mode & 0o001:
            directory.chmod(0o755)
    after = {**WORLD, b"d/x": F(b"new")}

    def work(say: Callable[[bytes], None]) -> None:
        os.setgid(65534)
        os.setuid(65534)
        say(refused(Target(str(root)), WORLD, after).reason.encode())

    assert in_child(work) == (0, b"NOT_WRITABLE")
    assert look(root) == WORLD
