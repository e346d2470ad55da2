"""Deploying, rolling back, restoring, editing by hand and crashing in any order agree with a model of a few lines.

The model: what is in the source, what is at the target, what is managed, and for each deployment that was reached what it found and left.
A deployment makes what is managed like the source and overwrites edits; a rollback gives back what it found, edits included; a crash is
all or nothing, and the record says which.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.torture.killing import FAST
from tests.torture.scale import times
from tests.torture.trees import leftovers
from tests.unit.effects.faults import Fault, Faulty, in_child

from headgated import ConfigurationDeployer
from headgated.core.deployment import ConfigDeployment, DeploymentStatus
from headgated.core.environment import Policies, Strategy
from headgated.core.errors import RefusedError
from headgated.effects.target import Target

pytestmark = [pytest.mark.torture, pytest.mark.slow, pytest.mark.timeout(100_000)]

Files = dict[str, bytes]
Deed = Callable[[ConfigurationDeployer], ConfigDeployment]

NAMES = ("a", "b", "d/x", "d/y", "d/e/z")
names = st.sampled_from(NAMES)
contents = st.sampled_from((b"", b"one\n", b"two\n", b"x" * 5000))


@dataclass(frozen=True)
class State:
    """What a deployment that was reached left, and what it found."""

    deployment_id: str
    found: Files
    found_managed: Files
    left: Files
    managed: Files


def files_below(root: Path) -> Files:
    """Return every file by its path."""
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


class Machine(RuleBasedStateMachine):
    """The engine, beside the model."""

    strategy = Strategy.IN_PLACE
    acts_of_one = 60
    """About so many calls change the target in one deployment."""

    @initialize()
    def begin(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="hg-machine-", dir=FAST if FAST.is_dir() else None))
        self.source, self.target = self.home / "source", self.home / "target"
        self.source.mkdir()
        self.target.mkdir()
        (self.source / "always").write_bytes(b"always\n")
        (self.target / "foreign").write_bytes(b"not ours\n")
        self.wanted: Files = {"always": b"always\n"}
        self.there: Files = {"foreign": b"not ours\n"}
        self.managed: Files = {}
        self.states: list[State] = []
        self.deployer = ConfigurationDeployer(self.home / "state")
        self.deployer.create_environment("web", "testing", self.target, sources=[self.source])
        policies = Policies(strategy=self.strategy)
        self.deployer.change_environment("web", lambda e: replace(e, policies=policies))

    def teardown(self) -> None:
        if hasattr(self, "deployer"):
            assert self.deployer.history.verify() == []
            self.deployer.close()
            shutil.rmtree(self.home)

    @rule(name=names, content=contents)
    def edit_source(self, name: str, content: bytes) -> None:
        path = self.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self.wanted[name] = content

    @rule(name=names)
    def remove_from_source(self, name: str) -> None:
        if name in self.managed and self.there.get(name) != self.managed[name]:
            return  # an edited file that leaves the source: whose it is then is tested elsewhere
        (self.source / name).unlink(missing_ok=True)
        self.wanted.pop(name, None)

    @rule(name=names, content=contents)
    def edit_by_hand(self, name: str, content: bytes) -> None:
        if name in self.managed and name in self.wanted:
            (self.target / name).parent.mkdir(parents=True, exist_ok=True)
            (self.target / name).write_bytes(content)
            self.there[name] = content

    @rule()
    def deploy(self) -> None:
        done = self.deployer.deploy_configuration("web")
        self._reached(done.deployment_id, *self._after_deploy())

    @precondition(lambda self: self.states and not self._drifted())
    @rule()
    def roll_back(self) -> None:
        newest = self.states[-1]
        done = self.deployer.rollback_deployment(newest.deployment_id)
        self._reached(done.deployment_id, newest.found, newest.found_managed)

    @precondition(lambda self: self.states and not self._drifted())
    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        state = data.draw(st.sampled_from(self.states))
        if any(
            later.found != earlier.left for earlier, later in zip(self.states, self.states[1:], strict=False)
        ):
            return  # edits by hand in between: what comes back then is what each deployment found
        try:
            done = self.deployer.restore_deployment(state.deployment_id)
        except RefusedError:
            assert self._record(state.deployment_id).status == DeploymentStatus.ROLLED_BACK
        else:
            self._reached(done.deployment_id, state.left, state.managed)

    @rule()
    def open_again(self) -> None:
        self.deployer.close()
        self.deployer = ConfigurationDeployer(self.home / "state")

    @rule(at=st.floats(0, 1))
    def crash_in_deployment(self, at: float) -> None:
        after, managed = self._after_deploy()
        self._crash(at, lambda deployer: deployer.deploy_configuration("web"), after, managed)

    @precondition(lambda self: self.states and not self._drifted())
    @rule(at=st.floats(0, 1))
    def crash_in_rollback(self, at: float) -> None:
        newest = self.states[-1]
        self._crash(
            at,
            lambda deployer: deployer.rollback_deployment(newest.deployment_id),
            newest.found,
            newest.found_managed,
        )

    @invariant()
    def target_is_as_the_model_says(self) -> None:
        if hasattr(self, "there"):
            assert files_below(self.target) == self.there
            assert not leftovers(self.target)

    @invariant()
    def records_are_finished_and_in_order(self) -> None:
        if hasattr(self, "deployer"):
            records = self.deployer.list_deployments("web")
            assert all(record.status.finished for record in records)
            sequences = [record.sequence for record in records]
            assert sequences == sorted(set(sequences), reverse=True)
            head = self.deployer.history.head("web")
            assert (head.deployment_id if head else None) == (
                self.states[-1].deployment_id if self.states else None
            )

    def _crash(self, at: float, deed: Deed, after: Files, managed: Files) -> None:
        """Let a child do it and die after that part of the changes of the target, or not if there are fewer; then open again."""
        self.deployer.close()
        known = {state.deployment_id for state in self.states}

        def live(_say: object) -> None:
            acts = Faulty(Fault(at=1 + int(at * self.acts_of_one)))
            with ConfigurationDeployer(
                self.home / "state", open_target=lambda root: Target(root, acts=acts, leeway=0)
            ) as deployer:
                deed(deployer)

        killed, _ = in_child(live)
        self.deployer = ConfigurationDeployer(self.home / "state")
        record = self.deployer.list_deployments("web")[0]
        assert record.deployment_id not in known
        if record.status == DeploymentStatus.SUCCESS:
            self._reached(record.deployment_id, after, managed)
        else:
            assert killed
            assert record.status == DeploymentStatus.FAILED
            assert record.error is not None
            assert record.error.reason == "INTERRUPTED"

    def _after_deploy(self) -> tuple[Files, Files]:
        kept = {name: content for name, content in self.there.items() if name not in self.managed}
        return {**kept, **self.wanted}, dict(self.wanted)

    def _reached(self, deployment_id: str, left: Files, managed: Files) -> None:
        self.states.append(State(deployment_id, self.there, self.managed, dict(left), dict(managed)))
        self.there, self.managed = dict(left), dict(managed)

    def _drifted(self) -> bool:
        return any(self.there.get(name) != content for name, content in self.managed.items())

    def _record(self, deployment_id: str) -> ConfigDeployment:
        return self.deployer.get_deployment_status(deployment_id)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Crashes are logged, rightly so; not here."""
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


class AtomicMachine(Machine):
    """The same, with the whole target exchanged each time, or now and then not."""

    strategy = Strategy.ATOMIC
    acts_of_one = 160

    @rule(strategy=st.sampled_from(Strategy))
    def change_strategy(self, strategy: Strategy) -> None:
        policies = Policies(strategy=strategy)
        self.deployer.change_environment("web", lambda e: replace(e, policies=policies))

    @invariant()
    def nothing_lies_beside_the_target(self) -> None:
        if hasattr(self, "home"):
            assert not [name for name in os.listdir(self.home) if name.startswith(".headgate-")]


def some(examples: int) -> settings:
    """Return how much is tried."""
    return settings(
        max_examples=times(examples),
        stateful_step_count=20,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )


TestMachine = Machine.TestCase
TestMachine.settings = some(12)
TestAtomicMachine = AtomicMachine.TestCase
TestAtomicMachine.settings = some(3)
