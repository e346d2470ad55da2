"""The command line, run in this process against the fake daemon."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.client.fake_daemon import FakeDaemon

from headgate.cli.root import headgate
from headgate.v1 import environment_pb2 as ep


@dataclass
class Ran:
    """What a run printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Run:
    """Runs the command line: `run("env", "list")`."""

    socket: Path

    def __call__(self, *args: str, text: str | None = None, code: int = 0, **environ: str) -> Ran:
        settings = {"HEADGATE_ADDRESS": str(self.socket), "COLUMNS": "100", **environ}
        result = CliRunner().invoke(headgate, args, input=text, env=settings)
        ran = Ran(result.exit_code, result.stdout, result.stderr)
        assert ran.code == code, ran
        return ran


@pytest.fixture
def run(daemon: FakeDaemon) -> Run:
    return Run(daemon.socket)


@pytest.fixture
def canal(daemon: FakeDaemon) -> ep.Environment:
    """An environment that is there."""
    made = daemon.environments["canal"] = ep.Environment(
        name="canal",
        type=ep.ENVIRONMENT_TYPE_STAGING,
        config_path="/srv/canal",
        sources=["/src"],
        variables={"PORT": "80"},
        auto_sync=True,
        generation=4,
    )
    return made
