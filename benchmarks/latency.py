"""Benchmark 1: from a changed source file to the new bytes at the target, by size of the tree."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks import pausing, peers, trees
from benchmarks.daemon import Daemon, wait_synced
from benchmarks.figures import Samples, text
from benchmarks.observing import NotSeenError, Observer
from benchmarks.result import Line, Plot, Result, Table
from benchmarks.setting import Setting

TITLE = "Latency: from a changed source file to the new bytes at the target"
HOW = """\
One file of 4 KB among so many changes (by a rename into the source, or by being written in place); the time runs from just before
the change until another process sees the new bytes whole at the target. Each tool has a tree of its own. In each of several rounds all take
their turn, in random order; while one has its turn (some changes that do not count, then those that do) all others are stopped (SIGSTOP), so that none takes
processor time from it. Headgate renders the file (one variable), keeps history and a
record; the limit is a C program that only copies (`limits/relay.c`), *synced* with one `fsync` before its rename. *Bare Python* (`limits/bare.py`) renders the file and
keeps content and intent in SQLite, synced beside the file, and does nothing else. Torn: looks of the
observer at a file that was not whole; missing: not there. Headgate runs with its defaults, but for settle 0 where that is said."""

ZERO, DEFAULT = "Headgate, settle 0", "Headgate, default settle (20 ms)"
SYNCED = "limit, synced"
KINDS = ("rename", "write")
LATEST = 3.0
"""Seconds that a change may take; later it counts as lost."""
TOO_MANY_LOST = 5
LONG = 5.0
"""Minutes: a run with less for its rounds leaves out, in the largest tree, what takes minutes to begin."""
GAP = 0.03
"""Seconds of rest after each change, so that nobody's tidying up is in the next figure."""
WARM_UP = 3
"""Changes at the beginning of a turn that do not count."""
SLOW = "inotifywait + rsync of the tree"


@dataclass
class Contestant:
    """One tool with its tree and its observer."""

    name: str
    file: Path
    """The file that changes."""
    copy: Path
    rendered: bool
    observer: Observer
    pids: Callable[[], list[int]]
    """The process groups that it consists of, its observer left out."""
    number: int = 0
    lost: int = 0


def run(setting: Setting) -> Result:
    """Measure at each size."""
    sizes = (10, 1_000) if setting.quick else setting.sizes(10, 1_000, 10_000, 100_000)
    result = Result("latency", TITLE, HOW)
    lines: dict[str, Line] = {}
    ratios: dict[tuple[int, str], float] = {}
    for size in sizes:
        setting.say(f"latency: {size:,} files")
        samples, table = Samples(), _table(size)
        with ExitStack() as stack:
            home = setting.fresh(f"latency-{size}")
            few = size >= 100_000 and setting.minutes < LONG
            contestants = list(_contestants(home, size, stack, result, few=few))
            rounds, changes = (3, 15) if setting.quick else (5, 20)
            done = 0
            for _ in setting.rounds(rounds, 1 / len(sizes)):
                done += 1
                _round(contestants, samples, changes)
            table.title += f", {done} rounds"
            for one in contestants:
                _fill(table, one, samples)
                for kind in KINDS:
                    ratios[size, f"{one.name}/{kind}"] = samples.ratio(
                        f"{one.name}/{kind}", f"{SYNCED}/{kind}"
                    )
                lines.setdefault(one.name, Line(one.name)).points.append(
                    (size, samples.median(f"{one.name}/rename"))
                )
        result.tables.append(table)
    _judge(result, ratios, sizes)
    result.plots.append(
        Plot(
            "latency.svg",
            "Median latency of one change (by rename)",
            "files in the tree",
            "milliseconds",
            list(lines.values()),
        )
    )
    return result


def _judge(result: Result, ratios: dict[tuple[int, str], float], sizes: tuple[int, ...]) -> None:
    for size in sizes:
        for kind in KINDS:
            ratio = ratios[size, f"{ZERO}/{kind}"]
            what = f"one change by {kind} among {size:,} files, settle 0, p50 / synced limit"
            if size >= 1_000:
                result.goal(what, ratio, 2.0)
    first, last = sizes[1], sizes[-1]
    if first != last:
        growth = ratios[last, f"{ZERO}/rename"] / ratios[first, f"{ZERO}/rename"]
        result.goal(
            f"that ratio at {last:,} files / at {first:,} files (the same, within noise)", growth, 1.15
        )


def _table(size: int) -> Table:
    heads = ["", "rename p50", "p99", "x limit", "write p50", "p99", "x limit", "torn", "missing", "lost"]
    return Table(f"{size:,} files (milliseconds)", heads)


