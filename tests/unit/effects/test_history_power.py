"""Kills, power cuts, full and failing disks: never half a commit, and nothing lost that was promised."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from tests.torture.scale import times
from tests.unit.effects.past import TOKEN, ask, commit, deploy, digest, intent, put, whole
from tests.unit.effects.remembering import wanted

from headgated.core.errors import UnavailableError
from headgated.core.tree import EMPTY, Directory
from headgated.effects.history import History

ROOT = Path(__file__).parents[3]
MEBIBYTE = 1024 * 1024


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


# Kills


def run_and_kill(path: Path, after: float) -> tuple[int, int]:
    """Run the program, kill it so many seconds after its first promise; returns the last ones: (committed, applied)."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.unit.effects.remembering", str(path)], cwd=ROOT, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    first = child.stdout.readline()
    threading.Timer(after, child.kill).start()
    said = [line.split() for line in (first + child.stdout.read()).splitlines()]
    assert child.wait() == -9
    child.stdout.close()
    last = {kind: max((int(n) for which, n in said if which == kind), default=0) for kind in (b"C", b"A")}
    return last[b"C"], last[b"A"]


@pytest.mark.torture
def test_history_is_whole_after_every_kill(path: Path) -> None:
    chance = random.Random(11)
    for _ in range(int(os.environ.get("HEADGATE_KILLS", "3"))):
        committed, applied = run_and_kill(path, chance.uniform(0.0, 0.12))
        history = History(path)
        assert history.verify() == []
        head = history.head("prod")
        unfinished = history.unfinished()
        assert len(unfinished) <= 1
        reached = 0 if head is None else head.sequence
        assert reached >= applied
        if committed > reached:
            assert unfinished[0].intent is not None
            assert unfinished[0].intent.sequence == committed
        for each in unfinished:
            end = history.abandoned if each.intent is None else history.applied
            end(each.deployment_id)
        head = history.head("prod")
        assert head is not None
        for path_, content in wanted(head.sequence).items():
            assert content is None or whole(history, content) == content, path_
        assert history.unfinished() == []
        history.close()


# Power cuts


def files_of(path: Path) -> dict[str, bytes]:
    return {suffix: Path(f"{path}{suffix}").read_bytes() for suffix in ("", "-wal")}


def cut(state: dict[str, bytes], length: int, at: Path) -> Path:
    """What a power cut may leave of the log: all that was synced, and nothing or anything of the rest."""
    at.write_bytes(state[""])
    Path(f"{at}-wal").write_bytes(state["-wal"][:length])
    return at


@pytest.mark.torture
def test_power_cut_loses_nothing_that_was_committed_and_tears_nothing(path: Path, tmp_path: Path) -> None:
    history = History(path)
    managed, synced = EMPTY, []
    for n in range(1, 9):
        committed = commit(history, f"deploy_prod_{n}", managed, wanted(n), sequence=n)
        synced.append(os.stat(f"{path}-wal").st_size)
        managed = committed.managed_after
        history.applied(f"deploy_prod_{n}")
    put(history, b"never committed" * 50_000)
    state = files_of(path)
    history.close()
    chance = random.Random(5)
    lengths = [
        *synced,
        *(size - 1 for size in synced),
        *(chance.randrange(len(state["-wal"])) for _ in range(times(25))),
    ]
    for number, length in enumerate(lengths):
        again = History(cut(state, length, tmp_path / f"cut-{number}.db"))
        promised = sum(size <= length for size in synced)
        assert again.verify() == []
        for n in range(1, promised + 1):
            assert len(again.changes(f"deploy_prod_{n}")) == len(wanted(n))
        head = again.head("prod")
        assert (0 if head is None else head.sequence) >= promised - 1
        assert [each.intent is not None for each in again.unfinished()] in ([], [True], [False])
        again.close()
    print({"prefixes of the log": len(lengths), "bytes of it": len(state["-wal"])})  # noqa: T201 - figures


