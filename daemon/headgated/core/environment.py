"""What an environment is, and which ones can be right at all."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from headgated.core.errors import Fault
from headgated.core.globs import glob_faults

_NAME = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
LONGEST_SETTLE = 3600
"""Seconds."""
LARGEST_MODE = 0o777
_LONGEST_PATH = 4095
"""Bytes: PATH_MAX without its NUL."""
_LONGEST_FILE_NAME = 255
"""Bytes: NAME_MAX of Linux's file systems."""
_MODE = re.compile(r"source|keep|0?[0-7]{3}")
_OWNER = re.compile(r"keep|source|[A-Za-z0-9_.][A-Za-z0-9_.-]*:[A-Za-z0-9_.][A-Za-z0-9_.-]*")


class EnvironmentType(StrEnum):
    """What an environment is for."""

    DEVELOPMENT = "development"
    STAGING = "staging"
    PRODUCTION = "production"
    TESTING = "testing"


class UndefinedPolicy(StrEnum):
    """What rendering does with a name that the environment does not declare."""

    KEEP = "keep"
    ERROR = "error"


class Strategy(StrEnum):
    """How changes reach the target."""

    IN_PLACE = "in-place"
    ATOMIC = "atomic"


class DriftPolicy(StrEnum):
    """What happens when a managed file at the target is no longer what was deployed."""

    REPORT = "report"
    HEAL = "heal"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Policies:
    """The rules that an environment deploys by."""

    prune: bool = True
    """Remove files that left the sources, if we deployed them and nobody changed them since."""
    verbatim: tuple[str, ...] = ()
    """Globs (gitignore syntax) of files that are copied without rendering."""
    undefined: UndefinedPolicy = UndefinedPolicy.KEEP
    strategy: Strategy = Strategy.IN_PLACE
    drift: DriftPolicy = DriftPolicy.REPORT
    owner: str = "keep"
    """`keep` (what the replaced file has; the daemon's own for new ones), `source`, or `user:group`."""
    allow_external_symlinks: bool = False
    """Deploy symlinks that are absolute or lead out of the tree."""
    settle_quiet: float | None = None
    """Seconds; None: the daemon's default."""
    settle_latest: float | None = None
    """Seconds; None: the daemon's default."""
    checks: tuple[str, ...] = ()
    reloads: tuple[str, ...] = ()
    health: tuple[str, ...] = ()
    secret_mode: int = 0o600
    """The permission bits that a file with secrets may have, of those that its source has."""
    mode: str = "source"
    """Of files: `source` (what the source file has), `keep` (what the replaced file has; new ones as `source`), or octal (`0640`)."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Keeps auto-sync from redoing what a rollback undid.

    `rejected` maps each restored path (escaped) to the digest of what was undone there (hexadecimal; "absent" where the
    undone state had nothing). The hold lifts by itself when the sources ask for something else at every one of them.
    """

    deployment_id: str
    since: datetime
    rejected: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Halt:
    """The environment keeps its target and waits for its sources or for an explicit word."""

    reason: str
    message: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Pause:
    """Somebody stopped auto-sync."""

    reason: str
    paused_by: str
    since: datetime
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class SourceMark:
    """What a source was when it was last deployed from, to tell later whether it is still the same."""

    device: int
    inode: int
    is_mount: bool
    """It was a mount point."""
    had_files: bool


@dataclass(frozen=True, slots=True)
class Environment:
    """A named place that configuration goes to."""

    name: str
    type: EnvironmentType
    config_path: str
    """The target directory, absolute."""
    created_at: datetime
    updated_at: datetime
    sources: tuple[str, ...] = ()
    """Absolute directories, in order; a later one lays over an earlier one."""
    variables: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    """References by name, never values."""
    auto_sync: bool = False
    policies: Policies = Policies()
    generation: int = 1
    hold: Hold | None = None
    halt: Halt | None = None
    pause: Pause | None = None
    marks: Mapping[str, SourceMark] = field(default_factory=dict)
    """By source path: what each source was at the last success."""


