"""Checks before, reloads and health after, and the way back by itself: a real deployer, real commands, real sockets."""

from __future__ import annotations

import http.server
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from headgated import ConfigurationDeployer, DeploymentStatus
from headgated.core import config
from headgated.core.config import Settings
from headgated.core.deployment import ConfigDeployment, DeploymentKind, Trigger
from headgated.core.environment import Environment, Strategy
from headgated.core.errors import DeploymentFailedError, InvalidRequestError, RefusedError
from headgated.core.orders import Caller, DeployOrder
from headgated.effects.scan import ScanEndedError
from headgated.engine.following import TakenBackError
from headgated.engine.jobs import Job
from headgated.engine.overview import view
from headgated.engine.syncing import Syncing, SyncOutcome
from headgated.engine.views import SyncState

COMMANDS = """
[commands.passes]
argv = ["true"]
[commands.fails]
argv = ["sh", "-c", "echo that is wrong; exit 2"]
[commands.looks]
argv = ["sh", "-c", "cd {staged} && find . | sort && cat {changed} && cat a foreign"]
[commands.notes]
argv = ["sh", "-c", "echo {deployment_id} $(cat {changed}) >> {target}.reloaded"]
[commands.waits]
argv = ["sh", "-c", "echo x >> {target}.tries; exec sleep 300"]
timeout = "10m"
[commands.gate]
argv = ["sh", "-c", "echo x >> {target}.tries; test -e {target}.open"]
[checks.ports]
schema = "SCHEMA"
files = ["*.json"]
[checks.settings]
syntax = ["json", "yaml"]
[reloads.notes]
command = "notes"
files = ["*.conf", "site/"]
[reloads.gate]
command = "gate"
give_up_after = "2s"
[health.gate]
command = "gate"
interval = "50ms"
deadline = "600ms"
[health.twice]
command = "gate"
interval = "50ms"
successes = 3
deadline = "20s"
"""
SCHEMA = (
    '{"type": "object", "properties": {"port": {"type": "integer", "maximum": 65535}}, "required": ["port"]}'
)


class Site:
    """A source with two files and an environment that subscribes to it."""

    def __init__(self, home: Path, commands: str = COMMANDS) -> None:
        self.home, self.source, self.target = home, home / "source", home / "target"
        self.source.mkdir(exist_ok=True)
        (home / "schema.json").write_text(SCHEMA)
        self.listen: Callable[[ConfigDeployment], None] = lambda _record: None
        self.settings: Settings = config.parse(commands.replace("SCHEMA", str(home / "schema.json")))
        self.start()

    def start(self) -> None:
        """Open the state, as a daemon that starts does."""
        self.deployer = ConfigurationDeployer(
            self.home / "state", settings=self.settings, on_deployment=self._told
        )
        parts = self.deployer
        self.syncing = Syncing(
            parts.environments, parts.planning, parts.deploying, parts.ledger, lambda _name: None
        )

    def _told(self, record: ConfigDeployment) -> None:
        self.listen(record)

    def restart(self) -> None:
        self.deployer.close()
        self.start()

    def create(self, *, auto_sync: bool = False, **policies: object) -> None:
        self.deployer.create_environment(
            "web", "testing", self.target, sources=[self.source], auto_sync=auto_sync
        )
        self.set(**policies)

    def set(self, **policies: object) -> None:
        def change(environment: Environment) -> Environment:
            return replace(environment, policies=replace(environment.policies, **policies))  # type: ignore[arg-type]

        self.deployer.change_environment("web", change)

    def write(self, **files: str) -> None:
        for name, text in files.items():
            path = self.source / name.replace("_", ".")
            path.write_text(text)
        if self.deployer.list_environments():
            self.deployer.planning.look_anew(self.deployer.get_environment_config("web"))

    def deploy(self) -> ConfigDeployment:
        return self.deployer.deploy_configuration("web")

    def look(self) -> SyncOutcome:
        return self.syncing.sync(self.deployer.runtime("web"))

    def records(self) -> list[ConfigDeployment]:
        return self.deployer.list_deployments("web")

    def read(self, name: str) -> str:
        return (self.target / name).read_text()

    def open(self) -> None:
        """Let the gate succeed from now on."""
        (self.home / "target.open").touch()

    def shut(self) -> None:
        (self.home / "target.open").unlink()

    def tries(self) -> int:
        path = self.home / "target.tries"
        return len(path.read_text().split()) if path.exists() else 0

    def state(self) -> tuple[SyncState, str]:
        seen = view(self.deployer.get_environment_config("web"), self.deployer.runtime("web")).sync
        return seen.state, seen.message


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    site.write(a="one\n", x_conf="one\n")
    yield site
    site.deployer.close()


