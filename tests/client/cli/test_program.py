"""The command line as a program: exit codes, terminals, interrupts, time to start."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.client.cli.conftest import Run
from tests.client.conftest import until
from tests.client.fake_daemon import FakeDaemon, Refusal

import headgate
from headgate import testing
from headgate.v1 import deployment_pb2 as dp

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[3]
PROGRAM = [
    sys.executable,
    "-c",
    "import sys; from headgate.cli import main; sys.argv[0] = 'headgate'; main()",
]


def environ(daemon: FakeDaemon, **more: Any) -> Any:
    return {**os.environ, "HEADGATE_ADDRESS": str(daemon.socket), "TERM": "xterm", "COLUMNS": "80", **more}


def headgate_(daemon: FakeDaemon, *args: Any, **how: Any) -> Any:
    return subprocess.run(
        [*PROGRAM, *args], env=environ(daemon), capture_output=True, text=True, timeout=30, check=False, **how
    )


def test_version_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert headgate.__version__ == project["version"]


def test_version_needs_nothing_that_is_slow_to_import() -> None:
    code = (
        "import sys; sys.argv = ['headgate', '--version']; from headgate.cli import main; main();"
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'click', 'grpc', 'google', 'yaml', 'json'}))"
    )
    out = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert out == f"headgate {headgate.__version__}\n[]\n"


def test_help_and_usage_errors_need_no_grpc() -> None:
    code = (
        "import sys; sys.argv = ['headgate', *sys.argv[1:]]\n"
        "from headgate.cli import main\n"
        "try: main()\n"
        "finally: print({m.split('.')[0] for m in sys.modules} & {'grpc', 'google', 'yaml'}, file=sys.stderr)\n"
    )
    for args in (["--help"], ["env", "create", "--help"], ["deploy"], ["completion", "bash"]):
        ended = subprocess.run(
            [sys.executable, "-c", code, *args], capture_output=True, text=True, check=False
        )
        assert ended.stderr.endswith("set()\n"), ended


def test_version_with_other_options_works_too(daemon: FakeDaemon) -> None:
    assert headgate_(daemon, "-o", "json", "--version").stdout == f"headgate {headgate.__version__}\n"


def test_exit_codes_reach_the_shell(daemon: FakeDaemon) -> None:
    """A5."""
    daemon.plan.changes.added_count = 1
    daemon.outcome = dp.ConfigDeployment(status=dp.DEPLOYMENT_STATUS_FAILED)
    assert headgate_(daemon, "status").returncode == 0
    assert headgate_(daemon, "deploy", "canal").returncode == 1
    assert headgate_(daemon, "bogus").returncode == 2
    assert headgate_(daemon, "show", "x").returncode == 3
    assert headgate_(daemon, "plan", "canal", "--exit-code").returncode == 8
    daemon.stop()
    ended = headgate_(daemon, "status")
    assert ended.returncode == 6
    assert ended.stderr.splitlines() == [
        f"headgate: cannot reach the daemon at {daemon.socket} (from HEADGATE_ADDRESS): there is no such socket: the daemon is not running",
        f"  try: systemctl start headgated, or headgated --socket {daemon.socket}; if it listens elsewhere: --socket PATH",
    ]


def test_usage_errors_say_where_help_is(daemon: FakeDaemon) -> None:
    ended = headgate_(daemon, "deploy", "--bogus")
    assert ended.stderr.splitlines() == [
        "headgate: cannot read the command line: no such option '--bogus'",
        "  try: headgate deploy --help",
    ]
    assert headgate_(daemon).returncode == 2
    assert headgate_(daemon).stderr.startswith("Usage: headgate")


def test_argument_that_is_not_utf8_is_a_usage_error(daemon: FakeDaemon) -> None:
    ended = headgate_(daemon, "deploy", "canal", "--reason", os.fsdecode(b"\xff"))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "headgate: cannot read the command line: an argument is not valid UTF-8\n"


def test_reader_that_goes_away_is_no_error_to_speak_of(daemon: FakeDaemon) -> None:
    for number in range(2000):
        made = dp.ConfigDeployment(deployment_id=f"deploy_canal_{number}", environment="canal")
        daemon.deployments[made.deployment_id] = made
    with subprocess.Popen(
        [*PROGRAM, "deployments", "--all"],
        env=environ(daemon),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()
    assert said == b""
    assert process.returncode == 141


def test_output_that_cannot_be_written_is_told(daemon: FakeDaemon, canal: Any) -> None:
    for verb in (["status"], ["env", "list", "-o", "json"], ["--help"], ["deploy", "canal"]):
        with open("/dev/full", "w") as full:
            ended = subprocess.run(
                [*PROGRAM, *verb],
                env=environ(daemon),
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert ended.returncode == 1
        assert ended.stderr.splitlines() == [
            "headgate: cannot write the output: No space left on device",
            "  try: what was asked for has been done, or goes on: headgate status, headgate deployments",
        ], verb


@pytest.mark.parametrize(
    ("redirected", "code"),
    [("status >&-", 0), ("env show x >&-", 3), ("env show x 2>&-", 3), ("env show x 2>/dev/full", 3)],
)
def test_exit_code_holds_also_where_nothing_can_be_said(
    daemon: FakeDaemon, canal: Any, redirected: str, code: int
) -> None:
    command = ["sh", "-c", f'"$@" {redirected}', "sh", *PROGRAM]
    ended = subprocess.run(command, env=environ(daemon), capture_output=True, text=True, check=False)
    assert ended.returncode == code, ended
    assert "Traceback" not in ended.stderr


def test_unencodable_text_is_printed_as_an_escape(daemon: FakeDaemon, canal: Any) -> None:
    canal.config_path = "/srv/日ü"
    ended = subprocess.run(
        [*PROGRAM, "env", "list"],
        env=environ(daemon, PYTHONIOENCODING="latin-1"),
        capture_output=True,
        check=True,
    )
    assert rb"/srv/\u65e5" + "ü".encode("latin-1") in ended.stdout


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, daemon: FakeDaemon, *args: Any, **more: Any) -> None:
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [*PROGRAM, *args],
            env=environ(daemon, **more),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self.shown = ""

    def read(self, done: Any) -> Any:
        """Read until `done` says so, or the program ended."""
        deadline = time.monotonic() + 20
        while not done(self.shown):
            assert time.monotonic() < deadline, self.shown
            if select.select([self.master], [], [], 0.1)[0]:
                try:
                    part = os.read(self.master, 65536)
                except OSError:
                    break
                if not part:
                    break
                self.shown += part.decode()
        return self.shown

    def end(self) -> Any:
        self.read(lambda shown: False)
        code = self.process.wait(20)
        os.close(self.master)
        return code


def test_terminal_gets_colour_and_programs_do_not(daemon: FakeDaemon, canal: Any) -> None:
    daemon.plan.environment = "canal"
    daemon.plan.diffs.add(path="a", unified="--- a\n+++ a\n@@ -1 +1 @@\n-\x1b[31mold\n+new\n")
    coloured = Terminal(daemon, "plan", "canal", "--no-diff")
    assert coloured.end() == 0
    assert "\x1b[32m+new" in coloured.shown
    assert r"\x1b[31mold" in coloured.shown
    plain = Terminal(daemon, "plan", "canal", NO_COLOR="1")
    plain.end()
    assert "\x1b" not in plain.shown
    piped = headgate_(daemon, "plan", "canal").stdout
    assert "-\x1b[31mold\n" in piped
    assert "\x1b[32m" not in piped


def test_terminal_shows_progress_and_clears_it(daemon: FakeDaemon, canal: Any) -> None:
    daemon.outcome = None
    terminal = Terminal(daemon, "deploy", "canal")
    until(lambda: daemon.watchers > 0)
    running = dp.ConfigDeployment(
        deployment_id="deploy_canal_1700000001", environment="canal", status=dp.DEPLOYMENT_STATUS_IN_PROGRESS
    )
    running.progress.CopyFrom(dp.Progress(step="stage", files_done=3, files_total=9))
    daemon.publish(running)
    terminal.read(lambda shown: "stage 3/9 files" in shown)
    running.status = dp.DEPLOYMENT_STATUS_SUCCESS
    daemon.publish(running)
    assert terminal.end() == 0
    assert re.search(r"\r\x1b\[K[^\n]*SUCCESS", terminal.shown)


def test_progress_stays_on_its_line(daemon: FakeDaemon, canal: Any) -> None:
    daemon.outcome = None
    terminal = Terminal(daemon, "deploy", "canal", COLUMNS="27")
    terminal.read(lambda shown: "…" in shown)
    assert terminal.shown.endswith("\r\x1b[Kdeploy_canal_1700000001: …"), "one column stays free"
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.end() == 130


def test_interrupt_while_waiting_says_that_the_deployment_goes_on(daemon: FakeDaemon, canal: Any) -> None:
    daemon.outcome = None
    terminal = Terminal(daemon, "deploy", "canal")
    until(lambda: daemon.watchers > 0)
    terminal.read(lambda shown: "waits" in shown)
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.end() == 130
    name = "deploy_canal_1700000001"
    assert f"headgate: interrupted; {name} goes on" in terminal.shown
    assert f"  try: headgate show {name}; or stop it: headgate cancel {name}" in terminal.shown
    assert "Traceback" not in terminal.shown


def test_interrupt_while_asking_says_that_it_may_happen_all_the_same(daemon: FakeDaemon, canal: Any) -> None:
    daemon.hanging.add("Deploy")
    terminal = Terminal(daemon, "deploy", "canal")
    until(lambda: any(type(request).__name__ == "DeployRequest" for request in daemon.requests))
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.end() == 130
    assert "headgate: interrupted; what was asked for may happen all the same\r\n" in terminal.shown
    assert "  try: headgate deployments\r\n" in terminal.shown
    assert "Traceback" not in terminal.shown


def test_more_paths_than_a_terminal_is_for_are_counted_with_what_shows_them(
    daemon: FakeDaemon, canal: Any
) -> None:
    paths = [f"conf/{number}" for number in range(50)]
    daemon.outcome = dp.ConfigDeployment(status=dp.DEPLOYMENT_STATUS_FAILED)
    daemon.outcome.error.reason, daemon.outcome.error.message = "CHECK_FAILED", "cannot deploy: no"
    daemon.outcome.error.paths.extend(paths)
    terminal = Terminal(daemon, "deploy", "canal")
    assert terminal.end() == 1
    assert "  conf/19\r\n  and 30 more: headgate show deploy_canal_1700000001\r\n" in terminal.shown
    refusal = Refusal(grpc.StatusCode.FAILED_PRECONDITION, "cannot: no", "R", paths=paths, omitted=7)
    daemon.failures["Deploy"] += [refusal] * 2
    terminal = Terminal(daemon, "deploy", "canal")
    assert terminal.end() == 4
    assert (
        "  conf/19\r\n  and 30 more: a file shows them all (2> FILE)\r\n  and 7 more, for which"
        in terminal.shown
    )
    piped = headgate_(daemon, "deploy", "canal").stderr.splitlines()
    assert piped[-2:] == [
        "  conf/49",
        "  and 7 more, for which an answer has no room: mend these, then ask again",
    ]


def watching(daemon: FakeDaemon, *args: Any) -> Any:
    process = subprocess.Popen(
        [*PROGRAM, "watch", *args],
        env=environ(daemon),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: daemon.watchers > 0 or process.poll() is not None)
    return process


def deployment(name: Any, status: Any, environment: Any = "canal") -> Any:
    made = dp.ConfigDeployment(
        deployment_id=name, environment=environment, status=status, deployed_by="alice"
    )
    made.deployed_at.FromSeconds(1_700_000_000)
    made.changes.added_count = 1
    return made


def test_watch_prints_a_line_for_each_change_and_goes_on_after_a_restart(
    daemon: FakeDaemon, canal: Any
) -> None:
    daemon.publish(deployment("old", 3))
    with watching(daemon, "canal") as process:
        daemon.publish(deployment("d1", 2))
        progress = deployment("d1", 2)
        progress.progress.step = "apply"
        daemon.publish(progress)
        daemon.publish(deployment("other", 3, "dike"))
        done = deployment("d1", 3)
        done.changes.settings_changed.add(path="a.json", key="port", old="80", new="81")
        for number in range(20):
            done.changes.settings_changed.add(path="a.json", key=f"k{number}", new="1")
        daemon.publish(done)
        lines = [process.stdout.readline() for _ in range(23)]
        assert lines[2:4] == ["  a.json  port: 80 -> 81\n", "  a.json  k0: (not set) -> 1\n"]
        assert lines[22] == "  and 1 more\n"
        assert lines[:2] == [
            "2023-11-14 22:13:20Z  canal  d1  IN_PROGRESS  +1 ~0 -0  alice\n",
            "2023-11-14 22:13:20Z  canal  d1  SUCCESS  +1 ~0 -0  alice\n",
        ]
        daemon.stop()
        assert "is gone; waiting for it" in process.stderr.readline()
        daemon.publish(deployment("d2", 4))
        daemon.forget_revisions()
        daemon.start()
        assert process.stdout.readline() == "2023-11-14 22:13:20Z  canal  d2  FAILED  +1 ~0 -0  alice\n"
        assert "is back" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stdout.read() == ""
        assert "Traceback" not in process.stderr.read()


def test_watch_prints_json_lines(daemon: FakeDaemon) -> None:
    with watching(daemon, "-o", "json") as process:
        daemon.publish(deployment("d1", 3))
        line = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.wait(20)
    assert line.startswith('{"revision": 1001, "deployment": {"schema_version": 1, "deployment_id": "d1"')


def test_watch_of_an_unknown_environment_is_not_found(daemon: FakeDaemon) -> None:
    assert headgate_(daemon, "watch", "nothing").returncode == 3


def test_watch_says_that_its_environment_was_deleted_and_ends() -> None:
    with testing.FakeDaemon() as daemon, daemon.client() as client:
        client.create_environment("canal", type="testing", config_path="/t", sources=["/s"])
        process = subprocess.Popen(
            [*PROGRAM, "watch", "canal"],
            env={**os.environ, "HEADGATE_ADDRESS": daemon.address},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            until(lambda: daemon.feed.watchers > 0 or process.poll() is not None)
            client.delete_environment("canal")
            assert process.wait(20) == 3
            assert process.stderr is not None
            assert process.stderr.read().splitlines() == [
                "headgate: cannot go on watching canal: it was deleted",
                "  try: see which there are: headgate env list",
            ]


def test_verb_that_is_not_there_names_the_likely_one(run: Run) -> None:
    assert "there is no verb 'deploymnts' (did you mean deployments?)" in run("deploymnts", code=2).err
    assert "there is no verb 'lst' (did you mean list?)" in run("env", "lst", code=2).err
    assert "there is no verb 'resume' (did you mean env resume?)" in run("resume", code=2).err
    assert "there is no verb 'xyzzy'\n" in run("xyzzy", code=2).err


def test_mistake_in_an_option_points_to_the_help_of_its_verb(run: Run) -> None:
    assert "  try: headgate env set --help\n" in run("env", "set", "canal", "--var", code=2).err
    assert "  try: headgate env --help\n" in run("env", "-o", code=2).err


def test_empty_lists_are_told_to_people(daemon: FakeDaemon) -> None:
    for verb, what, hint in (
        (["env", "list"], "there are no environments yet", "headgate env create NAME"),
        (["deployments"], "there are no deployments yet", "headgate plan NAME"),
        (["deployments", "--status", "failed"], "there are no such deployments", "leave out --status"),
    ):
        terminal = Terminal(daemon, *verb)
        assert terminal.end() == 0
        assert f"{what}\r\n" in terminal.shown
        assert f"{hint}" in terminal.shown
        piped = headgate_(daemon, *verb)
        assert piped.stderr == ""
        assert len(piped.stdout.splitlines()) == 1


def test_option_that_is_missing_is_told_on_one_line(run: Run) -> None:
    first = run("env", "create", "web", "--target", "/t", "--source", "/s", code=2).err.splitlines()[0]
    assert first.endswith("missing option '--type'; choose from development, staging, production, testing")


def test_all_mistakes_in_a_command_line_are_told_at_once(run: Run, daemon: FakeDaemon) -> None:
    assert run("env", "create", code=2).err.splitlines() == [
        "headgate: cannot read the command line: 4 things are wrong",
        "  missing argument 'NAME'",
        "  missing option '--type'; choose from development, staging, production, testing",
        "  missing option '--target'",
        "  missing option '--source'",
        "  try: headgate env create --help",
    ]
    assert run("env", "pause", "web", "--for", "long", "--until", "soon", code=2).err.splitlines() == [
        "headgate: cannot read the command line: 3 things are wrong",
        "  missing option '--reason'",
        "  invalid value for '--until': 'soon' is no time; write 2025-01-31T18:00 or 2025-01-31T17:00:00Z",
        "  invalid value for '--for': 'long' is no length of time; write 300, 90s, 5m, 2h or 1d",
        "  try: headgate env pause --help",
    ]
    assert not daemon.requests
