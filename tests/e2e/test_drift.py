"""T5, with a daemon that watches: edits by hand at a target by each policy, and adopting them."""

from __future__ import annotations

import json

import pytest
from tests.e2e.conftest import Site
from tests.e2e.harness import HALTED, HELD, SUCCESS, SYNCED, eventually, same, state_of

from headgate.v1.deployment_pb2 import ConfigDeployment

pytestmark = pytest.mark.e2e


def settled(site: Site) -> ConfigDeployment:
    """Wait until all is deployed and nothing has drifted; return the newest deployment."""
    eventually(lambda: same(site.source, site.target))
    eventually(lambda: state_of(site.client, "web") == SYNCED)
    eventually(lambda: drifted(site) == [])
    return newest(site)


def drifted(site: Site) -> list[str]:
    return list(site.client.get_environment("web").sync.drifted)


def newest(site: Site) -> ConfigDeployment:
    return next(site.client.list_deployments("web"))


def test_edit_is_shown_in_status_and_plan_and_goes_when_undone(site: Site) -> None:
    first = settled(site)
    (site.target / "app.conf").write_text("by hand\n")
    eventually(lambda: drifted(site) == ["app.conf"])
    assert "web: 1 at the target no longer as deployed: app.conf" in site.daemon.cli("status").stdout
    plan = site.daemon.cli("plan", "web", "--exit-code", check=False)
    assert plan.returncode == 8
    assert "no longer as deployed, at the target:\n  app.conf" in plan.stdout
    assert newest(site).deployment_id == first.deployment_id
    (site.target / "app.conf").write_text("one\n")
    eventually(lambda: drifted(site) == [])
    assert site.daemon.log().count("no longer as deployed: app.conf") == 1


def test_edit_made_while_the_daemon_was_down_is_noticed(site: Site) -> None:
    settled(site)
    site.daemon.stop()
    (site.target / "app.conf").unlink()
    site.daemon.start()
    eventually(lambda: drifted(site) == ["app.conf"])


def test_heal_puts_edited_and_removed_files_back(site: Site) -> None:
    (site.source / "gone.conf").write_text("gone\n")
    settled(site)
    site.client.update_environment("web", policies={"drift": "heal"})
    (site.target / "app.conf").write_text("by hand\n")
    (site.target / "gone.conf").unlink()
    eventually(lambda: same(site.source, site.target))
    record = eventually(lambda: next(iter(site.client.list_deployments("web", statuses=["success"]))))
    eventually(lambda: newest(site).reason == "heal drift")
    record = site.client.wait_for_deployment(newest(site).deployment_id)
    assert (record.status, record.deployed_by) == (SUCCESS, "auto-sync")
    site.daemon.cli("rollback", record.deployment_id)
    assert (site.target / "app.conf").read_text() == "by hand\n"


def test_refuse_halts_until_somebody_decides(site: Site) -> None:
    settled(site)
    site.client.update_environment("web", policies={"drift": "refuse"})
    (site.target / "app.conf").write_text("by hand\n")
    eventually(lambda: state_of(site.client, "web") == HALTED)
    refused = site.daemon.cli("deploy", "web", check=False)
    assert refused.returncode == 4
    assert "app.conf" in refused.stderr
    assert "headgate adopt web" in refused.stderr
    assert "headgate env resume web" in refused.stderr
    assert (site.target / "app.conf").read_text() == "by hand\n"
    site.daemon.cli("env", "resume", "web")
    eventually(lambda: (site.target / "app.conf").read_text() == "one\n")
    eventually(lambda: state_of(site.client, "web") == SYNCED)
    (site.target / "app.conf").write_text("again\n")
    eventually(lambda: state_of(site.client, "web") == HALTED)
    (site.target / "app.conf").write_text("one\n")
    eventually(lambda: state_of(site.client, "web") == SYNCED)


def test_adopt_keeps_the_edit_until_the_source_changes(site: Site) -> None:
    settled(site)
    (site.target / "app.conf").write_text("by hand\n")
    told = site.daemon.cli("adopt", "web", "app.conf", "--reason", "mine", "-o", "json").stdout
    record = json.loads(told)
    assert record["deployment_id"].startswith("adopt_web_")
    assert (record["kind"], record["status"], record["reason"]) == ("adopt", "success", "mine")
    on_disk = site.daemon.state / "config_deployments" / "web" / f"{record['deployment_id']}.json"
    assert json.loads(on_disk.read_text())["kind"] == "adopt"
    eventually(lambda: state_of(site.client, "web") == HELD)
    eventually(lambda: drifted(site) == [])
    site.daemon.kill()
    site.daemon.start()
    eventually(lambda: state_of(site.client, "web") == HELD)
    assert (site.target / "app.conf").read_text() == "by hand\n"
    (site.source / "app.conf").write_text("two\n")
    eventually(lambda: (site.target / "app.conf").read_text() == "two\n")
    eventually(lambda: state_of(site.client, "web") == SYNCED)
    again = site.daemon.cli("adopt", "web", check=False)
    assert again.returncode == 4
    site.daemon.cli("rollback", newest(site).deployment_id)
    assert (site.target / "app.conf").read_text() == "by hand\n"
