"""Secrets with the real daemon: they reach the target from every place they can be in, and nothing else that is written, sent or run."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress

import psutil
import pytest
from tests.e2e.harness import BIN, FAILED, SUCCESS, Daemon, eventually, running

from headgate import Client
from headgate.errors import InvalidRequestError
from headgate.v1 import deployment_pb2 as dp

CANARY = "cAnArY"
"""In every secret here, and nowhere else."""
CONFIG = """
[daemon]
log_level = "debug"
[watch]
scan_interval = "1s"
[secrets]
files = ["HOME/secrets"]
environment = ["HEADGATE_TEST_SECRET"]
refresh = "200ms"
[providers.store]
argv = ["sh", "-c", "echo asked >> HOME/asked; echo trouble-cAnArY-store >&2; cat HOME/store"]
[commands.tells]
argv = ["sh", "-c", "cat {staged}/app.conf; cat {staged}/app.conf | base64 -w0; test ! -e HOME/bad"]
[commands.reload]
argv = ["sh", "-c", "cat {target}/app.conf; test ! -e HOME/broken"]
[reloads.reload]
command = "reload"
give_up_after = "0s"
"""
APP = "file = ${FROM_FILE}\nenv = ${FROM_ENV}\ncommand = ${FROM_COMMAND}\ncredential = ${FROM_CREDENTIAL}\n"


class Site:
    """A daemon with one environment whose file has a secret of each kind."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon, home = daemon, daemon.home
        self.source, self.target = home / "source", home / "target"
        self.secrets, self.credentials = home / "secrets", home / "credentials"
        for directory in (self.source, self.secrets, self.credentials):
            directory.mkdir(exist_ok=True)
            directory.chmod(0o700)
        self.values = {
            "file": f"{CANARY}-file-1",
            "env": os.environ["HEADGATE_TEST_SECRET"],
            "command": f"{CANARY}-command-1",
            "credential": f'{CANARY} "cred" 1/+&',
        }
        for kind in ("file", "command", "credential"):
            self.say(kind, self.values[kind])
        self.write("app.conf", APP)
        self.told: list[str] = []
        """All that was said to those who called."""

    def say(self, kind: str, value: str) -> None:
        self.values[kind] = value
        file = {
            "file": self.secrets / "db",
            "command": self.daemon.home / "store",
            "credential": self.credentials / "token",
        }[kind]
        fresh = file.with_suffix(".new")
        fresh.write_text(value + "\n")
        fresh.chmod(0o600)
        fresh.rename(file)

    def write(self, name: str, text: str) -> None:
        (self.source / name).write_text(text)

    def expected(self, first: str = "") -> str:
        lines = [f"{kind} = {self.values[kind]}\n" for kind in ("file", "env", "command", "credential")]
        return first + "".join(lines)

    def arrives(self, first: str = "") -> None:
        def there() -> bool:
            try:
                return (self.target / "app.conf").read_text() == self.expected(first)
            except FileNotFoundError:
                return False

        eventually(there, within=30, what="the file with all secrets")

    def cli(self, *arguments: str, check: bool = True) -> str:
        done = self.daemon.cli(*arguments, check=check)
        self.told += [done.stdout, done.stderr]
        return done.stdout + done.stderr

    def create(self) -> None:
        self.cli(
            "env", "create", "web", "--type", "development", "--target", str(self.target),
            "--source", str(self.source), "--check", "tells", "--reload", "reload",
            "--secret", f"FROM_FILE=file:{self.secrets}/db",
            "--secret", "FROM_ENV=env:HEADGATE_TEST_SECRET",
            "--secret", "FROM_COMMAND=command:store",
            "--secret", "FROM_CREDENTIAL=credential:token",
        )  # fmt: skip

    def newest(self, client: Client) -> dp.ConfigDeployment:
        return client.get_deployment(next(iter(client.list_deployments("web"))).deployment_id)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("HEADGATE_TEST_SECRET", f"{CANARY}-env-1")
    with running(CONFIG) as daemon:
        daemon.stop()
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(daemon.home / "credentials"))
        site = Site(daemon)
        daemon.start()
        site.create()
        site.arrives()
        yield site


def leaks(site: Site) -> list[str]:
    """Return where a secret is: in all that the daemon keeps, logs, says and runs, in any of some writings."""
    aligned = [base64.b64encode(b"-" * n + CANARY.encode() + b"-" * 3).decode() for n in range(3)]
    in_base64 = [aligned[0][:8], aligned[1][2:9], aligned[2][3:10]]
    needles = [CANARY, CANARY.encode().hex(), *in_base64]
    kept = {
        str(path.relative_to(site.daemon.home)): path.read_bytes().decode("latin-1")
        for path in [*site.daemon.state.rglob("*"), site.daemon.log_path, site.daemon.config]
        if path.is_file() and path != site.daemon.config
    }
    kept["what was said"] = "\n".join(site.told)
    if site.daemon.process is not None:
        daemon = psutil.Process(site.daemon.process.pid)
        for process in [daemon, *daemon.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):  # It has just ended.
                kept[f"arguments of {process.pid}"] = " ".join(process.cmdline())
    found = [(where, needle, text.find(needle)) for where, text in kept.items() for needle in needles]
    return [f"{where}: {kept[where][max(0, at - 60) : at + 60]!r}" for where, _, at in found if at >= 0]


