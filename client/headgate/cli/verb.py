"""How verbs are made: the options that all share, and groups that import a verb when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import click

from headgate.cli.failure import Mistakes
from headgate.cli.session import Session
from headgate.errors import NotFoundError


class Verb(click.Command):
    """A command that also takes `-o` and `--socket`, and says what may have been meant by a name that there is none of."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 -- handed on as they are
        super().__init__(*args, **kwargs)
        self.params += shared_options()

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments; what is wrong with them is wrong with this verb's, and all of it is told at once."""
        given = list(args)
        with _here(ctx):
            try:
                return super().parse_args(ctx, args)
            except click.BadParameter as first:
                mistakes = self._mistakes(ctx, given)
                if len(mistakes) > 1:
                    raise Mistakes(mistakes, ctx) from first
                raise

    def _mistakes(self, ctx: click.Context, args: list[str]) -> list[click.UsageError]:
        """Return what is wrong with each parameter; click tells of the first that it comes to."""
        values, rest, _ = self.make_parser(ctx).parse_args(args)
        found = []
        for param in self.get_params(ctx):
            try:
                _, rest = param.handle_parse_result(ctx, values, rest)
            except click.UsageError as mistake:
                found.append(mistake)
        return found

    def invoke(self, ctx: click.Context) -> object:
        """Run it."""
        try:
            result: object = super().invoke(ctx)
        except NotFoundError as error:
            from headgate.cli.likely import suggest  # noqa: PLC0415 -- only a mistake needs it

            suggest(ctx.ensure_object(Session), error)
            raise
        return result


class Noun(click.Group):
    """A group that takes `-o` and `--socket`, lists its verbs in the order given, and imports each when it is needed.

    `verbs` maps each name to `module:attribute`.
    """

    command_class = Verb

    def __init__(self, *args: Any, verbs: Mapping[str, str], **kwargs: Any) -> None:  # noqa: ANN401 -- as above
        super().__init__(*args, **kwargs)
        self.params += shared_options()
        self._verbs = verbs

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments; what is wrong with them is wrong with this noun's."""
        with _here(ctx):
            return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- click's signature
        """Return the names, in the order given."""
        return list(self._verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 -- as above
        """Import the verb."""
        if cmd_name not in self._verbs:
            return None
        module, _, attribute = self._verbs[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb; of one that is not there say which may have been meant."""
        if args and args[0] not in self._verbs and not args[0].startswith("-"):
            from difflib import get_close_matches  # noqa: PLC0415 -- only a mistake needs it

            verbs = self._all_verbs(ctx)
            likely = get_close_matches(args[0], verbs, 1)
            meant = f" (did you mean {verbs[likely[0]]}?)" if likely else ""
            ctx.fail(f"there is no verb {args[0]!r:.80}{meant}")
        return super().resolve_command(ctx, args)

    def _all_verbs(self, ctx: click.Context) -> dict[str, str]:
        """Return how each verb is written, from here, by its own name; also those of nouns in this one."""
        verbs = {name: name for name in self._verbs}
        for name in self._verbs:
            below = self.get_command(ctx, name)
            for verb in below.list_commands(ctx) if isinstance(below, Noun) else ():
                verbs.setdefault(verb, f"{name} {verb}")
        return verbs


@contextmanager
def _here(ctx: click.Context) -> Iterator[None]:
    """Tell a mistake in an option, of which click does not say whose it is, where it belongs: its help is there."""
    try:
        yield
    except click.UsageError as error:
        error.ctx = error.ctx or ctx
        raise


def shared_options() -> list[click.Parameter]:
    """Return fresh options that set the session's fields; given twice, the one after the verb counts."""
    return [
        click.Option(
            ["-o", "--output"],
            type=click.Choice(["table", "json"]),
            expose_value=False,
            callback=_set_output,
            help="Form of the output: for people (table, the default) or for programs (json).",
        ),
        click.Option(
            ["--socket", "--address", "address"],
            metavar="PATH",
            type=click.Path(),
            expose_value=False,
            callback=_set_address,
            help="The daemon's socket, or tls:HOST:PORT. Default: $HEADGATE_ADDRESS, the system's, your own.",
        ),
    ]


def _set_output(context: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.ensure_object(Session).json = value == "json"


def _set_address(context: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.ensure_object(Session).address = value
