"""T5: edits by hand at a target are noticed, kept, and dealt with by policy. A real deployer on real files."""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from headgated import ConfigurationDeployer, DeploymentStatus
from headgated.core.deployment import ConfigDeployment, DeploymentKind, Trigger
from headgated.core.environment import DriftPolicy, Environment, Halt, Pause, Policies
from headgated.core.errors import DeploymentFailedError, HeadgateError, InvalidRequestError, RefusedError
from headgated.core.report import changes_of
from headgated.core.tree import Entry
from headgated.effects.target import Target
from headgated.engine import drift
from headgated.engine.adoption import plan_adoption, take_over
from headgated.engine.drift import Drift
from headgated.engine.execution import Work
from headgated.engine.ledger import utc_now
from headgated.engine.runtime import Runtime
from headgated.engine.syncing import Syncing

FILES = {"a": "a1\n", "b": "b1\n", "d/c": "c1\n", "d/e/f": "f1\n"}


class Site:
    """A source with four files, deployed once; what a daemon does at each event is done when a test says so."""

    def __init__(self, home: Path, policy: DriftPolicy, *, auto_sync: bool = True) -> None:
        self.source, self.target, self.told = home / "source", home / "target", list[str]()
        for name, text in FILES.items():
            self.write(name, text)
        self.deployer = ConfigurationDeployer(home / "state", on_environment=self.told.append)
        self.deployer.create_environment(
            "web", "testing", self.target, sources=[self.source], auto_sync=auto_sync
        )
        self.set(policies=Policies(drift=policy))
        parts = self.deployer
        self.drift = Drift(parts.environments, parts.planning, self.told.append)
        self.syncing = Syncing(
            parts.environments, parts.planning, parts.deploying, parts.ledger, self.told.append
        )
        self.first = parts.deploy_configuration("web")
        self.look()

    def write(self, name: str, text: str) -> None:
        path = self.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if hasattr(self, "deployer"):
            self.deployer.planning.look_anew(self.environment)

    def set(self, **what: object) -> None:
        self.deployer.change_environment("web", lambda old: replace(old, **what))  # type: ignore[arg-type]

    @property
    def environment(self) -> Environment:
        return self.deployer.get_environment_config("web")

    @property
    def halted(self) -> str:
        halt = self.environment.halt
        return "" if halt is None else halt.reason

    @property
    def runtime(self) -> Runtime:
        return self.deployer.runtime("web")

    @property
    def newest(self) -> ConfigDeployment:
        return self.deployer.list_deployments("web")[0]

    def look(self, *paths: str, settled: bool = True) -> tuple[str, ...]:
        self.runtime.edits.mark([path.encode() for path in paths] if paths else None)
        self.drift.look(self.runtime)
        if settled:
            self.runtime.edits.calm()
        return self.runtime.drifted

    def sync(self) -> float | None:
        return self.syncing.sync(self.runtime).again_in

    def resume(self) -> None:
        self.deployer.note("web", lambda old: replace(old, pause=None, hold=None, halt=None))
        self.syncing.accept(self.runtime)

    def edit(self, name: str, text: str | None) -> None:
        path = self.target / name
        if text is None:
            path.unlink()
        else:
            path.write_text(text)

    def text(self, name: str) -> str:
        return (self.target / name).read_text()

    def kept(self, text: str) -> bool:
        return self.deployer.history.has(sha256(text.encode()).digest())


Make = Callable[..., Site]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Site] = []

    def make(policy: DriftPolicy, *, auto_sync: bool = True) -> Site:
        home = tmp_path / str(len(made))
        home.mkdir()
        made.append(Site(home, policy, auto_sync=auto_sync))
        return made[-1]

    yield make
    for site in made:
        site.deployer.close()


# Noticing


