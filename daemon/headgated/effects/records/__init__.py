"""What Headgate keeps as JSON: one file for each environment and each deployment. docs/records.md tells their shape."""

from headgated.effects.records.deployment_shape import decode_deployment, encode_deployment
from headgated.effects.records.deployments import DeploymentStore
from headgated.effects.records.environment_shape import decode_environment, encode_environment
from headgated.effects.records.environments import EnvironmentStore
from headgated.effects.records.index import Cursor
from headgated.effects.records.reading import SetAside

__all__ = [
    "Cursor",
    "DeploymentStore",
    "EnvironmentStore",
    "SetAside",
    "decode_deployment",
    "decode_environment",
    "encode_deployment",
    "encode_environment",
]
