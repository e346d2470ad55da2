"""Errors as people see them: what could not be done and why, what to do, and the exit code for scripts."""

from __future__ import annotations

from collections.abc import Sequence

import click

from headgate.cli.terminal import Paint, is_terminal
from headgate.errors import (
    ConflictError,
    ForbiddenError,
    HeadgateError,
    InvalidRequestError,
    NotFoundError,
    RefusedError,
    TimedOutError,
    UnreachableError,
)
from headgate.filename import shown

FAILED = 1
USAGE = 2
PLAN_HAS_CHANGES = 8
INTERRUPTED = 130

_CODES: dict[type[HeadgateError], int] = {
    InvalidRequestError: USAGE,
    NotFoundError: 3,
    RefusedError: 4,
    ConflictError: 4,
    ForbiddenError: 5,
    UnreachableError: 6,
    TimedOutError: 7,
}
_LISTED_PATHS = 20


class Mistakes(click.UsageError):
    """Several things wrong with a command line.

    Attributes:
        each: what click says of each.
    """

    def __init__(self, each: Sequence[click.UsageError], ctx: click.Context) -> None:
        super().__init__("; ".join(mistake.format_message() for mistake in each), ctx)
        self.each = each


def exit_code(error: BaseException) -> int | None:
    """Return the exit code of an error that is expected to happen; None for a fault of this program."""
    match error:
        case HeadgateError():
            return _CODES.get(type(error), FAILED)
        case click.ClickException():
            return error.exit_code
        case UnicodeEncodeError():
            return USAGE
    return None


def tell(error: BaseException) -> None:
    """Say on stderr what went wrong."""
    match error:
        case HeadgateError():
            say(error)
        case click.exceptions.NoArgsIsHelpError():
            click.echo(error.format_message(), err=True)
        case Mistakes() if error.ctx is not None:
            lines = [f"  {_plain(each.format_message())}" for each in error.each]
            what = f"cannot read the command line: {len(lines)} things are wrong"
            _print(what, lines, f"{error.ctx.command_path} --help")
        case click.UsageError() if error.ctx is not None:
            _say("cannot read the command line", error.format_message(), f"{error.ctx.command_path} --help")
        case click.ClickException():
            _say("cannot read the command line", error.format_message(), "headgate --help")
        case _:
            _say("cannot read the command line", "an argument is not valid UTF-8", "")


def say(error: HeadgateError, rest: str = "") -> None:
    """Say on stderr what an error means: its faults and paths a line each, and the hint.

    Args:
        error: what went wrong.
        rest: what shows the paths that are too many for a terminal.
    """
    listed = _LISTED_PATHS if is_terminal("stderr") else len(error.paths)
    message, lines = error.message, [f"  {path}" for path in error.paths[:listed]]
    if len(error.paths) == 1 and error.paths[0] in message and not error.omitted:
        lines = []
    if len(error.paths) > listed:
        lines.append(f"  and {len(error.paths) - listed} more: {rest or 'a file shows them all (2> FILE)'}")
    told = [str(fault.plain()) for fault in error.faults]
    if len(told) > 1 or (told and not isinstance(error, InvalidRequestError) and told[0] not in message):
        message = _heading(error, told[0])
        lines += [f"  {fault}" for fault in told]
    elif told and isinstance(error, InvalidRequestError) and not error.omitted:
        message = f"cannot {error.what}: {told[0]}"
    if error.omitted:
        lines.append(
            f"  and {error.omitted} more, for which an answer has no room: mend these, then ask again"
        )
    _print(message, lines, error.hint)


def _heading(error: HeadgateError, first: str) -> str:
    """Return an error's message for the line above its faults, which it may list itself: the first of them as given."""
    count = len(error.faults) + error.omitted
    if isinstance(error, InvalidRequestError):
        return f"cannot {error.what}: {count} things are wrong"
    before, listed, _ = error.message.partition(first)
    return f"{before}{count} things are wrong" if listed else f"{error.message}; besides:"


def say_none(what: str, hint: str) -> None:
    """Say to people that a list is empty; programs see that."""
    if is_terminal("stderr"):
        _print(what, [], hint)


def _say(what: str, why: str, hint: str) -> None:
    _print(f"{what}: {_plain(why)}", [], hint)


def _plain(why: str) -> str:
    """Return what click says as the rest of a sentence."""
    why = " ".join(why.split()).replace(". Choose from: ", "; choose from ")
    return f"{why[:1].lower()}{why[1:].rstrip('.')}"


def _print(message: str, lines: list[str], hint: str) -> None:
    paint = Paint.of("stderr")
    # A message may have several lines; each is made safe to show by itself.
    first, *rest = message.splitlines() or [""]
    click.echo(f"{paint.bad('headgate:')} {shown(first)}", err=True)
    for line in (*rest, *lines):
        click.echo(shown(line), err=True)
    for number, line in enumerate(hint.splitlines()):
        click.echo(f"{paint.dim('  try:') if number == 0 else '      '} {shown(line)}", err=True)