def _fill(table: Table, one: Contestant, samples: Samples) -> None:
    cells = []
    for kind in KINDS:
        name = f"{one.name}/{kind}"
        cells += [
            text(samples.median(name)),
            text(samples.p99(name)),
            text(samples.ratio(name, f"{SYNCED}/{kind}")),
        ]
    table.row(one.name, *cells, str(one.observer.torn), str(one.observer.missing), str(one.lost))


def _round(contestants: list[Contestant], samples: Samples, changes: int) -> None:
    for one in random.sample(contestants, len(contestants)):
        pausing.resume(one.pids())
        try:
            pausing.settle(one.pids())
            _turn(one, samples, changes if one.name != SLOW else max(1, changes // 5))
        finally:
            pausing.pause(one.pids())
    for one in contestants:
        expected = trees.hot(one.number, rendered=one.rendered)
        if not one.lost and one.copy.read_bytes() != expected:
            raise RuntimeError(f"{one.name} has put wrong bytes at its target")


def _turn(one: Contestant, samples: Samples, changes: int) -> None:
    kinds = [kind for kind in KINDS for _ in range(changes)]
    random.shuffle(kinds)
    for number, kind in enumerate([*KINDS, *KINDS][:WARM_UP] + kinds):
        if one.lost >= TOO_MANY_LOST:
            return
        try:
            taken = _change(one, kind)
        except NotSeenError:
            one.lost += 1
        else:
            if number >= WARM_UP:
                samples.add(f"{one.name}/{kind}", taken)
        time.sleep(GAP)


def _change(one: Contestant, kind: str) -> float:
    """Change the file; return after how many milliseconds the change was there."""
    one.number += 1
    content = trees.hot(one.number)
    if kind == "rename":
        beside = one.file.parents[2] / "next"
        beside.write_bytes(content)
        began = time.monotonic_ns()
        os.rename(beside, one.file)
    else:
        began = time.monotonic_ns()
        with open(one.file, "wb", buffering=0) as file:
            file.write(content)
    return (one.observer.wait(one.number, LATEST) - began) / 1e6


def _contestants(
    home: Path, size: int, stack: ExitStack, result: Result, *, few: bool
) -> Iterator[Contestant]:
    base = home / "base"
    trees.grow(base, size, 1024)
    field = [peers.relay(synced=True), peers.relay(synced=False), peers.bare(), peers.inotifywait("file")]
    if few:
        result.remarks.append(
            f"At {size:,} files only some took part: a run of minutes has no time to copy so many trees."
        )
    else:
        field += [peers.lsyncd("direct"), peers.lsyncd("rsync"), peers.inotifywait("tree"), peers.watchman()]
    for peer in field:
        if missing := peer.missing():
            result.missing += [f"{peer.name}: {why}" for why in missing]
            continue
        place = home / f"p{len(list(home.iterdir()))}"
        file = _prepare(base, place, size)
        stack.callback(peer.stop)
        try:
            peer.start(place)
        except (RuntimeError, OSError) as error:
            result.missing.append(f"{peer.name}: did not start ({str(error)[:200]})")
            peer.stop()
            continue
        copy = peer.target / (file.name if peer.flat else file.relative_to(peer.source))
        yield _observed(stack, peer.name, file, copy, peer.pids, rendered=peer.rendered)
    for name, settle in ((ZERO, 0.0),) if few else ((ZERO, 0.0), (DEFAULT, None)):
        place = home / f"h{len(list(home.iterdir()))}"
        file = _prepare(base, place, size)
        daemon = Daemon(place)
        daemon.start()
        stack.callback(daemon.stop)
        with daemon.client() as client:
            client.create_environment(
                "canal",
                type="testing",
                config_path=str(place / "target"),
                sources=[str(place / "source")],
                variables={trees.VARIABLE: trees.VALUE},
                policies={"settle_quiet": settle},
            )
            wait_synced(client, "canal")
        copy = place / "target" / file.relative_to(place / "source")
        yield _observed(stack, name, file, copy, daemon.pids, rendered=True)


def _prepare(base: Path, place: Path, size: int) -> Path:
    """Make a tree like the base for one tool; return the file in it that changes."""
    source = place / "source"
    trees.clone(base, source)
    file = source / trees.place(size // 2)
    file.unlink()
    file.write_bytes(trees.hot(0))
    return file


def _observed(
    stack: ExitStack, name: str, file: Path, copy: Path, pids: Callable[[], list[int]], *, rendered: bool
) -> Contestant:
    """Observe a tool that has just begun, and stop it until its turn comes."""
    observer = stack.enter_context(Observer([copy], trees.HOT_BYTES, rendered=rendered))
    pausing.settle(pids())
    pausing.pause(pids())
    stack.callback(lambda: pausing.resume(pids()))  # else it could not end
    return Contestant(name, file, copy, rendered, observer, pids)
