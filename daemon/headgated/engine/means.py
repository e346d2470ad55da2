"""What checks, reloads and probes are carried out with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from headgated.core.commands import Commands
from headgated.effects.commands import CommandRunner
from headgated.effects.probes import Prober


@dataclass(frozen=True, slots=True)
class Means:
    """Shared by all environments."""

    commands: Callable[[], Commands]
    """Returns what root has defined now."""
    runner: CommandRunner
    prober: Prober
    directory: Path
    """Of ours: for copies of targets that checks look at, and files that commands are given."""
