"""Root's commands: bounded in time and output, without a shell, and nothing left behind."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from headgated.core.commands import Command
from headgated.effects.commands import CommandRunner

PYTHON = sys.executable


@pytest.fixture
def runner() -> CommandRunner:
    return CommandRunner(scoped=False)


def command(*argv: str, **more: Any) -> Command:
    return Command("it", argv, **({"timeout": 20.0} | more))


def python(code: str, **more: Any) -> Command:
    return command(PYTHON, "-c", code, **more)


def eventually(what: Callable[[], bool], seconds: float = 10.0) -> bool:
    until = time.monotonic() + seconds
    while not what():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def test_output_and_exit_code_are_told(runner: CommandRunner) -> None:
    ran = runner.run(python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"), {})
    assert (ran.code, ran.ok) == (3, False)
    assert set(ran.output.split()) == {"out", "err"}
    assert ran.why == "it ended with exit code 3"


def test_success_has_no_why(runner: CommandRunner) -> None:
    ran = runner.run(command("true"), {})
    assert ran.ok
    assert ran.why == ""


def test_no_shell_reads_the_arguments(runner: CommandRunner) -> None:
    ran = runner.run(command("printf", "%s|", "$HOME", "*", "a b; echo c", "`id`"), {})
    assert ran.output == "$HOME|*|a b; echo c|`id`|"


def test_placeholders_are_put_in_once(runner: CommandRunner) -> None:
    values = {"staged": "/s/{target}", "target": "/t", "environment": "web"}
    ran = runner.run(
        command("printf", "%s|", "{staged}/x", "{environment}", "{nonsense}", "{changed}"), values
    )
    assert ran.output == "/s/{target}/x|web|{nonsense}|{changed}|"


def test_values_are_in_the_environment_and_the_daemons_own_are_not(
    runner: CommandRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/notify")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/x")
    ran = runner.run(command("env", environment={"MINE": "1"}), {"deployment_id": "deploy_web_1"})
    told = dict(line.split("=", 1) for line in ran.output.splitlines())
    assert told["HEADGATE_DEPLOYMENT_ID"] == "deploy_web_1"
    assert told["MINE"] == "1"
    assert not {"NOTIFY_SOCKET", "CREDENTIALS_DIRECTORY"} & told.keys()


def test_time_limit_kills_all_that_was_started(runner: CommandRunner, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    # A child that ignores SIGTERM, and one of its own.
    code = f"""
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(15, 1); time.sleep(600)"])
open({str(pids)!r}, "w").write(f"{{os.getpid()}} {{child.pid}}")
print("begun", flush=True)
time.sleep(600)
"""
    ran = runner.run(python(code, timeout=1.5), {})
    assert ran.timed_out
    assert not ran.ok
    assert "time limit" in ran.why
    assert ran.output == "begun\n"
    assert eventually(lambda: not any(psutil.pid_exists(int(pid)) for pid in pids.read_text().split()))


def test_cancelling_ends_it(runner: CommandRunner) -> None:
    cancelled = threading.Event()
    threading.Timer(0.3, cancelled.set).start()
    began = time.monotonic()
    ran = runner.run(command("sleep", "600"), {}, cancelled)
    assert ran.cancelled
    assert not ran.timed_out
    assert time.monotonic() - began < 10


def test_what_a_command_leaves_running_is_not_waited_for(runner: CommandRunner) -> None:
    """A reload that starts a service in the background: the pipe stays open, and the service must live on."""
    code = "import subprocess; print(subprocess.Popen(['sleep', '600']).pid, flush=True)"
    ran = runner.run(python(code), {})
    left = psutil.Process(int(ran.output))
    assert ran.ok
    assert left.is_running()
    left.kill()


def test_output_is_bounded_to_its_beginning_and_end(runner: CommandRunner) -> None:
    code = "import sys; sys.stdout.write('a' * 10 + 'x' * 1_000_000 + 'z' * 10)"
    ran = runner.run(python(code, output_limit=100), {})
    assert ran.ok
    assert ran.output.startswith("a" * 10)
    assert ran.output.endswith("z" * 10)
    assert "[999920 bytes left out]" in ran.output
    assert len(ran.output) < 200


def test_bytes_that_are_no_text_are_escaped(runner: CommandRunner) -> None:
    assert runner.run(command("printf", r"\377\n"), {}).output == "\\xff\n"


def test_what_cannot_be_started_says_so(runner: CommandRunner) -> None:
    ran = runner.run(command("/nonexistent/program"), {})
    assert (ran.code, ran.ok) == (127, False)
    assert "cannot start /nonexistent/program: No such file" in ran.output


def test_directory_that_is_missing_is_named(runner: CommandRunner) -> None:
    ran = runner.run(command("true", directory="/nonexistent"), {})
    assert "/nonexistent" in ran.output


def test_it_has_no_input_and_a_session_of_its_own(runner: CommandRunner) -> None:
    ran = runner.run(python("import os, sys; print(repr(sys.stdin.read()), os.getsid(0) == os.getpid())"), {})
    assert ran.output == "'' True\n"


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_user_is_changed_to(runner: CommandRunner) -> None:
    ran = runner.run(command("id", "-un", user="nobody"), {})
    assert ran.output == "nobody\n"
    ran = runner.run(command("true", user="no-such-user"), {})
    assert not ran.ok
    assert "no-such-user" in ran.output


def test_many_in_a_row_leave_no_descriptor_and_no_child(runner: CommandRunner) -> None:
    me = psutil.Process()
    runner.run(command("true"), {})
    before, others = me.num_fds(), me.children()
    for _ in range(100):
        assert runner.run(command("true"), {}).ok
    assert me.num_fds() == before
    assert me.children() == others


def test_high_descriptors_are_no_hindrance(runner: CommandRunner) -> None:
    """select(2) cannot watch descriptors from 1,024 on; a daemon with many watchers has such."""
    held: list[int] = []
    try:
        while not held or held[-1] < 1030:
            held.append(os.dup(0))
        assert runner.run(command("echo", "well"), {}).output == "well\n"
    except OSError as error:
        pytest.skip(f"cannot open so many descriptors here: {error}")
    finally:
        for descriptor in held:
            os.close(descriptor)


@pytest.mark.parametrize("ending", ["exit 0", "sleep 60"])
def test_what_escapes_and_prints_for_ever_holds_nothing_up(runner: CommandRunner, ending: str) -> None:
    """It has a session of its own, so the kill does not reach it; it ends by itself when nobody reads on."""
    began = time.monotonic()
    ran = runner.run(command("sh", "-c", f"setsid yes & {ending}", timeout=1.0), {})
    assert time.monotonic() - began < 8
    assert ran.ok == (ending == "exit 0")


def test_braces_that_are_no_placeholder_stay(runner: CommandRunner) -> None:
    ran = runner.run(
        command("printf", "%s|", "{}", "{{target}}", "{nope}", "{target"), {"target": "{staged}"}
    )
    assert ran.output == "{}|{{staged}}|{nope}|{target|"


def test_what_looks_like_a_secret_is_not_in_the_output(runner: CommandRunner) -> None:
    ran = runner.run(
        command(
            "printf",
            "%s\\n",
            "line 3: db_password = canary-1",
            "token: canary-2",
            "see http://me:canary-3@host/",
        ),
        {},
    )
    assert "canary" not in ran.output
    assert "line 3: db_password" in ran.output
