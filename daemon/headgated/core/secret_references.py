"""References to secrets: where a value comes from. An environment has these, and never a value.

`credential:NAME`, a credential that systemd gave the daemon (systemd.exec(5), LoadCredential=); `file:/PATH`, a file that only root or
the daemon's user may read; `env:NAME`, a variable of the daemon's environment; `command:NAME`, what a provider prints that root
defined as `[providers.NAME]`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from headgated.core.errors import Fault

KINDS = ("credential", "file", "env", "command")
_CREDENTIAL = re.compile(r"[A-Za-z0-9_.@-]{1,255}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


@dataclass(frozen=True, slots=True)
class SecretRules:
    """What root lets references name."""

    files: tuple[str, ...]
    """Directories that files may be in."""
    variables: tuple[str, ...]
    """Of the daemon's environment."""
    providers: Collection[str]


def split(reference: str) -> tuple[str, str]:
    """Return kind and name of a reference; an unknown kind is empty."""
    kind, _, name = reference.partition(":")
    return (kind, name) if kind in KINDS else ("", reference)


def reference_faults(references: Mapping[str, str], rules: SecretRules) -> list[Fault]:
    """Return what is wrong with an environment's references, without looking whether what they name is there."""
    found = [(name, _fault(*split(reference), rules)) for name, reference in references.items()]
    return [Fault(f"secrets.{name}", why) for name, why in found if why]


def _fault(kind: str, name: str, rules: SecretRules) -> str:
    if kind == "credential":
        well = _CREDENTIAL.fullmatch(name) and name not in (".", "..")
        return (
            ""
            if well
            else "credential: takes the name of a credential, as LoadCredential= of the unit has it"
        )
    if kind == "file":
        return _file_fault(name, rules.files)
    if kind == "env":
        if not _VARIABLE.fullmatch(name):
            return "env: takes the name of a variable of the daemon's environment"
        return "" if name in rules.variables else _not_allowed(name, "environment", rules.variables)
    if kind == "command":
        there = ", ".join(sorted(rules.providers)) or "none is"
        undefined = (
            f"no provider [providers.{name:.80}] is defined in the daemon's configuration (defined: {there})"
        )
        return "" if name in rules.providers else undefined
    return (
        "must be a reference, not a value: credential:NAME, file:/PATH, env:NAME or command:NAME"
        " (what was given is not shown: it may be a secret)"
    )


def _file_fault(path: str, allowed: tuple[str, ...]) -> str:
    if not path.startswith("/") or ".." in path.split("/") or "\0" in path:
        return "file: takes an absolute path without '..'"
    if any(path.startswith(directory.rstrip("/") + "/") for directory in allowed):
        return ""
    return _not_allowed(path, "files", allowed)


def _not_allowed(name: str, key: str, allowed: Collection[str]) -> str:
    there = ", ".join(allowed) or "none"
    return f"{name!r:.200} is not among what [secrets] {key} in the daemon's configuration allows ({there})"
