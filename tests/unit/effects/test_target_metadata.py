"""Owner, bits, access control lists and extended attributes (T7, T8)."""

from __future__ import annotations

import errno
import itertools
import os
import stat
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.effects.faults import DeadError, Fault, Faulty, in_child
from tests.unit.effects.world import TOKEN, F, World, build, entry, look, reader

from headgated.core.errors import DeploymentFailedError
from headgated.core.plan import Change
from headgated.core.steps import steps
from headgated.core.tree import Entry, Kind
from headgated.effects.target import Target
from headgated.effects.target.metadata import ACL, acl_with_mode

ROOT = pytest.mark.root
NEED_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
DEFAULT_ACL = "system.posix_acl_default"
NOBODY = 0xFFFFFFFF


def acl(*entries: tuple[int, int, int]) -> bytes:
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *one) for one in entries)


def bobs_acl(owner: int, bob: int, group: int, mask: int, other: int) -> bytes:
    return acl(
        (1, owner, NOBODY), (2, bob, 4711), (4, group, NOBODY), (16, mask, NOBODY), (32, other, NOBODY)
    )


def put(root: Path, path: str, wanted: Entry, content: bytes = b"", acts: Faulty | None = None) -> None:
    """Deploy one thing."""
    target, name = Target(str(root), acts=acts), os.fsencode(path)
    todo = [Change(name, target.observe([name])[name], wanted)]
    target.prepare(todo)
    plan = steps(todo, TOKEN)
    target.stage(plan, lambda _change: [content])
    target.apply(plan)
    assert target.finish(plan) == []
    assert wanted.matches(target.observe([name])[name])


def wanted(
    content: bytes = b"", mode: int | None = 0o640, uid: int | None = None, gid: int | None = None
) -> Entry:
    return replace(entry(F(content)), mode=mode, uid=uid, gid=gid)


@pytest.mark.parametrize("umask", [0o000, 0o027, 0o777])
@pytest.mark.parametrize("mode", [0o644, 0o600, 0o4755, 0o2711, 0o1666, 0o000])
def test_mode_is_as_wanted_whatever_the_umask(tmp_path: Path, mode: int, umask: int) -> None:
    before = os.umask(umask)
    try:
        put(tmp_path, "new", wanted(mode=mode))
        put(tmp_path, "new", wanted(b"x", mode), b"x")
        put(tmp_path, "d", Entry(Kind.DIRECTORY, mode | 0o700))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == mode


def test_nothing_staged_is_ever_wider_than_wanted(tmp_path: Path) -> None:
    """Neither while it is written nor while it is dressed; looked at before and after each act."""
    (tmp_path / "f").write_bytes(b"old")
    (tmp_path / "f").chmod(0o666)
    seen: set[int] = set()

    class Watching(Faulty):
        def act(self, verb: str, perform: Callable[[], object]) -> object:
            self.watch()
            result = super().act(verb, perform)
            self.watch()
            return result

        def watch(self) -> None:
            for name in os.listdir(tmp_path):
                if name.startswith(".headgate-"):
                    there = os.lstat(tmp_path / name)
                    if there.st_ino != old:
                        seen.add(stat.S_IMODE(there.st_mode))

    old = (tmp_path / "f").stat().st_ino
    put(tmp_path, "f", wanted(b"secret", 0o640), b"secret", Watching())
    assert seen == {0o600, 0o640}


@ROOT
@NEED_ROOT
def test_owner_is_the_replaced_files_or_the_wanted_one(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"old")
    os.chown(tmp_path / "f", 4711, 4712)
    put(tmp_path, "f", wanted(b"new", 0o4755), b"new")
    there = (tmp_path / "f").stat()
    assert (there.st_uid, there.st_gid, stat.S_IMODE(there.st_mode)) == (4711, 4712, 0o4755)
    put(tmp_path, "f", wanted(b"newer", 0o644, 0, 4713), b"newer")
    there = (tmp_path / "f").stat()
    assert (there.st_uid, there.st_gid) == (0, 4713)
    put(tmp_path, "g", wanted(mode=0o600, uid=4711), b"")
    assert ((tmp_path / "g").stat().st_uid, (tmp_path / "g").stat().st_gid) == (4711, os.getegid())
    put(tmp_path, "l", Entry(Kind.SYMLINK, target=b"x", uid=4711, gid=4712))
    assert ((tmp_path / "l").lstat().st_uid, (tmp_path / "l").lstat().st_gid) == (4711, 4712)
    put(tmp_path, "l", Entry(Kind.SYMLINK, target=b"y"))
    assert ((tmp_path / "l").lstat().st_uid, (tmp_path / "l").lstat().st_gid) == (4711, 4712)
    put(tmp_path, "d", Entry(Kind.DIRECTORY, 0o2770, uid=4711, gid=4712))
    put(tmp_path, "d", Entry(Kind.DIRECTORY, 0o750, uid=4712))
    there = (tmp_path / "d").stat()
    assert (there.st_uid, there.st_gid, stat.S_IMODE(there.st_mode)) == (4712, 4712, 0o750)


