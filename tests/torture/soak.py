"""Keeps a real daemon busy for a while and prints what it takes, so that whatever grows is seen.

    python -m tests.torture.soak --seconds 3600 --every 60

Three environments, one edit after the other, now and then a rollback, a restore, a client that comes and goes. Ends with 1 where a
deployment failed, a target is not what its source is, or descriptors, threads or watches have grown.
"""

# ruff: noqa: T201 - printing is what it is for

from __future__ import annotations

import argparse
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from tests.e2e.harness import FAILED, SUCCESS, Daemon, eventually, running
from tests.torture.trees import alike, grow, shuffle

from headgate import Client

NAMES = ("one", "two", "three")
HEADS = ("seconds", "deployments", "failures", "rss_kib", "descriptors", "threads", "watches")


@dataclass(frozen=True)
class Weight:
    """What the daemon takes at a time."""

    rss_kib: int
    descriptors: int
    threads: int
    watches: int


class Soak:
    """One daemon, its environments, and counts."""

    def __init__(self, daemon: Daemon, client: Client, seed: int) -> None:
        self.daemon, self.client, self.rng = daemon, client, random.Random(seed)
        self.failures = 0
        self.newest = dict.fromkeys(NAMES, 0)

    def begin(self) -> None:
        for name in NAMES:
            grow(self.source(name), self.rng)
            self.client.create_environment(
                name, type="development", config_path=str(self.target(name)), sources=[str(self.source(name))]
            )

    def source(self, name: str) -> Path:
        return self.daemon.home / f"{name}.source"

    def target(self, name: str) -> Path:
        return self.daemon.home / f"{name}.target"

    def turn(self) -> None:
        """Do one thing to one environment, and wait until it has come of it what should."""
        name, chance = self.rng.choice(NAMES), self.rng.random()
        shuffle(self.source(name), self.rng)
        self.follows(name)
        if chance < 0.1:
            with self.daemon.client() as client:
                record = client.wait_for_deployment(client.deploy(name).deployment_id, 60)
                undone = client.wait_for_deployment(client.rollback(record.deployment_id).deployment_id, 60)
                client.resume_environment(name)
                self.failures += sum(done.status != SUCCESS for done in (record, undone))

    def follows(self, name: str) -> None:
        """Wait until a target is what its source is."""
        eventually(lambda: alike(self.source(name), self.target(name)), within=60, what=f"{name} to follow")

    def settle(self) -> None:
        """Wait until all is deployed; count what failed."""
        for name in NAMES:
            self.client.resume_environment(name)
            self.follows(name)
            self.failures += sum(
                record.status == FAILED for record in self.client.list_deployments(name, statuses=["failed"])
            )

    def deployments(self) -> int:
        return sum(environment.sync.sequence for environment in self.client.list_environments())

    def weigh(self) -> Weight:
        assert self.daemon.process is not None
        process = psutil.Process(self.daemon.process.pid)
        watches = sum(source.directories for source in self.client.status().sources)
        return Weight(process.memory_info().rss // 1024, process.num_fds(), process.num_threads(), watches)


def soak(seconds: float, every: float, seed: int) -> bool:
    """Run for so many seconds; tell whether all was well."""
    print(f"seed {seed}\n" + " ".join(f"{head:>11}" for head in HEADS), flush=True)
    with running() as daemon, daemon.client() as client:
        work = Soak(daemon, client, seed)
        work.begin()
        began = time.monotonic()
        due, first = every, None
        while time.monotonic() - began < seconds:
            work.turn()
            if time.monotonic() - began >= due:
                due += every
                first = first or work.weigh()
                _print(time.monotonic() - began, work)
        work.settle()
        last = work.weigh()
        _print(time.monotonic() - began, work)
    first = first or last
    grown = (
        last.descriptors > first.descriptors + 5 or last.threads > 100 or last.watches > first.watches + 20
    )
    return not work.failures and not grown


def _print(seconds: float, work: Soak) -> None:
    weight = work.weigh()
    row = (
        int(seconds),
        work.deployments(),
        work.failures,
        weight.rss_kib,
        weight.descriptors,
        weight.threads,
        weight.watches,
    )
    print(" ".join(f"{value:>11}" for value in row), flush=True)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--seconds", type=float, default=60)
    arguments.add_argument("--every", type=float, default=10, help="seconds between lines")
    arguments.add_argument("--seed", type=int, default=time.time_ns())
    given = arguments.parse_args()
    sys.exit(0 if soak(given.seconds, given.every, given.seed) else 1)
