"""How often each torture test does what it does: a share of it as a rule, the full number when asked for."""

from __future__ import annotations

import os


def times(short: int, full: int | None = None) -> int:
    """Return `short`, or `full` (the number given where it is None) where HEADGATE_TORTURE=number asks for it."""
    asked = int(os.environ.get("HEADGATE_TORTURE") or 0)
    if not asked:
        return short
    return asked if full is None else full
