from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import (  # type: ignore[import-untyped] # generated without types
    BadRequest,
    ErrorInfo,
    PreconditionFailure,
)
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped] # generated without types

from headgated.api.errors import code_of, internal_status, status_of
from headgated.core import errors

CODES = {
    "HeadgateError": "INTERNAL",
    "InvalidRequestError": "INVALID_ARGUMENT",
    "NotFoundError": "NOT_FOUND",
    "AlreadyExistsError": "ALREADY_EXISTS",
    "RefusedError": "FAILED_PRECONDITION",
    "ConflictError": "ABORTED",
    "ForbiddenError": "PERMISSION_DENIED",
    "LimitError": "RESOURCE_EXHAUSTED",
    "UnavailableError": "UNAVAILABLE",
    "DeploymentFailedError": "FAILED_PRECONDITION",
    "SourceMovedError": "ABORTED",
    "TargetMovedError": "ABORTED",
    "HistoryDamagedError": "DATA_LOSS",
    "RecordError": "DATA_LOSS",
}


def every_error(
    kind: type[errors.HeadgateError] = errors.HeadgateError,
) -> Iterator[type[errors.HeadgateError]]:
    yield kind
    for below in kind.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from every_error(below)


def made(kind: type[errors.HeadgateError]) -> errors.HeadgateError:
    if issubclass(kind, errors.InvalidRequestError):
        return kind("do it", [errors.Fault("name", "is wrong")])
    return kind("cannot do it: so it is", reason="SO_IT_IS", hint="wait", paths=["a", "b"])


def details(status: grpc.Status) -> Status:
    [raw] = [value for key, value in status.trailing_metadata or () if key == "grpc-status-details-bin"]
    return Status.FromString(raw)


def detail(status: grpc.Status, kind: type[Message]) -> Any:
    for packed in details(status).details:
        if packed.Is(kind.DESCRIPTOR):
            found = kind()
            packed.Unpack(found)
            return found
    return None


def test_errors_have_the_codes_of_the_table() -> None:
    assert {kind.__name__: code_of(made(kind)).name for kind in every_error()} == CODES


def test_error_of_a_new_class_has_the_code_of_the_class_above_it() -> None:
    class NewError(errors.ConflictError):
        pass

    assert code_of(NewError("cannot")) is grpc.StatusCode.ABORTED


@pytest.mark.parametrize("kind", list(every_error()))
def test_status_carries_what_the_error_knows(kind: type[errors.HeadgateError]) -> None:
    error = made(kind)
    status = status_of(error)
    info = detail(status, ErrorInfo)
    assert (status.code, status.details) == (code_of(error), error.message)
    assert details(status).message == error.message
    assert (info.reason, info.domain) == (error.reason, "headgate")
    if error.paths:
        assert dict(info.metadata) == {"hint": "wait", "paths": "a\nb"}


def test_status_of_an_invalid_request_names_every_fault() -> None:
    faults = [errors.Fault(f"field{n}", f"is wrong {n}") for n in range(40)]
    bad = detail(status_of(errors.InvalidRequestError("do it", faults)), BadRequest)
    assert [(one.field, one.description) for one in bad.field_violations] == [
        (f.field, f.message) for f in faults
    ]


@pytest.mark.parametrize("kind", [k for k in every_error() if not issubclass(k, errors.InvalidRequestError)])
def test_status_of_any_error_names_the_faults_that_it_carries(kind: type[errors.HeadgateError]) -> None:
    assert detail(status_of(kind("cannot: so it is")), BadRequest) is None
    status = status_of(kind("cannot: so it is", faults=[errors.Fault("line 4: settle.quite", "is unknown")]))
    [violation] = detail(status, BadRequest).field_violations
    assert (violation.field, violation.description) == ("line 4: settle.quite", "is unknown")


def test_status_of_a_refusal_has_its_precondition() -> None:
    failure = detail(
        status_of(errors.RefusedError("cannot: no", reason="NOT_NOW", paths=["x"])), PreconditionFailure
    )
    assert [(v.type, v.subject, v.description) for v in failure.violations] == [
        ("NOT_NOW", "x", "cannot: no")
    ]


ENORMOUS = {
    "faults": lambda: errors.InvalidRequestError("do it", [errors.Fault("f" * 999, "w" * 999)] * 5000),
    "small faults": lambda: errors.InvalidRequestError(
        "do it", [errors.Fault(f"f{n}", "w") for n in range(5000)]
    ),
    "faults and paths": lambda: errors.RefusedError(
        "cannot",
        paths=[f"some/path/{n}" for n in range(300)],
        faults=[errors.Fault(f"f{n}", "w" * 20) for n in range(5000)],
    ),
    "paths": lambda: errors.NotFoundError("cannot", paths=[f"some/path/{n}" for n in range(5000)]),
    "message": lambda: errors.RefusedError(
        "cannot: " + "ü€😀" * 5000, hint="ü€😀" * 5000, paths=["ü€😀" * 5000] * 50
    ),
}


@pytest.mark.parametrize("what", ENORMOUS)
def test_status_fits_into_what_receivers_accept(what: str) -> None:
    status = status_of(ENORMOUS[what]())
    raw = details(status).SerializeToString()
    assert len(quote(status.details)) + len(raw) < 7900
    assert len(base64.b64encode(raw)) < 16 * 1024


def test_status_counts_what_it_leaves_out() -> None:
    bad = detail(status_of(ENORMOUS["small faults"]()), BadRequest)
    shown = len(bad.field_violations) - 1
    assert shown > 50
    assert bad.field_violations[-1].description == f"and {5000 - shown} more, told when these are mended"
    assert detail(status_of(ENORMOUS["small faults"]()), ErrorInfo).metadata["faults_omitted"] == str(
        5000 - shown
    )
    info = detail(status_of(ENORMOUS["paths"]()), ErrorInfo)
    assert len(info.metadata["paths"].split("\n")) + int(info.metadata["paths_omitted"]) == 5000


def test_status_shows_bytes_that_are_no_text() -> None:
    status = status_of(errors.NotFoundError("cannot find caf\udce9", hint="\udcff", paths=["\udce9"]))
    assert status.details == r"cannot find caf\xe9"


def test_internal_status_says_nothing_but_where_to_look() -> None:
    status = internal_status("abc123")
    assert status.code is grpc.StatusCode.INTERNAL
    assert "abc123" in status.details
    assert detail(status, ErrorInfo).metadata["log_id"] == "abc123"
