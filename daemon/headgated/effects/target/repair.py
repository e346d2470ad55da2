"""Brings steps that were cut off anywhere to one of their two ends: all undone, or all finished.

Each single move is one that `verdict` can tell from every other state, so that a repair which is itself cut off is taken up
again by the next one. What somebody else wrote since is never removed: at the destination it stays, and where it lies at a
temporary it goes back to its place or gets a name of its own (`clear.keep`). Notes tell of each such thing.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Sequence

from headgated.core.errors import DeploymentFailedError
from headgated.core.paths import escape, parent
from headgated.core.steps import Attributes, Put, RemoveDirectory, Step, Take, touched
from headgated.core.tree import Kind
from headgated.effects.beneath import GONE
from headgated.effects.target import attributes
from headgated.effects.target.clear import clear, keep
from headgated.effects.target.failure import failed, show
from headgated.effects.target.motion import arrive, leave, trade
from headgated.effects.target.site import Site
from headgated.effects.target.survey import new_content, old_content, state_at, survey
from headgated.effects.target.swap import settle, spare
from headgated.effects.target.syncs import sync_directories
from headgated.effects.target.verdict import State, Verdict, judge


class Repair:
    """Undoes or finishes steps, whatever state each is in."""

    def __init__(self, site: Site) -> None:
        """Take what to work with."""
        self._site = site
        self.notes: list[str] = []
        """What could not be as one would expect, for people."""
        self._withdrawn: set[bytes] = set()

    def verdicts(self, planned: Iterable[Step]) -> list[Verdict | None]:
        """Return how far each step got, after ending what was cut off within a single step.

        Raises:
            DeploymentFailedError, OSError: it cannot be found out.
        """
        found = []
        for step in planned:
            self._settle(step)
            found.append(judge(step, *survey(self._site, step)))
        return found

    def back(self, planned: Sequence[Step]) -> None:
        """Give every path back what the plan had found there, and remove the temporaries.

        Raises:
            DeploymentFailedError: UNDO_FAILED, some of it is not back; the rest is. It can be tried again.
        """
        troubled = self._each(reversed(planned), self._undo)
        left = [step for step in planned if isinstance(step, Put) and step.path not in troubled]
        # Only when all is back on disk may go what tells that it was not.
        troubled |= self._sync(planned)
        if not troubled:
            troubled = self._each(left, self._discard) | self._sync(planned)
        if troubled:
            shown = [show(path) for path in troubled]
            why = next(iter(troubled.values()))
            raise DeploymentFailedError(
                f"cannot undo {shown[0]}: {why}",
                reason="UNDO_FAILED",
                hint="it is tried again when the daemon starts; nothing is lost until then",
                paths=shown,
            )

    def complete(self, planned: Sequence[Step]) -> None:
        """Remove what the steps took away and the directories that are empty now. What fails is noted."""
        troubled = self._each(planned, self._finish)
        self.notes += [
            f"cannot remove what was replaced at {escape(path)}: {why}" for path, why in troubled.items()
        ]

    def complete_strictly(self, planned: Iterable[Step]) -> None:
        """The same, where nothing is in use yet and all of it must be done.

        Raises:
            DeploymentFailedError, OSError: something cannot be removed.
        """
        for step in planned:
            self._finish(step)

    def left(self, planned: Iterable[Put | Take]) -> list[bytes]:
        """Return the temporaries that are still there.

        Raises:
            OSError: it cannot be found out.
        """
        return [
            step.temp
            for step in planned
            if self._is_there(parent(step.path)) and self._site.look(step.temp) is not None
        ]

    def _each(self, planned: Iterable[Step], act: Callable[[Step], None]) -> dict[bytes, str]:
        """Do it for every step, whatever happens to the others; return what went wrong."""
        troubled = {}
        for step in planned:
            try:
                act(step)
            except OSError as error:
                troubled[step.path] = (
                    f"{os.strerror(error.errno or 0)} ({errno.errorcode.get(error.errno or 0, '?')})"
                )
            except DeploymentFailedError as error:
                troubled[step.path] = error.message
        return troubled

    def sync(self, planned: Sequence[Step]) -> None:
        """Bring the names in every directory that the steps change, as far as it is still there, to the disk.

        Raises:
            DeploymentFailedError: it cannot be said what reached the disk.
        """
        try:
            there = [path for path in touched(planned) if self._is_there(path)]
        except OSError as error:
            raise failed("sync", b"", error) from error
        sync_directories(self._site, there)

    def _sync(self, planned: Sequence[Step]) -> dict[bytes, str]:
        try:
            self.sync(planned)
        except DeploymentFailedError as error:
            return {b"": error.message}
        return {}

    def _is_there(self, path: bytes) -> bool:
        """Whether there is a directory at `path`."""
        try:
            self._site.beneath.directory(path)
        except OSError as error:
            if error.errno in GONE:
                return False
            raise
        return True

    def _settle(self, step: Step) -> None:
        site = self._site
        if not isinstance(step, Put | Take) or not self._is_there(parent(step.path)):
            return
        directory, name = site.beneath.place(step.path)
        settle(site.acts, directory, step.temp.rpartition(b"/")[2], name)
        rest = spare(step.temp)
        if site.look(rest) is None or clear(site, rest, old_content(step)):
            return
        if not isinstance(step, Put) or not clear(site, rest, new_content(step)):
            self.notes.append(keep(site, rest, step.path))

    def _undo(self, step: Step) -> None:
        if isinstance(step, Attributes) and self._is_there(step.path):
            attributes.restore(self._site, step)
        if not isinstance(step, Put | Take) or not self._is_there(parent(step.path)):
            return
        self._settle(step)
        top = self._site.look(step.path)
        dest, temp = survey(self._site, step)
        if isinstance(step, Put) and step.expected is None:
            self._withdraw(step, dest, temp)
        elif temp in (State.OLD, State.PART, State.OTHER):
            self._return(step, dest, top)
        elif judge(step, dest, temp) in (Verdict.FINISHED, Verdict.GONE):
            self.notes.append(f"{escape(step.path)} stays as it is: what was there before is gone")

    def _withdraw(self, step: Put, dest: State, temp: State) -> None:
        """Take away what was put where nothing had been; `_discard` brings back what of it is not ours."""
        site = self._site
        if temp is not State.NONE or dest is State.NONE:
            return
        if step.wanted.kind != Kind.DIRECTORY and dest is not State.NEW:
            return
        if dest is State.OTHER and not self._is_partly_ours(step):
            return
        leave(site, step)
        self._withdrawn.add(step.path)
        if step.wanted.kind != Kind.DIRECTORY and state_at(site, step, step.temp) is not State.NEW:
            self._give_back(step)  # somebody put something else there in this instant

    def _is_partly_ours(self, step: Put) -> bool:
        """Whether a directory where ours was put, but is not whole, holds any of it."""
        site = self._site
        top = site.look(step.path)
        if top is None or not stat.S_ISDIR(top.st_mode):
            return False
        there = site.lens.below(site.beneath, step.path)
        mine = new_content(step)
        return any(
            entry.kind != Kind.DIRECTORY and entry.matches(there.get(path)) for path, entry in mine.items()
        )

    def _recognise(self, step: Put, top: os.stat_result | None) -> None:
        """Know our directory again at its temporary, where what others have put into it would make it look like theirs."""
        if step.wanted.kind == Kind.DIRECTORY and top is not None:
            self._site.marks[top.st_dev, top.st_ino] = State.NEW

    def _return(self, step: Put | Take, dest: State, top: os.stat_result | None) -> None:
        """Bring back what lies at the temporary, if its place is free or ours.

        Args:
            step: the step.
            dest: what is at the destination.
            top: the stat of what was there before that was found out.
        """
        site = self._site
        if isinstance(step, Put) and dest is State.NEW:
            self._recognise(step, top)
            trade(site, step)
            if state_at(site, step, step.temp) is State.NEW:
                return
            trade(site, step)  # somebody put something else there in this instant
        if dest is State.NONE:
            self._give_back(step)
        else:
            self.notes.append(keep(site, step.temp, step.path))

    def _give_back(self, step: Put | Take) -> None:
        """Bring what lies at the temporary to the destination; if that was taken in this instant, keep it."""
        try:
            arrive(self._site, step)
        except FileExistsError:
            self.notes.append(keep(self._site, step.temp, step.path))

    def _discard(self, step: Step) -> None:
        """Remove what was staged; what somebody wrote to it while it was at its place goes back there."""
        site = self._site
        if not isinstance(step, Put) or not self._is_there(parent(step.path)):
            return
        if clear(site, step.temp, new_content(step)):
            return
        if step.path in self._withdrawn and site.look(step.path) is None:
            self.notes.append(f"{escape(step.path)} stays: somebody else wrote to it meanwhile")
            self._give_back(step)
        else:
            self.notes.append(keep(site, step.temp, step.path))

    def _finish(self, step: Step) -> None:
        if isinstance(step, Attributes) or not self._is_there(parent(step.path)):
            return
        if isinstance(step, RemoveDirectory):
            self._remove_directory(step)
        elif not clear(self._site, step.temp, old_content(step)):
            self.notes.append(keep(self._site, step.temp, step.path))

    def _remove_directory(self, step: RemoveDirectory) -> None:
        site = self._site
        directory, name = site.beneath.place(step.path)
        site.beneath.forget(step.path)
        try:
            site.acts.remove_directory(directory, name)
        except OSError as error:
            if error.errno in GONE:
                return
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY):
                raise
            why = (
                "something is mounted there"
                if error.errno == errno.EBUSY
                else "it holds files that are not ours"
            )
            self.notes.append(f"{escape(step.path)} stays: {why}")
