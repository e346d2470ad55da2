"""Finds the numbers of users and groups that grants name. What is not known grants nothing, and is told."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Callable, Iterable

from headgated.core.roles import Grant, Permit, Role, Roles


def roles_of(grants: Iterable[Grant]) -> tuple[Roles, list[str]]:
    """Return what the grants come to on this machine, and a sentence for each name that nobody has. Asks the system: blocks."""
    unknown: list[str] = []
    permits = []
    for grant in grants:
        uids = _numbers("user", grant.users, _uid, unknown)
        gids = _numbers("group", grant.groups, _gid, unknown)
        permits.append(Permit(grant, Role[grant.role.upper()], uids, gids))
    return Roles(permits, (0, os.geteuid())), unknown


def _numbers(
    what: str, names: Iterable[str], look_up: Callable[[str], int], unknown: list[str]
) -> frozenset[int]:
    found = set()
    for name in names:
        try:
            found.add(int(name) if name.isdecimal() else look_up(name))
        except (KeyError, OSError):
            unknown.append(f"there is no {what} {name}: a grant to it gives nothing")
    return frozenset(found)


def _uid(name: str) -> int:
    return pwd.getpwnam(name).pw_uid


def _gid(name: str) -> int:
    return grp.getgrnam(name).gr_gid
