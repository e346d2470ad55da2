"""What the daemon keeps in memory for one environment while it runs. All of it can be worked out again."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from datetime import datetime

from headgated.core.deployment import ConfigDeployment, StepResult
from headgated.core.errors import DeploymentFailedError
from headgated.core.sealing import NO_SECRETS, Sealing
from headgated.core.tree import EMPTY, Directory
from headgated.effects.target import Target
from headgated.engine.edits import Edits
from headgated.engine.wanted import WantedTree


@dataclass(frozen=True, slots=True)
class Failure:
    """The last attempt of auto-sync did not succeed."""

    version: str
    """What was attempted: digest of the sources and of the environment."""
    record: ConfigDeployment
    attempts: int
    next_at: float
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Spoiled:
    """An applied deployment that is to be taken back, and is not yet."""

    record: ConfigDeployment
    why: DeploymentFailedError
    attempts: int = 0
    """How often that failed."""
    failed: ConfigDeployment | None = None
    """The rollback that failed last."""
    due: float = 0.0
    """When to try again, by the monotonic clock."""

    def wait(self) -> float:
        """Return in how many seconds to try again."""
        return max(0.0, self.due - time.monotonic())


@dataclass(slots=True)
class Runtime:
    """One environment's working state. Whoever deploys, plans or syncs holds `lock`."""

    name: str
    lock: threading.RLock = field(default_factory=threading.RLock)
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set when no deployment of it shall go on that has not changed anything yet."""
    leaving: bool = False
    """The environment is being deleted; otherwise it is the daemon that stops."""
    target: Target | None = None
    target_path: str = ""
    wanted: WantedTree | None = None
    wanted_for: object = None
    """The environment and sources that `wanted` was made for."""
    sealing: Sealing = NO_SECRETS
    """Its secrets when they were last asked for."""
    version: str = ""
    """Digest of the environment as it is in `version_of`."""
    version_of: object = None
    managed: Directory = EMPTY
    """What was deployed last."""
    current_id: str = ""
    """The deployment that left it."""
    paths_changed: int = 0
    """By deployments since memory was last given back."""
    sequence: int = 0
    """Highest sequence given to a deployment."""
    begun: int = 0
    """Highest sequence of a deployment that was begun since the start."""
    synced_version: str | None = None
    """What the target is known to be in step with; None: not known yet."""
    out_of_sync: bool = False
    accepted: str | None = None
    """Digest of layered sources that somebody accepted although they look broken."""
    failure: Failure | None = None
    unsettled: bool = False
    misfit: str = ""
    """Why the environment must not be deployed at all; empty where it may."""
    needs_recovery: bool = False
    """A deployment could not be brought to its end; that comes before the next one."""
    recovery_problem: str = ""
    """Why not; while `needs_recovery`."""
    unwritable: str = ""
    """Why nothing can be deployed now: the state directory cannot be written; empty where it can."""
    unwritable_looks: int = 0
    """How many looks in a row found that."""
    running: ConfigDeployment | None = None
    steps: tuple[StepResult, ...] = ()
    """Checks, reloads and probes of what runs, so far."""
    following: ConfigDeployment | None = None
    """Applied, and not finished: reloads and health probes are still to come. On disk as such."""
    cancelled: threading.Event | None = None
    """Ends what is deployed while it has changed nothing, and what follows; None: what runs heeds its order's."""
    spoiled: Spoiled | None = None
    """What the target has and should not: it did not work, and taking it back failed so far."""
    unconfirmed: ConfigDeployment | None = None
    """It succeeded, and is taken back unless somebody confirms it in time."""
    last: ConfigDeployment | None = None
    """The newest finished deployment."""
    last_success_at: datetime | None = None
    edits: Edits = field(default_factory=Edits)
    drifted: tuple[str, ...] = ()
    """The first managed paths that are no longer what was deployed, escaped."""
    drifted_count: int = 0
