from __future__ import annotations

from datetime import UTC, datetime

import pytest

from headgated.core.environment import Environment, EnvironmentType
from headgated.engine.heartbeat import describe
from headgated.engine.views import EnvironmentView, SyncState, SyncView
from headgated.engine.vigil import Finding

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def standing(*states: SyncState) -> list[EnvironmentView]:
    return [
        EnvironmentView(
            Environment(f"e{index}", EnvironmentType.TESTING, "/t", NOW, NOW), SyncView(state=state)
        )
        for index, state in enumerate(states)
    ]


@pytest.mark.parametrize(
    ("states", "line"),
    [
        ([], "0 environments"),
        ([SyncState.SYNCED], "1 environment: 1 in step"),
        (
            [SyncState.SYNCED, SyncState.HALTED, SyncState.DEPLOYING, SyncState.SYNCED],
            "4 environments: 1 deploying (e2), 1 halted (e1), 2 in step",
        ),
        ([SyncState.FAILING] * 5, "5 environments: 5 failing (e0, e1, e2, ...)"),
        ([SyncState.OUT_OF_SYNC], "1 environment: 1 out of sync (e0)"),
    ],
)
def test_status_line_tells_how_environments_stand(states: list[SyncState], line: str) -> None:
    assert describe(standing(*states)) == line


def test_status_line_tells_who_waits_for_a_file_system() -> None:
    line = describe(standing(SyncState.SYNCED), [Finding("sync for web", 65.2)])
    assert line == "1 environment: 1 in step; sync for web waits since 65 s"
