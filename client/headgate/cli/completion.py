"""`headgate completion`: what makes a shell complete this command line."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

from headgate.cli.verb import Verb


class _Zsh(ZshComplete):
    """As click has it, but the file that zsh loads by itself completes each time, not only the first time."""

    source_template = ZshComplete.source_template.replace(
        "$zsh_eval_context[-1] == loadautofunc", "$funcstack[1] == _%(prog_name)s"
    )


class _Fish(FishComplete):
    """As click has it, but descriptions are not cut at their first comma, and what is newest stays first."""

    source_template = FishComplete.source_template.replace(
        'string split "," ', 'string split --max 1 "," '
    ).replace("complete --no-files", "complete --keep-order --no-files")


_SHELLS = {"bash": BashComplete, "zsh": _Zsh, "fish": _Fish}


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
