"""Readers for many roots: of its own for each while they are few, shared when they are many.

The kernel gives a user 128 inotify instances (`fs.inotify.max_user_instances`), and each reader is a thread. A reader of one's own
keeps an overflow or a dead reader one root's matter. A shared one that fails is everybody's who shares it, and told to each: none
is blind without knowing it. No new root joins it then, and it ends with the last one that leaves.
"""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # at run time only in `join`: whether watchdog is as expected is the keeper's to find out
    from headgated.effects.watch.cookie import Cookie
    from headgated.effects.watch.reader import Reader

MOST = 24
"""So many readers of one linger are opened before any is shared."""

PROVED = 15.0
"""Seconds that one sign of life is enough for all who share a reader."""

Report = Callable[[str], None]


class Shared:
    """One reader, the cookie that proves it, and who is to be told when it is of no use any more.

    Raises:
        OSError: there can be none: too many instances, watches or open files, or it does not answer.
    """

    def __init__(self, linger: float) -> None:
        from headgated.effects.watch.cookie import Cookie  # noqa: PLC0415 - see above
        from headgated.effects.watch.reader import Reader  # noqa: PLC0415 - see above

        self.linger = linger
        self._proved_at = 0.0
        self.patience = PROVED
        self.reports: list[Report] = []
        self.spent = ""
        """Why nobody may join any more; empty while somebody may."""
        self._lock = threading.Lock()
        self.reader: Reader = Reader(self.spend)
        self.reader.start()
        try:
            self.cookie: Cookie = Cookie(self.reader)
        except OSError:
            self.reader.retire()
            raise
        if not self.cookie.alive():
            self.end()
            raise OSError("a new inotify reader does not answer")
        self.reader.linger = linger  # Only now: somebody waits for the answer.

    def admit(self, report: Report) -> bool:
        """Note who else is to be told; refuse where it is spent."""
        with self._lock:
            if self.spent:
                return False
            self.reports.append(report)
            self.reader.crowded = len(self.reports) > 1
            return True

    def dismiss(self, report: Report) -> bool:
        """Tell somebody nothing more; tell whether that was the last one, after whom nobody may join."""
        with self._lock:
            self.reports.remove(report)
            if not self.reports:
                self.spent = self.spent or "nobody uses it any more"
            return not self.reports

    def alive(self) -> bool:
        """Return whether events still come; where many share it, whether they did a moment ago. Everybody is told where they do not."""
        if self.reader.crowded and time.monotonic() - self._proved_at < self.patience:
            return True
        if self.cookie.alive():
            self._proved_at = time.monotonic()
            return True
        self.spend("the inotify reader gives no sign of life")
        return False

    def spend(self, why: str) -> None:
        """Tell everybody that it is of no use any more."""
        with self._lock:
            self.spent = self.spent or why
            reports = tuple(self.reports)
        for report in reports:
            report(why)

    def end(self) -> None:
        """Give everything back."""
        self.cookie.close()
        self.reader.retire()


class Readers:
    """The readers of all roots. Thread-safe."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._open: list[Shared] = []
        self._lock = threading.Lock()

    @property
    def users(self) -> int:
        """How many roots there are."""
        with self._lock:
            return sum(len(shared.reports) for shared in self._open)

    def join(self, report: Report, linger: float) -> Shared:
        """Return a reader of one's own, or the least crowded one where there are many or the kernel gives no more.

        Raises:
            OSError: as `Shared`.
        """
        with self._lock:
            alike = [shared for shared in self._open if shared.linger == linger and not shared.spent]
        alike.sort(key=lambda shared: len(shared.reports))
        if len(alike) < self._most:
            try:
                return self._own(report, linger)
            except OSError as error:
                if error.errno != errno.EMFILE or not alike:
                    raise
        for shared in alike:
            if shared.admit(report):
                return shared
        return self._own(report, linger)

    def leave(self, shared: Shared, report: Report, let_go: Callable[[], None]) -> None:
        """Leave a reader: what is watched is let go one by one, or at once with the reader where nobody else has it."""
        if shared.dismiss(report):
            with self._lock:
                self._open.remove(shared)
            shared.end()
        else:
            let_go()

    def _own(self, report: Report, linger: float) -> Shared:
        shared = Shared(linger)
        if not shared.admit(report):
            shared.end()
            raise OSError(f"a new inotify reader is of no use: {shared.spent}")
        with self._lock:
            self._open.append(shared)
        return shared
