from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.api.memory import NOW, environment

from headgate.v1 import daemon_pb2 as wire
from headgated.api.convert.status import status_message
from headgated.api.convert.values import MESSAGE_LIMIT
from headgated.engine.views import EnvironmentView, Problem, SourceView, StatusView, SyncView

SOURCE = SourceView("/src/caf\udce9", "events", "m", 3, NOW, NOW, ("web",))
STATUS = StatusView(
    "1.2.3",
    42,
    NOW,
    "/var/lib/headgate",
    (SOURCE,),
    (EnvironmentView(environment(), SyncView()),),
    (Problem("P", "m", "h"),),
)


def test_status_shows_every_field_of_the_protocol() -> None:
    message = status_message(STATUS)
    assert {f.name for f, _ in message.ListFields()} == {
        f.name for f in wire.GetStatusResponse.DESCRIPTOR.fields
    }
    assert {f.name for f, _ in message.sources[0].ListFields()} == {
        f.name for f in wire.WatchedSource.DESCRIPTOR.fields
    }
    assert {f.name for f, _ in message.problems[0].ListFields()} == {
        f.name for f in wire.Problem.DESCRIPTOR.fields
    }
    assert message.sources[0].path == r"/src/caf\xe9"


@pytest.mark.parametrize("mode", ["events", "polling", "absent"])
def test_status_shows_every_watch_mode(mode: Any) -> None:
    message = status_message(replace(STATUS, sources=(replace(SOURCE, mode=mode),)))
    assert wire.WatchMode.Name(message.sources[0].mode) == f"WATCH_MODE_{mode.upper()}"


def test_status_too_large_to_send_leaves_variables_out_and_says_so() -> None:
    large = environment(variables={f"V{n}": "x" * 60_000 for n in range(17)})
    message = status_message(replace(STATUS, environments=(EnvironmentView(large, SyncView()),) * 20))
    assert message.ByteSize() < MESSAGE_LIMIT
    assert len(message.environments) == 20
    assert message.problems[-1].reason == "STATUS_CUT"
    assert "STATUS_CUT" not in str(status_message(STATUS))
