"""`headgate plan`: what a deployment would change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from headgate.cli.arguments import EnvironmentName, files_for_daemon
from headgate.cli.changes import change_lines, counts, drift_lines, total
from headgate.cli.failure import PLAN_HAS_CHANGES
from headgate.cli.session import Session, with_session
from headgate.cli.terminal import Paint, is_terminal
from headgate.cli.verb import Verb
from headgate.filename import shown

if TYPE_CHECKING:
    from headgate.v1.deployment_pb2 import FileDiff, PlanDeploymentResponse


@click.command("plan", cls=Verb)
@click.argument("name", type=EnvironmentName())
@click.argument("files", nargs=-1, metavar="[FILE]...", type=click.Path())
@click.option(
    "--diff/--no-diff", default=True, help="Show the changed lines (the default), or only the files."
)
@click.option(
    "--exit-code", is_flag=True, help="Exit with 8 if there are changes or drift, 0 if there is none."
)
@with_session
def plan(session: Session, name: str, *, files: tuple[str, ...], diff: bool, exit_code: bool) -> None:
    """Show what a deployment would change.

    Files, settings and lines; edits at the target; and what would keep it from running.
    """
    with session.client() as client:
        found = client.plan(name, files_for_daemon(client, name, files), diff=diff)
    if session.json:
        from headgate.records import plan_record  # noqa: PLC0415 -- brings protobuf

        session.print_json(plan_record(found))
    else:
        for line in _lines(found, Paint.of("stdout")):
            click.echo(line, color=True)  # click would take escapes out of the files' lines, for programs too
    if exit_code and (total(found.changes) or found.drifted):
        raise click.exceptions.Exit(PLAN_HAS_CHANGES)


def _lines(found: PlanDeploymentResponse, paint: Paint) -> Iterator[str]:
    changes = found.changes
    what = counts(changes) if total(changes) else "nothing to change"
    yield paint.bold(f"{found.environment}: {what}, {changes.unchanged_count} unchanged")
    yield from change_lines(changes, paint)
    if found.drifted:
        yield paint.odd("no longer as deployed, at the target:")
        yield from drift_lines(list(found.drifted))
    for diff in found.diffs:
        yield ""
        yield from _diff_lines(diff, paint)
    if found.HasField("blocked"):
        yield ""
        yield paint.bad(shown(f"would not run: {found.blocked.message} ({found.blocked.reason})"))
        yield from (shown(f"  {path}") for path in found.blocked.paths)
        if found.blocked.hint:
            yield shown(f"  try: {found.blocked.hint}")


def _diff_lines(diff: FileDiff, paint: Paint) -> Iterator[str]:
    """Yield a unified diff: as it is for programs, harmless and coloured for a terminal."""
    if not diff.unified:
        yield paint.dim(shown(f"{diff.path}: {diff.note or 'no diff'}"))
        return
    safe = shown if is_terminal("stdout") else str
    for line in diff.unified.removesuffix("\n").split("\n"):
        yield _paint_line("\t".join(safe(part) for part in line.split("\t")), paint)
    if diff.note:
        yield paint.dim(shown(diff.note))


def _paint_line(line: str, paint: Paint) -> str:
    if line.startswith(("+++", "---")):
        return paint.bold(line)
    if line.startswith("@@"):
        return paint.dim(line)
    if line.startswith("+"):
        return paint.good(line)
    return paint.bad(line) if line.startswith("-") else line
