"""The calls of EnvironmentService."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import cast

from headgate.calls.call import Asked, Call, Stream, new_request_id, sized, whole
from headgate.settings import Draft, EnvironmentSettings, draft
from headgate.v1 import environment_pb2 as pb

_SERVICE = "/headgate.v1.EnvironmentService/"
LARGEST_PAGE = 1000


class Change(Asked, total=False):
    """What every request that changes an environment's settings may say."""

    validate_only: bool
    """Check only; nothing is saved."""
    expected_generation: int | None
    """ConflictError where the environment's generation is another (update only)."""


class Creation(EnvironmentSettings, Asked, total=False):
    """What create_environment takes beside the name."""

    validate_only: bool
    """Check only; nothing is saved."""


class Update(EnvironmentSettings, Change, total=False):
    """What update_environment takes beside the name."""


def create(name: str, wanted: Creation) -> Call[pb.CreateEnvironmentResponse, pb.Environment]:
    """CreateEnvironment."""
    made = _draft(name, wanted)
    request = pb.CreateEnvironmentRequest(
        environment=made.message,
        request_id=new_request_id(wanted),
        validate_only=wanted.get("validate_only", False) or bool(made.faults),
    )
    return Call(
        f"{_SERVICE}CreateEnvironment",
        request,
        pb.CreateEnvironmentResponse,
        lambda answer: answer.environment,
        f"create environment {name}",
        faults=made.faults,
    )


def get(name: str) -> Call[pb.GetEnvironmentResponse, pb.Environment]:
    """GetEnvironment."""
    return Call(
        f"{_SERVICE}GetEnvironment",
        pb.GetEnvironmentRequest(name=name),
        pb.GetEnvironmentResponse,
        lambda answer: answer.environment,
        f"read environment {name}",
    )


def page(token: str, size: int) -> Call[pb.ListEnvironmentsResponse, pb.ListEnvironmentsResponse]:
    """ListEnvironments, one page."""
    return Call(
        f"{_SERVICE}ListEnvironments",
        pb.ListEnvironmentsRequest(page_size=sized(size, "list environments"), page_token=token),
        pb.ListEnvironmentsResponse,
        lambda answer: answer,
        "list environments",
    )


def update(name: str, wanted: Update) -> Call[pb.UpdateEnvironmentResponse, pb.Environment]:
    """UpdateEnvironment: exactly the settings that are given, policies one by one."""
    made = _draft(name, wanted)
    expected = whole("expected_generation", wanted.get("expected_generation"), made.faults)
    request = pb.UpdateEnvironmentRequest(
        environment=made.message,
        request_id=new_request_id(wanted),
        expected_generation=None if made.faults else expected,
        validate_only=wanted.get("validate_only", False) or bool(made.faults),
    )
    request.update_mask.paths.extend(made.mask)
    return Call(
        f"{_SERVICE}UpdateEnvironment",
        request,
        pb.UpdateEnvironmentResponse,
        lambda answer: answer.environment,
        f"change environment {name}",
        faults=made.faults,
    )


def delete(name: str, asked: Asked, *, remove_target_files: bool) -> Call[pb.DeleteEnvironmentResponse, str]:
    """DeleteEnvironment; the value is the id of the deployment that removed the files, or empty."""
    return Call(
        f"{_SERVICE}DeleteEnvironment",
        pb.DeleteEnvironmentRequest(
            name=name, remove_target_files=remove_target_files, request_id=new_request_id(asked)
        ),
        pb.DeleteEnvironmentResponse,
        lambda answer: answer.deployment_id,
        f"delete environment {name}",
        at_least=60,
    )


def pause(
    name: str, asked: Asked, *, reason: str, until: datetime | None
) -> Call[pb.PauseEnvironmentResponse, pb.Environment]:
    """PauseEnvironment."""
    request = pb.PauseEnvironmentRequest(name=name, reason=reason, request_id=new_request_id(asked))
    if until is not None:
        request.until.FromDatetime(until.astimezone(UTC))
    return Call(
        f"{_SERVICE}PauseEnvironment",
        request,
        pb.PauseEnvironmentResponse,
        lambda answer: answer.environment,
        f"pause environment {name}",
    )


def resume(name: str, asked: Asked) -> Call[pb.ResumeEnvironmentResponse, pb.Environment]:
    """ResumeEnvironment."""
    return Call(
        f"{_SERVICE}ResumeEnvironment",
        pb.ResumeEnvironmentRequest(name=name, request_id=new_request_id(asked)),
        pb.ResumeEnvironmentResponse,
        lambda answer: answer.environment,
        f"resume environment {name}",
    )


def watch(name: str) -> Stream[pb.WatchEnvironmentsResponse]:
    """WatchEnvironments."""
    return Stream(
        f"{_SERVICE}WatchEnvironments",
        lambda revision: pb.WatchEnvironmentsRequest(name=name, from_revision=revision),
        pb.WatchEnvironmentsResponse,
        f"watch {name or 'environments'}",
    )


def _draft(name: str, wanted: Creation | Update) -> Draft:
    beside = {*Change.__annotations__, *Asked.__annotations__}
    return draft(
        name, {key: value for key, value in cast("Mapping[str, object]", wanted).items() if key not in beside}
    )
