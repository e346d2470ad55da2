"""`headgate completion`: what makes a shell complete this command line."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

from headgate.cli.verb import Verb

_SHELLS = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


@click.command("completion", cls=Verb)
@click.argument("shell", type=click.Choice(list(_SHELLS)))
def completion(shell: str) -> None:
    """Print the completion script for a shell.

    Environment names and deployment ids are completed from the daemon.

    \b
      bash:  headgate completion bash > /etc/bash_completion.d/headgate
      zsh:   headgate completion zsh > "${fpath[1]}/_headgate"
      fish:  headgate completion fish > ~/.config/fish/completions/headgate.fish
    """  # noqa: D301 -- click's sign for lines that stay as they are
    root = click.get_current_context().find_root().command
    made = _SHELLS[shell](root, {}, "headgate", "_HEADGATE_COMPLETE")
    click.echo(made.source_template % made.source_vars())
