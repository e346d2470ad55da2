"""What the engine shows: present states put together for people and tools. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from headgated.core.deployment import Changes, DeploymentError, FileChange
from headgated.core.environment import Environment


class SyncState(StrEnum):
    """How an environment stands to its sources."""

    UNKNOWN = "unknown"
    SYNCED = "synced"
    OUT_OF_SYNC = "out_of_sync"
    DEPLOYING = "deploying"
    HELD = "held"
    HALTED = "halted"
    PAUSED = "paused"
    FAILING = "failing"


@dataclass(frozen=True, slots=True)
class SyncView:
    """The present state of an environment beside its sources; hold, halt and pause are on the environment itself."""

    state: SyncState = SyncState.UNKNOWN
    message: str = ""
    last_deployment_id: str = ""
    """The newest deployment of any outcome."""
    current_deployment_id: str = ""
    """The newest deployment whose state the target has."""
    last_success_at: datetime | None = None
    deployed_version: str = ""
    """Digest of the managed tree, as `sha256:...`; empty before the first deployment."""
    next_attempt_at: datetime | None = None
    failed_attempts: int = 0
    drifted: tuple[str, ...] = ()
    """At most 100 managed paths that are no longer what was deployed, escaped."""
    drifted_count: int = 0
    sequence: int = 0
    """Highest sequence given to a deployment of this environment."""


@dataclass(frozen=True, slots=True)
class EnvironmentView:
    """An environment and how it stands."""

    environment: Environment
    sync: SyncView


@dataclass(frozen=True, slots=True)
class FileDiff:
    """A unified diff of one file; `note` says why where there is none."""

    path: str
    unified: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class PlanView:
    """What a deployment would change now."""

    environment: str
    config_version: str
    changes: Changes
    diffs: tuple[FileDiff, ...] = ()
    drifted: tuple[FileChange, ...] = ()
    blocked: DeploymentError | None = None
    """What would make a deployment refuse, or auto-sync wait."""


@dataclass(frozen=True, slots=True)
class SourceView:
    """One watched source."""

    path: str
    mode: str
    """`events`, `polling` or `absent`."""
    message: str
    directories: int
    last_event_at: datetime | None
    last_scan_at: datetime | None
    environments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that somebody should know of or act on."""

    reason: str
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class StatusView:
    """How the daemon is."""

    version: str
    pid: int
    started_at: datetime
    state_directory: str
    sources: tuple[SourceView, ...]
    environments: tuple[EnvironmentView, ...]
    problems: tuple[Problem, ...]
