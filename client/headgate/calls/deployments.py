"""The calls of DeploymentService."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration

from headgate.calls.call import LARGEST_NUMBER, Asked, Call, Stream, new_request_id, whole
from headgate.errors import Fault, refuse
from headgate.v1 import deployment_pb2 as pb
from headgate.words import numbers

_SERVICE = "/headgate.v1.DeploymentService/"
_PLAN_SECONDS = 120.0
_EXPORT_SECONDS = 3600.0
_RUNNING = (pb.DEPLOYMENT_STATUS_PENDING, pb.DEPLOYMENT_STATUS_IN_PROGRESS)


class Order(Asked, total=False):
    """What every request for a deployment may say."""

    reason: str
    """Kept in the record; not checked."""
    on_behalf_of: str
    """On whose behalf the caller acts; kept in the record, not checked."""
    expected_sequence: int | None
    """ConflictError where the environment's newest deployment has another sequence."""


class DeployOrder(Order, total=False):
    """What deploy takes beside the environment and the files."""

    allow_empty: bool
    """Deploy although the sources hold no file at all."""
    allow_mass_removal: bool
    """Deploy although more than half of at least ten managed files would be removed."""
    confirm_within: float | None
    """Seconds after its success in which it has to be confirmed (`confirm_deployment`); otherwise it is rolled back by itself."""


class RollbackOrder(Order, total=False):
    """What rollback takes beside the id."""

    include_later: bool
    """Undo every later deployment of the environment as well."""


def deploy(
    environment: str, config_files: Iterable[str], order: DeployOrder
) -> Call[pb.DeployResponse, pb.ConfigDeployment]:
    """Deploy."""
    what, faults = f"deploy {environment}", list[Fault]()
    request = pb.DeployRequest(
        environment=environment,
        config_files=_files(config_files, faults),
        allow_empty=order.get("allow_empty", False),
        allow_mass_removal=order.get("allow_mass_removal", False),
        confirm_within=_duration(order.get("confirm_within"), faults),
        **_said(order, faults),
    )
    refuse(what, faults)
    return Call(f"{_SERVICE}Deploy", request, pb.DeployResponse, lambda answer: answer.deployment, what)


def plan(
    environment: str, config_files: Iterable[str], *, diff: bool
) -> Call[pb.PlanDeploymentResponse, pb.PlanDeploymentResponse]:
    """PlanDeployment."""
    what, faults = f"plan {environment}", list[Fault]()
    request = pb.PlanDeploymentRequest(
        environment=environment, config_files=_files(config_files, faults), no_diff=not diff
    )
    refuse(what, faults)
    return Call(
        f"{_SERVICE}PlanDeployment",
        request,
        pb.PlanDeploymentResponse,
        lambda answer: answer,
        what,
        at_least=_PLAN_SECONDS,
    )


def rollback(deployment_id: str, order: RollbackOrder) -> Call[pb.RollbackResponse, pb.ConfigDeployment]:
    """Rollback."""
    what, faults = f"roll back {deployment_id}", list[Fault]()
    request = pb.RollbackRequest(
        deployment_id=deployment_id,
        include_later=order.get("include_later", False),
        **_said(order, faults),
    )
    refuse(what, faults)
    return Call(f"{_SERVICE}Rollback", request, pb.RollbackResponse, lambda answer: answer.deployment, what)


def restore(deployment_id: str, order: Order) -> Call[pb.RestoreResponse, pb.ConfigDeployment]:
    """Restore."""
    what, faults = f"restore {deployment_id}", list[Fault]()
    request = pb.RestoreRequest(deployment_id=deployment_id, **_said(order, faults))
    refuse(what, faults)
    return Call(f"{_SERVICE}Restore", request, pb.RestoreResponse, lambda answer: answer.deployment, what)


def adopt(
    environment: str, paths: Iterable[str], order: Order
) -> Call[pb.AdoptDriftResponse, pb.ConfigDeployment]:
    """AdoptDrift."""
    what, faults = f"adopt {environment}", list[Fault]()
    request = pb.AdoptDriftRequest(
        environment=environment, paths=_files(paths, faults, "paths"), **_said(order, faults)
    )
    refuse(what, faults)
    return Call(
        f"{_SERVICE}AdoptDrift", request, pb.AdoptDriftResponse, lambda answer: answer.deployment, what
    )


