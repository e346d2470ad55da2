"""History from outside: verified, collected and exported through the daemon and the command line."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from pathlib import Path

import pytest
from tests.e2e.conftest import Site
from tests.e2e.harness import BIN, SUCCESS, Daemon, eventually, running, tree_of

from headgate import Client
from headgate.errors import RefusedError

pytestmark = pytest.mark.e2e


def deployed(client: Client, name: str) -> str:
    """Deploy, wait for it, return its id."""
    done = client.wait_for_deployment(client.deploy(name).deployment_id)
    assert done.status == SUCCESS, done.error.message
    return done.deployment_id


def environment(daemon: Daemon, client: Client) -> Path:
    """Create `web`, which is deployed only when asked; return its source."""
    source = daemon.home / "source"
    source.mkdir()
    client.create_environment(
        "web",
        type="production",
        config_path=str(daemon.home / "target"),
        sources=[str(source)],
        auto_sync=False,
    )
    return source


def several(daemon: Daemon, client: Client, count: int) -> list[str]:
    """Deploy `count` versions of one file; return their ids."""
    source, made = environment(daemon, client), []
    for n in range(count):
        (source / "app.conf").write_text(f"{n}\n" * 5000)
        made.append(deployed(client, "web"))
    return made


def test_gc_drops_what_then_is_refused() -> None:
    with running('[retention]\ncount = 2\ninterval = "30d"\n') as daemon, daemon.client() as client:
        made = several(daemon, client, 5)
        told = json.loads(daemon.cli("history", "gc", "-o", "json").stdout)
        assert told["deployments"] == 3
        assert told["contents"] > 0
        for verb in ("rollback", "restore"):
            refused = daemon.cli(verb, made[0], check=False)
            assert refused.returncode == 4, refused.stderr
            assert "history no longer holds its content" in refused.stderr
            assert f"headgate restore {made[3]}" in refused.stderr
        assert daemon.cli("history", "export", made[0], "out", check=False).returncode == 4
        assert not (daemon.home / "out").exists()
        with pytest.raises(RefusedError) as caught:
            client.rollback(made[0], include_later=True)
        assert caught.value.reason == "HISTORY_COLLECTED"
        assert client.get_deployment(made[0]).status == SUCCESS, "its record stays"
        daemon.cli("rollback", made[4])
        assert (daemon.home / "target" / "app.conf").read_text() == "3\n" * 5000
        assert daemon.cli("history", "gc").stdout.startswith("1 deployment(s)"), "the rollback is one more"
        assert daemon.cli("history", "gc").stdout.startswith("0 deployment(s) and 0 content(s)")


def test_gc_asked_twice_under_one_id_is_done_once() -> None:
    with running("[retention]\ncount = 2\n") as daemon, daemon.client() as client:
        several(daemon, client, 4)
        first = client.collect_history(request_id="same")
        assert first.deployments == 2
        assert client.collect_history(request_id="same") == first


def test_history_is_collected_by_itself() -> None:
    with running('[retention]\ncount = 2\ninterval = "1s"\n') as daemon, daemon.client() as client:
        made = several(daemon, client, 5)

        def is_gone() -> bool:
            refused = daemon.cli("history", "export", made[0], "-", check=False)
            return refused.returncode == 4

        eventually(is_gone, within=20, what="the oldest deployment to go")
        assert daemon.cli("history", "verify").stdout == "history is whole\n"
        daemon.cli("restore", made[3])


def test_verify_finds_a_flipped_byte(site: Site) -> None:
    (site.source / "app.conf").write_text("find me in the file\n" * 100)
    site.client.wait_for_deployment(site.client.deploy("web").deployment_id)
    assert json.loads(site.daemon.cli("history", "verify", "-o", "json").stdout) == {
        "damages": [],
        "omitted_count": 0,
    }
    site.daemon.stop()
    flip(site.daemon.state / "history.db", b"find me in the file\n")
    site.daemon.start()
    found = site.daemon.cli("history", "verify", check=False)
    assert found.returncode == 1
    lines = found.stdout.splitlines()
    assert lines[-1] == f"{len(lines) - 1} damage(s)"
    assert any("not those that were stored" in line for line in lines)
    assert site.daemon.cli("history", "gc", check=False).returncode in (0, 1)


def flip(path: Path, needle: bytes) -> None:
    """Turn a bit of a content over, as a bad disk would."""
    with sqlite3.connect(path) as sql:
        sql.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    sql.close()
    raw = bytearray(path.read_bytes())
    raw[raw.index(needle)] ^= 1
    path.write_bytes(raw)


def furnish(source: Path) -> None:
    (source / "deep" / "er").mkdir(parents=True)
    (source / "deep" / "er" / "leaf").write_bytes(os.urandom(300_000))
    (source / "script").write_text("#!/bin/sh\n")
    (source / "script").chmod(0o750)
    (source / "private").mkdir(mode=0o700)
    (source / "link").symlink_to("deep/er/leaf")
    Path(os.fsdecode(bytes(source) + b"/odd-\xff\n")).write_text("odd\n")
    (source / "read-only").mkdir()
    (source / "read-only" / "file").write_text("x\n")
    (source / "read-only" / "file").chmod(0o444)
    (source / "read-only").chmod(0o555)


def test_export_equals_the_target(daemon: Daemon, client: Client) -> None:
    source, target = environment(daemon, client), daemon.home / "target"
    furnish(source)
    first = deployed(client, "web")
    was = tree_of(target)
    (source / "script").write_text("changed\n")
    (source / "link").unlink()
    deployed(client, "web")
    done = daemon.cli("history", "export", first, "out", "-o", "json")
    assert json.loads(done.stdout) == {"deployment_id": first, "directory": "out", "files": 5}
    assert tree_of(daemon.home / "out") == was
    again = daemon.cli("history", "export", first, "out", check=False)
    assert again.returncode == 4
    assert "there is something in it" in again.stderr
    assert tree_of(daemon.home / "out") == was
    (daemon.home / "out" / "read-only").chmod(0o755)
    (source / "read-only").chmod(0o755)
    (target / "read-only").chmod(0o755)


def test_export_goes_through_a_pipe(daemon: Daemon, client: Client) -> None:
    source, target = environment(daemon, client), daemon.home / "target"
    furnish(source)
    first = deployed(client, "web")
    out = daemon.home / "out"
    out.mkdir()
    with subprocess.Popen(
        [BIN / "headgate", "--socket", daemon.socket, "history", "export", first, "-"], stdout=subprocess.PIPE
    ) as export:
        subprocess.run(["tar", "-x", "-p", "-C", out], stdin=export.stdout, check=True, timeout=60)
    assert export.returncode == 0
    assert tree_of(out) == tree_of(target)
    for directory in (out, source, target):
        (directory / "read-only").chmod(0o755)