@ROOT
@NEED_ROOT
def test_group_of_a_setgid_directory_is_inherited(tmp_path: Path) -> None:
    os.chown(tmp_path, -1, 4712)
    tmp_path.chmod(0o2755)
    put(tmp_path, "f", wanted())
    assert (tmp_path / "f").stat().st_gid == 4712


@ROOT
@NEED_ROOT
@pytest.mark.parametrize(("uid", "reason"), [(4711, "PERMISSION"), (None, "")])
def test_owner_that_cannot_be_given_is_an_error_only_if_it_was_asked_for(
    tmp_path: Path, uid: int | None, reason: str
) -> None:
    root = tmp_path / "t"
    root.mkdir()
    root.chmod(0o777)
    for directory in root.parents:
        if directory.stat().st_mode & 0o001 == 0:
            directory.chmod(0o755)
    (root / "f").write_bytes(b"old")
    (root / "f").chmod(0o644)
    before = look(root)

    def work(say: Callable[[bytes], None]) -> None:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        try:
            put(root, "f", wanted(b"new", 0o644, uid), b"new")
        except DeploymentFailedError as error:
            say(error.reason.encode())

    assert in_child(work) == (0, reason.encode())
    if reason:
        assert look(root) == before
    else:
        assert ((root / "f").read_bytes(), (root / "f").stat().st_uid) == (b"new", 65534)


def set_or_skip(path: Path, name: str, value: bytes) -> None:
    try:
        os.setxattr(path, name, value, follow_symlinks=False)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EPERM):
            pytest.skip(f"no {name} here")
        raise


@pytest.mark.parametrize("name", ["user.note", "trusted.note", "security.note"])
def test_extended_attribute_is_carried_over(tmp_path: Path, name: str) -> None:
    (tmp_path / "f").write_bytes(b"old")
    set_or_skip(tmp_path / "f", name, b"value\0")
    put(tmp_path, "f", wanted(b"new"), b"new")
    assert os.getxattr(tmp_path / "f", name) == b"value\0"


@pytest.mark.parametrize("name", ["trusted.note", "security.note"])
def test_extended_attribute_of_a_symlink_is_carried_over(tmp_path: Path, name: str) -> None:
    (tmp_path / "l").symlink_to("x")
    set_or_skip(tmp_path / "l", name, b"value")
    put(tmp_path, "l", Entry(Kind.SYMLINK, target=b"y"))
    assert os.getxattr(tmp_path / "l", name, follow_symlinks=False) == b"value"


def test_capability_is_not_carried_to_other_content(tmp_path: Path) -> None:
    """As when it is written to: new content must not inherit a power."""
    (tmp_path / "f").write_bytes(b"old")
    set_or_skip(
        tmp_path / "f", "security.capability", bytes.fromhex("0100000200040000000000000000000000000000")
    )
    put(tmp_path, "f", wanted(b"new", 0o755), b"new")
    assert "security.capability" not in os.listxattr(tmp_path / "f")


@pytest.mark.parametrize(
    ("code", "reason"), [(errno.EPERM, "METADATA"), (errno.ENOSPC, "NO_SPACE"), (errno.EOPNOTSUPP, "")]
)
def test_attribute_that_cannot_be_carried_is_an_error(tmp_path: Path, code: int, reason: str) -> None:
    (tmp_path / "f").write_bytes(b"old")
    set_or_skip(tmp_path / "f", "user.note", b"value")
    acts = Faulty()
    acts.fail("set_attribute", code)
    if not reason:
        put(tmp_path, "f", wanted(b"new"), b"new", acts)
        return
    before = look(tmp_path)
    with pytest.raises(DeploymentFailedError) as caught:
        put(tmp_path, "f", wanted(b"new"), b"new", acts)
    assert caught.value.reason == reason
    assert "f" in caught.value.paths
    assert look(tmp_path) == before


@pytest.mark.parametrize("mode", [0o640, 0o600, 0o664, 0o4711])
def test_access_control_list_is_carried_over_and_the_wanted_bits_win(tmp_path: Path, mode: int) -> None:
    """What `chmod` would make of it: the group bits are the mask."""
    path = tmp_path / "f"
    path.write_bytes(b"old")
    set_or_skip(path, ACL, bobs_acl(6, 6, 4, 6, 4))
    put(tmp_path, "f", wanted(b"new", mode), b"new")
    carried = os.getxattr(path, ACL)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert carried == bobs_acl(mode >> 6 & 7, 6, 4, mode >> 3 & 7, mode & 7)
    path.chmod(0o664)
    path.chmod(mode)
    assert os.getxattr(path, ACL) == carried


