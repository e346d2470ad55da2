"""What a deployment has committed to: all that recovery needs to finish it or to undo it."""

from __future__ import annotations

from dataclasses import dataclass

from headgated.core.plan import Change
from headgated.core.tree import Directory


@dataclass(frozen=True, slots=True)
class Intent:
    """A deployment's commitment, written before the first change to its target."""

    deployment_id: str
    environment: str
    sequence: int
    target: str
    """Absolute directory."""
    token: str
    """12 lower-case hexadecimal digits; part of the name of every temporary."""
    managed_before: Directory
    managed_after: Directory
    changes: tuple[Change, ...]
    record: bytes
    """The record as JSON, in progress, so that recovery can finish it."""
