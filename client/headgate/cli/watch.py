"""`headgate watch`: a line for each change of a deployment, as it happens, and below it which settings changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from headgate.cli.arguments import EnvironmentName
from headgate.cli.changes import counts, setting_lines
from headgate.cli.deploy import status_word
from headgate.cli.moments import moment
from headgate.cli.session import Session, with_session
from headgate.cli.terminal import Paint, is_terminal
from headgate.cli.verb import Verb
from headgate.filename import shown

if TYPE_CHECKING:
    from headgate.errors import UnreachableError
    from headgate.v1.deployment_pb2 import ConfigDeployment, WatchDeploymentsResponse

SETTINGS = 20
"""So many settings of one deployment are shown."""


@click.command("watch", cls=Verb, short_help="Print each change as it happens.")
@click.argument("name", required=False, default="", type=EnvironmentName())
@with_session
def watch(session: Session, name: str) -> None:
    """Print a line for each change, as it happens; once it is done, which settings it changed.

    Goes on when the daemon restarts, and tells then what changed meanwhile. Ends when interrupted, with exit code 130, or when the
    environment that it watches is deleted, with 3.
    """
    changes, tidings = Changes(), _Tidings()
    with session.client() as client:
        if name:
            # One that is not there is told before anything is said to be watched.
            client.get_environment(name)
        for event in client.watch_deployments(name, on_lost=tidings.lost):
            tidings.back()
            if changes.is_new(event):
                _print(session, event)
            elif changes.begun:
                tidings.begun(name)


class Changes:
    """Tells what is a change from what is told again: the state at the beginning, progress within a status."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, int]] = {}
        self.begun = False
        """The first state has been told; what comes now is new."""

    def is_new(self, event: WatchDeploymentsResponse) -> bool:
        """Whether the event is a change of status. The first state is none; a later one is where something differs."""
        from headgate.v1 import environment_pb2 as pb  # noqa: PLC0415 -- brings protobuf

        if event.kind == pb.WATCH_EVENT_KIND_SNAPSHOT_END:
            self.begun = True
            return False
        if event.kind == pb.WATCH_EVENT_KIND_DELETED:
            return False
        deployment = event.deployment
        state = (deployment.status, deployment.attempts)
        before, self._seen[deployment.deployment_id] = self._seen.get(deployment.deployment_id), state
        return self.begun and before != state


class _Tidings:
    """Says on stderr, to people only, what is watched; and, once each time, that the daemon is gone and that it is back."""

    def __init__(self) -> None:
        self._gone = False
        self._silent = not is_terminal("stderr")

    def begun(self, name: str) -> None:
        """Say, once, that it has begun: a quiet daemon would show nothing at all."""
        if not self._silent:
            what = name or "all environments"
            click.echo(f"headgate: watching {what}; nothing has happened yet, Ctrl-C ends it", err=True)
        self._silent = True

    def lost(self, error: UnreachableError) -> None:
        """Say that it is gone."""
        if not self._gone:
            click.echo(f"headgate: the daemon at {error.address} is gone; waiting for it", err=True)
        self._gone = True

    def back(self) -> None:
        """Say that it is back."""
        if self._gone:
            click.echo("headgate: the daemon is back", err=True)
        self._gone = False


def _print(session: Session, event: WatchDeploymentsResponse) -> None:
    if session.json:
        from headgate.records import deployment_record  # noqa: PLC0415 -- brings protobuf

        record = {"revision": event.revision, "deployment": deployment_record(event.deployment)}
        session.print_json(record, lines=True)
        return
    click.echo(_line(event.deployment, Paint.of("stdout")))
    for line in _settings(event.deployment):
        click.echo(line)


def _settings(deployment: ConfigDeployment) -> Iterator[str]:
    from headgate.v1 import deployment_pb2 as pb  # noqa: PLC0415 -- brings protobuf

    if deployment.status == pb.DEPLOYMENT_STATUS_SUCCESS:
        yield from setting_lines(deployment.changes, SETTINGS)


def _line(deployment: ConfigDeployment, paint: Paint) -> str:
    when = next(
        getattr(deployment, name)
        for name in ("finished_at", "started_at", "deployed_at")
        if deployment.HasField(name) or name == "deployed_at"
    )
    who, why = shown(deployment.deployed_by), shown(deployment.error.reason)
    parts = (
        moment(when),
        deployment.environment,
        deployment.deployment_id,
        status_word(deployment, paint),
        counts(deployment.changes),
        who,
        why,
    )
    return "  ".join(part for part in parts if part)
