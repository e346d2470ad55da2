"""What a deployment is: one attempt to bring an environment to a wanted tree, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from headgated.core.errors import HeadgateError
from headgated.core.tree import Entry

LISTED_CHANGES = 10_000
"""A record lists at most so many changed files; the counts are always whole, and history has them all."""


LISTED_PATHS = 1000
"""So many paths of an error are kept on record."""


class DeploymentStatus(StrEnum):
    """Where a deployment stands."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    SUCCESS = "success"
    FAILED = "failed"
    ROLLED_BACK = "rolled_back"

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen to it by itself."""
        return self not in (DeploymentStatus.PENDING, DeploymentStatus.IN_PROGRESS)

    @property
    def reached(self) -> bool:
        """Whether the target once had the state it wanted."""
        return self in (DeploymentStatus.SUCCESS, DeploymentStatus.ROLLED_BACK)


class DeploymentKind(StrEnum):
    """What a deployment does."""

    DEPLOY = "deploy"
    ROLLBACK = "rollback"
    RESTORE = "restore"
    ADOPT = "adopt"
    """Takes edits at the target into history; changes nothing there."""


class Trigger(StrEnum):
    """What asked for a deployment."""

    REQUEST = "request"
    AUTO_SYNC = "auto-sync"
    AUTO_ROLLBACK = "auto-rollback"
    """A deployment did not work, or nobody confirmed it, and is taken back."""


@dataclass(frozen=True, slots=True)
class FileChange:
    """One path that a deployment changes, as a record tells it."""

    path: str
    """Relative to the target, escaped."""
    before: Entry | None
    after: Entry | None
    drifted: bool = False
    """`before` was not what Headgate had deployed."""


@dataclass(frozen=True, slots=True)
class SettingChange:
    """One setting of a structured file; values as JSON text, None where there is none."""

    path: str
    key: str
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True)
class Changes:
    """What a deployment does to a target, file by file. Lists may be cut (`omitted_count`); counts never are."""

    added: tuple[FileChange, ...] = ()
    modified: tuple[FileChange, ...] = ()
    removed: tuple[FileChange, ...] = ()
    added_count: int = 0
    modified_count: int = 0
    removed_count: int = 0
    unchanged_count: int = 0
    omitted_count: int = 0
    settings_changed: tuple[SettingChange, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """How many paths are changed."""
        return self.added_count + self.modified_count + self.removed_count


@dataclass(frozen=True, slots=True)
class RollbackInfo:
    """Ties a rollback and what it undid together."""

    target_deployment_id: str = ""
    undone: tuple[str, ...] = ()
    rolled_back_by: str = ""
    rolled_back_at: datetime | None = None


ENVIRONMENT_DELETED = "ENVIRONMENT_DELETED"
"""The reason of a failure: it was applied, and nobody needs it any more."""


@dataclass(frozen=True, slots=True)
class DeploymentError:
    """What went wrong, for the record."""

    reason: str
    message: str
    hint: str = ""
    paths: tuple[str, ...] = ()

    @classmethod
    def of(cls, error: HeadgateError) -> DeploymentError:
        """Return what a record keeps of an error; where it concerns too many paths, it says so."""
        many, message = len(error.paths), error.message
        if many > LISTED_PATHS:
            message = f"{message} (of {many} paths {LISTED_PATHS} are listed)"
        return cls(error.reason, message, error.hint, error.paths[:LISTED_PATHS])


@dataclass(frozen=True, slots=True)
class StepResult:
    """What became of one check, reload or health probe of a deployment."""

    step: str
    """check, reload or health."""
    name: str
    """As the environment names it."""
    ok: bool
    message: str = ""
    """Why not; empty where it did what it was to do."""
    output: str = ""
    """What it printed, bounded, with secrets hidden."""
    seconds: float = 0.0
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a running deployment is. Never on disk."""

    step: str
    files_done: int = 0
    files_total: int = 0


@dataclass(frozen=True, slots=True)
class ConfigDeployment:
    """One attempt to bring an environment to a wanted tree."""

    deployment_id: str
    environment: str
    kind: DeploymentKind
    status: DeploymentStatus
    sequence: int
    """Order in which the environment's deployments were begun; until then, in which they were asked for."""
    deployed_at: datetime
    """When it was asked for."""
    deployed_by: str
    trigger: Trigger = Trigger.REQUEST
    config_version: str = ""
    """Digest of the tree it brings: `sha256:` and 64 hexadecimal digits; empty until that is known."""
    config_files: tuple[str, ...] = ()
    changes: Changes = Changes()
    rollback_info: RollbackInfo | None = None
    error: DeploymentError | None = None
    reason: str = ""
    on_behalf_of: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    attempts: int = 1
    """Failed attempts of the same content that this record stands for."""
    progress: Progress | None = None
    steps: tuple[StepResult, ...] = ()
    """Checks, reloads and probes, in order."""
    applied_at: datetime | None = None
    """When the target had all of it, where reloads or health probes follow."""
    confirm_within: float = 0.0
    """Seconds in which somebody has to confirm it once it succeeded; 0: nobody has to."""
    confirm_by: datetime | None = None
    """It is rolled back by itself unless somebody confirms it by then."""
    confirmed_at: datetime | None = None
    confirmed_by: str = ""

    @property
    def awaits_confirmation(self) -> bool:
        """Whether it succeeded and is taken back unless somebody confirms it."""
        return (
            self.status == DeploymentStatus.SUCCESS
            and self.confirm_by is not None
            and self.confirmed_at is None
        )

    @property
    def must_be_taken_back(self) -> bool:
        """Whether it came from the sources, was applied and did not work: if it is still what the target has, it must not be."""
        return (
            self.status == DeploymentStatus.FAILED
            and self.kind == DeploymentKind.DEPLOY
            and self.applied_at is not None
            and self.error is not None
            and self.error.reason != ENVIRONMENT_DELETED
        )