def test_canaries_are_at_the_target_and_nowhere_else(site: Site) -> None:
    daemon = site.daemon
    assert (site.target / "app.conf").stat().st_mode & 0o777 == 0o600
    with daemon.client() as client, subprocess.Popen(
        [BIN / "headgate", "--address", f"unix:{daemon.socket}", "-o", "json", "watch", "web"],
        stdout=subprocess.PIPE,
        text=True,
    ) as watching:  # fmt: skip
        try:
            first = site.newest(client)
            site.cli("env", "set", "web", "--no-auto-sync")  # What is done here is done in this order.
            site.write("app.conf", "title = 2\n" + APP)
            site.cli("plan", "web")
            site.cli("deploy", "web", "--wait")
            site.arrives("title = 2\n")
            (daemon.home / "bad").touch()
            site.write("app.conf", "title = 3\n" + APP)
            site.cli("deploy", "web", "--wait", check=False)
            eventually(lambda: site.newest(client).status == FAILED, what="the check to fail")
            site.cli("show", site.newest(client).deployment_id)
            (daemon.home / "bad").unlink()
            (daemon.home / "broken").touch()
            site.cli("deploy", "web", "--wait", check=False)
            eventually(
                lambda: (site.target / "app.conf").read_text() == site.expected("title = 2\n"), within=30
            )
            (daemon.home / "broken").unlink()
            site.cli("deploy", "web", "--wait")
            site.arrives("title = 3\n")
            with (site.target / "app.conf").open("a") as file:
                file.write(f"by hand, a copy of {site.values['file']}\n")
            site.cli("plan", "web")
            site.cli("-o", "json", "plan", "web")
            site.cli("adopt", "web")
            site.cli("restore", first.deployment_id)
            site.arrives()
            for arguments in (
                ("status",), ("-o", "json", "status"), ("env", "show", "web"), ("-o", "json", "env", "list"),
                ("deployments",), ("history", "verify"), ("audit", "list"), ("audit", "verify"),
                ("history", "export", first.deployment_id, "-"),
            ):  # fmt: skip
                site.cli(*arguments)
            for each in client.list_deployments("web"):
                site.told.append(str(client.get_deployment(each.deployment_id)))
            assert leaks(site) == []
        finally:
            watching.terminate()
            site.told.append(watching.communicate(timeout=20)[0])
    assert "FROM_FILE" in "".join(site.told)
    assert '"deployment_id"' in site.told[-1]
    daemon.stop()
    assert leaks(site) == []


def test_changed_secret_reaches_the_target_by_itself_and_a_rollback_brings_none_back(site: Site) -> None:
    with site.daemon.client() as client:
        first = site.newest(client)
        for kind in ("file", "command", "credential"):
            site.say(kind, f"{CANARY}-{kind}-2")
            site.arrives()
        site.write("app.conf", "title = 2\n" + APP)
        site.arrives("title = 2\n")
        site.say("file", f"{CANARY}-file-3")
        site.arrives("title = 2\n")
        site.cli("restore", first.deployment_id)
        site.arrives()
        site.cli("show", site.newest(client).deployment_id)
        records = [client.get_deployment(each.deployment_id) for each in client.list_deployments("web")]
    assert FAILED not in [record.status for record in records]
    assert records[0].status == SUCCESS
    assert sum("app.conf: only secrets in it change" in record.changes.notes for record in records) >= 4
    assert leaks(site) == []


def test_store_that_is_down_bars_nobody_and_is_told(site: Site) -> None:
    (site.daemon.home / "store").unlink()
    eventually(
        lambda: "SECRET_STALE" in site.cli("status", check=False), within=20, what="the status to tell"
    )
    site.write("app.conf", "title = 2\n" + APP)
    site.arrives("title = 2\n")
    site.say("command", f"{CANARY}-command-2")
    site.arrives("title = 2\n")
    eventually(lambda: "SECRET_STALE" not in site.cli("status", check=False), within=20, what="it to be over")
    assert leaks(site) == []


def test_restart_without_the_secret_keeps_the_target_and_goes_on_when_it_is_back(site: Site) -> None:
    before = (site.target / "app.conf").read_bytes()
    site.daemon.stop()
    (site.secrets / "db").unlink()
    site.daemon.start()
    eventually(lambda: "FROM_FILE" in site.cli("status", check=False), within=20, what="the status to tell")
    assert (site.target / "app.conf").read_bytes() == before
    site.say("file", f"{CANARY}-file-2")
    site.arrives()
    assert leaks(site) == []


def test_value_given_for_a_reference_is_in_no_answer_log_or_record(site: Site) -> None:
    said = site.cli("env", "set", "web", "--secret", f"OTHER={CANARY}-typed", check=False)
    assert "must be a reference" in said
    with site.daemon.client() as client, pytest.raises(InvalidRequestError) as caught:
        client.update_environment(
            "web", secrets={"A": "file:/etc/shadow", "B": "command:nothing", "C": "env:PATH"}
        )
    assert len(caught.value.faults) == 3
    site.cli("audit", "list")
    assert leaks(site) == []
    assert json.loads(site.daemon.cli("-o", "json", "env", "show", "web").stdout)["secrets"].keys() == {
        "FROM_FILE", "FROM_ENV", "FROM_COMMAND", "FROM_CREDENTIAL",
    }  # fmt: skip