@contextmanager
def running(what: Callable[[], object]) -> Iterator[threading.Thread]:
    thread = threading.Thread(target=what)
    thread.start()
    try:
        yield thread
    finally:
        thread.join(30)


def eventually(what: Callable[[], bool], seconds: float = 15.0) -> bool:
    until = time.monotonic() + seconds
    while not what():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


# Checks


def test_unknown_names_are_refused_all_at_once(site: Site) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        site.create(checks=("passes", "nope"), reloads=("json",), health=("passes",))
    assert [fault.field for fault in caught.value.faults] == [
        "policies.checks",
        "policies.reloads",
        "policies.health",
    ]
    assert "nope" in caught.value.message


def test_failing_check_leaves_the_target_untouched_and_is_told_with_its_output(site: Site) -> None:
    site.create()
    site.deploy()
    site.write(a="two\n")
    site.set(checks=("passes", "fails", "passes"))
    with pytest.raises(DeploymentFailedError) as caught:
        site.deploy()
    assert caught.value.reason == "CHECK_FAILED"
    assert site.read("a") == "one\n"
    record = site.records()[0]
    assert record.status == DeploymentStatus.FAILED
    assert [(step.name, step.ok, step.output) for step in record.steps] == [
        ("passes", True, ""),
        ("fails", False, "that is wrong\n"),
    ]
    assert not list(site.target.glob(".headgate-*"))
    assert list((site.home / "state" / "checks").iterdir()) == []


def test_check_sees_the_whole_tree_as_it_will_be(site: Site) -> None:
    """D10: changed, unchanged and foreign files, in their places; removed ones are gone."""
    (site.source / "site").mkdir()
    (site.source / "site" / "s").write_text("s\n")
    (site.source / "old").write_text("old\n")
    site.create()
    site.deploy()
    (site.target / "foreign").write_text("theirs\n")
    (site.source / "old").unlink()
    (site.source / "new").mkdir()
    (site.source / "new" / "n").write_text("n\n")
    site.write(a="two\n")
    site.set(checks=("looks",))
    output = site.deploy().steps[0].output
    assert output.split("\n") == [
        ".",
        "./a",
        "./foreign",
        "./new",
        "./new/n",
        "./site",
        "./site/s",
        "./x.conf",
        "a",
        "new",
        "new/n",
        "old",
        "two",
        "theirs",
        "",
    ]


def test_check_cannot_harm_the_target_through_its_copy(tmp_path: Path) -> None:
    site = Site(
        tmp_path, '[commands.writes]\nargv = ["sh", "-c", "echo harm > {staged}/a; echo harm > {staged}/b"]'
    )
    site.write(a="one\n", b="one\n")
    site.create()
    site.deploy()
    site.write(b="two\n")
    site.set(checks=("writes",))
    site.deploy()
    assert (site.read("a"), site.read("b")) == ("one\n", "two\n")
    site.deployer.close()


def test_files_are_checked_for_what_their_names_say(site: Site) -> None:
    site.write(good_json='{"port": 1}', bad_yaml="a: [1\n", fine_toml="not toml, and nobody asked")
    site.create(checks=("settings",))
    with pytest.raises(DeploymentFailedError) as caught:
        site.deploy()
    assert caught.value.paths == ("bad.yaml",)
    assert "line" in caught.value.message
    site.write(bad_yaml="a: [1]\n")
    assert site.deploy().status == DeploymentStatus.SUCCESS


def test_failure_is_over_when_the_sources_are_again_what_is_deployed(site: Site) -> None:
    site.create(auto_sync=True, checks=("settings",))
    site.look()
    site.write(bad_json="{")
    site.look()
    assert site.state()[0] == SyncState.FAILING
    (site.source / "bad.json").unlink()
    site.write()
    site.look()
    assert site.state() == (SyncState.SYNCED, "")


