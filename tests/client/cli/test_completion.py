"""`headgate completion`, and what the shell is offered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.client.cli.conftest import Run
from tests.client.fake_daemon import FakeDaemon

from headgate.v1 import deployment_pb2 as dp


@pytest.mark.parametrize(
    ("shell", "sign"), [("bash", "complete -o nosort"), ("zsh", "#compdef headgate"), ("fish", "complete")]
)
def test_script_for_each_shell(run: Run, shell: Any, sign: Any) -> None:
    out = run("completion", shell).out
    assert sign in out
    assert "_HEADGATE_COMPLETE" in out


def offered(run: Run, *words: Any, **environ: Any) -> Any:
    out = run(
        _HEADGATE_COMPLETE="bash_complete",
        COMP_WORDS=" ".join(["headgate", *words]),
        COMP_CWORD=str(len(words)),
        **environ,
    ).out
    return [line.split(",", 1)[1] for line in out.splitlines() if line]


def test_verbs_and_options_are_offered(run: Run) -> None:
    assert {"status", "env", "deploy"} <= set(offered(run, ""))
    assert "--include-later" in offered(run, "rollback", "--")
    assert offered(run, "-o", "j") == ["json"]


def test_environment_names_are_offered(run: Run, canal: Any) -> None:
    for words in (("deploy", "c"), ("env", "show", ""), ("watch", "ca"), ("deployments", "--env", "")):
        assert offered(run, *words) == ["canal"]
    assert offered(run, "deploy", "x") == []


def test_deployment_ids_are_offered(run: Run, daemon: FakeDaemon) -> None:
    daemon.deployments["deploy_canal_1"] = dp.ConfigDeployment(deployment_id="deploy_canal_1")
    for verb in ("show", "rollback", "restore", "cancel"):
        assert offered(run, verb, "dep") == ["deploy_canal_1"]


def test_nothing_is_offered_and_nothing_said_without_a_daemon(run: Run, short_path: Path) -> None:
    assert offered(run, "deploy", "", HEADGATE_ADDRESS=str(short_path / "none")) == []
