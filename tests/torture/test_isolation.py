"""One environment whose file system hangs, whose record or history is damaged or whose target is gone harms no other (promise 11)."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.e2e.harness import FAILED, SUCCESS, Daemon, eventually, running
from tests.torture.trees import alike

from headgate import Client
from headgated import ConfigurationDeployer
from headgated.core.tree import Entry
from headgated.effects.target import Target
from headgated.effects.watch import Watcher
from headgated.engine.fleet import Fleet
from headgated.engine.syncing import Syncing

pytestmark = pytest.mark.torture


class Pair:
    """Two environments, `sick` and `well`, each with a source and a target of its own."""

    def __init__(self, home: Path) -> None:
        self.sources = {name: home / f"{name}.source" for name in ("sick", "well")}
        self.targets = {name: home / f"{name}.target" for name in ("sick", "well")}
        for name, source in self.sources.items():
            source.mkdir()
            (source / "app.conf").write_text(f"{name}\n")

    def create(self, client: Client) -> None:
        """Create both, with auto-sync, and wait until they are deployed."""
        for name, source in self.sources.items():
            client.create_environment(
                name, type="development", config_path=str(self.targets[name]), sources=[str(source)]
            )
        for name in self.sources:
            self.arrives(name)

    def edit(self, name: str, text: str) -> None:
        (self.sources[name] / "app.conf").write_text(text)

    def arrives(self, name: str) -> None:
        eventually(lambda: alike(self.sources[name], self.targets[name]), what=f"{name} to be right")


@contextmanager
def freezable(at: Path, image: Path) -> Iterator[None]:
    """Have a small file system that can be frozen; it is thawed at the end in any case."""
    at.mkdir()
    with image.open("wb") as file:
        file.truncate(16 * 1024 * 1024)
    made = subprocess.run(["mkfs.ext4", "-q", image], capture_output=True, text=True, check=False)
    if made.returncode == 0:
        made = subprocess.run(["mount", "-o", "loop", image, at], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no loop mounts here: {made.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["fsfreeze", "--unfreeze", at], capture_output=True, check=False)
        subprocess.run(["umount", "--lazy", at], check=True)


@pytest.mark.e2e
@pytest.mark.root
@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("mkfs.ext4") is None or shutil.which("fsfreeze") is None,
    reason="needs root, mkfs.ext4 and fsfreeze",
)
def test_frozen_target_holds_up_only_its_own_environment() -> None:
    with running() as daemon, daemon.client() as client:
        pair = Pair(daemon.home)
        with freezable(pair.targets["sick"], daemon.home / "image"):
            (pair.targets["sick"] / "lost+found").rmdir()
            pair.create(client)
            subprocess.run(["fsfreeze", "--freeze", pair.targets["sick"]], check=True)
            pair.edit("sick", "frozen\n")
            order = client.deploy("sick").deployment_id
            for number in range(10):
                pair.edit("well", f"{number}\n")
                pair.arrives("well")
            done = client.wait_for_deployment(client.deploy("well").deployment_id, 10)
            assert done.status == SUCCESS
            assert {environment.name for environment in client.status().environments} == {"sick", "well"}
            assert (pair.targets["sick"] / "app.conf").read_text() == "sick\n"
            subprocess.run(["fsfreeze", "--unfreeze", pair.targets["sick"]], check=True)
            assert client.wait_for_deployment(order, 20).status == SUCCESS
            pair.arrives("sick")
            assert daemon.stop() == 0


class Hanging(Target):
    """A target on a file system that does not answer until it is let go."""

    def __init__(self, root: str, answers: threading.Event) -> None:
        super().__init__(root)
        self._answers = answers

    def observe(self, paths: Iterable[bytes]) -> dict[bytes, Entry | None]:
        self._answers.wait()
        return super().observe(paths)


async def test_hanging_environment_does_not_keep_the_daemon_from_ending(tmp_path: Path) -> None:
    pair, answers = Pair(tmp_path), threading.Event()

    def open_target(root: str) -> Target:
        return Hanging(root, answers) if "sick" in root else Target(root)

    with ConfigurationDeployer(tmp_path / "state", open_target=open_target) as deployer:
        for name, source in pair.sources.items():
            deployer.create_environment(
                name, "development", pair.targets[name], sources=[source], auto_sync=True
            )
        watcher = Watcher(lambda _root, _paths: None)
        syncing = Syncing(
            deployer.environments, deployer.planning, deployer.deploying, deployer.ledger, lambda _name: None
        )
        fleet = Fleet(deployer, watcher, syncing, lambda _name: None)
        fleet.start()
        try:
            await asyncio.to_thread(pair.arrives, "well")
            began = asyncio.get_running_loop().time()
            assert not await fleet.stop(within=0.5), "it must say that some work hangs"
            assert asyncio.get_running_loop().time() - began < 5
        finally:
            answers.set()
            watcher.close()
        runtime = deployer.runtime("sick")
        await asyncio.to_thread(runtime.lock.acquire)  # its thread has ended before the deployer is closed
        assert not pair.targets["sick"].exists(), "work that goes on after the end changes nothing"


def restarted(daemon: Daemon) -> Client:
    daemon.start()
    return daemon.client()


@pytest.mark.e2e
def test_corrupt_records_are_named_and_the_rest_goes_on() -> None:
    """A6."""
    with running() as daemon:
        pair = Pair(daemon.home)
        with daemon.client() as client:
            pair.create(client)
            newest = next(client.list_deployments("sick")).deployment_id
        assert daemon.stop() == 0
        record = daemon.state / "config_deployments" / "sick" / f"{newest}.json"
        record.write_bytes(record.read_bytes()[:100])
        (daemon.state / "environments" / "third.json").write_text("{")
        with restarted(daemon) as client:
            told = " ".join(problem.message for problem in client.status().problems)
            assert newest in told
            assert "third.json" in told
            for name in ("sick", "well"):
                pair.edit(name, "after\n")
                pair.arrives(name)
            assert daemon.stop() == 0


@pytest.mark.e2e
def test_damaged_content_of_one_environment_fails_what_needs_it_and_nothing_else() -> None:
    with running() as daemon:
        pair = Pair(daemon.home)
        with daemon.client() as client:
            pair.create(client)
            for name in ("sick", "well"):
                pair.edit(name, f"second {name}\n")
                pair.arrives(name)
                client.wait_for_deployment(client.deploy(name).deployment_id, 10)
            seconds = {
                name: next(r for r in client.list_deployments(name) if r.changes.modified_count)
                for name in pair.sources
            }
        assert daemon.stop() == 0
        with sqlite3.connect(daemon.state / "history.db") as sql:
            changed = sql.execute(
                "UPDATE contents SET content = ? WHERE content = ?", (b"sock\n", b"sick\n")
            ).rowcount
        sql.close()
        assert changed == 1
        with restarted(daemon) as client:
            undone = client.rollback(seconds["sick"].deployment_id, include_later=True)
            failed = client.wait_for_deployment(undone.deployment_id, 10)
            assert failed.status == FAILED
            assert failed.error.reason == "HISTORY_DAMAGED"
            assert (pair.targets["sick"] / "app.conf").read_text() == "second sick\n"
            undone = client.rollback(seconds["well"].deployment_id, include_later=True)
            assert client.wait_for_deployment(undone.deployment_id, 10).status == SUCCESS
            assert (pair.targets["well"] / "app.conf").read_text() == "well\n"
            pair.edit("sick", "third\n")
            pair.arrives("sick")
            assert daemon.stop() == 0


@pytest.mark.e2e
def test_deleted_target_is_told_and_made_again_when_asked_for() -> None:
    with running() as daemon, daemon.client() as client:
        pair = Pair(daemon.home)
        pair.create(client)
        shutil.rmtree(pair.targets["sick"])
        pair.edit("well", "still going\n")
        pair.arrives("well")
        eventually(lambda: client.get_environment("sick").sync.drifted_count == 1, what="the loss to be told")
        done = client.wait_for_deployment(client.deploy("sick").deployment_id, 10)
        assert done.status == SUCCESS
        pair.arrives("sick")
        assert daemon.stop() == 0
