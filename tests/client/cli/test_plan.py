"""`headgate plan`."""

from __future__ import annotations

from typing import Any

import pytest
from tests.client.cli.conftest import Run
from tests.client.fake_daemon import FakeDaemon

from headgate.v1 import deployment_pb2 as dp


@pytest.fixture
def planned(daemon: FakeDaemon, canal: Any) -> Any:
    plan = daemon.plan
    plan.environment = "canal"
    changes = plan.changes
    changes.added.add(path="new.conf", after=dp.FileState(kind=dp.FILE_KIND_FILE, mode=0o644))
    changes.modified.add(
        path="a.yaml",
        before=dp.FileState(kind=dp.FILE_KIND_FILE, mode=0o644),
        after=dp.FileState(kind=dp.FILE_KIND_FILE, mode=0o600),
        drifted=True,
    )
    changes.modified.add(
        path="turned",
        before=dp.FileState(kind=dp.FILE_KIND_FILE),
        after=dp.FileState(kind=dp.FILE_KIND_SYMLINK, link_target="x"),
    )
    changes.removed.add(path="old.conf", before=dp.FileState(kind=dp.FILE_KIND_FILE, mode=0o644))
    changes.added_count, changes.modified_count, changes.removed_count, changes.unchanged_count = 1, 2, 1, 5
    changes.settings_changed.add(path="a.yaml", key="server.port", old="80", new="81")
    plan.diffs.add(path="a.yaml", unified="--- a.yaml\n+++ a.yaml\n@@ -1 +1 @@\n-port: 80\n+port: 81\n")
    plan.diffs.add(path="logo.png", note="binary")
    return plan


def test_plan_shows_files_settings_and_lines(run: Run, planned: Any) -> None:
    assert run("plan", "canal").out.splitlines() == [
        "canal: +1 ~2 -1, 5 unchanged",
        "  ~ a.yaml  mode 0644 -> 0600, changed by hand; kept in history",
        "  + new.conf",
        "  - old.conf",
        "  ~ turned  file -> symlink, -> x",
        "settings:",
        "  a.yaml  server.port: 80 -> 81",
        "",
        "--- a.yaml",
        "+++ a.yaml",
        "@@ -1 +1 @@",
        "-port: 80",
        "+port: 81",
        "",
        "logo.png: binary",
    ]


def test_plan_tells_drift_and_what_blocks(run: Run, planned: Any) -> None:
    planned.drifted.add(path="a.yaml", before=dp.FileState(kind=dp.FILE_KIND_FILE))
    planned.drifted.add(path="gone")
    planned.blocked.CopyFrom(
        dp.DeploymentError(reason="HALTED", message="the source is gone", hint="resume", paths=["/s"])
    )
    out = run("plan", "canal").out
    assert "no longer as deployed, at the target:\n  a.yaml  was changed\n  gone  was removed\n" in out
    assert out.endswith("would not run: the source is gone (HALTED)\n  /s\n  try: resume\n")


def test_exit_code_tells_changes_and_drift(run: Run, daemon: FakeDaemon, canal: Any) -> None:
    daemon.plan.environment = "canal"
    assert run("plan", "canal", "--exit-code").out == "canal: nothing to change, 0 unchanged\n"
    daemon.plan.changes.removed_count = 1
    run("plan", "canal", "--exit-code", code=8)
    run("plan", "canal")
    daemon.plan.changes.removed_count = 0
    daemon.plan.drifted.add(path="a")
    run("plan", "canal", "--exit-code", "-o", "json", code=8)


def test_plan_can_do_without_lines_and_for_some_files(run: Run, daemon: FakeDaemon, planned: Any) -> None:
    run("plan", "canal", "--no-diff", "/src/a")
    assert daemon.requests[-1].no_diff
    assert list(daemon.requests[-1].config_files) == ["/src/a"]


def test_plan_as_json(run: Run, planned: Any) -> None:
    record = run("plan", "canal", "-o", "json").json
    assert record["changes"]["settings_changed"] == [
        {"path": "a.yaml", "key": "server.port", "old": "80", "new": "81"}
    ]
    assert record["blocked"] is None
