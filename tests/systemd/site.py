"""An environment in the machine, with its source and target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from headgate.v1.deployment_pb2 import ConfigDeployment

if TYPE_CHECKING:
    from tests.systemd.machine import Machine


@dataclass
class Site:
    """An environment `name` with one source and a target below /etc."""

    machine: Machine
    name: str

    @property
    def source(self) -> str:
        return f"/srv/sources/{self.name}"

    @property
    def target(self) -> str:
        return f"/etc/deployed/{self.name}"

    def edit(self, text: str, file: str = "app.conf") -> None:
        """Write a file of the source."""
        self.machine.write(f"{self.source}/{file}", text)

    def newest(self) -> ConfigDeployment:
        """Return the newest deployment; there is one."""
        with self.machine.client() as client:
            return next(iter(client.list_deployments(self.name)))

    def deployed(self, file: str = "app.conf") -> str:
        """Return a file of the target; empty where there is none."""
        try:
            return self.machine.read(f"{self.target}/{file}")
        except OSError:
            return ""
