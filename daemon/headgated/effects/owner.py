"""Who shall own deployed files, and what they shall allow: the environment's policies `owner`, `mode` and `secret_mode`."""

from __future__ import annotations

import grp
import pwd
from dataclasses import dataclass

from headgated.core.errors import DeploymentFailedError
from headgated.core.tree import Entry, Kind


@dataclass(frozen=True, slots=True)
class Owner:
    """Gives entries their owner, group and mode.

    `keep`: None, whatever the replaced file has. `source`: what the source file has. Else what is given.
    """

    keep: bool = True
    uid: int | None = None
    gid: int | None = None
    secret_mode: int = 0o600
    mode: str = "source"

    def apply(self, entry: Entry) -> Entry:
        """Return `entry` with the owner and mode that the policies give it, as no template any more."""
        return self.deployed(entry, entry.digest, entry.size)

    def deployed(self, entry: Entry, digest: bytes, size: int, seal: bytes = b"") -> Entry:
        """Return `entry` with the owner and mode that the policies give it and another content, as no template any more.

        Of one with secrets (`seal`) nobody may do more than `secret_mode` says, and what it replaces does not count.
        """
        mode = entry.mode
        if self.mode != "source" and entry.kind == Kind.FILE:
            mode = None if self.mode == "keep" else int(self.mode, 8)
        if seal:
            mode = ((entry.mode or 0) if mode is None else mode) & self.secret_mode
        if self.keep:
            return Entry(entry.kind, mode, digest, size, entry.target, seal=seal)
        uid, gid = (entry.uid, entry.gid) if self.uid is None else (self.uid, self.gid)
        return Entry(entry.kind, mode, digest, size, entry.target, uid, gid, seal=seal)


def owner_of(policy: str, secret_mode: int = 0o600, mode: str = "source") -> Owner:
    """Return the owner that a policy (`keep`, `source`, `user:group`; names or numbers) means on this machine.

    Args:
        policy: the environment's.
        secret_mode: the permission bits that a file with secrets may have.
        mode: the environment's policy for the modes of files.

    Raises:
        DeploymentFailedError: UNKNOWN_OWNER, there is no such user or group.
    """
    if policy in ("keep", "source"):
        return Owner(keep=policy == "keep", secret_mode=secret_mode, mode=mode)
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
    return Owner(keep=False, uid=uid, gid=gid, secret_mode=secret_mode, mode=mode)
