"""Fixtures: the Debian package built from this source, and a booted machine that has it installed. Both are made once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.harness import eventually
from tests.systemd.machine import CannotBoot, Machine
from tests.systemd.site import Site

REPOSITORY = Path(__file__).parents[2]
NEEDED = {
    "systemd-nspawn": "systemd-container",
    "nsenter": "util-linux",
    "dpkg-deb": "dpkg",
    "deb-systemd-helper": "init-system-helpers",
}
OLDER = "0.0.1"


def build(output: Path) -> Path:
    """Build the package; not compressed, because it is not kept."""
    done = subprocess.run(
        [REPOSITORY / "packaging/build-deb", Path(sys.executable).parent / "pip", output],
        env={**os.environ, "DEB_COMPRESSION": "none"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return Path(done.stdout.split()[-1])


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of this source."""
    if os.geteuid() != 0:
        pytest.skip("booting a container needs root")
    missing = [package for program, package in NEEDED.items() if shutil.which(program) is None]
    if missing:
        pytest.skip(f"needs the Debian packages {' '.join(missing)}")
    return build(tmp_path_factory.mktemp("deb"))


@pytest.fixture(scope="session")
def older_package(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package of an earlier version: the same but for its number, which is what an upgrade is made of as far as Debian knows."""
    work = tmp_path_factory.mktemp("older")
    subprocess.run(["dpkg-deb", "-R", package, work / "tree"], check=True)
    control = work / "tree/DEBIAN/control"
    lines = control.read_text().splitlines()
    control.write_text(
        "\n".join(f"Version: {OLDER}" if line.startswith("Version:") else line for line in lines) + "\n"
    )
    older = work / "older.deb"
    subprocess.run(["dpkg-deb", "-Znone", "-b", work / "tree", older], check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(work / "tree")
    return older


@pytest.fixture(scope="session")
def booted(package: Path) -> Iterator[Machine]:
    """A machine with the package installed."""
    try:
        machine = Machine()
    except CannotBoot as error:
        pytest.skip(str(error))
    try:
        shutil.copy(package, machine.disk / "opt/headgate.deb")
        try:
            machine.boot()
        except CannotBoot as error:
            pytest.skip(f"cannot boot a container here: {error}")
        machine.run("useradd", "--create-home", "member")
        machine.run("useradd", "--create-home", "stranger")
        machine.run("dpkg", "--force-unsafe-io", "--install", "/opt/headgate.deb")
        machine.run("usermod", "--append", "--groups", "headgate", "member")
        yield machine
        boots = ", ".join(f"{seconds:.1f} s" for seconds in machine.boots)
        sys.stderr.write(f"\nthe machine booted in {boots}\n")
    finally:
        machine.close()


@pytest.fixture
def machine(booted: Machine) -> Machine:
    """The machine, with the daemon serving."""
    booted.systemctl("reset-failed", check=False)
    booted.systemctl("start", "headgated.socket", "headgated.service")
    return booted


@pytest.fixture
def site(machine: Machine, request: pytest.FixtureRequest) -> Iterator[Site]:
    """An environment of the test's own, with a source that holds one file, deployed below /etc."""
    name = request.node.name.removeprefix("test_").replace("_", "-")[:40].strip("-")
    site = Site(machine, name)
    site.edit("one\n")
    with machine.client() as client:
        client.create_environment(
            name, type="development", config_path=site.target, sources=[site.source], auto_sync=True
        )
        # Told when it ends: what follows may go by its record.
        eventually(
            lambda: site.deployed() == "one\n" and list(client.list_deployments(name)),
            what="the first deployment",
        )
    yield site
    machine.systemctl("start", "headgated.socket", "headgated.service")
    with machine.client() as client:
        client.delete_environment(name)
