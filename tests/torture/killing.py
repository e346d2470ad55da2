"""Kills a deployer over and over, and checks after each restart that nothing is torn and nothing is lost.

    python -m tests.torture.killing --kills 1000 --seed 1 [--strategy atomic] [--secrets]

A child deploys, rolls back and restores random changes of some forty files; it says what it is about to do and what came of it in a
journal. It is killed (SIGKILL) at a random time, at a random call that changes the target, or at a random step of a
deployment; some restarts are killed as well, in the middle of their recovery. Then a deployer is opened for good:

- the target is wholly as before or wholly as after the deployment that was cut off; otherwise it is *torn*;
- one whose success was told is there; otherwise it is *lost*;
- record, history and target agree, no temporary is left, and it still deploys.

Prints the figures as JSON. The journal is what the child wrote, so the check does not believe the deployer.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.torture.trees import (
    SECRET,
    Picture,
    differences,
    grow,
    leftovers,
    opened,
    picture,
    shuffle,
    sprinkle,
)
from tests.unit.effects.faults import Fault, Faulty

from headgated.core.config import SecretSettings, Settings
from headgated.core.deployment import ConfigDeployment, DeploymentStatus
from headgated.core.environment import Policies, Strategy
from headgated.core.errors import RefusedError
from headgated.core.orders import Caller, DeployOrder, Order, RestoreOrder, RollbackOrder
from headgated.effects.target import Target
from headgated.engine.deployer import ConfigurationDeployer

WORLD = 100
"""Kills after which everything begins afresh, so that checking the whole history stays quick."""
REMEMBERED = 6
ACTS = {Strategy.IN_PLACE: 150, Strategy.ATOMIC: 900}
"""At which call at most a child dies: those of a few deployments."""
FAST = Path("/dev/shm")
"""A kill loses nothing that was written, whether a disk or memory is below; memory is quicker."""


@dataclass(frozen=True)
class State:
    """A deployment that was reached, what it found and what it left."""

    deployment_id: str
    before: Picture
    after: Picture


@dataclass
class World:
    """One environment with its source, target and journal, and what is known of it."""

    home: Path
    strategy: Strategy = Strategy.IN_PLACE
    secrets: bool = False
    """Whether some of the files have one."""
    states: list[State] = field(default_factory=list)

    @property
    def source(self) -> Path:
        return self.home / "source"

    @property
    def target(self) -> Path:
        return self.home / "target"

    @property
    def journal(self) -> Path:
        return self.home / "journal"

    def open(
        self, *, die_at_act: int = 0, die_at_step: int = 0, boot: str | None = None
    ) -> ConfigurationDeployer:
        """Open the deployer, as after another start of the machine if one is named; it may kill its own process later."""
        acts = Faulty(Fault(at=die_at_act))
        told = [0]

        def step(_record: ConfigDeployment) -> None:
            told[0] += 1
            if told[0] == die_at_step:
                os.kill(os.getpid(), signal.SIGKILL)

        allowed = Settings(secrets=SecretSettings(files=(str(self.home / "secrets"),)))
        return ConfigurationDeployer(
            self.home / "state",
            settings=allowed,
            on_deployment=step,
            open_target=lambda root: Target(root, acts=acts, leeway=0),
            boot=boot,
        )

    def shuffle(self, rng: random.Random) -> None:
        """Change the source at random."""
        shuffle(self.source, rng)
        if self.secrets:
            sprinkle(self.source, rng)

    def wanted(self) -> Picture:
        """Return what is wanted of the source: with secrets put in, and closed to others where there are some."""
        return {**picture(self.source), **opened(self.source)} if self.secrets else picture(self.source)

    def begin(self, rng: random.Random) -> None:
        """Make source, target with a file that is not ours, and environment."""
        grow(self.source, rng)
        (self.home / "secrets").mkdir(mode=0o700)
        (self.home / "secrets" / "one").write_text(SECRET)
        (self.home / "secrets" / "one").chmod(0o600)
        (self.target / "foreign").mkdir(parents=True)
        (self.target / "foreign" / "keep").write_text("not ours\n")
        (self.target / "a").mkdir()
        (self.target / "a" / "theirs").write_text("not ours either\n")
        with self.open() as deployer:
            deployer.create_environment("web", "testing", self.target, sources=[self.source])
            policies = Policies(strategy=self.strategy)
            references = {"SECRET": f"file:{self.home}/secrets/one"} if self.secrets else {}
            deployer.change_environment("web", lambda e: replace(e, policies=policies, secrets=references))

    def remember(self, state: State) -> None:
        self.states = [*self.states, state][-REMEMBERED:]


def work(world: World, rng: random.Random, deployer: ConfigurationDeployer) -> None:
    """Deploy, roll back and restore for ever, saying each time what is about to be and what was."""
    with world.journal.open("ab", buffering=0) as journal:

        def say(**what: object) -> None:
            journal.write(json.dumps(what).encode() + b"\n")

        while True:
            before = picture(world.target)
            deed, after, perform = choose(world, rng, deployer, before)
            say(deed=deed, before=before, after=after)
            try:
                done = perform()
            except RefusedError:
                say(refused=deed)
                continue
            state = State(done.deployment_id, before, after)
            say(done=done.deployment_id)
            world.remember(state)


def choose(
    world: World, rng: random.Random, deployer: ConfigurationDeployer, before: Picture
) -> tuple[str, Picture, Callable[[], ConfigDeployment]]:
    """Return what to do next, what the target shall be afterwards, and the doing."""
    chance = rng.random()
    if world.states and chance < 0.2:
        newest = world.states[-1]
        return "rollback", newest.before, lambda: asked(deployer, RollbackOrder(newest.deployment_id))
    if world.states and chance < 0.35:
        some = rng.choice(world.states)
        return "restore", some.after, lambda: asked(deployer, RestoreOrder(some.deployment_id))
    world.shuffle(rng)
    return "deploy", wanted(world, before), lambda: asked(deployer, DeployOrder("web"))


def asked(deployer: ConfigurationDeployer, order: Order) -> ConfigDeployment:
    """Carry an order out while it is recorded, as the daemon does."""
    job = deployer.jobs.accept(order, Caller("somebody"))
    recording = threading.Thread(target=deployer.jobs.record, args=(job,))
    recording.start()
    try:
        return deployer.jobs.run(job)
    finally:
        recording.join()


def wanted(world: World, before: Picture) -> Picture:
    """Return what the target shall be when the source is deployed: the source, and what is not ours."""
    theirs = {path: before[path] for path in ("foreign", "foreign/keep", "a", "a/theirs")}
    return {**world.wanted(), **theirs}


def killed_child(life: Callable[[], None], after: float | None) -> bool:
    """Run `life` in a child, kill it after so many seconds; tell whether it was killed (it may have ended well)."""
    child = os.fork()
    if child == 0:
        try:
            life()
            os._exit(0)
        except BaseException:  # noqa: BLE001 - whatever it was, the parent is told
            traceback.print_exc()
            os._exit(1)
    if after is not None:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    if not os.WIFSIGNALED(status) and os.WEXITSTATUS(status):
        raise AssertionError("the child failed by itself: see above")
    return os.WIFSIGNALED(status)


def kill_once(world: World, rng: random.Random, counts: Counter[str]) -> None:
    """Let a child work, kill it, perhaps kill a restart, then restart for good and check."""
    world.journal.unlink(missing_ok=True)
    seed = rng.random()
    way = rng.choice(("time", "act", "step"))
    at_act = rng.randint(1, ACTS[world.strategy]) if way == "act" else 0
    at_step = rng.randint(1, 40) if way == "step" else 0

    def live() -> None:
        work(world, random.Random(seed), world.open(die_at_act=at_act, die_at_step=at_step))

    killed_child(live, rng.uniform(0.005, 0.1) if way == "time" else None)
    counts["kills"] += 1
    counts[f"kills by {way}"] += 1
    while rng.random() < 0.4:
        act = rng.randint(1, ACTS[world.strategy] // 5)
        if killed_child(lambda: world.open(die_at_act=act).close(), None):  # noqa: B023 - run at once
            counts["kills"] += 1
            counts["kills in recovery"] += 1
    check(world, counts)


def check(world: World, counts: Counter[str]) -> None:
    """Restart, and compare the target with the journal, the record with the target."""
    cut_off = _read_journal(world, counts)
    with world.open() as deployer:
        now, records = picture(world.target), deployer.list_deployments("web")
        left, damage = leftovers(world.target), deployer.history.verify()
        left += [name for name in os.listdir(world.home) if name.startswith(".headgate-")]
        ids = {record.deployment_id: record for record in records}
        _count(world, counts, "leftovers", left)
        _count(world, counts, "damaged history", damage)
        _count(world, counts, "unfinished records", [r for r in records if not r.status.finished])
        told = [state.deployment_id for state in world.states]
        _count(world, counts, "lost", [told for told in told if told not in ids or not _reached(ids[told])])
        if cut_off is not None:
            _check_cut_off(world, counts, cut_off, now, records)
        elif world.states:
            _count(world, counts, "lost", differences(now, world.states[-1].after))
        if counts["kills"] % 5 == 0:
            _deploy_again(world, counts, deployer, now)


def _read_journal(world: World, counts: Counter[str]) -> dict[str, Picture] | None:
    """Remember what the child has done; return what it was about to do when it was killed."""
    begun = None
    for line in map(json.loads, _whole_lines(world.journal)):
        if "done" in line and begun is not None:
            world.remember(State(line["done"], begun["before"], begun["after"]))
            counts["deployments"] += 1
        begun = line if "deed" in line else None
    return begun


def _count(world: World, counts: Counter[str], fault: str, found: object) -> None:
    if found:
        counts[fault] += 1
        print(f"{world.home}: {fault}: {found}", file=sys.stderr)  # noqa: T201 - for whoever looks into it


def _deploy_again(world: World, counts: Counter[str], deployer: ConfigurationDeployer, now: Picture) -> None:
    world.shuffle(random.Random(counts["kills"]))
    after = wanted(world, now)
    done = deployer.deploy_configuration("web")
    world.remember(State(done.deployment_id, now, after))
    _count(world, counts, "does not deploy any more", differences(picture(world.target), after))


def _check_cut_off(
    world: World,
    counts: Counter[str],
    deed: dict[str, Picture],
    now: Picture,
    records: list[ConfigDeployment],
) -> None:
    known = {state.deployment_id for state in world.states}
    newest = records[0] if records and records[0].deployment_id not in known else None
    before, after = deed["before"], deed["after"]
    counts["cut off"] += 1
    if now not in (before, after):
        found = (differences(now, before), "from before", differences(now, after), "from after")
        _count(world, counts, "torn", found)
    elif newest is not None and newest.status == DeploymentStatus.SUCCESS:
        counts["finished"] += 1
        world.remember(State(newest.deployment_id, before, after))
        _count(world, counts, "record disagrees", differences(now, after))
    else:
        counts["undone"] += 1
        interrupted = newest is None or (newest.error is not None and newest.error.reason == "INTERRUPTED")
        _count(world, counts, "record disagrees", differences(now, before) or ([] if interrupted else newest))


def _reached(record: ConfigDeployment) -> bool:
    return record.status in (DeploymentStatus.SUCCESS, DeploymentStatus.ROLLED_BACK)


def _whole_lines(journal: Path) -> list[bytes]:
    if not journal.exists():
        return []
    return [line for line in journal.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


def kill(
    kills: int,
    seed: int,
    directory: Path | None = None,
    strategy: Strategy = Strategy.IN_PLACE,
    *,
    secrets: bool = False,
) -> Counter[str]:
    """Kill so many times, with everything below `directory`; return the figures."""
    if directory is None and FAST.is_dir():
        directory = FAST
    counts: Counter[str] = Counter(
        dict.fromkeys(
            (
                "kills",
                "deployments",
                "cut off",
                "finished",
                "undone",
                "torn",
                "lost",
                "leftovers",
                "record disagrees",
                "unfinished records",
                "damaged history",
                "does not deploy any more",
                "secrets kept",
            ),
            0,
        )
    )
    rng = random.Random(seed)
    while counts["kills"] < kills:
        home = Path(tempfile.mkdtemp(prefix="hg-kill-", dir=directory))
        world = World(home, strategy, secrets)
        world.begin(rng)
        last = counts["kills"] + WORLD
        while counts["kills"] < min(kills, last):
            kill_once(world, rng, counts)
        if secrets:
            kept = [file for file in (home / "state").rglob("*") if file.is_file()]
            _count(world, counts, "secrets kept", [f for f in kept if SECRET.encode() in f.read_bytes()])
        shutil.rmtree(home)
    return counts


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--kills", type=int, default=100)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--directory", type=Path, help="where to work; default: in memory")
    arguments.add_argument("--strategy", type=Strategy, choices=list(Strategy), default=Strategy.IN_PLACE)
    arguments.add_argument("--secrets", action="store_true", help="with secrets in some of the files")
    given = arguments.parse_args()
    logging.disable(logging.ERROR)  # every kill leaves an error in the log: rightly so
    began = time.monotonic()
    figures = kill(given.kills, given.seed, given.directory, given.strategy, secrets=given.secrets)
    said = {"strategy": given.strategy, "seed": given.seed, "seconds": round(time.monotonic() - began, 1)}
    print(json.dumps({**figures, **said}))  # noqa: T201
