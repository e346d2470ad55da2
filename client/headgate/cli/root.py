"""The top of the command line: all verbs, and the one place where errors become text and exit codes."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from headgate import __version__
from headgate.cli.failure import FAILED, INTERRUPTED, exit_code, tell
from headgate.cli.verb import Noun
from headgate.errors import HeadgateError

_BROKEN_PIPE = 141
_REST = "what was asked for has been done, or goes on: headgate status, headgate deployments"

_VERBS = {
    "status": "headgate.cli.status:status",
    "env": "headgate.cli.env:env",
    "plan": "headgate.cli.plan:plan",
    "deploy": "headgate.cli.deploy:deploy",
    "rollback": "headgate.cli.deploy:rollback",
    "restore": "headgate.cli.deploy:restore",
    "adopt": "headgate.cli.adopt:adopt",
    "cancel": "headgate.cli.deployments:cancel",
    "confirm": "headgate.cli.deployments:confirm",
    "deployments": "headgate.cli.deployments:deployments",
    "show": "headgate.cli.deployments:show",
    "watch": "headgate.cli.watch:watch",
    "history": "headgate.cli.history:history",
    "audit": "headgate.cli.audit:audit",
    "reload": "headgate.cli.status:reload",
    "completion": "headgate.cli.completion:completion",
}


class Root(Noun):
    """The command `headgate`."""

    def main(  # type: ignore[override] # always ends the program, whatever the mode
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        **extra: Any,  # noqa: ANN401 -- handed on as they are
    ) -> NoReturn:
        """Run, say what went wrong, and exit with the code that docs/cli.md promises."""
        _make_printable()
        extra["standalone_mode"] = False
        try:
            code = super().main(args, prog_name or "headgate", **extra)
        except (click.Abort, KeyboardInterrupt):
            sys.exit(INTERRUPTED)
        except OSError as error:
            if error.filename is not None or error.errno is None:  # A fault of this program.
                raise
            _drop_output()
            _tell(HeadgateError(f"cannot write the output: {error.strerror}", hint=_REST))
            sys.exit(FAILED)
        except Exception as error:
            if exit_code(error) is None:
                raise
            _tell(error)
            sys.exit(exit_code(error))
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: click.Context) -> object:
        """Run the verb; a reader of its output who goes away, as `head` does, is no error to speak of."""
        try:
            result: object = super().invoke(ctx)
            if sys.stdout is not None:  # It may have been closed by whoever started this.
                sys.stdout.flush()
        except BrokenPipeError:
            _drop_output()
            sys.exit(_BROKEN_PIPE)
        return result


def _make_printable() -> None:
    """Print what the terminal's encoding lacks as an escape, in place of failing half-way."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _tell(error: Exception) -> None:
    """Say what went wrong, where that can be said: the exit code says it too."""
    with contextlib.suppress(OSError):
        tell(error)


def _drop_output() -> None:
    """Close standard output, which takes nothing any more, so that the interpreter does not try again at exit."""
    with contextlib.suppress(OSError):
        sys.stdout.close()


@click.group(
    "headgate",
    cls=Root,
    verbs=_VERBS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, message="headgate %(version)s")
def headgate() -> None:
    """Create environments, deploy configuration to them, and take it back.

    Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 refused, 5 no permission, 6 daemon not reachable, 7 timed out, 8 the
    plan has changes (plan --exit-code), 130 interrupted.
    """
