"""Nothing grows with the number of deployments but history and records (soak.py does the same for hours, on the daemon)."""

from __future__ import annotations

import gc
import os
import threading
from pathlib import Path

import psutil
import pytest
from tests.torture.scale import times

from headgated import ConfigurationDeployer

pytestmark = [pytest.mark.torture, pytest.mark.slow]

A_DEPLOYMENT = 2_000
"""Bytes that one deployment may leave in memory: its line in the index of records is some hundred."""
SLACK = 8 * 1024 * 1024
"""Bytes that allocators and caches may differ by."""


def weigh() -> tuple[int, int, int]:
    """Return resident bytes, open descriptors and threads."""
    gc.collect()
    process = psutil.Process()
    return process.memory_info().rss, len(os.listdir("/proc/self/fd")), threading.active_count()


@pytest.mark.timeout(100_000)
def test_memory_descriptors_and_threads_stay_level(quick: Path) -> None:
    source, target = quick / "source", quick / "target"
    source.mkdir()
    for number in range(50):
        (source / f"f{number}").write_text(f"{number}\n")
    count = times(150)
    with ConfigurationDeployer(quick / "state") as deployer:
        deployer.create_environment("web", "testing", target, sources=[source])

        def deploy(first: int, last: int) -> None:
            for generation in range(first, last):
                (source / f"f{generation % 50}").write_text(f"generation {generation}\n" * 20)
                done = deployer.deploy_configuration("web")
                if generation % 10 == 0:
                    deployer.rollback_deployment(done.deployment_id)

        deploy(0, 50)
        rss, descriptors, threads = weigh()
        deploy(50, 50 + count)
        now_rss, now_descriptors, now_threads = weigh()
    grown = now_rss - rss
    print({"deployments": count, "bytes grown": grown, "bytes a deployment": grown // count})  # noqa: T201 - figures
    assert grown < SLACK + A_DEPLOYMENT * count
    assert now_descriptors <= descriptors + 1
    assert now_threads <= threads + 1, "only history's checkpointer may have joined"
