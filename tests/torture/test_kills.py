"""Killed at any moment, nothing is torn and nothing is lost (T10, promise 1)."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.e2e.harness import SUCCESS, Daemon, eventually, running
from tests.torture.scale import times
from tests.torture.trees import alike, grow, leftovers, shuffle

from headgate.v1 import deployment_pb2

pytestmark = [pytest.mark.torture, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
WRONG = (
    "torn",
    "lost",
    "leftovers",
    "record disagrees",
    "unfinished records",
    "damaged history",
    "does not deploy any more",
    "secrets kept",
)


@pytest.mark.timeout(100_000)
@pytest.mark.parametrize(
    ("strategy", "share", "more"), [("in-place", 15, ()), ("atomic", 5, ()), ("in-place", 5, ("--secrets",))]
)
def test_killed_deployer_leaves_all_or_nothing(strategy: str, share: int, more: tuple[str, ...]) -> None:
    kills = times(share)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.torture.killing", "--kills", str(kills)),
            *("--seed", str(time.time_ns()), "--strategy", strategy, *more),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    figures = json.loads(done.stdout)
    print(figures)  # noqa: T201 - the figures are what a long run is made for
    assert figures["kills"] >= kills
    assert figures["deployments"] > 0
    assert not {name: figures[name] for name in WRONG if figures[name]}, done.stderr[-3000:]


@pytest.mark.e2e
@pytest.mark.timeout(100_000)
def test_killed_daemon_comes_back_right() -> None:
    """Auto-sync and orders under way, the whole daemon killed at a random time; back, it converges and its records are finished."""
    rng = random.Random(time.time_ns())
    with running() as daemon:
        source, target = daemon.home / "source", daemon.home / "target"
        grow(source, rng)
        with daemon.client() as client:
            client.create_environment(
                "web", type="development", config_path=str(target), sources=[str(source)]
            )
        eventually(lambda: alike(source, target))
        for _ in range(times(2, times(2) // 20 + 2)):
            _kill_at_work(daemon, source, rng)
            daemon.start()
            with daemon.client() as client:
                eventually(lambda: alike(source, target), within=30, what="the target to be right again")
                assert not leftovers(target)
                records = list(client.list_deployments("web"))
                unfinished = (
                    deployment_pb2.DEPLOYMENT_STATUS_PENDING,
                    deployment_pb2.DEPLOYMENT_STATUS_IN_PROGRESS,
                )
                assert not [r.deployment_id for r in records[1:] if r.status in unfinished]
                deployed = client.wait_for_deployment(client.deploy("web").deployment_id, 30)
                assert deployed.status == SUCCESS


def _kill_at_work(daemon: Daemon, source: Path, rng: random.Random) -> None:
    end = time.monotonic() + rng.uniform(0.1, 0.6)
    while time.monotonic() < end:
        shuffle(source, rng)
        time.sleep(0.02)
    daemon.kill()
