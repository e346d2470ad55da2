"""Which deployments history keeps the content of. Pure: knows what there is, not how it is stored.

Undoing a deployment needs every later one of its environment as well, so of each environment a run of the newest is kept, without
a gap. The three limits are limits: what exceeds any of them goes, the oldest first. What an environment's target has now, the
deployment before it, what a hold names, and everything newer than any of these stay whatever the limits say.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

ALWAYS = 2
"""Of an environment that has a target: what is there, and the last good state before it."""


@dataclass(frozen=True, slots=True)
class Past:
    """A deployment that was applied."""

    deployment_id: str
    age: float
    """Seconds since it was asked for."""
    size: int = 0
    """Bytes of content that history holds for it and for no newer one; 0 where size is no matter."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is kept."""

    count: int
    """Deployments of each environment."""
    max_age: float
    """Seconds."""
    room: int | None = None
    """Bytes for all that is kept, of every environment together; None: as many as it takes."""


def kept(
    environments: Mapping[str, Sequence[Past]], live: Collection[str], named: Collection[str], limits: Limits
) -> frozenset[str]:
    """Return the ids of the deployments to keep.

    Args:
        environments: what was applied in each, newest first.
        live: the environments that have a target.
        named: deployments that must stay, with all that is newer.
        limits: what else stays.
    """
    least = {name: _least(past, named, is_live=name in live) for name, past in environments.items()}
    most = {
        name: max(least[name], _within(past[: limits.count], limits.max_age))
        for name, past in environments.items()
    }
    if limits.room is not None:
        most = _fitting(environments, least, most, limits.room)
    return frozenset(each.deployment_id for name, past in environments.items() for each in past[: most[name]])


def _least(past: Sequence[Past], named: Collection[str], *, is_live: bool) -> int:
    """Return how many of the newest stay in any case."""
    oldest_named = max((n for n, each in enumerate(past, 1) if each.deployment_id in named), default=0)
    return max(oldest_named, ALWAYS if is_live else 0)


def _within(past: Iterable[Past], max_age: float) -> int:
    """Return how many of the newest are young enough, up to the first that is not."""
    count = 0
    for each in past:
        if each.age > max_age:
            break
        count += 1
    return count


def _fitting(
    environments: Mapping[str, Sequence[Past]], least: Mapping[str, int], most: Mapping[str, int], room: int
) -> dict[str, int]:
    """Return how many of each environment fit into `room` bytes, the youngest of all first."""
    fitting = dict(least)
    waiting: list[tuple[float, int, str, int]] = []
    for name, past in environments.items():
        room -= sum(each.size for each in past[: least[name]])
        age = 0.0
        for n, each in enumerate(past[: most[name]], 1):
            age = max(age, each.age)  # so that none comes before a newer one where the clock was set back
            if n > least[name]:
                waiting.append((age, n, name, each.size))
    for _, n, name, size in sorted(waiting):
        room -= size
        if room < 0:
            break
        fitting[name] = n
    return fitting
