"""The package's life: an upgrade keeps state and settings and fails no call, removing keeps state, purging leaves targets alone."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from tests.e2e.harness import eventually
from tests.systemd.conftest import OLDER
from tests.systemd.machine import Machine
from tests.systemd.site import Site
from tests.systemd.storm import Storm

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.e2e, pytest.mark.timeout(300)]
OURS = "# Changed by the administrator.\n"


def installed(machine: Machine) -> str:
    """Return dpkg's word for the package: state and version."""
    query = machine.run("dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", "headgate", check=False)
    return query.stdout


def test_package_names_no_directory_of_the_machine_that_built_it(package: Path, tmp_path: Path) -> None:
    subprocess.run(["dpkg-deb", "-x", package, tmp_path / "tree"], check=True)
    here = str(Path(__file__).parents[2])
    found = subprocess.run(
        ["grep", "-rlF", "-e", here, "-e", str(package.parent), tmp_path / "tree"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stdout == ""
    share = tmp_path / "tree/usr/share"
    for file in (
        "man/man1/headgate.1.gz",
        "man/man5/headgated.toml.5.gz",
        "man/man8/headgated.8.gz",
        "bash-completion/completions/headgate",
        "zsh/vendor-completions/_headgate",
        "fish/vendor_completions.d/headgate.fish",
        "doc/headgate/operations.md",
        "doc/headgate/examples/credentials.conf",
    ):
        assert (share / file).stat().st_size > 0
    assert (
        subprocess.run(["bash", "-n", share / "bash-completion/completions/headgate"], check=False).returncode
        == 0
    )
    scripts = [path for path in (tmp_path / "tree/opt/headgate/bin").iterdir() if not path.is_symlink()]
    assert {path.name for path in scripts} == {"headgate", "headgated"}
    assert {path.read_text().splitlines()[0] for path in scripts} == {"#!/opt/headgate/bin/python3"}
    shutil.rmtree(tmp_path / "tree")


def test_upgrade_keeps_state_and_settings_and_fails_no_call(site: Site, older_package: Path) -> None:
    machine = site.machine
    shutil.copy(older_package, machine.root / "opt/older.deb")
    machine.run("dpkg", "--force-unsafe-io", "--install", "/opt/older.deb")
    assert installed(machine) == f"installed {OLDER}"
    config = machine.read("/etc/headgate/headgated.toml")
    machine.write("/etc/headgate/headgated.toml", OURS + config)
    before = machine.pid()
    with Storm(site) as storm:
        machine.run("dpkg", "--force-unsafe-io", "--install", "/opt/headgate.deb")
    assert (storm.failures, storm.lost) == ([], [])
    assert installed(machine) != f"installed {OLDER}"
    assert machine.pid() not in (0, before)
    assert machine.read("/etc/headgate/headgated.toml") == OURS + config
    with machine.client() as client:
        assert client.get_environment(site.name).config_path == site.target
    site.edit("after the upgrade\n")
    eventually(lambda: site.deployed() == "after the upgrade\n", what="the edit to arrive")
    machine.write("/etc/headgate/headgated.toml", config)


def test_upgrade_starts_nothing_that_was_stopped(machine: Machine) -> None:
    machine.systemctl("stop", "headgated.socket", "headgated.service")
    machine.run("dpkg", "--force-unsafe-io", "--install", "/opt/headgate.deb")
    assert machine.show("ActiveState") == "inactive"


def test_remove_keeps_state_purge_keeps_targets_and_neither_asks(site: Site) -> None:
    machine = site.machine
    try:
        machine.run("dpkg", "--force-unsafe-io", "--remove", "headgate")
        assert not (machine.root / "usr/bin/headgated").exists()
        assert (machine.root / "var/lib/headgate/history.db").exists()
        assert (machine.root / "etc/headgate/headgated.toml").exists()
        machine.run("dpkg", "--force-unsafe-io", "--install", "/opt/headgate.deb")
        with machine.client() as client:
            assert client.get_environment(site.name).config_path == site.target
        machine.run("dpkg", "--force-unsafe-io", "--purge", "headgate")
        for gone in ("opt/headgate", "var/lib/headgate", "etc/headgate/headgated.toml", "run/headgate"):
            assert not (machine.root / gone).exists(), gone
        links = machine.run("find", "/etc/systemd/system", "-name", "headgated*").stdout
        assert links == ""
        assert site.deployed() == "one\n"
        assert machine.read(f"{site.source}/app.conf") == "one\n"
    finally:
        machine.run("dpkg", "--force-unsafe-io", "--install", "/opt/headgate.deb")
        with machine.client() as client:  # So that the site can be taken down as any other.
            names = [environment.name for environment in client.list_environments()]
            if site.name not in names:
                client.create_environment(
                    site.name, type="testing", config_path=site.target, sources=[site.source], auto_sync=False
                )
