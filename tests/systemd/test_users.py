"""Who may talk to the service, what it may touch, what it is given, and what it tells the journal."""

from __future__ import annotations

import json

import pytest
from tests.e2e.harness import SUCCESS, eventually
from tests.systemd.machine import Machine
from tests.systemd.site import Site

from headgate.errors import InvalidRequestError

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.e2e, pytest.mark.timeout(300)]
CANARY = "canary-7f3a91"
CONFIG = "/etc/headgate/headgated.toml"
SAFEGUARDS = """
[commands.note]
argv = ["sh", "-c", "touch /opt/reloaded; setsid sleep 8888 >/dev/null 2>&1 &"]

[reloads.note]
command = "note"

[health.web]
http = "http://127.0.0.1:8080/"
successes = 1
deadline = "2s"
"""

ESCAPES = """
[commands.escapes]
argv = ["sh", "-c", "echo $(id -un) $SEES $(cat {staged}/app.conf) from $(pwd); setsid sh -c 'setsid sleep 7777 & sleep 7777' & sleep 7777"]
user = "member"
directory = "/srv"
environment = { SEES = "sees" }
timeout = "1s"
"""


def test_member_of_the_group_deploys_and_a_stranger_is_refused(site: Site) -> None:
    machine = site.machine
    as_member = ("runuser", "-u", "member", "--", "headgate")
    deployed = machine.run(*as_member, "deploy", site.name, "--wait", "-o", "json")
    assert json.loads(deployed.stdout)["deployed_by"] == "member"
    as_stranger = machine.run("runuser", "-u", "stranger", "--", "headgate", "status", check=False)
    assert as_stranger.returncode == 5
    assert "you may not use this socket" in as_stranger.stderr
    for secret in ("/var/lib/headgate", "/var/lib/headgate/history.db"):
        assert machine.run("runuser", "-u", "member", "--", "cat", secret, check=False).returncode != 0


def test_target_outside_of_what_the_unit_allows_is_refused_until_it_is_allowed(site: Site) -> None:
    machine = site.machine
    with machine.client() as client:
        wanted = {
            "type": "testing",
            "config_path": "/opt/outside",
            "sources": [site.source],
            "auto_sync": False,
        }
        with pytest.raises(
            InvalidRequestError,
            match="the daemon cannot write to /opt; allow it in the unit, with ReadWritePaths=",
        ):
            client.create_environment("outside", **wanted)  # type: ignore[arg-type]
        with machine.drop_in("more", "[Service]\nReadWritePaths=/opt\n"):
            client.create_environment("outside", **wanted)  # type: ignore[arg-type]
            done = client.wait_for_deployment(client.deploy("outside").deployment_id)
            assert done.status == SUCCESS
            client.delete_environment("outside")


def test_credentials_are_delivered_to_the_daemon_and_to_nobody_else(site: Site) -> None:
    machine = site.machine
    machine.write("/etc/headgate/credentials/db-password", CANARY, 0o600)
    drop_in = (machine.root / "usr/share/doc/headgate/examples/credentials.conf").read_text()
    with machine.drop_in("credentials", drop_in):
        environment = (machine.root / f"proc/{machine.pid()}/environ").read_text().split("\0")
        (where,) = [
            line.partition("=")[2] for line in environment if line.startswith("CREDENTIALS_DIRECTORY=")
        ]
        inside = machine.root / f"proc/{machine.pid()}/root" / where.lstrip("/") / "db-password"
        assert inside.read_text() == CANARY
        assert inside.stat().st_mode & 0o777 == 0o400
        refused = machine.run("runuser", "-u", "member", "--", "ls", where, check=False)
        assert refused.returncode != 0
        with machine.client() as client:
            client.update_environment(site.name, secrets={"DB_PASSWORD": "credential:db-password"})
            site.edit("password=${DB_PASSWORD}\n")
            eventually(lambda: site.deployed() == f"password={CANARY}\n", what="the edit to arrive")
            site.edit("without credentials\n")
            eventually(lambda: site.deployed() == "without credentials\n", what="the edit to arrive")
            client.update_environment(site.name, secrets=None)
    assert CANARY not in machine.journal("-u", "headgated.service", output="verbose")


PROVIDERS = """
[providers.store]
argv = ["sh", "-c", "cat /etc/headgate/store; cat /etc/headgate/store >&2"]
"""


