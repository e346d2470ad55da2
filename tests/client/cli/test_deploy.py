"""`headgate deploy`, `rollback`, `restore`: what is asked, what is waited for, how it ends."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.client.cli.conftest import Run
from tests.client.fake_daemon import FakeDaemon, Refusal

from headgate.v1 import deployment_pb2 as dp

FAILED = dp.ConfigDeployment(
    status=dp.DEPLOYMENT_STATUS_FAILED,
    error=dp.DeploymentError(
        reason="NO_SPACE",
        message="cannot stage canal: the disk is full",
        hint="free 3 MB",
        paths=["a.conf", "b.conf"],
    ),
)


def test_deploy_waits_and_tells_what_changed(run: Run, daemon: FakeDaemon, canal: Any) -> None:
    daemon.outcome = dp.ConfigDeployment(status=dp.DEPLOYMENT_STATUS_SUCCESS)
    daemon.outcome.changes.added.add(path="a.conf")
    daemon.outcome.changes.added_count = 1
    ran = run("deploy", "canal")
    assert ran.out.splitlines() == ["deploy_canal_1700000001: SUCCESS, +1 ~0 -0 in 0.4 s", "  + a.conf"]
    assert ran.err == ""


def test_deploy_of_many_files_tells_some_and_where_the_others_are(
    run: Run, daemon: FakeDaemon, canal: Any
) -> None:
    daemon.outcome = dp.ConfigDeployment(status=dp.DEPLOYMENT_STATUS_SUCCESS)
    for number in range(70):
        daemon.outcome.changes.added.add(path=f"f{number:02}")
    daemon.outcome.changes.added_count = 75
    daemon.outcome.changes.omitted_count = 5
    lines = run("deploy", "canal").out.splitlines()
    assert lines[1:2] + lines[50:] == [
        "  + f00",
        "  + f49",
        "  and 25 more",
        "all of it: headgate show deploy_canal_1700000001",
    ]


def test_deploy_of_nothing_new_says_so(run: Run, canal: Any) -> None:
    assert run("deploy", "canal").out == "deploy_canal_1700000001: SUCCESS, nothing to change in 0.4 s\n"


def test_deploy_prints_the_record_as_json(run: Run, canal: Any) -> None:
    record = run("deploy", "canal", "-o", "json").json
    assert (record["deployment_id"], record["status"]) == ("deploy_canal_1700000001", "success")


def test_deploy_that_fails_exits_with_1_and_says_what_to_do(run: Run, daemon: FakeDaemon, canal: Any) -> None:
    """A5."""
    daemon.outcome = FAILED
    ran = run("deploy", "canal", code=1)
    assert ran.out == "deploy_canal_1700000001: FAILED in 0.4 s\n"
    assert ran.err.splitlines() == [
        "headgate: cannot stage canal: the disk is full (NO_SPACE)",
        "  a.conf",
        "  b.conf",
        "  try: free 3 MB",
    ]
    assert run("deploy", "canal", "-o", "json", code=1).json["error"]["reason"] == "NO_SPACE"


def test_deploy_that_was_undone_meanwhile_exits_with_1(run: Run, daemon: FakeDaemon, canal: Any) -> None:
    daemon.outcome = dp.ConfigDeployment(status=dp.DEPLOYMENT_STATUS_ROLLED_BACK)
    daemon.outcome.rollback_info.rolled_back_by = "rollback_canal_1"
    ran = run("deploy", "canal", code=1)
    assert "rollback_canal_1 undid it" in ran.err


def test_deploy_does_not_wait_where_it_is_told_so(run: Run, daemon: FakeDaemon, canal: Any) -> None:
    daemon.outcome = None
    assert run("deploy", "canal", "--no-wait").out == "deploy_canal_1700000001\n"
    assert run("deploy", "canal", "--no-wait", "-o", "json").json["status"] == "pending"


def test_deploy_that_does_not_end_times_out_with_7(run: Run, daemon: FakeDaemon, canal: Any) -> None:
    daemon.outcome = None
    ran = run("deploy", "canal", "--timeout", "200ms", code=7)
    assert "cannot see deploy_canal_1700000001 finish: it still runs after 0.2 s" in ran.err
    assert "headgate show deploy_canal_1700000001" in ran.err


def test_deploy_sends_its_options(run: Run, daemon: FakeDaemon, canal: Any) -> None:
    run(
        *(
            "deploy",
            "canal",
            "--reason",
            "why",
            "--on-behalf-of",
            "bob",
            "--allow-empty",
            "--allow-mass-removal",
        ),
        *("--expected-sequence", "3"),
    )
    sent = next(each for each in daemon.requests if isinstance(each, dp.DeployRequest))
    assert (sent.reason, sent.on_behalf_of, sent.allow_empty, sent.allow_mass_removal) == (
        "why",
        "bob",
        True,
        True,
    )
    assert sent.expected_sequence == 3


def test_refusal_exits_with_4_and_names_the_paths(run: Run, daemon: FakeDaemon, canal: Any) -> None:
    daemon.failures["Deploy"].append(
        Refusal(
            grpc.StatusCode.FAILED_PRECONDITION,
            "cannot deploy canal: it would remove 9 of 10 files",
            "MASS_REMOVAL",
            "if that is right: --allow-mass-removal",
            ["a", "b"],
        )
    )
    assert run("deploy", "canal", code=4).err.splitlines() == [
        "headgate: cannot deploy canal: it would remove 9 of 10 files",
        "  a",
        "  b",
        "  try: if that is right: --allow-mass-removal",
    ]


@pytest.fixture
def source(tmp_path: Path, canal: Any) -> Any:
    """A source with a file, beside a directory with files of its own."""
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "a.conf").touch()
    (tmp_path / "elsewhere").mkdir()
    del canal.sources[:]
    canal.sources.append(str(source))
    return source


def sent_files(daemon: FakeDaemon) -> Any:
    return list(
        next(each for each in reversed(daemon.requests) if isinstance(each, dp.DeployRequest)).config_files
    )


def test_file_in_a_source_is_taken_from_the_working_directory(
    run: Run, daemon: FakeDaemon, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(source / "sub")
    run("deploy", "canal", "a.conf", "../sub/a.conf")
    assert sent_files(daemon) == [f"{source}/sub/a.conf"] * 2


def test_file_relative_to_the_sources_is_sent_as_it_is(
    run: Run, daemon: FakeDaemon, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(source.parent / "elsewhere")
    run("deploy", "canal", "sub/a.conf", "./not/there")
    assert sent_files(daemon) == ["sub/a.conf", "not/there"]


def test_file_of_the_same_name_elsewhere_does_not_get_in_the_way(
    run: Run, daemon: FakeDaemon, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(source.parent / "elsewhere")
    os.mkdir("sub")
    open("sub/a.conf", "w").close()
    run("deploy", "canal", "sub/a.conf")
    assert sent_files(daemon) == ["sub/a.conf"]


def test_file_that_only_exists_here_is_sent_absolute(
    run: Run, daemon: FakeDaemon, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(source.parent / "elsewhere")
    open("only-here", "w").close()
    run("deploy", "canal", "only-here", "/abs/../x")
    assert sent_files(daemon) == [f"{source.parent}/elsewhere/only-here", "/x"]


def test_absolute_files_need_no_look_at_the_environment(run: Run, daemon: FakeDaemon, canal: Any) -> None:
    run("deploy", "canal", "/src/a")
    assert isinstance(daemon.requests[0], dp.DeployRequest)


def test_adopt_waits_as_well_and_names_paths(run: Run, daemon: FakeDaemon, canal: Any) -> None:
    assert run("adopt", "canal", "a.conf", "./d/", "--reason", "mine").out.startswith("adopt_canal_")
    adopted = next(each for each in daemon.requests if hasattr(each, "paths"))
    assert (adopted.environment, list(adopted.paths), adopted.reason) == ("canal", ["a.conf", "d"], "mine")


def test_rollback_and_restore_wait_as_well(run: Run, daemon: FakeDaemon, canal: Any) -> None:
    run("deploy", "canal")
    ran = run("rollback", "deploy_canal_1700000001", "--include-later", "--reason", "bad")
    assert ran.out.startswith("rollback_canal_1700000002: SUCCESS")
    sent = next(each for each in daemon.requests if isinstance(each, dp.RollbackRequest))
    assert (sent.include_later, sent.reason) == (True, "bad")
    assert run("restore", "deploy_canal_1700000001").out.startswith("restore_canal_1700000003: SUCCESS")
    daemon.outcome = FAILED
    run("rollback", "deploy_canal_1700000001", code=1)
    run("restore", "deploy_canal_1700000001", code=1)


def test_rollback_of_what_is_not_there_is_not_found(run: Run) -> None:
    run("rollback", "deploy_canal_1", code=3)


def test_sequence_that_is_none_is_refused(run: Run, canal: Any) -> None:
    for verb in ("deploy canal", "rollback d", "restore d", "adopt canal"):
        ran = run(*verb.split(), "--expected-sequence", "-4", code=2)
        assert "expected_sequence: must be a whole number between 0 and" in ran.err
