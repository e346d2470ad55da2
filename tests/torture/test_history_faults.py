"""Each write and sync of history's own files failing in turn, in the real daemon: all or nothing, told, and good again by itself."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path

import pytest
from tests.attached import attached
from tests.e2e.harness import FAILED, SUCCESS, Daemon, eventually, running
from tests.torture.killing import FAST
from tests.torture.scale import times
from tests.torture.trees import alike, leftovers, picture

from headgate import Client
from headgate.errors import HeadgateError

pytestmark = [
    pytest.mark.torture,
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.root,
    pytest.mark.timeout(10_000),
    pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root traces a daemon that is no child of the tracer"),
]

LARGE = 2_500_000
"""Bytes: two of these are enough for the log to be brought into the main file at once."""


class Fault:
    """A call on history's files that fails."""

    def __init__(self, trace: Path) -> None:
        self._trace = trace

    @property
    def struck(self) -> bool:
        """Whether it has."""
        return "(INJECTED)" in self._trace.read_text(encoding="ascii", errors="replace")


@contextmanager
def failing(daemon: Daemon, call: str, error: str, when: str) -> Iterator[Fault]:
    """For a while, let calls on history's files fail: the `when`-th of each thread, or with a + all from there on."""
    assert daemon.process is not None
    trace = daemon.home / "trace"
    files = [part for name in ("history.db", "history.db-wal") for part in ("-P", str(daemon.state / name))]
    inject = ["-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={when}", "-e", "signal=none"]
    with ExitStack() as stack:
        try:
            stack.enter_context(attached(daemon.process.pid, ["-s", "0", "-o", str(trace), *inject, *files]))
        except PermissionError as refusal:
            pytest.skip(f"strace may not attach here: {refusal}")
        yield Fault(trace)


class Place:
    """An environment of a daemon, deployed to once."""

    def __init__(self, daemon: Daemon, client: Client, strategy: str, *, auto_sync: bool, size: int) -> None:
        self.daemon, self.client, self._size = daemon, client, size
        self.source, self.target = daemon.home / "source", daemon.home / "above" / "target"
        self.source.mkdir()
        self.change()
        daemon.cli(
            *("env", "create", "web", "--type", "testing", "--source", self.source, "--target", self.target),
            *("--strategy", strategy, "--auto-sync" if auto_sync else "--no-auto-sync"),
        )
        self.deploy()

    def change(self) -> None:
        for name in ("one", "two", "three"):
            (self.source / name).write_bytes(os.urandom(self._size))

    def deploy(self) -> None:
        """Deploy, as nothing stands in the way."""
        record = self.client.wait_for_deployment(self.client.deploy("web").deployment_id, 30)
        assert (record.status, record.error.message) == (SUCCESS, "")
        assert alike(self.source, self.target)
        assert not leftovers(self.target.parent)

    def attempt(self) -> bool | None:
        """Deploy what may fail, until nothing is under way any more; returns whether the record says success, None where there is none."""
        try:
            record = self.client.wait_for_deployment(self.client.deploy("web").deployment_id, 30)
        except HeadgateError as error:
            assert error.reason == "STATE_NOT_WRITABLE"  # noqa: PT017 - it need not be raised
            return None
        with suppress(HeadgateError):
            self.client.plan("web")  # which waits for its turn
        assert record.status in (SUCCESS, FAILED)
        assert record.status == SUCCESS or record.error.reason == "STATE_NOT_WRITABLE"
        return record.status == SUCCESS


@contextmanager
def place(strategy: str, *, auto_sync: bool = False, size: int = 500) -> Iterator[Place]:
    directory = FAST if FAST.is_dir() else None
    with running("[settle]\nquiet = 0\n", directory) as daemon, daemon.client() as client:
        yield Place(daemon, client, strategy, auto_sync=auto_sync, size=size)


