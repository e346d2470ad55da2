"""The environments that there are: created, changed and deleted only as a whole and only when they can work.

Every fault of a request is found before anything is saved. What is checked against the file system is checked when an
environment is created or changed and again at start; an environment that no longer fits is kept, not deployed, and named.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from headgated.core.environment import Environment, Strategy, faults
from headgated.core.errors import (
    AlreadyExistsError,
    ConflictError,
    DeploymentFailedError,
    Fault,
    InvalidRequestError,
    LimitError,
    NotFoundError,
)
from headgated.effects.owner import owner_of
from headgated.effects.places import Ground, Neighbours, Place, source_fault, target_fault
from headgated.effects.records import EnvironmentStore
from headgated.effects.target import obstacles


class Environments:
    """The environments on record. Thread-safe.

    Args:
        store: where they are kept.
        state_dir: the daemon's own directory, which no source or target may touch.
        source_roots, target_roots: where sources and targets may be; empty: anywhere.
        most: how many there may be; None: any number.
        defined: returns what an environment names and nothing is defined for: commands, checks, reloads, probes, secrets.
        check_directory: where copies of targets are made, outside of `state_dir`, which no source or target may touch either.
    """

    def __init__(
        self,
        store: EnvironmentStore,
        state_dir: Path,
        source_roots: Sequence[str] = (),
        target_roots: Sequence[str] = (),
        most: int | None = None,
        defined: Callable[[Environment], list[Fault]] = lambda _environment: [],
        check_directory: str = "",
    ) -> None:
        self._defined, self._check_directory = defined, check_directory
        self._store, self._state_dir = store, state_dir
        self.confine(source_roots, target_roots, most)
        self._all: dict[str, Environment] = {}
        self._lock = threading.RLock()

    def confine(
        self, source_roots: Sequence[str], target_roots: Sequence[str], most: int | None = None
    ) -> None:
        """Go by other bounds from now on. What is there already is not looked at: see `misfits`."""
        self._roots: Mapping[str, Sequence[str]] = {"sources": source_roots, "config_path": target_roots}
        self._most = most

    def load(self) -> list[str]:
        """Read all from disk; returns a sentence for each record that could not be read."""
        with self._lock:
            environments, set_aside = self._store.load()
            self._all = {environment.name: environment for environment in environments}
            return [f"{aside.path}: {aside.why}" for aside in set_aside]

    def all(self) -> list[Environment]:
        """Return every environment, ordered by name."""
        with self._lock:
            return [self._all[name] for name in sorted(self._all)]

    def get(self, name: str) -> Environment:
        """Return one environment.

        Raises:
            NotFoundError: ENVIRONMENT_NOT_FOUND.
        """
        with self._lock:
            if name in self._all:
                return self._all[name]
        raise NotFoundError(
            f"there is no environment {name!r:.80}",
            reason="ENVIRONMENT_NOT_FOUND",
            hint="list them: headgate env list",
        )

    def create(self, environment: Environment, *, validate_only: bool = False) -> Environment:
        """Save a new environment.

        Raises:
            InvalidRequestError: with every fault.
            AlreadyExistsError: the name is taken.
        """
        with self._lock:
            if environment.name in self._all:
                raise AlreadyExistsError(
                    f"cannot create environment {environment.name}: there is one of that name",
                    reason="ENVIRONMENT_EXISTS",
                    hint=f"change it: headgate env set {environment.name} ..., or choose another name",
                )
            if self._most is not None and len(self._all) >= self._most:
                raise LimitError(
                    f"cannot create environment {environment.name!r:.80}: there are {len(self._all)}, as many as there may be",
                    reason="TOO_MANY_ENVIRONMENTS",
                    hint="delete one, or raise limits.max_environments in the daemon's configuration",
                )
            self._check(f"create environment {environment.name!r:.80}", environment)
            if not validate_only:
                self._save(environment)
            return environment

    def change(
        self,
        name: str,
        changed: Environment,
        now: datetime,
        *,
        expected_generation: int | None = None,
        validate_only: bool = False,
    ) -> Environment:
        """Save a changed environment as the next generation; the same as before is left as it is.

        Raises:
            InvalidRequestError, NotFoundError, ConflictError: the generation is not the expected one.
        """
        with self._lock:
            old = self.get(name)
            if expected_generation not in (None, old.generation):
                raise ConflictError(
                    f"cannot change environment {name}: it is at generation {old.generation}, not {expected_generation}",
                    reason="GENERATION_MISMATCH",
                    hint=f"read it again: headgate env show {name}",
                )
            if changed == old:
                return old
            new = replace(
                changed, name=name, created_at=old.created_at, updated_at=now, generation=old.generation + 1
            )
            self._check(f"change environment {name}", new)
            if not validate_only:
                self._save(new)
            return new

    def note(self, environment: Environment) -> None:
        """Save what the daemon itself notes on an environment (hold, halt, pause, marks); no new generation."""
        with self._lock:
            if self._all.get(environment.name) != environment:
                self._save(environment)

    def delete(self, name: str) -> None:
        """Forget an environment."""
        with self._lock:
            self.get(name)
            self._store.delete(name)
            del self._all[name]

    def misfits(self) -> dict[str, str]:
        """Return, for each environment whose places overlap others or leave the allowed roots now, why it must not be deployed."""
        with self._lock:
            found, ground = {}, Ground()
            uses = self._neighbours(ground)
            for environment in self.all():
                overlaps = self._overlap_faults(environment, ground, uses)
                overlaps += self._outside_faults(environment, ground)
                if overlaps:
                    found[environment.name] = "; ".join(
                        f"{fault.field}: {fault.message}" for fault in overlaps
                    )
            return found

    def _save(self, environment: Environment) -> None:
        self._store.save(environment)
        self._all[environment.name] = environment

    def _check(self, what: str, environment: Environment) -> None:
        found = faults(environment) + self._defined(environment)
        if not found:
            ground = Ground()
            found = (
                self._place_faults(environment, ground)
                + self._overlap_faults(environment, ground, self._neighbours(ground))
                + _owner_faults(environment)
                + self._exchange_faults(environment)
            )
        if found:
            raise InvalidRequestError(what, found)

    def _place_faults(self, environment: Environment, ground: Ground) -> list[Fault]:
        found = []
        if why := target_fault(environment.config_path):
            found.append(Fault("config_path", why))
        for index, source in enumerate(environment.sources):
            if why := source_fault(source):
                found.append(Fault(f"sources[{index}]", why))
        return found + self._outside_faults(environment, ground)

    def _outside_faults(self, environment: Environment, ground: Ground) -> list[Fault]:
        found = self._root_faults("config_path", environment.config_path, "config_path", ground)
        for index, source in enumerate(environment.sources):
            found += self._root_faults(f"sources[{index}]", source, "sources", ground)
        return found

    def _exchange_faults(self, environment: Environment) -> list[Fault]:
        """Find out whether the target can be exchanged as a whole, if that is asked for."""
        if environment.policies.strategy != Strategy.ATOMIC:
            return []
        field = "policies.strategy"
        found = [
            Fault(field, f"atomic is not possible: {obstacle.what}; {obstacle.hint}")
            for obstacle in obstacles(environment.config_path, trial=True)
        ]
        place = Place.of(environment.config_path)
        roots = [Place.of(root) for root in self._roots["config_path"]]
        if any(place.same(root) for root in roots) and not any(place.inside(root) for root in roots):
            what = f"{place.path} is an allowed root itself, and the new directory would be built outside it"
            found.append(
                Fault(
                    field, f"atomic is not possible: {what}; use a directory below it, or strategy in-place"
                )
            )
        return found

    def _root_faults(self, field: str, path: str, kind: str, ground: Ground) -> list[Fault]:
        roots = [ground.place(root) for root in self._roots[kind]]
        place = ground.place(path)
        if not roots or any(place.same(root) or place.inside(root) for root in roots):
            return []
        return [
            Fault(field, f"{path} is outside the allowed roots ({', '.join(root.path for root in roots)})")
        ]

    def _neighbours(self, ground: Ground) -> _Uses:
        """Return every target and source that there is, by where it is."""
        uses = _Uses(Neighbours(), Neighbours())
        for each in self._all.values():
            uses.targets.add(ground.place(each.config_path), _Use(each.name, each.config_path, "the target"))
            for source in each.sources:
                uses.sources.add(ground.place(source), _Use(each.name, source, "a source"))
        return uses

    def _overlap_faults(self, environment: Environment, ground: Ground, uses: _Uses) -> list[Fault]:
        target = ground.place(environment.config_path)
        state = ground.place(str(self._state_dir))
        own = [(f"sources[{index}]", ground.place(path)) for index, path in enumerate(environment.sources)]
        found = []
        if target.overlaps(state):
            found.append(
                Fault("config_path", f"{target.path} overlaps the daemon's state directory {state.path}")
            )
        if self._check_directory:
            copies = ground.place(self._check_directory)
            found += [
                Fault(field, f"{place.path} overlaps {copies.path}, where checks find copies of targets")
                for field, place in [("config_path", target), *own]
                if place.overlaps(copies)
            ]
        for field, source in own:
            if source.overlaps(state):
                found.append(
                    Fault(field, f"{source.path} overlaps the daemon's state directory {state.path}")
                )
            if source.overlaps(target):
                found.append(Fault(field, f"{source.path} overlaps the target {target.path}"))
        theirs = [("config_path", target, use) for use in uses.targets.overlapping(target)]
        theirs += [("config_path", target, use) for use in uses.sources.overlapping(target)]
        theirs += [(field, source, use) for field, source in own for use in uses.targets.overlapping(source)]
        return found + [
            Fault(field, f"{place.path} overlaps {use.path}, {use.what} of {use.environment}")
            for field, place, use in theirs
            if use.environment != environment.name
        ]


@dataclass(frozen=True, slots=True)
class _Use:
    """What an environment uses a directory for."""

    environment: str
    path: str
    what: str


@dataclass(frozen=True, slots=True)
class _Uses:
    """What all environments use, by where it is."""

    targets: Neighbours[_Use]
    sources: Neighbours[_Use]


def _owner_faults(environment: Environment) -> list[Fault]:
    try:
        owner_of(environment.policies.owner)
    except DeploymentFailedError as error:
        return [Fault("policies.owner", error.message)]
    return []
