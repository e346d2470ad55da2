"""`headgate status` and `reload`."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from tests.client.cli.conftest import Run
from tests.client.fake_daemon import FakeDaemon, Refusal

from headgate.v1 import daemon_pb2, environment_pb2 as ep


@pytest.fixture
def status(daemon: FakeDaemon) -> Any:
    """A daemon with one environment that is as it should be."""
    found = daemon.status
    found.version, found.pid, found.state_directory = "0.1.0", 77, "/var/lib/headgate"
    found.started_at.GetCurrentTime()
    found.started_at.seconds -= 7300
    environment = found.environments.add(name="canal", type=ep.ENVIRONMENT_TYPE_STAGING)
    environment.sync.state = ep.SYNC_STATE_SYNCED
    environment.sync.last_deployment_id = "deploy_canal_1"
    environment.sync.last_success_at.GetCurrentTime()
    environment.sync.last_success_at.seconds -= 300
    found.sources.add(path="/src", mode=daemon_pb2.WATCH_MODE_EVENTS, environments=["canal"])
    return found


def test_status_says_first_that_all_is_right(run: Run, status: Any) -> None:
    assert run("status", "--exit-code").out.splitlines() == [
        "all right",
        "headgated 0.1.0, pid 77, up 2 h, state in /var/lib/headgate, 1 source watched",
        "",
        "ENVIRONMENT  TYPE     STATE   LAST DEPLOYMENT  AGE",
        "canal        staging  synced  deploy_canal_1   5 min",
    ]


def test_status_without_environments_says_how_to_begin(run: Run, daemon: FakeDaemon) -> None:
    out = run("status").out
    assert out.startswith("all right\n")
    assert "headgate env create NAME" in out


def told(run: Run, *, urgent: Any) -> Any:
    """Return what `status` says below the table, and check that the first line and the exit code agree with it."""
    out = run("status").out
    run("status", "--exit-code", code=1 if urgent else 0)
    assert run("status", "-o", "json").json["needs_attention"] == urgent
    verdict = "all right" if not urgent else f"{urgent} need{'s' if urgent == 1 else ''} attention"
    assert out.splitlines()[0] == verdict
    return out.partition("5 min\n")[2].strip()


def test_status_names_a_halt_with_what_to_do(run: Run, status: Any) -> None:
    """S6."""
    sync = status.environments[0].sync
    sync.state = ep.SYNC_STATE_HALTED
    sync.halt.reason, sync.halt.message = "SOURCE_MISSING", "cannot read /src: it is gone"
    sync.halt.since.FromSeconds(1_700_000_000)
    assert told(run, urgent=1) == (
        "canal is halted since 2023-11-14 22:13:20Z: cannot read /src: it is gone (SOURCE_MISSING)\n"
        "  try: bring the sources back as they were, or accept them as they are: headgate env resume canal"
    )


def test_status_names_a_hold_with_what_to_do(run: Run, status: Any) -> None:
    """D3."""
    sync = status.environments[0].sync
    sync.state = ep.SYNC_STATE_HELD
    sync.hold.deployment_id = "rollback_canal_2"
    sync.hold.paths.extend(["a", "b"])
    assert told(run, urgent=1) == (
        "canal is held: rollback_canal_2 undid 2 paths, auto-sync keeps it so\n"
        "  try: change the sources there, or give the rollback up: headgate env resume canal"
    )


def test_status_names_failure_and_when_it_is_tried_again(run: Run, status: Any) -> None:
    """D8."""
    sync = status.environments[0].sync
    sync.state, sync.failed_attempts, sync.message = ep.SYNC_STATE_FAILING, 3, "the disk is full"
    sync.next_attempt_at.FromSeconds(1_700_000_000)
    assert told(run, urgent=1) == (
        "canal fails, 3 in a row; next try 2023-11-14 22:13:20Z: the disk is full\n  try: headgate show deploy_canal_1"
    )


def test_status_names_no_deployment_where_none_failed(run: Run, status: Any) -> None:
    sync = status.environments[0].sync
    sync.state, sync.message = ep.SYNC_STATE_FAILING, "nothing is deployed: the state directory is full"
    assert told(run, urgent=1) == "canal fails: nothing is deployed: the state directory is full"


def test_status_names_drift(run: Run, status: Any) -> None:
    """T5."""
    sync = status.environments[0].sync
    sync.drifted.extend("abcd")
    sync.drifted_count = 4
    assert told(run, urgent=1) == (
        "canal: 4 at the target no longer as deployed: a, b, c, ...\n"
        "  try: see what a deployment would overwrite: headgate plan canal; or keep it: headgate adopt canal"
    )


def test_status_tells_the_ways_out_of_a_halt_for_drift(run: Run, status: Any) -> None:
    """T5."""
    sync = status.environments[0].sync
    sync.state = ep.SYNC_STATE_HALTED
    sync.halt.reason, sync.halt.message = "DRIFTED", "cannot deploy to canal: a was edited"
    out = told(run, urgent=1)
    assert "keep the edits: headgate adopt canal; or have them overwritten: headgate env resume canal" in out


def test_status_tells_what_a_hold_of_an_adoption_keeps(run: Run, status: Any) -> None:
    sync = status.environments[0].sync
    sync.state = ep.SYNC_STATE_HELD
    sync.hold.deployment_id = "adopt_canal_2"
    sync.hold.paths.append("a")
    out = told(run, urgent=1)
    assert "canal is held: adopt_canal_2 adopted 1 path, auto-sync keeps it so\n" in out
    assert "give the adoption up: headgate env resume canal" in out


def test_status_tells_of_a_hold_of_what_was_cancelled(run: Run, status: Any) -> None:
    sync = status.environments[0].sync
    sync.state = ep.SYNC_STATE_HELD
    sync.hold.deployment_id = "deploy_canal_2"
    sync.hold.paths.extend(["a", "b"])
    out = told(run, urgent=1)
    assert "canal is held: deploy_canal_2 was cancelled, auto-sync leaves 2 paths alone\n" in out
    assert "or have it deployed all the same: headgate env resume canal" in out


def test_pause_is_worth_knowing_and_needs_nobody(run: Run, status: Any) -> None:
    sync = status.environments[0].sync
    sync.state = ep.SYNC_STATE_PAUSED
    sync.pause.reason, sync.pause.paused_by = "holiday", "alice"
    assert told(run, urgent=0) == "canal is paused by alice: holiday\n  try: headgate env resume canal"


def test_source_in_trouble_is_named(run: Run, status: Any) -> None:
    """S4."""
    status.sources.add(path="/gone", mode=daemon_pb2.WATCH_MODE_ABSENT, environments=["canal", "dike"])
    status.sources.add(
        path="/nfs", mode=daemon_pb2.WATCH_MODE_POLLING, message="no events on this file system"
    )
    out = told(run, urgent=1)
    assert "source /gone cannot be read (for canal, dike): it is not there\n" in out
    assert "source /nfs is polled: no events on this file system" in out


def test_source_that_an_environment_is_halted_for_counts_once(run: Run, status: Any) -> None:
    status.environments[0].sync.state = ep.SYNC_STATE_HALTED
    status.environments[0].sync.halt.reason = "SOURCE_MISSING"
    status.sources[0].mode = daemon_pb2.WATCH_MODE_ABSENT
    assert "source /src cannot be read" in told(run, urgent=1)


def test_problems_are_named(run: Run, status: Any) -> None:
    """A6."""
    status.problems.add(
        reason="RECORD_CORRUPT", message="cannot read x.json: it is cut off", hint="look at it"
    )
    assert told(run, urgent=1) == "cannot read x.json: it is cut off (RECORD_CORRUPT)\n  try: look at it"


def test_reload_says_what_is_different(run: Run, daemon: FakeDaemon) -> None:
    assert run("reload").out == "nothing changed\n"
    daemon.changed = ["roles: 1 added"]
    assert run("reload").out == "roles: 1 added\n"
    assert run("reload", "-o", "json").json == {"changed": ["roles: 1 added"]}


def test_reload_lists_each_fault_of_the_file_on_a_line(run: Run, daemon: FakeDaemon) -> None:
    faults = [("line 2: roots.targets", "must be a list"), ("line 4: limits.files", "is unknown")]
    line = "; ".join(f"{field}: {why}" for field, why in faults)
    for told in (faults, faults[:1]):
        daemon.failures["Reload"].append(
            Refusal(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"cannot take the configuration over: {line if told is faults else line.partition('; ')[0]}",
                "CONFIG_REJECTED",
                "mend the file",
                faults=told,
            )
        )
    assert run("reload", code=4).err.splitlines() == [
        "headgate: cannot take the configuration over: 2 things are wrong",
        "  line 2: roots.targets: must be a list",
        "  line 4: limits.files: is unknown",
        "  try: mend the file",
    ]
    assert run("reload", code=4).err.splitlines() == [
        "headgate: cannot take the configuration over: line 2: roots.targets: must be a list",
        "  try: mend the file",
    ]
