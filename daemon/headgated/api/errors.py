"""The one table from Headgate's errors to gRPC's, and how much of an error fits into an answer.

Every status carries `google.rpc.Status` details: `ErrorInfo` (reason, domain, and as metadata the hint and the paths, one a
line), `BadRequest` with the faults of a request or of the configuration, `PreconditionFailure` for a refusal. They travel in HTTP/2 trailers, which
receivers limit: gRPC's clients reject answers at random from 8 KiB of them on. So what does not fit is counted, not sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from urllib.parse import quote

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import (  # type: ignore[import-untyped]
    BadRequest,
    ErrorInfo,
    PreconditionFailure,
)
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from grpc_status import rpc_status

from headgated.api.convert.values import shortened
from headgated.core import errors
from headgated.effects.known_secrets import hide

DOMAIN = "headgate"
_ROOM = 6500
_MESSAGE, _HINT, _FIELD, _FAULT = 900, 500, 200, 300

_CODES: dict[type[errors.HeadgateError], grpc.StatusCode] = {
    errors.HeadgateError: grpc.StatusCode.INTERNAL,
    errors.InvalidRequestError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFoundError: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExistsError: grpc.StatusCode.ALREADY_EXISTS,
    errors.RefusedError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ConflictError: grpc.StatusCode.ABORTED,
    errors.ForbiddenError: grpc.StatusCode.PERMISSION_DENIED,
    errors.LimitError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.UnavailableError: grpc.StatusCode.UNAVAILABLE,
    errors.DeploymentFailedError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.SourceMovedError: grpc.StatusCode.ABORTED,
    errors.TargetMovedError: grpc.StatusCode.ABORTED,
    errors.HistoryDamagedError: grpc.StatusCode.DATA_LOSS,
    errors.RecordError: grpc.StatusCode.DATA_LOSS,
}


def code_of(error: errors.HeadgateError) -> grpc.StatusCode:
    """Return the code of an error: that of its class, or of the nearest class above it that has one."""
    return next(_CODES[kind] for kind in type(error).__mro__ if kind in _CODES)


def status_of(error: errors.HeadgateError) -> grpc.Status:
    """Return the status that tells a client of an error."""
    message = shortened(hide(error.message), _MESSAGE)
    hint = shortened(hide(error.hint), _HINT)
    room = _ROOM - len(quote(message)) - len(message.encode()) - len(hint.encode())
    info = _info(error, hint, room)
    room -= len(info.metadata["paths"].encode()) if "paths" in info.metadata else 0
    details: list[Message] = [info]
    if error.faults or isinstance(error, errors.InvalidRequestError):
        request, omitted = _bad_request(error.faults, room)
        if omitted:
            info.metadata["faults_omitted"] = str(omitted)
        details.append(request)
    if isinstance(error, errors.RefusedError):
        details.append(_precondition(error))
    return _status(code_of(error), message, details)


def internal_status(log_id: str) -> grpc.Status:
    """Return the status for what nobody foresaw: nothing but where in the log to look."""
    info = ErrorInfo(reason="INTERNAL", domain=DOMAIN, metadata={"log_id": log_id})
    info.metadata["hint"] = "this is a fault of the daemon; its log says more under this id"
    return _status(grpc.StatusCode.INTERNAL, f"cannot answer: internal error (log id {log_id})", [info])


def _status(code: grpc.StatusCode, message: str, details: Iterable[Message]) -> grpc.Status:
    status = Status(code=code.value[0], message=message)
    for detail in details:
        packed = Any()
        packed.Pack(detail)
        status.details.append(packed)
    return rpc_status.to_status(status)


def _info(error: errors.HeadgateError, hint: str, room: int) -> ErrorInfo:
    info = ErrorInfo(reason=error.reason, domain=DOMAIN)
    if hint:
        info.metadata["hint"] = hint
    paths = list(_fitting((shortened(hide(path), _FIELD) for path in error.paths), room))
    if paths:
        info.metadata["paths"] = "\n".join(paths)
    if len(paths) < len(error.paths):
        info.metadata["paths_omitted"] = str(len(error.paths) - len(paths))
    return info


def _bad_request(faults: tuple[errors.Fault, ...], room: int) -> tuple[BadRequest, int]:
    """Return faults while there is room, and how many there are besides; the last one tells of those to whoever looks at nothing else."""
    shown = [
        (shortened(hide(fault.field), _FIELD), shortened(hide(fault.message), _FAULT)) for fault in faults
    ]
    count = len(list(_fitting((field + why for field, why in shown), room)))
    request = BadRequest()
    for field, why in shown[:count]:
        request.field_violations.add(field=field, description=why)
    omitted = len(faults) - count
    if omitted:
        request.field_violations.add(description=f"and {omitted} more, told when these are mended")
    return request, omitted


def _precondition(error: errors.HeadgateError) -> PreconditionFailure:
    failure = PreconditionFailure()
    subject = shortened(hide(error.paths[0]), _FIELD) if error.paths else ""
    what = shortened(hide(error.message), _FAULT)
    failure.violations.add(type=error.reason, subject=subject, description=what)
    return failure


def _fitting(texts: Iterable[str], room: int) -> Iterator[str]:
    """Yield texts while they fit into `room` bytes, each with what surrounds it."""
    for text in texts:
        room -= len(text.encode()) + 8
        if room < 0:
            return
        yield text
