"""Environments that cannot work together are refused: when they are created, and again at start."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from headgated import ConfigurationDeployer
from headgated.core.environment import Policies, Strategy
from headgated.core.errors import ConflictError, InvalidRequestError, RefusedError


def directory(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / "f").write_text("f\n")
    return path


def test_targets_and_sources_that_overlap_are_refused(tmp_path: Path) -> None:
    """T1, T2."""
    source, other = directory(tmp_path / "source"), directory(tmp_path / "other")
    state = tmp_path / "state"
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "one")
    with ConfigurationDeployer(state) as deployer:
        deployer.create_environment("one", "testing", tmp_path / "one", sources=[source])
        for target, sources in [
            (tmp_path / "one", [other]),
            (tmp_path / "one" / "below", [other]),
            (tmp_path, [other]),
            (link, [other]),
            (source, [other]),
            (source / "below", [other]),
            (other, [other]),
            (other / "below", [other]),
            (tmp_path / "two", [tmp_path / "one"]),
            (state / "x", [other]),
            (tmp_path / "two", [state]),
        ]:
            if not (tmp_path / "one").exists():
                (tmp_path / "one").mkdir()
            with pytest.raises(InvalidRequestError, match="overlaps"):
                deployer.create_environment("two", "testing", target, sources=sources)
        assert [e.name for e in deployer.list_environments()] == ["one"]
        deployer.create_environment("two", "testing", tmp_path / "two", sources=[source])


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_target_that_is_the_same_by_bind_mount_is_refused(tmp_path: Path) -> None:
    """T1: seen by device and inode."""
    source, one, twin = (
        directory(tmp_path / "source"),
        directory(tmp_path / "one"),
        directory(tmp_path / "twin"),
    )
    subprocess.run(["mount", "--bind", one, twin], check=True)
    try:
        with ConfigurationDeployer(tmp_path / "state") as deployer:
            deployer.create_environment("one", "testing", one, sources=[source])
            with pytest.raises(InvalidRequestError, match="overlaps"):
                deployer.create_environment("two", "testing", twin, sources=[source])
    finally:
        subprocess.run(["umount", twin], check=True)


def test_environments_that_overlap_since_are_not_deployed_after_a_start(tmp_path: Path) -> None:
    """T1: checked again at start; the others go on."""
    source = directory(tmp_path / "source")
    with ConfigurationDeployer(tmp_path / "state") as deployer:
        for name in ("one", "two", "three"):
            deployer.create_environment(name, "testing", tmp_path / name, sources=[source])
            deployer.deploy_configuration(name)
    (tmp_path / "two" / "f").unlink()
    (tmp_path / "two").rmdir()
    (tmp_path / "two").symlink_to(tmp_path / "one")
    with ConfigurationDeployer(tmp_path / "state") as deployer:
        for name in ("one", "two"):
            with pytest.raises(RefusedError, match="overlaps"):
                deployer.deploy_configuration(name)
        deployer.deploy_configuration("three")


def test_generation_grows_and_guards(tmp_path: Path) -> None:
    with ConfigurationDeployer(tmp_path / "state") as deployer:
        first = deployer.create_environment("one", "testing", tmp_path / "one")
        second = deployer.change_environment(
            "one", lambda e: replace(e, auto_sync=False), expected_generation=1
        )
        assert (first.generation, second.generation) == (1, 2)
        assert deployer.change_environment("one", lambda e: e).generation == 2, "the same is no change"
        with pytest.raises(ConflictError):
            deployer.change_environment("one", lambda e: replace(e, auto_sync=True), expected_generation=1)


def test_nothing_is_saved_of_what_is_only_checked(tmp_path: Path) -> None:
    with ConfigurationDeployer(tmp_path / "state") as deployer:
        environment = deployer.create_environment("one", "testing", tmp_path / "one")
        deployer.remove_environment("one")
        deployer.add_environment(environment, validate_only=True)
        assert deployer.list_environments() == []
    with ConfigurationDeployer(tmp_path / "state") as deployer:
        assert deployer.list_environments() == []


def test_what_this_version_does_not_do_is_refused_and_not_ignored(tmp_path: Path) -> None:
    """Nobody may believe that a check runs which does not."""
    with ConfigurationDeployer(tmp_path / "state") as deployer:
        deployer.create_environment("one", "testing", tmp_path / "one")
        policies = Policies(checks=("nginx",), reloads=("r",), health=("h",), strategy=Strategy.ATOMIC)
        with pytest.raises(InvalidRequestError) as caught:
            deployer.change_environment(
                "one", lambda e: replace(e, policies=policies, secrets={"S": "env:S"})
            )
        fields = {fault.field for fault in caught.value.faults}
        assert fields == {f"policies.{n}" for n in ("checks", "reloads", "health", "strategy")} | {
            "secrets.S"
        }
