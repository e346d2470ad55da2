"""Checks, reloads, health and the way back, with the real daemon and real servers: what an operator would see."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from tests.e2e.harness import FAILED, SUCCESS, Daemon, eventually, running

from headgate import Client
from headgate.v1 import deployment_pb2 as dp
from headgated.core.commands import Command
from headgated.core.config import parse
from headgated.effects.commands import CommandRunner
from headgated.engine.following import ENOUGH_FOR_A_LOOK

EXAMPLE = Path(__file__).parents[2] / "examples" / "safeguards" / "headgated.toml"
UNDONE = dp.DEPLOYMENT_STATUS_ROLLED_BACK
IN_PROGRESS = dp.DEPLOYMENT_STATUS_IN_PROGRESS

MAIN = """
pid {home}/nginx.pid;
error_log {home}/error.log;
worker_processes 1;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {home}/t1; proxy_temp_path {home}/t2; fastcgi_temp_path {home}/t3;
  uwsgi_temp_path {home}/t4; scgi_temp_path {home}/t5;
  server {{
    listen 127.0.0.1:{port};
    include sites/*.conf;
  }}
}}
"""
SITE = 'location / {{ return {code} "{text}"; }}\n'
COMMANDS = """
[commands.check]
argv = ["nginx", "-t", "-q", "-p", "{staged}", "-c", "{staged}/nginx.conf"]
[commands.reload]
argv = ["sh", "-c", "echo reload >> HOME/reloads; nginx -s reload -p {target} -c {target}/nginx.conf"]
[commands.third-time]
argv = ["sh", "-c", "echo try >> HOME/tries; test $(wc -l < HOME/tries) -ge 3"]
[commands.slow]
argv = ["sh", "-c", "echo $HEADGATE_DEPLOYMENT_ID >> HOME/slow; while test ! -e HOME/go; do sleep 0.05; done"]
[reloads.nginx]
command = "reload"
files = ["*.conf"]
[health.web]
http = "http://127.0.0.1:PORT/"
interval = "100ms"
successes = 2
deadline = "5s"
[health.slow]
command = "slow"
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Requests:
    """Somebody who keeps requesting, and counts what comes back."""

    def __init__(self, port: int) -> None:
        self._port, self._stop = port, threading.Event()
        self.seen: list[tuple[int, str]] = []
        self._thread = threading.Thread(target=self._run)

    def ask(self) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
        try:
            connection.request("GET", "/")
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except OSError as error:
            return 0, str(error)
        finally:
            connection.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            self.seen.append(self.ask())
            time.sleep(0.01)

    @contextmanager
    def going_on(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._thread.join(30)


class Web:
    """nginx, whose configuration Headgate deploys."""

    def __init__(self, daemon: Daemon, client: Client, port: int) -> None:
        self.daemon, self.client, self.home = daemon, client, daemon.home
        self.source, self.target, self.port = daemon.home / "source", daemon.home / "target", port
        (self.source / "sites").mkdir(parents=True)
        (self.source / "nginx.conf").write_text(MAIN.format(home=self.home, port=port))
        self.write(200, "one")
        client.create_environment(
            "web", type="staging", config_path=str(self.target), sources=[str(self.source)], auto_sync=False
        )
        self.deploy()
        self.set(checks=("check",))

    def write(self, code: int, text: str) -> None:
        (self.source / "sites" / "a.conf").write_text(SITE.format(code=code, text=text))

    def set(
        self, *, checks: tuple[str, ...] = (), reloads: tuple[str, ...] = (), health: tuple[str, ...] = ()
    ) -> None:
        self.client.update_environment(
            "web", policies={"checks": checks, "reloads": reloads, "health": health}
        )

    def deploy(self) -> dp.ConfigDeployment:
        return self.client.wait_for_deployment(self.client.deploy("web").deployment_id, 60)

    def newest(self) -> list[dp.ConfigDeployment]:
        return [
            self.client.get_deployment(each.deployment_id) for each in self.client.list_deployments("web")
        ]

    def lines(self, name: str) -> int:
        path = self.home / name
        return len(path.read_text().splitlines()) if path.exists() else 0

    @contextmanager
    def serving(self) -> Iterator[Requests]:
        arguments = ["nginx", "-p", str(self.target), "-c", str(self.target / "nginx.conf")]
        subprocess.run(arguments, check=True, timeout=30)
        requests = Requests(self.port)
        try:
            eventually(lambda: requests.ask()[0] == 200)
            yield requests
        finally:
            pid = int((self.home / "nginx.pid").read_text())
            os.kill(pid, signal.SIGTERM)
            eventually(
                lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
            )


@pytest.fixture
def web() -> Iterator[Web]:
    if shutil.which("nginx") is None:
        pytest.skip("nginx is not installed (Debian: nginx-light)")
    port = free_port()
    with running(COMMANDS.replace("PORT", str(port))) as daemon, daemon.client() as client:
        yield Web(daemon, client, port)


def test_bad_include_is_caught_by_the_check_and_never_served(web: Web) -> None:
    with web.serving() as requests, requests.going_on():
        web.set(checks=("check",), reloads=("nginx",), health=("web",))
        (web.source / "sites" / "a.conf").write_text("location / { retrun 200 broken; }\n")
        failed = web.deploy()
        shown = web.daemon.cli("show", failed.deployment_id).stdout
    assert failed.status == FAILED
    assert failed.error.reason == "CHECK_FAILED"
    assert 'unknown directive "retrun"' in shown
    assert web.lines("reloads") == 0
    assert set(requests.seen) == {(200, "one")}
    assert "return 200" in (web.target / "sites" / "a.conf").read_text()


def test_failing_check_is_on_the_callers_terminal(web: Web) -> None:
    (web.source / "sites" / "a.conf").write_text("location / { retrun 200 broken; }\n")
    done = web.daemon.cli("deploy", "web", check=False)
    assert done.returncode == 1
    assert 'unknown directive "retrun"' in done.stderr
    assert "CHECK_FAILED" in done.stderr


def test_good_change_is_served_after_one_reload(web: Web) -> None:
    with web.serving() as requests, requests.going_on():
        web.set(checks=("check",), reloads=("nginx",), health=("web",))
        web.write(200, "two")
        (web.source / "sites" / "b.conf").write_text("location /b { return 204; }\n")
        done = web.deploy()
        assert done.status == SUCCESS
        eventually(lambda: requests.ask() == (200, "two"))
    assert web.lines("reloads") == 1
    assert [(step.step, step.name, step.ok) for step in done.steps] == [
        ("check", "check", True),
        ("reload", "nginx", True),
        ("health", "web", True),
    ]
    assert {status for status, _ in requests.seen} == {200}


def test_change_that_passes_the_check_and_breaks_health_is_rolled_back_in_time(web: Web) -> None:
    with web.serving() as requests, requests.going_on():
        web.set(checks=("check",), reloads=("nginx",), health=("web",))
        web.write(503, "ill")
        failed = web.deploy()
        # The rollback is a deployment of its own, carried out before the next thing.
        eventually(lambda: web.newest()[0].kind == dp.DEPLOYMENT_KIND_ROLLBACK)
        undo = web.client.wait_for_deployment(web.newest()[0].deployment_id, 60)
        eventually(
            lambda: requests.ask() == (200, "one"), what="the last of nginx's workers from before to be gone"
        )
    assert (failed.status, failed.error.reason) == (FAILED, "HEALTH_FAILED")
    failed = web.client.get_deployment(failed.deployment_id)
    assert failed.rollback_info.rolled_back_by == undo.deployment_id
    assert (undo.status, undo.deployed_by) == (SUCCESS, "auto-rollback")
    assert web.lines("reloads") == 2
    ill = [seen for seen in requests.seen if seen[0] != 200]
    assert {status for status, _ in ill} <= {503}, "no request was refused or cut off"
    health = failed.steps[-1]
    assert (health.step, health.ok) == ("health", False)
    assert health.seconds <= 5 + ENOUGH_FOR_A_LOOK
    assert web.client.get_environment("web").sync.hold.deployment_id == undo.deployment_id


def test_reload_that_fails_twice_then_succeeds(web: Web) -> None:
    web.set(reloads=("third-time",))
    web.write(200, "two")
    asked = web.client.deploy("web")
    eventually(lambda: "reload third-time pending" in web.client.get_environment("web").sync.message)
    done = web.client.wait_for_deployment(asked.deployment_id, 60)
    assert done.status == SUCCESS
    assert done.steps[0].attempts == web.lines("tries") == 3


@pytest.mark.parametrize("phase", ["check", "reload", "health"])
def test_daemon_killed_in_a_phase_goes_on_where_it_was(web: Web, phase: str) -> None:
    step = {"check": "checks", "reload": "reloads", "health": "health"}[phase]
    web.set(**{step: ("slow",)})
    web.write(200, "two")
    deployment_id = web.client.deploy("web").deployment_id
    eventually(lambda: web.lines("slow") == 1)
    web.daemon.kill()
    deployed = 'return 200 "two"' in (web.target / "sites" / "a.conf").read_text()
    assert deployed == (phase != "check")
    (web.home / "go").touch()
    web.daemon.start()
    eventually(lambda: web.client.get_deployment(deployment_id).status != IN_PROGRESS, within=30)
    done = web.client.get_deployment(deployment_id)
    if phase == "check":
        assert (done.status, done.error.reason) == (FAILED, "INTERRUPTED")
        assert web.deploy().status == SUCCESS
    else:
        assert done.status == SUCCESS
        assert web.lines("slow") == 2, "it was cut off, so it is done again"
    assert (web.target / "sites" / "a.conf").read_text() == SITE.format(code=200, text="two")


def test_confirmation_on_the_command_line(web: Web) -> None:
    web.write(200, "two")
    done = web.daemon.cli("deploy", "web", "--confirm-within", "3s")
    named = re.search(r"headgate confirm (\S+)", done.stdout)
    assert named is not None
    eventually(lambda: web.client.get_deployment(named[1]).status == UNDONE)
    assert 'return 200 "one"' in (web.target / "sites" / "a.conf").read_text()
    web.write(200, "three")
    told = json.loads(web.daemon.cli("deploy", "web", "--confirm-within", "5m", "-o", "json").stdout)
    assert told["confirm_within"] == 300
    assert "stays" in web.daemon.cli("confirm", told["deployment_id"]).stdout


def test_commands_in_a_row_under_load_leave_nothing_behind(web: Web) -> None:
    """A9: no deadlock, no zombie, no leaked descriptor. HEADGATE_TORTURE says how many (1,000 with `make torture`)."""
    runs = max(20, int(os.environ.get("HEADGATE_TORTURE", "0")))
    web.set(checks=("check",), reloads=("third-time",))
    (web.home / "tries").write_text("1\n1\n1\n")
    assert web.daemon.process is not None
    daemon = psutil.Process(web.daemon.process.pid)
    stop = threading.Event()

    def load() -> None:
        with web.daemon.client() as client:
            while not stop.is_set():
                client.get_environment("web")

    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        web.deploy()
        descriptors = daemon.num_fds()
        for number in range(runs // 2):
            web.write(200, f"n{number}")
            assert web.deploy().status == SUCCESS
        children = daemon.children(recursive=True)
        assert [child for child in children if child.is_running()] == []
        assert daemon.num_fds() <= descriptors + 10
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)


CASES = {
    "nginx-check": ("nginx", "nginx.conf", "events {}\nhttp { include x/*.conf; }\n", "events {}\nhtpp {}\n"),
    "haproxy-check": (
        "haproxy",
        "haproxy.cfg",
        "defaults\n timeout connect 1s\n timeout client 1s\n timeout server 1s\nfrontend f\n bind 127.0.0.1:1\n",
        "froontend f\n",
    ),
    "sshd-check": ("sshd", "sshd_config", "Port 22\n", "Prot 22\n"),
    "sudoers-check": ("visudo", "ops", "root ALL=(ALL) ALL\n", "root ALLx\n"),
    "units-check": (
        "systemd-analyze",
        "a.service",
        "[Service]\nExecStart=/bin/true\n",
        "[Service]\nExecStart=/bin/nope\n",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_documented_checks_tell_good_from_bad(name: str, tmp_path: Path) -> None:
    """The definitions in examples/safeguards, with the programs from Debian's packages."""
    program, file, good, bad = CASES[name]
    if shutil.which(program) is None and not Path("/usr/sbin", program).exists():
        pytest.skip(f"{program} is not installed")
    if program == "sshd" and not Path("/run/sshd").is_dir():
        pytest.skip("sshd checks nothing without /run/sshd, which its service makes")
    command: Command = parse(EXAMPLE.read_text()).commands.commands[name]
    changed = tmp_path / "changed"
    changed.write_text(f"{file}\n")
    values = {"staged": str(tmp_path / "staged"), "changed": str(changed)}
    (tmp_path / "staged").mkdir()
    for content, well in ((good, True), (bad, False)):
        (tmp_path / "staged" / file).write_text(content)
        ran = CommandRunner(scoped=False).run(command, values)
        if name == "nginx-check" and well and "13: Permission denied" in ran.output:
            pytest.skip("nginx opens its log in /var/log as root only")
        assert ran.ok is well, ran.output