@pytest.mark.parametrize("strategy", ["in-place", "atomic"])
@pytest.mark.parametrize(
    ("call", "error", "on"),
    [
        ("pwrite64", "ENOSPC", ""),
        ("pwrite64", "EIO", ""),
        ("pwrite64", "EROFS", ""),
        ("pwrite64", "ENOSPC", "+"),
        ("fdatasync", "EIO", ""),
        ("fdatasync", "ENOSPC", "+"),
    ],
)
def test_each_call_on_history_that_fails_leaves_all_or_nothing_and_the_next_attempt_succeeds(
    strategy: str, call: str, error: str, on: str
) -> None:
    """Of those of one deployment, each in turn until none is left to fail."""
    struck, missed, outcomes = 0, 0, set()
    with place(strategy) as site:
        for number in count(1, times(4, 1) if call == "pwrite64" else 1):
            before = picture(site.target)
            site.change()
            with failing(site.daemon, call, error, f"{number}{on}") as fault:
                success = site.attempt()
                has_struck = fault.struck
            context = f"{call} {number}{on}: {error}, {success}"
            assert picture(site.target) == (picture(site.source) if success else before), context
            site.deploy()
            eventually(lambda: not site.client.status().problems, what="no problem to be told any more")
            outcomes.add(success)
            struck += has_struck
            missed = 0 if has_struck else missed + 1
            if missed > 1:  # Once may be strace's fault: it misses one where a machine is busy.
                break
        damage = list(site.client.verify_history().damages)
        assert not damage
    print({f"{call} {error}{on} {strategy}": struck})  # noqa: T201 - figures
    assert struck > (4 if call == "pwrite64" else 0)
    assert outcomes > {True}


@pytest.mark.parametrize(
    ("call", "error"), [("fdatasync", "EIO"), ("ftruncate", "EIO"), ("pwrite64", "ENOSPC")]
)
def test_calls_of_a_large_deployment_and_of_the_checkpoint_after_it(call: str, error: str) -> None:
    """The checkpoint comes in a quiet moment; when the last of its calls was made to fail, nobody can tell but by waiting."""
    numbers = [1, 2, 3, 50, 700, 2000, 3000] if call == "pwrite64" else range(1, 8)
    struck = 0
    with place("in-place", size=LARGE) as site:
        for number in numbers:
            before = picture(site.target)
            site.change()
            with failing(site.daemon, call, error, str(number)) as fault:
                success = site.attempt()
                with suppress(AssertionError):
                    eventually(lambda: fault.struck, within=3)
                struck += fault.struck
                was_last = not fault.struck
            assert picture(site.target) == (picture(site.source) if success else before), number
            site.deploy()
            if was_last:
                break
        damage = list(site.client.verify_history().damages)
        assert not damage
    print({f"{call} {error}, large": struck})  # noqa: T201 - figures
    assert struck


@pytest.mark.parametrize("strategy", ["in-place", "atomic"])
@pytest.mark.parametrize(
    ("call", "error"), [("pwrite64", "ENOSPC"), ("pwrite64", "EIO"), ("fdatasync", "EIO")]
)
def test_daemon_says_that_history_cannot_be_written_and_goes_on_by_itself(
    strategy: str, call: str, error: str
) -> None:
    with place(strategy, auto_sync=True) as site:
        before = picture(site.target)
        with failing(site.daemon, call, error, "1+"):
            (site.source / "one").write_text("another\n")
            eventually(lambda: "nothing is deployed" in site.client.get_environment("web").sync.message)
            told = eventually(
                lambda: [p.message for p in site.client.status().problems if p.reason == "STATE_NOT_WRITABLE"]
            )
            assert len(told) == 1
            assert str(site.daemon.state / "history.db") in told[0]
            assert picture(site.target) == before
        eventually(lambda: alike(site.source, site.target))
        eventually(lambda: not site.client.status().problems)
        assert site.client.get_environment("web").sync.message == ""
        assert not leftovers(site.target.parent)
