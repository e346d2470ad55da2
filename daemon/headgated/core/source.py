"""What a scan of a source tells."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from headgated.core.tree import Directory


class RootState(StrEnum):
    """What stands where the source should be."""

    OK = "ok"
    ABSENT = "absent"
    NOT_A_DIRECTORY = "not_a_directory"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class ScanFault:
    """One path of a source that cannot be deployed as it is."""

    path: bytes
    reason: str
    """UPPER_SNAKE_CASE: UNREADABLE, SPECIAL_FILE, TOO_LARGE, SETUID, ..."""
    message: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One source at one moment. Where it could not be read whole, `faults` says so and nothing may be removed for it."""

    tree: Directory
    """All that the source offers; the root's own attributes are None."""
    root: RootState
    identity: tuple[int, int] | None
    """(device, inode) of the root."""
    is_mount: bool
    """Whether the root is on another device than its parent."""
    faults: tuple[ScanFault, ...]
    settled: bool
    """False: files kept changing under the reader, and `tree` is the last settled one."""
    scanned_at: float
    """Seconds since the epoch."""
