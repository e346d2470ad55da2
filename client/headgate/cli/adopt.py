"""`headgate adopt`: keep what somebody edited at a target."""

from __future__ import annotations

import os
from typing import Any

import click

from headgate.cli.arguments import EnvironmentName
from headgate.cli.deploy import follow, order_options
from headgate.cli.session import Session, with_session
from headgate.cli.verb import Verb
from headgate.filename import escape


@click.command("adopt", cls=Verb)
@click.argument("name", type=EnvironmentName())
@click.argument("paths", nargs=-1, metavar="[PATH]...", type=click.Path())
@order_options
@with_session
def adopt(
    session: Session,
    name: str,
    *,
    paths: tuple[str, ...],
    wait: bool,
    timeout: float,
    **order: Any,  # noqa: ANN401 -- one for each option
) -> None:
    """Keep edits by hand at the target.

    Takes managed files that are no longer as deployed into history as they are, all of them or those at PATH: relative to the
    target, or absolute; a directory stands for all below it. Nothing at the target changes. Auto-sync does not overwrite them
    before the sources change there, or somebody deploys or resumes. Rolling back gives back what was deployed.
    """
    wanted = [escape(os.path.normpath(path)) for path in paths]
    with session.client() as client:
        follow(session, client, lambda: client.adopt(name, wanted, **order), wait=wait, timeout=timeout)
