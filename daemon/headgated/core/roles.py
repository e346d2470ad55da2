"""Who may do what: roles, and the grants that give them.

A role holds those below it: who may deploy may read. Grants only add up; what nobody granted is refused. A grant may be narrowed to
environments by name or type; what concerns the daemon as a whole takes one that is not. Root and the daemon's own user are admins whatever
grants say, or nobody could mend a wrong one. Numbers of users and groups are the kernel's; finding those of names is done elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from fnmatch import fnmatchcase

from headgated.core.environment import EnvironmentType
from headgated.core.orders import Caller
from headgated.core.quantities import account_names, certificate_names, environment_globs, one_of, some_of
from headgated.core.tables import key


class Role(IntEnum):
    """What somebody may do; a greater one may do all that a lesser one may."""

    READER = 1
    DEPLOYER = 2
    ADMIN = 3

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Grant:
    """One `[[grants]]`: a role, to whom, and where."""

    role: str = key("", one_of(*(str(role) for role in Role)))
    users: tuple[str, ...] = key((), account_names)
    """Names, or numbers as text."""
    groups: tuple[str, ...] = key((), account_names)
    certificates: tuple[str, ...] = key((), certificate_names)
    """`dns:NAME` or `uri:NAME`, exactly as in the certificate."""
    environments: tuple[str, ...] = key((), environment_globs)
    """Names, with `*` and `?`; none: all."""
    types: tuple[str, ...] = key((), some_of(*EnvironmentType))
    """None: all."""

    def faults(self, given: frozenset[str]) -> Mapping[str, str]:
        """Return what is wrong with it as a whole, by key; `given` are the keys that the file has."""
        found = {}
        if not self.role:
            found["role"] = "is missing"
        whom = ("users", "groups", "certificates")
        if given.isdisjoint(whom):
            found["users"] = "are missing: name users, groups or certificates"
        return found

    def __str__(self) -> str:
        whom = [*(f"user {name}" for name in self.users), *(f"group {name}" for name in self.groups)]
        text = f"{self.role} for {', '.join([*whom, *self.certificates])}"
        where = [*self.environments, *(f"type {name}" for name in self.types)]
        return f"{text} (only {', '.join(where)})" if where else text


DEFAULT_GRANTS = (Grant(role="deployer", groups=("headgate",)),)
"""What holds where the configuration grants nothing."""


@dataclass(frozen=True, slots=True)
class Permit:
    """A grant with its users and groups as numbers."""

    grant: Grant
    role: Role
    uids: frozenset[int]
    gids: frozenset[int]

    def names(self, caller: Caller) -> bool:
        """Tell whether it is given to the caller."""
        if caller.certificates:
            return not self.grant_certificates.isdisjoint(caller.certificates)
        return caller.uid in self.uids or not self.gids.isdisjoint(caller.groups)

    @property
    def grant_certificates(self) -> frozenset[str]:
        """The names of certificates that it is given to."""
        return frozenset(self.grant.certificates)

    @property
    def narrowed(self) -> bool:
        """Tell whether it holds for some environments only."""
        return bool(self.grant.environments or self.grant.types)

    def covers(self, name: str, kind: str | None) -> bool:
        """Tell whether it holds for an environment; `kind` None: there is none of that name."""
        named = not self.grant.environments or any(
            fnmatchcase(name, glob) for glob in self.grant.environments
        )
        return named and (not self.grant.types or kind in self.grant.types)


class Roles:
    """All permits together. A value."""

    def __init__(self, permits: Iterable[Permit], trusted: Iterable[int]) -> None:
        """Keep `permits`; `trusted` are the uids that are admins in any case."""
        self.permits, self._trusted = tuple(permits), frozenset(trusted)

    def of(self, caller: Caller) -> Rights:
        """Return what a caller may do."""
        if not caller.certificates and caller.uid in self._trusted:
            return Rights(everything=True)
        return Rights(permits=tuple(permit for permit in self.permits if permit.names(caller)))

    def holders(self, role: Role, name: str | None, kind: str | None) -> list[str]:
        """Return, for people, to whom a role (or a greater one) is given there; `name` None: for the daemon as a whole."""
        return [
            _whom(permit.grant)
            for permit in self.permits
            if permit.role >= role and (not permit.narrowed if name is None else permit.covers(name, kind))
        ]


@dataclass(frozen=True, slots=True)
class Rights:
    """What one caller may do."""

    permits: tuple[Permit, ...] = ()
    everything: bool = False

    def on(self, name: str, kind: str | None) -> Role | None:
        """Return the greatest role on an environment."""
        if self.everything:
            return Role.ADMIN
        return max((permit.role for permit in self.permits if permit.covers(name, kind)), default=None)

    def on_daemon(self) -> Role | None:
        """Return the greatest role that is not narrowed."""
        if self.everything:
            return Role.ADMIN
        return max((permit.role for permit in self.permits if not permit.narrowed), default=None)

    def anywhere(self) -> Role | None:
        """Return the greatest role on anything."""
        if self.everything:
            return Role.ADMIN
        return max((permit.role for permit in self.permits), default=None)

    def sees_all(self) -> bool:
        """Tell whether every environment may be read."""
        return self.on_daemon() is not None


def _whom(grant: Grant) -> str:
    groups = [f"members of group {name}" for name in grant.groups]
    return ", ".join([*(f"user {name}" for name in grant.users), *groups, *grant.certificates])
