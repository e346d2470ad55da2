"""What an environment is made of, as plain Python and as people write it in files, and how that becomes a message.

The keys and values are those of the records on disk: `{"type": "staging", "policies": {"strategy": "in-place"}}`. Everything
wrong is found, not only the first; what only the daemon can know (overlaps, allowed roots) is left to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from headgate.errors import Fault
from headgate.v1 import environment_pb2 as pb
from headgate.words import numbers


class PolicySettings(TypedDict, total=False):
    """The rules that an environment deploys by. What is missing, or None, is the default."""

    prune: bool | None
    verbatim: Sequence[str] | None
    undefined: str | None
    """keep, error"""
    strategy: str | None
    """in-place, atomic"""
    drift: str | None
    """report, heal, refuse"""
    owner: str | None
    """keep, source, user:group"""
    allow_external_symlinks: bool | None
    settle_quiet: float | None
    """Seconds."""
    settle_latest: float | None
    """Seconds."""
    checks: Sequence[str] | None
    reloads: Sequence[str] | None
    health: Sequence[str] | None
    secret_mode: str | int | None
    """The permission bits that a file with secrets may have: octal, as text like "0640", or a number."""
    mode: str | None
    """Of files: source, keep, or octal like "0640"."""


class EnvironmentSettings(TypedDict, total=False):
    """What can be said about an environment, apart from its name. What is missing, or None, is the default."""

    type: str
    """development, staging, production, testing"""
    config_path: str
    """The target directory, absolute."""
    sources: Sequence[str] | None
    """Directories, absolute, in order; a later one lays over an earlier one."""
    variables: Mapping[str, str] | None
    secrets: Mapping[str, str] | None
    """References (credential:NAME, file:/PATH, env:NAME, command:NAME), never values."""
    auto_sync: bool | None
    policies: PolicySettings | None


_LARGEST_MODE = 0o777
KEYS: tuple[str, ...] = tuple(EnvironmentSettings.__annotations__)
POLICY_KEYS: tuple[str, ...] = tuple(PolicySettings.__annotations__)


@dataclass(slots=True)
class Draft:
    """A message made from settings, with everything that was wrong with them."""

    message: pb.Environment
    mask: list[str] = field(default_factory=list)
    """Which fields the settings spoke of, as UpdateEnvironment's mask names them."""
    faults: list[Fault] = field(default_factory=list)


def draft(name: str, settings: Mapping[str, object]) -> Draft:
    """Make the message of an environment."""
    made = Draft(pb.Environment(name=name))
    for key, value in settings.items():
        if key == "policies":
            _policies(made, value)
        elif key not in _ENVIRONMENT:
            made.faults.append(Fault(key, _unknown(key, KEYS)))
        else:
            _set(made, made.message, key, value, _ENVIRONMENT[key])
    return made


def _policies(made: Draft, value: object) -> None:
    if value is None:
        value = dict.fromkeys(POLICY_KEYS)
    if not isinstance(value, Mapping):
        made.faults.append(Fault("policies", "must be a table of policies"))
        return
    for key, each in value.items():
        if key not in _POLICIES:
            made.faults.append(Fault(f"policies.{key}", _unknown(str(key), POLICY_KEYS)))
        else:
            _set(made, made.message.policies, key, each, _POLICIES[key], "policies.")


class _WrongError(Exception):
    """A value that cannot be right, with what is wrong in each part of it."""

    def __init__(self, *faults: tuple[str, str]) -> None:
        super().__init__()
        self.faults = faults


Put = Callable[[pb.Environment | pb.Policies, str, object], None]


def _set(
    made: Draft, message: pb.Environment | pb.Policies, key: str, value: object, put: Put, prefix: str = ""
) -> None:
    made.mask.append(prefix + key)
    if value is None:
        return
    try:
        put(message, key, value)
    except _WrongError as wrong:
        made.faults += [Fault(f"{prefix}{key}{part}", why) for part, why in wrong.faults]
    except UnicodeEncodeError:
        made.faults.append(Fault(prefix + key, "is not valid UTF-8"))


