"""Benchmark 2: many files at once, first, when nothing is to do, when one in a hundred changed, and back."""

from __future__ import annotations

import os
import queue
import random
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import machine, trees
from benchmarks.daemon import Daemon, wait_synced
from benchmarks.figures import Samples, text
from benchmarks.limits import program
from benchmarks.result import Line, Plot, Result, Table
from benchmarks.setting import Setting
from headgate import Client
from headgate.v1 import deployment_pb2, environment_pb2

TITLE = "Bulk: many files at once"
HOW = """\
Each program makes a target like its source: the first time (into nothing), again when nothing is to do, and when one file in a hundred was replaced.
Every round each program gets a new source and a new target, in random order; everything is on disk before a clock starts. C programs
(`limits/copy.c`) and rsync are told to run and are timed from start to exit; *each synced* means one `fsync` for each file. Headgate runs already, as it
does at its users'. *First* is from the creation of the environment to "synced"; *nothing* is a deployment that somebody orders: it looks at every
file of source and target, and makes a record; *1 %* is noticed by events, from the last change to the end of the deployment, without the 20 ms for which
the source must be quiet by default; *rollback* gives back what those files were, from history. Where nothing changed and events are
trusted there is no scan at all: the table has the processor time that one meaningless event costs."""

HEADGATE = "Headgate"
FSYNC, RSYNC, THREADED = "rsync -a --fsync", "rsync -a", "C, each synced, 16 threads"
PHASES = ("first", "nothing", "1 %", "rollback")
SETTLE = 20.0
"""Milliseconds: the default of `settle.quiet`."""


@dataclass(frozen=True)
class Size:
    """One size of tree."""

    files: int
    bytes: int
    rounds: int

    def __str__(self) -> str:
        return f"{self.files:,} files of {self.bytes // 1024} KB"


def run(setting: Setting) -> Result:
    """Measure at each size."""
    sizes = [Size(2_000, 4096, 3)] if setting.quick else [Size(10_000, 4096, 5), Size(100_000, 1024, 3)]
    sizes = [size for size in sizes if size.files <= setting.most]
    result = Result("bulk", TITLE, HOW, missing=machine.without("rsync"))
    for size in sizes:
        setting.say(f"bulk: {size}")
        samples = Samples()
        base = setting.fresh(f"bulk-{size.files}") / "base"
        trees.grow(base, size.files, size.bytes)
        for number in setting.rounds(size.rounds, 1 / len(sizes)):
            setting.say(f"bulk: {size}, round {number + 1} of up to {size.rounds}")
            _round(base.parent / f"round{number}", base, size, samples)
        result.tables.append(_table(size, samples))
        _judge(result, size, samples)
        result.plots.append(_plot(size, samples))
    return result


def _programs() -> dict[str, Callable[[Path, Path], None]]:
    copiers = {
        "C, not synced, 2 threads": ("2", "none"),
        THREADED: ("16", "each"),
        "C, each synced, 1 thread": ("1", "each"),
    }
    found: dict[str, Callable[[Path, Path], None]] = {name: _copier(*how) for name, how in copiers.items()}
    if not machine.without("rsync"):
        found |= {RSYNC: _rsync(), FSYNC: _rsync("--fsync")}
    return found


def _copier(threads: str, how: str) -> Callable[[Path, Path], None]:
    def copy(source: Path, target: Path) -> None:
        command = [program("copy"), str(source), str(target), threads, how]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    return copy


def _rsync(*options: str) -> Callable[[Path, Path], None]:
    def copy(source: Path, target: Path) -> None:
        subprocess.run(["rsync", "-a", *options, f"{source}/", f"{target}/"], check=True)

    return copy


def _round(home: Path, base: Path, size: Size, samples: Samples) -> None:
    programs = _programs()
    order = [*programs, HEADGATE]
    random.shuffle(order)
    for name in order:
        place = home / f"p{order.index(name)}"
        source, target = place / "source", place / "target"
        trees.clone(base, source)
        target.mkdir()
        if name == HEADGATE:
            _headgate(place, size, samples)
            continue
        for phase in PHASES[:3]:
            if phase == "1 %":
                _replace(source, _replacements(place, size))
            os.sync()
            began = time.monotonic()
            programs[name](source, target)
            samples.add(f"{name}/{phase}", (time.monotonic() - began) * 1e3)
        _check(name, source, target)


def _headgate(place: Path, size: Size, samples: Samples) -> None:
    source, target = place / "source", place / "target"
    daemon = Daemon(place / "d")
    try:
        daemon.start()
        with daemon.client() as client:
            client.status()  # Connected, as a client that steers a daemon is.
            os.sync()
            began = time.monotonic()
            client.create_environment(
                "canal",
                type="testing",
                config_path=str(target),
                sources=[str(source)],
                variables={trees.VARIABLE: trees.VALUE},
            )
            wait_synced(client, "canal")
            samples.add(f"{HEADGATE}/first", (time.monotonic() - began) * 1e3)
            _check(HEADGATE, source, target)
            samples.add("event", _meaningless_event(daemon, source))
            os.sync()
            began = time.monotonic()
            _finished(client, client.deploy("canal").deployment_id)
            samples.add(f"{HEADGATE}/nothing", (time.monotonic() - began) * 1e3)
            deployed = _one_percent(client, place, size, samples)
            _check(HEADGATE, source, target)
            os.sync()
            began = time.monotonic()
            _finished(client, client.rollback(deployed, include_later=True).deployment_id)
            samples.add(f"{HEADGATE}/rollback", (time.monotonic() - began) * 1e3)
            _check(HEADGATE, place.parents[1] / "base", target)
            samples.add("memory", daemon.weigh().rss_mb)
    finally:
        daemon.stop()


