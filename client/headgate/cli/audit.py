"""`headgate audit`: who asked the daemon for what, and whether the log of it is whole."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.failure import FAILED
from headgate.cli.moments import moment
from headgate.cli.session import Session, with_session
from headgate.cli.table import Column, table
from headgate.cli.terminal import Paint, ProgressLine, width
from headgate.cli.verb import Noun, Verb
from headgate.filename import shown

if TYPE_CHECKING:
    from headgate.v1.daemon_pb2 import AuditEntry

_VERBS = {"list": "headgate.cli.audit:list_", "verify": "headgate.cli.audit:verify"}
_LARGEST_PAGE = 1000


@click.group("audit", cls=Noun, verbs=_VERBS, short_help="Read and verify who asked for what.")
def audit() -> None:
    """Read and verify the log of who asked for what. Takes the role admin."""


@click.command("list", cls=Verb, short_help="List who asked for what.")
@click.option(
    "-n", "--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many, newest first."
)
@click.option("--all", "everything", is_flag=True, help="All of them.")
@with_session
def list_(session: Session, *, limit: int, everything: bool) -> None:
    """List what was asked for, what came of it, and what was refused, newest first."""
    wanted = None if everything else limit
    with session.client() as client:
        found = list(islice(client.list_audit(page_size=min(wanted or _LARGEST_PAGE, _LARGEST_PAGE)), wanted))
    if session.json:
        session.print_json({"entries": [_record(entry) for entry in found]})
        return
    rows = [
        [
            str(entry.sequence),
            moment(entry.at),
            entry.user,
            _what(entry),
            entry.deployment_id or entry.environment,
            entry.code,
            _why(entry),
        ]
        for entry in found
    ]
    columns = (
        Column("NUMBER"),
        Column("AT"),
        Column("USER", least=12),
        Column("WHAT"),
        Column("WHERE"),
        Column("OUTCOME"),
        Column("WHY", least=12),
    )
    for line in table(columns, rows, width=width()):
        click.echo(line)


@click.command("verify", cls=Verb, short_help="Find lines that were tampered with.")
@with_session
def verify(session: Session) -> None:
    """Find lines that were changed, taken out, put in, moved or cut off. Exits with 1 if there are any.

    The digest of the newest line, noted somewhere else, shows also what somebody with root's rights wrote anew.
    """
    with session.client() as client, ProgressLine() as progress:
        progress.show("reading the audit log")
        found = client.verify_audit()
    if session.json:
        session.print_json(
            {
                "damages": list(found.damages),
                "lines": found.lines,
                "head_sequence": found.head_sequence,
                "head_digest": found.head_digest,
            }
        )
    else:
        paint = Paint.of("stdout")
        for line in found.damages:
            click.echo(shown(line))
        count = len(found.damages)
        told = paint.bad(f"{count} damage(s)") if count else paint.good("the audit log is whole")
        click.echo(f"{told}: {found.lines} line(s), the newest is {found.head_sequence} {found.head_digest}")
    if found.damages:
        raise click.exceptions.Exit(FAILED)


def _what(entry: AuditEntry) -> str:
    if entry.phase == "answered":
        return f"answer to {entry.call}"
    if entry.phase == "refused":
        return f"{entry.method} refused" if entry.method else "more refused"
    return entry.method or entry.phase


def _why(entry: AuditEntry) -> str:
    """Return what came of it or why it was asked for, and how many like it are not in the log."""
    why = entry.message or entry.reason
    omitted = f"{entry.omitted} refusal(s) before this are not listed" if entry.omitted else ""
    return "; ".join(filter(None, (omitted, why)))


def _record(entry: AuditEntry) -> dict[str, Any]:
    """Return what is set of an entry."""
    record = {
        field.name: list(value) if field.name == "certificates" else value
        for field, value in entry.ListFields()
        if field.name != "at"
    }
    return {**record, "at": moment(entry.at) if entry.HasField("at") else None}
