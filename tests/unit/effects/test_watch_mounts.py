"""The mount table: which mounts concern a source."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from headgated.effects.watch.mounts import Mount, Mounts, parse

TABLE = b"""\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:26 / /srv rw,nosuid - tmpfs tmpfs rw
31 30 0:40 / /srv/share rw - nfs4 server:/export rw
32 30 0:41 / /srv/with\\040space\\134 rw master:1 propagate_from:2 - fuse.sshfs host:/ rw
33 30 0:42 / /srv/share rw - tmpfs over rw
34 22 0:43 / /srv2 rw - cifs //host/share rw
cut short
"""


@pytest.fixture
def mounts(tmp_path: Path) -> Iterator[Mounts]:
    (tmp_path / "mountinfo").write_bytes(TABLE)
    mounts = Mounts(str(tmp_path / "mountinfo"))
    yield mounts
    mounts.close()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/etc", [22]),
        (b"/srv/plain", [30]),
        (b"/srv", [30, 30, 31, 32, 33]),
        (b"/srv/share/deep", [33]),
        (b"/srv/shared", [30]),
        (b"/srv2/x", [34]),
        (b"/srv/with space\\/x", [32]),
    ],
)
def test_mounts_around_a_path_are_the_one_that_holds_it_and_those_below(
    mounts: Mounts, path: bytes, expected: list[int]
) -> None:
    assert [mount.number for mount in mounts.around(path)] == expected


def test_root_directory_is_in_the_root_mount(mounts: Mounts) -> None:
    assert mounts.around(b"/")[0] == Mount(22, b"/", "ext4")


@pytest.mark.parametrize(
    ("kind", "eventless"),
    [
        ("ext4", False),
        ("tmpfs", False),
        ("fuseblk", False),
        ("nfs4", True),
        ("fuse.sshfs", True),
        ("9p", True),
        ("cifs", True),
    ],
)
def test_file_systems_that_change_elsewhere_are_known(kind: str, *, eventless: bool) -> None:
    assert Mount(1, b"/", kind).eventless is eventless


def test_own_mount_table_is_read() -> None:
    own = Mounts()
    assert own.around(b"/proc/self")[0].kind == "proc"
    assert own.around(b"/proc/self") == own.around(b"/proc/self")
    own.close()
    assert own.around(b"/proc/self")[0].kind == "proc"


def test_missing_mount_table_tells_nothing(tmp_path: Path) -> None:
    assert Mounts(str(tmp_path / "missing")).around(b"/") == ()


def test_line_that_is_no_mount_is_passed_over() -> None:
    assert parse(b"\n1 2 3\n1 2 3 - x\n") == ()
