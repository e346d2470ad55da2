"""Requests about deployments as the engine takes them: orders, with every fault of a request in one error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headgate.v1 import deployment_pb2 as wire
from headgated.api.convert import choices
from headgated.api.convert.checks import Checks
from headgated.core.deployment import ConfigDeployment, DeploymentStatus
from headgated.core.orders import AdoptOrder, DeployOrder, RestoreOrder, RollbackOrder, file_faults

_Asking = wire.DeployRequest | wire.RollbackRequest | wire.RestoreRequest | wire.AdoptDriftRequest


SHORTEST_CONFIRMATION, LONGEST_CONFIRMATION = 1, 7 * 86400
"""Seconds."""


@dataclass(frozen=True, slots=True)
class Page:
    """What a ListDeployments asks for."""

    environment: str
    page_size: int
    page_token: str
    statuses: frozenset[DeploymentStatus]


@dataclass(frozen=True, slots=True)
class Watch:
    """What a WatchDeployments asks for; empty names filter nothing."""

    environment: str
    deployment_id: str
    from_revision: int

    def wants(self, record: ConfigDeployment) -> bool:
        """Tell whether a deployment is one that was asked for; an id says all."""
        if self.deployment_id:
            return self.deployment_id == record.deployment_id
        return self.environment in ("", record.environment)


def read_deploy(request: wire.DeployRequest) -> DeployOrder:
    """Read a request to deploy.

    Raises:
        InvalidRequestError: every fault of the request.
    """
    checks = _asking(request)
    checks.environment_name("environment", request.environment)
    files = _files(checks, "config_files", request.config_files)
    confirm_within = 0.0
    if request.HasField("confirm_within"):
        # By its parts: what it is too long for raises in the library.
        confirm_within = request.confirm_within.seconds + request.confirm_within.nanos / 1e9
        if not SHORTEST_CONFIRMATION <= confirm_within <= LONGEST_CONFIRMATION:
            checks.add("confirm_within", "must be between 1 second and 7 days")
    checks.close("deploy")
    return DeployOrder(
        request.environment,
        files,
        reason=request.reason,
        on_behalf_of=request.on_behalf_of,
        allow_empty=request.allow_empty,
        allow_mass_removal=request.allow_mass_removal,
        confirm_within=confirm_within,
        expected_sequence=_expected_sequence(request),
        request_id=request.request_id,
    )


def read_rollback(request: wire.RollbackRequest) -> RollbackOrder:
    """Read a request to undo a deployment.

    Raises:
        InvalidRequestError: every fault of the request.
    """
    checks = _asking(request)
    checks.deployment_id("deployment_id", request.deployment_id)
    checks.close("roll back")
    return RollbackOrder(
        request.deployment_id,
        include_later=request.include_later,
        reason=request.reason,
        on_behalf_of=request.on_behalf_of,
        expected_sequence=_expected_sequence(request),
        request_id=request.request_id,
    )


def read_restore(request: wire.RestoreRequest) -> RestoreOrder:
    """Read a request to return to what a deployment left.

    Raises:
        InvalidRequestError: every fault of the request.
    """
    checks = _asking(request)
    checks.deployment_id("deployment_id", request.deployment_id)
    checks.close("restore")
    return RestoreOrder(
        request.deployment_id,
        reason=request.reason,
        on_behalf_of=request.on_behalf_of,
        expected_sequence=_expected_sequence(request),
        request_id=request.request_id,
    )


def read_adopt(request: wire.AdoptDriftRequest) -> AdoptOrder:
    """Read a request to take edits at a target over.

    Raises:
        InvalidRequestError: every fault of the request.
    """
    checks = _asking(request)
    checks.environment_name("environment", request.environment)
    paths = _files(checks, "paths", request.paths)
    checks.close("adopt")
    return AdoptOrder(
        request.environment,
        paths,
        reason=request.reason,
        on_behalf_of=request.on_behalf_of,
        expected_sequence=_expected_sequence(request),
        request_id=request.request_id,
    )


def _asking(request: _Asking) -> Checks:
    checks = Checks()
    checks.request_id(request.request_id)
    checks.words("reason", request.reason)
    checks.words("on_behalf_of", request.on_behalf_of)
    return checks


def _files(checks: Checks, field: str, names: Sequence[str]) -> tuple[str, ...]:
    files = checks.listed(field, names)
    checks.add_found(file_faults(field, files))
    return files


def _expected_sequence(request: _Asking) -> int | None:
    return request.expected_sequence if request.HasField("expected_sequence") else None


def read_plan(request: wire.PlanDeploymentRequest) -> tuple[str, tuple[str, ...]]:
    """Read which environment, and which files of it, to plan for.

    Raises:
        InvalidRequestError: every fault of the request.
    """
    checks = Checks()
    environment = checks.environment_name("environment", request.environment)
    files = _files(checks, "config_files", request.config_files)
    checks.close("plan a deployment")
    return environment, files


def read_deployment_id(value: str, what: str, *, request_id: str = "") -> str:
    """Read the id of the deployment that a request is about; `what` it asks for goes into the error.

    Raises:
        InvalidRequestError: the id or the request id cannot be right.
    """
    checks = Checks()
    checks.request_id(request_id)
    checks.deployment_id("deployment_id", value)
    checks.close(what)
    return value


def read_page(request: wire.ListDeploymentsRequest) -> Page:
    """Read which deployments to list.

    Raises:
        InvalidRequestError: every fault of the request.
    """
    checks, known = Checks(), choices.received(choices.STATUSES)
    if request.environment:
        checks.environment_name("environment", request.environment)
    size = checks.page_size(request.page_size, default=50, most=1000)
    token = checks.page_token(request.page_token)
    statuses = {checks.choice(f"statuses[{i}]", number, known) for i, number in enumerate(request.statuses)}
    checks.close("list deployments")
    return Page(request.environment, size, token, frozenset(status for status in statuses if status))


def read_watch(request: wire.WatchDeploymentsRequest) -> Watch:
    """Read which deployments to watch.

    Raises:
        InvalidRequestError: every fault of the request.
    """
    checks = Checks()
    if request.environment:
        checks.environment_name("environment", request.environment)
    if request.deployment_id:
        checks.deployment_id("deployment_id", request.deployment_id)
    checks.close("watch deployments")
    return Watch(request.environment, request.deployment_id, request.from_revision)
