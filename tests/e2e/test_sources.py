"""Promise 6: a broken source never empties a target. Promise 5: what no event told of arrives all the same."""

from __future__ import annotations

import mmap
import os
import subprocess
import time
from pathlib import Path

import pytest
from tests.e2e.conftest import Site
from tests.e2e.harness import FAILED, FAILING, HALTED, SYNCED, eventually, running, same, state_of, tree_of

pytestmark = pytest.mark.e2e


@pytest.fixture
def full(site: Site) -> Site:
    """The site with twenty files deployed."""
    for number in range(20):
        (site.source / f"file-{number}").write_text(f"{number}\n")
    eventually(lambda: same(site.source, site.target))
    eventually(lambda: state_of(site.client, "web") == SYNCED)
    return site


def halts(site: Site, reason: str) -> None:
    eventually(lambda: state_of(site.client, "web") == HALTED, what=f"halt {reason}")
    halt = site.client.get_environment("web").sync.halt
    assert halt.reason == reason
    assert halt.message


def test_missing_source_halts_and_goes_on_when_it_is_back(full: Site) -> None:
    """S6."""
    before = tree_of(full.target)
    away = full.daemon.home / "away"
    full.source.rename(away)
    halts(full, "SOURCE_MISSING")
    assert tree_of(full.target) == before
    away.rename(full.source)
    eventually(lambda: state_of(full.client, "web") == SYNCED, within=15)
    (full.source / "app.conf").write_text("after\n")
    eventually(lambda: same(full.source, full.target))


def test_source_that_comes_back_different_waits_for_a_word(full: Site) -> None:
    """S6: only as it was does it go on by itself; the halt survives a restart."""
    before = tree_of(full.target)
    full.source.rename(full.daemon.home / "away")
    halts(full, "SOURCE_MISSING")
    full.source.mkdir()
    for number in range(15):
        (full.source / f"file-{number}").write_text(f"other {number}\n")
    eventually(lambda: "not as they were" in full.client.get_environment("web").sync.message, within=15)
    full.daemon.stop()
    full.daemon.start()
    with full.daemon.client() as client:
        time.sleep(0.5)
        assert state_of(client, "web") == HALTED
        assert tree_of(full.target) == before
        full.daemon.cli("env", "resume", "web")
        eventually(lambda: same(full.source, full.target))


def test_source_replaced_by_a_file_halts(full: Site) -> None:
    before = tree_of(full.target)
    full.source.rename(full.daemon.home / "away")
    full.source.write_text("a file\n")
    halts(full, "SOURCE_NOT_A_DIRECTORY")
    assert tree_of(full.target) == before


def test_emptied_source_halts_until_allowed(full: Site) -> None:
    """S6, S7."""
    before = tree_of(full.target)
    full.client.pause_environment("web", "all at once")
    for path in full.source.iterdir():
        path.unlink()
    halts(full, "SOURCE_EMPTY")
    assert tree_of(full.target) == before
    refused = full.daemon.cli("deploy", "web", check=False)
    assert refused.returncode == 1
    assert "--allow-empty" in refused.stderr
    assert tree_of(full.target) == before
    full.daemon.cli("deploy", "web", "--allow-empty")
    assert tree_of(full.target) == {}


def test_mass_removal_halts_until_allowed(full: Site) -> None:
    """S8."""
    before = tree_of(full.target)
    full.client.pause_environment("web", "many at once")
    for number in range(15):
        (full.source / f"file-{number}").unlink()
    full.client.update_environment("web", policies={"prune": True})
    halts(full, "MASS_REMOVAL")
    assert tree_of(full.target) == before
    assert full.daemon.cli("deploy", "web", check=False).returncode == 1
    assert tree_of(full.target) == before
    full.daemon.cli("deploy", "web", "--allow-mass-removal")
    assert same(full.source, full.target)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_unmounted_source_halts(site: Site) -> None:
    """S6: an empty mount point is not an empty source."""
    mounted = site.daemon.home / "mounted"
    mounted.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", mounted], check=True)
    target = site.daemon.home / "m-target"
    try:
        (mounted / "f").write_text("on the mount\n")
        site.client.create_environment(
            "mounted", type="testing", config_path=str(target), sources=[str(mounted)]
        )
        eventually(lambda: same(mounted, target))
        eventually(lambda: state_of(site.client, "mounted") == SYNCED)
    finally:
        subprocess.run(["umount", "--lazy", mounted], check=True)
    eventually(lambda: state_of(site.client, "mounted") == HALTED, within=15)
    assert (target / "f").read_text() == "on the mount\n"


def test_fifo_is_a_fault_and_blocks_nothing(full: Site) -> None:
    """S10, S9: no removals while a source cannot be read whole."""
    before = tree_of(full.target)
    os.mkfifo(full.source / "pipe")
    (full.source / "file-0").unlink()
    eventually(lambda: state_of(full.client, "web") == FAILING)
    record = next(full.client.list_deployments("web"))
    assert record.status == FAILED
    assert record.error.reason == "SPECIAL_FILE"
    assert any(path.endswith("pipe") for path in record.error.paths)
    assert tree_of(full.target) == before
    (full.source / "pipe").unlink()
    eventually(lambda: same(full.source, full.target), within=15)


