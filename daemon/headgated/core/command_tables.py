"""Reads `[commands.*]`, `[checks.*]`, `[reloads.*]`, `[health.*]` and `[providers.*]` of the daemon's configuration, and says all that is wrong there."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

from headgated.core.commands import SYNTAXES, Check, Command, Commands, Probe, Reload
from headgated.core.quantities import Read, absolute_path, duration, size
from headgated.core.sealing import LONGEST

T = TypeVar("T")
Complain = Callable[[tuple[str, ...], str], None]
"""Told of each fault: the way to the key, and what is wrong with it."""

_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
_ADDRESS = re.compile(r"(?:[A-Za-z0-9_.-]+|\[[0-9a-fA-F:.]+\]):([0-9]{1,5})")
_VISIBLE = re.compile("[!-~]+")
"""What a URL is written in: of what else there is in one a client makes nothing, or something else."""
_PORTS = 65535
_MOST = 64 * 1024
_SCHEMES = ("http", "https")


def text(value: object) -> str:
    """Return text that is not empty."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError(f"must be text (got {value!a:.80})")
    return value


def texts(value: object) -> tuple[str, ...]:
    """Return a list of texts."""
    if not isinstance(value, list) or not value:
        raise ValueError(f'must be a list of texts, like ["*.conf"] (got {value!a:.80})')
    return tuple(text(one) for one in value)


def _argv(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) and "\0" not in one for one in value):
        raise ValueError(
            f'must be a list of texts, like ["nginx", "-t"]; no shell reads it (got {value!a:.80})'
        )
    if not value or not value[0]:
        raise ValueError("must begin with the program")
    if not value[0].startswith("/") and "/" in value[0]:
        raise ValueError(
            f"must begin with an absolute path, or a name that is found in PATH (got {value[0]!a:.80})"
        )
    return tuple(value)


def _user(value: object) -> str:
    if not isinstance(value, str) or not _USER.fullmatch(value):
        raise ValueError(f"must be the name of a user (got {value!a:.80})")
    return value


def _variables(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError(f'must be a table of texts, like {{ LANG = "C.UTF-8" }} (got {value!a:.80})')  # noqa: TRY004
    for name, one in value.items():
        if not _VARIABLE.fullmatch(name) or not isinstance(one, str) or "\0" in one or len(one) > _MOST:
            raise ValueError(
                f"must be a table of texts, by names of letters, digits and underscores (at {name!a:.80})"
            )
    return dict(value)


def _syntaxes(value: object) -> tuple[str, ...]:
    given = (value,) if isinstance(value, str) else value
    if not isinstance(given, list | tuple) or not given or not all(one in SYNTAXES for one in given):
        raise ValueError(f"must be one or some of {', '.join(SYNTAXES)} (got {value!a:.80})")
    return tuple(given)


def _url(value: object) -> str:
    if isinstance(value, str) and _VISIBLE.fullmatch(value):
        try:
            parts = urlsplit(value)
            if parts.scheme in _SCHEMES and parts.hostname and parts.port != 0 and not parts.username:
                return value
        except ValueError:
            pass
    raise ValueError(
        f'must be a URL without a user in it, like "http://127.0.0.1:8080/health" (got {value!a:.80})'
    )


def _address(value: object) -> str:
    match = _ADDRESS.fullmatch(value) if isinstance(value, str) else None
    if match is None or not 0 < int(match[1]) <= _PORTS:
        raise ValueError(f'must be a host and a port, like "127.0.0.1:5432" (got {value!a:.80})')
    return match[0]


def _grpc_address(value: object) -> str:
    if isinstance(value, str) and value.startswith("unix:/"):
        return value
    host, slash, service = str(value).partition("/")
    if not isinstance(value, str) or (slash and not service):
        raise ValueError(
            f'must be like "127.0.0.1:50051", "127.0.0.1:50051/my.Service" or "unix:/run/x.sock" (got {value!a:.80})'
        )
    return _address(host) + slash + service


def _successes(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 1000:  # noqa: PLR2004
        raise ValueError(f"must be a whole number between 1 and 1000 (got {value!a:.80})")
    return value


_COMMAND: dict[str, Read[object]] = {
    "argv": _argv,
    "timeout": duration(0.1, 3600),
    "user": _user,
    "directory": absolute_path,
    "environment": _variables,
    "output_limit": size(1024, 1024 * 1024),
}
_CHECK: dict[str, Read[object]] = {
    "command": text,
    "syntax": _syntaxes,
    "schema": absolute_path,
    "files": texts,
}
_RELOAD: dict[str, Read[object]] = {"command": text, "files": texts, "give_up_after": duration(0, 86400)}
_PROBE: dict[str, Read[object]] = {
    "command": text,
    "http": _url,
    "tcp": _address,
    "grpc": _grpc_address,
    "interval": duration(0.05, 3600),
    "timeout": duration(0.05, 3600),
    "successes": _successes,
    "deadline": duration(0.1, 86400),
}


def _provider(**values: Any) -> Command:  # noqa: ANN401 - as the table has them
    return Command(**values, output_limit=2 * LONGEST)


@dataclass(frozen=True, slots=True)
class _Kind:
    keys: Mapping[str, Read[object]]
    needed: tuple[str, ...]
    make: Callable[..., Any]


_KINDS = {
    "commands": _Kind(_COMMAND, ("argv",), Command),
    "checks": _Kind(_CHECK, (), Check),
    "reloads": _Kind(_RELOAD, ("command",), Reload),
    "health": _Kind(_PROBE, (), Probe),
    "providers": _Kind(
        {name: read for name, read in _COMMAND.items() if name != "output_limit"}, ("argv",), _provider
    ),
}
TABLES = tuple(_KINDS)
"""The tables that this module reads."""


def read_commands(tables: Mapping[str, object], complain: Complain) -> Commands:
    """Return what root has defined; what is wrong is told, and left out.

    Args:
        tables: the whole file; tables of other names are not looked at.
        complain: told of every fault.
    """
    made = {name: _read_kind(name, tables.get(name, {}), complain) for name in _KINDS}
    commands = Commands(**made)
    for fault in commands.inconsistencies():
        complain(tuple(fault.field.partition("[")[0].split(".")), fault.message)
    return commands


def _read_kind(kind: str, tables: object, complain: Complain) -> dict[str, Any]:
    if not isinstance(tables, dict):
        complain((kind,), f"must hold tables: [{kind}.NAME]")
        return {}
    made = {}
    for name, table in tables.items():
        if not _NAME.fullmatch(name):
            complain(
                (kind, name),
                "must be named by lower-case letters, digits and hyphens, beginning with a letter",
            )
        elif not isinstance(table, dict):
            complain((kind, name), f"stands outside of its table; a table [{kind}.NAME] has it")
        else:
            defined = _read_one(kind, name, table, complain)
            if defined is not None:
                made[name] = defined
    return made


def _read_one(kind: str, name: str, table: Mapping[str, object], complain: Complain) -> object | None:
    known = _KINDS[kind]
    values: dict[str, object] = {}
    whole = True
    for key, value in table.items():
        try:
            if key not in known.keys:
                raise ValueError(f"is unknown; [{kind}.{name}] may have {', '.join(known.keys)}")  # noqa: TRY301
            values[key] = known.keys[key](value)
        except ValueError as error:
            complain((kind, name, key), str(error))
            whole = False
    for key in known.needed:
        if key not in table:
            complain((kind, name), f"lacks {key}")
            whole = False
    return known.make(name=name, **values) if whole else None