def test_secrets_of_files_and_providers_reach_the_target_and_no_journal(site: Site) -> None:
    """A provider runs as a transient unit outside of the sandbox; what it prints goes to the daemon alone."""
    machine = site.machine
    kept = machine.read(CONFIG)
    machine.write("/etc/headgate/secrets/token", f"{CANARY}-file\n", 0o600)
    machine.write("/etc/headgate/store", f"{CANARY}-store\n", 0o600)
    machine.write(CONFIG, kept + PROVIDERS)
    try:
        machine.run("headgate", "reload")
        references = {"FILE": "file:/etc/headgate/secrets/token", "STORE": "command:store"}
        with machine.client() as client:
            client.update_environment(site.name, secrets=references, auto_sync=True)
            site.edit("file=${FILE} store=${STORE}\n")
            wanted = f"file={CANARY}-file store={CANARY}-store\n"
            eventually(lambda: site.deployed() == wanted, what="the secrets to arrive")
            site.edit("without secrets\n")
            eventually(lambda: site.deployed() == "without secrets\n", what="the edit to arrive")
            client.update_environment(site.name, secrets=None)
    finally:
        machine.write(CONFIG, kept)
        machine.run("headgate", "reload")
    assert CANARY not in machine.run("journalctl", "-o", "verbose", "--no-pager").stdout


def test_journal_can_be_asked_about_an_environment_a_deployment_and_a_reason(site: Site) -> None:
    machine = site.machine
    with machine.client() as client:
        deployment = next(iter(client.list_deployments(site.name))).deployment_id
    told = entries(machine, f"HEADGATE_ENVIRONMENT={site.name}")
    assert told
    assert all(site.name in entry["MESSAGE"] for entry in told)
    (one,) = eventually(
        lambda: entries(machine, f"HEADGATE_DEPLOYMENT_ID={deployment}"), what="its end in the journal"
    )
    assert (one["PRIORITY"], one["SYSLOG_IDENTIFIER"], one["HEADGATE_STATUS"]) == (
        "6",
        "headgated",
        "success",
    )
    assert one["_SYSTEMD_UNIT"] == "headgated.service"
    source = machine.root / site.source.lstrip("/")
    source.rename(source.with_name("elsewhere"))
    halted = eventually(
        lambda: entries(machine, f"HEADGATE_ENVIRONMENT={site.name}", "HEADGATE_REASON=SOURCE_MISSING"),
        what="the halt in the journal",
    )
    assert halted[-1]["PRIORITY"] == "3"
    assert not entries(machine, "HEADGATE_ENVIRONMENT=nobody")
    source.with_name("elsewhere").rename(source)


def test_another_instance_has_its_own_state_socket_and_configuration(machine: Machine) -> None:
    machine.write("/etc/headgate/blue.toml", "[retention]\ncount = 7\n")
    machine.systemctl("start", "headgated@blue.service")
    try:
        with machine.client(socket="/run/headgate-blue/headgate.sock") as client:
            assert client.status().state_directory == "/var/lib/headgate-blue"
            assert list(client.list_environments()) == []
        machine.systemctl("reload", "headgated@blue.service")
        assert machine.systemctl("is-active", "headgated.service") == "active"
    finally:
        machine.systemctl("stop", "headgated@blue.socket", "headgated@blue.service")


def test_reload_command_runs_outside_of_the_sandbox_and_a_probe_needs_the_drop_in(site: Site) -> None:
    machine = site.machine
    kept = machine.read(CONFIG)
    machine.run(
        "systemd-run", "--unit=web", "/usr/bin/python3", "-m", "http.server", "8080", "--bind", "127.0.0.1"
    )
    try:
        machine.write(CONFIG, kept + SAFEGUARDS)
        machine.systemctl("reload", "headgated.service")
        machine.run("headgate", "env", "set", site.name, "--reload", "note")
        site.edit("noted\n")
        eventually(
            (machine.root / "opt/reloaded").exists,
            what="the reload command, which writes where the daemon may not",
        )
        machine.run("headgate", "env", "set", site.name, "--no-auto-sync", "--health", "web")
        site.edit("probed\n")
        alone = machine.run("headgate", "deploy", site.name, "--wait", check=False)
        assert alone.returncode == 1
        assert "network.conf" in alone.stdout + alone.stderr
        drop_in = (machine.root / "usr/share/doc/headgate/examples/network.conf").read_text()
        with machine.drop_in("network", drop_in):
            machine.run("headgate", "deploy", site.name, "--wait")
            assert site.deployed() == "probed\n"
        left = machine.run("pgrep", "-f", "sleep 8888", check=False).stdout
        assert left == "", "what a command leaves in the background is ended with its unit"
    finally:
        machine.systemctl("stop", "web.service")
        machine.write(CONFIG, kept)
        machine.systemctl("reload", "headgated.service")