def auto_sync_by_default(env_type: EnvironmentType) -> bool:
    """Tell whether an environment of this type syncs without being asked to: all but production."""
    return env_type != EnvironmentType.PRODUCTION


def name_faults(name: str) -> list[Fault]:
    """Return what is wrong with an environment's name; it becomes a file name and part of every deployment id."""
    if _NAME.fullmatch(name):
        return []
    rule = "must be lower-case letters, digits and hyphens, begin with a letter, end with a letter or digit, at most 63"
    return [Fault("name", f"{rule} (got {name!r:.80})")]


def faults(environment: Environment) -> list[Fault]:
    """Return everything wrong with an environment that can be told without looking at a file system."""
    found = name_faults(environment.name)
    found += _path_faults("config_path", environment.config_path)
    for index, source in enumerate(environment.sources):
        found += _path_faults(f"sources[{index}]", source)
    if len(set(environment.sources)) != len(environment.sources):
        found.append(Fault("sources", "names a directory twice"))
    found += _variable_faults("variables", environment.variables)
    found += _variable_faults("secrets", environment.secrets)
    for shared in sorted(environment.variables.keys() & environment.secrets.keys()):
        found.append(Fault(f"secrets.{shared}", "is a variable as well; use another name"))
    return found + _policy_faults(environment.policies)


def _path_faults(name: str, path: str) -> list[Fault]:
    if not path:
        return [Fault(name, "is missing")]
    if "\0" in path:
        return [Fault(name, "holds a NUL byte")]
    if not path.startswith("/"):
        return [Fault(name, f"must be an absolute path (got {path!r:.200})")]
    if ".." in path.split("/"):
        return [Fault(name, f"must not contain '..' (got {path!r:.200})")]
    raw = path.encode("utf-8", "surrogateescape")
    if len(raw) > _LONGEST_PATH:
        return [Fault(name, f"is longer than {_LONGEST_PATH} bytes")]
    if max(map(len, raw.split(b"/"))) > _LONGEST_FILE_NAME:
        return [Fault(name, f"has a file name of more than {_LONGEST_FILE_NAME} bytes in it")]
    return []


def _variable_faults(name: str, values: Mapping[str, str]) -> list[Fault]:
    found = []
    for key, value in values.items():
        if not _VARIABLE.fullmatch(key):
            found.append(
                Fault(f"{name}.{key}", "must be a letter or underscore, then letters, digits, underscores")
            )
        if len(value.encode("utf-8", "surrogatepass")) > 64 * 1024:
            found.append(Fault(f"{name}.{key}", "is longer than 64 KiB"))
        if "\0" in value:
            found.append(Fault(f"{name}.{key}", "holds a NUL byte"))
    return found


def _policy_faults(policies: Policies) -> list[Fault]:
    found = glob_faults("policies.verbatim", policies.verbatim)
    if not _OWNER.fullmatch(policies.owner):
        found.append(
            Fault("policies.owner", f"must be keep, source or user:group (got {policies.owner!r:.80})")
        )
    if not _MODE.fullmatch(policies.mode):
        found.append(
            Fault("policies.mode", f'must be source, keep or like "0640" (got {policies.mode!r:.80})')
        )
    if not 0 <= policies.secret_mode <= LARGEST_MODE:
        found.append(
            Fault("policies.secret_mode", f"must be between 0 and 0777 (got {policies.secret_mode:#o})")
        )
    quiet, latest = policies.settle_quiet, policies.settle_latest
    for key, value in (("settle_quiet", quiet), ("settle_latest", latest)):
        if value is not None and not 0 <= value <= LONGEST_SETTLE:
            found.append(
                Fault(f"policies.{key}", f"must be between 0 and {LONGEST_SETTLE} seconds (got {value})")
            )
    if quiet is not None and latest is not None and quiet > latest:
        found.append(Fault("policies.settle_quiet", "is longer than settle_latest"))
    return found
