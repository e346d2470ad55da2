"""Performs the steps: all of them, or none.

What a rename takes away is looked at afterwards, when nobody can put something else in its place any more; if it is not
what the plan had found, somebody was faster, and everything goes back.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from headgated.core.errors import DeploymentFailedError, HeadgateError
from headgated.core.steps import Attributes, Put, RemoveDirectory, Step, Take, touched
from headgated.core.tree import Entry, Kind
from headgated.effects.durable import at_once
from headgated.effects.target.attributes import change
from headgated.effects.target.failure import failed, moved
from headgated.effects.target.look import lasting
from headgated.effects.target.motion import arrive, leave, trade
from headgated.effects.target.repair import Repair
from headgated.effects.target.site import Site
from headgated.effects.target.survey import state_of_content
from headgated.effects.target.syncs import sync_directories
from headgated.effects.target.unnamed import Unnamed
from headgated.effects.target.verdict import State

log = logging.getLogger("headgated.target")

_UNKNOWN: tuple[tuple[int, ...], bytes] = (), b""


class Applier:
    """Applies staged steps."""

    def __init__(self, site: Site, unnamed: Unnamed | None = None) -> None:
        """Take what to work with, and what has no name yet; one applier for one deployment."""
        self._site, self._unnamed = site, unnamed
        self._staged: dict[bytes, tuple[tuple[int, ...], bytes]] = {}
        """By path of each file whose content is known: its stat, as `lasting`, and its digest."""

    def run(self, planned: Sequence[Step], first: Callable[[], object] = at_once) -> None:
        """Perform the steps in order and bring them to the disk.

        Args:
            planned: the steps.
            first: waits until what has a name is on the disk.

        Raises:
            TargetMovedError: the target is not what the plan found. Everything is as before; no temporary is left.
            DeploymentFailedError: a call failed; the reason says why, and everything is as before. UNDO_FAILED: it is
                not, and `Target.recover` has to be tried again.
        """
        self._site.changed = set()
        if self._unnamed is not None:
            self._unnamed.wait()
        try:
            first()
            for step in planned:
                self._perform(step)
            sync_directories(self._site, touched(planned))
        except BaseException as error:
            self._undo(planned, error)
            raise
        with suppress(OSError):  # it is done; what is not remembered is read again
            for step in planned:
                self._remember(step)

    def _undo(self, planned: Sequence[Step], error: BaseException) -> None:
        repair = Repair(self._site)
        try:
            repair.back(planned)
        except HeadgateError as second:
            first = error.message if isinstance(error, HeadgateError) else repr(error)
            raise DeploymentFailedError(
                f"{first}; then {second.message}", reason=second.reason, hint=second.hint, paths=second.paths
            ) from error
        finally:
            for note in repair.notes:
                log.warning("%s", note)

    def _perform(self, step: Step) -> None:
        try:
            match step:
                case Put():
                    self._put(step)
                case Take():
                    self._take(step)
                case Attributes():
                    change(self._site, step)
                case RemoveDirectory():
                    pass  # in finish: it has no inverse
        except OSError as error:
            raise failed("remove" if isinstance(step, Take) else "place", step.path, error) from error

    def _put(self, step: Put) -> None:
        site = self._site
        if self._unnamed is not None:
            self._unnamed.name(site, step)
        staged = site.look(step.temp)
        before = site.look(step.path)
        if staged is None or (before is None) != (step.expected is None):
            raise moved(step.path)
        site.marks[staged.st_dev, staged.st_ino] = State.NEW
        digest = site.lens.digest(step.temp, staged)
        if digest is not None:
            self._staged[step.path] = lasting(staged), digest
        if step.expected is None or before is None:
            arrive(site, step)
            return
        trade(site, step)
        self._verify(step, step.expected, before)

    def _take(self, step: Take) -> None:
        before = self._site.look(step.path)
        if before is None:
            raise moved(step.path)
        leave(self._site, step)
        self._verify(step, step.expected, before)

    def _verify(self, step: Put | Take, expected: Entry, before: os.stat_result) -> None:
        """Check that what went away is what the plan had found, by its signature if that is known, else by its content."""
        site = self._site
        there = site.look(step.temp)
        if there is None:
            raise moved(step.path)
        mark = (there.st_dev, there.st_ino)
        digest = site.lens.digest(step.path, before) if expected.kind == Kind.FILE else None
        if (
            digest is not None
            and lasting(before) == lasting(there)
            and expected.matches(site.lens.file(before, digest))
        ):
            site.lens.remember(step.temp, there, digest, time.time_ns())
        else:
            site.marks[mark] = State.OTHER
            if state_of_content(site, step, step.temp) is not State.OLD:
                raise moved(step.path)
        site.marks[mark] = State.OLD

    def _remember(self, step: Step) -> None:
        """What we put needs not be read to be known."""
        lens = self._site.lens
        if not isinstance(step, Put):
            lens.forget(step.path)
            return
        if step.wanted.kind == Kind.DIRECTORY:
            for below in (b"", *(m.path[len(step.path) :] for m in step.members if _is_directory(m.wanted))):
                lens.moved(step.temp + below, step.path + below)
        staged, digest = self._staged.get(step.path, _UNKNOWN)
        there = self._site.look(step.path) if staged else None
        if there is not None and lasting(there) == staged:
            lens.remember(step.path, there, digest, time.time_ns())


def _is_directory(entry: Entry | None) -> bool:
    return entry is not None and entry.kind == Kind.DIRECTORY
