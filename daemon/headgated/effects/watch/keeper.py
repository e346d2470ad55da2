"""The keeper of one source: a thread that looks after its watch, and does at intervals what events cannot.

It looks whether the root is still the directory that is watched, what is mounted there, whether events still come; opens a new
lookout when something is not as it was; tells "anything may have changed" at each scan and whenever something may have been
missed. It alone waits for the source's file system: where that hangs, one source goes blind, not all.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headgated.effects.watch.bell import Bell
from headgated.effects.watch.dispatch import Mailbox
from headgated.effects.watch.mounts import Mount, Mounts
from headgated.effects.watch.roots import Standing, look
from headgated.effects.watch.sharing import Readers
from headgated.effects.watch.state import Pace, WatchMode, WatchState, verdict
from headgated.effects.watch.timers import Backoff, Timers, spread

if TYPE_CHECKING:  # at run time only under trial, in `_open`: watchdog may not be as expected
    from headgated.effects.watch.lookout import Lookout

VERIFY_EVERY = 10
"""Once in so many scans the watches are compared with the directories that are there."""
EACH = 0.02
"""Seconds between the probes of two roots, so that a thousand are probed each 20 s and cost no more than a hundred."""
CALM = 60.0
"""Seconds without a new lookout after which the next one need not wait."""

_log = logging.getLogger("headgated.watch")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the keepers of all roots have in common."""

    mounts: Mounts
    readers: Readers
    clock: Callable[[], float]


