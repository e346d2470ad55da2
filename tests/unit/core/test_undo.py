"""What a rollback means: which deployments it undoes, and what is there then."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from headgated.core.deployment import ConfigDeployment, DeploymentKind, DeploymentStatus, RollbackInfo
from headgated.core.errors import DeploymentFailedError, RefusedError
from headgated.core.plan import Change
from headgated.core.tree import EMPTY, Entry, Kind
from headgated.core.undo import check_reached, check_undoable, compose, plan_undo, standing_after

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ONE, TWO, THREE = (Entry(Kind.FILE, 0o644, bytes([n]) * 32, n) for n in (1, 2, 3))
FOLDER = Entry(Kind.DIRECTORY, 0o755)
S, F, R = DeploymentStatus.SUCCESS, DeploymentStatus.FAILED, DeploymentStatus.ROLLED_BACK


def record(sequence: int, status: DeploymentStatus = S, *undone: int) -> ConfigDeployment:
    kind = DeploymentKind.ROLLBACK if undone else DeploymentKind.DEPLOY
    info = RollbackInfo(undone=tuple(f"d{n}" for n in undone)) if undone else None
    return ConfigDeployment(f"d{sequence}", "web", kind, status, sequence, NOW, "me", rollback_info=info)


def test_oldest_finding_wins() -> None:
    newest_first = [[Change(b"a", TWO, THREE)], [Change(b"a", ONE, TWO), Change(b"b", None, ONE)]]
    assert compose(newest_first) == {b"a": ONE, b"b": None}


@pytest.mark.parametrize(
    ("records", "after", "standing"),
    [
        ([record(1), record(2), record(3)], 1, [3, 2]),
        ([record(1), record(2, F), record(3)], 1, [3]),
        ([record(1), record(2, R), record(3, S, 2)], 1, []),  # 2 and its rollback cancel out
        ([record(1, R), record(2, R), record(3, S, 2, 1)], 2, [3]),  # it undid an earlier one as well
        ([record(1), record(2, R), record(3, R, 2), record(4, S, 3)], 1, [2]),  # back in force
        ([record(1, R), record(2, R), record(3, R, 2), record(4, S, 3, 2, 1)], 0, []),
    ],
)
def test_what_stands_on_a_deployment(
    records: list[ConfigDeployment], after: int, standing: list[int]
) -> None:
    assert [found.sequence for found in standing_after(records, after)] == standing


def test_later_ones_need_a_word_and_are_named() -> None:
    with pytest.raises(RefusedError, match=r"d3.*d2") as caught:
        check_undoable(record(1), [record(3), record(2)], include_later=False)
    assert caught.value.reason == "LATER_DEPLOYMENTS"
    check_undoable(record(1), [record(3)], include_later=True)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (F, "NOT_REACHED"),
        (DeploymentStatus.PENDING, "NOT_REACHED"),
        (DeploymentStatus.IN_PROGRESS, "NOT_REACHED"),
        (R, "ALREADY_ROLLED_BACK"),
    ],
)
def test_only_what_is_in_force_is_undone(status: DeploymentStatus, reason: str) -> None:
    with pytest.raises(RefusedError) as caught:
        check_undoable(record(1, status), [], include_later=True)
    assert caught.value.reason == reason


def test_return_to_a_rolled_back_state_is_allowed_and_to_a_failed_one_not() -> None:
    check_reached(record(1, R), "return to")
    with pytest.raises(RefusedError):
        check_reached(record(1, F), "return to")


def test_undo_gives_back_whatever_is_there_now() -> None:
    """An edit by hand after the deployment does not stand in the way; it is `expected`, so it is kept in history."""
    plan = plan_undo(EMPTY, {b"a": ONE, b"b": None, b"c": TWO}, {b"a": THREE, b"b": TWO, b"c": TWO}, {})
    assert plan.changes == (Change(b"a", THREE, ONE), Change(b"b", TWO, None))


def test_directory_gives_way_to_the_file_that_was_there() -> None:
    plan = plan_undo(EMPTY, {b"p": ONE, b"p/x": None}, {b"p": FOLDER, b"p/x": TWO}, {b"p": {b"p/x": TWO}})
    assert plan.changes == (Change(b"p", FOLDER, ONE), Change(b"p/x", TWO, None))


def test_directory_with_foreign_content_does_not_give_way() -> None:
    with pytest.raises(DeploymentFailedError) as caught:
        plan_undo(EMPTY, {b"p": ONE}, {b"p": FOLDER}, {b"p": {b"p/foreign": TWO}})
    assert caught.value.reason == "TYPE_CLASH"