def test_schema_is_checked_without_telling_the_value(site: Site) -> None:
    site.write(s_json='{"port": 1234567}')
    site.create(checks=("ports",))
    with pytest.raises(DeploymentFailedError) as caught:
        site.deploy()
    assert "s.json" in caught.value.message
    assert "65535" in caught.value.message
    assert "1234567" not in caught.value.message
    assert "1234567" not in site.records()[0].steps[0].output
    site.write(s_json="{}")
    with pytest.raises(DeploymentFailedError, match="'port' is a required property"):
        site.deploy()
    site.write(s_json='{"port": 80}')
    assert site.deploy().status == DeploymentStatus.SUCCESS


def test_no_check_bars_the_way_back(site: Site) -> None:
    site.create()
    first = site.deploy()
    site.write(a="two\n")
    second = site.deploy()
    site.set(checks=("fails",))
    assert site.deployer.rollback_deployment(second.deployment_id).status == DeploymentStatus.SUCCESS
    assert site.read("a") == "one\n"
    assert site.deployer.rollback_deployment(first.deployment_id).status == DeploymentStatus.SUCCESS


def test_definition_that_left_the_configuration_stops_deployments(site: Site) -> None:
    site.create(reloads=("notes",))
    site.settings = Settings()
    site.restart()
    with pytest.raises(DeploymentFailedError) as caught:
        site.deploy()
    assert caught.value.reason == "COMMAND_UNDEFINED"
    assert not site.target.exists()


# Reloads


def test_reload_runs_once_for_all_changes_and_only_when_concerned(site: Site) -> None:
    """D11."""
    site.create(reloads=("notes",))
    reloaded = site.home / "target.reloaded"
    first = site.deploy()
    assert reloaded.read_text() == f"{first.deployment_id} a x.conf\n"
    site.write(a="two\n")
    assert site.deploy().steps == ()
    site.write(x_conf="two\n", y_conf="new\n")
    second = site.deploy()
    assert reloaded.read_text().splitlines()[1:] == [f"{second.deployment_id} x.conf y.conf"]
    site.deploy()
    assert len(reloaded.read_text().splitlines()) == 2


def test_what_commands_are_given_can_be_read_by_whoever_they_run_as(tmp_path: Path) -> None:
    """Whatever the umask, which is narrow in a service; also where the target is only to be made."""
    base = tmp_path / "new" / "checks"
    mode = f'argv = ["stat", "-c", "%a", "{{changed}}", "{base.parent}", "{base}", "{{staged}}"]'
    site = Site(tmp_path, f'[daemon]\ncheck_directory = "{base}"\n[commands.mode]\n{mode}')
    site.write(a="one\n")
    site.create(checks=("mode",), reloads=("mode",))
    before = os.umask(0o077)
    try:
        outputs = [step.output for step in site.deploy().steps]
    finally:
        os.umask(before)
        site.deployer.close()
    assert outputs == ["644\n711\n711\n755\n", "644\n711\n711\n755\n"]


def test_reload_is_repeated_until_it_succeeds_and_shows_meanwhile(site: Site) -> None:
    """D9."""
    site.create(reloads=("gate",))
    with running(site.deploy):
        assert eventually(lambda: site.tries() >= 1 and "pending" in site.state()[1])
        assert site.state()[0] == SyncState.DEPLOYING
        assert site.read("a") == "one\n"
        assert site.records()[0].status == DeploymentStatus.IN_PROGRESS
        site.open()
    record = site.records()[0]
    assert record.status == DeploymentStatus.SUCCESS
    assert record.steps[0].attempts == site.tries() >= 2
    assert site.state()[0] != SyncState.DEPLOYING


def test_reload_that_is_given_up_is_taken_back_by_a_rollback_of_its_own(site: Site) -> None:
    site.create()
    site.deploy()
    site.set(reloads=("gate",))
    site.write(a="two\n")
    with pytest.raises(TakenBackError) as caught:
        site.deploy()
    assert caught.value.reason == "RELOAD_FAILED"
    assert site.read("a") == "one\n"
    undo, failed = site.records()[:2]
    assert (failed.status, failed.error and failed.error.reason) == (DeploymentStatus.FAILED, "RELOAD_FAILED")
    assert failed.rollback_info is not None
    assert failed.rollback_info.rolled_back_by == undo.deployment_id
    assert (undo.kind, undo.trigger, undo.deployed_by) == (
        DeploymentKind.ROLLBACK,
        Trigger.AUTO_ROLLBACK,
        "auto-rollback",
    )
    # The restored state was to be reloaded as well, and that failed: it says so, and what was restored stays.
    assert (undo.status, undo.error and undo.error.reason) == (DeploymentStatus.FAILED, "RELOAD_FAILED")


