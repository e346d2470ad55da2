"""`headgate deployments`, `show`, `cancel`."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.client.cli.conftest import Run
from tests.client.fake_daemon import FakeDaemon
from tests.client.test_records import WHOLE, whole

from headgate.v1 import deployment_pb2 as dp

DONE = dp.DEPLOYMENT_STATUS_SUCCESS


@pytest.fixture
def some(daemon: FakeDaemon) -> None:
    """Three deployments, the newest of which failed."""
    for number, status in enumerate((DONE, DONE, dp.DEPLOYMENT_STATUS_FAILED), 1):
        made = dp.ConfigDeployment(
            deployment_id=f"d{number}", environment="canal", status=status, deployed_by="alice"
        )
        made.deployed_at.GetCurrentTime()
        made.changes.modified_count = number
        daemon.deployments[made.deployment_id] = made
    daemon.deployments["d3"].error.reason = "NO_SPACE"
    daemon.deployments["d1"].environment = "dike"


def test_deployments_are_listed_newest_first(run: Run, some: Any) -> None:
    lines = run("deployments").out.splitlines()
    assert lines[0].split() == ["DEPLOYMENT", "ENVIRONMENT", "STATUS", "FILES", "AGE", "BY", "REASON"]
    assert [line.split()[0] for line in lines[1:]] == ["d3", "d2", "d1"]
    assert lines[1].split()[2:6] == ["FAILED", "+0", "~3", "-0"]
    assert lines[1].endswith("NO_SPACE")


def test_deployments_are_chosen_by_environment_status_and_number(run: Run, some: Any) -> Any:
    def ids(*args: Any) -> Any:
        return [each["deployment_id"] for each in run("deployments", "-o", "json", *args).json["deployments"]]

    assert ids() == ["d3", "d2", "d1"]
    assert ids("--env", "canal") == ["d3", "d2"]
    assert ids("--status", "success", "-n", "1") == ["d2"]
    assert ids("--status", "success", "--status", "failed") == ["d3", "d2", "d1"]
    assert ids("-n", "2") == ["d3", "d2"]
    assert ids("--all") == ["d3", "d2", "d1"]


def test_limit_is_not_exceeded_by_what_is_fetched(run: Run, daemon: FakeDaemon, some: Any) -> None:
    run("deployments", "-n", "2")
    assert daemon.requests[-1].page_size == 2


def test_show_is_the_record(run: Run, daemon: FakeDaemon) -> None:
    made = whole()
    daemon.deployments[made.deployment_id] = made
    assert run("show", made.deployment_id, "-o", "json").json == WHOLE


def test_show_tells_people_everything(run: Run, daemon: FakeDaemon) -> None:
    made = whole()
    daemon.deployments[made.deployment_id] = made
    out = run("show", made.deployment_id).out
    for line in (
        "environment  canal (sequence 3)",
        "kind         deploy, by auto-sync",
        "for          bob",
        "undone by    rollback_canal_1 at 2023-11-14 22:13:20Z",
        "status       ROLLED_BACK",
        "error        R: m",
        "  try: h",
        "files        +1 ~0 -1, 7 unchanged",
        "  + a.conf",
        "  - link  changed by hand; kept in history",
        "  a.json  x.y: (not set) -> 1",
        "note: n",
        "attempts     2",
        "only         a.conf",
    ):
        assert f"{line}\n" in out


def test_text_that_others_wrote_cannot_steer_the_terminal(run: Run, daemon: FakeDaemon) -> None:
    made = whole()
    made.reason = "\x1b[2Jgone"
    daemon.deployments[made.deployment_id] = made
    assert "\x1b" not in run("show", made.deployment_id).out
    assert "\x1b" not in run("deployments").out


def test_confirm(run: Run, daemon: FakeDaemon, some: Any) -> None:
    assert run("confirm", "d1").out == "d1: confirmed, it stays\n"
    assert run("confirm", "d1", "-o", "json").json["deployment_id"] == "d1"
    run("confirm", "d9", code=3)


def test_show_tells_what_each_step_came_to(run: Run, daemon: FakeDaemon) -> None:
    made = whole()
    made.steps.add(step="reload", name="nginx", ok=True, seconds=2, attempts=3)
    daemon.deployments[made.deployment_id] = made
    out = run("show", made.deployment_id).out
    assert "check        nginx: failed: m (0.5 s)\n  | o\n" in out
    assert "reload       nginx: well (2.0 s, tried 3 times)\n" in out
    assert "confirm by   2023-11-14 22:13:20Z\n" in out


def test_cancel(run: Run, daemon: FakeDaemon, some: Any) -> None:
    for form in ("table", "json"):
        daemon.deployments["d1"].status = dp.DEPLOYMENT_STATUS_IN_PROGRESS
        out = run("cancel", "d1", "-o", form).out
        assert out == "d1: cancelled\n" or json.loads(out)["error"]["reason"] == "CANCELLED"
    run("cancel", "d9", code=3)


def test_cancel_that_came_too_late_says_so(run: Run, daemon: FakeDaemon, some: Any) -> None:
    ran = run("cancel", "d2", code=4)
    assert (ran.out, ran.err.splitlines()) == (
        "",
        ["headgate: cannot cancel d2: it ended meanwhile as SUCCESS", "  try: headgate show d2"],
    )
    assert run("cancel", "d2", "-o", "json", code=4).json["status"] == "success"


def test_unknown_deployment_comes_with_what_was_meant(run: Run, daemon: FakeDaemon, canal: Any) -> None:
    for number in (1, 2):
        name = f"deploy_canal_170000000{number}"
        daemon.deployments[name] = dp.ConfigDeployment(deployment_id=name, environment="canal")
    err = run("show", "deploy_canal_17000000", code=3).err
    assert "did you mean" not in err, "both begin so"
    del daemon.deployments["deploy_canal_1700000002"]
    err = run("show", "deploy_canal_17000000", code=3).err
    assert "'deploy_canal_17000000' (did you mean deploy_canal_1700000001?)\n" in err
    err = run("rollback", "canal", code=3).err
    assert err.endswith("  try: canal is an environment; its deployments: headgate deployments --env canal\n")
