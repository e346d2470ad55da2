"""Environments that cannot work together are refused: when they are created, and again at start."""

from __future__ import annotations

import errno
import os
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings as hypothesis_settings, strategies as st
from tests.unit.effects.mounts import mounted

from headgated import ConfigurationDeployer
from headgated.core.config import LimitSettings, RootSettings, Settings
from headgated.core.environment import Policies, Strategy
from headgated.core.errors import (
    AlreadyExistsError,
    ConflictError,
    HeadgateError,
    InvalidRequestError,
    LimitError,
    RefusedError,
)
from headgated.effects.target import obstacles


def directory(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / "f").write_text("f\n")
    return path


def test_targets_and_sources_that_overlap_are_refused(tmp_path: Path) -> None:
    """T1, T2."""
    source, other = directory(tmp_path / "source"), directory(tmp_path / "other")
    state = tmp_path / "state"
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "one")
    with ConfigurationDeployer(state) as deployer:
        deployer.create_environment("one", "testing", tmp_path / "one", sources=[source])
        for target, sources in [
            (tmp_path / "one", [other]),
            (tmp_path / "one" / "below", [other]),
            (tmp_path, [other]),
            (link, [other]),
            (source, [other]),
            (source / "below", [other]),
            (other, [other]),
            (other / "below", [other]),
            (tmp_path / "two", [tmp_path / "one"]),
            (state / "x", [other]),
            (tmp_path / "two", [state]),
        ]:
            if not (tmp_path / "one").exists():
                (tmp_path / "one").mkdir()
            with pytest.raises(InvalidRequestError, match="overlaps"):
                deployer.create_environment("two", "testing", target, sources=sources)
        assert [e.name for e in deployer.list_environments()] == ["one"]
        deployer.create_environment("two", "testing", tmp_path / "two", sources=[source])


def told(error: HeadgateError) -> dict[str, list[str]]:
    """What an error says of each field."""
    found: dict[str, list[str]] = {}
    for fault in error.faults:
        found.setdefault(fault.field, []).append(fault.message)
    return found


@pytest.fixture
def one(tmp_path: Path) -> Iterator[ConfigurationDeployer]:
    """A deployer that may only deploy below `tmp_path`, with an environment `one`."""
    settings = Settings(roots=RootSettings(targets=(str(tmp_path),)))
    with ConfigurationDeployer(tmp_path / "state", settings=settings) as deployer:
        deployer.create_environment("one", "testing", tmp_path / "one", sources=[directory(tmp_path / "src")])
        yield deployer


BAD: dict[str, Any] = {
    "variables": {"9x": ""},
    "policies": Policies(
        owner="nobody-of-that-name:nogroup", strategy=Strategy.ATOMIC, checks=("undefined",)
    ),
}


@pytest.mark.parametrize("verb", ["create", "change"])
def test_faults_of_every_kind_come_in_one_answer(
    one: ConfigurationDeployer, tmp_path: Path, verb: str
) -> None:
    """In the request itself, in the daemon's configuration, in the file system, between environments."""
    source, gone = str(tmp_path / "src"), str(tmp_path / "gone")
    whole = one.get_environment_config("one")
    places: dict[str, Any] = {"config_path": f"{source}/t", "sources": (source, gone, source)}
    wanted = replace(whole, **places, **BAD)
    ask = {
        "create": lambda: one.add_environment(replace(wanted, name="two")),
        "change": lambda: one.change_environment("one", lambda _: wanted),
    }[verb]
    with pytest.raises(InvalidRequestError) as refused:
        ask()
    found = told(refused.value)
    assert found.keys() == {
        "variables.9x",
        "policies.checks",
        "sources",
        "sources[0]",
        "sources[1]",
        "policies.owner",
    } | ({"config_path"} if verb == "create" else set())
    assert found["sources"] == ["names a directory twice"]
    assert found["sources[0]"] == [f"{source} overlaps the target {source}/t"], (
        "once, though it is named twice"
    )
    assert found["sources[1]"] == [f"{gone} does not exist; create it first"]


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("", "is missing"),
        ("relative", "must be an absolute path"),
        ("/a/../etc", "must not contain"),
        ("/nul\0", "NUL"),
        (f"/{'x' * 256}/t", "file name of more than 255 bytes"),
        ("/x" * 2048, "longer than 4095 bytes"),
    ],
)
def test_path_that_is_none_is_told_once_and_hides_nothing(
    one: ConfigurationDeployer, tmp_path: Path, target: str, why: str
) -> None:
    policies = Policies(strategy=Strategy.ATOMIC, owner="no-owner")
    sources = ("also/relative", str(tmp_path / "gone"), str(tmp_path / "one"))
    whole = replace(one.get_environment_config("one"), name="two", policies=policies, sources=sources)
    with pytest.raises(InvalidRequestError) as refused:
        one.add_environment(replace(whole, config_path=target))
    found = told(refused.value)
    assert found.keys() == {"config_path", "sources[0]", "sources[1]", "sources[2]", "policies.owner"}
    [said] = found["config_path"]
    assert why in said
    assert ["does not exist" in each for each in found["sources[1]"]] == [True]
    assert any("the target of one" in each for each in found["sources[2]"])


TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
PATHS = st.one_of(
    TEXTS,
    TEXTS.map("/no-such-place/{}".format),
    st.sampled_from(
        ["/", "//", "/a/./b", "/proc/self", "/dev/null/x", "/\udcff", "/x" * 2000, f"/{'y' * 255}"]
    ),
)


@given(
    places=st.builds(dict, config_path=PATHS, sources=st.lists(PATHS, max_size=3).map(tuple), name=TEXTS),
    tables=st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("variables", "secrets"), st.dictionaries(TEXTS, TEXTS, max_size=2))
    ),
    policies=st.builds(
        Policies,
        owner=TEXTS,
        mode=TEXTS,
        strategy=st.sampled_from(Strategy),
        verbatim=st.lists(TEXTS, max_size=2).map(tuple),
        checks=st.lists(TEXTS, max_size=2).map(tuple),
        settle_quiet=st.none() | st.floats(),
    ),
)
@hypothesis_settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_is_asked_for_what_is_wrong_with_it_can_be_told(
    one: ConfigurationDeployer, places: Any, tables: Any, policies: Policies
) -> None:
    """What cannot be right by itself is looked for in the world as far as it makes sense, and never ends in another error."""
    wanted = replace(one.get_environment_config("one"), **places, **tables, policies=policies)
    assert one.environments.faults_of(wanted)


