"""Headgate's daemon and engine: watches sources of configuration and deploys them, all or nothing and reversibly.

The engine works without the daemon:

    from headgated import ConfigurationDeployer, EnvironmentType

    with ConfigurationDeployer("/var/lib/my-headgate") as deployer:
        deployer.create_environment("web", EnvironmentType.DEVELOPMENT, "/srv/web/conf", {"PORT": "8080"})
        deployment = deployer.deploy_configuration("web", ["/home/me/web.conf"])
        deployer.rollback_deployment(deployment.deployment_id)
"""

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
