"""Names of users, looked up where nobody waits for them.

Asking the system who a uid is may take seconds (directory services over a network), so it happens in a thread when a user
connects, and answers read from memory. Promises an answer at once, and that a name is asked for again after a while; a user
that cannot be found in time is called `uid:1234`, and nobody waits for that name again before the while is over.
"""

from __future__ import annotations

import asyncio
import pwd
import threading
import time
from collections.abc import Callable

KEEP = 300.0
"""Seconds after which a name is looked up anew."""
PATIENCE = 2.0
"""Seconds that a connection waits for the name of its user."""


def user_name(uid: int) -> str:
    """Return the name of a user. Blocks.

    Raises:
        KeyError: the system knows no such user.
    """
    return pwd.getpwuid(uid).pw_name


class UserNames:
    """The names of users who are or were connected. Lives on one asyncio loop."""

    def __init__(
        self,
        look_up: Callable[[int], str] = user_name,
        *,
        keep: float = KEEP,
        patience: float = PATIENCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look_up, self._keep, self._patience, self._clock = look_up, keep, patience, clock
        self._names: dict[int, tuple[str, float]] = {}
        self._asked: dict[int, asyncio.Future[None]] = {}

    def of(self, uid: int) -> str:
        """Return the user's name as it is known now."""
        name, _ = self._names.get(uid, ("", 0.0))
        return name or f"uid:{uid}"

    def fresh(self, uid: int) -> bool:
        """Tell whether the name was looked up not long ago."""
        _, since = self._names.get(uid, ("", float("-inf")))
        return self._clock() - since < self._keep

    async def learn(self, uid: int) -> None:
        """Look the name up; returns when it is known or patience ends. An old name stays until a new one is there."""
        if uid not in self._asked:
            self._asked[uid] = self._ask(uid)
        answered, _ = await asyncio.wait((self._asked[uid],), timeout=self._patience)
        if not answered:
            self._names[uid] = (self._names.get(uid, ("", 0.0))[0], self._clock())

    def _ask(self, uid: int) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        answered = loop.create_future()

        def ask() -> None:
            try:
                name = self._look_up(uid)
            except (KeyError, OSError):
                name = ""
            try:
                loop.call_soon_threadsafe(self._keep_name, uid, name)
            except RuntimeError:
                return  # The loop has ended meanwhile: nobody needs the name.

        # A thread of its own and not of a pool: one that hangs must hold up neither other work nor the end of the program.
        threading.Thread(target=ask, name=f"headgate-user-{uid}", daemon=True).start()
        return answered

    def _keep_name(self, uid: int, name: str) -> None:
        self._names[uid] = (name, self._clock())
        answered = self._asked.pop(uid)
        if not answered.done():
            answered.set_result(None)
