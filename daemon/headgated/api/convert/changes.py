"""Requests about environments as the engine takes them, with every fault of a request in one error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from headgate.v1 import environment_pb2 as wire
from headgated.api.convert.checks import Checks
from headgated.api.convert.patch import FIELDS, EnvironmentPatch, blank, read_patch
from headgated.core import environment as model
from headgated.core.errors import Fault, InvalidRequestError

_EVERYTHING = (*FIELDS, "policies")


@dataclass(frozen=True, slots=True)
class Update:
    """What an UpdateEnvironment asks for."""

    name: str
    change: EnvironmentPatch
    expected_generation: int | None


@dataclass(frozen=True, slots=True)
class PauseRequest:
    """What a PauseEnvironment asks for."""

    name: str
    reason: str
    until: datetime | None


def read_draft(request: wire.CreateEnvironmentRequest) -> model.Environment:
    """Read the environment that a request creates; its times mean nothing.

    Raises:
        InvalidRequestError: every fault of the request that can be told without looking at the world.
    """
    checks, message = Checks(), request.environment
    checks.request_id(request.request_id)
    draft = read_patch(checks, message, _EVERYTHING)(blank(message.name))
    checks.add_unless_known(_named(model.faults(draft), message.name), "environment.")
    checks.close(f"create environment {message.name:.63}".rstrip())
    return draft


def read_update(request: wire.UpdateEnvironmentRequest) -> Update:
    """Read what a request changes in an environment.

    Raises:
        InvalidRequestError: every fault of the request that can be told without the environment.
    """
    checks, message = Checks(), request.environment
    checks.request_id(request.request_id)
    if not request.update_mask.paths:
        checks.add("update_mask", "names no field to change")
    patch = read_patch(checks, message, request.update_mask.paths)
    checks.add_unless_known(_named(model.faults(patch(blank(message.name))), message.name), "environment.")
    checks.close(f"update environment {message.name:.63}".rstrip())
    expected = request.expected_generation if request.HasField("expected_generation") else None
    return Update(message.name, patch, expected)


def _named(faults: list[Fault], name: str) -> list[Fault]:
    """Say of a name that was not given that it is missing, not that it is ill-formed."""
    if name:
        return faults
    return [Fault("name", "is missing"), *(fault for fault in faults if fault.field != "name")]


@contextmanager
def fields_of_the_request() -> Iterator[None]:
    """Name what the engine finds wrong with an environment as the request does, where the environment is one field of several."""
    try:
        yield
    except InvalidRequestError as error:
        faults = [
            fault if fault.field == "request_id" else replace(fault, field=f"environment.{fault.field}")
            for fault in error.faults
        ]
        raise InvalidRequestError(error.what, faults, hint=error.hint) from error


def read_pause(request: wire.PauseEnvironmentRequest) -> PauseRequest:
    """Read a request to pause an environment.

    Raises:
        InvalidRequestError: every fault of the request.
    """
    checks = Checks()
    checks.request_id(request.request_id)
    name = checks.environment_name("name", request.name)
    reason = checks.words("reason", request.reason)
    until = checks.moment("until", request.until) if request.HasField("until") else None
    checks.close("pause the environment")
    return PauseRequest(name, reason, until)


def read_name(name: str, what: str, *, request_id: str = "") -> str:
    """Read the name of the environment that a request is about; `what` it asks for goes into the error.

    Raises:
        InvalidRequestError: the name or the request id cannot be right.
    """
    checks = Checks()
    checks.request_id(request_id)
    checks.environment_name("name", name)
    checks.close(what)
    return name
