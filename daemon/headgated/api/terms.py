"""What the API goes by that may change while it serves."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from headgated.api.calls import CallLimits
from headgated.api.door import DoorLimits
from headgated.core.roles import Roles


def _trusted_only() -> Roles:
    return Roles((), (0, os.geteuid()))


@dataclass(frozen=True, slots=True)
class Terms:
    """Who may do what, and how much at once."""

    roles: Roles = field(default_factory=_trusted_only)
    """Where nothing is said: root and the daemon's own user everything, others nothing."""
    door: DoorLimits = field(default_factory=DoorLimits.within_descriptors)
    calls: CallLimits = field(default_factory=CallLimits)
