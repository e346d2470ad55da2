"""The daemon's own state as the protocol has it."""

from __future__ import annotations

from collections.abc import Sequence

from headgate.v1 import daemon_pb2 as wire
from headgated.api.convert import choices
from headgated.api.convert.environment import environment_message
from headgated.api.convert.values import ANSWER_ROOM, shortened, shown_path, text, timestamp
from headgated.effects.history import Collected
from headgated.engine.views import Problem, SourceView, StatusView

LISTED_DAMAGES = 10_000
_DAMAGE = 300
"""Bytes of one line; all of them fit into the 4 MiB that receivers take unless told otherwise."""
_CUT = Problem(
    "STATUS_CUT",
    "variables and secrets are left out here: all together they are too large for one answer",
    "ask for the environments one by one",
)


def status_message(status: StatusView) -> wire.GetStatusResponse:
    """Return the daemon's state, without what environments declare where that would be too large; a problem says so."""
    message = wire.GetStatusResponse(
        version=status.version,
        pid=status.pid,
        started_at=timestamp(status.started_at),
        state_directory=shown_path(status.state_directory),
        sources=map(_source_message, status.sources),
        environments=map(environment_message, status.environments),
        problems=map(_problem_message, status.problems),
    )
    if message.ByteSize() > ANSWER_ROOM:
        for environment in message.environments:
            environment.ClearField("variables")
            environment.ClearField("secrets")
        message.problems.append(_problem_message(_CUT))
    return message


def damages_message(lines: Sequence[str]) -> wire.VerifyHistoryResponse:
    """Return what is wrong with history."""
    listed = [shortened(line, _DAMAGE) for line in lines[:LISTED_DAMAGES]]
    return wire.VerifyHistoryResponse(damages=listed, omitted_count=len(lines) - len(listed))


def collected_message(collected: Collected) -> wire.CollectHistoryResponse:
    """Return what was dropped from history."""
    return wire.CollectHistoryResponse(
        deployments=collected.deployments,
        contents=collected.contents,
        bytes_returned=collected.bytes_returned,
    )


def _source_message(source: SourceView) -> wire.WatchedSource:
    return wire.WatchedSource(
        path=shown_path(source.path),
        mode=choices.WATCH_MODES[source.mode],
        message=text(source.message),
        directories=source.directories,
        last_event_at=timestamp(source.last_event_at),
        last_scan_at=timestamp(source.last_scan_at),
        environments=source.environments,
    )


def _problem_message(problem: Problem) -> wire.Problem:
    return wire.Problem(reason=problem.reason, message=text(problem.message), hint=text(problem.hint))
