"""The environments on disk: `environments/NAME.json`."""

from __future__ import annotations

from pathlib import Path

from headgated.core.environment import Environment, name_faults
from headgated.effects.durable import not_writable, remove_durable, write_durable
from headgated.effects.records.reading import SetAside, read_record
from headgated.effects.records.shapes import decode_environment, encode_environment


class EnvironmentStore:
    """Keeps environments below a state directory. Whoever calls sees to it that one name is written by one at a time."""

    def __init__(self, state_dir: Path) -> None:
        self._directory = state_dir / "environments"
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise not_writable(self._directory, error) from error

    def load(self) -> tuple[list[Environment], list[SetAside]]:
        """Return all that can be read, ordered by name, and what could not."""
        environments: list[Environment] = []
        aside: list[SetAside] = []
        for path in sorted(self._directory.glob("*.json")):
            if name_faults(path.stem):
                continue
            found = read_record(path, decode_environment)
            if isinstance(found, SetAside):
                aside.append(found)
            elif found.name != path.stem:
                aside.append(
                    SetAside(path, None, f"it is the record of {found.name!r}, not of {path.stem!r}")
                )
            else:
                environments.append(found)
        return environments, aside

    def taken(self, name: str) -> bool:
        """Tell whether there is a record of that name, readable or not."""
        return (self._directory / f"{name}.json").exists()

    def save(self, environment: Environment) -> None:
        """Write an environment durably."""
        write_durable(self._directory, f"{environment.name}.json", encode_environment(environment))

    def delete(self, name: str) -> None:
        """Remove an environment's record durably."""
        remove_durable(self._directory / f"{name}.json")
