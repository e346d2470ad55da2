"""Full, read-only and stubborn file systems: refused with path and cause, nothing changed, and it goes on by itself (T9, T11)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.e2e.harness import FAILED, SUCCESS, Daemon, eventually, running
from tests.torture.trees import alike, leftovers, picture

from headgate import Client
from headgate.errors import UnavailableError as Unavailable
from headgated import ConfigurationDeployer
from headgated.core.deployment import DeploymentStatus
from headgated.core.environment import Strategy
from headgated.core.errors import DeploymentFailedError, UnavailableError

pytestmark = [
    pytest.mark.torture,
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root"),
]

SMALL = "size=1m"


@contextmanager
def mounted(at: Path, *arguments: str) -> Iterator[None]:
    """Mount something for a while."""
    done = subprocess.run(["mount", *arguments, at], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", at], check=True)


@contextmanager
def small(at: Path, size: str = SMALL) -> Iterator[None]:
    """Have a small file system in memory at a directory."""
    at.mkdir(exist_ok=True)
    with mounted(at, "-t", "tmpfs", "-o", f"{size},mode=755", "tmpfs"):
        yield


def fill(directory: Path) -> Path:
    """Leave no room on a file system; returns what to remove to have room again."""
    filler = directory / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    return filler


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Undoes what a test set up, last first."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(5):
        (source / f"f{number}").write_bytes(os.urandom(20_000))
    return source


def deployer_for(stack: ExitStack, tmp_path: Path, source: Path) -> ConfigurationDeployer:
    deployer = stack.enter_context(ConfigurationDeployer(tmp_path / "state"))
    deployer.create_environment("web", "testing", tmp_path / "target", sources=[source])
    deployer.deploy_configuration("web")
    return deployer


def failure_of(deployer: ConfigurationDeployer) -> DeploymentFailedError:
    with pytest.raises(DeploymentFailedError) as caught:
        deployer.deploy_configuration("web")
    record = deployer.list_deployments("web")[0]
    assert record.status == DeploymentStatus.FAILED
    assert record.error is not None
    assert record.error.reason == caught.value.reason
    return caught.value


def use(deployer: ConfigurationDeployer, strategy: Strategy) -> None:
    deployer.change_environment("web", lambda e: replace(e, policies=replace(e.policies, strategy=strategy)))


def count_contents(deployer: ConfigurationDeployer) -> int:
    """Return how many contents history has."""
    deployer.history._database.flush()
    with deployer.history._database.read() as sql:
        return int(sql.execute("SELECT count(*) FROM contents").fetchone()[0])


def test_full_target_stays_as_it_is_and_the_next_attempt_succeeds(
    stack: ExitStack, tmp_path: Path, source: Path
) -> None:
    target = tmp_path / "target"
    stack.enter_context(small(target))
    deployer = deployer_for(stack, tmp_path, source)
    filler = fill(target)
    before = picture(target)
    for number in range(5):
        (source / f"f{number}").write_bytes(os.urandom(30_000))
    error = failure_of(deployer)
    assert error.reason == "NO_SPACE"
    assert picture(target) == before
    filler.unlink()
    assert deployer.deploy_configuration("web").status == DeploymentStatus.SUCCESS
    assert alike(source, target)


def test_full_state_directory_deploys_nothing_and_the_next_attempt_succeeds(
    stack: ExitStack, tmp_path: Path, source: Path
) -> None:
    stack.enter_context(small(tmp_path / "state", "size=4m"))
    deployer = deployer_for(stack, tmp_path, source)
    filler = fill(tmp_path / "state")
    before = picture(tmp_path / "target")
    (source / "f1").write_bytes(os.urandom(20_000))
    with pytest.raises((UnavailableError, DeploymentFailedError)) as caught:
        deployer.deploy_configuration("web")
    assert caught.value.reason == "STATE_NOT_WRITABLE"
    assert picture(tmp_path / "target") == before
    filler.unlink()
    assert deployer.deploy_configuration("web").status == DeploymentStatus.SUCCESS
    assert alike(source, tmp_path / "target")
    assert deployer.history.verify() == []


@pytest.mark.parametrize("room", [0, 8, 40, 80, 120, 200])
def test_state_directory_that_fills_up_during_a_deployment_leaves_all_or_nothing(
    stack: ExitStack, tmp_path: Path, source: Path, room: int
) -> None:
    """So many KiB are left: enough for the first steps, or for all but the last. It is so little that nobody asks first."""
    for number in range(4):
        (source / f"f{number}").write_bytes(os.urandom(3_000))
    stack.enter_context(small(tmp_path / "state", "size=4m"))
    deployer = deployer_for(stack, tmp_path, source)
    filler = fill(tmp_path / "state")
    os.truncate(filler, filler.stat().st_size - room * 1024)
    before = picture(tmp_path / "target")
    for number in range(4):
        (source / f"f{number}").write_bytes(os.urandom(3_000))
    reason = ""
    try:
        deployer.deploy_configuration("web")
    except (UnavailableError, DeploymentFailedError) as error:
        reason = error.reason
    assert reason in ("", "STATE_NOT_WRITABLE")
    if reason:
        assert picture(tmp_path / "target") == before
    else:
        assert alike(source, tmp_path / "target")
    filler.unlink()
    (source / "f0").write_bytes(b"room again\n")
    assert deployer.deploy_configuration("web").status == DeploymentStatus.SUCCESS
    assert alike(source, tmp_path / "target")
    assert deployer.history.verify() == []
    assert all(record.status.finished for record in deployer.list_deployments())


@pytest.mark.parametrize("strategy", list(Strategy))
def test_deployment_for_which_history_has_no_room_is_refused_before_it_begins(
    stack: ExitStack, tmp_path: Path, source: Path, strategy: Strategy
) -> None:
    """What goes and what comes, twice: of 8 MiB the old megabyte is there, and four new ones find no room."""
    state, target = tmp_path / "state", tmp_path / "target"
    stack.enter_context(small(state, "size=8m"))
    deployer = deployer_for(stack, tmp_path, source)
    use(deployer, strategy)
    before, contents = picture(target), count_contents(deployer)
    (source / "large").write_bytes(os.urandom(4_000_000))
    error = failure_of(deployer)
    assert error.reason == "NO_SPACE"
    assert str(state) in error.message
    assert picture(target) == before
    assert count_contents(deployer) == contents, "nothing was begun"
    assert [name for name in os.listdir(tmp_path) if name.startswith(".headgate-")] == []
    subprocess.run(["mount", "-o", "remount,size=40m", state], check=True)
    assert deployer.deploy_configuration("web").status == DeploymentStatus.SUCCESS
    assert alike(source, target)
    assert deployer.history.verify() == []


@pytest.mark.parametrize("strategy", list(Strategy))
def test_history_and_target_on_one_file_system_are_reckoned_together(
    stack: ExitStack, tmp_path: Path, source: Path, strategy: Strategy
) -> None:
    """There is room for each of them, and not for both."""
    disk = tmp_path / "disk"
    stack.enter_context(small(disk, "size=12m"))
    (disk / "above").mkdir()
    deployer = stack.enter_context(ConfigurationDeployer(disk / "state"))
    target = disk / "above" / "target"
    deployer.create_environment("web", "testing", target, sources=[source])
    use(deployer, strategy)
    deployer.deploy_configuration("web")
    before, contents = picture(target), count_contents(deployer)
    (source / "large").write_bytes(os.urandom(4_000_000))
    error = failure_of(deployer)
    assert error.reason == "NO_SPACE"
    assert "of them for history" in error.message
    assert "large" in error.paths
    assert picture(target) == before
    assert count_contents(deployer) == contents, "nothing was begun"
    assert os.listdir(disk / "above") == ["target"]
    subprocess.run(["mount", "-o", "remount,size=14m", disk], check=True)
    deployer.deploy_configuration("web")
    assert alike(source, target)
    assert deployer.history.verify() == []


def test_target_without_room_for_a_whole_directory_is_refused_before_it_begins(
    stack: ExitStack, tmp_path: Path, source: Path
) -> None:
    above = tmp_path / "above"
    stack.enter_context(small(above))
    deployer = stack.enter_context(ConfigurationDeployer(tmp_path / "state"))
    deployer.create_environment("web", "testing", above / "target", sources=[source])
    use(deployer, Strategy.ATOMIC)
    deployer.deploy_configuration("web")
    before, contents = picture(above), count_contents(deployer)
    (source / "large").write_bytes(os.urandom(900_000))
    error = failure_of(deployer)
    assert (error.reason, "large" in error.paths) == ("NO_SPACE", True)
    assert picture(above) == before
    assert count_contents(deployer) == contents, "nothing was begun"


def test_edit_for_which_history_has_no_room_is_not_adopted(
    stack: ExitStack, tmp_path: Path, source: Path
) -> None:
    stack.enter_context(small(tmp_path / "state", "size=8m"))
    deployer = deployer_for(stack, tmp_path, source)
    contents = count_contents(deployer)
    (tmp_path / "target" / "f1").write_bytes(os.urandom(4_000_000))
    with pytest.raises(DeploymentFailedError) as caught:
        deployer.adopt_drift("web")
    assert caught.value.reason == "NO_SPACE"
    assert count_contents(deployer) == contents, "nothing was begun"


def test_read_only_target_is_told_and_recovers(stack: ExitStack, tmp_path: Path, source: Path) -> None:
    target = tmp_path / "target"
    stack.enter_context(small(target))
    deployer = deployer_for(stack, tmp_path, source)
    before = picture(target)
    (source / "f1").write_text("new\n")
    subprocess.run(["mount", "-o", "remount,ro", target], check=True)
    error = failure_of(deployer)
    assert error.reason == "READ_ONLY"
    assert picture(target) == before
    subprocess.run(["mount", "-o", "remount,rw", target], check=True)
    deployer.deploy_configuration("web")
    assert alike(source, target)


def test_immutable_file_is_named_and_nothing_changes(stack: ExitStack, tmp_path: Path, source: Path) -> None:
    target = tmp_path / "target"
    deployer = deployer_for(stack, tmp_path, source)
    before = picture(target)
    (source / "f1").write_text("new\n")
    (source / "f3").write_text("new\n")
    fixed = subprocess.run(["chattr", "+i", target / "f3"], capture_output=True, text=True, check=False)
    if fixed.returncode:
        pytest.skip(f"no immutable files here: {fixed.stderr.strip()}")
    try:
        error = failure_of(deployer)
        assert "f3" in error.paths
        assert picture(target) == before
        assert not leftovers(target)
    finally:
        subprocess.run(["chattr", "-i", target / "f3"], check=True)
    deployer.deploy_configuration("web")
    assert alike(source, target)


def test_bind_mounted_file_is_named_and_nothing_changes(
    stack: ExitStack, tmp_path: Path, source: Path
) -> None:
    target = tmp_path / "target"
    deployer = deployer_for(stack, tmp_path, source)
    (tmp_path / "other").write_text("other\n")
    for number in (1, 3):
        (source / f"f{number}").write_text("new\n")
    with mounted(target / "f3", "--bind", str(tmp_path / "other")):
        before = picture(target)
        error = failure_of(deployer)
        assert error.reason in ("MOUNT_POINT", "BUSY")
        assert "f3" in error.paths
        assert picture(target) == before
    deployer.deploy_configuration("web")
    assert alike(source, target)


@contextmanager
def cramped(stack: ExitStack, options: str) -> Iterator[tuple[Daemon, Client, Path, Path]]:
    """A daemon whose state lies on a small file system, with one file deployed from a source to a target."""
    with running() as daemon, daemon.client() as client:
        assert daemon.stop() == 0
        stack.enter_context(small(daemon.state, options))
        daemon.start()
        source, target = daemon.home / "source", daemon.home / "target"
        source.mkdir()
        (source / "app.conf").write_text("one\n")
        client.create_environment("web", type="development", config_path=str(target), sources=[str(source)])
        eventually(lambda: alike(source, target))
        yield daemon, client, source, target


@pytest.mark.e2e
def test_daemon_says_that_its_state_cannot_be_written_and_goes_on_when_it_can(stack: ExitStack) -> None:
    """It stays up, deploys nothing, says so in `status` and once in the log, and catches up by itself."""
    with cramped(stack, "size=6m,nr_inodes=1k") as (daemon, client, source, target):
        assert not client.status().problems
        filler = fill(daemon.state)
        (source / "app.conf").write_text("two\n")
        problem = eventually(lambda: list(client.status().problems))[0]
        assert problem.reason == "STATE_NOT_WRITABLE"
        eventually(lambda: "nothing is deployed" in daemon.log())
        with pytest.raises(Unavailable):
            client.deploy("web")
        assert (target / "app.conf").read_text() == "one\n"
        eventually(lambda: client.get_environment("web").sync.message != "")
        filler.unlink()
        eventually(lambda: alike(source, target), within=20)
        eventually(lambda: not client.status().problems)
        assert daemon.log().count("nothing is deployed") == 1, "no flood"
        assert "Traceback" not in daemon.log()
        done = client.wait_for_deployment(client.deploy("web").deployment_id, 30)
        assert done.status == SUCCESS
        assert FAILED not in {record.status for record in client.list_deployments("web")}
        assert daemon.stop() == 0


@pytest.mark.e2e
def test_daemon_deploys_what_found_no_room_in_history_by_itself_when_there_is(stack: ExitStack) -> None:
    """One record counts the attempts, although each finds another number of bytes free."""
    with cramped(stack, "size=8m,nr_inodes=1k") as (daemon, client, source, target):
        before = picture(target)
        (source / "large").write_bytes(os.urandom(4_000_000))
        failed = eventually(
            lambda: [r for r in client.list_deployments("web") if r.status == FAILED and r.attempts > 1],
            within=20,
            what="another attempt",
        )
        assert [(r.error.reason, r.status) for r in failed] == [("NO_SPACE", FAILED)]
        assert [r.status for r in client.list_deployments("web")] == [FAILED, SUCCESS], "no flood"
        assert picture(target) == before
        subprocess.run(["mount", "-o", "remount,size=40m", daemon.state], check=True)
        eventually(lambda: alike(source, target), within=30)
        assert "Traceback" not in daemon.log()
        assert daemon.stop() == 0