def _finished(client: Client, deployment_id: str) -> None:
    record = client.wait_for_deployment(deployment_id, 600)
    if record.status != deployment_pb2.DEPLOYMENT_STATUS_SUCCESS:
        raise RuntimeError(f"{deployment_id} did not succeed: {record.error.message}")


def _meaningless_event(daemon: Daemon, source: Path) -> float:
    """Write a file's own bytes into it; return the daemon's processor time for that, in milliseconds."""
    file = source / trees.place(7)
    time.sleep(1.5)  # Whatever it still has to do after the deployment.
    before = daemon.weigh().cpu_seconds
    file.write_bytes(file.read_bytes())
    time.sleep(1.0)
    return (daemon.weigh().cpu_seconds - before) * 1e3


def _one_percent(client: Client, place: Path, size: Size, samples: Samples) -> str:
    """Replace one file in a hundred and wait; return the first deployment that came of it."""
    told: queue.Queue[str] = queue.Queue()
    live = threading.Event()

    def listen() -> None:
        for event in client.watch_deployments("canal"):
            if event.kind == environment_pb2.WATCH_EVENT_KIND_SNAPSHOT_END:
                live.set()
            elif live.is_set() and event.deployment.status == deployment_pb2.DEPLOYMENT_STATUS_SUCCESS:
                told.put(event.deployment.deployment_id)

    threading.Thread(target=listen, daemon=True).start()
    prepared = _replacements(place, size)
    live.wait(60)
    os.sync()
    _replace(place / "source", prepared)
    changed = time.monotonic()
    names = []
    while True:
        names.append(told.get(timeout=120))
        at = time.monotonic()
        if all((place / "target" / name).read_bytes() == content for name, content in _new(size)):
            break
    samples.add(f"{HEADGATE}/1 %", (at - changed) * 1e3 - SETTLE)
    return names[0]


def _new(size: Size) -> list[tuple[str, bytes]]:
    return [
        (trees.place(number), trees.filler(number, size.bytes, seed=1))
        for number in range(0, size.files, 100)
    ]


def _replacements(place: Path, size: Size) -> list[tuple[Path, str]]:
    """Write the new files beside the source; return where each is and where it goes."""
    beside = place / "next"
    beside.mkdir()
    written = []
    for name, content in _new(size):
        file = beside / Path(name).name
        file.write_bytes(content)
        written.append((file, name))
    return written


def _replace(source: Path, prepared: list[tuple[Path, str]]) -> None:
    for file, name in prepared:
        file.rename(source / name)


def _check(name: str, source: Path, target: Path) -> None:
    wrong = next(trees.differences(source, target), None)
    if wrong is not None:
        raise RuntimeError(f"{name} has put wrong bytes at its target: {wrong}")


def _table(size: Size, samples: Samples) -> Table:
    heads = ["", "first", "µs a file", "x limit", "nothing", "1 %", "x rsync --fsync", "rollback"]
    table = Table(f"{size}, {samples.count('memory')} rounds (milliseconds)", heads)
    for name in [*_programs(), HEADGATE]:
        first = samples.median(f"{name}/first")
        table.row(
            name,
            text(first),
            text(first * 1e3 / size.files),
            text(samples.ratio(f"{name}/first", f"{THREADED}/first")),
            text(samples.median(f"{name}/nothing")),
            text(samples.median(f"{name}/1 %")),
            text(samples.ratio(f"{name}/1 %", f"{FSYNC}/1 %")),
            text(samples.median(f"{name}/rollback")),
        )
    table.row(f"{HEADGATE}, nothing, one event", "", "", "", text(samples.median("event")), "", "", "")
    return table


def _judge(result: Result, size: Size, samples: Samples) -> None:
    ours = f"{HEADGATE}/"
    at = f"at {size}"
    if not result.missing:
        result.goal(
            f"first deployment / rsync -a --fsync, {at}", samples.ratio(f"{ours}first", f"{FSYNC}/first"), 0.6
        )
        result.goal(f"1 % changed / rsync -a --fsync, {at}", samples.ratio(f"{ours}1 %", f"{FSYNC}/1 %"), 0.5)
        result.goal(
            f"nothing to do, full scan / rsync -a, {at}",
            samples.ratio(f"{ours}nothing", f"{RSYNC}/nothing"),
            1.0,
        )
    result.goal(
        f"stretch: first deployment / C with 16 threads, each synced, {at}",
        samples.ratio(f"{ours}first", f"{THREADED}/first"),
        1.75,
    )
    if size.files >= 100_000:
        result.goal(f"memory of the daemon {at}", samples.median("memory"), 200, "MB")
    result.remarks.append(f"Memory of the daemon {at}, at the end: {text(samples.median('memory'))} MB.")


def _plot(size: Size, samples: Samples) -> Plot:
    names = [*_programs(), HEADGATE]
    lines = [
        Line(
            name,
            [
                (float(index), samples.median(f"{name}/{phase}"))
                for index, phase in enumerate(PHASES)
                if f"{name}/{phase}" in samples
            ],
        )
        for name in names
    ]
    return Plot(
        f"bulk-{size.files}.svg", f"{size}: median milliseconds", "", "milliseconds", lines, list(PHASES)
    )
