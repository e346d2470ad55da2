"""What Headgate keeps as JSON: one file for each environment and each deployment. docs/records.md tells their shape."""

from headgated.effects.records.deployments import Cursor, DeploymentStore
from headgated.effects.records.environments import EnvironmentStore
from headgated.effects.records.reading import SetAside
from headgated.effects.records.shapes import (
    decode_deployment,
    decode_environment,
    encode_deployment,
    encode_environment,
)

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
