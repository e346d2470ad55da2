"""How much of a source is too much."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ScanLimits:
    """Beyond these a source is not deployed, and the fault says which limit and where."""

    max_files: int = 1_000_000
    """Files, directories and symlinks of one source."""
    max_file_bytes: int = 1 << 30
    max_depth: int = 200
    """Directories inside each other. Each costs an open file descriptor while the ones below are read."""
    read_attempts: int = 5
    """How often to look, at most, until two looks in a row see the same; at least 2."""
    first_pause: float = 0.005
    """Seconds between the second look and the third; doubles for each one more. The second follows at once."""
