"""`headgate env` and its verbs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.client.cli.conftest import Run
from tests.client.fake_daemon import FakeDaemon, Refusal

from headgate.v1 import environment_pb2 as ep


def test_create_sends_every_setting(
    run: Run, daemon: FakeDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run(
        *(
            "env",
            "create",
            "canal",
            "--type",
            "production",
            "--target",
            "out",
            "--source",
            "a/../b",
            "--source",
            "/c",
        ),
        *(
            "--var",
            "A=1=2",
            "--var",
            "B=",
            "--secret",
            "K=vault:k",
            "--auto-sync",
            "--no-prune",
            "--verbatim",
            "*.png",
        ),
        *("--undefined", "error", "--strategy", "atomic", "--drift", "heal", "--owner", "source"),
        *("--allow-external-symlinks", "--settle-quiet", "200ms", "--settle-latest", "5", "--check", "nginx"),
        *("--reload", "r1", "--reload", "r2", "--health", "http"),
    )
    assert ran.out == "canal: created; auto-sync is on\n"
    made = daemon.environments["canal"]
    assert made.config_path == f"{tmp_path}/out"
    assert list(made.sources) == [f"{tmp_path}/b", "/c"]
    assert dict(made.variables) == {"A": "1=2", "B": ""}
    assert dict(made.secrets) == {"K": "vault:k"}
    policies = made.policies
    assert (policies.prune, policies.undefined, policies.strategy) == (False, 2, 2)
    assert (policies.drift, policies.owner, policies.allow_external_symlinks) == (2, "source", True)
    assert (policies.settle_quiet.ToMilliseconds(), policies.settle_latest.ToSeconds()) == (200, 5)
    assert (list(policies.checks), list(policies.reloads), list(policies.health)) == (
        ["nginx"],
        ["r1", "r2"],
        ["http"],
    )


def test_create_says_nothing_of_what_is_not_given(run: Run, daemon: FakeDaemon) -> None:
    run("env", "create", "canal", "--type", "production", "--target", "/t", "--source", "/s")
    sent = daemon.requests[0].environment
    assert not sent.HasField("auto_sync")
    assert not sent.HasField("policies")


def test_create_names_a_directory_that_is_not_utf8(run: Run, daemon: FakeDaemon) -> None:
    name = os.fsdecode(b"/srv/\xff")
    run("env", "create", "canal", "--type", "testing", "--target", name, "--source", "/s")
    assert daemon.environments["canal"].config_path == r"/srv/\xff"


def test_all_faulty_pairs_are_told_at_once_and_nothing_is_created(run: Run, daemon: FakeDaemon) -> None:
    ran = run(
        *("env", "create", "canal", "--type", "testing", "--target", "/t", "--source", "/s"),
        *("--var", "A", "--var", "B=1", "--var", "B=2", "--secret", "=x"),
        code=2,
    )
    assert ran.err.splitlines() == [
        "headgate: cannot create environment canal: 3 things are wrong",
        "  --var: must be KEY=VALUE (got 'A')",
        "  --var: gives 'B' twice",
        "  --secret: must be KEY=VALUE (got '')",
    ]
    assert not daemon.environments


def test_faults_of_the_command_line_and_those_that_the_daemon_finds_are_told_at_once(
    run: Run, daemon: FakeDaemon, canal: Any
) -> None:
    creating = ("--type", "testing", "--target", "/t", "--source", "/s")
    wrong = ("--var", "A", "--secret-mode", "abc")
    mode = 'policies.secret_mode: must be permission bits between 0 and 0777, as text like "0640"'
    assert run("env", "create", "Dike", *creating, *wrong, code=2).err.splitlines() == [
        "headgate: cannot create environment Dike: 3 things are wrong",
        "  --var: must be KEY=VALUE (got 'A')",
        f"  {mode}",
        "  name: must be lower-case",
    ]
    assert run("env", "set", "dike", *wrong, code=2).err.splitlines() == [
        "headgate: cannot change environment dike: 3 things are wrong",
        "  --var: must be KEY=VALUE (got 'A')",
        f"  {mode}",
        "  there is no environment 'dike'",
    ]
    ran = run("env", "set", "dike", "--var", "B=1", "--secret-mode", "abc", code=2)
    assert ran.err.splitlines() == [
        "headgate: cannot change environment dike: 2 things are wrong",
        f"  {mode}",
        "  there is no environment 'dike'",
    ]
    assert list(daemon.environments) == ["canal"]


def test_set_of_nothing_but_a_faulty_pair_says_so_and_changes_nothing(
    run: Run, daemon: FakeDaemon, canal: Any
) -> None:
    ran = run("env", "set", "canal", "--var", "A", code=2)
    assert ran.err == "headgate: cannot change environment canal: --var: must be KEY=VALUE (got 'A')\n"
    ran = run("env", "set", "canal", "--var", "A", "--var", "B=1", "--prune", code=2)
    assert ran.err == "headgate: cannot change environment canal: --var: must be KEY=VALUE (got 'A')\n"
    assert dict(daemon.environments["canal"].variables) == dict(canal.variables)
    assert daemon.environments["canal"].generation == 4


def test_faults_are_told_where_the_daemon_cannot_be_asked(run: Run, daemon: FakeDaemon) -> None:
    daemon.stop()
    ran = run(
        *("env", "create", "canal", "--type", "testing", "--target", "/t", "--source", "/s", "--var", "A"),
        code=2,
    )
    assert ran.err == "headgate: cannot create environment canal: --var: must be KEY=VALUE (got 'A')\n"


def test_name_that_is_taken_is_told_with_what_is_wrong_besides(run: Run, daemon: FakeDaemon) -> None:
    daemon.failures["CreateEnvironment"].append(
        Refusal(
            grpc.StatusCode.ALREADY_EXISTS,
            "cannot create environment canal: there is one of that name",
            "ENVIRONMENT_EXISTS",
            faults=[("environment.variables.9", "must be a name")],
        )
    )
    ran = run(
        *("env", "create", "canal", "--type", "testing", "--target", "/t", "--source", "/s", "--var", "9=1"),
        code=4,
    )
    assert ran.err.splitlines() == [
        "headgate: cannot create environment canal: there is one of that name; besides:",
        "  variables.9: must be a name",
    ]


def test_unknown_environment_comes_with_the_likely_one(run: Run, canal: Any, daemon: FakeDaemon) -> None:
    for meant in ("cnaal", "can"):
        assert f"{meant}' (did you mean canal?)\n" in run("env", "show", meant, code=3).err
        address = "--socket", str(daemon.socket)
        ran = run("env", "show", meant, *address, code=3, HEADGATE_ADDRESS="/no")
        assert "(did you mean canal?)" in ran.err
    assert "did you mean" not in run("env", "show", "xyzzy", code=3).err


def test_state_is_told_in_words(run: Run, canal: Any) -> None:
    canal.sync.state = ep.SYNC_STATE_OUT_OF_SYNC
    assert "out of sync" in run("env", "list").out
    assert '"out_of_sync"' in run("env", "list", "-o", "json").out


def test_all_faults_of_the_daemon_are_told(run: Run) -> None:
    ran = run("env", "create", "CANAL", "--type", "testing", "--target", "/t", "--source", "/s", code=2)
    assert ran.err == "headgate: cannot create environment CANAL: name: must be lower-case\n"


def test_name_that_is_taken_is_refused(run: Run, canal: Any) -> None:
    ran = run("env", "create", "canal", "--type", "testing", "--target", "/t", "--source", "/s", code=4)
    assert ran.err == "headgate: cannot create environment canal: the name is taken\n"


def test_list_is_a_table_or_an_object_with_the_plural(run: Run, daemon: FakeDaemon, canal: Any) -> None:
    daemon.environments["dike"] = ep.Environment(
        name="dike", config_path="/srv/dike", type=ep.ENVIRONMENT_TYPE_DEVELOPMENT
    )
    assert run("env", "list").out.splitlines() == [
        "NAME   TYPE         AUTO-SYNC  STATE    TARGET",
        "canal  staging      on         unknown  /srv/canal",
        "dike   development  off        unknown  /srv/dike",
    ]
    assert [each["name"] for each in run("env", "list", "-o", "json").json["environments"]] == [
        "canal",
        "dike",
    ]


def test_output_is_taken_before_and_after_the_verb_and_the_later_counts(run: Run, canal: Any) -> None:
    for args in (
        ("-o", "json", "env", "list"),
        ("env", "-o", "json", "list"),
        ("env", "list", "--output", "json"),
    ):
        assert run(*args).json["environments"]
    assert run("-o", "json", "env", "list", "-o", "table").out.startswith("NAME")


def test_socket_is_taken_before_and_after_the_verb(run: Run, daemon: FakeDaemon, canal: Any) -> None:
    for args in (
        ("--socket", str(daemon.socket), "env", "list"),
        ("env", "list", "--address", f"unix:{daemon.socket}"),
    ):
        assert run(*args, HEADGATE_ADDRESS="/nowhere").out


def test_show_is_for_people_or_the_record(run: Run, canal: Any) -> None:
    canal.sync.state = ep.SYNC_STATE_HALTED
    canal.sync.halt.reason = "SOURCE_MISSING"
    canal.sync.halt.message = "cannot read /src: it is gone"
    canal.sync.halt.since.FromSeconds(1_700_000_000)
    canal.sync.drifted.append("a.conf")
    canal.sync.drifted_count = 1
    canal.sync.hold.deployment_id = "rollback_canal_1"
    canal.sync.hold.since.FromSeconds(1_700_000_000)
    canal.sync.hold.paths.extend(["a", "b"])
    out = run("env", "show", "canal").out
    assert "\ntarget        /srv/canal\n" in out
    assert (
        "\nheld          rollback_canal_1 since 2023-11-14 22:13:20Z\n              a\n              b\n"
        in out
    )
    assert "SOURCE_MISSING since 2023-11-14 22:13:20Z: cannot read /src: it is gone" in out
    assert "PORT=80" in out
    assert "drifted (1)" in out
    record = run("env", "show", "canal", "-o", "json").json
    assert record["variables"] == {"PORT": "80"}
    assert record["halt"]["reason"] == "SOURCE_MISSING"


def test_environment_that_is_not_there_is_not_found(run: Run) -> None:
    ran = run("env", "show", "nothing", code=3)
    assert ran.err.splitlines() == [
        "headgate: cannot find environment nothing: there is no environment 'nothing'",
        "  try: see which there are: headgate env list",
    ]


def test_set_changes_what_is_given_and_no_more(run: Run, daemon: FakeDaemon, canal: Any) -> None:
    ran = run("env", "set", "canal", "--no-auto-sync", "--owner", "source")
    assert ran.out == "canal: changed (generation 5)\n"
    assert list(daemon.requests[-1].update_mask.paths) == ["auto_sync", "policies.owner"]


def test_set_edits_variables_and_keeps_the_others(run: Run, daemon: FakeDaemon, canal: Any) -> None:
    run("env", "set", "canal", "--var", "A=1", "--var", "PORT=81", "--secret", "K=ref")
    assert dict(daemon.environments["canal"].variables) == {"PORT": "81", "A": "1"}
    run("env", "set", "canal", "--unset-var", "PORT", "--unset-secret", "K")
    assert dict(daemon.environments["canal"].variables) == {"A": "1"}
    assert not daemon.environments["canal"].secrets
    assert daemon.requests[-1].expected_generation == 5


def test_set_that_somebody_overtook_reads_again(run: Run, daemon: FakeDaemon, canal: Any) -> None:
    daemon.failures["UpdateEnvironment"].append(
        Refusal(grpc.StatusCode.ABORTED, "cannot: changed", "GENERATION")
    )
    run("env", "set", "canal", "--var", "A=1")
    assert dict(daemon.environments["canal"].variables) == {"PORT": "80", "A": "1"}


def test_set_of_nothing_or_of_both_is_a_usage_error(run: Run, canal: Any) -> None:
    assert "no setting is given" in run("env", "set", "canal", code=2).err
    assert (
        "is also given a value" in run("env", "set", "canal", "--var", "A=1", "--unset-var", "A", code=2).err
    )


def test_set_makes_directories_absolute(
    run: Run, daemon: FakeDaemon, canal: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run("env", "set", "canal", "--source", "s", "--target", "t")
    assert list(daemon.environments["canal"].sources) == [f"{tmp_path}/s"]
    assert daemon.environments["canal"].config_path == f"{tmp_path}/t"


def test_delete_says_what_becomes_of_the_files(run: Run, daemon: FakeDaemon, canal: Any) -> None:
    assert run("env", "delete", "canal").out == "canal: deleted; files at its target stay\n"
    daemon.environments["canal"] = canal
    ran = run("env", "delete", "canal", "--remove-target-files")
    assert ran.out == "canal: deleted; its files are removed by deploy_canal_9\n"
    daemon.environments["canal"] = canal
    assert run("env", "delete", "canal", "-o", "json").json == {"name": "canal", "deployment_id": ""}


def test_pause_needs_a_reason_and_may_have_an_end(run: Run, daemon: FakeDaemon, canal: Any) -> None:
    assert "--reason" in run("env", "pause", "canal", code=2).err
    assert run("env", "pause", "canal", "--reason", "x").out == "canal: paused until somebody resumes\n"
    ran = run("env", "pause", "canal", "--reason", "x", "--until", "2030-01-01T12:00:00+02:00")
    assert ran.out == "canal: paused until 2030-01-01 10:00:00Z\n"
    assert daemon.requests[-1].until.ToJsonString() == "2030-01-01T10:00:00Z"
    run("env", "pause", "canal", "--reason", "x", "--for", "2h")
    assert (
        "cannot be given together"
        in run("env", "pause", "canal", "--reason", "x", "--for", "2h", "--until", "2030-01-01", code=2).err
    )
    assert "is no time" in run("env", "pause", "canal", "--reason", "x", "--until", "soon", code=2).err
    assert run("env", "resume", "canal").out == "canal: resumed\n"
    assert run("env", "resume", "canal", "-o", "json").json["name"] == "canal"
