"""`headgate history`: whether it is whole, how much of it is kept, and what a deployment left."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import click

from headgate.cli.arguments import DeploymentId
from headgate.cli.failure import FAILED
from headgate.cli.session import Session, with_session
from headgate.cli.terminal import Paint, ProgressLine
from headgate.cli.verb import Noun, Verb
from headgate.filename import shown

_VERBS = {
    "verify": "headgate.cli.history:verify",
    "gc": "headgate.cli.history:gc",
    "export": "headgate.cli.history:export",
}
_EXPORT_SECONDS = 120.0
"""In which the first bytes must come."""


@click.group("history", cls=Noun, verbs=_VERBS, short_help="Verify, clean up and export history.")
def history() -> None:
    """Verify, clean up and read what was deployed and overwritten."""


@click.command("verify", cls=Verb, short_help="Read history again, and name damages.")
@with_session
def verify(session: Session) -> None:
    """Read all of history again, and name each damage. Exits with 1 if there is any."""
    with session.client() as client, ProgressLine() as progress:
        progress.show("reading all of history")
        found = client.verify_history()
    damages = len(found.damages) + found.omitted_count
    if session.json:
        session.print_json({"damages": list(found.damages), "omitted_count": found.omitted_count})
    else:
        paint = Paint.of("stdout")
        for line in found.damages:
            click.echo(shown(line))
        if found.omitted_count:
            click.echo(f"and {found.omitted_count} more")
        click.echo(paint.bad(f"{damages} damage(s)") if damages else paint.good("history is whole"))
    if damages:
        raise click.exceptions.Exit(FAILED)


@click.command("gc", cls=Verb, short_help="Drop what exceeds the limits, now.")
@with_session
def gc(session: Session) -> None:
    """Drop what exceeds the limits that the daemon's configuration sets, now.

    What is dropped can be neither rolled back nor restored nor exported any more. It happens by itself at intervals.
    """
    with session.client() as client, ProgressLine() as progress:
        progress.show("collecting history")
        done = client.collect_history()
    if session.json:
        session.print_json(
            {
                "deployments": done.deployments,
                "contents": done.contents,
                "bytes_returned": done.bytes_returned,
            }
        )
        return
    click.echo(
        f"{done.deployments} deployment(s) and {done.contents} content(s) dropped, {done.bytes_returned} bytes returned"
    )


@click.command("export", cls=Verb, short_help="Write out what a deployment left.")
@click.argument("deployment_id", type=DeploymentId())
@click.argument("directory", type=click.Path(path_type=Path, allow_dash=True))
@with_session
def export(session: Session, deployment_id: str, directory: Path) -> None:
    """Write the state that a deployment left to a directory, which must be empty or absent.

    With `-` in place of a directory, a tar archive goes to standard output.
    """
    with (
        session.client(_EXPORT_SECONDS) as client,
        closing(client.export_deployment(deployment_id)) as pieces,
    ):
        if str(directory) == "-":
            _to_output(pieces)
            return
        from headgate.unpack import unpack  # noqa: PLC0415 -- only for this

        files = unpack(pieces, directory)
    if session.json:
        session.print_json(
            {"deployment_id": deployment_id, "directory": shown(str(directory)), "files": files}
        )
    else:
        click.echo(f"{files} file(s) of {deployment_id} are in {shown(str(directory))}")


def _to_output(pieces: Iterable[bytes]) -> None:
    if sys.stdout.isatty():
        raise click.UsageError("an archive is not for a terminal; redirect it, or name a directory")
    for piece in pieces:
        sys.stdout.buffer.write(piece)
