"""Cuts the power after every system call of a deployment and a rollback, and checks what recovery makes of it.

    python -m tests.torture.powercut [--strategy atomic] [--seed 1] [--every 1] [--random 2] [--recoveries 5]

A deployer is opened, deploys random changes of some forty files, rolls them back and is closed, while strace records all calls that
change its target or its state directory, the files of SQLite among them, with what they write. Then, for each prefix of these calls, directories are made as
a power cut may leave them (`unsynced`): with all that was not synced; with nothing of it; with names but not what they stand for, and the
reverse; and at random, each file and directory by itself, torn by sectors. A deployer is opened on each:

- the target is wholly as before or wholly as after; otherwise it is *torn*;
- what was told to have succeeded is there; otherwise it is *lost*;
- record, history and target agree, every content in history is whole, no temporary is left;
- of some: opened once more it is the same, and it still deploys.

Of some of these states the recovery is recorded and cut in the same way.

Prints the figures as JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import random
import shutil
import stat
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tests.torture.followed import MARKS, Followed
from tests.torture.killing import FAST, World, asked, wanted
from tests.torture.recorded import read, record
from tests.torture.trees import Picture, differences, leftovers, picture
from tests.torture.unsynced import Change, Image, Node, Survivors, Write, image, load, make

from headgated.core.deployment import ConfigDeployment, DeploymentKind, DeploymentStatus
from headgated.core.environment import Strategy
from headgated.core.orders import DeployOrder, RollbackOrder
from headgated.engine.deployer import ConfigurationDeployer

ROOT = Path(__file__).parents[2]
OURS = frozenset({"source", "secrets", "journal"})
"""What the test itself has in the world's directory."""
WRONG = (
    "torn",
    "lost",
    "record disagrees",
    "damaged history",
    "leftovers",
    "not recovered",
    "not the same again",
)
FIGURES = ("calls", "prefixes", "states", "before", "after", "recoveries cut", *WRONG)
SECTOR = 512
SHARE = 0.1
"""Of the states that deployments leave: so many are remembered, for recoveries to be cut."""


@dataclass(frozen=True)
class Cut:
    """The world before what was recorded, and what it was to be after the deployment in it."""

    world: World
    first: str
    """The deployment that there was already."""
    before: Picture
    after: Picture


def begin(home: Path, strategy: Strategy, rng: random.Random, shuffles: int) -> Cut:
    """Make a world with one deployment, and other sources."""
    world = World(home, strategy)
    world.begin(rng)
    with world.open() as deployer:
        first = deployer.deploy_configuration("web").deployment_id
    for _ in range(shuffles):
        world.shuffle(rng)
    before = picture(world.target)
    return Cut(world, first, before, wanted(world, before))


def act(home: Path, strategy: Strategy) -> None:
    """Deploy and roll back: what is recorded."""
    with World(home, strategy).open() as deployer:
        _say("deploy")
        deployed = asked(deployer, DeployOrder("web"))
        _say("deployed")
        asked(deployer, RollbackOrder(deployed.deployment_id))
        _say("rolled back")


def recover(home: Path, strategy: Strategy) -> None:
    """The same, where what is cut is a recovery."""
    World(home, strategy).open(boot="after the power cut").close()


def _say(word: str) -> None:
    os.access(MARKS + os.fsencode(word), os.F_OK)


def ways(rng: random.Random, at_random: int) -> Iterator[tuple[str, Survivors]]:
    """Yield what a power cut may leave of what was not synced."""
    yield "all", lambda node: node.pending
    yield "nothing", lambda _node: ()
    yield "names", lambda node: node.pending if node.kind == stat.S_IFDIR else ()
    yield "bytes", lambda node: () if node.kind == stat.S_IFDIR else node.pending
    for _ in range(at_random):
        yield "random", lambda node: _some(node, rng)


def _some(node: Node, rng: random.Random) -> Iterable[Change]:
    pending = node.pending
    chance = rng.random()
    if node.kind == stat.S_IFDIR or chance < 0.5:
        return pending[: rng.randint(0, len(pending))]
    if chance < 0.6:
        return pending
    return [part for change in pending if rng.random() < 0.7 for part in _torn(change, rng)]


def _torn(change: Change, rng: random.Random) -> Iterable[Change]:
    if not isinstance(change, Write) or rng.random() < 0.7:
        return (change,)
    at, data = change.at, change.data
    edges = [0, *range(SECTOR - at % SECTOR, len(data), SECTOR), len(data)]
    parts = [Write(at + begin, data[begin:end]) for begin, end in pairwise(edges)]
    return [part for part in parts if rng.random() < 0.5]


