"""How often a call is made again, and when a watch is continued. Pure: time comes in, pauses go out.

Every call may be repeated (reads change nothing, the others carry a request id), so what decides is only whether it makes
sense: a daemon that was there and went away is probably restarting; one that was never there is not waited for.
"""

from __future__ import annotations

from headgate.errors import ConflictError, HeadgateError, TimedOutError, UnreachableError

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 0.5


class Pauses:
    """Growing pauses, in seconds."""

    def __init__(self) -> None:
        self._next = _FIRST_PAUSE

    def take(self) -> float:
        """Return the pause to make now."""
        pause, self._next = self._next, min(self._next * 2, _LONGEST_PAUSE)
        return pause

    def reset(self) -> None:
        """Begin with short ones again."""
        self._next = _FIRST_PAUSE


class Repeating:
    """Decides about one call.

    Args:
        deadline: when the caller wants an answer, on the clock that `after` is given.
        met: whether this client has had an answer from the daemon before.
    """

    def __init__(self, deadline: float, *, met: bool) -> None:
        self._deadline, self._met = deadline, met
        self._pauses = Pauses()

    def after(self, failure: HeadgateError, now: float) -> float:
        """Return how long to wait before the call is made again.

        Raises:
            HeadgateError: the failure itself, where making it again makes no sense or there is no time left.
        """
        if not isinstance(failure, UnreachableError):
            raise failure
        self._met = self._met or failure.there
        pause = self._pauses.take()
        if not self._met or now + pause >= self._deadline:
            raise failure
        return pause


class Continuation:
    """Decides about one watch, which is made of streams: where the next one continues, and after what pause.

    A stream ends with the daemon, with its own deadline, or when the watcher was too slow. The next one continues after the
    last revision seen; where the daemon does not remember that any more, it begins with the present state.

    Args:
        revision: what the first stream continues after; 0: it begins with the present state.
    """

    def __init__(self, revision: int = 0) -> None:
        self.revision = revision
        """What the next stream continues after; 0: it begins with the present state."""
        self._progress = False
        self._met = False
        self._pauses = Pauses()

    def seen(self, revision: int) -> None:
        """Note an answer of the stream."""
        self.revision = max(self.revision, revision)
        self._progress = self._met = True
        self._pauses.reset()

    def after(self, failure: HeadgateError | None) -> float:
        """Return how long to wait before the next stream is begun.

        Args:
            failure: what ended the stream; None: the daemon ended it in good order.

        Raises:
            HeadgateError: the failure itself, where the watch cannot go on.
        """
        progress, self._progress = self._progress, False
        if failure is not None and not self._continues(failure, progress=progress):
            raise failure
        if isinstance(failure, ConflictError):
            self.revision = 0
        return 0.0 if isinstance(failure, TimedOutError) else self._pauses.take()

    def _continues(self, failure: HeadgateError, *, progress: bool) -> bool:
        match failure:
            case TimedOutError():
                return self._met
            case ConflictError():
                return progress or self.revision > 0
            case UnreachableError():
                self._met = self._met or failure.there
                return self._met
        return False


def no_answer(what: str, seconds: float) -> TimedOutError:
    """Return the error of a stream that does not begin."""
    return TimedOutError(
        f"cannot {what}: the daemon gave no answer within {seconds:g} s",
        hint="see how it is: systemctl status headgated",
    )


def still_running(deployment_id: str, seconds: float) -> TimedOutError:
    """Return the error of a deployment that is not finished in time."""
    return TimedOutError(
        f"cannot see {deployment_id} finish: it still runs after {seconds:g} s",
        hint=f"it goes on; look again: headgate show {deployment_id}",
    )


def closed(what: str, address: str) -> UnreachableError:
    """Return the error of a call by a client that was closed, before or during it."""
    return UnreachableError(
        f"cannot {what}: this client is closed",
        address=address,
        reason="CLIENT_CLOSED",
        hint="make a new one, or call within its `with` block",
    )
