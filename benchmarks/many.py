"""Benchmark 4: many environments, and many on one source."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks import trees
from benchmarks.daemon import Daemon
from benchmarks.figures import Samples, text
from benchmarks.observing import Observer
from benchmarks.result import Result, Table
from benchmarks.setting import Setting
from headgate import Client
from headgate.v1 import daemon_pb2, environment_pb2

TITLE = "Many: environments, and subscribers of one source"
HOW = """\
One daemon; each source has ten files, one of which changes by rename, settle 0. *One*, *ten* and *all subscribers*: from the change of one source to the
new bytes at the last of the targets of those that subscribe to it, in turn in every round. *Every source*: all sources change as fast as they can be
renamed, and all environments deploy; from the first change to the last target."""

FILES = 10


@dataclass
class Group:
    """A source and the targets of its subscribers."""

    name: str
    source: Path
    targets: list[Path]
    first: int = 0
    """Index of its first target among all that are observed."""
    number: int = 0

    def change(self) -> int:
        """Change the file; return when, in nanoseconds."""
        self.number += 1
        beside = self.source.parent / f"next-{self.source.name}"
        beside.write_bytes(trees.hot(self.number))
        began = time.monotonic_ns()
        beside.rename(self.source / trees.place(0))
        return began

    def awaited(self) -> dict[int, int]:
        """Return what shall be seen: the version by the index of each target."""
        return {self.first + index: self.number for index in range(len(self.targets))}


def run(setting: Setting) -> Result:
    """Measure."""
    environments, sources, subscribers = (100, 10, 50) if setting.quick else (1_000, 100, 200)
    rounds = 5 if setting.quick else 10
    home = setting.fresh("many")
    samples = Samples()
    groups = [_group(home, f"s{index}", environments // sources) for index in range(sources)]
    single, many = _group(home, "one", 1), _group(home, "all", subscribers)
    daemon = Daemon(home / "d", "[limits]\nmax_environments = 10000\n")
    with ExitStack() as stack:
        stack.callback(daemon.stop)
        daemon.start()
        client = stack.enter_context(daemon.client())
        observer = _observe(stack, [single, many, *groups])
        setting.say(f"many: {environments:,} environments on {sources} sources, {subscribers} on one")
        began = time.monotonic()
        for group in [single, many, *groups]:
            _subscribe(client, group)
        created = time.monotonic() - began
        _wait_all(client)
        deployed = time.monotonic() - began
        polled = _polled(client)
        for _ in setting.rounds(rounds, 0.5):
            for name, group in (("one", single), ("ten", groups[0]), ("all", many)):
                changed = group.change()
                samples.add(name, (observer.wait_each(group.awaited()) - changed) / 1e6)
                time.sleep(0.5)
        for _ in setting.rounds(2, 0.5):
            changed = min([group.change() for group in groups])
            awaited = {index: number for group in groups for index, number in group.awaited().items()}
            samples.add("every", (observer.wait_each(awaited) - changed) / 1e6)
            time.sleep(1)
        memory = daemon.weigh().rss_mb
        setting.say("many: start")
        client.close()
        daemon.stop()
        for _ in range(3):
            samples.add("start", daemon.start() * 1e3)
            daemon.stop()
    return _result(samples, (environments, sources, subscribers), (created, deployed, memory), polled)


def _polled(client: Client) -> int:
    """Return how many sources are not watched by events."""
    return sum(source.mode != daemon_pb2.WATCH_MODE_EVENTS for source in client.status().sources)


def _result(
    samples: Samples, sizes: tuple[int, int, int], setup: tuple[float, float, float], polled: int
) -> Result:
    (environments, sources, subscribers), (created, deployed, memory) = sizes, setup
    result = Result("many", TITLE, HOW)
    heads = ["", "p50", "p99", "for each environment"]
    table = Table(f"{environments:,} environments on {sources} sources (milliseconds)", heads)
    each = environments // sources
    for label, name, count in (
        ("one subscriber", "one", 1),
        (f"{each} subscribers", "ten", each),
        (f"all {subscribers} subscribers of one source", "all", subscribers),
        (f"every source: {environments:,} deployments", "every", environments),
    ):
        table.row(
            label, text(samples.median(name)), text(samples.p99(name)), text(samples.median(name) / count)
        )
    table.row("start to READY", text(samples.median("start")), text(samples.p99("start")), "")
    result.tables.append(table)
    result.goal(f"sources that are polled because events ran out, of {sources + 2}", polled, 0, "")
    result.goal(
        f"one change at all of {subscribers} subscribers / ({subscribers} x one subscriber)",
        samples.median("all") / (subscribers * samples.median("one")),
        1.5,
    )
    total = environments + subscribers + 1
    result.remarks += [
        f"Creating {total:,} environments one after the other took {created:.1f} s, and all were deployed after {deployed:.1f} s.",
        f"Memory of the daemon with them: {text(memory)} MB.",
    ]
    return result


def _group(home: Path, name: str, subscribers: int) -> Group:
    source = home / "sources" / name
    trees.grow(source, FILES, 1024)
    (source / trees.place(0)).write_bytes(trees.hot(0))
    return Group(name, source, [home / "targets" / f"{name}-{index}" for index in range(subscribers)])


def _subscribe(client: Client, group: Group) -> None:
    for target in group.targets:
        client.create_environment(
            f"e-{target.name}",
            type="testing",
            config_path=str(target),
            sources=[str(group.source)],
            variables={trees.VARIABLE: trees.VALUE},
            policies={"settle_quiet": 0.0},
        )


def _wait_all(client: Client) -> None:
    end = time.monotonic() + 600
    while any(one.sync.state != environment_pb2.SYNC_STATE_SYNCED for one in client.list_environments()):
        if time.monotonic() > end:
            raise RuntimeError("some environments did not become synchronised within ten minutes")
        time.sleep(0.25)


def _observe(stack: ExitStack, groups: list[Group]) -> Observer:
    """Observe from before the daemon has anything to watch: it may need every inotify instance that a user may have."""
    copies: list[Path] = []
    for group in groups:
        group.first = len(copies)
        for target in group.targets:
            (target / trees.place(0)).parent.mkdir(parents=True)
        copies += [target / trees.place(0) for target in group.targets]
    return stack.enter_context(Observer(copies, trees.HOT_BYTES, rendered=True))