class Replay:
    """Checks what recovery makes of images; counts in `counts`."""

    def __init__(self, cut: Cut, rng: random.Random, counts: Counter[str]) -> None:
        self._cut, self._rng, self.counts = cut, rng, counts
        self._seen: set[bytes] = set()
        self._where = ""

    def check(self, found: Image, marks: list[str], where: str) -> None:
        """Open a deployer on what a power cut left after so much was said."""
        key = _digest(found, marks)
        if key in self._seen:
            return
        self._seen.add(key)
        self.counts["states"] += 1
        self._where = f"{where}, after {marks[-1:] or 'nothing'}"
        try:
            self.set_up(found)
            with self._cut.world.open(boot="after another power cut") as deployer:
                now = self._compare(deployer, marks)
            if self._rng.random() < 0.2:
                self._again(now)
        except Exception:  # noqa: BLE001 - whatever it was, it was not recovered
            self._count("not recovered", traceback.format_exc())
        if self.counts["faults"]:
            self._keep(found)

    def set_up(self, found: Image) -> None:
        """Make the world what an image says."""
        home = self._cut.world.home
        for name in set(os.listdir(home)) - OURS:
            at = home / name
            shutil.rmtree(at) if at.is_dir() else at.unlink()
        make(home, found)

    def _compare(self, deployer: ConfigurationDeployer, marks: list[str]) -> Picture:
        deployer.deploying.look_for_leftovers(deployer.runtime("web"), deployer.get_environment_config("web"))
        world, before, after = self._cut.world, self._cut.before, self._cut.after
        left = leftovers(world.target)
        now = {path: what for path, what in picture(world.target).items() if path not in left}
        said = marks[-1] if marks else ""
        if now not in (before, after):
            told = (differences(now, before), "from before", differences(now, after), "from after")
            self._count("torn", told)
            return now
        if (said == "" and now != before) or (said == "rolled back" and now != before):
            self._count("lost", f"{said or 'nothing'} was said")
        records = [r for r in deployer.list_deployments("web") if r.deployment_id != self._cut.first]
        self._count("record disagrees", _disagreement(records, said, is_after=now == after))
        current = deployer.runtime("web").current_id
        reached = [r.deployment_id for r in records if r.status.reached] or [self._cut.first]
        self._count("record disagrees", [] if current == reached[0] else (current, reached))
        self._count("damaged history", deployer.history.verify())
        self._count("record disagrees", deployer.history.unfinished())
        beside = [name for name in os.listdir(world.home) if name.startswith(".headgate-")]
        self._count("leftovers", left + beside)
        self.counts["after" if now == after else "before"] += 1
        return now

    def _again(self, now: Picture) -> None:
        world = self._cut.world
        with world.open() as deployer:
            self._count("not the same again", differences(picture(world.target), now))
            deployer.deploy_configuration("web")
            self._count("not the same again", differences(picture(world.target), self._cut.after))
        self.counts["deployed again"] += 1

    def _count(self, fault: str, found: object) -> None:
        if found:
            self.counts[fault] += 1
            self.counts["faults"] += 1
            print(f"{self._where}: {fault}: {found}", file=sys.stderr)  # noqa: T201 - for whoever looks into it

    def _keep(self, found: Image) -> None:
        """Have the first state that went wrong at hand."""
        aside = self._cut.world.home.with_name(self._cut.world.home.name + "-fault")
        if not aside.exists():
            aside.mkdir()
            make(aside, found)


def _digest(found: Image, marks: list[str]) -> bytes:
    """Return what tells one state from another."""
    numbers: dict[int, int] = {}
    digest = hashlib.sha256(repr(marks).encode())
    for path, (kind, mode, data, which) in sorted(found.items()):
        if not path.endswith(b"-shm"):
            number = numbers.setdefault(which, len(numbers))
            digest.update(repr((path, kind, mode, hashlib.sha256(data).digest(), number)).encode())
    return digest.digest()


def _disagreement(records: list[ConfigDeployment], said: str, *, is_after: bool) -> object:
    """Return what of the records is not as it is to be."""
    deployed = [r for r in records if r.kind == DeploymentKind.DEPLOY]
    undone = [r for r in records if r.kind == DeploymentKind.ROLLBACK]
    told = [(r.deployment_id, r.status, r.error and r.error.reason) for r in records]
    if len(deployed) > 1 or len(undone) > 1 or not all(r.status.finished for r in records):
        return told
    rolled_back = bool(deployed) and deployed[0].status == DeploymentStatus.ROLLED_BACK
    was_rolled_back = bool(undone) and undone[0].status == DeploymentStatus.SUCCESS
    if is_after:
        right = bool(deployed) and deployed[0].status == DeploymentStatus.SUCCESS and _cut_off(undone)
    elif said in ("deployed", "rolled back"):
        right = rolled_back and was_rolled_back
    else:
        right = _cut_off(deployed) and not undone
    return [] if right else (told, "after" if is_after else "before")


