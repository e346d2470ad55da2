"""Which start of the machine this is, and whether a state directory was used in another one before.

Between two starts the power may have been cut: of what was done and not synced, some may be undone. Where nothing tells, it counts as
another start.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from headgated.core.errors import HeadgateError
from headgated.effects.durable import write_durable

_KERNEL = Path("/proc/sys/kernel/random/boot_id")
_NAME = "boot"


def this_boot() -> str:
    """Return what tells this start of the machine from every other; empty where the kernel does not say."""
    with suppress(OSError):
        return _KERNEL.read_text(encoding="ascii").strip()
    return ""


class BootMark:
    """Remembers in a state directory in which start of the machine it was used last."""

    def __init__(self, directory: Path, boot: str) -> None:
        self._directory, self._boot = directory, boot

    def is_another(self) -> bool:
        """Tell whether the machine was started since, as far as is known."""
        try:
            return not self._boot or (self._directory / _NAME).read_text(encoding="ascii") != self._boot
        except (OSError, UnicodeDecodeError):
            return True

    def note(self) -> None:
        """Remember this one. Where that fails, it is taken for another one at the next start."""
        with suppress(HeadgateError):
            write_durable(self._directory, _NAME, self._boot.encode("ascii"))
