"""What can go wrong, as types: one small tree, whatever the transport.

Each error says what cannot be done and why (`message`), what to do (`hint`), and carries a stable `reason` for machines and
the paths concerned. `headgate.refusal` makes them from what gRPC says; the command line gives each class an exit code.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


class HeadgateError(Exception):
    """Base of every error that the client raises on purpose.

    Attributes:
        message: "cannot X: why", for people.
        reason: UPPER_SNAKE_CASE, stable, for machines.
        hint: what to do about it; may be empty.
        paths: every path concerned, escaped for showing.
        omitted: how many more there are than the daemon could send; of an InvalidRequestError, how many more faults.
    """

    default_reason = "ERROR"

    def __init__(self, message: str, *, reason: str = "", hint: str = "", paths: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.hint = hint
        self.paths = tuple(paths)
        self.omitted = 0


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with one field of a request or file."""

    field: str
    message: str


class InvalidRequestError(HeadgateError):
    """The request cannot be right whatever the state is. Carries every fault, not only the first.

    Attributes:
        what: what was asked for, as in "cannot {what}".
        faults: all of them, but for `omitted`; where there is none, `message` says it all.
    """

    default_reason = "INVALID_ARGUMENT"

    def __init__(
        self, what: str, faults: Iterable[Fault] = (), *, message: str = "", reason: str = "", hint: str = ""
    ) -> None:
        self.what = what
        self.faults = tuple(faults)
        why = "; ".join(f"{fault.field}: {fault.message}" for fault in self.faults)
        super().__init__(message or f"cannot {what}: {why}", reason=reason, hint=hint)


class NotFoundError(HeadgateError):
    """There is no such environment or deployment."""

    default_reason = "NOT_FOUND"


class RefusedError(HeadgateError):
    """Well formed, but refused in the present state (or the name is taken); nothing was changed."""

    default_reason = "REFUSED"


class ConflictError(HeadgateError):
    """Somebody else was faster: the sequence or generation is not the expected one. Read again, then decide."""

    default_reason = "CONFLICT"


class ForbiddenError(HeadgateError):
    """The caller's role does not allow it, or the caller may not open the socket."""

    default_reason = "PERMISSION_DENIED"


class LimitError(HeadgateError):
    """A limit is reached; later, or less of it, may work."""

    default_reason = "LIMIT_REACHED"


class UnavailableError(HeadgateError):
    """The daemon answered that it cannot do it now, for example because its state directory cannot be written."""

    default_reason = "UNAVAILABLE"


class UnreachableError(HeadgateError):
    """No daemon answers at the address.

    Attributes:
        address: the address that was tried.
        there: somebody listens at the address, or did when the call began: it makes sense to try again.
    """

    default_reason = "DAEMON_NOT_REACHABLE"

    def __init__(
        self, message: str, *, address: str, there: bool = False, reason: str = "", hint: str = ""
    ) -> None:
        super().__init__(message, reason=reason, hint=hint)
        self.address = address
        self.there = there


class TimedOutError(HeadgateError):
    """No answer, or no end, within the time given. What was asked for may still happen."""

    default_reason = "TIMED_OUT"


class DamagedError(HeadgateError):
    """What the daemon keeps on disk is damaged: history lacks a content, or a record cannot be read. `message` names it."""

    default_reason = "DATA_LOSS"


class InternalError(HeadgateError):
    """The daemon failed in a way nobody foresaw, or gave an answer that makes no sense."""

    default_reason = "INTERNAL"
