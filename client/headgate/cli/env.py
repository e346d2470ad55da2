"""`headgate env`: what goes where."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from headgate.cli.arguments import EnvironmentName
from headgate.cli.failure import say_none
from headgate.cli.moments import Moment, Span, moment
from headgate.cli.session import Session, with_session
from headgate.cli.table import Column, table
from headgate.cli.terminal import width
from headgate.cli.verb import Noun, Verb
from headgate.filename import shown

if TYPE_CHECKING:
    from headgate.v1.environment_pb2 import Environment

_VERBS = {
    "create": "headgate.cli.env_settings:create",
    "list": "headgate.cli.env:list_",
    "show": "headgate.cli.env:show",
    "set": "headgate.cli.env_settings:set_",
    "delete": "headgate.cli.env:delete",
    "apply": "headgate.cli.env_apply:apply",
    "pause": "headgate.cli.env:pause",
    "resume": "headgate.cli.env:resume",
}


@click.group("env", cls=Noun, verbs=_VERBS)
def env() -> None:
    """Create, show, change and delete environments."""


@click.command("list", cls=Verb)
@with_session
def list_(session: Session) -> None:
    """List all environments."""
    with session.client() as client:
        environments = list(client.list_environments())
    from headgate.records import environment_record  # noqa: PLC0415 -- brings protobuf

    records = [environment_record(each) for each in environments]
    if session.json:
        session.print_json({"environments": records})
        return
    from headgate.cli.attention import state_word  # noqa: PLC0415 -- brings protobuf

    if not environments:
        say_none(
            "there are no environments yet", "headgate env create NAME --type TYPE --target DIR --source DIR"
        )
    rows = [
        [each.name, record["type"], _auto(record["auto_sync"]), state_word(each), record["config_path"]]
        for each, record in zip(environments, records, strict=True)
    ]
    columns = (
        Column("NAME"),
        Column("TYPE"),
        Column("AUTO-SYNC", spare=1),
        Column("STATE"),
        Column("TARGET", least=12),
    )
    for line in table(columns, rows, width=width()):
        click.echo(line)


@click.command("show", cls=Verb)
@click.argument("name", type=EnvironmentName())
@with_session
def show(session: Session, name: str) -> None:
    """Show an environment and how it stands."""
    with session.client() as client:
        print_environment(session, client.get_environment(name))


@click.command("delete", cls=Verb)
@click.argument("name", type=EnvironmentName())
@click.option(
    "--remove-target-files",
    is_flag=True,
    help="Also remove the files that Headgate deployed and nobody changed since.",
)
@with_session
def delete(session: Session, name: str, *, remove_target_files: bool) -> None:
    """Forget an environment. Files at its target stay unless asked."""
    with session.client() as client:
        deployment_id = client.delete_environment(name, remove_target_files=remove_target_files)
    if session.json:
        session.print_json({"name": name, "deployment_id": deployment_id})
    elif deployment_id:
        click.echo(f"{name}: deleted; its files are removed by {deployment_id}")
    else:
        click.echo(f"{name}: deleted; files at its target stay")


@click.command("pause", cls=Verb)
@click.argument("name", type=EnvironmentName())
@click.option("--reason", required=True, help="Why; shown in status.")
@click.option(
    "--until", type=Moment(), help="Resume by itself then: 2025-01-31T18:00 (local time) or with a zone."
)
@click.option("--for", "span", type=Span(), help="Resume by itself after: 30m, 2h, 1d.")
@with_session
def pause(session: Session, name: str, *, reason: str, until: datetime | None, span: float | None) -> None:
    """Stop auto-sync. Deployments that people ask for still run."""
    if until is not None and span is not None:
        raise click.UsageError("--until and --for cannot be given together", click.get_current_context())
    if span is not None:
        until = datetime.now(UTC) + timedelta(seconds=span)
    with session.client() as client:
        environment = client.pause_environment(name, reason, until)
    print_done(session, environment, f"paused until {_until(until)}")


@click.command("resume", cls=Verb)
@click.argument("name", type=EnvironmentName())
@with_session
def resume(session: Session, name: str) -> None:
    """End a pause, a hold or a halt.

    After a halt the sources are accepted as they are.
    """
    with session.client() as client:
        environment = client.resume_environment(name)
    print_done(session, environment, "resumed")


def print_done(session: Session, environment: Environment, what: str) -> None:
    """Print what became of an environment: a line, or its record."""
    if session.json:
        print_environment(session, environment)
    else:
        click.echo(f"{environment.name}: {what}")


def print_environment(session: Session, environment: Environment) -> None:
    """Print an environment, for people or as its record."""
    from headgate.records import environment_record  # noqa: PLC0415 -- brings protobuf

    if session.json:
        session.print_json(environment_record(environment))
        return
    lines = list(_lines(environment))
    left = max(len(key) for key, _ in lines)
    for key, value in lines:
        click.echo(f"{key:<{left}}  {shown(value)}".rstrip())


def _lines(environment: Environment) -> Iterator[tuple[str, str]]:
    from headgate.records import environment_record  # noqa: PLC0415 -- brings protobuf

    record = environment_record(environment)
    yield "name", record["name"]
    yield "type", record["type"]
    yield "target", record["config_path"]
    yield from _listed("sources", record["sources"])
    yield from _listed("variables", [f"{key}={value}" for key, value in record["variables"].items()])
    yield from _listed("secrets", [f"{key}={value}" for key, value in record["secrets"].items()])
    yield "auto-sync", _auto(record["auto_sync"])
    yield from _listed("policies", [f"{key}: {_policy(value)}" for key, value in record["policies"].items()])
    yield "created", moment(environment.created_at)
    yield "updated", f"{moment(environment.updated_at)} (generation {environment.generation})"
    yield from _sync_lines(environment)


def _sync_lines(environment: Environment) -> Iterator[tuple[str, str]]:
    from headgate.cli.attention import state_word  # noqa: PLC0415 -- brings protobuf

    sync = environment.sync
    yield "state", f"{state_word(environment)}{': ' if sync.message else ''}{sync.message}"
    yield "last", sync.last_deployment_id or "-"
    yield "current", sync.current_deployment_id or "-"
    yield "last success", moment(sync.last_success_at)
    if sync.failed_attempts:
        yield "failed", f"{sync.failed_attempts} in a row; tried again at {moment(sync.next_attempt_at)}"
    if sync.HasField("hold"):
        held = f"{sync.hold.deployment_id} since {moment(sync.hold.since)}"
        yield from _listed("held", [held, *sync.hold.paths])
    if sync.HasField("halt"):
        yield "halted", f"{sync.halt.reason} since {moment(sync.halt.since)}: {sync.halt.message}"
    if sync.HasField("pause"):
        until = moment(sync.pause.until) if sync.pause.HasField("until") else "somebody resumes"
        yield "paused", f"by {sync.pause.paused_by} until {until}: {sync.pause.reason}"
    if sync.drifted_count:
        yield from _listed(f"drifted ({sync.drifted_count})", list(sync.drifted))


def _listed(heading: str, values: list[str]) -> Iterator[tuple[str, str]]:
    """Yield a heading with the first value, the others below it."""
    for number, value in enumerate(values or ["-"]):
        yield heading if number == 0 else "", value


def _auto(on: bool) -> str:
    return "on" if on else "off"


def _policy(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(value) or "-"
        case None:
            return "default"
    return str(value)


def _until(until: datetime | None) -> str:
    return "somebody resumes" if until is None else until.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
