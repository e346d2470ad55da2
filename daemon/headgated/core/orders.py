"""What people and tools ask for, and who they are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from headgated.core.errors import Fault


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as the kernel or their certificate says."""

    user: str
    """A user's name; over the network, the name in the certificate that counts."""
    uid: int | None = None
    gid: int | None = None
    pid: int | None = None
    groups: frozenset[int] = frozenset()
    """Every group of the caller when it connected, `gid` included."""
    certificates: tuple[str, ...] = ()
    """Names in the caller's certificate (`dns:...`, `uri:...`); none: the caller came through the local socket."""
    origin: str = ""
    """Where the call came from, over the network."""


@dataclass(frozen=True, slots=True)
class DeployOrder:
    """Bring an environment to what its sources say, or some files of it."""

    environment: str
    config_files: tuple[str, ...] = ()
    """Relative to the sources, or absolute; empty: all."""
    reason: str = ""
    on_behalf_of: str = ""
    allow_empty: bool = False
    allow_mass_removal: bool = False
    expected_sequence: int | None = None
    request_id: str = ""
    confirm_within: float = 0.0
    """Seconds in which somebody has to confirm it; 0: nobody has to."""


@dataclass(frozen=True, slots=True)
class RollbackOrder:
    """Undo a deployment, and where asked every later one."""

    deployment_id: str
    include_later: bool = False
    reason: str = ""
    on_behalf_of: str = ""
    expected_sequence: int | None = None
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class RestoreOrder:
    """Return to the state that a deployment left."""

    deployment_id: str
    reason: str = ""
    on_behalf_of: str = ""
    expected_sequence: int | None = None
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class AdoptOrder:
    """Take edits by hand at an environment's target into history as they are."""

    environment: str
    paths: tuple[str, ...] = ()
    """Relative to the target, or absolute and inside it; a directory stands for all below it; empty: all that has drifted."""
    reason: str = ""
    on_behalf_of: str = ""
    expected_sequence: int | None = None
    request_id: str = ""


Order = DeployOrder | RollbackOrder | RestoreOrder | AdoptOrder


def file_faults(field: str, names: Iterable[str]) -> list[Fault]:
    """Return which of the files named in a field of an order cannot be any: each is relative to the sources or target, or absolute."""
    return [
        Fault(f"{field}[{index}]", f"is not a path to a file ({name!r:.200})")
        for index, name in enumerate(names)
        if not _is_path(name)
    ]


def _is_path(name: str) -> bool:
    parts = name.removeprefix("/").rstrip("/").split("/")
    return bool(name) and "\0" not in name and ".." not in parts and "" not in parts
