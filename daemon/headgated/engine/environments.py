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
from typing import TypeAlias

from headgated.core.environment import Environment, Strategy, faults
from headgated.core.errors import (
    AlreadyExistsError,
    ConflictError,
    DeploymentFailedError,
    Fault,
    InvalidRequestError,
    LimitError,
    NotFoundError,
    in_a_line,
)
from headgated.effects.owner import owner_of
from headgated.effects.places import Ground, Neighbours, Place, source_fault, target_fault
from headgated.effects.records import EnvironmentStore
from headgated.effects.target import obstacles

_TARGET = "config_path"
_Places: TypeAlias = Mapping[str, str]
"""Paths of an environment's directories by field: `config_path`, and `sources[N]`."""


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
        self._roots: Mapping[str, Sequence[str]] = {"sources": source_roots, _TARGET: target_roots}
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
            AlreadyExistsError: the name is taken; with every fault there is besides.
            LimitError: there are as many as there may be, and nothing is wrong with this one.
        """
        with self._lock:
            found = self.faults_of(environment)
            if environment.name in self._all:
                raise AlreadyExistsError(
                    f"cannot create environment {environment.name}: there is one of that name",
                    reason="ENVIRONMENT_EXISTS",
                    hint=f"change it: headgate env set {environment.name} ..., or choose another name",
                    faults=found,
                )
            if found:
                raise InvalidRequestError(f"create environment {environment.name!r:.80}", found)
            if self._most is not None and len(self._all) >= self._most:
                raise LimitError(
                    f"cannot create environment {environment.name!r:.80}: there are {len(self._all)}, as many as there may be",
                    reason="TOO_MANY_ENVIRONMENTS",
                    hint="delete one, or raise limits.max_environments in the daemon's configuration",
                )
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
            if found := self.faults_of(new):
                raise InvalidRequestError(f"change environment {name}", found)
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
                own = _own_places(environment)
                overlaps = self._overlap_faults(environment.name, own, ground, uses)
                overlaps += self._outside_faults(own, ground)
                if overlaps:
                    found[environment.name] = in_a_line(overlaps)
            return found

    def _save(self, environment: Environment) -> None:
        self._store.save(environment)
        self._all[environment.name] = environment

    def faults_of(self, environment: Environment) -> list[Fault]:
        """Return everything wrong with an environment, but for its name being taken.

        What cannot be right by itself (a path that is none) is not looked for in the world.
        """
        found = faults(environment) + self._defined(environment)
        wrong, ground = {fault.field for fault in found}, Ground()
        own = {field: path for field, path in _own_places(environment).items() if field not in wrong}
        found += _place_faults(own) + self._outside_faults(own, ground)
        found += self._overlap_faults(environment.name, own, ground, self._neighbours(ground))
        if "policies.owner" not in wrong:
            found += _owner_faults(environment)
        if _TARGET not in wrong:
            found += self._exchange_faults(environment, trial=not any(fault.field in own for fault in found))
        return found

    def _outside_faults(self, own: _Places, ground: Ground) -> list[Fault]:
        return [fault for field, path in own.items() for fault in self._root_faults(field, path, ground)]

    def _exchange_faults(self, environment: Environment, *, trial: bool) -> list[Fault]:
        """Find out whether the target can be exchanged as a whole, if that is asked for.

        Args:
            environment: whose target.
            trial: also try it beside the target; not where the daemon must not write.
        """
        if environment.policies.strategy != Strategy.ATOMIC:
            return []
        field, found = "policies.strategy", []
        place = Place.of(environment.config_path)
        roots = [Place.of(root) for root in self._roots[_TARGET]]
        if any(place.same(root) for root in roots) and not any(place.inside(root) for root in roots):
            trial = False
            what = f"{place.path} is an allowed root itself, and the new directory would be built outside it"
            found.append(
                Fault(
                    field, f"atomic is not possible: {what}; use a directory below it, or strategy in-place"
                )
            )
        return found + [
            Fault(field, f"atomic is not possible: {obstacle.what}; {obstacle.hint}")
            for obstacle in obstacles(environment.config_path, trial=trial)
        ]

    def _root_faults(self, field: str, path: str, ground: Ground) -> list[Fault]:
        roots = [ground.place(root) for root in self._roots[field.partition("[")[0]]]
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

    def _overlap_faults(self, name: str, own: _Places, ground: Ground, uses: _Uses) -> list[Fault]:
        places = {field: ground.place(path) for field, path in own.items()}
        target, state = places.get(_TARGET), ground.place(str(self._state_dir))
        copies = ground.place(self._check_directory) if self._check_directory else None
        found = []
        for field, place in places.items():
            if place.overlaps(state):
                found.append(Fault(field, f"{place.path} overlaps the daemon's state directory {state.path}"))
            if copies is not None and place.overlaps(copies):
                found.append(
                    Fault(field, f"{place.path} overlaps {copies.path}, where checks find copies of targets")
                )
            if target is not None and field != _TARGET and place.overlaps(target):
                found.append(Fault(field, f"{place.path} overlaps the target {target.path}"))
            theirs = uses.targets.overlapping(place)
            if field == _TARGET:
                theirs += uses.sources.overlapping(place)
            found += [
                Fault(field, f"{place.path} overlaps {use.path}, {use.what} of {use.environment}")
                for use in theirs
                if use.environment != name
            ]
        return found


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


def _own_places(environment: Environment) -> _Places:
    """Return where an environment's directories are, by field; a source that is named twice, once."""
    sources = {source: index for index, source in reversed(tuple(enumerate(environment.sources)))}
    indices = sorted(sources.values())
    return {_TARGET: environment.config_path} | {f"sources[{n}]": environment.sources[n] for n in indices}


def _place_faults(own: _Places) -> list[Fault]:
    reasons = {
        field: target_fault(path) if field == _TARGET else source_fault(path) for field, path in own.items()
    }
    return [Fault(field, why) for field, why in reasons.items() if why]


def _owner_faults(environment: Environment) -> list[Fault]:
    try:
        owner_of(environment.policies.owner)
    except DeploymentFailedError as error:
        return [Fault("policies.owner", error.message)]
    return []
