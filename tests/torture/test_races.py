"""Orders, rollbacks, edits and changes of an environment from many sides at once end in one agreed state (D7)."""

from __future__ import annotations

import itertools
import os
import random
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from tests.e2e.harness import SUCCESS, Daemon, eventually, running
from tests.torture.scale import times
from tests.torture.trees import alike, differences, grow, leftovers, picture, shuffle

from headgate.errors import ConflictError, HeadgateError, NotFoundError, RefusedError
from headgate.v1 import deployment_pb2

pytestmark = [pytest.mark.torture, pytest.mark.slow, pytest.mark.e2e]

FINISHED = (
    deployment_pb2.DEPLOYMENT_STATUS_SUCCESS,
    deployment_pb2.DEPLOYMENT_STATUS_FAILED,
    deployment_pb2.DEPLOYMENT_STATUS_ROLLED_BACK,
)


def opened(process: psutil.Process) -> Counter[str]:
    """Return what a process has open, by kind or name."""
    found: Counter[str] = Counter()
    for name in os.listdir(f"/proc/{process.pid}/fd"):
        with suppress(FileNotFoundError):  # closed meanwhile
            found[os.readlink(f"/proc/{process.pid}/fd/{name}").partition(":[")[0]] += 1
    return found


class Quarrel:
    """Several clients that want different things of one environment, and an editor of its source."""

    def __init__(self, daemon: Daemon, source: Path, seed: int) -> None:
        self.daemon, self.source, self.seed = daemon, source, seed
        self.over = threading.Event()
        self.done: Counter[str] = Counter()
        self.surprises: list[BaseException] = []

    def run(self, seconds: float) -> None:
        """Let them quarrel for a while."""
        threads = [threading.Thread(target=self._edit)]
        threads += [threading.Thread(target=self._ask, args=(self.seed + n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(seconds)
        self.over.set()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()

    def _edit(self) -> None:
        rng = random.Random(self.seed)
        while not self.over.wait(rng.uniform(0, 0.1)):
            shuffle(self.source, rng)

    def _ask(self, seed: int) -> None:
        rng = random.Random(seed)
        with self.daemon.client() as client:
            while not self.over.is_set():
                deed = rng.choice(("deploy", "deploy", "roll back", "restore", "change", "resume"))
                try:
                    match deed:
                        case "deploy":
                            asked = client.deploy("web")
                            if rng.random() < 0.5:
                                client.wait_for_deployment(asked.deployment_id, 60)
                        case "roll back":
                            standing = client.list_deployments("web", statuses=["success"])
                            for newest in itertools.islice(standing, 1):  # There may be none just now.
                                client.rollback(newest.deployment_id, include_later=rng.random() < 0.5)
                        case "restore":
                            some = list(itertools.islice(client.list_deployments("web"), 10))
                            client.restore(rng.choice(some).deployment_id)
                        case "change":
                            client.update_environment("web", variables={"QUARREL_NUMBER": str(rng.random())})
                        case _:
                            client.resume_environment("web")
                    self.done[deed] += 1
                except (RefusedError, ConflictError, NotFoundError):
                    self.done[f"refused: {deed}"] += 1
                except HeadgateError as error:
                    self.surprises.append(error)


@pytest.mark.timeout(100_000)
def test_quarrel_ends_in_one_agreed_state() -> None:
    with running() as daemon, daemon.client() as client:
        source, target = daemon.home / "source", daemon.home / "target"
        grow(source, random.Random(1))
        client.create_environment("web", type="development", config_path=str(target), sources=[str(source)])
        eventually(lambda: alike(source, target))
        assert daemon.process is not None
        process = psutil.Process(daemon.process.pid)
        descriptors = opened(process)
        quarrel = Quarrel(daemon, source, time.time_ns())
        quarrel.run(times(4, times(4) // 10 + 4))
        print(dict(quarrel.done))  # noqa: T201 - the figures are what a long run is made for
        assert not quarrel.surprises
        client.resume_environment("web")
        last = client.wait_for_deployment(client.deploy("web").deployment_id, 60)
        assert last.status == SUCCESS, str(last.error)
        assert not differences(picture(source), picture(target))
        assert not leftovers(target)
        records = eventually(lambda: [*client.list_deployments("web")])
        assert {record.status for record in records} <= set(FINISHED)
        sequences = [record.sequence for record in records]
        assert sequences == sorted(set(sequences), reverse=True)
        assert "in a way nobody foresaw" not in daemon.log()
        assert "Traceback" not in daemon.log()
        deadline = time.monotonic() + 30
        while (more := opened(process) - descriptors).total() > 2:
            assert time.monotonic() < deadline, f"still open: {more}"
            time.sleep(0.05)
        assert process.num_threads() < 100
