"""What can go wrong, as types.

Each error says what cannot be done and why (`message`), what to do (`hint`), and carries a stable `reason` for machines and
the paths concerned. The API maps each class to one gRPC code; records and logs carry the reason. No error text holds a secret.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with one field of a request or file."""

    field: str
    message: str


class HeadgateError(Exception):
    """Base of every error that Headgate raises on purpose.

    Attributes:
        reason: UPPER_SNAKE_CASE, stable, for machines.
        message: "cannot X: why", for people.
        hint: what to do about it; may be empty.
        paths: every path concerned, escaped for showing (see `core.paths.escape`).
        faults: what is wrong with single fields of a request or file.
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


class InvalidRequestError(HeadgateError):
    """The request cannot be right whatever the state is. Carries every fault, not only the first."""

    default_reason = "INVALID_ARGUMENT"

    def __init__(self, what: str, faults: Iterable[Fault], *, hint: str = "") -> None:
        self.what, every = what, tuple(faults)
        super().__init__(f"cannot {what}: {in_a_line(every)}", hint=hint, faults=every)


def in_a_line(faults: Iterable[Fault]) -> str:
    """Return faults as one line of text."""
    return "; ".join(f"{fault.field}: {fault.message}" for fault in faults)


class NotFoundError(HeadgateError):
    """There is no such environment or deployment."""

    default_reason = "NOT_FOUND"


class AlreadyExistsError(HeadgateError):
    """The name is taken."""

    default_reason = "ALREADY_EXISTS"


class RefusedError(HeadgateError):
    """Well formed, but refused in the present state; nothing was changed."""

    default_reason = "REFUSED"


class ConflictError(HeadgateError):
    """Somebody else was faster: the sequence or generation is not the expected one. Read again, then decide."""

    default_reason = "CONFLICT"


class ForbiddenError(HeadgateError):
    """The caller's role does not allow it."""

    default_reason = "PERMISSION_DENIED"


class LimitError(HeadgateError):
    """A limit is reached; later, or less of it, may work."""

    default_reason = "LIMIT_REACHED"


class UnavailableError(HeadgateError):
    """The daemon cannot do it now, for example because its state directory cannot be written."""

    default_reason = "UNAVAILABLE"


class DeploymentFailedError(HeadgateError):
    """A deployment did not succeed; the target is as it was before. Reasons are listed in docs/api.md."""

    default_reason = "DEPLOYMENT_FAILED"


class SourceMovedError(DeploymentFailedError):
    """A source changed while it was read; read it again."""

    default_reason = "SOURCE_MOVED"


class TargetMovedError(DeploymentFailedError):
    """The target changed between planning and applying; plan again."""

    default_reason = "TARGET_MOVED"


class HistoryDamagedError(HeadgateError):
    """History does not hold what it should: a content or tree is missing or is not what its digest says."""

    default_reason = "HISTORY_DAMAGED"


class RecordError(HeadgateError):
    """A record on disk cannot be read: cut, not JSON, of a newer schema."""

    default_reason = "RECORD_CORRUPT"