def test_access_control_list_never_shows_more_than_wanted_while_staging(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"old")
    set_or_skip(tmp_path / "f", ACL, bobs_acl(7, 7, 7, 7, 7))
    modes: set[int] = set()

    class Watching(Faulty):
        def act(self, verb: str, perform: Callable[[], object]) -> object:
            result = super().act(verb, perform)
            modes.update(
                stat.S_IMODE(os.lstat(tmp_path / name).st_mode)
                for name in os.listdir(tmp_path)
                if name.startswith(".headgate-") and os.path.getsize(tmp_path / name) == 6
            )
            return result

    put(tmp_path, "f", wanted(b"secret", 0o600), b"secret", Watching())
    assert modes == {0o600}


def test_default_list_is_inherited_by_new_files_and_not_by_replaced_ones(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"old")
    set_or_skip(tmp_path, DEFAULT_ACL, bobs_acl(7, 6, 5, 7, 5))
    put(tmp_path, "old", wanted(b"new", 0o644), b"new")
    assert ACL not in os.listxattr(tmp_path / "old")
    put(tmp_path, "new", wanted(b"new", 0o640), b"new")
    assert os.getxattr(tmp_path / "new", ACL) == bobs_acl(6, 6, 5, 4, 0)
    put(tmp_path, "d", Entry(Kind.DIRECTORY, 0o750))
    assert os.getxattr(tmp_path / "d", DEFAULT_ACL) == bobs_acl(7, 6, 5, 7, 5)
    assert os.getxattr(tmp_path / "d", ACL) == bobs_acl(7, 6, 5, 5, 0)


def test_short_list_takes_the_group_bits_for_the_group() -> None:
    short = acl((1, 7, NOBODY), (4, 7, NOBODY), (32, 7, NOBODY))
    assert acl_with_mode(short, 0o640) == acl((1, 6, NOBODY), (4, 4, NOBODY), (32, 0, NOBODY))


def test_undo_gives_back_the_very_file(tmp_path: Path) -> None:
    before: World = {b"f": F(b"old", 0o664)}
    root = tmp_path / "t"
    build(root, before)
    path = root / "f"
    os.link(path, tmp_path / "other name")
    was = path.stat()
    after: World = {b"f": F(b"new", 0o600)}
    target = Target(str(root))
    plan = steps([Change(b"f", target.observe([b"f"])[b"f"], entry(after[b"f"]))], TOKEN)
    for back in (target.undo, Target(str(root)).undo):
        target.stage(plan, reader(after))
        target.apply(plan)
        assert path.stat().st_ino != was.st_ino
        back(plan)
        now = path.stat()
        assert (now.st_ino, now.st_nlink, now.st_mtime_ns) == (was.st_ino, 2, was.st_mtime_ns)
    assert look(root) == before


@ROOT
@NEED_ROOT
def test_undo_of_a_directorys_attributes_leaves_what_others_set(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir(mode=0o755)
    target = Target(str(tmp_path))
    live = target.observe([b"d"])[b"d"]
    plan = steps([Change(b"d", live, Entry(Kind.DIRECTORY, 0o700, uid=4711, gid=4712))], TOKEN)
    target.apply(plan)
    os.chown(tmp_path / "d", -1, 4713)
    target.undo(plan)
    there = (tmp_path / "d").stat()
    assert (stat.S_IMODE(there.st_mode), there.st_uid, there.st_gid) == (0o755, 0, 4713)


@ROOT
@NEED_ROOT
@pytest.mark.parametrize("done", [False, True])
def test_cut_off_between_owner_and_bits_is_recovered(tmp_path: Path, done: bool) -> None:  # noqa: FBT001
    """A directory gets another owner and other bits by three calls; nobody gains a right on the way."""
    path, other = tmp_path / "d", tmp_path / "f"
    path.mkdir()
    live = Entry(Kind.DIRECTORY, 0o750, uid=0, gid=0)
    plan = steps(
        [
            Change(b"d", live, Entry(Kind.DIRECTORY, 0o705, uid=4711, gid=4712)),
            Change(b"f", None, wanted(b"new")),
        ],
        TOKEN,
    )
    acts = Faulty()
    for at in itertools.count(1):
        os.chown(path, 0, 0)
        path.chmod(0o750)
        other.unlink(missing_ok=True)
        acts = Faulty()
        target = Target(str(tmp_path), acts=acts)
        target.stage(plan, lambda _change: [b"new"])
        acts.fault = Fault(len(acts.log) + at, done=done, dead=True)
        staged = len(acts.log)
        with suppress(DeadError):
            target.apply(plan)
        assert stat.S_IMODE(path.stat().st_mode) in {0o750, 0o700, 0o705}
        whole = Target(str(tmp_path)).recover(plan)
        there = path.stat()
        expected = (0o705, 4711, 4712) if whole else (0o750, 0, 0)
        assert (stat.S_IMODE(there.st_mode), there.st_uid, there.st_gid) == expected
        assert other.exists() is whole
        if not acts.fired:
            assert acts.log[staged : staged + 4] == ["rename", "chmod", "chown", "chmod"]
            return
