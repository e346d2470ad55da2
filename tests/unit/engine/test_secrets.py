"""Files with secrets, deployed, edited, rolled back and cut off: the target has them, and nothing else does."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headgated import ConfigurationDeployer, DeploymentStatus, EnvironmentType
from headgated.core.config import SecretSettings, Settings, parse
from headgated.core.deployment import ConfigDeployment
from headgated.core.environment import DriftPolicy, Environment, Policies, Strategy
from headgated.core.errors import DeploymentFailedError, InvalidRequestError, RefusedError
from headgated.effects.watch import Watcher
from headgated.engine.deploying import NOT_SHOWN
from headgated.engine.drift import look_at_all
from headgated.engine.healing import to_heal
from headgated.engine.inspection import Inspection
from headgated.engine.syncing import Syncing

CONF = "user=app\npassword=${DB}\nport=${PORT}\n"


class Site:
    """One environment `web` with a secret, on real files."""

    def __init__(self, home: Path) -> None:
        self.home, self.source, self.target = home, home / "source", home / "target"
        self.secret, self.state = home / "secrets" / "db", home / "state"
        self.source.mkdir()
        self.secret.parent.mkdir(mode=0o700)
        self.values: list[str] = []
        self.say("canary-one")
        self.write("app.conf", CONF)
        self.settings = Settings(secrets=SecretSettings(files=(str(self.secret.parent),)))
        self.start()

    def start(self) -> None:
        self.deployer = ConfigurationDeployer(self.state, settings=self.settings)

    def restart(self) -> None:
        self.deployer.close()
        self.start()

    def say(self, value: str) -> None:
        self.values.append(value)
        self.secret.write_text(value + "\n")
        self.secret.chmod(0o600)

    def write(self, name: str, text: str, mode: int = 0o644) -> None:
        (self.source / name).write_text(text)
        (self.source / name).chmod(mode)

    def create(self, **policies: Any) -> Environment:
        environment = self.deployer.create_environment(
            "web",
            EnvironmentType.TESTING,
            self.target,
            {"PORT": "80"},
            sources=[self.source],
            secrets={"DB": f"file:{self.secret}"},
            auto_sync=False,
        )
        if policies:
            return self.deployer.change_environment(
                "web", lambda e: replace(e, policies=replace(e.policies, **policies))
            )
        return environment

    def deploy(self) -> ConfigDeployment:
        return self.deployer.deploy_configuration("web")

    def read(self, name: str = "app.conf") -> str:
        return (self.target / name).read_text()

    def mode(self, name: str = "app.conf") -> int:
        return stat.S_IMODE((self.target / name).stat().st_mode)

    def check_nothing_leaked(self) -> None:
        """No value that there ever was is in anything that the deployer keeps."""
        for directory, _, files in os.walk(self.state):
            for name in files:
                content = Path(directory, name).read_bytes()
                for value in self.values:
                    assert value.encode() not in content, f"{value} is in {directory}/{name}"
        assert self.deployer.history.verify() == []


@pytest.fixture(params=[Strategy.IN_PLACE, Strategy.ATOMIC])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    site.create(strategy=request.param)
    yield site
    site.check_nothing_leaked()
    site.deployer.close()


def conf(user: str, password: str) -> str:
    return f"user={user}\npassword={password}\nport=80\n"


def test_target_has_the_value_and_nobody_else_may_read_it(site: Site) -> None:
    site.write("plain", "port=${PORT}\n")
    site.deploy()
    assert (site.read(), site.mode()) == (conf("app", "canary-one"), 0o600)
    assert (site.read("plain"), site.mode("plain")) == ("port=80\n", 0o644)
    assert site.deploy().changes.total == 0


@pytest.mark.parametrize(
    ("source", "allowed", "result"),
    [(0o644, 0o640, 0o640), (0o400, 0o640, 0o400), (0o755, 0o700, 0o700), (0o644, 0o777, 0o644)],
)
def test_mode_is_the_sources_as_far_as_the_policy_allows(
    site: Site, source: int, allowed: int, result: int
) -> None:
    site.deployer.change_environment(
        "web", lambda e: replace(e, policies=replace(e.policies, secret_mode=allowed))
    )
    site.write("app.conf", CONF, source)
    site.deploy()
    assert site.mode() == result


def test_changed_secret_is_a_change_that_is_told_without_it(site: Site) -> None:
    site.deploy()
    site.say("canary-two")
    with closing(Watcher(lambda _root, _paths: None)) as watcher:
        plan = Inspection(site.deployer, watcher, "").plan("web", (), True)  # noqa: FBT003 - as it is called
    (diff,) = plan.diffs
    assert (diff.path, diff.unified, diff.note) == ("app.conf", "", "only secrets in it change (of DB)")
    changed = site.deploy()
    assert [change.path for change in changed.changes.modified] == ["app.conf"]
    assert "app.conf: only secrets in it change" in changed.changes.notes
    assert site.read() == conf("app", "canary-two")


def test_rollback_and_restore_bring_back_the_file_with_the_secret_of_now(site: Site) -> None:
    first = site.deploy()
    site.write("app.conf", CONF.replace("app", "other"))
    second = site.deploy()
    site.say("canary-two")
    undone = site.deployer.rollback_deployment(second.deployment_id)
    assert site.read() == conf("app", "canary-two")
    assert site.deployer.get_environment_config("web").hold is not None
    site.say("canary-three")
    site.deployer.rollback_deployment(undone.deployment_id)
    assert site.read() == conf("other", "canary-three")
    site.deployer.restore_deployment(first.deployment_id)
    assert site.read() == conf("app", "canary-three")
    runtime = site.deployer.runtime("web")
    look_at_all(runtime, site.deployer.get_environment_config("web"), site.deployer.planning)
    assert runtime.drifted_count == 0


def test_undoing_a_changed_secret_changes_nothing_and_holds_nothing(site: Site) -> None:
    site.deploy()
    site.say("canary-two")
    changed = site.deploy()
    undone = site.deployer.rollback_deployment(changed.deployment_id)
    assert undone.changes.total == 0
    assert site.read() == conf("app", "canary-two")
    assert site.deployer.get_environment_config("web").hold is None
    assert site.deploy().changes.total == 0


def test_edit_is_kept_without_the_secret_and_comes_back_with_it(site: Site) -> None:
    site.deploy()
    edited = site.read() + "# canary-one by hand\n"
    (site.target / "app.conf").write_text(edited)
    overwritten = site.deploy()
    assert overwritten.changes.modified[0].drifted
    assert site.read() == conf("app", "canary-one")
    site.say("canary-two")
    site.deployer.rollback_deployment(overwritten.deployment_id)
    assert site.read() == edited.replace("canary-one", "canary-two")


def test_secret_copied_into_another_file_is_kept_out_of_history_too(site: Site) -> None:
    site.write("plain", "nothing secret\n")
    site.deploy()
    (site.target / "plain").write_text("canary-one\n")
    undone = site.deploy()
    site.deployer.rollback_deployment(undone.deployment_id)
    assert site.read("plain") == "canary-one\n"


def test_edit_that_may_hold_a_secret_nobody_knows_any_more_is_not_overwritten(site: Site) -> None:
    site.deploy()
    edited = site.read() + "by hand\n"
    (site.target / "app.conf").write_text(edited)
    site.deployer.close()
    site.say("canary-two")
    site.start()
    with pytest.raises(DeploymentFailedError) as caught:
        site.deploy()
    assert (caught.value.reason, caught.value.paths) == ("SECRET_EDITED", ("app.conf",))
    assert site.read() == edited
    (site.target / "app.conf").unlink()
    site.deploy()
    assert site.read() == conf("app", "canary-two")


def test_edit_that_is_too_large_to_look_into_is_not_overwritten(site: Site) -> None:
    site.deploy()
    site.deployer.planning.stream_above = 1000
    edited = site.read() + "x" * 1000
    (site.target / "app.conf").write_text(edited)
    with pytest.raises(DeploymentFailedError) as caught:
        site.deploy()
    assert caught.value.reason == "SECRET_EDITED"
    assert site.read() == edited


def test_unedited_file_is_known_after_a_restart_with_another_secret(site: Site) -> None:
    site.deploy()
    site.deployer.close()
    site.say("canary-two")
    site.start()
    runtime = site.deployer.runtime("web")
    look_at_all(runtime, site.deployer.get_environment_config("web"), site.deployer.planning)
    assert runtime.drifted_count == 0
    changed = site.deploy()
    assert not changed.changes.modified[0].drifted
    assert site.read() == conf("app", "canary-two")


def test_adopted_edit_is_what_is_deployed_and_comes_back_with_the_secret_of_now(site: Site) -> None:
    site.deploy()
    (site.target / "app.conf").write_text(conf("by-hand", "canary-one"))
    adopted = site.deployer.adopt_drift("web")
    site.say("canary-two")
    site.deploy()
    assert site.read() == conf("app", "canary-two")
    site.deployer.restore_deployment(adopted.deployment_id)
    assert site.read() == conf("by-hand", "canary-two")


def test_healed_file_has_the_secret_of_now(site: Site) -> None:
    site.deploy()
    (site.target / "app.conf").write_text("spoiled\n")
    runtime, environment = site.deployer.runtime("web"), site.deployer.get_environment_config("web")
    look_at_all(runtime, environment, site.deployer.planning)
    site.say("canary-two")
    site.deployer.vault.ask_anew("web")
    assert to_heal(runtime, environment) == {}
    deployed = {b"app.conf": runtime.managed.children[b"app.conf"]}
    planned = site.deployer.planning.plan_deployed(runtime, environment, deployed)  # type: ignore[arg-type]
    (change,) = planned.plan.changes
    assert change.wanted is not None
    assert change.wanted.seal != runtime.managed.children[b"app.conf"].seal  # type: ignore[union-attr]
    assert (
        planned.sealing.open(b"".join(planned.content(b"app.conf", change.wanted))).count(b"canary-two") == 1
    )


def test_edit_that_may_be_overwritten_is_also_where_there_are_secrets(site: Site) -> None:
    site.write("plain", "plain\n")
    site.deployer.change_environment(
        "web",
        lambda e: replace(e, auto_sync=True, policies=replace(e.policies, drift=DriftPolicy.REFUSE)),
    )
    syncing = Syncing(
        site.deployer.environments,
        site.deployer.planning,
        site.deployer.deploying,
        site.deployer.ledger,
        lambda _name: None,
    )
    runtime = site.deployer.runtime("web")
    syncing.sync(runtime)
    for name in ("app.conf", "plain"):
        (site.target / name).write_text("edited, with canary-one\n")
        site.write(name, CONF + "# newer\n")
    site.deployer.planning.look_anew(site.deployer.get_environment_config("web"))
    syncing.sync(runtime)
    assert site.read() == "edited, with canary-one\n"
    halt = site.deployer.get_environment_config("web").halt
    assert halt is not None
    assert halt.reason == "DRIFTED"
    syncing.accept(runtime)
    site.deployer.note("web", lambda e: replace(e, halt=None))
    syncing.sync(runtime)
    assert site.read() == site.read("plain") == conf("app", "canary-one") + "# newer\n"


def test_unedited_target_can_be_emptied_although_the_secret_cannot_be_had(site: Site) -> None:
    site.deploy()
    site.deployer.close()
    site.secret.unlink()
    site.start()
    runtime, environment = site.deployer.runtime("web"), site.deployer.get_environment_config("web")
    planned = site.deployer.planning.plan_nothing(runtime, environment)
    assert [change.path for change in planned.plan.changes] == [b"app.conf"]
    (site.target / "app.conf").write_text("edited\n")
    assert site.deployer.planning.plan_nothing(runtime, environment).plan.changes == ()


def test_secret_that_left_the_environment_bars_only_what_needs_it(site: Site) -> None:
    first = site.deploy()
    site.write("app.conf", "no secret\n")
    site.deployer.change_environment("web", lambda e: replace(e, secrets={}))
    second = site.deploy()
    with pytest.raises(DeploymentFailedError) as caught:
        site.deployer.rollback_deployment(second.deployment_id)
    assert caught.value.reason == "SECRET_UNKNOWN"
    assert site.read() == "no secret\n"
    with pytest.raises((DeploymentFailedError, RefusedError)):
        site.deployer.restore_deployment(first.deployment_id)
    site.deployer.change_environment("web", lambda e: replace(e, secrets={"DB": f"file:{site.secret}"}))
    site.deployer.rollback_deployment(second.deployment_id)
    assert site.read() == conf("app", "canary-one")


def test_file_with_the_very_bytes_but_no_secret_is_a_file_like_any(site: Site) -> None:
    site.deploy()
    site.values.clear()  # From here on the source itself tells it.
    site.write("app.conf", conf("app", "canary-one"))
    site.deploy()
    runtime = site.deployer.runtime("web")
    look_at_all(runtime, site.deployer.get_environment_config("web"), site.deployer.planning)
    assert runtime.drifted_count == 0
    assert site.deploy().changes.total == 0


def test_removed_file_comes_back_with_the_secret(site: Site) -> None:
    site.write("other", "x\n")
    site.deploy()
    (site.source / "app.conf").unlink()
    gone = site.deploy()
    assert not (site.target / "app.conf").exists()
    site.deployer.rollback_deployment(gone.deployment_id)
    assert (site.read(), site.mode()) == (conf("app", "canary-one"), 0o600)


def test_file_named_outright_is_rendered_with_secrets(site: Site, tmp_path: Path) -> None:
    loose = tmp_path / "loose.conf"
    loose.write_text("token=${DB}\n")
    site.deployer.deploy_configuration("web", [loose, "app.conf"])
    assert (site.read("loose.conf"), site.mode("loose.conf")) == ("token=canary-one\n", 0o600)
    assert site.read() == conf("app", "canary-one")


def test_settings_tell_that_a_secret_stands_there_and_no_more(site: Site) -> None:
    site.write("a.yaml", "db: {user: app, pw: plain}\n")
    site.deploy()
    site.write("a.yaml", "db: {user: app, pw: ${DB}}\n")
    changed = site.deploy()
    (setting,) = changed.changes.settings_changed
    assert (setting.key, setting.old, setting.new) == ("db.pw", '"plain"', '"***"')


def test_exported_state_has_references(site: Site) -> None:
    first = site.deploy()
    exported = b"".join(site.deployer.housekeeping.export(first.deployment_id))
    assert b"password=${DB}\n" in exported
    assert b"canary" not in exported


def test_check_sees_the_value_and_tells_none(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.deployer.close()
    site.settings = replace(
        site.settings,
        commands=parse(
            '[commands.tells]\nargv = ["sh", "-c", "cat {staged}/app.conf; grep -q canary-one {staged}/app.conf && exit 3"]\n'
        ).commands,
    )
    site.start()
    site.create(checks=("tells",))
    with pytest.raises(DeploymentFailedError) as caught:
        site.deploy()
    record = site.deployer.list_deployments("web")[0]
    told = f"{caught.value.message} {record!r}"
    assert "exit code 3" in told
    assert "canary" not in told
    assert not (site.target / "app.conf").exists()
    site.check_nothing_leaked()
    site.deployer.close()


def killed(site: Site, when: Callable[[ConfigDeployment], bool], then: str = "") -> None:
    """Have a child deploy, and kill itself when it tells of a deployment as given; `then` is the secret at the restart."""
    site.deployer.close()
    child = os.fork()
    if child == 0:
        try:
            site.start()

            def told(record: ConfigDeployment) -> None:
                if when(record):
                    os.kill(os.getpid(), signal.SIGKILL)

            site.deployer.ledger._publish = told
            site.deploy()
        finally:
            os._exit(1)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    if then:
        site.say(then)
    site.start()


KILLED: dict[str, Callable[[ConfigDeployment], bool]] = {
    "in progress": lambda record: record.status == DeploymentStatus.IN_PROGRESS,
    "done": lambda record: record.status == DeploymentStatus.SUCCESS,
}


@pytest.mark.parametrize("point", KILLED)
def test_killed_deployment_of_secrets_is_before_or_after(site: Site, point: str) -> None:
    site.deploy()
    site.say("canary-two")
    site.write("app.conf", CONF.replace("app", "other"))
    killed(site, KILLED[point])
    assert site.read() in (conf("app", "canary-one"), conf("other", "canary-two"))
    record = site.deployer.list_deployments("web")[0]
    assert (record.status == DeploymentStatus.SUCCESS) == (site.read() == conf("other", "canary-two"))
    runtime = site.deployer.runtime("web")
    look_at_all(runtime, site.deployer.get_environment_config("web"), site.deployer.planning)
    assert runtime.drifted_count == 0
    site.deploy()
    assert site.read() == conf("other", "canary-two")


def test_output_of_what_is_resumed_is_not_shown_where_old_secrets_may_be_in_it(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.deployer.close()
    site.settings = replace(
        site.settings, commands=parse('[commands.tells]\nargv = ["cat", "{target}/app.conf"]\n').commands
    )
    site.start()
    site.create(reloads=("tells",))
    killed(site, lambda record: record.applied_at is not None, then="canary-two")
    site.deployer.deploying.make_usable(site.deployer.runtime("web"))
    (resumed,) = site.deployer.list_deployments("web")
    assert [(step.name, step.output) for step in resumed.steps] == [("tells", NOT_SHOWN)]
    (shown,) = site.deploy().steps
    assert shown.output == conf("app", "***")
    site.check_nothing_leaked()
    site.deployer.close()


def test_value_in_place_of_a_reference_is_refused_and_not_repeated(tmp_path: Path) -> None:
    with ConfigurationDeployer(tmp_path / "state") as deployer:
        with pytest.raises(InvalidRequestError) as caught:
            deployer.create_environment(
                "web", "testing", tmp_path / "target", secrets={"A": "canary-one", "B": "file:/etc/shadow"}
            )
        assert [fault.field for fault in caught.value.faults] == ["secrets.A", "secrets.B"]
        assert "canary" not in str(caught.value.faults)
        assert deployer.list_environments() == []
    assert Policies().secret_mode == 0o600
