"""Clients in other languages, the examples of examples/clients, against the real daemon: through the door, over the public socket."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.harness import Daemon, running

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
EXAMPLES, BUILT = ROOT / "examples/clients", ROOT / "build/clients"
MODULES, COMPILED = BUILT / "node/node_modules", BUILT / "cpp/deploy"


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running() as made:
        (made.home / "source").mkdir()
        yield made


def run(daemon: Daemon, name: str, *command: str | Path, **environ: str) -> str:
    """Run an example; return what it printed."""
    (daemon.home / "source" / "app.conf").write_text("by ${LANGUAGE}\n")
    target = daemon.home / f"target-{name}"
    done = subprocess.run(
        [*command, name, daemon.home / "source", target],
        env={**os.environ, "HEADGATE_ADDRESS": f"unix:{daemon.socket}", **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert not any(target.iterdir()), "what it deployed, it rolled back"
    return done.stdout


def check(daemon: Daemon, name: str, language: str, printed: str) -> None:
    """See that all happened that the example is for, in the daemon's words too."""
    assert re.search(r"^refused .*INVALID_ARGUMENT$", printed, re.MULTILINE)
    assert re.search(r"^fault .*config_path: must be an absolute path", printed, re.MULTILINE)
    assert re.search(rf"^watched deploy_{name}_\d+ DEPLOYMENT_STATUS_SUCCESS", printed, re.MULTILINE)
    assert re.search(rf"^watched rollback_{name}_\d+ DEPLOYMENT_STATUS_SUCCESS", printed, re.MULTILINE)
    assert re.search(r"^refused .*ALREADY_ROLLED_BACK$", printed, re.MULTILINE)
    assert f"try: to bring its state back: headgate restore deploy_{name}" in printed
    with daemon.client() as client:
        undo, deployed = client.list_deployments(name)
        assert [change.path for change in client.get_deployment(deployed.deployment_id).changes.added] == [
            "app.conf"
        ]
        pieces = b"".join(client.export_deployment(deployed.deployment_id))
        assert f"by {language}\n".encode() in pieces
        assert list(undo.rollback_info.undone) == [deployed.deployment_id]
        assert name not in [each.name for each in client.list_environments()]


def test_python_deploys_watches_and_rolls_back(daemon: Daemon) -> None:
    printed = run(daemon, "python", sys.executable, EXAMPLES / "python/deploy.py")
    assert "fault environment.variables.9: must be a letter" in printed, "all faults at once"
    check(daemon, "python", "python", printed)


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
@pytest.mark.skipif(not MODULES.is_dir(), reason="its modules are not installed: make clients")
def test_node_deploys_watches_and_rolls_back(daemon: Daemon) -> None:
    printed = run(daemon, "node", "node", EXAMPLES / "node/deploy.js", NODE_PATH=str(MODULES))
    check(daemon, "node", "node", printed)


@pytest.mark.skipif(not COMPILED.is_file(), reason="it is not compiled (libgrpc++-dev): make clients")
def test_cpp_deploys_watches_and_rolls_back(daemon: Daemon) -> None:
    check(daemon, "cpp", "C++", run(daemon, "cpp", COMPILED))


def test_versions_are_exact_and_no_address_of_a_registry_is_kept() -> None:
    versions = json.loads((EXAMPLES / "node/package.json").read_text())["dependencies"].values()
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in versions)
    assert not list(EXAMPLES.rglob("package-lock.json"))