# Health


def test_failing_health_rolls_back_reloads_again_and_holds(site: Site) -> None:
    site.create(auto_sync=True)
    site.look()
    assert site.read("a") == "one\n"
    site.set(reloads=("notes",), health=("gate",))
    site.write(x_conf="bad\n")
    with running(site.look):
        # Well again as soon as the old state is back.
        assert eventually(lambda: site.read("x.conf") == "bad\n")
        assert eventually(lambda: site.read("x.conf") == "one\n")
        site.open()
    undo, failed = site.records()[:2]
    assert failed.error is not None
    assert failed.error.reason == "HEALTH_FAILED"
    assert [step.step for step in failed.steps] == ["reload", "health"]
    assert undo.status == DeploymentStatus.SUCCESS
    assert [(step.step, step.ok) for step in undo.steps] == [("reload", True), ("health", True)]
    held = site.deployer.get_environment_config("web").hold
    assert held is not None
    assert held.deployment_id == undo.deployment_id
    for _ in range(3):
        site.look()
    assert site.read("x.conf") == "one\n"
    assert len(site.records()) == 3
    site.write(x_conf="good\n")
    site.look()
    assert site.read("x.conf") == "good\n"


def test_health_takes_so_many_successes_in_a_row(site: Site) -> None:
    site.open()
    site.create(health=("twice",))
    record = site.deploy()
    assert site.tries() == 3
    assert record.steps[0].attempts == 3


