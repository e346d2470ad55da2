"""The target of an environment: a directory on this machine."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import wait
from contextlib import contextmanager

from headgated.core.errors import DeploymentFailedError
from headgated.core.paths import escape, join, parent
from headgated.core.plan import Change
from headgated.core.steps import OWN_PREFIX, TEMPORARY, Put, RemoveDirectory, Step, Take, found_by
from headgated.core.tree import Directory, Entry, walk
from headgated.effects.beneath import GONE
from headgated.effects.durable import at_once
from headgated.effects.target.acts import Acts
from headgated.effects.target.apply import Applier
from headgated.effects.target.berth import Berth, is_begun
from headgated.effects.target.beside import THREADS, beside
from headgated.effects.target.clear import remove_all
from headgated.effects.target.compare import Comparison
from headgated.effects.target.content import entry_at, read_verified
from headgated.effects.target.ending import Ending, remove_built
from headgated.effects.target.failure import failed, refused
from headgated.effects.target.look import Lens, Mac, SpecialFileError
from headgated.effects.target.probe import NOTHING, probe
from headgated.effects.target.repair import Repair
from headgated.effects.target.root import TARGET_MISSING, make_root, open_beneath
from headgated.effects.target.site import Site
from headgated.effects.target.stage import Stager
from headgated.effects.target.syncs import Syncs, sync_directories
from headgated.effects.target.unnamed import Unnamed
from headgated.effects.target.verdict import Verdict, forward
from headgated.effects.target.whole import LEEWAY, Whole

FEW = 8
"""So many things that were replaced are removed one after the other."""

log = logging.getLogger("headgated.target")


class Target:
    """Looks at a target directory and changes it all or nothing.

    The way of a deployment: `observe`, plan, `prepare`, `stage`, `on_disk`, commit the intent to history, `apply`, record it as applied,
    `finish`. Before the commit a crash leaves temporaries for `sweep`; after it, something for `recover`. Looking is
    thread-safe; only one thread may change a target at a time.

    Errors are of `core.errors`: DeploymentFailedError with a reason, TargetMovedError where somebody else was faster. Besides
    what each method names, TARGET_SYMLINK and TARGET_NOT_A_DIRECTORY say that the target itself is no longer a directory
    at its real path.
    """

    def __init__(
        self, root: str, *, acts: Acts | None = None, openat2: bool = True, leeway: float = LEEWAY
    ) -> None:
        """Touch nothing.

        Args:
            root: absolute, without symlinks (its real path). It need not exist.
            acts: how to change things; for tests.
            openat2: whether to use that call where the kernel has it.
            leeway: seconds for which a directory that was replaced as a whole is left to those who are reading it.
        """
        self._leeway = leeway
        self._root = os.fsencode(root)
        self._acts = acts or Acts()
        self._openat2 = openat2
        self._lens = Lens()
        self._unnamed: Unnamed | None = None
        """What was staged without a name."""
        self._syncs: Syncs | None = None
        """What brings to the disk what was staged with one."""

    def recognise(self, mac: Mac) -> None:
        """Have files with secrets recognised from now on, by the seal that this makes of each file's digest."""
        self._lens.mac = mac

    def observe(self, paths: Iterable[bytes]) -> dict[bytes, Entry | None]:
        """Return what is at each path, with all attributes; None where there is nothing, or no directory to be in.

        Raises:
            DeploymentFailedError: SPECIAL_FILE (every such path), or it cannot be read.
            TargetMovedError: a file changes all the time.
        """
        found: dict[bytes, Entry | None] = dict.fromkeys(paths)
        special = []
        nothing: set[bytes] = set()
        with _none_if_missing(), self._site() as site:
            for path in tuple(found):
                if parent(path) not in nothing:
                    try:
                        found[path] = entry_at(site, path)
                    except SpecialFileError:
                        special.append(path)
                if found[path] is None:  # nor is there anything below
                    nothing.add(path)
        _refuse_special(special)
        return found

    def differing(self, tree: Directory, at: bytes = b"") -> Iterator[list[bytes]]:
        """Yield, for some names at a time, the paths below `at` where what is there is not what `tree` says.

        Raises:
            DeploymentFailedError, TargetMovedError: as `observe`, but for special files, which differ from everything.
        """
        comparison = Comparison(tree, at)
        while not comparison.done:
            missing = True
            # Opened anew each time: not held while the caller does something else.
            with _none_if_missing(), self._site() as site:
                missing, found = False, comparison.go_on(site)
            if missing:
                yield [path for path, _ in walk(tree, at)]
                return
            yield found

    def below(self, path: bytes) -> dict[bytes, Entry]:
        """Return everything below a directory by its path from the root; nothing where there is no directory.

        Raises:
            DeploymentFailedError, TargetMovedError: as `observe`.
        """
        found: dict[bytes, Entry | None] = {}
        with _none_if_missing(), self._site() as site:
            try:
                found = self._lens.below(site.beneath, path)
            except OSError as error:
                if error.errno not in GONE:
                    raise failed("look into", path, error) from error
        _refuse_special([join(path, inner) for inner, entry in found.items() if entry is None])
        return {join(path, inner): entry for inner, entry in found.items() if entry is not None}

    def read(self, path: bytes, expected: Entry) -> Iterator[bytes]:
        """Yield a file's content, at most 1 MiB at a time.

        Raises:
            TargetMovedError: it is not what was expected; perhaps only at the end, after all of it was yielded.
            DeploymentFailedError: it cannot be read.
        """
        with self._site() as site:
            yield from read_verified(site, path, expected)

    def prepare(
        self,
        changes: Iterable[Change],
        beside: Mapping[int, int] = NOTHING,
        first: Callable[[], object] = at_once,
    ) -> bool:
        """Make the target directory if there is none, and check that the changes can be made.

        Args:
            changes: what is to be done.
            beside: bytes that the deployment needs for something else, by device: there is to be room for both.
            first: waits for what has to be on disk before a target directory that is missing is made.

        Returns:
            Whether they can be staged without leaving anything behind in a crash before `apply` (see `stage`).

        Raises:
            DeploymentFailedError: NAME_TOO_LONG, READ_ONLY, NOT_WRITABLE, MOUNT_POINT, NO_SPACE, with every path.
            TargetMovedError: a directory that the plan counted on is gone.
        """
        try:
            with self._site() as site:
                return probe(site, self._root, changes, beside)
        except DeploymentFailedError as error:
            if error.reason != TARGET_MISSING:
                raise
        first()
        make_root(self._root)
        with self._site() as site:
            return probe(site, self._root, changes, beside)

    def stage(
        self,
        steps: Sequence[Step],
        read: Callable[[Change], Iterable[bytes]],
        progress: Callable[[int], None] = lambda _done: None,
        *,
        unnamed: bool = False,
    ) -> None:
        """Make everything that is to be put, under temporary names and whole; it is on its way to the disk then: see `on_disk`.

        On an error what was staged is removed again.

        Args:
            steps: of `core.steps.steps`.
            read: gives the content of a change; it must be what `change.wanted` says.
            progress: called with the number of files staged so far, after each, or of many after some.
            unnamed: leave nothing behind, where `prepare` said so: what is staged gets its names in `apply`, which begins with
                waiting until it is on the disk.

        Raises:
            DeploymentFailedError: NO_SPACE, QUOTA, METADATA, PERMISSION, IO_ERROR, ...
            SourceMovedError: the content is another. TargetMovedError: what it was to replace is gone.
        """
        with self._site() as site:
            if unnamed:
                self._unnamed = Unnamed()
            try:
                self._syncs = Stager(site, read, progress, self._unnamed).begin(steps)
            except BaseException:
                self._let_go()
                raise

    def on_disk(self) -> None:
        """Wait until what was staged is on the disk, but for what has no name: before that nothing may be committed to.

        A power cut after the commitment would leave less than was staged, and it could not be told from what others wrote.

        Raises:
            DeploymentFailedError: it cannot be said whether it is. `sweep` removes it.
        """
        syncs, self._syncs = self._syncs, None
        if syncs is not None:
            try:
                syncs.end()
            finally:
                syncs.close()

    def apply(self, steps: Sequence[Step]) -> None:
        """Bring everything to its place, and bring that to the disk.

        On an error everything is undone and the temporaries are removed before it is raised.

        Raises:
            TargetMovedError: something was changed after the plan was made.
            DeploymentFailedError: UNDO_FAILED, not everything could be undone; then `recover` must be called until it
                succeeds. Any other reason: a call failed and everything is as before.
        """
        try:
            with self._site() as site:
                Applier(site, self._unnamed).run(steps, self.on_disk)
        finally:
            self._let_go()

    def _let_go(self) -> None:
        """Close what is held open of what was staged."""
        unnamed, self._unnamed = self._unnamed, None
        syncs, self._syncs = self._syncs, None
        for staged in (unnamed, syncs):
            if staged is not None:
                staged.close()

    def finish(self, steps: Sequence[Step]) -> list[str]:
        """Remove what was replaced and the directories that are empty now; return notes on what stays.

        Call it only when the deployment is recorded as applied: it cannot be undone after this. Idempotent. What fails is
        noted, not raised. Of many, several are removed at once: where a disk is told what is free, each waits for that.
        """
        emptied = [step for step in steps if isinstance(step, RemoveDirectory)]
        rest = [step for step in steps if not isinstance(step, RemoveDirectory)]
        size = max(FEW, -(-len(rest) // THREADS))
        shares = [rest[at : at + size] for at in range(0, len(rest), size)]
        others = [beside(self._complete, share) for share in shares[1:]]
        try:
            notes = self._complete(shares[0]) if shares else []
        finally:
            wait(others)
        for other in others:
            notes += other.result()
        return notes + (self._complete(emptied) if emptied else [])

    def _complete(self, steps: Sequence[Step]) -> list[str]:
        try:
            with self._site() as site:
                repair = Repair(site)
                repair.complete(steps)
                return repair.notes
        except DeploymentFailedError as error:
            return [error.message]

    def tidy(self, steps: Sequence[Step], replaced: Mapping[bytes, Entry], *, token: str) -> bool:
        """Remove what `finish` could not remove when it was time; tell whether all of it is gone now.

        Directories that were to be removed are left alone: since then they may have come to be somebody's.

        Args:
            steps: of the deployment.
            replaced: what later deployments found where they changed something, by path.
            token: of the deployment, which may have been one of a whole directory.

        Raises:
            DeploymentFailedError: something cannot be read or removed.
        """
        if is_begun(self._root, token):
            with self._errors(), Berth(self._root, token, self._acts, openat2=self._openat2) as berth:
                ending = Ending(berth, self._lens, steps, None)
                try:
                    ending.complete(replaced)
                finally:
                    for note in ending.notes:
                        log.warning("%s", note)
            return not is_begun(self._root, token)
        moved = [step for step in steps if isinstance(step, Put | Take)]
        with self._repair() as repair:
            repair.complete(moved)
            return not repair.left(moved)

    def tokens(self, directories: Iterable[bytes]) -> frozenset[str]:
        """Return the tokens in the names of temporaries that lie in some directories; whose they are, their names do not tell.

        Raises:
            DeploymentFailedError: TARGET_MISSING, or a directory cannot be read.
        """
        found: set[str] = set()
        with self._site() as site:
            for path in directories:
                try:
                    names = os.listdir(site.beneath.directory(path))
                except OSError as error:
                    if error.errno in GONE:
                        continue
                    raise failed("look into", path, error) from error
                found.update(match[1] for match in map(TEMPORARY.match, names) if match)
        return frozenset(found)

    def undo(self, steps: Sequence[Step]) -> list[str]:
        """Bring everything back to what it was before, whatever was done so far; return notes on what could not be.

        Raises:
            DeploymentFailedError: CANNOT_UNDO, it was finished; nothing was changed. UNDO_FAILED: try again.
        """
        with self._repair() as repair:
            finished = [
                s.path for s, v in zip(steps, repair.verdicts(steps), strict=True) if v is Verdict.FINISHED
            ]
            if finished:
                raise DeploymentFailedError(
                    f"cannot undo: what was at {escape(finished[0])} before is gone",
                    reason="CANNOT_UNDO",
                    hint="roll back instead",
                    paths=[escape(path) for path in finished],
                )
            repair.back(steps)
            return repair.notes

    def whole(self, token: str) -> Whole:
        """Return what carries out one deployment by exchanging the whole directory: the same verbs, strategy atomic.

        `observe`, `read`, `sweep` and `recover` stay this object's.

        Args:
            token: of the deployment; the steps' names carry it too.
        """
        return Whole(self._root, token, self._acts, self._lens, openat2=self._openat2, leeway=self._leeway)

    def recover(self, steps: Sequence[Step], notes: list[str] | None = None, *, token: str = "") -> bool:
        """After a crash, make it all or nothing.

        Returns:
            True: every step had been performed; it is finished. False: everything is as before. May itself be cut off at any
            point and called again.

        Args:
            steps: computed again from the intent.
            notes: gets what somebody else changed meanwhile and therefore stays or is kept under another name; it is
                logged, too.
            token: of the deployment, which may have been one of a whole directory; what lies on disk tells.

        Raises:
            DeploymentFailedError: it cannot be said, or UNDO_FAILED; call it again later.
        """
        done = self._recover_whole(steps, token, notes)
        if done is not None:
            return done
        with self._repair() as repair:
            self._refuse_unmounted(steps)
            go_on = forward(repair.verdicts(steps))
            if go_on:
                repair.complete(steps)
                repair.sync(steps)
            else:
                repair.back(steps)
            for note in repair.notes:
                log.warning("%s", note)
            if notes is not None:
                notes += repair.notes
            return go_on

    def sweep(self, directories: Iterable[bytes], token: str) -> None:
        """Remove the temporaries of a staging that was never committed, so that no power cut brings them back.

        Args:
            directories: where they may lie; one that is gone is no error.
            token: that their names carry.

        Raises:
            DeploymentFailedError: something cannot be removed.
        """
        self._let_go()
        prefix = OWN_PREFIX + token.encode("ascii") + b"-"
        self._sweep_built(token)
        with _none_if_missing(), self._site() as site:
            there = []
            for directory in directories:
                try:
                    names = [os.fsencode(name) for name in os.listdir(site.beneath.directory(directory))]
                    there.append(directory)
                    for name in names:
                        if name.startswith(prefix):
                            remove_all(site, join(directory, name))
                except OSError as error:
                    if error.errno not in GONE:
                        raise failed("sweep", directory, error) from error
            sync_directories(site, there)

    def _recover_whole(self, steps: Sequence[Step], token: str, notes: list[str] | None) -> bool | None:
        """Recover the exchange of a whole directory, if there are signs of one."""
        if not token:
            return None
        if not is_begun(self._root, token):
            # A new target that was undone is gone again, and nothing tells.
            expected_nothing = all(entry is None for entry in found_by(steps).values())
            above = os.path.dirname(self._root)
            return False if expected_nothing and _is_missing_in(above, self._root) else None
        with self._errors(), Berth(self._root, token, self._acts, openat2=self._openat2) as berth:
            ending = Ending(berth, self._lens, steps, None)
            done = ending.recover()
        for note in ending.notes:
            log.warning("%s", note)
        if notes is not None:
            notes += ending.notes
        return done

    def _sweep_built(self, token: str) -> None:
        """Remove what was built for an exchange that was never committed to."""
        if is_begun(self._root, token):
            with self._errors(), Berth(self._root, token, self._acts, openat2=self._openat2) as berth:
                remove_built(berth, self._lens)
                berth.sync()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise failed("recover", b"", error) from error

    @contextmanager
    def _site(self) -> Iterator[Site]:
        with open_beneath(self._root, openat2=self._openat2) as beneath:
            yield Site(beneath, self._lens, self._acts)

    @contextmanager
    def _repair(self) -> Iterator[Repair]:
        with self._site() as site:
            try:
                yield Repair(site)
            except OSError as error:
                raise failed("recover", b"", error) from error

    def _refuse_unmounted(self, steps: Sequence[Step]) -> None:
        """Refuse an empty directory where something is both before and after: most likely nothing is mounted there."""
        before = any(isinstance(step, Put | Take) and step.expected is not None for step in steps)
        after = any(isinstance(step, Put) for step in steps)
        if before and after and not os.listdir(self._root):
            raise DeploymentFailedError(
                f"cannot recover {os.fsdecode(self._root)}: it is empty, although files were deployed to it",
                reason="TARGET_EMPTY",
                hint="mount what belongs there; if it is to be empty, put any file into it, or delete the environment",
            )


@contextmanager
def _none_if_missing() -> Iterator[None]:
    try:
        yield
    except DeploymentFailedError as error:
        if error.reason != TARGET_MISSING:
            raise


def _is_missing_in(above: bytes, path: bytes) -> bool:
    """Whether there is nothing at `path`, although there is a directory for it to be in."""
    return os.path.isdir(above) and not os.path.lexists(path)


def _refuse_special(paths: list[bytes]) -> None:
    if paths:
        raise refused("SPECIAL_FILE", "is neither file nor directory nor symlink", paths, "move it away")
