"""What root defines for environments to name: commands, and the checks, reloads and health probes made of them.

An environment names them and never brings its own: whoever may change an environment cannot make the daemon run anything that
root did not write down. Nothing here runs anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from headgated.core.environment import Policies
from headgated.core.errors import Fault
from headgated.core.globs import glob_faults

SYNTAXES = ("json", "yaml", "toml", "ini", "xml")
"""Formats that files can be checked for without a command; each is also the name of a check."""
PLACEHOLDERS = ("staged", "target", "environment", "deployment_id", "changed")
_PLACEHOLDER = re.compile("[{](" + "|".join(PLACEHOLDERS) + ")[}]")


@dataclass(frozen=True, slots=True)
class Command:
    """`[commands.NAME]`: a program with its arguments, run without a shell."""

    name: str
    argv: tuple[str, ...]
    """The program and its arguments. In each, `{staged}`, `{target}`, `{environment}`, `{deployment_id}` and `{changed}` are put in."""
    timeout: float = 30.0
    """Seconds; then it is killed with all that it started."""
    user: str = ""
    """Who it runs as; empty: who the daemon runs as."""
    directory: str = "/"
    environment: Mapping[str, str] = field(default_factory=dict)
    output_limit: int = 64 * 1024
    """Bytes of its output that are kept: the first and the last half of so many."""

    def arguments(self, values: Mapping[str, str]) -> tuple[str, ...]:
        """Return `argv` with each placeholder replaced by its value, in one pass; one without a value stays."""
        return tuple(
            _PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), argument) for argument in self.argv
        )


@dataclass(frozen=True, slots=True)
class Check:
    """`[checks.NAME]`: what must hold of everything that is staged, before any of it is put in place.

    One of `command`, `syntax` and `schema` is set.
    """

    name: str
    command: str = ""
    syntax: tuple[str, ...] = ()
    """Formats that files which say by their names that they have one must really have."""
    schema: str = ""
    """Absolute path of a JSON Schema that `files` (JSON, YAML, TOML) must meet."""
    files: tuple[str, ...] = ()
    """Globs (gitignore syntax, relative to the target) of what is looked at; empty: every file."""


@dataclass(frozen=True, slots=True)
class Reload:
    """`[reloads.NAME]`: what makes a service take a deployment up, once for each."""

    name: str
    command: str
    files: tuple[str, ...] = ()
    """Globs: it is run only when a file that one of them covers has changed; empty: whenever anything has."""
    give_up_after: float = 300.0
    """Seconds for which it is tried, with growing pauses, until it succeeds; then the deployment is rolled back."""


@dataclass(frozen=True, slots=True)
class Probe:
    """`[health.NAME]`: how to tell, after the reloads, that what was deployed works. One of the four ways is set."""

    name: str
    command: str = ""
    http: str = ""
    """URL; well is an answer of 200 to 399."""
    tcp: str = ""
    """`HOST:PORT`; well is a connection."""
    grpc: str = ""
    """`HOST:PORT[/SERVICE]` or `unix:PATH[#SERVICE]`; well is SERVING, by the standard health service."""
    interval: float = 1.0
    """Seconds from one probe to the next."""
    timeout: float = 5.0
    """Seconds that one probe may take."""
    successes: int = 1
    """How many in a row it takes."""
    deadline: float = 30.0
    """Seconds for all of it; then the deployment is rolled back."""


@dataclass(frozen=True, slots=True)
class Commands:
    """All that root defined, by name."""

    commands: Mapping[str, Command] = field(default_factory=dict)
    checks: Mapping[str, Check] = field(default_factory=dict)
    reloads: Mapping[str, Reload] = field(default_factory=dict)
    health: Mapping[str, Probe] = field(default_factory=dict)
    providers: Mapping[str, Command] = field(default_factory=dict)
    """`[providers.NAME]`: what prints a secret."""

    def check(self, name: str) -> Check | None:
        """Return the check of a name: one that is defined, a format, or a command; None: there is none."""
        if name in self.checks:
            return self.checks[name]
        if name in SYNTAXES:
            return Check(name, syntax=(name,))
        return Check(name, command=name) if name in self.commands else None

    def reload(self, name: str) -> Reload | None:
        """Return the reload of a name: one that is defined, or a command; None: there is none."""
        if name in self.reloads:
            return self.reloads[name]
        return Reload(name, command=name) if name in self.commands else None

    def faults(self, policies: Policies) -> list[Fault]:
        """Return a fault for each name in an environment's policies that nothing is defined for."""
        return [
            *_unknown("checks", (n for n in policies.checks if self.check(n) is None), self._checks()),
            *_unknown("reloads", (n for n in policies.reloads if self.reload(n) is None), self._reloads()),
            *_unknown("health", (n for n in policies.health if n not in self.health), self.health),
        ]

    def inconsistencies(self) -> list[Fault]:
        """Return what is wrong among the definitions themselves: commands that are not defined, ways that exclude each other."""
        found = []
        for check in self.checks.values():
            found += _one_of(f"checks.{check.name}", ("command", "syntax", "schema"), check)
            found += self._undefined(f"checks.{check.name}", check.command)
            found += glob_faults(f"checks.{check.name}.files", check.files)
        for reload in self.reloads.values():
            found += self._undefined(f"reloads.{reload.name}", reload.command)
            found += glob_faults(f"reloads.{reload.name}.files", reload.files)
        for probe in self.health.values():
            found += _one_of(f"health.{probe.name}", ("command", "http", "tcp", "grpc"), probe)
            found += self._undefined(f"health.{probe.name}", probe.command)
            if (probe.successes - 1) * probe.interval >= probe.deadline:
                many = f"{probe.successes} successes, one every {probe.interval:g} s"
                found.append(Fault(f"health.{probe.name}.deadline", f"is too short for {many}"))
        return found

    def _undefined(self, where: str, command: str) -> list[Fault]:
        if not command or command in self.commands:
            return []
        return [Fault(f"{where}.command", f"there is no [commands.{command}]")]

    def _checks(self) -> list[str]:
        return [*self.checks, *self.commands, *SYNTAXES]

    def _reloads(self) -> list[str]:
        return [*self.reloads, *self.commands]


def _one_of(where: str, ways: tuple[str, ...], defined: Check | Probe) -> list[Fault]:
    given = [way for way in ways if getattr(defined, way)]
    if len(given) == 1:
        return []
    return [Fault(where, f"must have one of {', '.join(ways)}" + (f", not {len(given)}" if given else ""))]


def _unknown(kind: str, names: Iterable[str], known: Iterable[str]) -> list[Fault]:
    there = ", ".join(sorted(known)) or "none is"
    return [
        Fault(
            f"policies.{kind}",
            f"{name!r:.80} is not defined in the daemon's configuration (defined: {there})",
        )
        for name in names
    ]