class Keeper:
    """Keeps one root watched, from `start` to `stop`."""

    def __init__(
        self,
        root: str,
        mailbox: Mailbox,
        surroundings: Surroundings,
        on_state: Callable[[WatchState], None],
        pace: Pace,
        linger: float = 0.0,
        *,
        may_be_absent: bool = False,
    ) -> None:
        self._root = root
        self._linger, self._may_be_absent = linger, may_be_absent
        self._mailbox = mailbox
        self._mounts, self._readers = surroundings.mounts, surroundings.readers
        self._on_state = on_state
        self._pace = pace
        self._timers = Timers(surroundings.clock)
        self._renewals = Backoff(1.0, 10.0, free=3)
        self._retries = Backoff(pace.poll, 300.0)
        self._bell = Bell()
        self._begun = threading.Event()
        self._stopped = threading.Event()
        self._late = False
        self._failing = False
        self._standing = Standing(b"", None, "not looked at yet")
        self._around: tuple[Mount, ...] = ()
        self._lookout: Lookout | None = None
        self._refusal = ""
        self._hopeless = False
        self._repaced = False
        self._judged = (WatchMode.ABSENT, self._standing.problem)
        self._thread = threading.Thread(target=self._run, name="headgate-keeper", daemon=True)

    @property
    def state(self) -> WatchState:
        """How the root is watched now."""
        mode, message = self._judged
        lookout, box = self._lookout, self._mailbox
        return WatchState(
            self._root,
            mode,
            message,
            lookout.directories if lookout else 0,
            box.last_event_at,
            box.last_rescan_at,
        )

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def begun(self, patience: float) -> bool:
        """Wait until the watch is set up, at most `patience` seconds. If that is too short, its being set up will be told."""
        if threading.current_thread() is self._thread or self._begun.wait(patience):
            return True
        self._late = True
        if self._begun.is_set():
            self._mailbox.mark_all()
        return False

    def keep_pace(self, pace: Pace) -> None:
        """Go by another pace. A scan that is due later than it would be then comes sooner."""
        self._pace, self._repaced = pace, True
        self._bell.ring()

    def stop(self) -> None:
        """Tell nothing any more, and end soon."""
        self._mailbox.close()
        self._stopped.set()
        self._bell.ring()

    def join(self, patience: float) -> None:
        """Wait until the thread has ended, at most `patience` seconds: it may hang with the source's file system."""
        if threading.current_thread() is not self._thread:
            self._thread.join(patience)

    def _run(self) -> None:
        self._guarded(self._begin)
        self._begun.set()
        if self._late:
            self._mailbox.mark_all()
        while not self._stopped.is_set():
            self._bell.wait(self._timers.wait())
            self._guarded(self._tend)
        if self._lookout:
            self._lookout.close()

    def _guarded(self, step: Callable[[], None]) -> None:
        """Do one step. No error may end the thread; the unforeseen is logged once, rescanned for, and never spun on."""
        try:
            step()
            self._failing = False
        except Exception:  # noqa: BLE001  # see above
            if not self._failing:
                _log.exception("cannot look after %s as it should be", self._root)
            self._failing = True
            self._mailbox.mark_all()
            self._stopped.wait(1.0)

    def _begin(self) -> None:
        self._timers.set("probe", max(self._pace.probe, EACH * self._readers.users))
        self._timers.set("cookie", spread(self._pace.cookie, 0.5))
        self._timers.set("verify", spread(self._pace.scan * VERIFY_EVERY, 0.5))
        self._timers.set("scan", spread(self._pace.scan, 0.5))
        self._renew()
        self._judge()

    def _tend(self) -> None:
        if self._stopped.is_set():
            return
        lookout = self._lookout
        unrooted = lookout is not None and not lookout.rooted
        called = self._bell.take_look()
        if called or unrooted or self._timers.take("probe"):
            self._timers.set("probe", max(self._pace.probe, EACH * self._readers.users))
            self._probe(came=called)
        if lookout and lookout.trouble:
            self._want(lookout.trouble, logging.WARNING)
        if lookout:
            lookout.settle()
        self._do_what_is_due()
        self._judge()

    def _do_what_is_due(self) -> None:
        pace, timers = self._pace, self._timers
        if self._repaced:
            self._repaced = False
            timers.hasten("scan", spread(pace.scan))
        if timers.take("cookie"):
            timers.set("cookie", spread(pace.cookie))
            if self._lookout and not self._lookout.alive():
                self._want("the inotify reader gives no sign of life", logging.WARNING)
        if timers.take("renew"):
            timers.set("calm", CALM)
            self._renew()
        if timers.take("calm"):
            self._renewals.reset()
        if timers.take("retry"):
            timers.set("retry", spread(self._retries.next()))
            self._retry()
        if timers.take("verify"):
            timers.set("verify", spread(pace.scan * VERIFY_EVERY))
            if self._lookout and self._lookout.verify():
                self._mailbox.mark_all()
        if timers.take("scan"):
            timers.set("scan", spread(pace.poll if self._judged[0] is WatchMode.POLLING else pace.scan))
            self._mailbox.mark_all()

    def _probe(self, *, came: bool) -> None:
        """Look whether the root is what it was; where it `came`, it may have been away while what is in it was being watched."""
        standing = look(self._root)
        if standing != self._standing:
            before = self._standing.problem
            self._want(standing.problem or (f"before, {before}" if before else "it is another directory now"))
        elif self._lookout and not self._lookout.rooted:
            self._want("the directory was made anew")
        elif self._lookout:
            self._lookout.step()
            if (around := self._mounts.around(standing.real)) != self._around or came:
                self._around = around
                self._lookout.verify()
                self._mailbox.mark_all()

    def _want(self, why: str, level: int = logging.INFO) -> None:
        """Ask for a new lookout; at once, unless there were many of late. Until then scans have to do."""
        if not self._timers.running("renew"):
            self._timers.set("renew", self._renewals.next())
            self._mailbox.mark_all()
            _log.log(level, "looking at %s anew: %s", self._root, why)

    def _renew(self) -> None:
        """Open a new lookout, let the source be scanned, then close the old one."""
        old, first = self._lookout, not self._begun.is_set()
        self._standing = look(self._root)
        self._around = self._mounts.around(self._standing.real)
        self._lookout = self._open(self._standing)
        if not first:
            self._mailbox.mark_all()
        if old:
            old.close()
            if self._lookout and self._lookout.shortfall:
                self._lookout.verify()  # the old one's watches are free again
        if look(self._root) != self._standing:
            self._bell.look()

    def _open(self, standing: Standing) -> Lookout | None:
        """Open a lookout, or note why there can be none. Another version of watchdog is found out here, once."""
        if self._hopeless:
            return None
        try:
            from headgated.effects.watch.lookout import Lookout  # noqa: PLC0415  # the import is part of the trial

            lookout = Lookout(self._root, standing, self._mailbox, self._bell, self._readers, self._linger)
        except OSError as error:
            self._refusal = error.strerror or str(error)
            return None
        except Exception as error:  # noqa: BLE001  # whatever another version does instead
            self._refusal = f"watchdog is not as expected: {error!r}"
            self._hopeless = True
            return None
        self._refusal = ""
        return lookout

    def _retry(self) -> None:
        if not self._lookout:
            self._renew()
        elif self._lookout.shortfall:
            self._lookout.verify()
            self._mailbox.mark_all()

    def _judge(self) -> None:
        """Say how the root is watched, and let polling and retries follow from it."""
        shortfall = self._lookout.shortfall if self._lookout else ""
        eventless = (mount.kind for mount in self._around if mount.eventless)
        judged = verdict(self._standing.problem, self._refusal, shortfall, eventless, self._pace.poll)
        if judged[0] is WatchMode.POLLING and (self._refusal or shortfall):
            if not self._timers.running("retry"):
                self._timers.set("retry", spread(self._retries.next()))
        else:
            self._timers.drop("retry")
            self._retries.reset()
        if judged != self._judged or not self._begun.is_set():
            self._judged = judged
            self._announce(*judged)

    def _announce(self, mode: WatchMode, message: str) -> None:
        if mode is WatchMode.EVENTS:
            _log.info("watching %s, directories: %d", self._root, self.state.directories)
        elif mode is WatchMode.POLLING:
            self._timers.hasten("scan", spread(self._pace.poll))
            _log.warning("watching %s by polling: %s", self._root, message)
        else:
            ordinary = self._may_be_absent and not self._begun.is_set()
            _log.log(
                logging.INFO if ordinary else logging.WARNING, "not watching %s: %s", self._root, message
            )
        try:
            self._on_state(self.state)
        except Exception:  # noqa: BLE001  # not ours, and no reason to stop
            _log.exception("cannot tell that %s is watched by %s", self._root, mode)
