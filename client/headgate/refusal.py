"""From what gRPC says to the client's errors: one table, for sync and async calls alike.

The daemon's details are preferred (`google.rpc.Status`: ErrorInfo with the reason, the hint and the paths, one a line; BadRequest
with the faults); the bare code and text do where there are none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from headgate.address import Address
from headgate.channel import grpc
from headgate.errors import (
    ConflictError,
    DamagedError,
    Fault,
    ForbiddenError,
    HeadgateError,
    InternalError,
    InvalidRequestError,
    LimitError,
    NotFoundError,
    RefusedError,
    TimedOutError,
    UnavailableError,
    UnreachableError,
)

DOMAIN = "headgate"
STOPPING = "STOPPING"

_CLASSES: Mapping[grpc.StatusCode, type[HeadgateError]] = {
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.ALREADY_EXISTS: RefusedError,
    grpc.StatusCode.FAILED_PRECONDITION: RefusedError,
    grpc.StatusCode.ABORTED: ConflictError,
    grpc.StatusCode.PERMISSION_DENIED: ForbiddenError,
    grpc.StatusCode.UNAUTHENTICATED: ForbiddenError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: LimitError,
    grpc.StatusCode.DATA_LOSS: DamagedError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
}
_INVALID = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE)
_GONE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


class Failure(Protocol):
    """What `grpc.RpcError` of a sync call and `grpc.aio.AioRpcError` have in common."""

    def code(self) -> grpc.StatusCode:
        """Return the status code."""

    def details(self) -> str | None:
        """Return the status text."""

    def trailing_metadata(self) -> Iterable[Any]:
        """Return the metadata that came with the status, as (key, value)."""


class Details:
    """The parts of `google.rpc.Status` that Headgate uses, empty where the daemon sent none."""

    def __init__(self) -> None:
        self.ours = False
        self.reason = ""
        self.hint = ""
        self.paths: tuple[str, ...] = ()
        self.omitted = 0
        self.faults_omitted = 0
        self.faults: tuple[Fault, ...] = ()

    @classmethod
    def of(cls, failure: Failure) -> Details:
        """Read the details of a failed call; what cannot be read counts as not sent."""
        found = cls()
        for key, value in failure.trailing_metadata() or ():
            if key == "grpc-status-details-bin" and isinstance(value, bytes):
                found._read(value)
        return found

    def _read(self, value: bytes) -> None:
        from google.protobuf.message import DecodeError  # noqa: PLC0415 -- only errors need these
        from google.rpc import (  # type: ignore[import-untyped] # noqa: PLC0415 -- generated without types
            error_details_pb2,
            status_pb2,
        )

        try:
            details = status_pb2.Status.FromString(value).details
        except DecodeError:
            return
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        for detail in details:
            if detail.Unpack(info) and info.domain == DOMAIN:
                self.ours, self.reason = True, info.reason
                self.hint = info.metadata.get("hint", "")
                self.paths = tuple(info.metadata.get("paths", "").splitlines())
                self.omitted = int(info.metadata.get("paths_omitted") or 0)
                self.faults_omitted = int(info.metadata.get("faults_omitted") or 0)
            elif detail.Unpack(bad):
                self.faults = tuple(Fault(each.field, each.description) for each in bad.field_violations)
        if self.faults_omitted and self.faults and not self.faults[-1].field:
            self.faults = self.faults[:-1]  # It says how many are left out.


def refusal(failure: Failure, what: str, address: Address) -> HeadgateError:
    """Return the error that a failed call means.

    Args:
        failure: what gRPC raised.
        what: what was asked for, as in "cannot {what}".
        address: where it was asked.
    """
    details, code, text = Details.of(failure), failure.code(), failure.details() or ""
    message = text if text.startswith("cannot ") else f"cannot {what}: {text or code.name}"
    if code in _INVALID:
        invalid = InvalidRequestError(
            what, details.faults, message=message, reason=details.reason, hint=details.hint
        )
        invalid.omitted = details.faults_omitted
        return invalid
    if code in _GONE and (not details.ours or details.reason == STOPPING):
        return _unreachable(text, what, address)
    if code == grpc.StatusCode.DEADLINE_EXCEEDED and not details.ours:
        return TimedOutError(
            f"cannot {what}: the daemon gave no answer in time",
            hint="see how it is: systemctl status headgated",
        )
    if code == grpc.StatusCode.UNIMPLEMENTED and not details.ours:
        return InternalError(
            f"cannot {what}: the daemon at {address.path} does not know how (is it older than this client?)",
            reason="UNIMPLEMENTED",
            hint="restart the daemon if it was upgraded: systemctl restart headgated",
        )
    kind = TimedOutError if code == grpc.StatusCode.DEADLINE_EXCEEDED else _CLASSES.get(code, InternalError)
    error = kind(
        message, reason=details.reason, hint=details.hint, paths=details.paths, faults=details.faults
    )
    error.omitted = details.faults_omitted if details.faults else details.omitted
    return error


def _unreachable(text: str, what: str, address: Address) -> HeadgateError:
    """Tell a daemon that was never reached from one that went away during the call."""
    if text.startswith("failed to connect"):
        return address.trouble(text.removeprefix("failed to connect to all addresses; last error: "))
    return UnreachableError(
        f"cannot {what}: the daemon at {address.path} went away during the call",
        address=address.path,
        there=True,
        hint="it may have been done: see headgate status and headgate deployments",
    )