def test_failed_attempt_is_one_record_however_often_it_is_made(full: Site) -> None:
    """D8."""
    os.mkfifo(full.source / "pipe")
    eventually(lambda: state_of(full.client, "web") == FAILING)
    eventually(lambda: full.client.get_environment("web").sync.failed_attempts >= 2, within=15)
    failed = [record for record in full.client.list_deployments("web") if record.status == FAILED]
    assert len(failed) == 1
    assert full.client.get_deployment(failed[0].deployment_id).attempts >= 2


def test_editors_files_are_ignored_and_the_source_says_what_else(full: Site) -> None:
    """S3."""
    (full.source / ".headgateignore").write_text("*.draft\n")
    for name in ("x.swp", "4913", "x~", ".#x", "note.draft"):
        (full.source / name).write_text("no\n")
    (full.source / "yes").write_text("yes\n")
    eventually((full.target / "yes").exists)
    expected = {"app.conf", "yes", *(f"file-{n}" for n in range(20))}
    assert set(tree_of(full.target)) == expected


def test_half_done_git_checkout_is_waited_for(full: Site) -> None:
    """S1."""
    subprocess.run(["git", "init", "-q", full.source], check=True)
    lock = full.source / ".git" / "index.lock"
    lock.touch()
    (full.source / "app.conf").write_text("half\n")
    time.sleep(0.7)
    assert (full.target / "app.conf").read_text() == "one\n"
    lock.unlink()
    eventually(lambda: (full.target / "app.conf").read_text() == "half\n")


def test_constant_writes_do_not_starve(full: Site) -> None:
    """S2: after the latest time what is stable is deployed although one file is never quiet."""
    (full.source / "app.conf").write_text("stable\n")
    end = time.monotonic() + 8
    arrived = False
    number = 0
    while time.monotonic() < end and not arrived:
        number += 1
        (full.source / "busy").write_text(f"{number}\n")
        time.sleep(0.005)
        arrived = (full.target / "app.conf").read_text() == "stable\n"
    assert arrived


def test_change_that_keeps_size_and_time_arrives(full: Site) -> None:
    """S11: ctime tells what mtime hides."""
    path = full.source / "app.conf"
    status = path.stat()
    path.write_text("six\n")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    eventually(lambda: (full.target / "app.conf").read_text() == "six\n")


def test_same_relative_path_from_two_named_files_keeps_both(full: Site) -> None:
    """S12: names keep their directories."""
    for directory in ("a", "b"):
        (full.source / directory).mkdir()
        (full.source / directory / "same.conf").write_text(f"{directory}\n")
    eventually(lambda: same(full.source, full.target))
    full.client.pause_environment("web", "by hand")
    (full.source / "a" / "same.conf").write_text("A\n")
    (full.source / "b" / "same.conf").write_text("B\n")
    full.daemon.cli("deploy", "web", "a/same.conf")
    assert (full.target / "a" / "same.conf").read_text() == "A\n"
    assert (full.target / "b" / "same.conf").read_text() == "b\n"


def test_event_less_change_is_found_by_the_periodic_scan(tmp_path: Path) -> None:
    """S4, promise 5: a change that raises no event (written through a bind-mounted twin is one; here: before the watch)."""
    with running("[watch]\nscan_interval = 1\n") as daemon, daemon.client() as client:
        source, target = daemon.home / "src", daemon.home / "dst"
        source.mkdir()
        (source / "f").write_text("1\n")
        client.create_environment("poll", type="testing", config_path=str(target), sources=[str(source)])
        eventually(lambda: same(source, target))
        # mmap raises no event while the file stays open.
        with (source / "f").open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
            memory[0:1] = b"2"
            memory.flush()
            eventually(lambda: (target / "f").read_text() == "2\n", within=15)


@pytest.mark.parametrize("name", ["file-1", "file-new"])
def test_file_that_takes_its_time_to_be_written_arrives_whole(full: Site, name: str) -> None:
    """S1: `generate > file` empties the file, or makes it, long before it says anything; what is deployed is what it was or what it became."""
    target, before = full.target / name, (full.source / name).read_text() if name == "file-1" else None
    seen, whole = set[str | None](), "begins\ngoes on\nends\n"
    writer = subprocess.Popen(
        [
            "sh",
            "-c",
            'exec > "$1"; echo begins; sleep 0.5; echo goes on; sleep 0.5; echo ends',
            "sh",
            full.source / name,
        ]
    )
    try:
        while writer.poll() is None:
            seen.add(target.read_text() if target.exists() else None)
            time.sleep(0.001)
        assert seen <= {before, whole}
        eventually(lambda: target.exists() and target.read_text() == whole)
    finally:
        writer.wait(10)
    newest = next(iter(full.client.list_deployments("web"))).changes
    assert (newest.added_count, newest.modified_count) == ((1, 0) if before is None else (0, 1))
