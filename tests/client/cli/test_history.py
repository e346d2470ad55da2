"""`headgate history`."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.client.cli.conftest import Run
from tests.client.fake_daemon import FakeDaemon
from tests.client.test_unpack import DIRECTORY, FILE, packed

from headgate.v1.deployment_pb2 import ConfigDeployment

ID = "deploy_web_1"


@pytest.fixture
def exported(daemon: FakeDaemon) -> bytes:
    """An archive that the daemon gives for a deployment."""
    archive = packed(DIRECTORY, FILE)
    daemon.deployments[ID] = ConfigDeployment(deployment_id=ID, environment="web")
    daemon.pieces = [archive[:1000], archive[1000:]]
    return archive


def test_verify_exits_with_1_if_anything_is_damaged(run: Run, daemon: FakeDaemon) -> None:
    assert run("history", "verify").out == "history is whole\n"
    assert run("history", "verify", "-o", "json").json == {"damages": [], "omitted_count": 0}
    daemon.damages = ["content a: its bytes\x1b are wrong", "tree b: gone"]
    assert run("history", "verify", code=1).out.splitlines() == [
        "content a: its bytes\\x1b are wrong",
        "tree b: gone",
        "2 damage(s)",
    ]
    assert run("history", "verify", "-o", "json", code=1).json["damages"][1] == "tree b: gone"


def test_gc_tells_what_went(run: Run, daemon: FakeDaemon) -> None:
    assert run("history", "gc").out == "3 deployment(s) and 20 content(s) dropped, 4096 bytes returned\n"
    assert run("history", "gc", "-o", "json").json == {
        "deployments": 3,
        "contents": 20,
        "bytes_returned": 4096,
    }
    first, second = (each.request_id for each in daemon.requests[-2:])
    assert first
    assert first != second


def test_export_writes_a_directory(run: Run, exported: bytes, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("history", "export", ID, str(out)).out == f"1 file(s) of {ID} are in {out}\n"
    assert (out / "d" / "f").read_bytes() == FILE[1]
    (out / "d").chmod(0o755)


def test_export_that_fails_leaves_nothing(
    run: Run, daemon: FakeDaemon, exported: bytes, tmp_path: Path
) -> None:
    daemon.torn = True
    err = run("history", "export", ID, str(tmp_path / "out"), code=1).err
    assert "cannot read a content from history" in err
    assert list(tmp_path.iterdir()) == []
    run("history", "export", "deploy_web_2", str(tmp_path / "out"), code=3)
    assert list(tmp_path.iterdir()) == []
