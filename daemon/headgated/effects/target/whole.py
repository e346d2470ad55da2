"""A deployment that replaces the whole target directory at once: strategy atomic.

Beside the target a second tree is built of all that is there (`carry`), and the deployment is carried out in it. What is at the
target does not change until the one exchange of the two; whoever opens the target by its path finds all old or all new. What
others changed in the old tree while the new one was built is brought over (`catchup`), shortly before and again after the
exchange; where that cannot be, the two change places again. Directories that somebody holds open, a working directory among
them, stay those of the old tree, which is left whole for a moment for those who are just reading it.

The verbs are those of `Target`, for one deployment. Cost: a system call or two for each file of the tree, whatever changes.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from headgated.core.errors import DeploymentFailedError, HeadgateError
from headgated.core.paths import escape, parent
from headgated.core.plan import Change
from headgated.core.steps import Put, Step, found_by, steps, touched
from headgated.effects import kernel
from headgated.effects.beneath import GONE
from headgated.effects.durable import at_once
from headgated.effects.target.acts import Acts
from headgated.effects.target.apply import Applier
from headgated.effects.target.berth import Berth
from headgated.effects.target.carry import Carrier
from headgated.effects.target.catchup import CatchUp
from headgated.effects.target.ending import Ending, check_found
from headgated.effects.target.failure import failed, moved
from headgated.effects.target.inventory import Inventory
from headgated.effects.target.look import Lens
from headgated.effects.target.possible import obstacles
from headgated.effects.target.probe import NOTHING, probe
from headgated.effects.target.repair import Repair
from headgated.effects.target.room import check_room
from headgated.effects.target.root import TARGET_MISSING, make_root, open_beneath
from headgated.effects.target.site import Site
from headgated.effects.target.stage import Stager
from headgated.effects.target.syncs import sync_directories

log = logging.getLogger("headgated.target")

LEEWAY = 0.1
"""Seconds after the exchange in which nothing is removed from the old directory."""
_NEW_ROOT = 0o755


class Whole:
    """One deployment of a whole directory."""

    def __init__(
        self,
        root: bytes,
        token: str,
        acts: Acts,
        lens: Lens,
        *,
        openat2: bool = True,
        leeway: float = LEEWAY,
    ) -> None:
        """Touch nothing.

        Args:
            root: of the target: absolute, without symlinks.
            token: of the deployment.
            acts: changes things.
            lens: knows what is at the target.
            openat2: whether to use that call where the kernel has it.
            leeway: seconds that readers of the old directory have after the exchange.
        """
        self._leeway, self._exchanged_at = leeway, 0.0
        self._root, self._token, self._acts, self._openat2 = root, token, acts, openat2
        self._lens, self._new_lens = lens, lens.fork()
        self._changes: tuple[Change, ...] = ()
        self._carried: Inventory | None = None
        self._notes: list[str] = []

    def prepare(
        self,
        changes: Iterable[Change],
        beside: Mapping[int, int] = NOTHING,
        first: Callable[[], object] = at_once,
    ) -> bool:
        """Check that the directory can be exchanged and that there is room; make those above it that are missing.

        Args:
            changes: what is to be done.
            beside: bytes that the deployment needs for something else, by device: there is to be room for both.
            first: waits for what has to be on disk before directories that are missing are made.

        Returns:
            False: what `stage` builds lies beside the target, and a crash leaves it there for `Target.sweep`.

        Raises:
            DeploymentFailedError: MOUNT_POINT, NOT_WRITABLE, READ_ONLY, CROSS_DEVICE, NO_SPACE, with every path.
        """
        self._changes = tuple(changes)
        first()
        make_root(os.path.dirname(self._root))
        try:
            open_beneath(self._root, openat2=self._openat2).close()
        except DeploymentFailedError as error:
            if error.reason != TARGET_MISSING:
                raise
        found = obstacles(os.fsdecode(self._root), trial=False)
        if found:
            raise DeploymentFailedError(
                f"cannot deploy: {'; '.join(obstacle.what for obstacle in found)}",
                reason=found[0].reason,
                hint=found[0].hint,
                paths=[os.fsdecode(obstacle.path) for obstacle in found],
            )
        self._check_room(beside)
        return False

    def stage(
        self,
        steps: Sequence[Step],
        read: Callable[[Change], Iterable[bytes]],
        progress: Callable[[int], None] = lambda _done: None,
        *,
        unnamed: bool = False,  # noqa: ARG002 - as `Target.stage` has it; `prepare` never says so
    ) -> None:
        """Build the new directory, whole and on disk. On an error what was built is left for `Target.sweep`.

        Raises:
            DeploymentFailedError: as `Target.stage` and `Target.prepare`; CANNOT_CARRY.
            SourceMovedError, TargetMovedError: the content is another; the target is.
        """
        with self._errors("build", b""), self._berth() as berth, ExitStack() as opened:
            self._acts.make_directory(berth.fd, berth.tree)
            new = berth.site(berth.tree, self._new_lens)
            opened.enter_context(new.beneath)
            old = berth.site_if_any(berth.name, self._lens)
            if old is not None:
                opened.enter_context(old.beneath)
            carrier = self._carry(old, new)
            probe(new, self._root, self._changes)
            Stager(new, read, progress).run(steps)
            Applier(new).run(steps)
            repair = Repair(new)
            repair.complete_strictly(steps)
            self._notes = repair.notes
            os.close(self._acts.create(new.beneath.directory(b""), berth.marker))
            if carrier is not None:
                carrier.give_times(frozenset([*touched(steps), *(parent(step.path) for step in steps)]))
            self._sync(new, steps)
            berth.sync()

    def on_disk(self) -> None:
        """What was built is on the disk already: it is synced as a whole."""

    def apply(self, steps: Sequence[Step]) -> None:
        """Exchange the two directories, and bring that to the disk. On an error everything is undone before it is raised.

        Raises:
            TargetMovedError: something was changed after the plan was made.
            DeploymentFailedError: as `Target.apply`.
        """
        with self._errors("exchange", b""), self._berth() as berth:
            try:
                self._apply(berth, steps)
            except BaseException as error:
                self._undo(berth, steps, error)
                raise
        self._lens.become(self._new_lens)
        self._exchanged_at = time.monotonic()

    def finish(self, steps: Sequence[Step]) -> list[str]:
        """Remove the old directory; return notes on what stays. What fails is noted, not raised."""
        time.sleep(max(0.0, self._exchanged_at + self._leeway - time.monotonic()))
        try:
            with self._errors("remove what was replaced in", b""), self._berth() as berth:
                ending = Ending(berth, self._lens, steps, self._carried)
                try:
                    ending.complete()
                finally:
                    self._notes += ending.notes
                    if berth.look(berth.old) is not None:
                        self._notes.append(f"what is left of it lies beside the target: {escape(berth.old)}")
        except DeploymentFailedError as error:
            self._notes.append(error.message)
        return self._notes

    def _check_room(self, beside: Mapping[int, int]) -> None:
        """Check that what is new finds room. What is carried along takes some for its directories alone, which staging finds out."""
        puts = [step for step in steps(self._changes, self._token) if isinstance(step, Put)]
        above = os.path.dirname(self._root)
        if puts:
            with self._errors("look at", b""):
                device, there = os.stat(above).st_dev, os.statvfs(above)
            check_room(there, escape(above), puts, beside.get(device, 0))

    def _carry(self, old: Site | None, new: Site) -> Carrier | None:
        if old is None:
            self._acts.chmod(new.beneath.directory(b""), _NEW_ROOT)
            return None
        carrier = Carrier(old, new)
        carrier.run()
        self._carried = carrier.carried
        return carrier

    def _sync(self, new: Site, steps: Sequence[Step]) -> None:
        """Bring every directory of the new tree to the disk."""
        directories = {b"", *touched(steps)}
        directories |= {path for path, item in (self._carried or {}).items() if item.is_directory}
        sync_directories(new, sorted(path for path in directories if _is_there(new, path)))

    def _apply(self, berth: Berth, steps: Sequence[Step]) -> None:
        if self._carried is None:
            self._acts.rename(berth.fd, berth.tree, berth.next, kernel.RENAME_NOREPLACE)
            self._acts.rename(berth.fd, berth.next, berth.name, kernel.RENAME_NOREPLACE)
            berth.sync()
            return
        with ExitStack() as opened:
            new, old = berth.site(berth.tree, self._new_lens), berth.site(berth.name, self._lens)
            opened.enter_context(new.beneath)
            opened.enter_context(old.beneath)
            self._follow(berth, old, new, steps)
            self._acts.rename(berth.fd, berth.tree, berth.next, kernel.RENAME_NOREPLACE)
            self._acts.rename(berth.fd, berth.next, berth.name, kernel.RENAME_EXCHANGE)
            came_out = berth.look(berth.next)
            if came_out is None or came_out.st_ino != os.fstat(old.beneath.directory(b"")).st_ino:
                raise moved(b"")
            self._follow(berth, old, new, steps)
            self._acts.rename(berth.fd, berth.next, berth.old, kernel.RENAME_NOREPLACE)
            berth.sync()

    def _follow(self, berth: Berth, old: Site, new: Site, steps: Sequence[Step]) -> None:
        """Bring over what others changed in the old tree, and make sure that it has what the plan found."""
        expected = found_by(steps)
        carrier = Carrier(old, new, self._carried)
        changed = CatchUp(old, new, carrier, expected.keys(), berth.own + b"0").run()
        if changed:
            sync_directories(new, sorted(path for path in changed if _is_there(new, path)))
        check_found(old, steps)

    def _undo(self, berth: Berth, steps: Sequence[Step], error: BaseException) -> None:
        ending = Ending(berth, self._lens, steps, self._carried)
        try:
            ending.back(at_once=True)
        except HeadgateError as second:
            first = error.message if isinstance(error, HeadgateError) else repr(error)
            raise DeploymentFailedError(
                f"{first}; then {second.message}", reason=second.reason, hint=second.hint, paths=second.paths
            ) from error
        finally:
            for note in ending.notes:
                log.warning("%s", note)

    def _berth(self) -> Berth:
        return Berth(self._root, self._token, self._acts, openat2=self._openat2)

    @contextmanager
    def _errors(self, what: str, path: bytes) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if kernel.is_unsupported(error):
                error = OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
            raise failed(what, path, error) from error


def _is_there(site: Site, path: bytes) -> bool:
    """Whether there is a directory."""
    try:
        site.beneath.directory(path)
    except OSError as error:
        if error.errno in GONE:
            return False
        raise
    return True
