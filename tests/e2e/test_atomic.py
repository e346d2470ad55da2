"""Strategy atomic on the daemon: the target changes as a whole, and everything else works as ever."""

from __future__ import annotations

import itertools
import json
import os
import stat
import time
from pathlib import Path

import pytest
from tests.e2e.conftest import Site
from tests.e2e.harness import SUCCESS, SYNCED, Daemon, eventually, same, state_of
from tests.unit.effects.mounts import mounted

from headgate import Client

pytestmark = pytest.mark.e2e


@pytest.fixture
def site(daemon: Daemon, client: Client) -> Site:
    """An environment made from the command line, with one file that is not ours."""
    source, target = daemon.home / "source", daemon.home / "target"
    source.mkdir()
    (source / "app.conf").write_text("one\n")
    target.mkdir()
    (target / "theirs").write_text("theirs\n")
    daemon.cli(
        *("env", "create", "web", "--type", "development", "--target", str(target)),
        *("--source", str(source), "--strategy", "atomic"),
    )
    return Site(daemon, client, source, target)


def drifted(site: Site) -> list[str]:
    return list(site.client.get_environment("web").sync.drifted)


def content(site: Site) -> str:
    """Return what the target has; nothing, before the first deployment."""
    app = site.target / "app.conf"
    return app.read_text() if app.exists() else ""


def deployed(site: Site) -> int:
    """Wait until the sources are at the target, and nothing beside it; return the target's inode."""
    wanted = (site.source / "app.conf").read_text()
    eventually(lambda: content(site) == wanted)
    eventually(lambda: state_of(site.client, "web") == SYNCED)
    eventually(lambda: not [name for name in os.listdir(site.target.parent) if name.startswith(".headgate-")])
    assert (site.target / "theirs").read_text() == "theirs\n"
    return site.target.stat().st_ino


def test_each_deployment_is_another_directory_and_edits_are_still_noticed(site: Site) -> None:
    inodes = [deployed(site)]
    theirs = (site.target / "theirs").stat().st_ino
    for number in range(6):  # more than the watcher takes on at once
        (site.source / "app.conf").write_text(f"{number}\n")
        inodes.append(deployed(site))
    assert all(one != other for one, other in itertools.pairwise(inodes))
    assert (site.target / "theirs").stat().st_ino == theirs
    assert drifted(site) == []
    began = time.monotonic()
    (site.target / "app.conf").write_text("by hand\n")
    eventually(lambda: drifted(site) == ["app.conf"], within=15)
    assert time.monotonic() - began < 15
    assert list(site.client.status().problems) == []
    (site.target / "app.conf").write_text("5\n")
    eventually(lambda: drifted(site) == [])
    newest, looked = (
        next(site.client.list_deployments("web")).deployment_id,
        site.daemon.log().count("looking at"),
    )
    time.sleep(2)  # nothing goes on for ever: neither deploying nor looking anew
    assert site.target.stat().st_ino == inodes[-1]
    assert next(site.client.list_deployments("web")).deployment_id == newest
    assert site.daemon.log().count("looking at") <= looked + 1


def test_rollback_restore_heal_and_adopt_work_the_same(site: Site) -> None:
    deployed(site)
    first = next(site.client.list_deployments("web")).deployment_id
    (site.source / "app.conf").write_text("two\n")
    (site.source / "d").mkdir()
    (site.source / "d" / "new").write_text("new\n")
    deployed(site)
    eventually((site.target / "d" / "new").exists)
    eventually(lambda: state_of(site.client, "web") == SYNCED)
    second = next(site.client.list_deployments("web")).deployment_id
    (site.target / "d" / "foreign").write_text("foreign\n")
    site.daemon.cli("restore", first)
    assert (site.target / "app.conf").read_text() == "one\n"
    assert os.listdir(site.target / "d") == ["foreign"], "what is not ours stays, and its directory"
    site.daemon.cli("rollback", next(site.client.list_deployments("web")).deployment_id)
    assert (site.target / "app.conf").read_text() == "two\n"
    assert sorted(os.listdir(site.target / "d")) == ["foreign", "new"]
    assert second != first
    site.daemon.cli("env", "resume", "web")
    site.daemon.cli("env", "set", "web", "--drift", "heal")
    (site.target / "app.conf").write_text("by hand\n")
    eventually(lambda: content(site) == "two\n")
    site.daemon.cli("env", "set", "web", "--drift", "report")
    eventually(lambda: drifted(site) == [])
    (site.target / "app.conf").write_text("kept\n")
    eventually(lambda: drifted(site) == ["app.conf"])
    inode = site.target.stat().st_ino
    site.daemon.cli("adopt", "web")
    assert site.target.stat().st_ino == inode, "an adoption changes nothing there"
    assert (site.target / "app.conf").read_text() == "kept\n"


def test_strategy_can_be_changed_at_any_time(site: Site) -> None:
    inode = deployed(site)
    site.daemon.cli("env", "set", "web", "--strategy", "in-place")
    (site.source / "app.conf").write_text("two\n")
    assert deployed(site) == inode
    site.daemon.cli("env", "set", "web", "--strategy", "atomic")
    (site.source / "app.conf").write_text("three\n")
    assert deployed(site) != inode
    site.daemon.kill()
    site.daemon.start()
    (site.source / "app.conf").write_text("four\n")
    deployed(site)
    shown = json.loads(site.daemon.cli("env", "show", "web", "-o", "json").stdout)
    assert shown["policies"]["strategy"] == "atomic"


def test_deleting_with_files_leaves_what_is_not_ours(site: Site) -> None:
    deployed(site)
    os.mkfifo(site.target / "fifo")
    site.daemon.cli("env", "delete", "web", "--remove-target-files")
    assert sorted(os.listdir(site.target)) == ["fifo", "theirs"]
    assert stat.S_ISFIFO((site.target / "fifo").stat().st_mode)


def test_mount_point_is_refused_with_what_to_do(daemon: Daemon, tmp_path: Path) -> None:
    target, source = tmp_path / "mounted", tmp_path / "source"
    target.mkdir()
    source.mkdir()
    with mounted(target, "-t", "tmpfs", "tmpfs"):
        (target / "in").mkdir()
        with mounted(target / "in", "-t", "tmpfs", "tmpfs"):
            told = daemon.cli(
                *("env", "create", "web", "--type", "testing", "--target", str(target)),
                *("--source", str(source), "--strategy", "atomic"),
                check=False,
            )
    assert told.returncode == 2
    assert f"{target} is a mount point" in told.stderr
    assert f"{target}/in is mounted inside the target" in told.stderr
    assert "in-place" in told.stderr


def test_mount_that_appears_inside_fails_the_deployment_with_its_path(site: Site) -> None:
    deployed(site)
    (site.target / "volume").mkdir()
    inode = site.target.stat().st_ino
    with mounted(site.target / "volume", "-t", "tmpfs", "tmpfs"):
        (site.source / "app.conf").write_text("two\n")
        told = site.daemon.cli("deploy", "web", check=False)
        assert told.returncode == 1
        assert "volume" in told.stderr
        assert "mount" in told.stderr
        assert (site.target / "app.conf").read_text() == "one\n"
        assert site.target.stat().st_ino == inode
    assert site.client.wait_for_deployment(site.client.deploy("web").deployment_id).status == SUCCESS
    deployed(site)
    assert not same(site.source, site.target)
