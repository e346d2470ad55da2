"""What can go wrong, as types: one small tree, whatever the transport.

Each error says what cannot be done and why (`message`), what to do (`hint`), and carries a stable `reason` for machines and
the paths concerned. `headgate.refusal` makes them from what gRPC says; the command line gives each class an exit code.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with one field of a request or file."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message

    def plain(self) -> Fault:
        """Return it with its field named as arguments and settings are, not as the request has it."""
        return Fault(self.field.removeprefix("environment."), self.message)


class HeadgateError(Exception):
    """Base of every error that the client raises on purpose.

    Attributes:
        message: "cannot X: why", for people.
        reason: UPPER_SNAKE_CASE, stable, for machines.
        hint: what to do about it; may be empty.
        paths: every path concerned, escaped for showing.
        faults: what is wrong with single fields of the request, or of the daemon's configuration.
        omitted: how many more paths there are than the daemon could send; where there are faults, how many more of those.
    """

    default_reason = "ERROR"

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        hint: str = "",
        paths: Iterable[str] = (),
        faults: Iterable[Fault] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.hint = hint
        self.paths = tuple(paths)
        self.faults = tuple(faults)
        self.omitted = 0


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
        self.what, every = what, tuple(faults)
        super().__init__(
            message or f"cannot {what}: {'; '.join(map(str, every))}", reason=reason, hint=hint, faults=every
        )


def refuse(what: str, faults: Iterable[Fault]) -> None:
    """Raise InvalidRequestError ("cannot `what`: ...") where there are faults."""
    if found := list(faults):
        raise InvalidRequestError(what, found)


@contextmanager
def told_together(what: str, faults: Sequence[Fault]) -> Iterator[None]:
    """Tell faults that are known before a request is made in one error with what the daemon finds besides.

    Within, ask the daemon only to check (`validate_only`); without faults this does nothing.

    Args:
        what: what is asked for, as in "cannot {what}".
        faults: what is known to be wrong.

    Raises:
        InvalidRequestError: all of it, once each, the fields named as arguments are.
    """
    if not faults:
        yield
        return
    invalid = InvalidRequestError(what, faults)
    try:
        yield
    except HeadgateError as error:
        invalid = InvalidRequestError(what, [*faults, *_besides(error, faults)])
        invalid.omitted = error.omitted if error.faults else 0
        raise invalid from error
    raise invalid


def _besides(error: HeadgateError, faults: Iterable[Fault]) -> Iterator[Fault]:
    """Yield what an error says is wrong besides faults of whose fields the daemon saw nothing."""
    known = {fault.field for fault in faults}
    if isinstance(error, NotFoundError | RefusedError):
        cannot, _, why = error.message.partition(": ")
        yield Fault("", why if cannot.startswith("cannot ") and why else error.message)
    for fault in map(Fault.plain, error.faults):
        if fault.field not in known:
            yield fault


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
