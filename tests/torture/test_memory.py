"""Nothing grows with the number of deployments but history and records (soak.py does the same for hours, on the daemon)."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from tests.torture.scale import times
from tests.unit.effects.faults import in_child

from headgated import ConfigurationDeployer
from headgated.core.config import LimitSettings, Settings
from headgated.core.errors import DeploymentFailedError

pytestmark = [pytest.mark.torture, pytest.mark.slow]

A_DEPLOYMENT = 700
"""Bytes that one deployment may leave in memory: its line in the index of records is some hundred."""
LARGE = times(48, 512) * 1024 * 1024
"""Bytes of a file well above the limit for what is in memory whole, here 1 MiB."""
STREAMED = 24 * 1024 * 1024
"""Bytes that a deployment of it may take at most: pieces, and what SQLite keeps of them before it writes them out."""
SLACK = 2 * 1024 * 1024
"""Bytes that allocators may differ by."""
CACHE = 8 * 1024 * 1024
"""Bytes of history's pages that are kept in memory."""
FILLED = 2_000
"""Deployments after which these are full."""


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

        warm = times(50, FILLED)
        deploy(0, warm)
        rss, descriptors, threads = weigh()
        deploy(warm, warm + count)
        now_rss, now_descriptors, now_threads = weigh()
    grown = now_rss - rss
    print({"deployments": count, "bytes grown": grown, "bytes a deployment": grown // count})  # noqa: T201 - figures
    assert grown < SLACK + (CACHE if warm < FILLED else 0) + A_DEPLOYMENT * count
    # A few are opened, and begun, when they are first needed; a leak would be one for each deployment.
    assert now_descriptors <= descriptors + 4
    assert now_threads <= threads + 4, "history's checkpointer may have joined, and some that sync"


def peak() -> int:
    """Return the most resident bytes since `mark`."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


def mark() -> int:
    """Begin to measure the peak anew; return the resident bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def fill(path: Path, piece: bytes) -> None:
    """Write a large file, a mebibyte at a time."""
    with path.open("wb") as file:
        for number in range(LARGE >> 20):
            file.write((b"%8d\0" % number).ljust(1 << 20, piece))


@pytest.mark.timeout(100_000)
def test_large_file_is_never_held_in_memory(quick: Path) -> None:
    """Deployed, changed, compared, drifted, undone, exported, verified: its peak is that of a few pieces (S14)."""
    source, target = quick / "source", quick / "target"
    source.mkdir()
    fill(source / "large", b"a")

    def live(say: Callable[[bytes], None]) -> None:
        settings = Settings(limits=LimitSettings(stream_above=1 << 20))
        with ConfigurationDeployer(quick / "state", settings=settings) as deployer:
            deployer.create_environment("web", "testing", target, sources=[source], variables={"A": "a"})
            before = mark()
            deployer.deploy_configuration("web")
            fill(source / "large", b"b")
            second = deployer.deploy_configuration("web")
            with (target / "large").open("r+b") as edited:
                edited.write(b"by hand")
            adopted = deployer.adopt_drift("web")
            deployer.rollback_deployment(adopted.deployment_id)
            deployer.rollback_deployment(second.deployment_id)
            exported = sum(map(len, deployer.housekeeping.export(second.deployment_id)))
            assert exported > LARGE
            assert deployer.history.verify() == []
            say(b"%d" % (peak() - before))

    ended, said = in_child(live)
    assert ended == 0
    print({"bytes of the file": LARGE, "bytes of memory": int(said)})  # noqa: T201 - figures
    assert int(said) < STREAMED
    with (target / "large").open("rb") as first:
        assert first.read(10) == b"       0\0a"
    assert (target / "large").stat().st_size == LARGE


def test_large_template_is_refused_by_name_and_copied_where_that_is_said(quick: Path) -> None:
    source, target = quick / "source", quick / "target"
    source.mkdir()
    (source / "fits").write_bytes(b"$A".ljust(1 << 20))
    (source / "large").write_bytes(b"$A".ljust((1 << 20) + 1))
    (source / "grows").write_bytes(b"$A" * 2000)
    settings = Settings(limits=LimitSettings(stream_above=1 << 20))
    with ConfigurationDeployer(quick / "state", settings=settings) as deployer:
        deployer.create_environment("web", "testing", target, sources=[source], variables={"A": "a" * 1000})
        with pytest.raises(DeploymentFailedError) as caught:
            deployer.deploy_configuration("web")
        assert caught.value.reason == "RENDER_FAILED"
        assert set(caught.value.paths) == {"large", "grows", "fits"}
        assert "limits.stream_above" in caught.value.message
        assert not target.exists() or not list(target.iterdir())
        deployer.go_by(Settings(limits=LimitSettings(stream_above=4 << 20)))
        deployer.deploy_configuration("web")
        assert (target / "grows").read_bytes() == b"a" * 2_000_000
        deployer.go_by(settings)
        (source / "large").write_bytes(b"$A".ljust((1 << 20) + 2))
        with pytest.raises(DeploymentFailedError) as caught:
            deployer.deploy_configuration("web")
        deployer.change_environment(
            "web",
            lambda old: replace(old, policies=replace(old.policies, verbatim=("large", "grows", "fits"))),
        )
        deployer.deploy_configuration("web")
        assert (target / "large").read_bytes() == b"$A".ljust((1 << 20) + 2)
