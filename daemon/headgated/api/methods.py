"""What each RPC takes: the one table of roles. An RPC that is not in it is refused.

Where a role has to hold is read from the request: on the environment that it names, on the daemon as a whole, or, for lists, status and
streams, anywhere: they show only what their reader may see.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from headgated.api.convert.choices import TYPES, received
from headgated.core.roles import Role

TypeOf = Callable[[str], str | None]
"""Returns the type of an environment; None where there is none of that name."""
Spot = tuple[str, str | None]
"""An environment's name and type."""

_TYPES = received(TYPES)
_DEPLOYMENT = re.compile(r"[a-z]+_([a-z0-9-]+)_\d+(?:_\d+)?")


@dataclass(frozen=True, slots=True)
class Rule:
    """What one RPC takes."""

    verb: str
    """What it does, as in "cannot ...: you are ..."."""
    role: Role | None
    """None: anybody who may connect."""
    spots: Callable[[Any, TypeOf], list[Spot]] | None = None
    """Returns, of a request, the environments on which the role has to hold; none: anywhere. None: on the daemon as a whole."""
    changes: bool = False
    """It may change something, so it is audited."""
    order: bool = False
    """It asks for a deployment, which waits by itself for its line of the audit log (`auditing.audited`)."""


def environment_of(deployment_id: str) -> str:
    """Return the environment that a deployment's id names; empty where it is no such id."""
    match = _DEPLOYMENT.fullmatch(deployment_id)
    return match[1] if match else ""


def _anywhere(_request: object, _type_of: TypeOf) -> list[Spot]:
    return []


def _named(name: str, type_of: TypeOf) -> list[Spot]:
    return [(name, type_of(name))] if name else []


def _name(request: Any, type_of: TypeOf) -> list[Spot]:  # noqa: ANN401 - any message with that field; here and below
    return _named(request.name, type_of)


def _environment(request: Any, type_of: TypeOf) -> list[Spot]:  # noqa: ANN401
    return _named(request.environment, type_of)


def _deployment(request: Any, type_of: TypeOf) -> list[Spot]:  # noqa: ANN401
    return _named(environment_of(request.deployment_id), type_of)


def _watched(request: Any, type_of: TypeOf) -> list[Spot]:  # noqa: ANN401
    return _deployment(request, type_of) or _environment(request, type_of)


def _created(request: Any, _type_of: TypeOf) -> list[Spot]:  # noqa: ANN401
    wanted = request.environment
    return [(wanted.name, _TYPES.get(wanted.type))]


def _updated(request: Any, type_of: TypeOf) -> list[Spot]:  # noqa: ANN401
    """Both what it is and what it would be: nobody may move an environment out of their own reach, or out of another's."""
    name, wanted = request.environment.name, _TYPES.get(request.environment.type)
    return [*_named(name, type_of), *([(name, wanted)] if wanted else [])]


_ENVIRONMENTS, _DEPLOYMENTS = "/headgate.v1.EnvironmentService/", "/headgate.v1.DeploymentService/"
_DAEMON = "/headgate.v1.DaemonService/"
_READER, _DEPLOYER, _ADMIN = Role.READER, Role.DEPLOYER, Role.ADMIN

RULES: dict[str, Rule] = {
    _ENVIRONMENTS + "CreateEnvironment": Rule("create the environment", _ADMIN, _created, changes=True),
    _ENVIRONMENTS + "GetEnvironment": Rule("get the environment", _READER, _name),
    _ENVIRONMENTS + "ListEnvironments": Rule("list environments", _READER, _anywhere),
    _ENVIRONMENTS + "UpdateEnvironment": Rule("change the environment", _ADMIN, _updated, changes=True),
    _ENVIRONMENTS + "DeleteEnvironment": Rule("delete the environment", _ADMIN, _name, changes=True),
    _ENVIRONMENTS + "ResumeEnvironment": Rule("resume the environment", _DEPLOYER, _name, changes=True),
    _ENVIRONMENTS + "PauseEnvironment": Rule("pause the environment", _DEPLOYER, _name, changes=True),
    _ENVIRONMENTS + "WatchEnvironments": Rule("watch environments", _READER, _name),
    _DEPLOYMENTS + "Deploy": Rule("deploy", _DEPLOYER, _environment, changes=True, order=True),
    _DEPLOYMENTS + "PlanDeployment": Rule("plan a deployment", _DEPLOYER, _environment),
    _DEPLOYMENTS + "Rollback": Rule("roll back", _DEPLOYER, _deployment, changes=True, order=True),
    _DEPLOYMENTS + "Restore": Rule("restore", _DEPLOYER, _deployment, changes=True, order=True),
    _DEPLOYMENTS + "AdoptDrift": Rule("adopt drift", _DEPLOYER, _environment, changes=True, order=True),
    _DEPLOYMENTS + "GetDeployment": Rule("get the deployment", _READER, _deployment),
    _DEPLOYMENTS + "ListDeployments": Rule("list deployments", _READER, _environment),
    _DEPLOYMENTS + "CancelDeployment": Rule("cancel the deployment", _DEPLOYER, _deployment, changes=True),
    _DEPLOYMENTS + "ConfirmDeployment": Rule("confirm the deployment", _DEPLOYER, _deployment, changes=True),
    _DEPLOYMENTS + "ExportDeployment": Rule("export the deployment", _DEPLOYER, _deployment),
    _DEPLOYMENTS + "WatchDeployments": Rule("watch deployments", _READER, _watched),
    _DAEMON + "GetStatus": Rule("read the status", _READER, _anywhere),
    _DAEMON + "Reload": Rule("reload the configuration", _ADMIN, changes=True),
    _DAEMON + "VerifyHistory": Rule("verify history", _ADMIN),
    _DAEMON + "CollectHistory": Rule("collect history", _ADMIN, changes=True),
    _DAEMON + "VerifyAudit": Rule("verify the audit log", _ADMIN),
    _DAEMON + "ListAudit": Rule("read the audit log", _ADMIN),
    # Says no more than whether the daemon serves: probes ask it that have no role.
    "/grpc.health.v1.Health/Check": Rule("check the health", None),
    "/grpc.health.v1.Health/List": Rule("check the health", None),
    "/grpc.health.v1.Health/Watch": Rule("watch the health", None),
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Rule(
        "read the protocol", _READER, _anywhere
    ),
}