def test_every_kind_of_edit_is_noticed_where_an_event_says_so(make: Make) -> None:
    site = make(DriftPolicy.REPORT)
    assert site.runtime.drifted == ()
    site.told.clear()
    site.edit("a", "mine\n")
    (site.target / "b").chmod(0o600)
    site.edit("d/e/f", None)
    assert site.look("a") == ("a",)
    assert site.told == ["web"]
    assert site.look("b", "foreign") == ("a", "b")
    assert site.look("d") == ("a", "b", "d/e/f")
    assert site.runtime.drifted_count == 3
    site.told.clear()
    assert site.look() == ("a", "b", "d/e/f")
    assert site.told == [], "nothing is told where nothing is new"
    site.edit("a", "a1\n")
    assert site.look("a") == ("b", "d/e/f")


def test_what_takes_a_files_place_and_a_vanished_directory_are_drift(make: Make) -> None:
    site = make(DriftPolicy.REPORT)
    (site.target / "a").unlink()
    os.mkfifo(site.target / "a")
    (site.target / "b").unlink()
    (site.target / "b").symlink_to("a")
    (site.target / "d").rename(site.target / "elsewhere")
    assert site.look() == ("a", "b", "d", "d/c", "d/e", "d/e/f")


def test_a_change_of_the_set_is_logged_once_and_names_ten_paths_at_most(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    site = make(DriftPolicy.REPORT)
    for number in range(12):
        site.write(f"n{number:02}", "x")
    site.deployer.deploy_configuration("web")
    caplog.clear()
    for number in range(12):
        site.edit(f"n{number:02}", "y")
    for _ in range(3):
        site.look()
    told = [record.getMessage() for record in caplog.records if record.name == "headgated.drift"]
    assert len(told) == 1
    assert "12 managed paths" in told[0]
    assert told[0].count("n0") == 10
    assert "n10" not in told[0]


def test_own_deployments_and_foreign_files_are_no_drift(make: Make) -> None:
    site = make(DriftPolicy.HEAL)
    (site.target / "foreign").write_text("f")
    site.write("a", "a2\n")
    site.sync()
    assert site.text("a") == "a2\n"
    assert site.look() == ()
    before = site.newest
    site.sync()
    assert site.newest == before


def test_only_what_events_name_is_looked_at(make: Make) -> None:
    """Promise 12."""
    site = make(DriftPolicy.REPORT)
    site.edit("a", "mine\n")
    site.edit("b", "mine\n")
    assert site.look("b") == ("b",)


def test_deployment_in_progress_is_never_taken_for_drift(make: Make) -> None:
    site, done = make(DriftPolicy.REPORT), threading.Event()
    seen: set[tuple[str, ...]] = set()

    def look() -> None:
        while not done.is_set():
            seen.add(site.look())

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for number in range(15):
            for name in FILES:
                site.write(name, f"{number}\n")
            site.deployer.deploy_configuration("web")
    finally:
        done.set()
        looking.join()
    assert seen == {()}


# report


def test_report_shows_it_and_the_next_deployment_replaces_it_after_keeping_it(make: Make) -> None:
    site = make(DriftPolicy.REPORT)
    site.edit("a", "by hand\n")
    site.look("a")
    site.sync()
    assert site.text("a") == "by hand\n"
    assert site.newest == site.first
    second = site.deployer.deploy_configuration("web")
    assert second.changes.modified[0].drifted
    assert site.text("a") == "a1\n"
    assert site.kept("by hand\n")
    assert site.runtime.drifted == ()
    site.deployer.rollback_deployment(second.deployment_id)
    assert site.text("a") == "by hand\n"


# heal


def test_heal_puts_edited_and_removed_files_back_and_keeps_what_was_there(make: Make) -> None:
    site = make(DriftPolicy.HEAL)
    site.sync()
    site.edit("a", "by hand\n")
    site.edit("b", None)
    (site.target / "d").rename(site.target / "elsewhere")
    site.look()
    site.sync()
    assert {name: site.text(name) for name in FILES} == FILES
    record = site.newest
    assert (record.trigger, record.reason) == (Trigger.AUTO_SYNC, "heal drift")
    assert record.status == DeploymentStatus.SUCCESS
    assert record.changes.modified[0].drifted
    assert site.kept("by hand\n")
    assert (site.target / "elsewhere" / "c").read_text() == "c1\n"
    assert site.runtime.drifted == ()
    assert site.look() == ()
    site.sync()
    assert site.newest == record, "healed once"
    site.deployer.rollback_deployment(record.deployment_id)
    assert site.text("a") == "by hand\n"


@pytest.mark.parametrize("stop", ["auto_sync", "pause", "hold"])
def test_heal_respects_what_stops_auto_sync(make: Make, stop: str) -> None:
    site = make(DriftPolicy.HEAL)
    if stop == "auto_sync":
        site.set(auto_sync=False)
    elif stop == "pause":
        pause = Pause("busy", "ann", utc_now())
        site.deployer.note("web", lambda old: replace(old, pause=pause))
    else:
        site.write("a", "a2\n")
        site.deployer.rollback_deployment(site.deployer.deploy_configuration("web").deployment_id)
    before = site.newest
    site.edit("b", "by hand\n")
    site.look()
    site.sync()
    assert site.text("b") == "by hand\n"
    assert site.newest == before
    site.set(auto_sync=True)
    site.resume()
    for _ in range(3):
        site.sync()
    assert site.text("b") == "b1\n"


def test_heal_waits_for_a_halted_environment(make: Make) -> None:
    site = make(DriftPolicy.HEAL)
    site.source.rename(site.source.with_name("away"))
    site.deployer.planning.look_anew(site.environment)
    site.edit("b", "by hand\n")
    site.look()
    site.sync()
    assert site.environment.halt is not None
    assert site.text("b") == "by hand\n"
    site.source.with_name("away").rename(site.source)
    site.deployer.planning.look_anew(site.environment)
    site.sync()
    assert site.text("b") == "b1\n"


def test_heal_waits_until_edits_have_settled(make: Make) -> None:
    site = make(DriftPolicy.HEAL)
    site.sync()
    site.edit("a", "half\n")
    site.look("a", settled=False)
    again = site.sync()
    assert again is not None
    assert 0 < again <= 1
    assert site.text("a") == "half\n"
    time.sleep(again)
    site.sync()
    assert site.text("a") == "a1\n"


def test_heal_of_the_same_edit_again_and_again_pauses_ever_longer(make: Make) -> None:
    site = make(DriftPolicy.HEAL)
    site.sync()
    pauses = []
    for _ in range(5):
        site.edit("a", "again\n")
        site.look("a")
        pauses.append(site.sync() or 0.0)
        if pauses[-1]:
            assert site.text("a") == "again\n"
            site.runtime.edits.healed_at -= pauses[-1]  # The pause is over.
            site.sync()
        assert site.text("a") == "a1\n"
    assert pauses == sorted(pauses)
    assert pauses[:2] == [0, 0]
    assert pauses[-1] > 3


def test_what_cannot_be_healed_fails_with_a_record_and_pauses(make: Make) -> None:
    site = make(DriftPolicy.HEAL)
    site.sync()
    (site.target / "a").unlink()
    (site.target / "a").mkdir()
    (site.target / "a" / "foreign").write_text("theirs")
    site.look()
    again = site.sync()
    assert again is not None
    assert again > 0
    assert site.runtime.failure is not None
    assert site.newest.error is not None
    assert site.newest.error.reason == "TYPE_CLASH"
    count = len(site.deployer.list_deployments("web"))
    site.sync()
    assert len(site.deployer.list_deployments("web")) == count
    assert (site.target / "a" / "foreign").read_text() == "theirs"
    (site.target / "a" / "foreign").unlink()
    (site.target / "a").rmdir()
    site.edit("a", "a1\n")
    site.look()
    site.sync()
    assert site.runtime.failure is None


def test_heal_and_a_change_of_the_sources_both_arrive(make: Make) -> None:
    site = make(DriftPolicy.HEAL)
    site.sync()
    site.edit("a", "by hand\n")
    site.write("b", "b2\n")
    site.look()
    while site.sync() == 0.0:
        pass
    assert (site.text("a"), site.text("b")) == ("a1\n", "b2\n")


# refuse


def test_refuse_halts_auto_sync_until_the_drift_is_gone(make: Make) -> None:
    site = make(DriftPolicy.REFUSE)
    site.sync()
    site.edit("a", "by hand\n")
    site.look("a")
    site.write("b", "b2\n")
    site.sync()
    halt = site.environment.halt
    assert isinstance(halt, Halt)
    assert halt.reason == "DRIFTED"
    assert "adopt web" in halt.message
    assert "env resume web" in halt.message
    assert (site.text("a"), site.text("b")) == ("by hand\n", "b1\n")
    site.edit("a", "a1\n")
    site.look("a")
    site.sync()
    assert site.environment.halt is None
    assert site.text("b") == "b2\n"


def test_refuse_meets_an_edit_that_no_look_has_found_yet(make: Make) -> None:
    site = make(DriftPolicy.REFUSE)
    site.sync()
    site.edit("a", "by hand\n")
    site.write("a", "a2\n")
    site.sync()
    assert site.text("a") == "by hand\n"
    assert site.environment.halt is not None
    assert site.environment.halt.reason == "DRIFTED"
    site.sync()
    assert site.environment.halt is not None


def test_refuse_refuses_a_deployment_by_hand_at_once(make: Make) -> None:
    site = make(DriftPolicy.REFUSE)
    site.edit("a", "by hand\n")
    before = site.newest
    with pytest.raises(RefusedError) as caught:
        site.deployer.deploy_configuration("web")
    assert caught.value.reason == "DRIFTED"
    assert caught.value.paths == ("a",)
    assert "headgate adopt web" in caught.value.hint
    assert "headgate env resume web" in caught.value.hint
    assert site.newest == before
    site.edit("a", "a1\n")
    assert site.deployer.deploy_configuration("web").status == DeploymentStatus.SUCCESS


def test_resume_lets_the_edits_be_overwritten_but_no_later_ones(make: Make) -> None:
    site = make(DriftPolicy.REFUSE)
    site.sync()
    site.edit("a", "by hand\n")
    site.look("a")
    site.sync()
    site.resume()
    site.edit("b", "later\n")
    with pytest.raises(RefusedError):
        site.deployer.deploy_configuration("web")
    site.edit("b", "b1\n")
    site.look("b")
    site.sync()
    assert site.environment.halt is None
    assert site.text("a") == "a1\n"
    assert site.kept("by hand\n")


def test_resume_lets_a_deployment_by_hand_overwrite(make: Make) -> None:
    site = make(DriftPolicy.REFUSE, auto_sync=False)
    site.edit("a", "by hand\n")
    site.look("a")
    site.sync()
    assert site.environment.halt is not None
    site.resume()
    site.deployer.deploy_configuration("web")
    assert site.text("a") == "a1\n"
    assert site.kept("by hand\n")


def test_drift_never_hides_a_halt_for_the_sources(make: Make) -> None:
    """Promise 6 comes first."""
    site = make(DriftPolicy.REFUSE)
    site.sync()
    site.source.rename(site.source.with_name("away"))
    site.deployer.planning.look_anew(site.environment)
    site.sync()
    site.edit("a", "by hand\n")
    site.look("a")
    site.sync()
    assert site.environment.halt is not None
    assert site.environment.halt.reason == "SOURCE_MISSING"
    site.source.with_name("away").rename(site.source)
    site.deployer.planning.look_anew(site.environment)
    site.sync()
    assert site.environment.halt is not None
    assert site.environment.halt.reason == "DRIFTED"


# adopt


def test_adopt_takes_edits_over_and_changes_nothing(make: Make) -> None:
    site = make(DriftPolicy.REPORT)
    site.sync()
    site.edit("a", "by hand\n")
    (site.target / "b").chmod(0o600)
    site.edit("d/c", None)
    inode = (site.target / "a").stat().st_ino
    record = site.deployer.adopt_drift("web", deployed_by="ann")
    assert record.kind == DeploymentKind.ADOPT
    assert record.deployment_id.startswith("adopt_web_")
    assert record.status == DeploymentStatus.SUCCESS
    assert [change.path for change in record.changes.modified] == ["a", "b"]
    assert [change.path for change in record.changes.removed] == ["d/c"]
    before, after = record.changes.modified[0].before, record.changes.modified[0].after
    assert before is not None
    assert after is not None
    assert before.digest == sha256(b"a1\n").digest()
    assert after.digest == sha256(b"by hand\n").digest()
    assert (site.target / "a").stat().st_ino == inode
    assert not (site.target / "d/c").exists()
    assert site.kept("by hand\n")
    assert site.look() == ()
    assert site.deployer.get_deployment_status(record.deployment_id) == record


def test_adopted_files_stay_until_the_sources_change_there(make: Make) -> None:
    site = make(DriftPolicy.REPORT)
    site.sync()
    site.edit("a", "by hand\n")
    site.edit("b", None)
    record = site.deployer.adopt_drift("web")
    hold = site.environment.hold
    assert hold is not None
    assert hold.deployment_id == record.deployment_id
    assert set(hold.rejected) == {"a", "b"}
    for _ in range(3):
        site.sync()
    assert site.newest == record
    assert site.text("a") == "by hand\n"
    site.write("a", "a2\n")
    site.sync()
    assert site.text("a") == "by hand\n", "one of two"
    site.write("b", "b2\n")
    site.sync()
    assert (site.text("a"), site.text("b")) == ("a2\n", "b2\n")
    site.deployer.rollback_deployment(site.newest.deployment_id)
    assert site.text("a") == "by hand\n"
    assert not (site.target / "b").exists()


def test_adopted_mode_of_a_directory_stays_until_the_sources_ask_for_another(make: Make) -> None:
    site = make(DriftPolicy.REPORT)
    site.sync()
    (site.target / "d").chmod(0o711)
    record = site.deployer.adopt_drift("web")
    assert [change.path for change in record.changes.modified] == ["d"]
    hold = site.environment.hold
    assert hold is not None
    assert set(hold.rejected) == {"d"}
    site.write("a", "a2\n")
    site.sync()
    assert site.text("a") == "a1\n", "the sources still ask for the mode in place of which ours was adopted"
    assert (site.target / "d").stat().st_mode & 0o777 == 0o711
    (site.source / "d").chmod(0o750)
    site.deployer.planning.look_anew(site.environment)
    site.sync()
    assert site.environment.hold is None
    assert (site.target / "d").stat().st_mode & 0o777 == 0o750
    site.deployer.rollback_deployment(site.newest.deployment_id)
    assert (site.target / "d").stat().st_mode & 0o777 == 0o711


def test_rollback_of_an_adopted_mode_ends_its_hold(make: Make) -> None:
    site = make(DriftPolicy.REPORT)
    site.sync()
    mode = (site.target / "d").stat().st_mode & 0o777
    (site.target / "d").chmod(0o711)
    site.deployer.rollback_deployment(site.deployer.adopt_drift("web").deployment_id)
    site.sync()
    assert site.environment.hold is None
    assert (site.target / "d").stat().st_mode & 0o777 == mode


def test_rollback_of_an_adoption_gives_back_what_was_deployed(make: Make) -> None:
    site = make(DriftPolicy.REPORT)
    site.sync()
    site.edit("a", "by hand\n")
    (site.target / "d").rename(site.target / "elsewhere")
    record = site.deployer.adopt_drift("web")
    assert site.look() == ()
    site.deployer.rollback_deployment(record.deployment_id)
    assert {name: site.text(name) for name in FILES} == FILES
    assert site.deployer.get_deployment_status(record.deployment_id).status == DeploymentStatus.ROLLED_BACK
    assert site.look() == ()
    site.sync()
    assert site.environment.hold is None
    assert {name: site.text(name) for name in FILES} == FILES


def test_adopt_only_some_paths(make: Make) -> None:
    site = make(DriftPolicy.REPORT)
    for name in FILES:
        site.edit(name, "mine\n")
    record = site.deployer.adopt_drift("web", ["a", f"{site.target}/d/e"])
    assert [change.path for change in record.changes.modified] == ["a", "d/e/f"]
    assert record.config_files == ("a", f"{site.target}/d/e")
    assert site.look() == ("b", "d/c")


def test_adopt_of_nothing_is_refused(make: Make) -> None:
    site = make(DriftPolicy.REPORT)
    before = site.newest
    (site.target / "foreign").write_text("f")
    site.edit("a", "mine\n")
    for paths in (["foreign"], ["b", "a"], ["nowhere"], ["/etc/passwd"]):
        with pytest.raises(HeadgateError) as caught:
            site.deployer.adopt_drift("web", paths)
        assert caught.value.reason in ("NOT_DRIFTED", "INVALID_REQUEST")
    site.edit("a", "a1\n")
    with pytest.raises(RefusedError):
        site.deployer.adopt_drift("web")
    assert site.newest == before


def test_adopt_ends_a_halt_for_drift(make: Make) -> None:
    site = make(DriftPolicy.REFUSE)
    site.sync()
    site.edit("a", "by hand\n")
    site.look("a")
    site.sync()
    assert site.halted == "DRIFTED"
    site.deployer.adopt_drift("web")
    site.sync()
    assert site.halted == ""
    site.write("a", "a2\n")
    site.sync()
    assert site.text("a") == "a2\n"
    assert site.kept("by hand\n")


def test_adoption_goes_on_with_the_hold_of_a_rollback(make: Make) -> None:
    site = make(DriftPolicy.REPORT)
    site.write("a", "a2\n")
    site.deployer.rollback_deployment(site.deployer.deploy_configuration("web").deployment_id)
    site.edit("b", "by hand\n")
    site.deployer.adopt_drift("web")
    assert site.environment.hold is not None
    assert set(site.environment.hold.rejected) == {"a", "b"}
    site.sync()
    assert (site.text("a"), site.text("b")) == ("a1\n", "by hand\n")


def test_adoption_that_a_crash_cut_off_is_finished_at_the_next_start(make: Make) -> None:
    site = make(DriftPolicy.REPORT)
    site.edit("a", "by hand\n")
    site.look()
    parts, runtime = site.deployer, site.runtime
    plan = plan_adoption("web", runtime.managed, runtime.edits.known, [])
    record = parts.ledger.begin("web", DeploymentKind.ADOPT, deployed_by="ann", trigger=Trigger.REQUEST)
    record = replace(parts.deploying.start(runtime, record), changes=changes_of(plan, runtime.managed))
    work = Work(plan, lambda _path, _entry: (), record, str(site.target), runtime.managed)
    take_over(parts.history, Target(str(site.target)), work, lambda _step, _done, _total: None)
    assert parts.history.unfinished()
    site.deployer.close()
    site.edit("a", "edited again\n")
    with ConfigurationDeployer(site.deployer.workspace_dir) as again:
        newest = again.list_deployments("web")[0]
        assert (newest.kind, newest.status) == (DeploymentKind.ADOPT, DeploymentStatus.SUCCESS)
        hold = again.get_environment_config("web").hold
        assert hold is not None
        assert set(hold.rejected) == {"a"}
        assert site.text("a") == "edited again\n"
        again.deploy_configuration("web")
        assert site.text("a") == "a1\n"
        assert again.history.has(sha256(b"edited again\n").digest())
    site.deployer = ConfigurationDeployer(site.deployer.workspace_dir)


def test_a_file_that_became_a_directory_is_adopted_without_what_is_in_it(make: Make) -> None:
    """Promise 7."""
    site = make(DriftPolicy.REPORT)
    site.sync()
    (site.target / "a").unlink()
    (site.target / "a").mkdir()
    (site.target / "a" / "foreign").write_text("theirs")
    record = site.deployer.adopt_drift("web")
    assert site.look() == ()
    with pytest.raises(DeploymentFailedError):
        site.deployer.rollback_deployment(record.deployment_id)
    (site.source / "a").unlink()
    site.deployer.planning.look_anew(site.environment)
    site.deployer.deploy_configuration("web")
    assert (site.target / "a" / "foreign").read_text() == "theirs"


# Whatever happens


class Chance:
    """Does to a site what people and programs may do, in an order of its own."""

    def __init__(self, site: Site, seed: str) -> None:
        self.site, self.dice, self.step = site, random.Random(seed), 0
        self.standing: dict[str, str] = {}
        """What somebody wrote by hand and did not remove again."""

    def act(self) -> None:
        self.step += 1
        name, deployer = self.dice.choice(list(FILES)), self.site.deployer
        acts: list[Callable[[], object]] = [
            lambda: self.write(name),
            lambda: self.write(name),
            lambda: self.remove(name),
            lambda: self.site.write(name, f"source {self.step}\n"),
            lambda: (self.site.source / name).unlink(missing_ok=True),
            lambda: deployer.adopt_drift("web", self.dice.choice([[], [name]])),
            lambda: deployer.deploy_configuration("web"),
            self.roll_back,
            self.site.resume,
        ]
        with contextlib.suppress(InvalidRequestError, RefusedError, DeploymentFailedError):
            self.dice.choice(acts)()

    def write(self, name: str) -> None:
        self.standing[name] = f"edit {self.step}\n"
        self.site.edit(name, self.standing[name])

    def remove(self, name: str) -> None:
        self.standing.pop(name, None)  # What somebody removes by hand is theirs to lose.
        (self.site.target / name).unlink(missing_ok=True)

    def roll_back(self) -> None:
        every = self.site.deployer.list_deployments("web")
        newest = next(one for one in every if one.status == DeploymentStatus.SUCCESS)
        self.site.deployer.rollback_deployment(newest.deployment_id)

    def lost(self) -> dict[str, str]:
        return {
            name: text
            for name, text in self.standing.items()
            if not self.site.kept(text) and self.site.text(name) != text
        }


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("policy", list(DriftPolicy))
def test_no_edit_is_ever_lost_and_nothing_foreign_is_touched(
    make: Make, policy: DriftPolicy, seed: int
) -> None:
    """Promises 2 and 7, by edits, deployments, healing, adoptions and rollbacks in any order."""
    site = make(policy)
    chance = Chance(site, f"{policy} {seed}")
    foreign = {"foreign": "0", "d/foreign": "1", "d/e/foreign": "2"}
    for name, text in foreign.items():
        site.edit(name, text)
    for step in range(30):
        chance.act()
        site.deployer.planning.look_anew(site.environment)
        site.look()
        site.runtime.edits.healed_at = 0.0
        site.sync()
        assert chance.lost() == {}, step
        assert {name: site.text(name) for name in foreign} == foreign, step
    every = site.deployer.list_deployments("web")
    assert not [one for one in every if one.error is not None and one.error.reason == "INTERNAL"]
    assert site.deployer.history.verify() == []


def test_many_paths_that_events_named_are_looked_at_some_at_a_time(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make(DriftPolicy.REPORT)
    monkeypatch.setattr(drift, "AT_ONCE", 2)
    target = site.deployer.planning.target(site.runtime, site.environment)
    looks: list[int] = []

    def observe(paths: Iterable[bytes]) -> dict[bytes, Entry | None]:
        looks.append(len(list(paths)))
        return Target.observe(target, paths)

    monkeypatch.setattr(target, "observe", observe)
    site.edit("d/c", "edited\n")
    assert site.look("a", "b", "d/c") == ("d/c",)
    assert looks[:2] == [2, 1]
