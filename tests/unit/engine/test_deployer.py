"""The engine's face, in-process, on real files."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from headgated import ConfigurationDeployer, DeploymentStatus, EnvironmentType
from headgated.core.environment import Policies, UndefinedPolicy
from headgated.core.errors import (
    AlreadyExistsError,
    DeploymentFailedError,
    InvalidRequestError,
    NotFoundError,
    RefusedError,
)
from headgated.core.hold import lifts


@pytest.fixture
def deployer(tmp_path: Path) -> Iterator[ConfigurationDeployer]:
    with ConfigurationDeployer(tmp_path / "state") as deployer:
        yield deployer


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.json").write_text('{"port": 1, "db": {"password": "hunter2"}}\n')
    (source / "b").write_text("b\n")
    return source


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target"


def web(deployer: ConfigurationDeployer, source: Path, target: Path) -> None:
    deployer.create_environment("web", EnvironmentType.TESTING, target, sources=[source])


def test_changes_are_told_by_file_and_by_setting(
    deployer: ConfigurationDeployer, source: Path, target: Path
) -> None:
    web(deployer, source, target)
    first = deployer.deploy_configuration("web")
    assert [c.path for c in first.changes.added] == ["a.json", "b"]
    (source / "a.json").write_text('{"port": 2, "db": {"password": "swordfish"}}\n')
    (source / "b").chmod(0o600)
    (source / "c").write_text("c\n")
    second = deployer.deploy_configuration("web")
    changes = second.changes
    assert [c.path for c in changes.modified] == ["a.json", "b"]
    mode = changes.modified[1]
    assert mode.before is not None
    assert mode.after is not None
    assert mode.before.digest == mode.after.digest
    assert mode.after.mode == 0o600
    settings = {s.key: (s.old, s.new) for s in changes.settings_changed}
    assert settings["port"] == ("1", "2")
    assert "swordfish" not in json.dumps(settings)
    assert "hunter2" not in json.dumps(settings)
    (source / "b").unlink()
    third = deployer.deploy_configuration("web")
    assert [c.path for c in third.changes.removed] == ["b"]
    assert third.changes.unchanged_count == 2


def test_failure_is_saved_with_its_reason_before_it_is_raised(
    deployer: ConfigurationDeployer, source: Path, target: Path
) -> None:
    web(deployer, source, target)
    with pytest.raises(DeploymentFailedError) as caught:
        deployer.deploy_configuration("web", ["nope", "neither"])
    assert caught.value.reason == "FILE_NOT_FOUND"
    assert set(caught.value.paths) == {"nope", "neither"}
    record = deployer.list_deployments("web")[0]
    assert record.status == DeploymentStatus.FAILED
    assert record.error is not None
    assert record.error.reason == "FILE_NOT_FOUND"
    assert not target.exists() or not list(target.iterdir())


def test_named_files_outside_of_the_sources_and_those_that_none_has_are_told_together(
    deployer: ConfigurationDeployer, source: Path, target: Path
) -> None:
    web(deployer, source, target)
    environment, names = deployer.get_environment_config("web"), ["nope", "/etc/passwd"]
    with pytest.raises(DeploymentFailedError) as caught:
        deployer.planning.plan_files(deployer.runtime("web"), environment, names, loose=False)
    assert caught.value.reason == "OUTSIDE_SOURCES"
    assert caught.value.message == (
        "cannot deploy /etc/passwd: it is outside the environment's sources; no source of web has nope"
    )
    assert caught.value.paths == ("/etc/passwd", "nope")


def test_two_named_files_that_would_land_on_one_are_refused(
    deployer: ConfigurationDeployer, tmp_path: Path, target: Path
) -> None:
    """S12."""
    deployer.create_environment("loose", "testing", target)
    for directory in ("x", "y"):
        (tmp_path / directory).mkdir()
        (tmp_path / directory / "same").write_text(directory)
    with pytest.raises(DeploymentFailedError) as caught:
        deployer.deploy_configuration("loose", [tmp_path / "x" / "same", tmp_path / "y" / "same"])
    assert caught.value.reason == "NAME_CLASH"


def test_ids_of_one_second_differ_and_order_is_by_sequence(
    deployer: ConfigurationDeployer, source: Path, target: Path
) -> None:
    """D1, D13."""
    web(deployer, source, target)
    made = [deployer.deploy_configuration("web") for _ in range(5)]
    assert len({record.deployment_id for record in made}) == 5
    assert [r.deployment_id for r in deployer.list_deployments("web")] == [
        r.deployment_id for r in reversed(made)
    ]
    assert [r.sequence for r in made] == [1, 2, 3, 4, 5]


def test_undefined_names_fail_where_that_is_asked_for(
    deployer: ConfigurationDeployer, source: Path, target: Path
) -> None:
    """R2: every place is named."""
    (source / "b").write_text("$KNOWN ${UNKNOWN}\n")
    deployer.create_environment("web", "testing", target, {"KNOWN": "1"}, sources=[source])
    deployer.deploy_configuration("web")
    assert (target / "b").read_text() == "1 ${UNKNOWN}\n"
    deployer.change_environment(
        "web", lambda e: replace(e, policies=Policies(undefined=UndefinedPolicy.ERROR))
    )
    with pytest.raises(DeploymentFailedError) as caught:
        deployer.deploy_configuration("web")
    assert caught.value.reason == "RENDER_FAILED"
    assert caught.value.paths == ("b",)
    deployer.change_environment("web", lambda e: replace(e, policies=Policies(verbatim=("b",))))
    deployer.deploy_configuration("web")
    assert (target / "b").read_text() == "$KNOWN ${UNKNOWN}\n"


def test_environment_names_and_faults(deployer: ConfigurationDeployer, source: Path, target: Path) -> None:
    web(deployer, source, target)
    with pytest.raises(AlreadyExistsError):
        web(deployer, source, target)
    with pytest.raises(InvalidRequestError) as caught:
        deployer.create_environment("No Good", "testing", "relative", {"1X": "v"}, sources=["also-relative"])
    assert {fault.field for fault in caught.value.faults} == {
        "name",
        "config_path",
        "sources[0]",
        "variables.1X",
    }
    with pytest.raises(InvalidRequestError):
        deployer.create_environment("x", "nonsense", target)
    with pytest.raises(NotFoundError):
        deployer.deploy_configuration("nowhere")
    with pytest.raises(NotFoundError):
        deployer.rollback_deployment("deploy_web_1")


def test_second_deployer_on_one_workspace_is_refused(deployer: ConfigurationDeployer) -> None:
    """A2."""
    with pytest.raises(RefusedError) as caught:
        ConfigurationDeployer(deployer.workspace_dir)
    assert caught.value.reason == "STATE_LOCKED"


def test_workspace_is_nobody_elses_to_read(
    deployer: ConfigurationDeployer, source: Path, target: Path
) -> None:
    """D14."""
    web(deployer, source, target)
    deployer.deploy_configuration("web")
    assert deployer.workspace_dir.stat().st_mode & 0o7777 == 0o700
    for path in deployer.workspace_dir.rglob("*"):
        wanted = 0o700 if path.is_dir() else 0o600
        assert path.stat().st_mode & 0o7777 == wanted, path


def test_rollback_of_a_rollback_brings_back_what_it_undid(
    deployer: ConfigurationDeployer, source: Path, target: Path
) -> None:
    web(deployer, source, target)
    deployer.deploy_configuration("web")
    (source / "b").write_text("two\n")
    second = deployer.deploy_configuration("web")
    undo = deployer.rollback_deployment(second.deployment_id)
    assert (target / "b").read_text() == "b\n"
    deployer.rollback_deployment(undo.deployment_id)
    assert (target / "b").read_text() == "two\n"
    with pytest.raises(RefusedError):
        deployer.rollback_deployment(second.deployment_id)


def test_rollback_past_one_that_cancelled_itself_out_needs_no_word(
    deployer: ConfigurationDeployer, source: Path, target: Path
) -> None:
    web(deployer, source, target)
    deployer.deploy_configuration("web")
    (source / "b").write_text("two\n")
    second = deployer.deploy_configuration("web")
    (source / "b").write_text("three\n")
    third = deployer.deploy_configuration("web")
    deployer.rollback_deployment(third.deployment_id)
    deployer.rollback_deployment(second.deployment_id)
    assert (target / "b").read_text() == "b\n"


def test_deployment_that_changes_nothing_succeeds_and_can_be_rolled_back(
    deployer: ConfigurationDeployer, source: Path, target: Path
) -> None:
    web(deployer, source, target)
    deployer.deploy_configuration("web")
    nothing = deployer.deploy_configuration("web")
    assert nothing.changes.total == 0
    assert nothing.changes.unchanged_count == 2
    deployer.rollback_deployment(nothing.deployment_id)
    assert (target / "b").read_text() == "b\n"


def test_everything_is_there_after_opening_again(tmp_path: Path, source: Path, target: Path) -> None:
    with ConfigurationDeployer(tmp_path / "state") as deployer:
        web(deployer, source, target)
        first = deployer.deploy_configuration("web", deployed_by="ann")
    with ConfigurationDeployer(tmp_path / "state") as deployer:
        assert deployer.get_deployment_status(first.deployment_id) == first
        (source / "b").write_text("two\n")
        second = deployer.deploy_configuration("web")
        assert second.sequence == 2
        assert [c.path for c in second.changes.modified] == ["b"]
        deployer.rollback_deployment(first.deployment_id, include_later=True)
        assert list(target.iterdir()) == []


def test_large_file_goes_both_ways(deployer: ConfigurationDeployer, source: Path, target: Path) -> None:
    """S14: streamed, not held."""
    web(deployer, source, target)
    (source / "large").write_bytes(b"0123456789abcdef" * (1 << 20))
    first = deployer.deploy_configuration("web")
    assert (target / "large").read_bytes() == (source / "large").read_bytes()
    (source / "large").write_bytes(b"small")
    second = deployer.deploy_configuration("web")
    deployer.rollback_deployment(second.deployment_id)
    assert (target / "large").stat().st_size == 16 << 20
    assert first.status == DeploymentStatus.SUCCESS


@pytest.mark.parametrize(
    ("policy", "replaced", "new"), [("source", 0o755, 0o755), ("keep", 0o640, 0o755), ("0604", 0o604, 0o604)]
)
def test_mode_of_files_is_what_the_policy_says(
    deployer: ConfigurationDeployer, source: Path, target: Path, policy: str, replaced: int, new: int
) -> None:
    target.mkdir()
    (target / "a.json").write_text("what was there\n")
    (target / "a.json").chmod(0o640)
    (source / "a.json").chmod(0o755)
    (source / "b").chmod(0o755)
    web(deployer, source, target)
    deployer.change_environment("web", lambda e: replace(e, policies=replace(e.policies, mode=policy)))
    first = deployer.deploy_configuration("web")
    assert (mode_of(target / "a.json"), mode_of(target / "b")) == (replaced, new)
    assert deployer.deploy_configuration("web").changes.total == 0
    (target / "b").chmod(0o600)
    (source / "b").write_text("changed\n")
    (source / "b").chmod(0o755)
    second = deployer.deploy_configuration("web")
    assert mode_of(target / "b") == (0o600 if policy == "keep" else new)
    deployer.rollback_deployment(second.deployment_id)
    assert ((target / "b").read_text(), mode_of(target / "b")) == ("b\n", 0o600)
    deployer.rollback_deployment(first.deployment_id, include_later=True)
    assert ((target / "a.json").read_text(), mode_of(target / "a.json")) == ("what was there\n", 0o640)
    assert not (target / "b").exists()


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_mode_that_is_none_is_refused(deployer: ConfigurationDeployer, source: Path, target: Path) -> None:
    web(deployer, source, target)
    for wrong in ("4755", "rw", "08", ""):
        with pytest.raises(InvalidRequestError) as caught:
            deployer.change_environment("web", lambda e: replace(e, policies=replace(e.policies, mode=wrong)))  # noqa: B023
        assert [fault.field for fault in caught.value.faults] == ["policies.mode"]


def test_hold_stays_whatever_policy_there_is_for_modes(
    deployer: ConfigurationDeployer, source: Path, target: Path
) -> None:
    web(deployer, source, target)
    deployer.change_environment("web", lambda e: replace(e, policies=replace(e.policies, mode="keep")))
    deployer.deploy_configuration("web")
    (source / "b").write_text("wrong\n")
    (source / "new").write_text("wrong too\n")
    deployer.rollback_deployment(deployer.deploy_configuration("web").deployment_id)
    hold, runtime = deployer.get_environment_config("web").hold, deployer.runtime("web")
    assert hold is not None
    environment = deployer.get_environment_config("web")
    for policy in ("keep", "source", "keep"):
        deployer.change_environment("web", lambda e: replace(e, policies=replace(e.policies, mode=policy)))  # noqa: B023
        environment = deployer.get_environment_config("web")
        assert not lifts(hold.rejected, deployer.planning.read(runtime, environment).tree)
    (source / "b").write_text("mended\n")
    (source / "new").unlink()
    deployer.planning.look_anew(environment)
    assert lifts(hold.rejected, deployer.planning.read(runtime, environment).tree)
