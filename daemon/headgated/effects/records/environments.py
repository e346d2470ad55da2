"""The environments on disk: `environments/NAME.json`."""

from __future__ import annotations

import os
from pathlib import Path

from headgated.core.environment import Environment, name_faults
from headgated.core.errors import RecordError
from headgated.effects.durable import not_writable, remove_durable, sweep_temporaries, write_durable
from headgated.effects.records.environment_shape import decode_environment, encode_environment
from headgated.effects.records.reading import SetAside, read_record


class EnvironmentStore:
    """Keeps environments below a state directory. Whoever calls sees to it that one name is written by one at a time.

    Raises:
        UnavailableError: STATE_NOT_WRITABLE.
    """

    def __init__(self, state_dir: Path) -> None:
        self._directory = state_dir / "environments"
        self._unusable: dict[str, str] = {}
        """Names of records that are there and cannot be read, and why."""
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise not_writable(self._directory, error) from error

    def load(self) -> tuple[list[Environment], list[SetAside]]:
        """Return all that can be read, ordered by name, and what could not."""
        sweep_temporaries(self._directory)
        environments: list[Environment] = []
        aside: list[SetAside] = []
        for path in sorted(self._directory.glob("*.json")):
            if name_faults(path.stem):
                continue
            found = read_record(path, decode_environment)
            if not isinstance(found, SetAside) and found.name != path.stem:
                found = SetAside(path, None, f"it is the record of {found.name!r:.80}, not of {path.stem!r}")
            if isinstance(found, SetAside):
                aside.append(found)
            else:
                environments.append(found)
        self._unusable = {each.path.stem: each.why for each in aside if each.moved_to is None}
        return environments, aside

    def taken(self, name: str) -> bool:
        """Tell whether there is a record of that name, readable or not."""
        return os.path.lexists(self._path(name))

    def save(self, environment: Environment) -> None:
        """Write an environment durably.

        Raises:
            RecordError: RECORD_UNREADABLE, what is there cannot be read and must not be lost (a newer daemon's).
            UnavailableError: STATE_NOT_WRITABLE.
        """
        if environment.name in self._unusable:
            raise RecordError(
                f"cannot save environment {environment.name}: {self._path(environment.name)} is there, and "
                + self._unusable[environment.name],
                reason="RECORD_UNREADABLE",
                hint="move that file away, or choose another name",
            )
        write_durable(self._directory, f"{environment.name}.json", encode_environment(environment))

    def delete(self, name: str) -> None:
        """Remove an environment's record durably.

        Raises:
            UnavailableError: STATE_NOT_WRITABLE.
        """
        remove_durable(self._path(name))

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}.json"
