"""The client's errors as what gRPC says, for a daemon that has no other errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

import grpc
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped] # generated without types
from grpc_status import rpc_status

from headgate.errors import (
    ConflictError,
    DamagedError,
    ForbiddenError,
    HeadgateError,
    InvalidRequestError,
    LimitError,
    NotFoundError,
    RefusedError,
    TimedOutError,
    UnavailableError,
    UnreachableError,
)
from headgate.refusal import DOMAIN

_CODES: Mapping[type[HeadgateError], grpc.StatusCode] = {
    InvalidRequestError: grpc.StatusCode.INVALID_ARGUMENT,
    NotFoundError: grpc.StatusCode.NOT_FOUND,
    RefusedError: grpc.StatusCode.FAILED_PRECONDITION,
    ConflictError: grpc.StatusCode.ABORTED,
    ForbiddenError: grpc.StatusCode.PERMISSION_DENIED,
    LimitError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    DamagedError: grpc.StatusCode.DATA_LOSS,
    UnavailableError: grpc.StatusCode.UNAVAILABLE,
    UnreachableError: grpc.StatusCode.UNAVAILABLE,
    TimedOutError: grpc.StatusCode.DEADLINE_EXCEEDED,
}


def abort(context: grpc.ServicerContext, error: HeadgateError) -> NoReturn:
    """End a call with an error, details and all."""
    code = _CODES.get(type(error), grpc.StatusCode.INTERNAL)
    if error.reason == "ENVIRONMENT_EXISTS":
        code = grpc.StatusCode.ALREADY_EXISTS
    status = status_pb2.Status(code=code.value[0], message=error.message)
    for detail in _details(error):
        packed = Packed()
        packed.Pack(detail)
        status.details.append(packed)
    context.abort_with_status(rpc_status.to_status(status))
    raise AssertionError("abort_with_status raises")  # pragma: no cover


def _details(error: HeadgateError) -> list[Message]:
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN)
    if error.hint:
        info.metadata["hint"] = error.hint
    if error.paths:
        info.metadata["paths"] = "\n".join(error.paths)
    details: list[Message] = [info]
    if error.faults or isinstance(error, InvalidRequestError):
        bad = error_details_pb2.BadRequest()
        for fault in error.faults:
            bad.field_violations.add(field=fault.field, description=fault.message)
        details.append(bad)
    return details
