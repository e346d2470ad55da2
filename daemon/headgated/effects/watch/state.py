"""What can be told about the watch of one source."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class WatchMode(StrEnum):
    """How changes of a source are noticed."""

    EVENTS = "events"
    POLLING = "polling"
    """Scanned again and again; events, where there are any, are used as well."""
    ABSENT = "absent"
    """There is no directory at this path; looked for until there is."""


@dataclass(frozen=True, slots=True)
class WatchState:
    """How one source is watched."""

    root: str
    """As it was given to `Watcher.add`."""
    mode: WatchMode
    message: str
    """Why it is not watched by events alone; empty where it is."""
    directories: int
    """Directories that are watched, the root included."""
    last_event_at: float | None
    """Seconds since the epoch."""
    last_rescan_at: float | None
    """When it was last told that anything may have changed; seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often things are done unasked, in seconds."""

    scan: float
    probe: float
    cookie: float
    poll: float


def verdict(
    problem: str, refusal: str, shortfall: str, eventless: Iterable[str], poll: float
) -> tuple[WatchMode, str]:
    """Return how a root is watched, and why not by events alone.

    Args:
        problem: why there is no directory.
        refusal: why no events can be had at all.
        shortfall: why not every directory is watched.
        eventless: types of the file systems in it that change without events.
        poll: seconds between scans where events do not tell everything.
    """
    if problem:
        return WatchMode.ABSENT, problem
    kinds = ", ".join(sorted(set(eventless)))
    elsewhere = f"{kinds} tells no events of changes made elsewhere" if kinds else ""
    reason = f"no events: {refusal}" if refusal else shortfall or elsewhere
    if reason:
        return WatchMode.POLLING, f"{reason}; scanned every {poll:g} s"
    return WatchMode.EVENTS, ""
