from __future__ import annotations

import hashlib
import os
import shutil
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.effects.faults import Faulty
from tests.unit.effects.world import D, F, L, World, build, changes, deploy, planned, reader, wait_until_old

from headgated.core.errors import DeploymentFailedError, TargetMovedError
from headgated.core.paths import join
from headgated.core.tree import Directory, Entry, Kind, build as build_tree, edit, lookup
from headgated.effects.target import Target
from headgated.effects.target.compare import AT_ONCE
from headgated.effects.target.look import Lens

WORLD: World = {
    b"f": F(b"content", 0o640),
    b"suid": F(b"", 0o4755),
    b"d": D(0o1777),
    b"d/inner": F(b"inner"),
    b"link": L(b"nowhere/\xff"),
    b"caf\xe9\n": F(b"strange"),
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    build(tmp_path / "t", WORLD)
    return tmp_path / "t"


def file(content: bytes, mode: int) -> Entry:
    digest = hashlib.sha256(content).digest()
    return Entry(Kind.FILE, mode, digest, len(content), uid=os.geteuid(), gid=os.getegid())


def test_observe_tells_kind_and_all_attributes(root: Path) -> None:
    uid, gid = os.geteuid(), os.getegid()
    assert Target(str(root)).observe([*WORLD, b"nothing"]) == {
        b"f": file(b"content", 0o640),
        b"suid": file(b"", 0o4755),
        b"d": Entry(Kind.DIRECTORY, 0o1777, uid=uid, gid=gid),
        b"d/inner": file(b"inner", 0o644),
        b"link": Entry(Kind.SYMLINK, target=b"nowhere/\xff", uid=uid, gid=gid),
        b"caf\xe9\n": file(b"strange", 0o644),
        b"nothing": None,
    }


@pytest.mark.parametrize(
    "path", [b"f/x", b"link/x", b"nothing/x", b"up/f", b"n" * 256, b"d/" + b"n" * 256 + b"/x"]
)
def test_what_cannot_be_there_is_not_there(root: Path, path: bytes) -> None:
    (root / "up").symlink_to(".")
    assert Target(str(root)).observe([path]) == {path: None}


def test_missing_target_has_nothing(tmp_path: Path) -> None:
    target = Target(str(tmp_path / "none" / "such"))
    assert target.observe([b"f"]) == {b"f": None}
    assert target.below(b"d") == {}
    target.sweep([b"", b"d"], "0123456789ab")
    assert not (tmp_path / "none").exists()


def test_special_files_are_refused_all_at_once_without_waiting(root: Path) -> None:
    os.mkfifo(root / "fifo")
    directory = os.open(root, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{directory}/sock")
    os.close(directory)
    with pytest.raises(DeploymentFailedError) as caught:
        Target(str(root)).observe([b"fifo", b"f", b"sock"])
    assert caught.value.reason == "SPECIAL_FILE"
    assert caught.value.paths == ("fifo", "sock")
    with pytest.raises(DeploymentFailedError) as caught:
        Target(str(root)).below(b"")
    assert set(caught.value.paths) == {"fifo", "sock"}


def tree_of(root: Path) -> Directory:
    """Return what is at the target below its root, as if it had been deployed."""
    return build_tree(Target(str(root)).below(b""))


def differences(target: Target, tree: Directory, at: bytes = b"") -> list[bytes]:
    return sorted(path for some in target.differing(tree, at) for path in some)


def put_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def test_nothing_differs_where_all_is_as_it_should_be(root: Path) -> None:
    assert differences(Target(str(root)), tree_of(root)) == []


@pytest.mark.parametrize("looks_before", [0, 1, 3])
@pytest.mark.parametrize(
    ("tamper", "expected"),
    [
        (lambda root: (root / "f").write_bytes(b"another"), [b"f"]),
        (lambda root: (root / "f").chmod(0o600), [b"f"]),
        (lambda root: (root / "f").unlink(), [b"f"]),
        (lambda root: (root / "d").chmod(0o700), [b"d"]),
        (lambda root: (root / "d/inner").unlink(), [b"d/inner"]),
        (lambda root: shutil.rmtree(root / "d"), [b"d", b"d/inner"]),
        (lambda root: ((root / "d").rename(root / "e"), (root / "d").symlink_to("e")), [b"d", b"d/inner"]),
        (lambda root: ((root / "f").unlink(), (root / "f").mkdir()), [b"f"]),
        (lambda root: put_fifo(root / "f"), [b"f"]),
        (lambda root: ((root / "link").unlink(), (root / "link").symlink_to("elsewhere")), [b"link"]),
        (lambda root: (root / "foreign").write_bytes(b"not ours"), []),
        (shutil.rmtree, sorted(WORLD)),
    ],
)
def test_all_that_differs_is_named(
    root: Path, tamper: Callable[[Path], object], expected: list[bytes], looks_before: int
) -> None:
    tree, target = tree_of(root), Target(str(root))
    wait_until_old(root)
    for _ in range(looks_before):
        assert differences(target, tree) == []
    tamper(root)
    assert differences(target, tree) == expected


def test_another_tree_is_compared_anew(root: Path) -> None:
    """That the last one was there without doubt, and that nothing changed since, says nothing about this one."""
    tree, target = tree_of(root), Target(str(root))
    wait_until_old(root)
    for _ in range(3):
        assert differences(target, tree) == []
    assert differences(target, edit(tree, {b"d/inner": file(b"other", 0o644)})) == [b"d/inner"]
    assert differences(target, edit(tree, {b"f": file(b"content", 0o600)})) == [b"f"]
    assert differences(target, tree) == []


def test_file_with_a_secret_differs_as_soon_as_the_secret_is_another(root: Path) -> None:
    """The same file and the same tree: only what makes the seal has changed."""
    sealed = replace(file(b"inner", 0o644), digest=b"\1" * 32, size=9, seal=b"old")
    tree, target = edit(tree_of(root), {b"d/inner": sealed}), Target(str(root))
    target.recognise(lambda _digest: b"old")
    wait_until_old(root)
    for _ in range(3):
        assert b"d/inner" not in differences(target, tree)
    target.recognise(lambda _digest: b"new")
    assert b"d/inner" in differences(target, tree)


def test_what_is_to_be_read_anew_is(root: Path) -> None:
    tree, (target, lens) = tree_of(root), counting(root)
    wait_until_old(root)
    for _ in range(3):
        assert differences(target, tree) == []
    before = lens.reads
    lens.forget(b"d/inner")
    assert differences(target, tree) == []
    assert lens.reads == before + 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_another_owner_differs(root: Path) -> None:
    tree, target = tree_of(root), Target(str(root))
    wait_until_old(root)
    assert differences(target, tree) == []
    os.chown(root / "f", 12345, -1)
    os.chown(root / "d/inner", -1, 12345)
    assert differences(target, tree) == [b"d/inner", b"f"]


def test_only_what_is_below_is_looked_at_and_a_directory_that_is_not_ours_need_only_be_there(
    root: Path,
) -> None:
    tree, target = edit(tree_of(root), {b"d": Entry(Kind.DIRECTORY)}), Target(str(root))
    (root / "f").write_bytes(b"another")
    (root / "d").chmod(0o700)
    (root / "d/inner").write_bytes(b"another")
    below = lookup(tree, b"d")
    assert isinstance(below, Directory)
    assert differences(target, below, b"d") == [b"d/inner"]
    assert differences(target, tree) == [b"d/inner", b"f"]


def test_look_at_very_many_names_is_made_bit_by_bit_and_misses_none(tmp_path: Path) -> None:
    root = tmp_path / "t"
    build(root, {b"d": D(), **{b"d/%04d" % n: F(b"%d" % n) for n in range(2 * AT_ONCE + 1)}, b"e": F(b"")})
    tree, target = tree_of(root), Target(str(root))
    for name in ("d/0000", f"d/{AT_ONCE:04d}", f"d/{2 * AT_ONCE:04d}", "e"):
        (root / name).write_bytes(b"another")
    batches = list(target.differing(tree))
    assert len(batches) > 2
    assert sorted(path for some in batches for path in some) == [
        b"d/0000",
        b"d/%04d" % AT_ONCE,
        b"d/%04d" % (2 * AT_ONCE),
        b"e",
    ]


def test_nothing_is_held_open_between_two_bits(root: Path) -> None:
    target, before = Target(str(root)), len(os.listdir("/proc/self/fd"))
    for _ in target.differing(tree_of(root)):
        assert len(os.listdir("/proc/self/fd")) == before


def test_below_is_everything_below(root: Path) -> None:
    target = Target(str(root))
    observed = target.observe(WORLD)
    assert target.below(b"") == observed
    assert target.below(b"d") == {b"d/inner": observed[b"d/inner"]}
    assert target.below(b"f") == target.below(b"link") == target.below(b"nothing") == {}


def test_change_is_seen_whatever_the_times_say(root: Path) -> None:
    target = Target(str(root))
    for number in range(4):
        content = b"%7d" % number
        wait_until_old(root / "f")
        target.observe([b"f"])
        there = (root / "f").stat()
        (root / "f").write_bytes(content)
        os.utime(root / "f", ns=(there.st_atime_ns, there.st_mtime_ns))
        assert target.observe([b"f"]) == {b"f": file(content, 0o640)}


class Counting(Lens):
    """Counts how often it reads a content."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0

    def _read(self, directory: int, name: bytes, path: bytes) -> tuple[os.stat_result, bytes]:
        self.reads += 1
        return super()._read(directory, name, path)


def counting(root: Path) -> tuple[Target, Counting]:
    target, lens = Target(str(root)), Counting()
    target._lens = lens
    return target, lens


def test_what_is_known_is_not_read_again(root: Path) -> None:
    target, lens = counting(root)
    wait_until_old(root / "f")
    target.observe([b"f"])
    target.observe([b"f"])
    assert lens.reads == 1


def test_young_file_is_read_again_on_a_coarse_clock(root: Path) -> None:
    """A second write within the same tick of the clock would not show."""
    for _ in range(100):
        target, lens = counting(root)
        (root / "f").write_bytes(b"changed")
        target.observe([b"f"])
        young = time.time_ns() - (root / "f").stat().st_ctime_ns < 50_000_000
        target.observe([b"f"])
        if young:
            assert lens.reads == 2
            return
    pytest.skip("this machine is too slow for a file to be young")


def test_what_was_deployed_is_not_read_again(root: Path) -> None:
    target, lens = counting(root)
    after = {**WORLD, b"f": F(b"new"), b"new": D(), b"new/deep": D(), b"new/deep/f": F(b"deep")}
    deploy(target, WORLD, after)
    if True not in lens.fine_times.values():
        pytest.skip("the file system's times are coarse")
    before = lens.reads
    observed = target.observe([b"f", b"new/deep/f"])
    assert lens.reads == before
    assert observed == {b"f": file(b"new", 0o644), b"new/deep/f": file(b"deep", 0o644)}


def test_known_file_is_replaced_and_removed_without_reading(root: Path) -> None:
    target, lens = counting(root)
    wait_until_old(root / "f")
    plan = planned(target, [b"f"], {b"f": F(b"new")})
    before = lens.reads
    target.stage(plan, reader({b"f": F(b"new")}))
    target.apply(plan)
    if True not in lens.fine_times.values():
        pytest.skip("the file system's times are coarse")
    target.finish(plan)
    assert lens.reads == before


def test_what_was_changed_right_after_deploying_is_read(root: Path) -> None:
    target = Target(str(root))
    for number in range(30):
        after = {**WORLD, b"f": F(b"%07d" % number)}
        deploy(target, WORLD, after, f"{number:012x}")
        with (root / "f").open("r+b") as written:
            written.write(b"changed")
        assert target.observe([b"f"]) == {b"f": file(b"changed", 0o644)}


def test_remembering_ends_with_the_file(root: Path) -> None:
    target = Target(str(root))
    after = {b"f": F(b"new")}
    deploy(target, WORLD, after)
    assert {join(at, name) for at, here in target._lens._known.items() for name in here} <= {b"f"}
    assert set(target._lens._known) <= {b""}


def test_undone_deployment_is_not_remembered(root: Path) -> None:
    acts = Faulty()
    target = Target(str(root), acts=acts)
    after = {**WORLD, b"f": F(b"new")}
    plan = planned(target, WORLD, after)
    target.stage(plan, reader(after))
    acts.fail("sync", 5)
    with pytest.raises(DeploymentFailedError):
        target.apply(plan)
    assert target.observe([b"f"]) == {b"f": file(b"content", 0o640)}


def test_read_gives_the_content_in_chunks(root: Path) -> None:
    big = os.urandom(3 << 20)
    (root / "big").write_bytes(big)
    target = Target(str(root))
    (entry,) = target.observe([b"big"]).values()
    assert entry is not None
    chunks = list(target.read(b"big", entry))
    assert b"".join(chunks) == big
    assert max(map(len, chunks)) <= 1 << 20


@pytest.mark.parametrize("edit", ["write", "remove", "directory", "fifo", "link"])
def test_read_of_another_content_says_so(root: Path, edit: str) -> None:
    target = Target(str(root))
    (entry,) = target.observe([b"f"]).values()
    assert entry is not None
    (root / "f").unlink()
    if edit == "write":
        (root / "f").write_bytes(b"CONTENT")
    elif edit == "directory":
        (root / "f").mkdir()
    elif edit == "fifo":
        os.mkfifo(root / "f")
    elif edit == "link":
        (root / "f").symlink_to("suid")
    with pytest.raises(TargetMovedError) as caught:
        list(target.read(b"f", entry))
    assert caught.value.paths == ("f",)


def test_symlinked_root_is_refused(root: Path) -> None:
    target = Target(str(root))
    root.rename(root.with_name("real"))
    root.symlink_to("real")
    for work in (lambda: target.observe([b"f"]), lambda: target.prepare([]), lambda: target.recover([])):
        with pytest.raises(DeploymentFailedError) as caught:
            work()
        assert caught.value.reason == "TARGET_SYMLINK"
    below = Target(str(root / "d"))
    with pytest.raises(DeploymentFailedError) as caught:
        below.observe([b"inner"])
    assert caught.value.reason == "TARGET_SYMLINK"


def test_root_that_is_a_file_is_refused(root: Path) -> None:
    with pytest.raises(DeploymentFailedError) as caught:
        Target(str(root / "f")).observe([b"x"])
    assert caught.value.reason == "TARGET_NOT_A_DIRECTORY"


def test_file_that_never_rests_is_given_up(root: Path) -> None:
    target = Target(str(root))
    child = os.fork()
    if child == 0:
        try:
            with (root / "f").open("r+b", buffering=0) as written:
                while True:
                    written.seek(0)
                    written.write(b"x" * 4_000_000)
        finally:
            os._exit(1)
    try:
        outcomes = set()
        deadline = time.monotonic() + 20
        while "moved" not in outcomes:
            assert time.monotonic() < deadline
            try:
                target.observe([b"f"])
            except TargetMovedError:
                outcomes.add("moved")
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


def test_nothing_is_left_open(root: Path) -> None:
    before = os.listdir("/proc/self/fd")
    target = Target(str(root))
    deploy(
        target,
        WORLD,
        {**WORLD, b"f": F(b"new"), b"d/inner": F(b"new"), b"n": D(), b"n/m": D(), b"n/m/o": F(b"")},
    )
    assert changes(target, WORLD, WORLD)
    assert os.listdir("/proc/self/fd") == before
