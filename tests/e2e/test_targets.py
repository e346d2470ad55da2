"""Promises 2 and 7 at the target: what others put there stays; what is overwritten is kept in history first."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.e2e.conftest import Site
from tests.e2e.harness import SUCCESS, SYNCED, eventually, same, state_of

from headgated import ConfigurationDeployer, DeploymentStatus, EnvironmentType, deploy_configuration

pytestmark = pytest.mark.e2e


def test_foreign_files_are_never_pruned(site: Site) -> None:
    """T4."""
    (site.source / "d").mkdir()
    (site.source / "d" / "ours").write_text("ours\n")
    eventually(lambda: same(site.source, site.target))
    (site.target / "d" / "theirs").write_text("theirs\n")
    (site.source / "d" / "ours").unlink()
    (site.source / "d").rmdir()
    eventually(lambda: not (site.target / "d" / "ours").exists())
    assert (site.target / "d" / "theirs").read_text() == "theirs\n"


def test_overwritten_foreign_file_comes_back_with_the_rollback(site: Site) -> None:
    """Promise 2, 7: it was there before us."""
    target = site.daemon.home / "t2"
    target.mkdir()
    (target / "app.conf").write_text("was here before\n")
    (target / "app.conf").chmod(0o640)
    site.client.create_environment(
        "second", type="testing", config_path=str(target), sources=[str(site.source)]
    )
    eventually(lambda: (target / "app.conf").read_text() == "one\n")
    eventually(lambda: state_of(site.client, "second") == SYNCED)
    record = site.client.get_deployment(next(site.client.list_deployments("second")).deployment_id)
    assert record.changes.modified[0].drifted
    site.daemon.cli("rollback", record.deployment_id)
    assert (target / "app.conf").read_text() == "was here before\n"
    assert (target / "app.conf").stat().st_mode & 0o7777 == 0o640


def test_hand_edit_is_shown_kept_and_restored(site: Site) -> None:
    """T5."""
    eventually(lambda: same(site.source, site.target))
    eventually(lambda: state_of(site.client, "web") == SYNCED)
    (site.target / "app.conf").write_text("by hand\n")
    plan = site.client.plan("web")
    assert [change.path for change in plan.drifted] == ["app.conf"]
    first = next(site.client.list_deployments("web")).deployment_id
    (site.source / "app.conf").write_text("two\n")
    eventually(lambda: (site.target / "app.conf").read_text() == "two\n")
    eventually(lambda: next(site.client.list_deployments("web")).deployment_id != first)
    eventually(lambda: state_of(site.client, "web") == SYNCED)
    newest = next(site.client.list_deployments("web"))
    record = site.client.get_deployment(newest.deployment_id)
    assert record.changes.modified[0].drifted
    done = site.client.wait_for_deployment(site.client.rollback(newest.deployment_id).deployment_id)
    assert done.status == SUCCESS
    assert (site.target / "app.conf").read_text() == "by hand\n"


def test_symlink_at_the_target_leads_no_write_outside(site: Site) -> None:
    """T3."""
    eventually(lambda: same(site.source, site.target))
    outside = site.daemon.home / "outside"
    outside.mkdir()
    (site.target / "d").symlink_to(outside)
    (site.source / "d").mkdir()
    (site.source / "d" / "f").write_text("f\n")
    eventually(
        lambda: (site.target / "d" / "f").exists() or site.client.get_environment("web").sync.failed_attempts
    )
    assert list(outside.iterdir()) == []


def test_symlink_that_leads_out_fails_unless_allowed(site: Site) -> None:
    """T3."""
    eventually(lambda: same(site.source, site.target))
    (site.source / "out").symlink_to("/etc/passwd")
    eventually(lambda: site.client.get_environment("web").sync.failed_attempts)
    assert not (site.target / "out").is_symlink()
    site.client.update_environment("web", policies={"allow_external_symlinks": True})
    eventually((site.target / "out").is_symlink)


def test_prune_off_keeps_what_left_the_source(site: Site) -> None:
    eventually(lambda: same(site.source, site.target))
    site.client.update_environment("web", policies={"prune": False})
    (site.source / "new").write_text("new\n")
    (site.source / "app.conf").unlink()
    eventually((site.target / "new").exists)
    assert (site.target / "app.conf").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere; run as another user")
def test_read_only_target_fails_and_recovers(site: Site) -> None:
    eventually(lambda: same(site.source, site.target))
    site.target.chmod(0o555)
    (site.source / "new").write_text("new\n")
    eventually(lambda: site.client.get_environment("web").sync.failed_attempts)
    site.target.chmod(0o755)
    eventually(lambda: same(site.source, site.target), within=20)


def test_in_process_engine_works_without_a_daemon(tmp_path: Path) -> None:
    """The engine's face, with the names of the design."""
    file, target = tmp_path / "web.conf", tmp_path / "target"
    file.write_text("listen ${PORT};\n")
    workspace = tmp_path / "workspace"
    with ConfigurationDeployer(workspace) as deployer:
        deployer.create_environment("dev", EnvironmentType.DEVELOPMENT, str(target), {"PORT": "80"})
        first = deployer.deploy_configuration("dev", [str(file)], deployed_by="me")
        assert first.status == DeploymentStatus.SUCCESS
        assert first.deployed_by == "me"
        assert (target / "web.conf").read_text() == "listen 80;\n"
        file.write_text("listen ${PORT}; # two\n")
        second = deployer.deploy_configuration("dev", [str(file)])
        done = deployer.rollback_deployment(second.deployment_id)
        assert done.status == DeploymentStatus.SUCCESS
        assert (target / "web.conf").read_text() == "listen 80;\n"
        assert deployer.get_deployment_status(second.deployment_id).status == DeploymentStatus.ROLLED_BACK
        assert [r.deployment_id for r in deployer.list_deployments("dev")] == [
            done.deployment_id,
            second.deployment_id,
            first.deployment_id,
        ]
        assert [e.name for e in deployer.list_environments()] == ["dev"]
        assert deployer.get_environment_config("dev").variables == {"PORT": "80"}
    assert deploy_configuration(workspace, "dev", [str(file)]).status == DeploymentStatus.SUCCESS
