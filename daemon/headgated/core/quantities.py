"""Reads single values of a configuration file, and says what is wrong with one.

Each reader takes what TOML gives and returns the value as the daemon uses it (seconds, bytes, absolute paths).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

T_co = TypeVar("T_co", covariant=True)
Read = Callable[[object], T_co]
"""Returns the value read; raises ValueError, whose text follows the key's name: "must be ..."."""

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {
    "B": 1,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "TB": 1000**4,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
    "TiB": 1024**4,
}
_AMOUNT = re.compile(r"(\d{1,15}(?:\.\d{1,9})?) ?([A-Za-z]+)", re.ASCII)
_GROUP = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}\$?)?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_SOCKET_BYTES = 107
_CERTIFICATE = re.compile(r"(?:dns|uri):[!-~]{1,500}")
_ENVIRONMENT_GLOB = re.compile(r"[a-z0-9*?-]{1,63}")
_SETTING_GLOB = re.compile(r"[^\x00-\x1f]{1,128}")
_ADDRESS = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):(\d{1,5})")
_PORTS = 65536


def duration(least: float, most: float) -> Read[float]:
    """Return a reader of a time in seconds: a number of them, or text with a unit, `"20ms"`, `"1.5s"`, `"5m"`, `"1h"`, `"1d"`."""

    def read(value: object) -> float:
        seconds = _amount(value, _SECONDS, 'a number of seconds, or text like "20ms", "2s", "5m", "1h"')
        if not least <= seconds <= most:
            raise ValueError(f"must be between {least:g} and {most:g} seconds (got {_shown(value)})")
        return seconds

    return read


def size(least: int, most: int) -> Read[int]:
    """Return a reader of a size in bytes: a number of them, or text with a unit, `"64KiB"`, `"1GiB"`, `"10MB"`."""

    def read(value: object) -> int:
        in_bytes = _amount(value, _BYTES, 'a number of bytes, or text like "64KiB", "1GiB", "10MB"')
        if not least <= in_bytes <= most:
            raise ValueError(f"must be between {least} and {most} bytes (got {_shown(value)})")
        return int(in_bytes)

    return read


def count(least: int, most: int) -> Read[int]:
    """Return a reader of a whole number."""

    def read(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise ValueError(f"must be a whole number between {least} and {most} (got {_shown(value)})")
        return value

    return read


def one_of(*words: str) -> Read[str]:
    """Return a reader of one word out of a few; upper and lower case are the same."""

    def read(value: object) -> str:
        if not isinstance(value, str) or value.lower() not in words:
            raise ValueError(f"must be one of {', '.join(words)} (got {_shown(value)})")
        return value.lower()

    return read


def absolute_path(value: object) -> str:
    """Return an absolute path, without a slash at its end."""
    if not isinstance(value, str) or not value.startswith("/"):
        raise ValueError(f"must be an absolute path (got {_shown(value)})")
    if "\0" in value or ".." in value.split("/"):
        raise ValueError(f"must not contain '..' or a NUL byte (got {_shown(value)})")
    return "/" + "/".join(part for part in value.split("/") if part not in ("", "."))


def absolute_paths(value: object) -> tuple[str, ...]:
    """Return a list of absolute paths."""
    if not isinstance(value, list):
        raise ValueError(f'must be a list of absolute paths, like ["/etc/apps"] (got {_shown(value)})')  # noqa: TRY004
    return tuple(absolute_path(one) for one in value)


def variable_names(value: object) -> tuple[str, ...]:
    """Return a list of names of environment variables."""
    if not isinstance(value, list) or not all(
        isinstance(one, str) and _VARIABLE.fullmatch(one) for one in value
    ):
        raise ValueError(f'must be a list of names of variables, like ["DB_PASSWORD"] (got {_shown(value)})')
    return tuple(value)


def socket_path(value: object) -> str:
    """Return an absolute path that a Unix socket can have."""
    path = absolute_path(value)
    if len(path.encode("utf-8", "surrogateescape")) > _SOCKET_BYTES:
        raise ValueError(
            f"must be at most {_SOCKET_BYTES} bytes long, the kernel's limit for a socket (got {len(path)})"
        )
    return path


def group_name(value: object) -> str:
    """Return the name of a group; empty for the daemon's own."""
    if not isinstance(value, str) or not _GROUP.fullmatch(value):
        raise ValueError(f"must be the name of a group, or empty (got {_shown(value)})")
    return value


def account_names(value: object) -> tuple[str, ...]:
    """Return a list of names of users or groups; a number, as text, is one too."""
    return _listed(value, _GROUP, "names", "alice")


def certificate_names(value: object) -> tuple[str, ...]:
    """Return a list of names as certificates have them: `dns:...` or `uri:...`."""
    return _listed(value, _CERTIFICATE, "names of certificates", "dns:ci.example.org")


def environment_globs(value: object) -> tuple[str, ...]:
    """Return a list of environments' names, in which `*` and `?` stand for others."""
    return _listed(value, _ENVIRONMENT_GLOB, "names of environments", "shop-*")


def setting_globs(value: object) -> tuple[str, ...]:
    """Return a list of settings' names, in which `*` and `?` stand for others."""
    return _listed(value, _SETTING_GLOB, "names of settings", "*_pin")


def some_of(*words: str) -> Read[tuple[str, ...]]:
    """Return a reader of a list of words out of a few."""
    one = one_of(*words)

    def read(value: object) -> tuple[str, ...]:
        if not isinstance(value, list):
            raise ValueError(f'must be a list, like ["{words[0]}"] (got {_shown(value)})')  # noqa: TRY004
        return tuple(one(item) for item in value)

    return read


def socket_mode(value: object) -> int:
    """Return the permission bits of a socket: who may connect at all."""
    modes = {"0600": 0o600, "0660": 0o660, "0666": 0o666}
    if value not in modes:
        raise ValueError(f'must be "0600", "0660" or "0666" (got {_shown(value)})')
    return modes[str(value)]


def network_address(value: object) -> str:
    """Return `host:port`; empty for none."""
    match = _ADDRESS.fullmatch(value) if isinstance(value, str) else None
    if value != "" and (match is None or not 0 < int(match[1]) < _PORTS):
        raise ValueError(f'must be host:port, like "192.0.2.1:7443" or "[::]:7443" (got {_shown(value)})')
    return str(value)


def path_or_none(value: object) -> str:
    """Return an absolute path; empty for none."""
    return "" if value == "" else absolute_path(value)


def _listed(value: object, pattern: re.Pattern[str], what: str, example: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError(f'must be a list of {what}, like ["{example}"] (got {_shown(value)})')  # noqa: TRY004
    wrong = [one for one in value if not (isinstance(one, str) and one and pattern.fullmatch(one))]
    if wrong:
        raise ValueError(f'must be a list of {what}, like ["{example}"] (got {_shown(wrong[0])} in it)')
    return tuple(value)


def _amount(value: object, units: dict[str, float] | dict[str, int], expected: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    match = _AMOUNT.fullmatch(value) if isinstance(value, str) else None
    if match is None or match[2] not in units:
        raise ValueError(f"must be {expected} (got {_shown(value)})")
    return float(match[1]) * units[match[2]] if "." in match[1] else int(match[1]) * units[match[2]]


def _shown(value: object) -> str:
    """A value as it stands in a message: on one line and not too long."""
    return f"{value!a:.80}"