def _cut_off(records: list[ConfigDeployment]) -> bool:
    return all(r.error is not None and r.error.reason == "INTERRUPTED" for r in records)


class Cutting:
    """Records, cuts after each `every`-th call, recovers; counts in `counts`."""

    def __init__(
        self, home: Path, strategy: Strategy, rng: random.Random, *, every: int, at_random: int, shuffles: int
    ) -> None:
        self.counts: Counter[str] = Counter(dict.fromkeys(FIGURES, 0))
        self._home, self._strategy = home, strategy
        self._rng, self._every, self._at_random = rng, every, at_random
        self._cut = begin(home, strategy, rng, shuffles)
        self._replay = Replay(self._cut, rng, self.counts)
        self._some: list[tuple[Image, list[str]]] = []
        """States to recover from, chosen evenly."""

    def deployment(self) -> None:
        """Cut a deployment and its rollback."""
        said = self._run("deployments")
        assert said == ["deploy", "deployed", "rolled back"], said

    def recoveries(self, count: int) -> None:
        """Cut the recovery from each of so many of the states that cut deployments left."""
        for found, marks in self._rng.sample(self._some, min(count, len(self._some))):
            self._replay.set_up(found)
            self._run("recovery", marks)
            self.counts["recoveries cut"] += 1

    def _run(self, what: str, said: list[str] | None = None) -> list[str]:
        followed = Followed(self._home, load(self._home, OURS), OURS)
        trace = self._home.with_name("trace")
        command = [sys.executable, "-m", "tests.torture.powercut", "--act", what, "--home", str(self._home)]
        record([*command, "--strategy", self._strategy], trace, ROOT)
        offset = self._rng.randrange(self._every)
        calls = 0
        for event in read(trace):
            if not followed.follow(event):
                continue
            calls += 1
            if calls % self._every == offset:
                self.counts["prefixes"] += 1
                where = f"{what}, call {calls} ({event.name})"
                for way, survivors in ways(self._rng, self._at_random):
                    found = image(followed.root, survivors)
                    marks = list(followed.marks if said is None else said)
                    self._replay.check(found, marks, f"{where}, {way} of what is not synced")
                    if said is None and self._rng.random() < SHARE:
                        self._some.append((found, marks))
        self.counts["calls"] += calls
        return followed.marks


def cut_power(
    strategy: Strategy,
    seed: int,
    *,
    every: int = 1,
    at_random: int = 2,
    recoveries: int = 0,
    shuffles: int = 1,
    directory: Path | None = None,
) -> Counter[str]:
    """Cut a deployment, its rollback and some recoveries; return the figures. What went wrong is told on standard error.

    Args:
        strategy: of the environment.
        seed: of all choices.
        every: cut after each so-many-eth call.
        at_random: so many states at random for each prefix.
        recoveries: how many.
        shuffles: how often the sources are changed at random; after eight times it is more than is synced each by itself.
        directory: where to work; None: in memory, if there is room.
    """
    if directory is None and FAST.is_dir():
        directory = FAST
    work = Path(tempfile.mkdtemp(prefix="hg-power-", dir=directory))
    home = work / "world"
    home.mkdir()
    rng = random.Random(seed)
    cutting = Cutting(home, strategy, rng, every=every, at_random=at_random, shuffles=shuffles)
    cutting.deployment()
    cutting.recoveries(recoveries)
    if not cutting.counts["faults"]:
        shutil.rmtree(work)
    return cutting.counts


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--strategy", type=Strategy, choices=list(Strategy), default=Strategy.IN_PLACE)
    arguments.add_argument("--every", type=int, default=1, help="cut after each so-many-eth call")
    arguments.add_argument("--random", type=int, default=2, help="so many states at random for each prefix")
    arguments.add_argument("--directory", type=Path, help="where to work; default: in memory")
    arguments.add_argument("--recoveries", type=int, default=0, help="cut so many recoveries as well")
    arguments.add_argument(
        "--shuffles", type=int, default=1, help="change the sources so often; 8: many files"
    )
    arguments.add_argument("--act", choices=["deployments", "recovery"], help=argparse.SUPPRESS)
    arguments.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    logging.disable(logging.ERROR)  # every cut leaves an error in the log: rightly so
    if given.act is not None:
        {"deployments": act, "recovery": recover}[given.act](given.home, given.strategy)
        sys.exit()
    began = time.monotonic()
    figures = cut_power(
        given.strategy,
        given.seed,
        every=given.every,
        at_random=given.random,
        recoveries=given.recoveries,
        shuffles=given.shuffles,
        directory=given.directory,
    )
    said = {"strategy": given.strategy, "seed": given.seed, "seconds": round(time.monotonic() - began, 1)}
    print(json.dumps({**figures, **said}))  # noqa: T201
