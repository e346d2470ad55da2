"""What deployments could not remove at their targets when it was time to: tried again with the next deployment, and after a start.

History notes which deployments those are (`History.applied`, `History.begin`), so a restart forgets none. What goes is told by their tokens, which
nobody else's names carry, and by what history knows of them; anything else that lies there is kept, as it is right after a deployment.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from headgated.core.errors import HeadgateError
from headgated.core.steps import steps
from headgated.core.tree import Directory, Entry, Kind, walk
from headgated.core.undo import compose
from headgated.effects.history import History, Unfinished
from headgated.effects.target import Target

log = logging.getLogger("headgated.deploy")


class Leftovers:
    """Tidies up later. Whoever calls holds the environment's lock, or nobody deploys yet."""

    def __init__(self, history: History, open_target: Callable[[str], Target]) -> None:
        self._history, self._open_target = history, open_target
        self._untidy: set[str] = set()
        """Environments."""
        self._found: set[str] = set()
        """Those of them that were untidy at the start, and were not looked at since."""
        self._suspects: set[str] = set()
        """Those that are to be looked at, because the power may have been cut."""
        self._all_looked_at: Callable[[], None] = lambda: None

    def found(self, environment: str) -> None:
        """Note that something is left since before the start: tried again at the first look."""
        self._untidy.add(environment)
        self._found.add(environment)

    def note(self, environment: str) -> None:
        """Note that a deployment of an environment may have left something."""
        self._untidy.add(environment)

    def tidy(self, environment: str) -> None:
        """Remove what is left of earlier deployments; what still cannot be is left to the next time. Costs nothing where nothing is."""
        if environment not in self._untidy:
            return
        try:
            left = [
                found
                for found in self._history.unfinished()
                if found.environment == environment and found.intent is None and not found.damage
            ]
            removed = [self.remove(found) for found in left]
            if all(removed):
                self._untidy.discard(environment)
        except (HeadgateError, OSError):
            log.debug("cannot tidy up at the target of %s", environment, exc_info=True)

    def suspect(self, environments: Iterable[str], all_looked_at: Callable[[], None]) -> None:
        """Note that the power may have been cut since these were deployed to.

        Args:
            environments: by name.
            all_looked_at: called once, when each of them has been looked at.
        """
        self._suspects, self._all_looked_at = set(environments), all_looked_at
        if not self._suspects:
            all_looked_at()

    def look(self, environment: str, target: str, managed: Directory) -> None:
        """Try again what was left before the start, and find what a power cut brought back: a name whose removal was not on the disk yet.

        Costs nothing where there is nothing of that. Not done at the start itself: a target may not answer, and others are not to wait for it.
        """
        if environment in self._found:
            self._found.discard(environment)
            self.tidy(environment)
        if environment not in self._suspects:
            return
        directories = [b"", *(path for path, entry in walk(managed) if entry.kind == Kind.DIRECTORY)]
        try:
            tokens = self._open_target(target).tokens(directories)
            if tokens and self._history.untidy(environment, tokens):
                self.note(environment)
                self.tidy(environment)
        except (HeadgateError, OSError) as error:
            log.debug("cannot look for temporaries at the target of %s: %s", environment, error)
            return
        self._suspects.discard(environment)
        if not self._suspects:
            self._all_looked_at()

    def remove(self, found: Unfinished) -> bool:
        """Remove what one deployment left, of which history says that it was applied or never committed; tell whether all is gone."""
        try:
            if not self._remove(found):
                return False
        except (HeadgateError, OSError) as error:
            log.debug("cannot remove what %s left: %s", found.deployment_id, error)
            return False
        log.info("removed what %s had left at its target", found.deployment_id)
        return True

    def _remove(self, found: Unfinished) -> bool:
        target = self._open_target(found.target)
        if not found.applied:
            target.sweep(found.directories, found.token)
            self._history.abandoned(found.deployment_id)
            return True
        planned = steps(self._history.changes(found.deployment_id), found.token)
        if not target.tidy(planned, self._replaced_since(found), token=found.token):
            return False
        self._history.tidied(found.deployment_id)
        return True

    def _replaced_since(self, found: Unfinished) -> dict[bytes, Entry]:
        """Return what a deployment and those after it found where they changed something: history has it."""
        since = self._history.applied_ids(found.environment, found.sequence)
        before = compose(self._history.changes(deployment_id) for _, deployment_id in reversed(since))
        return {path: entry for path, entry in before.items() if entry is not None}
