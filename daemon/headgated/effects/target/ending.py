"""Brings the exchange of a whole directory to one of its two ends, from wherever it was cut off.

Which of the two it is can be told from the names in the target's parent alone (`berth`), so a way back or forth that is itself
cut off is taken up again by the next one.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress

from headgated.core.errors import DeploymentFailedError, HeadgateError
from headgated.core.paths import escape
from headgated.core.steps import OWN_PREFIX, Step, found_by, left_by
from headgated.core.tree import Entry
from headgated.effects import kernel
from headgated.effects.beneath import GONE, Beneath
from headgated.effects.target.berth import Berth
from headgated.effects.target.clear import remove_all
from headgated.effects.target.content import entry_at
from headgated.effects.target.dismantle import Dismantling, sweep_tree
from headgated.effects.target.failure import failed, moved
from headgated.effects.target.inventory import Inventory, walk
from headgated.effects.target.look import Lens, SpecialFileError
from headgated.effects.target.repair import Repair
from headgated.effects.target.site import Site
from headgated.effects.target.verdict import forward

NOTHING: Mapping[bytes, Entry] = {}


class Ending:
    """Finishes or undoes one exchange.

    Args:
        berth: where.
        lens: knows what is at the target.
        steps: of the deployment.
        carried: what the two trees had in common when they changed places; None: nobody remembers.
    """

    def __init__(self, berth: Berth, lens: Lens, steps: Sequence[Step], carried: Inventory | None) -> None:
        self._berth, self._lens, self._steps, self._carried = berth, lens, steps, carried
        self.notes: list[str] = []
        """What could not be as one would expect, for people."""

    def complete(self, replaced: Mapping[bytes, Entry] = NOTHING) -> None:
        """Remove the old directory, then the new one's marker. Idempotent.

        Args:
            replaced: what may go besides what the steps found, by path: later deployments found it there, and history has it.

        Raises:
            OSError, DeploymentFailedError: something cannot be removed.
        """
        berth = self._berth
        found = found_by(self._steps)
        known = {**replaced, **{path: entry for path, entry in found.items() if entry is not None}}
        try:
            self._dismantle(berth.old, known)
        finally:
            self._unmark()
        berth.sync()

    def back(self, *, at_once: bool = False) -> None:
        """Bring the old directory back to its place, and remove the new one. Idempotent.

        Args:
            at_once: nothing was removed from the old directory yet, wherever it lies.

        Raises:
            DeploymentFailedError: UNDO_FAILED; it can be tried again.
        """
        try:
            self._back(at_once=at_once)
        except (HeadgateError, OSError) as error:
            told = error if isinstance(error, HeadgateError) else failed("undo in", b"", error)
            raise DeploymentFailedError(
                f"cannot undo the exchange of the target directory: {told.message}",
                reason="UNDO_FAILED",
                hint="it is tried again when the daemon starts; nothing is lost until then",
                paths=told.paths,
            ) from error

    def recover(self) -> bool | None:
        """After a crash, make it all or nothing.

        Returns:
            True: the new directory is at the target, and all is done. False: the old one is. None: nothing here tells.

        Raises:
            DeploymentFailedError: it cannot be said, or UNDO_FAILED; call it again later.
        """
        berth = self._berth
        with self._errors():
            if berth.look(berth.old) is not None:
                self._go_on()
                return True
            if berth.look(berth.next) is not None:
                return self._recover_exchange()
            if berth.look(berth.tree) is not None:
                self.back()
                return False
            if berth.marked(berth.name):
                self._go_on()
                return True
            return None

    def _recover_exchange(self) -> bool:
        berth = self._berth
        if not self._is_exchanged() or not self._came_out_as_found():
            self.back()
            return False
        berth.acts.rename(berth.fd, berth.next, berth.old, kernel.RENAME_NOREPLACE)
        berth.sync()
        self._go_on()
        return True

    def _go_on(self) -> None:
        live = self._berth.site_if_any(self._berth.name, self._lens)
        if live is not None:
            with live.beneath:
                sweep_tree(live, self._berth.own, self._berth.marker)
        self.complete()

    def _is_exchanged(self) -> bool:
        """Whether the new directory is at the target: by its marker, or if somebody removed that, by what is there."""
        berth = self._berth
        if berth.marked(berth.name):
            return True
        live = berth.site_if_any(berth.name, self._lens)
        if live is None or berth.marked(berth.next):
            return False
        with live.beneath:
            return forward(Repair(live).verdicts(self._steps))

    def _came_out_as_found(self) -> bool:
        """Whether the directory that came out of its place holds what the plan had found, and no mount."""
        old = self._berth.site(self._berth.next, Lens(self._lens.mac))
        with old.beneath:
            try:
                for _ in walk(old):
                    pass
                check_found(old, self._steps)
            except DeploymentFailedError as error:
                if error.reason not in ("TARGET_MOVED", "MOUNT_POINT"):
                    raise
                self.notes.append(error.message)
                return False
        return True

    def _back(self, *, at_once: bool) -> None:
        berth = self._berth
        if at_once and berth.look(berth.old) is not None:
            berth.acts.rename(berth.fd, berth.old, berth.next, kernel.RENAME_NOREPLACE)
        if berth.marked(berth.name):
            if berth.look(berth.next) is not None:
                berth.acts.rename(berth.fd, berth.next, berth.name, kernel.RENAME_EXCHANGE)
            else:
                berth.acts.rename(berth.fd, berth.name, berth.next, kernel.RENAME_NOREPLACE)
            berth.sync()
        if berth.look(berth.next) is not None:
            self._dismantle(berth.next, left_by(self._steps))
        remove_built(berth, self._lens)
        berth.sync()

    def _dismantle(self, name: bytes, known: dict[bytes, Entry]) -> None:
        berth = self._berth
        gone = berth.site_if_any(name, Lens(self._lens.mac))
        if gone is None:
            return
        with ExitStack() as opened:
            opened.enter_context(gone.beneath)
            live = berth.site_if_any(berth.name, self._lens)
            if live is not None:
                opened.enter_context(live.beneath)
            work = Dismantling(gone, live, known, self._carried, berth.own)
            try:
                empty = work.run(berth.marker)
            except OSError as error:
                if live is not None or error.errno != errno.ENOTEMPTY:
                    raise
                self._keep(name)
                return
            finally:
                self.notes += work.notes
        if empty:
            berth.acts.remove_directory(berth.fd, name)

    def _keep(self, name: bytes) -> None:
        """Give a directory that holds what somebody else made, and has no other place, a name that is never removed."""
        berth = self._berth
        kept = OWN_PREFIX + b"kept-" + name.removeprefix(OWN_PREFIX)
        berth.acts.rename(berth.fd, name, kept, kernel.RENAME_NOREPLACE)
        self.notes.append(
            f"files that somebody else made meanwhile are kept in {escape(kept)} beside the target"
        )

    def _unmark(self) -> None:
        """Remove the marker, and give the directory back its times."""
        berth = self._berth
        live = berth.site_if_any(berth.name, self._lens)
        if live is None:
            return
        with live.beneath:
            fd = live.beneath.directory(b"")
            there = os.fstat(fd)
            try:
                berth.acts.unlink(fd, berth.marker)
            except FileNotFoundError:
                return
            with suppress(OSError):
                berth.acts.set_times(fd, there.st_atime_ns, there.st_mtime_ns)
            berth.acts.sync(fd)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise failed("recover", b"", error) from error


def check_found(site: Site, steps: Sequence[Step]) -> None:
    """Make sure that a tree has what the plan found there.

    Raises:
        TargetMovedError: it has not, with every such path. DeploymentFailedError: it cannot be read.
    """
    others = [path for path, entry in found_by(steps).items() if not _has(site, path, entry)]
    if others:
        raise moved(*others)


def _has(site: Site, path: bytes, entry: Entry | None) -> bool:
    try:
        live = entry_at(site, path)
    except SpecialFileError:
        return False
    return live is None if entry is None else entry.matches(live)


def remove_built(berth: Berth, lens: Lens) -> None:
    """Remove a directory that was built and never was at the target.

    Raises:
        OSError: it cannot be removed.
    """
    try:
        above = Beneath(b"", within=berth.fd, one_mount=True)
    except OSError as error:
        if error.errno in GONE:
            return
        raise
    with above:
        remove_all(Site(above, lens, berth.acts), berth.tree)
