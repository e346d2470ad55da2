"""What is different between two configurations, and what of it has to wait for a restart."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from headgated.core.config import Settings

AT_START = {
    "daemon": ("state_directory", "socket", "socket_group", "socket_mode", "check_directory"),
    "tcp": ("address", "connections"),
}
"""Keys that are looked at when the daemon starts and never again, by table."""


def in_force(old: Settings, wanted: Settings) -> Settings:
    """Return what may be in force without a restart: `wanted`, but for what is decided at start."""
    kept: dict[str, Any] = {
        table: replace(getattr(wanted, table), **{name: getattr(getattr(old, table), name) for name in names})
        for table, names in AT_START.items()
    }
    return replace(wanted, **kept)


def waiting(old: Settings, wanted: Settings) -> list[str]:
    """Return a line for each difference that takes a restart."""
    return differences(in_force(old, wanted), wanted)


def differences(old: Settings, new: Settings) -> list[str]:
    """Return a line for each key that is different, for people."""
    lines = []
    for table in fields(Settings):
        before, after = getattr(old, table.name), getattr(new, table.name)
        if isinstance(before, tuple):
            lines += [f"{table.name}: no longer {one}" for one in before if one not in after]
            lines += [f"{table.name}: now {one}" for one in after if one not in before]
            continue
        lines += [
            f"{table.name}.{name}: {_shown(name, was)} -> {_shown(name, now)}"
            for name in (known.name for known in fields(before))
            if (was := getattr(before, name)) != (now := getattr(after, name))
        ]
    return lines


def _shown(name: str, value: object) -> str:
    if name.endswith("mode") and isinstance(value, int):
        return f"{value:04o}"
    if isinstance(value, tuple):
        return f"[{', '.join(value)}]"
    return f"{value:g}" if isinstance(value, float) else str(value) or '""'
