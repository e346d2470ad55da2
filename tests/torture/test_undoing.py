"""Found by the races: what a rollback of a rollback brought back does not stay behind when something older is undone."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.torture.trees import picture

from headgated import ConfigurationDeployer

pytestmark = pytest.mark.torture


def test_rollback_below_a_rolled_back_rollback_leaves_nothing_behind(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    (source / "a").write_text("a\n")
    with ConfigurationDeployer(tmp_path / "state") as deployer:
        deployer.create_environment("web", "testing", target, sources=[source])
        first = deployer.deploy_configuration("web")
        (source / "b").write_text("b\n")
        second = deployer.deploy_configuration("web")
        undo = deployer.rollback_deployment(second.deployment_id)
        deployer.rollback_deployment(undo.deployment_id)
        deployer.rollback_deployment(first.deployment_id, include_later=True)
        assert picture(target) == {}
