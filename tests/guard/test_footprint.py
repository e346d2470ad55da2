"""What a daemon to which nothing happens takes of the machine: memory, and processor time by way of what wakes it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.e2e.harness import SYNCED, Daemon, eventually, state_of

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(120)]

DIRECTORIES = 1_000
MOST_FOR_A_DIRECTORY = 10 * 1024
"""Bytes for one that is watched as source and as target, with one file in it, history and all."""
NOT_NEEDED = (
    *("email", "http.client", "importlib.metadata", "importlib.resources", "jsonschema", "ssl", "tarfile"),
    *("xml", "yaml"),
)
"""Megabytes of modules that only some deployments or options need."""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """A daemon with its defaults."""
    home = Path(tempfile.mkdtemp(prefix="hg-"))
    daemon = Daemon(home)
    try:
        yield daemon.start()
    finally:
        daemon.stop()
        shutil.rmtree(home, ignore_errors=True)


def resident(daemon: Daemon) -> int:
    """Return the bytes of memory that a daemon has."""
    assert daemon.process is not None
    status = Path(f"/proc/{daemon.process.pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:"))


def slack_of(thread: str | int) -> int:
    """Return by how many nanoseconds a thread's waits may be late."""
    return int(Path(f"/proc/{thread}/timerslack_ns").read_text(encoding="ascii"))


def test_daemon_does_not_import_what_only_some_need() -> None:
    code = "import headgated.__main__, headgated.app, sys; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert set(NOT_NEEDED) & set(ran.stdout.split()) == set()


def test_what_needs_tls_has_it_all_the_same() -> None:
    code = "import headgated.__main__; from headgated.effects.http_probe import ssl; print(ssl.create_default_context().verify_mode.name)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert ran.stdout == "CERT_REQUIRED\n"


def threads(daemon: Daemon) -> dict[str, str]:
    """Return a native id for each name that threads of a daemon have."""
    assert daemon.process is not None
    found = {}
    for task in Path(f"/proc/{daemon.process.pid}/task").iterdir():
        with suppress(OSError):  # A thread that ends meanwhile.
            found[(task / "comm").read_text(encoding="ascii").strip()] = task.name
    return found


def test_idle_threads_of_grpc_may_be_woken_together(daemon: Daemon) -> None:
    eventually(
        lambda: {"event_engine", "lifeguard"} <= threads(daemon).keys(), what="gRPC's threads to have names"
    )
    found = threads(daemon)
    assert slack_of(found["event_engine"]) == slack_of(found["lifeguard"]) == 500_000_000
    assert daemon.process is not None
    assert slack_of(daemon.process.pid) < 100_000_000


def test_watched_directory_takes_little_memory(daemon: Daemon) -> None:
    source, target = daemon.home / "source", daemon.home / "target"
    for number in range(DIRECTORIES):
        place = source / f"d{number:04d}"
        place.mkdir(parents=True)
        (place / "gate.conf").write_text(f"gate = {number}\n", encoding="utf-8")
    before = resident(daemon)
    with daemon.client() as client:
        client.create_environment("canal", type="testing", config_path=str(target), sources=[str(source)])
        eventually(lambda: state_of(client, "canal") == SYNCED, within=60, what="the first deployment")
    eventually(
        lambda: resident(daemon) - before <= DIRECTORIES * MOST_FOR_A_DIRECTORY,
        within=10,
        what=f"no more than {MOST_FOR_A_DIRECTORY} bytes for each directory",
    )
