"""`headgate completion`, what the shell is offered, and what real shells make of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.client.cli.conftest import Run
from tests.client.cli.window import Terminal, needs_tmux
from tests.client.conftest import until
from tests.client.fake_daemon import FakeDaemon
from tests.e2e.harness import BIN, running

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


def test_what_others_wrote_steers_no_shell(run: Run, daemon: FakeDaemon) -> None:
    reason = "one\x1b[2J\nplain,evil\nplain\nevil\n_\ttwo " + "long " * 100
    daemon.deployments["d1"] = dp.ConfigDeployment(deployment_id="d1", deployed_by="eve", reason=reason)
    for shell, count in (("bash", 1), ("zsh", 3), ("fish", 1)):
        out = run(
            _HEADGATE_COMPLETE=f"{shell}_complete",
            COMP_WORDS="headgate show ",
            COMP_CWORD={"fish": ""}.get(shell, "2"),
        ).out
        assert len(out.splitlines()) == count, out
        assert "\x1b" not in out
        assert len(out) < 100


@dataclass
class Known:
    """What a real daemon knows: two environments, each deployed once."""

    address: str
    home: Path
    ids: list[str]

    def script(self, shell: str) -> str:
        """Return the completion script for a shell."""
        command = [str(BIN / "headgate"), "completion", shell]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout


@pytest.fixture(scope="module")
def known() -> Iterator[Known]:
    with running() as daemon, daemon.client() as client:
        (daemon.home / "source").mkdir()
        (daemon.home / "source" / "a").write_text("one\n")
        ids = []
        for name in ("canal", "web-prod"):
            client.create_environment(
                name,
                type="production",
                config_path=f"{daemon.home}/it's, [of] $HOME: {name}",
                sources=[f"{daemon.home}/source"],
            )
            ids.append(client.deploy(name, reason='it\'s: a "reason", [or] two\nplain\nevil').deployment_id)
            client.wait_for_deployment(ids[-1])
        yield Known(f"unix:{daemon.socket}", daemon.home, ids)


@dataclass
class Typed:
    """A shell in a terminal, with completion on."""

    window: Terminal

    def completes(self, typed: str, *wanted: str) -> None:
        """Type and press Tab: all that is wanted comes up. The line is cleared after."""
        self.window.type("-l", typed)
        self.window.type("Tab")
        self.window.shows(*wanted)
        self.window.type("C-u")
        self.window.type("clear", "Enter")
        until(lambda: self.window.screen().strip() == "ready>", 30)


@pytest.fixture
def shell(known: Known, short_path: Path) -> Iterator[Callable[[str], Typed]]:
    made: list[Terminal] = []

    def start(command: str, *begin: str) -> Typed:
        made.append(Terminal(short_path, known.address, 120, command))
        made[-1].shows("ready>")
        for line in (*begin, "clear"):
            made[-1].type(line, "Enter")
        until(lambda: made[-1].screen().strip() == "ready>", 30)
        return Typed(made[-1])

    yield start
    for each in made:
        each.end()


def try_all(typed: Typed, known: Known) -> None:
    """Environments, ids, subcommands, options, values and files."""
    typed.completes("headgate plan ca", "headgate plan canal")
    typed.completes("headgate env show ", "canal", "web-prod")
    typed.completes("headgate rollback ", *known.ids)
    typed.completes("headgate rollback deploy_web", f"headgate rollback {known.ids[1]}")
    typed.completes("headgate deployments --env w", "headgate deployments --env web-prod")
    typed.completes("headgate ", "status", "rollback", "history")
    typed.completes("headgate his", "headgate history")
    typed.completes("headgate env ", "create", "apply", "resume")
    typed.completes("headgate rollback --incl", "headgate rollback --include-later")
    typed.completes("headgate -o j", "headgate -o json")
    typed.completes(f"headgate env apply -f {known.home}/headgated.to", f"{known.home}/headgated.toml")


@needs_tmux
@pytest.mark.slow
def test_bash_completes(shell: Callable[..., Typed], known: Known) -> None:
    (known.home / "headgate.bash").write_text(known.script("bash"))
    begin = f". {known.home}/headgate.bash", "bind 'set show-all-if-ambiguous on'"
    try_all(shell("bash --norc --noprofile", *begin), known)


@needs_tmux
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_completes(shell: Callable[..., Typed], known: Known) -> None:
    functions = known.home / "functions"
    functions.mkdir()
    (functions / "_headgate").write_text(known.script("zsh"))
    begin = f"fpath=({functions} $fpath); autoload -Uz compinit; compinit -u -d {known.home}/zcompdump"
    typed = shell("zsh -f", "setopt no_list_ambiguous", begin)
    try_all(typed, known)
    typed.completes("headgate rollback ", 'it\'s: a "reason", [or] two plain evil')


@needs_tmux
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_completes_what_it_evaluates_at_its_start(shell: Callable[..., Typed], known: Known) -> None:
    (known.home / "headgate.zsh").write_text(known.script("zsh"))
    compinit = f"setopt no_list_ambiguous; autoload -Uz compinit; compinit -u -d {known.home}/zcompdump2"
    try_all(shell("zsh -f", compinit, f"source {known.home}/headgate.zsh"), known)


@needs_tmux
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_completes(shell: Callable[..., Typed], known: Known) -> None:
    completions = known.home / ".config" / "fish" / "completions"
    completions.mkdir(parents=True)
    (completions / "headgate.fish").write_text(known.script("fish"))
    prompt = "function fish_prompt; echo 'ready> '; end; function fish_greeting; end"
    try_all(shell(f'HOME={known.home} fish --init-command "{prompt}"'), known)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_is_offered_what_there_is_with_what_is_said_about_it(known: Known) -> None:
    script = known.home / "headgate.fish"
    script.write_text(known.script("fish"))

    def offered(line: str) -> list[list[str]]:
        command = ["fish", "--no-config", "-c", f"source {script}; complete -C '{line}'"]
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        settings = {**os.environ, "PATH": path, "HEADGATE_ADDRESS": known.address, "HOME": str(known.home)}
        done = subprocess.run(command, env=settings, capture_output=True, text=True, check=True, timeout=60)
        assert done.stderr == ""
        return [each.split("\t") for each in done.stdout.splitlines()]

    said = 'it\'s: a "reason", [or] two plain evil'
    newest_first = offered("headgate rollback ")
    assert [value for value, _ in newest_first] == known.ids[::-1]
    assert all(about.endswith(said) for _, about in newest_first)
    assert [value for value, _ in offered("headgate plan ")] == ["canal", "web-prod"]
    assert ["rollback", "Undo a deployment, by a new one."] in offered("headgate ro")
    assert "--include-later" in [value for value, _ in offered("headgate rollback --")]
    assert [value for value, *_ in offered("headgate env create x --type st")] == ["staging"]