def test_unknown_type_is_told_together_with_all_else(one: ConfigurationDeployer, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        one.create_environment("two", "stagin", tmp_path / "one", {"9x": ""})
    assert told(refused.value).keys() == {"type", "variables.9x", "config_path"}


def test_name_that_is_taken_is_told_with_all_that_is_wrong_besides(one: ConfigurationDeployer) -> None:
    with pytest.raises(AlreadyExistsError, match="there is one of that name") as refused:
        one.create_environment("one", "testing", "/elsewhere", {"9x": ""})
    assert told(refused.value).keys() == {"variables.9x", "config_path"}
    assert "allowed roots" in told(refused.value)["config_path"][0]


def test_limit_is_told_when_nothing_is_wrong(tmp_path: Path) -> None:
    settings = Settings(limits=LimitSettings(max_environments=1))
    with ConfigurationDeployer(tmp_path / "state", settings=settings) as deployer:
        deployer.create_environment("one", "testing", tmp_path / "one")
        with pytest.raises(InvalidRequestError):
            deployer.create_environment("two", "testing", tmp_path / "one")
        with pytest.raises(LimitError):
            deployer.create_environment("two", "testing", tmp_path / "two")


def test_check_of_a_change_does_not_wait_for_a_deployment(one: ConfigurationDeployer) -> None:
    held, done = threading.Event(), threading.Event()

    def deploy() -> None:
        with one.runtime("one").lock:
            held.set()
            done.wait(10)

    running = threading.Thread(target=deploy)
    running.start()
    try:
        assert held.wait(10)
        checked = one.change_environment("one", lambda e: replace(e, auto_sync=False), validate_only=True)
        assert checked.generation == 2
        assert not done.is_set()
    finally:
        done.set()
        running.join()


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_target_that_is_the_same_by_bind_mount_is_refused(tmp_path: Path) -> None:
    """T1: seen by device and inode."""
    source, one, twin = (
        directory(tmp_path / "source"),
        directory(tmp_path / "one"),
        directory(tmp_path / "twin"),
    )
    subprocess.run(["mount", "--bind", one, twin], check=True)
    try:
        with ConfigurationDeployer(tmp_path / "state") as deployer:
            deployer.create_environment("one", "testing", one, sources=[source])
            with pytest.raises(InvalidRequestError, match="overlaps"):
                deployer.create_environment("two", "testing", twin, sources=[source])
    finally:
        subprocess.run(["umount", twin], check=True)


def test_environments_that_overlap_since_are_not_deployed_after_a_start(tmp_path: Path) -> None:
    """T1: checked again at start; the others go on."""
    source = directory(tmp_path / "source")
    with ConfigurationDeployer(tmp_path / "state") as deployer:
        for name in ("one", "two", "three"):
            deployer.create_environment(name, "testing", tmp_path / name, sources=[source])
            deployer.deploy_configuration(name)
    (tmp_path / "two" / "f").unlink()
    (tmp_path / "two").rmdir()
    (tmp_path / "two").symlink_to(tmp_path / "one")
    with ConfigurationDeployer(tmp_path / "state") as deployer:
        for name in ("one", "two"):
            with pytest.raises(RefusedError, match="overlaps"):
                deployer.deploy_configuration(name)
        deployer.deploy_configuration("three")


def test_generation_grows_and_guards(tmp_path: Path) -> None:
    with ConfigurationDeployer(tmp_path / "state") as deployer:
        first = deployer.create_environment("one", "testing", tmp_path / "one")
        second = deployer.change_environment(
            "one", lambda e: replace(e, auto_sync=False), expected_generation=1
        )
        assert (first.generation, second.generation) == (1, 2)
        assert deployer.change_environment("one", lambda e: e).generation == 2, "the same is no change"
        with pytest.raises(ConflictError):
            deployer.change_environment("one", lambda e: replace(e, auto_sync=True), expected_generation=1)


def test_nothing_is_saved_of_what_is_only_checked(tmp_path: Path) -> None:
    with ConfigurationDeployer(tmp_path / "state") as deployer:
        environment = deployer.create_environment("one", "testing", tmp_path / "one")
        deployer.remove_environment("one")
        deployer.add_environment(environment, validate_only=True)
        assert deployer.list_environments() == []
    with ConfigurationDeployer(tmp_path / "state") as deployer:
        assert deployer.list_environments() == []


def test_what_this_version_does_not_do_is_refused_and_not_ignored(tmp_path: Path) -> None:
    """Nobody may believe that a check runs which does not."""
    with ConfigurationDeployer(tmp_path / "state") as deployer:
        deployer.create_environment("one", "testing", tmp_path / "one")
        policies = Policies(checks=("nginx",), reloads=("r",), health=("h",))
        with pytest.raises(InvalidRequestError) as caught:
            deployer.change_environment(
                "one", lambda e: replace(e, policies=policies, secrets={"S": "env:S"})
            )
        fields = {fault.field for fault in caught.value.faults}
        assert fields == {f"policies.{n}" for n in ("checks", "reloads", "health")} | {"secrets.S"}


ATOMIC = Policies(strategy=Strategy.ATOMIC)


def atomic_faults(deployer: ConfigurationDeployer, target: Path) -> list[str]:
    """Ask for strategy atomic; return what is said against it."""
    environment = deployer.create_environment("one", "testing", target)
    try:
        with pytest.raises(InvalidRequestError) as caught:
            deployer.change_environment("one", lambda e: replace(e, policies=ATOMIC))
    finally:
        deployer.remove_environment("one")
    with pytest.raises(InvalidRequestError):
        deployer.add_environment(replace(environment, policies=ATOMIC))
    assert {fault.field for fault in caught.value.faults} == {"policies.strategy"}
    return [fault.message for fault in caught.value.faults]


class TestAtomic:
    @pytest.fixture
    def deployer(self, tmp_path: Path) -> Iterator[ConfigurationDeployer]:
        with ConfigurationDeployer(tmp_path / "state") as deployer:
            yield deployer

    def test_is_taken_for_a_target_that_is_there_and_for_one_that_is_not(
        self, deployer: ConfigurationDeployer, tmp_path: Path
    ) -> None:
        (tmp_path / "there").mkdir()
        for name in ("there", "missing", "deep/missing"):
            made = deployer.create_environment("one", "testing", tmp_path / name)
            deployer.change_environment("one", lambda e: replace(e, policies=ATOMIC))
            deployer.change_environment("one", lambda e: replace(e, policies=Policies()))
            deployer.remove_environment("one")
            deployer.add_environment(replace(made, policies=ATOMIC))
            deployer.remove_environment("one")
        assert sorted(os.listdir(tmp_path)) == ["state", "there"], "trials leave nothing"

    def test_is_refused_for_a_mount_point_and_mounts_inside_all_at_once(
        self, deployer: ConfigurationDeployer, tmp_path: Path
    ) -> None:
        target = tmp_path / "t"
        target.mkdir()
        with mounted(target, "-t", "tmpfs", "tmpfs"):
            (target / "a b").mkdir()
            with mounted(target / "a b", "-t", "tmpfs", "tmpfs"):
                told = atomic_faults(deployer, target)
        assert len(told) == 2
        assert f"{target} is a mount point" in told[0]
        assert f"{target}/a b is mounted inside the target" in told[1]
        assert all("in-place" in one for one in told)

    def test_is_refused_on_a_read_only_parent(self, deployer: ConfigurationDeployer, tmp_path: Path) -> None:
        disk = tmp_path / "disk"
        target = disk / "t"
        target.mkdir(parents=True)
        with mounted(disk, "-t", "tmpfs", "tmpfs"):
            target.mkdir()
            deployer.create_environment("one", "testing", target)
            subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
            with pytest.raises(InvalidRequestError) as caught:
                deployer.change_environment("one", lambda e: replace(e, policies=ATOMIC))
        assert any("read-only" in fault.message for fault in caught.value.faults)

    @pytest.mark.parametrize("target", ["outside/t", "source/t", "root"])
    def test_is_not_tried_where_the_daemon_must_not_write(self, tmp_path: Path, target: str) -> None:
        """Beside a target out of bounds, in a source, beside an allowed root: the trial makes directories."""
        for name in ("outside", "source", "root"):
            (tmp_path / name).mkdir()
        settings = Settings(roots=RootSettings(targets=(f"{tmp_path}/root", f"{tmp_path}/source")))
        above = (tmp_path / target).parent
        with ConfigurationDeployer(tmp_path / "state", settings=settings) as deployer:
            whole = deployer.create_environment(
                "one", "testing", tmp_path / "root" / "one", sources=[tmp_path / "source"]
            )
            os.utime(above, ns=(0, 0))
            with pytest.raises(InvalidRequestError):
                deployer.change_environment(
                    "one", lambda e: replace(e, config_path=f"{tmp_path}/{target}", policies=ATOMIC)
                )
            assert whole == deployer.get_environment_config("one")
        assert above.stat().st_mtime_ns == 0, "nothing was made there"

    def test_is_refused_for_an_allowed_root_itself(self, tmp_path: Path) -> None:
        root = tmp_path / "root"
        root.mkdir()
        settings = Settings(roots=RootSettings(targets=(str(root),)))
        with ConfigurationDeployer(tmp_path / "state", settings=settings) as deployer:
            told = atomic_faults(deployer, root)
            assert "outside" in told[0]
            deployer.create_environment("below", "testing", root / "below")
            deployer.change_environment("below", lambda e: replace(e, policies=ATOMIC))

    def test_is_refused_for_the_root_directory_and_where_there_is_no_exchange(self, tmp_path: Path) -> None:
        assert [found.reason for found in obstacles("/", trial=False)] == ["NO_PARENT"]

        def no_exchange(_directory: int, _old: bytes, _new: bytes, _flags: int) -> None:
            raise OSError(errno.EINVAL, "Invalid argument")

        found = obstacles(str(tmp_path / "t"), trial=True, rename=no_exchange)
        assert [one.reason for one in found] == ["EXCHANGE_UNSUPPORTED"]
        assert os.listdir(tmp_path) == []

    def test_what_a_killed_trial_left_goes_with_the_next(self, tmp_path: Path) -> None:
        (tmp_path / ".headgate-0123456789ab-1-try").mkdir()
        assert obstacles(str(tmp_path / "t"), trial=True) == []
        assert os.listdir(tmp_path) == []
