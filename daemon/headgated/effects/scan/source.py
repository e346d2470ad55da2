"""One watched directory: what it offers, kept up to date by looking only where something may have changed.

Promises a snapshot that existed: all that was marked was found the same by two looks in a row (one name alone: between two
equal signatures); what nobody marked is taken to be as it was. What changed there is found when somebody marks it: the
watcher marks everything now and then.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from itertools import chain, islice
from threading import Event, Lock

from headgated.core.errors import DeploymentFailedError, LimitError, SourceMovedError
from headgated.core.paths import escape
from headgated.core.source import RootState, ScanFault, Snapshot
from headgated.core.tree import EMPTY, Directory, Entry, diff
from headgated.effects.scan.dirty import dirty_tree
from headgated.effects.scan.fresh import Fresh
from headgated.effects.scan.known import Known
from headgated.effects.scan.limits import ScanLimits
from headgated.effects.scan.reading import MOVED, OPEN_FILE, MovedError, read_known
from headgated.effects.scan.root import Root, open_below, open_root, unavailable
from headgated.effects.scan.sweep import Sweep

_DEFAULT_LIMITS = ScanLimits()
_EVERYTHING = frozenset({b""})
_MANY_MARKS = 100_000
_NAMED_IF_UNSETTLED = 20


class Source:
    """One watched directory. Every method may be called from any thread; `mark` and `read` never wait for a scan."""

    def __init__(self, root: str, *, limits: ScanLimits = _DEFAULT_LIMITS) -> None:
        """Watch over `root`; nothing is read yet.

        Args:
            root: an absolute path. Where it is a symlink, it is resolved anew for each snapshot.
            limits: beyond them, parts of the source are faults.
        """
        self.root = root
        self._limits = limits
        self._marking = Lock()
        self._marked = set(_EVERYTHING)
        self._trusted = True
        self._scanning = Lock()
        self._ended = Event()
        self._known = Known()
        self._fresh = Fresh()
        self._last = Snapshot(
            EMPTY, RootState.ABSENT, None, is_mount=False, faults=(), settled=True, scanned_at=0.0
        )

    @property
    def scanned_at(self) -> float | None:
        """When it was last read, in seconds since the epoch; None: not yet."""
        return self._last.scanned_at or None

    def limit(self, limits: ScanLimits) -> None:
        """Go by other limits from the next scan on."""
        self._limits = limits

    def mark(self, paths: frozenset[bytes] | None) -> None:
        """Note that paths, and all that is below them, may have changed; None: anything may have."""
        with self._marking:
            self._marked |= _EVERYTHING if paths is None else paths
            if len(self._marked) > _MANY_MARKS:
                self._marked = set(_EVERYTHING)

    def end(self) -> None:
        """Cut off the look that is made now, and make none any more: whoever asks for a snapshot gets ScanEndedError."""
        self._ended.set()

    def distrust(self) -> None:
        """Have the next snapshot read every content again, whatever sizes and times say."""
        with self._marking:
            self._marked |= _EVERYTHING
            self._trusted = False

    def snapshot(self) -> Snapshot:
        """Look at what is marked, at everything the first time, and at what was faulty; return what the source offers.

        Where the root cannot be read, or too much of it moves, the tree is that of the last settled snapshot.

        Raises:
            ScanEndedError: INTERRUPTED, `end` was called.
        """
        with self._scanning:
            marked, trusted = self._take_marks()
            try:
                return self._refreshed(marked, trust=trusted)
            except BaseException:
                self.distrust()
                raise

    def read(self, path: bytes, entry: Entry) -> Iterator[bytes]:
        """Yield the content of the file `path`, at most 1 MiB at once; the last of it only once all of it is proved.

        Raises:
            SourceMovedError: it is not what `entry` says any more.
            DeploymentFailedError: it cannot be read (reason UNREADABLE).
        """
        try:
            descriptor = open_below(self.root, path, OPEN_FILE)
            try:
                yield from read_known(descriptor, entry.size, entry.digest)
            finally:
                os.close(descriptor)
        except MovedError:
            raise _moved(path) from None
        except OSError as error:
            if error.errno in MOVED:
                raise _moved(path) from error
            shown = escape(path)
            raise DeploymentFailedError(
                f"cannot read {shown}: {error.strerror}", reason="UNREADABLE", paths=[shown]
            ) from error

    def forget_contents(self) -> bool:
        """Let go of contents in memory, if they are many: who wanted them has them by now. Tell whether they were."""
        return self._fresh.shrink()

    def recall(self, digest: bytes) -> bytes | None:
        """Return a content that was read for one of the last snapshots, if it is still in memory; whatever is there now."""
        return self._fresh.get(digest)

    def _take_marks(self) -> tuple[frozenset[bytes], bool]:
        with self._marking:
            taken = frozenset(self._marked), self._trusted
            self._marked, self._trusted = set(), True
            return taken

    def _refreshed(self, marked: frozenset[bytes], *, trust: bool) -> Snapshot:
        """Look until a look proves itself, or the one before it."""
        marked |= {fault.path for fault in self._last.faults}
        looks = 0
        while True:
            with open_root(self.root) as root:
                if root.identity != self._last.identity:
                    marked = _EVERYTHING
                if root.state == RootState.OK and not marked:
                    return self._last
                found = self._look(root, marked, trust=trust or looks > 0)
            if isinstance(found, Snapshot):
                return found
            looks += 1
            if looks >= self._limits.read_attempts:
                break
            if looks > 1:
                time.sleep(self._limits.first_pause * 2 ** (looks - 2))
        self.mark(marked)
        faults = [
            ScanFault(path, "SOURCE_UNSETTLED", f"cannot read {escape(path)}: it keeps changing")
            for path in islice(found, _NAMED_IF_UNSETTLED)
        ]
        return self._remember(root, self._last.tree, (*self._known.faults, *faults), settled=False)

    def _look(self, root: Root, marked: frozenset[bytes], *, trust: bool) -> Snapshot | Iterator[bytes]:
        """Look once; return the snapshot if it can be believed, else the paths that were new."""
        if root.state != RootState.OK:
            return self._unavailable(root)
        before = self._known
        sweep = Sweep(self._limits, trust=trust, fresh=self._fresh, ended=self._ended)
        try:
            after = sweep.run(root.descriptor, before, dirty_tree(marked))
        except LimitError as error:
            return self._remember(root, self._last.tree, (ScanFault(b"", error.reason, error.message),))
        except OSError as error:
            return self._unavailable(unavailable(error))
        self._known = after
        same = after.directory is before.directory and after.faults == before.faults
        if not sweep.moved and (same or sweep.names == 1):
            return self._remember(root, after.directory, after.faults)
        news = (path for path, _, _ in diff(before.directory, after.directory))
        return chain(sweep.moved, news)

    def _unavailable(self, root: Root) -> Snapshot:
        fault = ScanFault(b"", root.state.upper(), f"cannot read the source {self.root}: {root.problem}")
        return self._remember(root, self._last.tree, (fault,))

    def _remember(
        self, root: Root, tree: Directory, faults: tuple[ScanFault, ...], *, settled: bool = True
    ) -> Snapshot:
        self._last = Snapshot(tree, root.state, root.identity, root.is_mount, faults, settled, time.time())
        return self._last


def _moved(path: bytes) -> SourceMovedError:
    shown = escape(path)
    return SourceMovedError(
        f"cannot read {shown}: it changed since the source was scanned", hint="deploy again", paths=[shown]
    )
