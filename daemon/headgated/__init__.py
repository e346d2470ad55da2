"""Headgate's daemon and engine: watches sources of configuration and deploys them, all or nothing and reversibly.

The engine works without the daemon:

    from headgated import ConfigurationDeployer, EnvironmentType

    with ConfigurationDeployer("/var/lib/my-headgate") as deployer:
        deployer.create_environment("web", EnvironmentType.DEVELOPMENT, "/srv/web/conf", {"PORT": "8080"})
        deployment = deployer.deploy_configuration("web", ["/home/me/web.conf"])
        deployer.rollback_deployment(deployment.deployment_id)
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headgated.core.deployment import ConfigDeployment, DeploymentStatus
    from headgated.core.environment import Environment, EnvironmentType
    from headgated.engine.deployer import ConfigurationDeployer, deploy_configuration

__all__ = [
    "ConfigDeployment",
    "ConfigurationDeployer",
    "DeploymentStatus",
    "Environment",
    "EnvironmentType",
    "deploy_configuration",
]

_HOMES = {
    "ConfigDeployment": "headgated.core.deployment",
    "ConfigurationDeployer": "headgated.engine.deployer",
    "DeploymentStatus": "headgated.core.deployment",
    "Environment": "headgated.core.environment",
    "EnvironmentType": "headgated.core.environment",
    "deploy_configuration": "headgated.engine.deployer",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for: whoever needs one small module does not wait for the engine."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
