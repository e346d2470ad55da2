"""`headgate deployments`, `show`, `cancel` and `confirm`: what happened, and what becomes of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

import click

from headgate.cli.arguments import DeploymentId, EnvironmentName
from headgate.cli.changes import change_lines, counts
from headgate.cli.deploy import paint_status, status_word
from headgate.cli.failure import say_none
from headgate.cli.moments import ago, moment, span
from headgate.cli.session import Session, with_session
from headgate.cli.steps import step_lines
from headgate.cli.table import Column, table
from headgate.cli.terminal import Paint, width
from headgate.cli.verb import Verb
from headgate.errors import RefusedError, TimedOutError
from headgate.filename import shown

if TYPE_CHECKING:
    from headgate.v1.deployment_pb2 import ConfigDeployment

STATUSES = ("pending", "in_progress", "success", "failed", "rolled_back")
_LARGEST_PAGE = 1000
_CANCELLED = "CANCELLED"
_CANCELLING_SECONDS = 10.0
"""What takes longer to end or to be taken back, nobody need wait for."""


@click.command("deployments", cls=Verb)
@click.option("--env", "environment", type=EnvironmentName(), default="", help="Only of this environment.")
@click.option(
    "--status", "statuses", multiple=True, type=click.Choice(STATUSES), help="Only these; may be repeated."
)
@click.option(
    "-n", "--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many, newest first."
)
@click.option("--all", "everything", is_flag=True, help="All of them.")
@with_session
def deployments(
    session: Session, environment: str, *, statuses: tuple[str, ...], limit: int, everything: bool
) -> None:
    """List deployments, newest first."""
    wanted = None if everything else limit
    with session.client() as client:
        every = client.list_deployments(
            environment, statuses=statuses, page_size=min(wanted or _LARGEST_PAGE, _LARGEST_PAGE)
        )
        found = list(islice(every, wanted))
    if session.json:
        from headgate.records import deployment_record  # noqa: PLC0415 -- brings protobuf

        session.print_json({"deployments": [deployment_record(each) for each in found]})
        return
    if not found:
        say_none(*_nothing(environment, narrowed=bool(statuses)))
    plain, paint = Paint(on=False), Paint.of("stdout")
    rows = [
        [
            each.deployment_id,
            each.environment,
            status_word(each, plain),
            counts(each.changes),
            ago(each.deployed_at),
            each.deployed_by,
            each.error.reason or each.reason,
        ]
        for each in found
    ]
    columns = (
        Column("DEPLOYMENT"),
        Column("ENVIRONMENT", spare=2),  # It is in the deployment's id too.
        Column("STATUS", style=lambda text: paint_status(text, paint)),
        Column("FILES"),
        Column("AGE"),
        Column("BY", least=8, spare=1),
        Column("REASON", least=12),
    )
    for line in table(columns, rows, width=width()):
        click.echo(line)


def _nothing(environment: str, *, narrowed: bool) -> tuple[str, str]:
    """Return what to say where there are no deployments, and what to do about it."""
    of = f" of {environment}" if environment else ""
    if narrowed:
        return f"there are no such deployments{of}", "leave out --status"
    return f"there are no deployments{of} yet", f"headgate plan {environment or 'NAME'}"


@click.command("show", cls=Verb)
@click.argument("deployment_id", type=DeploymentId())
@with_session
def show(session: Session, deployment_id: str) -> None:
    """Show a deployment whole."""
    with session.client() as client:
        deployment = client.get_deployment(deployment_id)
    _print(session, deployment)


@click.command("cancel", cls=Verb, short_help="Stop a deployment, or take it back.")
@click.argument("deployment_id", type=DeploymentId())
@with_session
def cancel(session: Session, deployment_id: str) -> None:
    """Stop a deployment that has changed nothing yet, or take it back while its reloads or probes run."""
    with session.client() as client:
        deployment, ended = client.cancel_deployment(deployment_id), False
        with contextlib.suppress(TimedOutError):
            deployment, ended = client.wait_for_deployment(deployment_id, _CANCELLING_SECONDS), True
    if session.json:
        _print(session, deployment)
    elif not ended:
        click.echo(
            f"{deployment_id}: is being cancelled; see what becomes of it: headgate show {deployment_id}"
        )
    elif deployment.error.reason == _CANCELLED:
        click.echo(f"{deployment_id}: cancelled")
    if ended and deployment.error.reason != _CANCELLED:
        status = status_word(deployment, Paint(on=False))
        raise RefusedError(
            f"cannot cancel {deployment_id}: it ended meanwhile as {status}",
            hint=f"headgate show {deployment_id}",
        )


@click.command("confirm", cls=Verb, short_help="Keep what deploy --confirm-within made.")
@click.argument("deployment_id", type=DeploymentId())
@with_session
def confirm(session: Session, deployment_id: str) -> None:
    """Keep a deployment that would be rolled back by itself otherwise (deploy --confirm-within)."""
    with session.client() as client:
        deployment = client.confirm_deployment(deployment_id)
    if session.json:
        _print(session, deployment)
    else:
        click.echo(f"{deployment.deployment_id}: confirmed, it stays")


def _print(session: Session, deployment: ConfigDeployment) -> None:
    if session.json:
        from headgate.records import deployment_record  # noqa: PLC0415 -- brings protobuf

        session.print_json(deployment_record(deployment))
        return
    paint = Paint.of("stdout")
    for key, value in _lines(deployment):
        click.echo(f"{key:<11}  {shown(value)}".rstrip())
    click.echo(f"{'status':<11}  {status_word(deployment, paint)}")
    for line in _error_lines(deployment):
        click.echo(shown(line))
    for line in step_lines(deployment, paint):
        click.echo(line)
    click.echo(f"{'files':<11}  {counts(deployment.changes)}, {deployment.changes.unchanged_count} unchanged")
    for line in change_lines(deployment.changes, paint):
        click.echo(line)


def _lines(deployment: ConfigDeployment) -> Iterator[tuple[str, str]]:
    from headgate.v1.deployment_pb2 import DeploymentKind, DeploymentTrigger  # noqa: PLC0415 -- brings protobuf
    from headgate.words import word  # noqa: PLC0415 -- as above

    yield "deployment", deployment.deployment_id
    yield "environment", f"{deployment.environment} (sequence {deployment.sequence})"
    kind, trigger = word(DeploymentKind, deployment.kind), word(DeploymentTrigger, deployment.trigger)
    yield "kind", f"{kind}, by {trigger}"
    yield "deployed by", deployment.deployed_by
    if deployment.on_behalf_of:
        yield "for", deployment.on_behalf_of
    if deployment.reason:
        yield "reason", deployment.reason
    yield "asked", moment(deployment.deployed_at)
    yield "ran", _ran(deployment)
    yield "version", deployment.config_version or "-"
    for number, file in enumerate(deployment.config_files):
        yield "only" if number == 0 else "", file
    if deployment.HasField("confirmed_at"):
        yield "confirmed", f"by {deployment.confirmed_by} at {moment(deployment.confirmed_at)}"
    elif deployment.HasField("confirm_by"):
        yield "confirm by", moment(deployment.confirm_by)
    if deployment.attempts > 1:
        yield "attempts", str(deployment.attempts)
    yield from _rollback_lines(deployment)


def _rollback_lines(deployment: ConfigDeployment) -> Iterator[tuple[str, str]]:
    info = deployment.rollback_info
    if info.target_deployment_id:
        yield "asked for", info.target_deployment_id
    for number, undone in enumerate(info.undone):
        yield "undid" if number == 0 else "", undone
    if info.rolled_back_by:
        yield "undone by", f"{info.rolled_back_by} at {moment(info.rolled_back_at)}"


def _ran(deployment: ConfigDeployment) -> str:
    if not deployment.HasField("started_at"):
        return "-"
    if not deployment.HasField("finished_at"):
        return f"{moment(deployment.started_at)}, for {ago(deployment.started_at)}"
    seconds = (deployment.finished_at.ToDatetime() - deployment.started_at.ToDatetime()).total_seconds()
    return f"{moment(deployment.started_at)}, for {span(seconds)}"


def _error_lines(deployment: ConfigDeployment) -> Iterator[str]:
    if not deployment.HasField("error"):
        return
    error = deployment.error
    yield f"{'error':<11}  {error.reason}: {error.message}"
    yield from (f"  {path}" for path in error.paths)
    if error.hint:
        yield f"  try: {error.hint}"