def _text(message: pb.Environment | pb.Policies, key: str, value: object) -> None:
    setattr(message, key, _as_text(value))


def _mode(message: pb.Environment | pb.Policies, key: str, value: object) -> None:
    try:
        mode = int(value, 8) if isinstance(value, str) else value
        if isinstance(mode, bool) or not isinstance(mode, int) or not 0 <= mode <= _LARGEST_MODE:
            raise ValueError(mode)  # noqa: TRY301
    except ValueError:
        raise _WrongError(("", 'must be permission bits between 0 and 0777, as text like "0640"')) from None
    setattr(message, key, mode)


def _flag(message: pb.Environment | pb.Policies, key: str, value: object) -> None:
    if not isinstance(value, bool):
        raise _WrongError(("", "must be true or false"))
    setattr(message, key, value)


def _texts(message: pb.Environment | pb.Policies, key: str, value: object) -> None:
    if isinstance(value, str | bytes) or not isinstance(value, Iterable) or isinstance(value, Mapping):
        raise _WrongError(("", "must be a list of texts"))
    getattr(message, key).extend(_each((f"[{index}]", each) for index, each in enumerate(value)))


def _table(message: pb.Environment | pb.Policies, key: str, value: object) -> None:
    if not isinstance(value, Mapping):
        raise _WrongError(("", "must be a table of texts by name"))
    if wrong := [
        (f".{name}", "must have a text for a name: put it in quotes")
        for name in value
        if not isinstance(name, str)
    ]:
        raise _WrongError(*wrong)
    texts = _each((f".{name}", each) for name, each in value.items())
    getattr(message, key).update(zip(value, texts, strict=True))


def _seconds(message: pb.Environment | pb.Policies, key: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise _WrongError(("", "must be a number of seconds, not below 0"))
    getattr(message, key).FromNanoseconds(round(min(value, 1e9) * 1e9))


def _choice(kinds: Mapping[str, int]) -> Put:
    def put(message: pb.Environment | pb.Policies, key: str, value: object) -> None:
        if not isinstance(value, str) or value not in kinds:
            got = "is missing" if value == "" else f"got {value!r:.80}"
            raise _WrongError(("", f"must be one of {', '.join(kinds)} ({got})"))
        setattr(message, key, kinds[value])

    return put


def _as_text(value: object) -> str:
    if not isinstance(value, str):
        raise _WrongError(("", f"must be text: put it in quotes (got {value!r:.80})"))
    return value


def _each(parts: Iterable[tuple[str, object]]) -> list[str]:
    """Return the texts, or everything that is none."""
    texts, wrong = [], []
    for part, value in parts:
        try:
            texts.append(_as_text(value))
        except _WrongError as error:
            wrong += [(part, why) for _, why in error.faults]
    if wrong:
        raise _WrongError(*wrong)
    return texts


def _unknown(key: str, known: Sequence[str]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 -- only a mistake needs it

    likely = {"target": ["config_path"], "env_type": ["type"]}.get(key) or get_close_matches(key, known, 1)
    return (
        f"is not known; did you mean {likely[0]}?"
        if likely
        else f"is not known; known are {', '.join(known)}"
    )


_ENVIRONMENT: Mapping[str, Put] = {
    "type": _choice(numbers(pb.EnvironmentType)),
    "config_path": _text,
    "sources": _texts,
    "variables": _table,
    "secrets": _table,
    "auto_sync": _flag,
}
_POLICIES: Mapping[str, Put] = {
    "prune": _flag,
    "verbatim": _texts,
    "undefined": _choice(numbers(pb.UndefinedPolicy)),
    "strategy": _choice(numbers(pb.Strategy)),
    "drift": _choice(numbers(pb.DriftPolicy)),
    "owner": _text,
    "allow_external_symlinks": _flag,
    "settle_quiet": _seconds,
    "settle_latest": _seconds,
    "checks": _texts,
    "reloads": _texts,
    "health": _texts,
    "secret_mode": _mode,
    "mode": _text,
}
