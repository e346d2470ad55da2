"""Requests about environments as the engine takes them, with every fault of a request in one error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from headgate.v1 import environment_pb2 as wire
from headgated.api.convert.checks import Checks
from headgated.api.convert.patch import FIELDS, EnvironmentPatch, blank, read_patch
from headgated.core import environment as model
from headgated.core.errors import (
    AlreadyExistsError,
    Fault,
    HeadgateError,
    InvalidRequestError,
    NotFoundError,
)

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


def read_draft(checks: Checks, request: wire.CreateEnvironmentRequest) -> model.Environment:
    """Read the environment that a request creates; its times mean nothing.

    Every fault of the request that can be told without looking at the world goes to `checks`.
    """
    message = request.environment
    checks.request_id(request.request_id)
    checks.environment_name("environment.name", message.name)
    draft = read_patch(checks, message, _EVERYTHING)(blank(message.name))
    checks.add_found(_of_the_request(model.faults(draft)))
    return draft


def read_update(checks: Checks, request: wire.UpdateEnvironmentRequest) -> Update:
    """Read what a request changes in an environment.

    Every fault of the request that can be told without the environment goes to `checks`.
    """
    message = request.environment
    checks.request_id(request.request_id)
    checks.environment_name("environment.name", message.name)
    if not request.update_mask.paths:
        checks.add("update_mask", "names no field to change")
    patch = read_patch(checks, message, request.update_mask.paths)
    checks.add_found(_of_the_request(model.faults(patch(blank(message.name)))))
    expected = request.expected_generation if request.HasField("expected_generation") else None
    return Update(message.name, patch, expected)


@contextmanager
def every_fault(checks: Checks, what: str) -> Iterator[None]:
    """Tell what the engine finds wrong with a request's environment together with what reading the request found.

    The engine is asked for no more than its opinion where something is wrong already (`validate_only`): other errors than that there is
    no such environment, or is one already, do not matter then.

    Raises:
        InvalidRequestError: every fault there is, the fields named as the request does: the environment is one field of it.
        HeadgateError: the engine's, where reading found nothing wrong.
    """
    try:
        yield
    except InvalidRequestError as error:
        checks.add_found(_of_the_request(error.faults))
    except HeadgateError as error:
        error.faults = tuple(_of_the_request(error.faults))
        if not checks:
            raise
        checks.add_found(_of_the_request(_name_faults(error)))
        checks.add_found(error.faults)
    checks.close(what)


def _name_faults(error: HeadgateError) -> Iterator[Fault]:
    if isinstance(error, NotFoundError):
        yield Fault("name", "there is no such environment")
    if isinstance(error, AlreadyExistsError):
        yield Fault("name", "is taken: there is an environment of that name")


def _of_the_request(faults: Iterable[Fault]) -> Iterator[Fault]:
    return (replace(fault, field=f"environment.{fault.field}") for fault in faults)


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