def get(deployment_id: str) -> Call[pb.GetDeploymentResponse, pb.ConfigDeployment]:
    """GetDeployment."""
    return Call(
        f"{_SERVICE}GetDeployment",
        pb.GetDeploymentRequest(deployment_id=deployment_id),
        pb.GetDeploymentResponse,
        lambda answer: answer.deployment,
        f"read deployment {deployment_id}",
    )


def page(
    environment: str, statuses: Iterable[str], token: str, size: int
) -> Call[pb.ListDeploymentsResponse, pb.ListDeploymentsResponse]:
    """ListDeployments, one page."""
    known = numbers(pb.DeploymentStatus)
    wanted = [status.lower() for status in statuses]
    faults = [
        Fault("statuses", f"must be of {', '.join(known)} (got {each!r:.80})")
        for each in wanted
        if each not in known
    ]
    number = whole("page_size", size, faults, LARGEST_NUMBER)
    refuse("list deployments", faults)
    request = pb.ListDeploymentsRequest(environment=environment, page_size=number or 0, page_token=token)
    request.statuses.extend(pb.DeploymentStatus.Value(f"DEPLOYMENT_STATUS_{each.upper()}") for each in wanted)
    return Call(
        f"{_SERVICE}ListDeployments",
        request,
        pb.ListDeploymentsResponse,
        lambda answer: answer,
        "list deployments",
    )


def cancel(deployment_id: str, asked: Asked) -> Call[pb.CancelDeploymentResponse, pb.ConfigDeployment]:
    """CancelDeployment."""
    return Call(
        f"{_SERVICE}CancelDeployment",
        pb.CancelDeploymentRequest(deployment_id=deployment_id, request_id=new_request_id(asked)),
        pb.CancelDeploymentResponse,
        lambda answer: answer.deployment,
        f"cancel deployment {deployment_id}",
    )


def confirm(deployment_id: str, asked: Asked) -> Call[pb.ConfirmDeploymentResponse, pb.ConfigDeployment]:
    """ConfirmDeployment."""
    return Call(
        f"{_SERVICE}ConfirmDeployment",
        pb.ConfirmDeploymentRequest(deployment_id=deployment_id, request_id=new_request_id(asked)),
        pb.ConfirmDeploymentResponse,
        lambda answer: answer.deployment,
        f"confirm deployment {deployment_id}",
    )


def export(deployment_id: str) -> Stream[pb.ExportDeploymentResponse]:
    """ExportDeployment."""
    return Stream(
        f"{_SERVICE}ExportDeployment",
        lambda _revision: pb.ExportDeploymentRequest(deployment_id=deployment_id),
        pb.ExportDeploymentResponse,
        f"export {deployment_id}",
        seconds=_EXPORT_SECONDS,
    )


def is_finished(event: pb.WatchDeploymentsResponse) -> bool:
    """Tell whether a message of a watch says that a deployment is finished."""
    return event.HasField("deployment") and event.deployment.status not in _RUNNING


def watch(environment: str, deployment_id: str) -> Stream[pb.WatchDeploymentsResponse]:
    """WatchDeployments."""
    return Stream(
        f"{_SERVICE}WatchDeployments",
        lambda revision: pb.WatchDeploymentsRequest(
            environment=environment, deployment_id=deployment_id, from_revision=revision
        ),
        pb.WatchDeploymentsResponse,
        f"watch {deployment_id or environment or 'deployments'}",
    )


def _said(order: Order, faults: list[Fault]) -> dict[str, Any]:
    """Return the fields that every request for a deployment has."""
    return {
        "reason": order.get("reason", ""),
        "on_behalf_of": order.get("on_behalf_of", ""),
        "request_id": new_request_id(order),
        "expected_sequence": whole("expected_sequence", order.get("expected_sequence"), faults),
    }


def _files(files: Iterable[str], faults: list[Fault], field: str = "config_files") -> list[str]:
    """Return files as a list; one text is a mistake, which would be sent letter by letter."""
    if isinstance(files, str):
        faults.append(Fault(field, "must be a list of texts"))
        return []
    return list(files)


def _duration(seconds: float | None, faults: list[Fault]) -> Duration | None:
    if seconds is None:
        return None
    duration = Duration()
    try:
        duration.FromTimedelta(timedelta(seconds=seconds))
    except (OverflowError, ValueError):
        faults.append(Fault("confirm_within", f"must be a number of seconds (got {seconds})"))
    return duration
