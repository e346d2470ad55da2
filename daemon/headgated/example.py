"""`headgated --example DIR`: a daemon with something to look at, for a first try.

DIR holds three sources: `shared`, `development` and `production`. Two environments subscribe to the shared one and, laid over it,
their own; their targets are beside the state directory. Everything else is the daemon as it always is.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from headgated.core.environment import Environment, EnvironmentType
from headgated.core.errors import AlreadyExistsError
from headgated.core.orders import Caller
from headgated.engine.ledger import utc_now

if TYPE_CHECKING:
    from headgated.app import App

_VARIABLES = {
    EnvironmentType.DEVELOPMENT: {"HOST": "localhost", "PORT": "8080", "LOG_LEVEL": "debug"},
    EnvironmentType.PRODUCTION: {"HOST": "canal.example", "PORT": "443", "LOG_LEVEL": "warning"},
}
_TRY = """
Headgate runs. It watches   {example}/{{shared,development,production}}
and deploys to              {targets}/{{development,production}}

In a second terminal, in this directory:

    export HEADGATE_ADDRESS={socket}
    {headgate} watch                      see each deployment as it happens

and in a third, with the same export:

    $EDITOR {example}/shared/app.toml      change something and save: development follows at once
    {headgate} deployments                what happened
    {headgate} rollback DEPLOYMENT_ID     undo it; it stays undone
    {headgate} status                     is everything all right?
    {headgate} plan production            what would change there
    {headgate} deploy production          production waits until it is asked

Ctrl-C ends it. What it keeps is in {state}.
"""


class Example:
    """Sets the example up in a daemon that has just begun to serve."""

    def __init__(self, directory: Path, state: Path, socket: Path) -> None:
        self._directory, self._state, self._socket = directory.absolute(), state, socket
        self._targets = state.parent / "targets"

    async def begin(self, app: App) -> None:
        """Create the environments that are not there yet, and say what to try."""
        for env_type, variables in _VARIABLES.items():
            try:
                await app.control.create_environment(
                    self._environment(env_type, variables), Caller("example"), auto_sync_given=False
                )
            except AlreadyExistsError:
                continue
        print(self._text(), flush=True)

    def _environment(self, env_type: EnvironmentType, variables: dict[str, str]) -> Environment:
        now = utc_now()
        return Environment(
            name=env_type.value,
            type=env_type,
            config_path=str(self._targets / env_type.value),
            created_at=now,
            updated_at=now,
            sources=(str(self._directory / "shared"), str(self._directory / env_type.value)),
            variables=variables,
        )

    def _text(self) -> str:
        return _TRY.format(
            example=_near(self._directory),
            targets=_near(self._targets),
            socket=self._socket,
            state=_near(self._state),
            headgate=_near(Path(sys.executable).parent / "headgate"),
        )


def _near(path: Path) -> str:
    """Return a path as short as it can be said from here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
