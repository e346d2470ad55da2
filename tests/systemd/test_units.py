"""The units as such: that systemd understands every line, how far they are hardened, and that what is written twice is the same."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from tests.systemd.machine import Machine

from headgated.core.config import Settings, parse

REPOSITORY = Path(__file__).parents[2]
SYSTEM = REPOSITORY / "systemd/system"
EXPOSURE = 1.5
"""What a hardened unit that writes below /etc and reloads others reached in a trial; ours is to be no worse."""


def exposure(unit: Path, tmp_path: Path) -> float:
    """Return systemd's own figure for a unit with its drop-in: 0 is nothing exposed, 10 everything."""
    drop_ins = tmp_path / f"{unit.name}.d"
    drop_ins.mkdir()
    shutil.copy(unit, tmp_path)
    shutil.copy(SYSTEM / "10-targets.conf", drop_ins)
    told = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", tmp_path / unit.name],
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.search(r"Overall exposure level for .*: ([0-9.]+)", told.stdout)
    assert found, told.stdout + told.stderr
    return float(found[1])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs the Debian package systemd")
@pytest.mark.parametrize("name", ["headgated.service", "headgated@.service"])
def test_service_exposes_as_little_as_the_documentation_says(name: str, tmp_path: Path) -> None:
    figure = exposure(SYSTEM / name, tmp_path)
    assert figure <= EXPOSURE
    told = re.search(
        r"exposure level[^0-9]*\**([0-9]\.[0-9])", (REPOSITORY / "docs/operations.md").read_text()
    )
    assert told, "docs/operations.md does not tell the exposure level"
    assert float(told[1]) == figure


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.timeout(300)
def test_systemd_has_nothing_to_say_about_the_units(machine: Machine) -> None:
    for scope, names in {
        "--system": [
            "headgated.service",
            "headgated.socket",
            "headgated@blue.service",
            "headgated@blue.socket",
        ],
        "--user": ["headgated.service", "headgated.socket"],
    }.items():
        directory = "/usr/lib/systemd/user/" if scope == "--user" else "/usr/lib/systemd/system/"
        units = [directory + name.replace("blue", "") for name in names]
        verify = ("env", "XDG_RUNTIME_DIR=/run", "systemd-analyze", "verify", scope, "--man=no")
        told = machine.run(*verify, *units, check=False)
        said = [line for line in (told.stdout + told.stderr).splitlines() if "headgate" in line]
        assert (told.returncode, said) == (0, []), told.stderr


def directives(name: str) -> list[str]:
    """Return a unit's settings, without comments."""
    lines = (SYSTEM / name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("kind", ["service", "socket"])
def test_instances_differ_from_the_service_in_their_places_only(kind: str) -> None:
    def placeless(line: str) -> str:
        line = re.sub(r" --config \S+| --state-dir \S+|@?%i| \(%i\)|@", "", line)
        return line.replace("headgate-", "headgate").replace("/run/headgate/", "/run/headgate/")

    one = [placeless(line) for line in directives(f"headgated.{kind}")]
    other = [placeless(line.replace(" (%i)", "")) for line in directives(f"headgated@.{kind}")]
    assert one == other


def test_default_configuration_is_what_holds_without_one() -> None:
    text = (REPOSITORY / "systemd/headgated.toml").read_text()
    assert parse(text) == Settings()
    everything = re.sub(r"^# (?=[a-z_]+ = )", "", text, flags=re.MULTILINE)
    assert parse(everything) == Settings()
    assert any(tomllib.loads(everything)["retention"])


def test_reasons_that_operators_are_told_of_are_those_that_there_are() -> None:
    """What each error means, in docs/operations.md; docs/api.md has them from the source."""
    docs = REPOSITORY / "docs"
    mended = re.findall(r"^\| (`[A-Z_`, ]+`) \|", (docs / "operations.md").read_text(), re.MULTILINE)
    named = {name for row in mended for name in re.findall("[A-Z_]+", row)}
    there = set(re.findall(r"^\| `([A-Z_]+)` \|", (docs / "api.md").read_text(), re.MULTILINE))
    assert named - there == {"STATE_LOCKED"}, "which nobody meets over the API"
    failures = {
        "CHECK_FAILED",
        "RELOAD_FAILED",
        "HEALTH_FAILED",
        "NO_SPACE",
        "SECRET_UNAVAILABLE",
        "INTERRUPTED",
    }
    assert failures <= named
