"""S1, S2: wait until a source is quiet, but not for ever."""

from __future__ import annotations

import pytest

from headgated.core.settle import Settle


@pytest.mark.parametrize(
    ("quiet", "latest", "changes", "due"),
    [
        (0.5, 2.0, [], None),
        (0.5, 2.0, [10.0], 10.5),
        (0.5, 2.0, [10.0, 10.3], 10.8),
        (0.5, 2.0, [10.0, 10.4, 10.8, 11.2, 11.6], 12.0),
        (0.5, 2.0, [10.0, 10.4, 10.8, 11.2, 11.6, 12.0, 30.0], 12.0),
        (0.0, 2.0, [10.0], 10.0),
        (0.0, 0.0, [10.0, 11.0], 10.0),
        (5.0, 2.0, [10.0], 12.0),
        (0.5, 2.0, [10.0, 9.0], 10.5),
    ],
    ids=[
        "nothing",
        "one",
        "more",
        "constant",
        "never quiet",
        "at once",
        "zero",
        "quiet longer than latest",
        "clock back",
    ],
)
def test_settle_is_due_after_quiet_time_and_not_after_latest_time(
    quiet: float, latest: float, changes: list[float], due: float | None
) -> None:
    settle = Settle(quiet, latest)
    for now in changes:
        settle.changed(now)
    assert settle.due() == due


def test_settle_has_nothing_due_after_acting() -> None:
    settle = Settle(0.5, 2.0)
    settle.changed(10.0)
    settle.acted()
    assert settle.due() is None


def test_change_while_acting_begins_a_new_round() -> None:
    settle = Settle(0.5, 2.0)
    settle.changed(10.0)
    settle.acted()
    settle.changed(11.0)
    settle.changed(11.2)
    assert settle.due() == 11.7
