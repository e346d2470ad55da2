"""The settings in force, and how others take their place: all or nothing.

Parts that go by settings `follow`: each prepares for new ones (it may refuse, and changes nothing), and only when all have, each takes
them over (which cannot fail). A file that is wrong leaves the settings in force as they are; that is told to whoever asked, in the
log, and in `status` until a reload succeeds. What is decided at start keeps its value until then, and is told as well.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from headgated.core.changed_settings import differences, in_force, waiting
from headgated.core.config import Settings
from headgated.core.errors import HeadgateError, RefusedError, in_a_line
from headgated.engine.views import Problem
from headgated.engine.worker import RunBlocking

log = logging.getLogger("headgated")

Commit = Callable[[], None]
"""Takes prepared settings over. On the loop; quick; raises nothing."""
Prepare = Callable[[Settings], Commit]
"""Prepares for new settings, in a thread; may raise HeadgateError."""

REJECTED = "CONFIG_REJECTED"
RESTART = "RESTART_NEEDED"


class Configuration:
    """Settings that can be read again. Lives on the loop.

    Args:
        present: what is in force at first.
        read: reads the configuration again, in a thread; raises HeadgateError.
        problems: where to say, and take back, what is wrong.
    """

    def __init__(self, present: Settings, read: Callable[[], Settings], problems: list[Problem]) -> None:
        self.present = present
        self._read, self._problems = read, problems
        self._followers: list[Prepare] = []
        self._told: list[Problem] = []
        self._turn = asyncio.Lock()

    def follow(self, prepare: Prepare) -> None:
        """Have a part follow changes from now on."""
        self._followers.append(prepare)

    async def reload(self, run: RunBlocking) -> list[str]:
        """Read the configuration again and put it in force.

        Args:
            run: runs a blocking function in a thread.

        Returns:
            What is different, for people, a line each.

        Raises:
            RefusedError: CONFIG_REJECTED, with every fault of the file, key and line; nothing has changed.
        """
        async with self._turn:
            try:
                wanted, commits = await run(self._prepare)
            except HeadgateError as error:
                raise self._reject(error) from error
            for commit in commits:
                commit()
            was, self.present = self.present, in_force(self.present, wanted)
            later = waiting(was, wanted)
            self._tell([_restart(later)] if later else [])
            changed = differences(was, self.present) + [f"{line} (takes a restart)" for line in later]
            for line in changed:
                log.info("configuration: %s", line)
            return changed

    def _prepare(self) -> tuple[Settings, list[Commit]]:
        wanted = self._read()
        usable = in_force(self.present, wanted)
        return wanted, [prepare(usable) for prepare in self._followers]

    def _reject(self, error: HeadgateError) -> RefusedError:
        why = in_a_line(error.faults) if error.faults else error.message
        message = f"cannot take the configuration over: {why}"
        hint = error.hint or "mend the file, try it with headgated --check-config, then reload again"
        log.error("%s; what was in force stays in force", message)
        self._tell([Problem(REJECTED, f"{message}; what was in force before still is", hint)])
        return RefusedError(message, reason=REJECTED, hint=hint, paths=error.paths, faults=error.faults)

    def _tell(self, problems: list[Problem]) -> None:
        for problem in self._told:
            self._problems.remove(problem)
        self._problems += problems
        self._told = problems


def _restart(lines: list[str]) -> Problem:
    return Problem(
        RESTART,
        f"the configuration has changes that wait for a restart: {'; '.join(lines)}",
        "systemctl restart headgated",
    )