@pytest.mark.torture
def test_power_cut_may_leave_garbage_where_nothing_was_synced(path: Path, tmp_path: Path) -> None:
    history = History(path)
    deploy(history, "deploy_prod_1", {b"a": b"one"})
    head = history.head("prod")
    assert head is not None
    commit(history, "deploy_prod_2", head.managed, {b"a": b"two"}, sequence=2)
    synced = os.stat(f"{path}-wal").st_size
    history.applied("deploy_prod_2")
    for n in range(200):
        put(history, b"%d" % n * 4000)
    state = files_of(path)
    history.close()
    chance = random.Random(7)
    for number in range(times(12)):
        log = bytearray(state["-wal"])
        for sector in range(synced // 512 + 1, len(log) // 512):
            if chance.random() < 0.5:
                log[sector * 512 : sector * 512 + 512] = chance.choice([bytes(512), chance.randbytes(512)])
        again = History(cut({**state, "-wal": bytes(log)}, len(log), tmp_path / f"cut-{number}.db"))
        assert again.verify() == []
        assert whole(again, b"two") == b"two"
        assert len(again.changes("deploy_prod_2")) == 1
        again.close()
    print({"logs with random sectors lost or replaced": times(12)})  # noqa: T201 - figures


def test_log_goes_into_the_file_in_a_quiet_moment_and_starts_over(path: Path) -> None:
    history = History(path)
    for n in range(40):
        put(history, os.urandom(200_000))
        deploy(history, f"deploy_prod_{n}", {b"a": b"%d" % n}, sequence=n)
    deadline = time.monotonic() + 20
    for n in count(40, 10):
        before = os.stat(f"{path}-wal").st_size
        for at in range(n, n + 10):
            deploy(history, f"deploy_prod_{at}", {b"a": b"%d" % at}, sequence=at)
        if os.stat(f"{path}-wal").st_size == before:
            break
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert path.stat().st_size > 7 * MEBIBYTE
    history.close()


# How often the disk is waited for


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_deployment_of_one_file_waits_for_the_disk_once(path: Path, tmp_path: Path) -> None:
    program = f"""
import os
from pathlib import Path
from headgated.core.tree import EMPTY
from headgated.effects.history import History
from tests.unit.effects.past import deploy
history = History(Path({str(path)!r}))
for n in range(11):
    deploy(history, f"deploy_prod_{{n}}", {{b"d/a": b"%d" % n * 4000}}, sequence=n, directories=())
    os.access(f"/done/{{n}}", os.F_OK)
os._exit(0)
"""
    report = tmp_path / "trace"
    command = ["strace", "-f", "-qq", "-e", "trace=fdatasync,fsync,access", "-o", str(report)]
    traced = subprocess.run([*command, sys.executable, "-c", program], cwd=ROOT, check=False)
    if traced.returncode:
        pytest.skip("strace may not trace here")
    trace = report.read_text()
    between = trace[trace.index("/done/0") : trace.index("/done/10")]
    assert between.count("fdatasync(") + between.count("fsync(") == 10


# A disk that fails


@pytest.fixture
def failing(path: Path) -> Iterator[tuple[History, int, int]]:
    """A history whose log cannot be synced once its descriptor (the second) is replaced; the third can mend it."""
    history = History(path)
    log = history._database._log
    saved = os.dup(log)
    yield history, log, saved
    os.close(saved)
    history.close()


def break_sync(log: int) -> None:
    """A pipe cannot be synced."""
    read, write = os.pipe()
    os.dup2(write, log)
    os.close(read)
    os.close(write)


def test_commit_that_cannot_be_synced_is_no_commit(failing: tuple[History, int, int], path: Path) -> None:
    history, log, saved = failing
    managed = deploy(history, "deploy_prod_1", {b"a": b"one"})
    break_sync(log)
    with pytest.raises(UnavailableError) as caught:
        commit(history, "deploy_prod_2", managed, {b"a": b"two"}, sequence=2, directories=())
    assert caught.value.reason == "STATE_NOT_WRITABLE"
    assert str(path) in caught.value.message
    os.dup2(saved, log)
    history.abandoned("deploy_prod_2")
    assert history.unfinished() == []
    deploy(history, "deploy_prod_3", {b"a": b"three"}, sequence=3)
    assert history.verify() == []


def test_after_a_failed_sync_everything_goes_into_the_file_before_the_next_promise(
    failing: tuple[History, int, int], path: Path, tmp_path: Path
) -> None:
    """The kernel tells of a failed write once. What it lost of the log must not stand between a later commit and the disk."""
    history, log, saved = failing
    managed = deploy(history, "deploy_prod_1", {b"a": b"one"})
    break_sync(log)
    with pytest.raises(UnavailableError):
        commit(history, "deploy_prod_2", managed, {b"a": b"two"}, sequence=2, directories=())
    os.dup2(saved, log)
    history.abandoned("deploy_prod_2")
    state = files_of(path)
    again = History(cut(state, 0, tmp_path / "cut.db"))
    assert whole(again, b"two") == b"two"
    assert again.verify() == []
    again.close()


# A full disk


@pytest.fixture
def little(tmp_path: Path) -> Iterator[Path]:
    """A file system of four megabytes."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system")
    mounted = tmp_path / "little"
    mounted.mkdir()
    if not mount("-t", "tmpfs", "-o", "size=4m", "none", str(mounted)):
        pytest.skip("mounting is not allowed here")
    yield mounted
    subprocess.run(["umount", "--lazy", str(mounted)], check=True)


def mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], check=False, capture_output=True).returncode == 0


def fill(history: History) -> list[bytes]:
    """Put contents until there is no room; returns those that were stored."""
    stored: list[bytes] = []
    for n in range(1000):
        content = os.urandom(20_000 if n % 3 else 1_300_000)
        try:
            put(history, content)
        except UnavailableError as error:
            assert (error.reason, bool(error.hint)) == ("STATE_NOT_WRITABLE", True)  # noqa: PT017 - who knows when
            return stored
        stored.append(content)
    raise AssertionError("there is room without end")


@pytest.mark.root
def test_full_disk_loses_nothing_and_is_left_again(little: Path) -> None:
    history = History(little / "history.db")
    managed = deploy(history, "deploy_prod_1", {b"a": b"one"})
    stored = fill(history)
    for content in stored:
        assert whole(history, content) == content
    refused = commit_until_refused(history, managed)
    assert whole(history, b"one") == b"one"
    head = history.head("prod")
    assert head is not None
    assert head.sequence == 1
    assert mount("-o", "remount,size=40m", str(little))
    history.abandoned(refused)
    assert history.unfinished() == []
    assert history.verify() == []
    deploy(history, "deploy_prod_999", {b"a": os.urandom(2_000_000)}, sequence=999)
    history.close()
    again = History(little / "history.db")
    assert again.verify() == []
    assert [again.has(digest(content)) for content in stored] == [True] * len(stored)
    again.close()


def commit_until_refused(history: History, managed: Directory) -> str:
    for n in range(2, 500):
        deployment_id = f"deploy_prod_{n}"
        try:
            history.begin("prod", deployment_id, TOKEN, "/target", [b""])
            put(history, b"%d" % n * 1000)
            history.commit(intent(deployment_id, managed, {b"a": b"%d" % n * 1000}, sequence=n))
            history.abandoned(deployment_id)
        except UnavailableError:
            return deployment_id
    raise AssertionError("there is room without end")


@pytest.mark.root
def test_full_disk_at_a_kill_leaves_a_whole_history(little: Path, tmp_path: Path) -> None:
    history = History(little / "history.db")
    deploy(history, "deploy_prod_1", {b"a": b"one"})
    fill(history)
    for suffix, content in files_of(little / "history.db").items():
        Path(f"{tmp_path / 'copy.db'}{suffix}").write_bytes(content)
    history.close()
    again = History(tmp_path / "copy.db")
    assert again.verify() == []
    assert ask(
        tmp_path / "copy.db",
        "SELECT count(*) FROM chunks WHERE series NOT IN (SELECT series FROM contents"
        " WHERE series IS NOT NULL)",
    ) == [(0,)]
    again.close()


@pytest.mark.root
def test_file_system_that_turned_read_only_is_told(little: Path) -> None:
    history = History(little / "history.db")
    managed = deploy(history, "deploy_prod_1", {b"a": b"one"})
    history.close()
    assert mount("-o", "remount,ro", str(little))
    with pytest.raises(UnavailableError) as caught:
        History(little / "history.db")
    assert caught.value.reason == "STATE_NOT_WRITABLE"
    assert mount("-o", "remount,rw", str(little))
    again = History(little / "history.db")
    head = again.head("prod")
    assert head is not None
    assert head.managed == managed
    again.close()


# Two at once


def test_commit_does_not_wait_for_a_large_deployment_beside_it(path: Path) -> None:
    history = History(path)
    done = threading.Event()

    def bulk() -> None:
        for n in range(12_000):
            put(history, b"%08d" % n * 512)
            if done.is_set():
                break

    large = threading.Thread(target=bulk)
    large.start()
    waits = []
    try:
        for n in range(1, 40):
            began = time.monotonic()
            deploy(history, f"deploy_prod_{n}", {b"a": b"%d" % n}, sequence=n)
            waits.append(time.monotonic() - began)
            if not large.is_alive():
                break
    finally:
        done.set()
        large.join()
    assert len(waits) > 5
    assert sorted(waits)[len(waits) // 2] < 0.5
    history.close()
