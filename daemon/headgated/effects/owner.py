"""Who shall own deployed files: the environment's `owner` policy with its names looked up."""

from __future__ import annotations

import grp
import pwd
from dataclasses import dataclass, replace

from headgated.core.errors import DeploymentFailedError
from headgated.core.tree import Entry


@dataclass(frozen=True, slots=True)
class Owner:
    """Gives entries their owner and group.

    `keep`: None, whatever the replaced file has. `source`: what the source file has. Else the numbers given.
    """

    keep: bool = True
    uid: int | None = None
    gid: int | None = None

    def apply(self, entry: Entry) -> Entry:
        """Return `entry` with the owner that the policy gives it."""
        if self.keep:
            return Entry(
                entry.kind, entry.mode, entry.digest, entry.size, entry.target, template=entry.template
            )
        if self.uid is None:
            return entry
        return replace(entry, uid=self.uid, gid=self.gid)


def owner_of(policy: str) -> Owner:
    """Return the owner that a policy (`keep`, `source`, `user:group`; names or numbers) means on this machine.

    Raises:
        DeploymentFailedError: UNKNOWN_OWNER, there is no such user or group.
    """
    if policy in ("keep", "source"):
        return Owner(keep=policy == "keep")
    user, _, group = policy.partition(":")
    try:
        uid = int(user) if user.isdecimal() else pwd.getpwnam(user).pw_uid
        gid = int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
    except KeyError as error:
        raise DeploymentFailedError(
            f"cannot give files to {policy}: {error.args[0]}",
            reason="UNKNOWN_OWNER",
            hint="create the user and group, or change the policy owner",
        ) from None
    return Owner(keep=False, uid=uid, gid=gid)
