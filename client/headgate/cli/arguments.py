"""What verbs are given: names completed by the shell from the daemon, files, and `K=V` pairs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from headgate.cli.session import Session
from headgate.cli.table import cut
from headgate.errors import Fault, HeadgateError
from headgate.filename import escape, shown

if TYPE_CHECKING:
    from headgate.client import Client

_COMPLETION_SECONDS = 1.0
_COMPLETED_DEPLOYMENTS = 100
_LONGEST_HELP = 60


class _FromDaemon(click.ParamType[str]):
    """A text that the shell completes with what the daemon knows; without a daemon, with nothing."""

    def shell_complete(
        self,
        ctx: click.Context,
        param: click.Parameter,  # noqa: ARG002 -- click's signature
        incomplete: str,
    ) -> list[CompletionItem[str]]:
        """Ask the daemon, for a second at most."""
        try:
            with ctx.ensure_object(Session).client(_COMPLETION_SECONDS) as client:
                return [
                    CompletionItem(value, help=_in_a_line(about))
                    for value, about in self.known(client)
                    if value.startswith(incomplete)
                ]
        except HeadgateError:
            return []

    def known(self, client: Client) -> Iterator[tuple[str, str]]:
        """Yield what there is, each with what to say about it."""
        raise NotImplementedError


class EnvironmentName(_FromDaemon):
    """The name of an environment."""

    name = "name"

    def known(self, client: Client) -> Iterator[tuple[str, str]]:
        """Yield the names."""
        for each in client.list_environments():
            yield each.name, each.config_path


class DeploymentId(_FromDaemon):
    """The id of a deployment."""

    name = "deployment_id"

    def known(self, client: Client) -> Iterator[tuple[str, str]]:
        """Yield the ids of the newest ones."""
        newest = client.list_deployments(page_size=_COMPLETED_DEPLOYMENTS)
        for each in islice(newest, _COMPLETED_DEPLOYMENTS):
            yield each.deployment_id, f"{each.deployed_by} {each.reason}"


def _in_a_line(text: str) -> str:
    """Return what somebody wrote in one line that steers neither the terminal nor the shell, which reads completions by lines."""
    return cut(shown(" ".join(text.split())), _LONGEST_HELP)


def absolute(path: str) -> str:
    """Return a path that the daemon understands, which has another working directory."""
    return escape(os.path.abspath(path))  # noqa: PTH100 -- `..` goes, symbolic links stay


def files_for_daemon(client: Client, environment: str, files: Iterable[str]) -> list[str]:
    """Return the files of a deployment as the daemon wants them: absolute, or relative to the environment's sources.

    A relative file is taken from the working directory where that lies in a source; else it is relative to the sources, unless
    it only exists in the working directory (then the daemon can say why that will not do).
    """
    given = list(files)
    if all(Path(file).is_absolute() for file in given):
        return [absolute(file) for file in given]
    sources = list(client.get_environment(environment).sources)
    return [_file(file, sources) for file in given]


def _file(file: str, sources: list[str]) -> str:
    here = os.path.abspath(file)  # noqa: PTH100 -- `..` goes, symbolic links stay
    if Path(file).is_absolute() or (os.path.lexists(here) and _inside(here, sources)):
        return escape(here)
    if os.path.lexists(here) and not any(os.path.lexists(Path(source, file)) for source in sources):
        return escape(here)
    return escape(os.path.normpath(file))


def _inside(path: str, directories: Iterable[str]) -> bool:
    return any(Path(escape(path)).is_relative_to(directory) for directory in directories)


def pairs(option: str, given: Iterable[str], faults: list[Fault]) -> dict[str, str]:
    """Read `K=V` arguments; everything wrong with them goes to `faults`."""
    found: dict[str, str] = {}
    for each in given:
        key, equals, value = each.partition("=")
        if not equals or not key:
            faults.append(Fault(option, f"must be KEY=VALUE (got {key!r:.80})"))
        elif key in found:
            faults.append(Fault(option, f"gives {key!r:.80} twice"))
        else:
            found[key] = value
    return found
