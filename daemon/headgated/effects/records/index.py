"""A light index of deployments: enough of each record to find pages of them, in memory. Knows no files."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from itertools import chain
from typing import TypeAlias

import msgspec

from headgated.core.deployment import DeploymentStatus

Cursor: TypeAlias = tuple[int, int, str]
"""Place of the last record of a page: when it was asked for (microseconds since the epoch), sequence, id."""


class Line(msgspec.Struct, gc=False, array_like=True):
    """As much of a record as the index needs. Of every record one is in memory: nothing here is longer than it must be."""

    deployment_id: str
    environment: str
    status: DeploymentStatus
    sequence: int
    deployed_at: int
    """Microseconds since the epoch."""
    mark: int = 0
    """Of the file that it was read from, see `reading.mark_of`; 0: not known."""


def _by_sequence(line: Line) -> tuple[int, str]:
    return line.sequence, line.deployment_id


def _by_time(line: Line) -> Cursor:
    return line.deployed_at, line.sequence, line.deployment_id


class Index:
    """Lines by id, by environment and in time. Whoever has it guards it."""

    def __init__(self) -> None:
        self._lines: dict[str, Line] = {}
        self._environments: dict[str, list[Line]] = {}
        self._all: list[Line] = []

    def __contains__(self, deployment_id: str) -> bool:
        return deployment_id in self._lines

    def fill(self, lines: list[Line]) -> None:
        """Take many lines in at once."""
        self._lines = {line.deployment_id: line for line in lines}
        self._environments = {}
        for line in lines:
            self._environments.setdefault(line.environment, []).append(line)
        for mine in self._environments.values():
            mine.sort(key=_by_sequence)
        # Each environment's run is in order of time but for clocks that were set back: nearly sorted is sorted fast.
        self._all = list(chain.from_iterable(self._environments.values()))
        self._all.sort(key=_by_time)

    def get(self, deployment_id: str) -> Line | None:
        """Return a line."""
        return self._lines.get(deployment_id)

    def add(self, line: Line) -> None:
        """Take in a line, or a newer one in place of the one with its id."""
        self.remove(line.deployment_id)
        self._lines[line.deployment_id] = line
        insort(self._environments.setdefault(line.environment, []), line, key=_by_sequence)
        insort(self._all, line, key=_by_time)

    def remove(self, deployment_id: str) -> None:
        """Drop a line, if there is one."""
        line = self._lines.pop(deployment_id, None)
        if line is not None:
            mine = self._environments[line.environment]
            del mine[bisect_left(mine, _by_sequence(line), key=_by_sequence)]
            del self._all[bisect_left(self._all, _by_time(line), key=_by_time)]

    def of(self, environment: str) -> list[Line]:
        """Return an environment's lines, oldest first."""
        return self._environments.get(environment, [])

    def all(self) -> list[Line]:
        """Return every line, oldest first."""
        return self._all

    def environments(self) -> list[str]:
        """Return the environments that have lines."""
        return [name for name, lines in self._environments.items() if lines]

    def newest_first(self, environment: str | None, before: Cursor | None) -> Iterator[Line]:
        """Yield lines older than a place, of one environment by sequence, or of all by time."""
        if environment is None:
            lines = self._all
            end = len(lines) if before is None else bisect_left(lines, tuple(before), key=_by_time)
        else:
            lines = self.of(environment)
            end = (
                len(lines) if before is None else bisect_left(lines, (before[1], before[2]), key=_by_sequence)
            )
        return (lines[at] for at in range(end - 1, -1, -1))


def place(line: Line) -> Cursor:
    """Return where a line stands."""
    return _by_time(line)