def test_command_is_killed_with_all_that_it_started_by_its_unit(site: Site) -> None:
    """Also with what has left its session and group: the unit's control group knows it."""
    machine = site.machine
    kept = machine.read(CONFIG)
    machine.write(
        CONFIG, kept.replace("[daemon]", '[daemon]\ncheck_directory = "/run/headgate/checks"') + ESCAPES
    )
    try:
        told = machine.run("headgate", "reload").stdout
        assert 'check_directory: "" -> /run/headgate/checks (takes a restart)' in told
        machine.systemctl("restart", "headgated.service")
        machine.run("headgate", "env", "set", site.name, "--no-auto-sync", "--check", "escapes")
        site.edit("never checked\n")
        failed = machine.run("headgate", "deploy", site.name, "--wait", check=False)
        assert failed.returncode == 1
        said = failed.stdout + failed.stderr
        assert "its time limit" in said
        assert "member sees never checked from /srv" in said
        assert machine.run("pgrep", "-f", "sleep 7777", check=False).stdout == ""
        assert machine.systemctl("list-units", "--all", "--no-legend", "headgate-*.service") == ""
        assert site.deployed() == "one\n"
    finally:
        machine.write(CONFIG, kept)
        machine.systemctl("restart", "headgated.service")


def test_units_that_the_program_writes_itself_do_as_the_packages(site: Site) -> None:
    """`headgated install-units`, for those who install by pip, and what it says to do next."""
    machine = site.machine
    told = machine.run("/opt/headgate/bin/headgated", "install-units").stdout
    written, _, following = told.partition("\nNext:\n")
    try:
        for line in following.splitlines()[:2]:
            machine.run(
                "sh", "-c", line.replace("sysctl --quiet --system", "true")
            )  # The kernel is not the container's.
        assert machine.show("FragmentPath") == "/etc/systemd/system/headgated.service"
        assert "/opt/headgate/bin/headgated" in machine.show("ExecStart")
        machine.systemctl("restart", "headgated.socket", "headgated.service")
        machine.systemctl("reload", "headgated.service")
        site.edit("by its own units\n")
        eventually(lambda: site.deployed() == "by its own units\n", what="the edit to arrive")
    finally:
        for path in written.splitlines():
            (machine.root / path.lstrip("/")).unlink()
        machine.systemctl("daemon-reload")
        machine.systemctl("reenable", "headgated.service")
        machine.systemctl("restart", "headgated.socket", "headgated.service")


def test_person_without_root_has_a_daemon_of_their_own(machine: Machine) -> None:
    """By the units that `headgated install-units --user` writes, under their own systemd."""
    machine.run("loginctl", "enable-linger", "member")
    uid = machine.run("id", "-u", "member").stdout.strip()
    runtime = f"/run/user/{uid}"
    machine.wait_until("active", f"user@{uid}.service")
    as_member = ("runuser", "-u", "member", "--", "env", f"XDG_RUNTIME_DIR={runtime}")
    systemctl = (*as_member, "systemctl", "--user")
    headgate = (*as_member, "headgate", "--socket", f"{runtime}/headgate/headgate.sock")
    machine.run(*as_member, "headgated", "install-units", "--user", "--bin-dir", "/usr/bin")
    machine.run(*systemctl, "daemon-reload")
    machine.run(*systemctl, "enable", "--now", "headgated.socket", "headgated.service")
    machine.run(*as_member, "mkdir", "-p", "/home/member/source")
    machine.run(*as_member, "cp", "/etc/hostname", "/home/member/source/app.conf")
    site = ("--source", "/home/member/source", "--target", "/home/member/target")
    machine.run(*headgate, "env", "create", "mine", "--type", "development", *site)
    arrived = machine.root / "home/member/target/app.conf"
    eventually(arrived.exists, what="the first deployment")
    machine.run(*systemctl, "reload", "headgated.service")
    machine.run(*systemctl, "kill", "--signal=KILL", "headgated.service")
    assert "mine" in machine.run(*headgate, "env", "list").stdout
    assert arrived.stat().st_uid == int(uid)
    machine.run("loginctl", "disable-linger", "member")


def entries(machine: Machine, *matches: str) -> list[dict[str, str]]:
    """Return the journal's entries for these matches."""
    return [json.loads(line) for line in machine.journal(*matches, output="json").splitlines()]
