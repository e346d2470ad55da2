"""`headgate status`: is everything all right, and if not, what to do. `headgate reload`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from headgate.cli.failure import FAILED
from headgate.cli.moments import ago
from headgate.cli.session import Session, with_session
from headgate.cli.table import Column, table
from headgate.cli.terminal import Paint, width
from headgate.cli.verb import Verb
from headgate.filename import shown

if TYPE_CHECKING:
    from headgate.cli.attention import Concern
    from headgate.v1.daemon_pb2 import GetStatusResponse


@click.command("status", cls=Verb)
@click.option("--exit-code", is_flag=True, help="Exit with 1 if something needs attention.")
@with_session
def status(session: Session, *, exit_code: bool) -> None:
    """Tell what needs attention, and what to do."""
    with session.client() as client:
        found = client.status()
    from headgate.cli.attention import concerns  # noqa: PLC0415 -- brings protobuf

    every = concerns(found)
    urgent = sum(concern.urgent for concern in every)
    if session.json:
        from headgate.records import status_record  # noqa: PLC0415 -- brings protobuf

        session.print_json({**status_record(found), "needs_attention": urgent})
    else:
        for line in _lines(found, every, urgent, Paint.of("stdout")):
            click.echo(line)
    if exit_code and urgent:
        raise click.exceptions.Exit(FAILED)


@click.command("reload", cls=Verb)
@with_session
def reload(session: Session) -> None:
    """Read the daemon's configuration again.

    All or nothing: a file with a fault in it changes nothing.
    """
    with session.client() as client:
        changed = client.reload()
    if session.json:
        session.print_json({"changed": changed})
        return
    for line in changed or ["nothing changed"]:
        click.echo(shown(line))


def _lines(found: GetStatusResponse, every: list[Concern], urgent: int, paint: Paint) -> Iterator[str]:
    yield _verdict(urgent, paint)
    sources = f"{len(found.sources)} source{'s' if len(found.sources) != 1 else ''} watched"
    yield paint.dim(
        shown(
            f"headgated {found.version}, pid {found.pid}, up {ago(found.started_at)}, "
            f"state in {found.state_directory}, {sources}"
        )
    )
    yield ""
    yield from _environments(found, paint)
    if every:
        yield ""
    for concern in every:
        text = shown(concern.text)
        yield paint.bad(text) if concern.urgent else paint.odd(text)
        if concern.hint:
            yield f"{paint.dim('  try:')} {shown(concern.hint)}"


def _verdict(urgent: int, paint: Paint) -> str:
    if not urgent:
        return paint.good("all right")
    return paint.bad(f"{urgent} need{'s' if urgent == 1 else ''} attention")


def _environments(found: GetStatusResponse, paint: Paint) -> Iterator[str]:
    from headgate.cli.attention import state_word  # noqa: PLC0415 -- brings protobuf
    from headgate.v1.environment_pb2 import EnvironmentType  # noqa: PLC0415 -- as above
    from headgate.words import word  # noqa: PLC0415 -- as above

    if not found.environments:
        yield "no environments yet"
        yield f"{paint.dim('  try:')} headgate env create NAME --type TYPE --target DIR --source DIR"
        return
    rows = [
        [
            each.name,
            word(EnvironmentType, each.type),
            state_word(each),
            each.sync.last_deployment_id or "-",
            ago(each.sync.last_success_at),
        ]
        for each in found.environments
    ]

    def painted(state: str) -> str:
        colours = {"synced": paint.good, "halted": paint.bad, "failing": paint.bad}
        return colours.get(state, paint.odd)(state)

    columns = (
        Column("ENVIRONMENT"),
        Column("TYPE", spare=3),
        Column("STATE", style=painted),
        Column("LAST DEPLOYMENT", spare=1),
        Column("AGE", spare=2),
    )
    yield from table(columns, rows, width=width())
