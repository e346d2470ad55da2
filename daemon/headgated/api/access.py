"""Who calls, and whether they may: what stands between the table of roles and the handlers.

Promises that a call is refused unless the table and a grant allow it, and that a refusal says who the caller is, what it takes and who can
give it, but not whether an environment exists that its caller may not see. Roles can be replaced while calls run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from headgated.api.certified import names_of
from headgated.api.methods import RULES, Rule, Spot, TypeOf
from headgated.core.errors import ForbiddenError
from headgated.core.orders import Caller
from headgated.core.roles import Rights, Role, Roles

Sight = Callable[[str, str | None], bool]
"""Tells whether an environment, by name and type, may be seen."""

_SHOWN_GROUPS = 20


class Access:
    """Lives on one asyncio loop.

    Args:
        roles: who may do what, at first.
        local: returns who is behind a connection that came through the door.
        type_of: returns the type of an environment.
    """

    def __init__(self, roles: Roles, local: Callable[[str], Caller], type_of: TypeOf) -> None:
        self._roles, self._local, self.type_of = roles, local, type_of

    def go_by(self, roles: Roles) -> None:
        """Go by other roles from now on."""
        self._roles = roles

    def caller(self, context: Any) -> Caller:  # noqa: ANN401 - grpc.aio.ServicerContext, and what stands in for it in tests
        """Return who calls.

        Raises:
            ForbiddenError: that cannot be known.
        """
        peer = context.peer()
        if peer.startswith("unix"):
            return self._local(peer)
        names = names_of(context.auth_context())
        granted = [name for name in names if self._roles.of(Caller(name, certificates=(name,))).anywhere()]
        return Caller((granted or names)[0], certificates=tuple(names), origin=peer)

    def rights(self, caller: Caller) -> Rights:
        """Return what a caller may do now."""
        return self._roles.of(caller)

    def sight(self, caller: Caller) -> Sight:
        """Return what tells which environments a caller may see, at any time later too."""

        def sees(name: str, kind: str | None) -> bool:
            return self._roles.of(caller).on(name, kind) is not None

        return sees

    def sees_all(self, caller: Caller) -> bool:
        """Tell whether a caller may see every environment."""
        return self._roles.of(caller).sees_all()

    def demand(self, caller: Caller, method: str, request: object) -> None:
        """Return if the caller may do that.

        Raises:
            ForbiddenError: not.
        """
        rule = RULES.get(method)
        if rule is None:
            raise ForbiddenError(f"cannot call {method}: nobody may", reason="NO_ROLE_DECLARED")
        if rule.role is None:
            return
        rights = self.rights(caller)
        if rule.spots is None:
            self._check(caller, rule, rights.on_daemon(), None)
            return
        spots = rule.spots(request, self.type_of)
        if not spots:
            self._check(caller, rule, rights.anywhere(), None)
        for spot in spots:
            self._check(caller, rule, rights.on(*spot), spot)

    def _check(self, caller: Caller, rule: Rule, has: Role | None, spot: Spot | None) -> None:
        needed = rule.role
        if needed is None or (has is not None and has >= needed):
            return
        where = f" on environment {spot[0]:.80}" if spot else ""
        has_what = f"have the role {has}" if has else "have no role"
        name, kind = spot or (None, None)
        holders = self._roles.holders(needed, name, kind)
        given = f"; {', '.join(holders[:5])} have it" if holders else ""
        raise ForbiddenError(
            f"cannot {rule.verb}: you are {who(caller)} and {has_what}{where}; it takes the role {needed}{given}",
            hint=f"root can grant it: [[grants]] in the daemon's configuration with role {needed}, then headgate reload",
        )


def who(caller: Caller) -> str:
    """Return, for people, who a caller is and what that is known by."""
    if caller.certificates:
        return f"{caller.user} (a certificate for {', '.join(caller.certificates[:5])})"
    groups = sorted(caller.groups)
    shown = ", ".join(map(str, groups[:_SHOWN_GROUPS])) + (", ..." if len(groups) > _SHOWN_GROUPS else "")
    return (
        f"{caller.user} (uid {caller.uid}, groups {shown})" if groups else f"{caller.user} (uid {caller.uid})"
    )
