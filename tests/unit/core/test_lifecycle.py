"""The only ways from one status to the next."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from headgated.core import lifecycle
from headgated.core.deployment import ConfigDeployment, DeploymentError, DeploymentKind, DeploymentStatus
from headgated.core.errors import RefusedError

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PENDING = ConfigDeployment("d1", "web", DeploymentKind.DEPLOY, DeploymentStatus.PENDING, 1, NOW, "me")


def test_way_to_success_and_rollback() -> None:
    done = lifecycle.succeed(lifecycle.start(PENDING, NOW), NOW)
    assert (done.status, done.started_at, done.finished_at) == (DeploymentStatus.SUCCESS, NOW, NOW)
    undone = lifecycle.undo(done, "r1", NOW)
    assert undone.status == DeploymentStatus.ROLLED_BACK
    assert undone.rollback_info is not None
    assert undone.rollback_info.rolled_back_by == "r1"
    assert lifecycle.undo(undone, "r2", NOW) is undone, "doing it again changes nothing"


def test_failed_one_that_was_applied_is_marked_as_taken_back() -> None:
    running = replace(lifecycle.start(PENDING, NOW), applied_at=NOW)
    failed = lifecycle.fail(running, DeploymentError("HEALTH_FAILED", "why"), NOW)
    undone = lifecycle.undo(failed, "r1", NOW)
    assert undone.status == DeploymentStatus.FAILED
    assert undone.rollback_info is not None
    assert undone.rollback_info.rolled_back_by == "r1"


def test_only_what_awaits_it_can_be_confirmed() -> None:
    done = lifecycle.succeed(lifecycle.start(PENDING, NOW), NOW)
    with pytest.raises(RefusedError):
        lifecycle.confirm(done, "ann", NOW)
    confirmed = lifecycle.confirm(replace(done, confirm_by=NOW), "ann", NOW)
    assert (confirmed.confirmed_by, confirmed.confirmed_at) == ("ann", NOW)
    assert lifecycle.confirm(confirmed, "bob", NOW) is confirmed
    with pytest.raises(RefusedError):
        lifecycle.confirm(lifecycle.undo(replace(done, confirm_by=NOW), "r1", NOW), "ann", NOW)


def test_finished_ones_go_nowhere_else() -> None:
    running = lifecycle.start(PENDING, NOW)
    failed = lifecycle.fail(running, DeploymentError("NO_SPACE", "why"), NOW)
    for step in (
        lambda r: lifecycle.start(r, NOW),
        lambda r: lifecycle.succeed(r, NOW),
        lambda r: lifecycle.undo(r, "x", NOW),
    ):
        with pytest.raises(RefusedError):
            step(failed)
    with pytest.raises(RefusedError):
        lifecycle.succeed(PENDING, NOW)


def test_predicates() -> None:
    assert [s.value for s in DeploymentStatus if not s.finished] == ["pending", "in_progress"]
    assert [s.value for s in DeploymentStatus if s.reached] == ["success", "rolled_back"]
