"""Creates an environment, deploys to it, watches until that is finished, rolls it back, and deletes the environment.

HEADGATE_ADDRESS=unix:/run/headgate/headgate.sock python deploy.py NAME SOURCE TARGET
"""

from __future__ import annotations

import sys

from headgate import Client, HeadgateError
from headgate.errors import InvalidRequestError, RefusedError
from headgate.v1.deployment_pb2 import ConfigDeployment, DeploymentStatus


def show(deployment: ConfigDeployment) -> None:
    print(f"watched {deployment.deployment_id} {DeploymentStatus.Name(deployment.status)}")


def finish(client: Client, deployment: ConfigDeployment) -> None:
    done = client.wait_for_deployment(deployment.deployment_id, timeout=60, on_update=show)
    if done.status != DeploymentStatus.DEPLOYMENT_STATUS_SUCCESS:
        sys.exit(f"{done.deployment_id} did not succeed: {done.error.message}")


def main(name: str, source: str, target: str) -> None:
    with Client() as client:
        # Everything wrong with a request comes in one answer.
        try:
            client.create_environment(name, type="staging", config_path="relative", variables={"9": ""})
        except InvalidRequestError as error:
            print(f"refused {error.reason}")
            for fault in error.faults:
                print(f"fault {fault.field}: {fault.message}")

        client.create_environment(
            name,
            type="staging",
            config_path=target,
            sources=[source],
            variables={"LANGUAGE": "python"},
            auto_sync=False,
        )
        print(f"created {name}")
        deployed = client.deploy(name, reason="an example")
        finish(client, deployed)
        finish(client, client.rollback(deployed.deployment_id))

        # A refusal says why, and what to do.
        try:
            client.rollback(deployed.deployment_id)
        except RefusedError as error:
            print(f"refused {error.reason}\n  {error.message}\n  try: {error.hint}")

        client.delete_environment(name)
        print(f"deleted {name}")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:4])
    except HeadgateError as failure:
        sys.exit(f"{failure.message}\n  try: {failure.hint}")