def test_health_is_asked_over_http_and_tcp(tmp_path: Path) -> None:
    answers = {"/well": 200, "/moved": 302, "/ill": 503}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(answers[self.path])
            self.end_headers()

        def log_message(self, *_told: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        port = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            tables = "".join(
                f'[health.{path[1:]}]\nhttp = "http://127.0.0.1:{port}{path}"\ninterval = "50ms"\ndeadline = "200ms"\n'
                for path in answers
            )
            tables += f'[health.port]\ntcp = "127.0.0.1:{port}"\n'
            site = Site(tmp_path, tables)
            site.write(a="one\n")
            site.create(health=("well", "moved", "port"))
            assert [step.ok for step in site.deploy().steps] == [True, True, True]
            site.set(health=("ill",))
            site.write(a="two\n")
            with pytest.raises(TakenBackError, match="the answer was 503"):
                site.deploy()
        finally:
            server.shutdown()
    site.set(health=("port",))
    site.write(a="three\n")
    site.settings = replace(
        site.settings,
        commands=config.parse(
            f'[health.port]\ntcp = "127.0.0.1:{port}"\ninterval = "50ms"\ndeadline = "200ms"'
        ).commands,
    )
    site.restart()
    with pytest.raises(TakenBackError, match="connection refused"):
        site.deploy()
    assert site.read("a") == "one\n"
    site.deployer.close()


def test_first_deployment_that_is_not_well_leaves_nothing(site: Site) -> None:
    site.create(health=("gate",))
    with pytest.raises(TakenBackError):
        site.deploy()
    assert list(site.target.iterdir()) == []


def seen_at(site: Site) -> dict[str, object]:
    """Everything in and beside the target: temporaries would be there too."""
    found: dict[str, object] = {}
    for path in (*site.home.glob(".*"), site.target, *site.target.rglob("*")):
        status = path.lstat()
        content = (path.read_bytes(), status.st_mtime_ns) if path.is_file() else ()
        found[str(path)] = (status.st_ino, status.st_mode, *content)
    return found


def deployed_twice(site: Site, strategy: Strategy) -> dict[str, object]:
    """Deploy something, then ask the source for a changed, a new and a removed file; returns what the target is before that is deployed."""
    (site.source / "old").write_text("old\n")
    site.create(strategy=strategy)
    site.deploy()
    (site.target / "foreign").write_text("theirs\n")
    before = seen_at(site)
    (site.source / "old").unlink()
    (site.source / "site").mkdir()
    (site.source / "site" / "new").write_text("new\n")
    site.write(a="two\n")
    return before


def came_to_nothing(site: Site, job: Job, before: dict[str, object]) -> None:
    """A cancelled deployment is on record as that, the target is what it was, and the next deployment does it all."""
    record = site.deployer.ledger.get(job.record.deployment_id)
    assert record.error is not None
    assert (record.status, record.error.reason) == (DeploymentStatus.FAILED, "CANCELLED")
    assert record.applied_at is None
    assert seen_at(site) == before
    assert not (site.home / "state" / "checks").exists() or not list(
        (site.home / "state" / "checks").iterdir()
    )
    site.set(checks=())
    assert site.deploy().status == DeploymentStatus.SUCCESS
    assert (site.read("a"), site.read("site/new"), site.read("foreign")) == ("two\n", "new\n", "theirs\n")
    assert not (site.target / "old").exists()


@pytest.mark.parametrize("strategy", Strategy)
def test_cancelling_while_a_check_runs_leaves_the_target_as_it_is(site: Site, strategy: Strategy) -> None:
    before = deployed_twice(site, strategy)
    site.set(checks=("waits", "passes"))
    job = site.deployer.jobs.prepare(DeployOrder("web"), Caller("somebody"))
    caught: list[DeploymentFailedError] = []

    def run() -> None:
        try:
            site.deployer.jobs.run(job)
        except DeploymentFailedError as error:
            caught.append(error)

    with running(run):
        try:
            assert eventually(lambda: site.tries() == 1)
            assert seen_at(site) != before, "what is new lies there already"
        finally:
            job.cancelled.set()
    assert [error.reason for error in caught] == ["CANCELLED"]
    came_to_nothing(site, job, before)


@pytest.mark.parametrize("strategy", Strategy)
@pytest.mark.parametrize("step", ["stage", "keep"])
def test_cancelling_before_the_commit_leaves_the_target_as_it_is(
    site: Site, strategy: Strategy, step: str
) -> None:
    before = deployed_twice(site, strategy)
    job = site.deployer.jobs.prepare(DeployOrder("web"), Caller("somebody"))

    def listen(record: ConfigDeployment) -> None:
        if record.progress is not None and record.progress.step == step:
            job.cancelled.set()

    site.listen = listen
    with pytest.raises(DeploymentFailedError) as caught:
        site.deployer.jobs.run(job)
    assert caught.value.reason == "CANCELLED"
    site.listen = lambda _record: None
    came_to_nothing(site, job, before)


def test_cancelling_after_it_was_applied_takes_it_back(site: Site) -> None:
    site.create()
    site.deploy()
    site.set(reloads=("gate",))
    site.write(a="two\n")
    job = site.deployer.jobs.prepare(DeployOrder("web"), Caller("somebody"))
    caught: list[BaseException] = []

    def run() -> None:
        try:
            site.deployer.jobs.run(job)
        except TakenBackError as error:
            caught.append(error)

    with running(run):
        assert eventually(lambda: site.tries() >= 1)
        site.open()
        job.cancelled.set()
        assert eventually(lambda: bool(caught))
    assert site.read("a") == "one\n"
    assert site.records()[1].error.reason == "CANCELLED"  # type: ignore[union-attr]


# Cut off


def test_pending_reload_survives_a_restart(site: Site) -> None:
    site.create(reloads=("notes", "gate"))
    with running(site.deploy):
        assert eventually(lambda: site.tries() >= 1)
        site.deployer.runtime("web").stopping.set()
    assert site.records()[0].status == DeploymentStatus.IN_PROGRESS
    site.restart()
    record = site.records()[0]
    assert record.status == DeploymentStatus.IN_PROGRESS
    assert record.applied_at is not None
    assert site.state()[0] == SyncState.DEPLOYING
    site.open()
    site.look()
    assert site.records()[0].status == DeploymentStatus.SUCCESS
    # What had succeeded before is not done again.
    assert len((site.home / "target.reloaded").read_text().splitlines()) == 1


def test_what_follows_comes_before_the_next_order(site: Site) -> None:
    site.create(reloads=("gate",))
    with running(site.deploy):
        assert eventually(lambda: site.tries() >= 1)
        site.deployer.runtime("web").stopping.set()
    site.restart()
    site.open()
    site.write(a="two\n")
    second = site.deploy()
    first = site.records()[1]
    assert first.status == second.status == DeploymentStatus.SUCCESS
    assert first.finished_at is not None
    assert second.finished_at is not None
    assert first.finished_at < second.finished_at


# Confirmation


def deploy_to_confirm(site: Site, seconds: float) -> ConfigDeployment:
    jobs = site.deployer.jobs
    return jobs.run(jobs.prepare(DeployOrder("web", confirm_within=seconds), Caller("somebody")))


def test_unconfirmed_deployment_is_rolled_back_and_held(site: Site) -> None:
    site.create(auto_sync=True)
    site.look()
    site.write(a="locks me out\n")
    record = deploy_to_confirm(site, 0.4)
    assert record.status == DeploymentStatus.SUCCESS
    assert record.awaits_confirmation
    outcome = site.look()
    assert outcome.again_in is not None
    assert 0 < outcome.again_in <= 0.4
    assert "headgate confirm" in site.state()[1]
    time.sleep(outcome.again_in)
    site.look()
    assert site.read("a") == "one\n"
    undo, undone = site.records()[:2]
    assert undone.status == DeploymentStatus.ROLLED_BACK
    assert "NOT_CONFIRMED" in undo.reason
    site.look()
    assert site.read("a") == "one\n"


def test_confirmed_deployment_stays(site: Site) -> None:
    site.create(auto_sync=True)
    record = deploy_to_confirm(site, 600)
    assert record.confirm_by is not None
    with pytest.raises(RefusedError) as caught:
        site.deployer.jobs.prepare(DeployOrder("web"), Caller("other"))
    assert caught.value.reason == "AWAITS_CONFIRMATION"
    site.write(a="two\n")
    site.look()
    assert site.read("a") == "one\n"
    confirmed = site.deployer.jobs.confirm(record.deployment_id, Caller("somebody"))
    assert (confirmed.confirmed_by, confirmed.awaits_confirmation) == ("somebody", False)
    assert site.deployer.jobs.confirm(record.deployment_id, Caller("again")).confirmed_by == "somebody"
    site.look()
    assert site.read("a") == "two\n"


def test_confirmation_is_asked_for_over_a_restart(site: Site) -> None:
    site.create()
    site.deploy()
    site.write(a="two\n")
    record = deploy_to_confirm(site, 0.5)
    site.restart()
    assert "headgate confirm" in site.state()[1]
    time.sleep(0.5)
    site.look()
    assert site.read("a") == "one\n"
    with pytest.raises(RefusedError) as caught:
        site.deployer.jobs.confirm(record.deployment_id, Caller("late"))
    assert caught.value.reason == "NOT_AWAITING_CONFIRMATION"


def test_rollback_ends_the_wait_for_confirmation(site: Site) -> None:
    site.create()
    site.deploy()
    site.write(a="two\n")
    record = deploy_to_confirm(site, 600)
    site.deployer.rollback_deployment(record.deployment_id)
    assert site.read("a") == "one\n"
    assert site.deploy().status == DeploymentStatus.SUCCESS


def test_nothing_changed_needs_no_confirmation(site: Site) -> None:
    site.create()
    site.deploy()
    record = deploy_to_confirm(site, 1)
    assert record.confirm_by is None


# Attacks


def test_nothing_may_overlap_where_checks_find_their_copies(tmp_path: Path) -> None:
    checks = tmp_path / "checks"
    site = Site(tmp_path, f'[daemon]\ncheck_directory = "{checks}"')
    for target, source in ((checks / "t", "source"), (tmp_path / "target", "checks"), (tmp_path, "source")):
        with pytest.raises(InvalidRequestError, match="where checks find copies"):
            site.deployer.create_environment("web", "testing", target, sources=[tmp_path / source])
    site.deployer.close()


# The daemon stops


def test_look_that_the_end_cuts_off_is_no_failure(site: Site) -> None:
    site.create(auto_sync=True)
    site.deployer.sources.end()
    with pytest.raises(ScanEndedError):
        site.look()
    assert site.records() == []
