"""The main job: a source changes, the subscribed environment follows; a rollback restores and sticks."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tests.e2e.conftest import Site
from tests.e2e.harness import HELD, OUT_OF_SYNC, SUCCESS, SYNCED, eventually, running, same, state_of, tree_of

pytestmark = pytest.mark.e2e


def follows(site: Site) -> bool:
    return eventually(lambda: same(site.source, site.target), what="the target to follow")


def newest(site: Site) -> str:
    return next(site.client.list_deployments("web")).deployment_id


def newest_after(site: Site, older: str) -> str:
    """The record follows the bytes; wait for it."""
    eventually(lambda: newest(site) != older)
    eventually(lambda: state_of(site.client, "web") == SYNCED)
    return newest(site)


def test_edit_arrives_alone(site: Site) -> None:
    (site.source / "other.conf").write_text("other\n")
    follows(site)
    eventually(lambda: state_of(site.client, "web") == SYNCED)
    first = newest(site)
    inode = (site.target / "other.conf").stat().st_ino
    (site.source / "app.conf").write_text("two\n")
    eventually(lambda: (site.target / "app.conf").read_text() == "two\n")
    record = site.client.get_deployment(newest_after(site, first))
    assert [change.path for change in record.changes.modified] == ["app.conf"]
    assert (record.changes.added_count, record.changes.removed_count) == (0, 0)
    assert (site.target / "other.conf").stat().st_ino == inode, "an unchanged file keeps its inode"


def test_kinds_of_change_arrive(site: Site) -> None:
    """New directories, renames, moves in and out, deletions, modes, symlinks, empty directories, odd names."""
    follows(site)
    deep = site.source / "a" / "b" / "c"
    deep.mkdir(parents=True)
    (deep / "leaf").write_bytes(b"\x00\xff binary")
    (site.source / "empty").mkdir()
    (site.source / "link").symlink_to("a/b/c/leaf")
    (site.source / "script").write_text("#!/bin/sh\n")
    (site.source / "script").chmod(0o750)
    Path(os.fsdecode(bytes(site.source) + b"/not-utf8-\xff\nname")).write_text("odd\n")
    follows(site)
    outside = site.daemon.home / "outside"
    (site.source / "a").rename(outside)
    follows(site)
    outside.rename(site.source / "moved")
    (site.source / "link").unlink()
    (site.source / "link").symlink_to("script")
    (site.source / "script").chmod(0o700)
    follows(site)
    (site.source / "app.conf").unlink()
    (site.source / "empty").rmdir()
    follows(site)


def test_file_and_directory_change_places(site: Site) -> None:
    """T6."""
    (site.source / "d").mkdir()
    (site.source / "d" / "x").write_text("x\n")
    follows(site)
    (site.source / "d" / "x").unlink()
    (site.source / "d").rmdir()
    (site.source / "d").write_text("a file now\n")
    follows(site)
    (site.source / "d").unlink()
    (site.source / "d").mkdir()
    (site.source / "d" / "y").write_text("y\n")
    follows(site)


def test_rollback_restores_and_sticks_over_a_restart(site: Site) -> None:
    """Promises 3 and 4; traps D2, D3, D4."""
    (site.source / "script").write_text("#!/bin/sh\n")
    (site.source / "script").chmod(0o755)
    (site.source / "link").symlink_to("app.conf")
    follows(site)
    before = tree_of(site.target)
    eventually(lambda: state_of(site.client, "web") == SYNCED)
    with_pause = site.source / "app.conf"
    site.client.pause_environment("web", "one change at a time")
    with_pause.write_text("bad\n")
    (site.source / "script").chmod(0o700)
    (site.source / "link").unlink()
    (site.source / "new").write_text("new\n")
    site.client.resume_environment("web")
    follows(site)
    bad = eventually(lambda: next(site.client.list_deployments("web")).deployment_id)
    eventually(lambda: site.client.get_deployment(bad).status == SUCCESS)
    done = site.client.wait_for_deployment(site.client.rollback(bad).deployment_id, 30)
    assert done.status == SUCCESS, done
    assert done.rollback_info.undone == [bad]
    assert tree_of(site.target) == before
    assert site.client.get_deployment(bad).rollback_info.rolled_back_by == done.deployment_id
    eventually(lambda: state_of(site.client, "web") == HELD)

    assert site.daemon.stop() == 0
    site.daemon.start()
    with site.daemon.client() as client:
        eventually(lambda: state_of(client, "web") == HELD)
        assert tree_of(site.target) == before
        # Each rejected path has other content now: the hold lifts by itself.
        for name in ("app.conf", "new", "script"):
            (site.source / name).write_text("mended\n")
        assert tree_of(site.target) == before, "the link is still as it was rejected: held"
        (site.source / "link").symlink_to("new")
        follows(site)
        eventually(lambda: state_of(client, "web") == SYNCED)


def test_rollback_works_when_the_source_is_gone(site: Site) -> None:
    """D4: rollback needs no source."""
    follows(site)
    eventually(lambda: state_of(site.client, "web") == SYNCED)
    (site.source / "app.conf").write_text("two\n")
    follows(site)
    eventually(lambda: state_of(site.client, "web") == SYNCED)
    bad = newest(site)
    site.source.rename(site.daemon.home / "gone")
    done = site.client.wait_for_deployment(site.client.rollback(bad).deployment_id, 30)
    assert done.status == SUCCESS, done.error
    assert (site.target / "app.conf").read_text() == "one\n"


def test_rollback_of_a_middle_one_needs_a_word(site: Site) -> None:
    """D6, and restore."""
    ids = []
    for text in ("one\n", "two\n", "three\n"):
        (site.source / "app.conf").write_text(text)
        follows(site)
        eventually(lambda: state_of(site.client, "web") == SYNCED)
        ids.append(newest(site))
    refused = site.daemon.cli("rollback", ids[1], check=False)
    assert refused.returncode == 4
    assert ids[2] in refused.stderr
    assert "--include-later" in refused.stderr
    site.daemon.cli("rollback", ids[1], "--include-later")
    assert (site.target / "app.conf").read_text() == "one\n"
    site.daemon.cli("restore", ids[2])
    assert (site.target / "app.conf").read_text() == "three\n"
    assert site.daemon.cli("rollback", ids[2], check=False).returncode == 4


def test_rollback_of_a_failed_one_is_refused(site: Site) -> None:
    """D5."""
    follows(site)
    done = site.daemon.cli("deploy", "web", "missing.conf", check=False)
    assert done.returncode == 1
    assert "missing.conf" in done.stderr
    failed = newest(site)
    refused = site.daemon.cli("rollback", failed, check=False)
    assert refused.returncode == 4
    assert "never had its state" in refused.stderr


def test_resume_and_deploy_lift_the_hold(site: Site) -> None:
    for lift in (["env", "resume", "web"], ["deploy", "web"]):
        (site.source / "app.conf").write_text(f"bad {lift[0]}\n")
        follows(site)
        eventually(lambda: state_of(site.client, "web") == SYNCED)
        site.daemon.cli("rollback", newest(site))
        eventually(lambda: state_of(site.client, "web") == HELD)
        site.daemon.cli(*lift)
        follows(site)
        eventually(lambda: state_of(site.client, "web") == SYNCED)


def test_production_waits_until_it_is_asked(site: Site) -> None:
    target = site.daemon.home / "production"
    site.client.create_environment(
        "production", type="production", config_path=str(target), sources=[str(site.source)]
    )
    eventually(lambda: state_of(site.client, "production") == OUT_OF_SYNC)
    assert not target.exists() or not list(target.iterdir())
    site.daemon.cli("deploy", "production", "--reason", "release")
    assert same(site.source, target)


def test_layers_and_variables(site: Site) -> None:
    """Later sources win; a changed variable deploys without a changed source (R4)."""
    over, target = site.daemon.home / "over", site.daemon.home / "layered"
    over.mkdir()
    (over / "other").write_text("so that it is never empty\n")
    (over / "app.conf").write_text("port=${PORT} uri=$uri\n")
    site.client.create_environment(
        "layered",
        type="testing",
        config_path=str(target),
        sources=[str(site.source), str(over)],
        variables={"PORT": "80"},
    )
    eventually(
        lambda: (target / "app.conf").exists() and (target / "app.conf").read_text() == "port=80 uri=$uri\n"
    )
    site.daemon.cli("env", "set", "layered", "--var", "PORT=81")
    eventually(lambda: (target / "app.conf").read_text() == "port=81 uri=$uri\n")
    (over / "app.conf").unlink()
    eventually(lambda: (target / "app.conf").read_text() == "one\n")


def test_records_on_disk_are_what_the_command_line_prints(site: Site) -> None:
    follows(site)
    eventually(lambda: state_of(site.client, "web") == SYNCED)
    deployment = newest(site)
    on_disk = json.loads(
        (site.daemon.state / "config_deployments" / "web" / f"{deployment}.json").read_text()
    )
    assert json.loads(site.daemon.cli("show", deployment, "-o", "json").stdout) == on_disk
    assert on_disk["status"] == "success"
    environment = json.loads((site.daemon.state / "environments" / "web.json").read_text())
    printed = json.loads(site.daemon.cli("-o", "json", "env", "show", "web").stdout)
    printed.pop("sync")
    assert {key: environment[key] for key in printed} == printed


def test_downtime_is_made_good_at_start(site: Site) -> None:
    follows(site)
    site.daemon.stop()
    (site.source / "while-down").write_text("x\n")
    (site.source / "app.conf").unlink()
    (site.source / "app2.conf").write_text("y\n")
    site.daemon.start()
    follows(site)


def test_deleted_environment_keeps_or_removes_its_target(site: Site) -> None:
    follows(site)
    (site.target / "foreign").write_text("not ours\n")
    site.daemon.cli("env", "delete", "web")
    assert (site.target / "app.conf").exists()
    site.client.create_environment(
        "web", type="development", config_path=str(site.target), sources=[str(site.source)]
    )
    eventually(lambda: state_of(site.client, "web") == SYNCED)
    site.daemon.cli("env", "delete", "web", "--remove-target-files")
    assert not (site.target / "app.conf").exists()
    assert (site.target / "foreign").read_text() == "not ours\n"


def test_watch_shows_each_deployment(site: Site) -> None:
    follows(site)
    eventually(lambda: state_of(site.client, "web") == SYNCED)
    seen = []
    for event in site.client.watch_deployments("web"):
        if event.HasField("deployment"):
            seen.append((event.kind, event.deployment.status))
            if len(seen) > 1 and event.deployment.status == SUCCESS:
                break
        else:
            (site.source / "app.conf").write_text("watched\n")
    assert seen[0][1] == SUCCESS


def test_stops_cleanly_and_says_when_a_second_one_is_there() -> None:
    """A2."""
    with running() as daemon:
        second = type(daemon)(daemon.home)
        second.socket = daemon.home / "t"
        second.log_path = daemon.home / "log2"
        second.start(wait=False)
        assert second.process is not None
        assert second.process.wait(20) == 4
        assert str(daemon.process.pid if daemon.process else 0) in second.log()
        second.process = None
        assert daemon.cli("status").returncode == 0
