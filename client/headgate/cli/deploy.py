"""`headgate deploy`, `rollback` and `restore`: ask for a deployment, and wait for what becomes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from headgate.cli.arguments import DeploymentId, EnvironmentName, files_for_daemon
from headgate.cli.changes import change_lines, counts, total
from headgate.cli.failure import FAILED, INTERRUPTED, say
from headgate.cli.moments import Span, moment, span
from headgate.cli.session import Session, with_session
from headgate.cli.steps import step_lines
from headgate.cli.terminal import Paint, ProgressLine, is_terminal
from headgate.cli.verb import Verb
from headgate.errors import HeadgateError

if TYPE_CHECKING:
    from headgate.client import Client
    from headgate.v1.deployment_pb2 import ConfigDeployment

_Function = TypeVar("_Function", bound=Callable[..., Any])
_PATIENCE = 300.0
LISTED = 50
"""So many files and settings are told when it is done."""


def order_options(function: _Function) -> _Function:
    """Add what every request for a deployment may say, and whether to wait."""
    for option in (
        click.option(
            "--timeout",
            type=Span(),
            default=_PATIENCE,
            show_default="300 s",
            help="How long to wait at most.",
        ),
        click.option(
            "--wait/--no-wait", default=True, help="Wait until it is finished (the default), or print its id."
        ),
        click.option(
            "--expected-sequence", type=int, help="Refuse if somebody deployed since this sequence."
        ),
        click.option("--on-behalf-of", default="", metavar="WHO", help="For whom; kept in the record."),
        click.option("--reason", default="", metavar="TEXT", help="Why; kept in the record."),
    ):
        function = option(function)
    return function


@click.command("deploy", cls=Verb)
@click.argument("name", type=EnvironmentName())
@click.argument("files", nargs=-1, metavar="[FILE]...", type=click.Path())
@order_options
@click.option("--allow-empty", is_flag=True, help="Deploy although the sources hold no file at all.")
@click.option("--allow-mass-removal", is_flag=True, help="Deploy although most files would be removed.")
@click.option(
    "--confirm-within",
    type=Span(),
    metavar="TIME",
    help="Roll back by itself unless `headgate confirm` comes within this time: for changes that may lock you out.",
)
@with_session
def deploy(
    session: Session,
    name: str,
    *,
    files: tuple[str, ...],
    wait: bool,
    timeout: float,
    **order: Any,  # noqa: ANN401 -- one for each option
) -> None:
    """Deploy what the sources say, or some files.

    A relative FILE is taken from the working directory where that lies in a source, else from the sources. Waits for the
    outcome; interrupted or timed out, the deployment goes on.
    """
    with session.client() as client:
        wanted = files_for_daemon(client, name, files)
        follow(session, client, lambda: client.deploy(name, wanted, **order), wait=wait, timeout=timeout)


@click.command("rollback", cls=Verb)
@click.argument("deployment_id", type=DeploymentId())
@click.option("--include-later", is_flag=True, help="Undo every later deployment as well.")
@order_options
@with_session
def rollback(session: Session, deployment_id: str, *, wait: bool, timeout: float, **order: Any) -> None:  # noqa: ANN401 -- as above
    """Undo a deployment, by a new one.

    Auto-sync does not bring back what was undone before the sources change, or somebody deploys or resumes.
    """
    with session.client() as client:
        follow(session, client, lambda: client.rollback(deployment_id, **order), wait=wait, timeout=timeout)


@click.command("restore", cls=Verb)
@click.argument("deployment_id", type=DeploymentId())
@order_options
@with_session
def restore(session: Session, deployment_id: str, *, wait: bool, timeout: float, **order: Any) -> None:  # noqa: ANN401 -- as above
    """Return to the state that a deployment left."""
    with session.client() as client:
        follow(session, client, lambda: client.restore(deployment_id, **order), wait=wait, timeout=timeout)


def follow(
    session: Session, client: Client, ask: Callable[[], ConfigDeployment], *, wait: bool, timeout: float
) -> None:
    """Ask for a deployment, wait for it where that is wanted, and print what became of it; exit 1 unless it succeeded."""
    from headgate.records import deployment_record  # noqa: PLC0415 -- brings protobuf

    try:
        asked = ask()
    except KeyboardInterrupt:
        _interrupted("what was asked for may happen all the same", "headgate deployments")
    done = _finished(client, asked, timeout) if wait else asked
    if session.json:
        session.print_json(deployment_record(done))
    elif not wait:
        click.echo(done.deployment_id)
    else:
        _print_outcome(done)
    if wait and not _succeeded(done):
        _say_failure(done)
        raise click.exceptions.Exit(FAILED)


def _finished(client: Client, asked: ConfigDeployment, timeout: float) -> ConfigDeployment:
    try:
        with ProgressLine() as line:
            return client.wait_for_deployment(
                asked.deployment_id, timeout, on_update=lambda deployment: line.show(_progress(deployment))
            )
    except KeyboardInterrupt:
        name = asked.deployment_id
        _interrupted(f"{name} goes on", f"headgate show {name}; or stop it: headgate cancel {name}")


def _interrupted(what: str, hint: str) -> NoReturn:
    """Say what an interrupt does not end, and exit."""
    end = "\n" if is_terminal("stderr") else ""  # The terminal shows ^C.
    click.echo(f"{end}headgate: interrupted; {what}\n  try: {hint}", err=True)
    raise click.exceptions.Exit(INTERRUPTED) from None


def _progress(deployment: ConfigDeployment) -> str:
    step = deployment.progress
    files = f" {step.files_done}/{step.files_total} files" if step.files_total else ""
    return f"{deployment.deployment_id}: {step.step or 'waits'}{files}"


def _print_outcome(deployment: ConfigDeployment) -> None:
    paint, took = Paint.of("stdout"), ""
    if deployment.HasField("finished_at") and deployment.HasField("deployed_at"):
        seconds = (deployment.finished_at.ToDatetime() - deployment.deployed_at.ToDatetime()).total_seconds()
        took = f" in {span(seconds)}"
    changes = deployment.changes
    status = status_word(deployment, paint)
    if total(changes) or not _succeeded(deployment):
        what = f", {counts(changes)}" if total(changes) else ""
    else:
        what = ", nothing to change"
    click.echo(f"{deployment.deployment_id}: {status}{what}{took}")
    if deployment.HasField("confirm_within") and _succeeded(deployment) and not total(changes):
        click.echo("nothing changed, so nothing has to be confirmed")
    if deployment.HasField("confirm_by") and not deployment.HasField("confirmed_at"):
        until = moment(deployment.confirm_by)
        click.echo(
            f"rolled back by itself at {until} unless you say: headgate confirm {deployment.deployment_id}"
        )
    for line in change_lines(changes, paint, LISTED):
        click.echo(line)
    if total(changes) > LISTED or len(changes.settings_changed) > LISTED:
        click.echo(f"all of it: headgate show {deployment.deployment_id}")


def status_word(deployment: ConfigDeployment, paint: Paint) -> str:
    """Return where a deployment stands, in the words of the design, coloured."""
    from headgate.v1.deployment_pb2 import DeploymentStatus  # noqa: PLC0415 -- brings protobuf
    from headgate.words import word  # noqa: PLC0415 -- as above

    return paint_status(word(DeploymentStatus, deployment.status).upper(), paint)


def paint_status(status: str, paint: Paint) -> str:
    """Colour a status, which may be followed by spaces."""
    colours = {"SUCCESS": paint.good, "FAILED": paint.bad, "ROLLED_BACK": paint.odd}
    return colours.get(status.strip(), str)(status)


def _succeeded(deployment: ConfigDeployment) -> bool:
    from headgate.v1.deployment_pb2 import DEPLOYMENT_STATUS_SUCCESS  # noqa: PLC0415 -- brings protobuf

    return deployment.status == DEPLOYMENT_STATUS_SUCCESS


def _say_failure(deployment: ConfigDeployment) -> None:
    for line in step_lines(deployment, Paint.of("stderr"), failed_only=True):
        click.echo(line, err=True)
    if deployment.HasField("error"):
        error = deployment.error
        message = error.message if error.message.startswith("cannot ") else f"cannot deploy: {error.message}"
        say(
            HeadgateError(
                f"{message} ({error.reason})", reason=error.reason, hint=error.hint, paths=error.paths
            ),
            f"headgate show {deployment.deployment_id}",
        )
    elif deployment.rollback_info.rolled_back_by:
        by = deployment.rollback_info.rolled_back_by
        say(
            HeadgateError(
                f"cannot keep {deployment.deployment_id}: {by} undid it", hint=f"headgate show {by}"
            )
        )
