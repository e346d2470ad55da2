"""What may have been meant by the name of an environment or deployment that there is none of.

The daemon is asked once more, for a second at most, and tells only of what its caller may see.
"""

from __future__ import annotations

import re
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

from headgate.errors import HeadgateError, NotFoundError

if TYPE_CHECKING:
    from headgate.cli.session import Session
    from headgate.client import Client

_SECONDS = 1.0
_DEPLOYMENTS = 100
_MISSING = re.compile(r"there is no (environment|deployment) '?([^\s']+)'?")


def suggest(session: Session, error: NotFoundError) -> None:
    """Add to an error what is likely to have been meant, if anything is."""
    found = _MISSING.search(error.message)
    if found is None:
        return
    kind, name = found.groups()
    with suppress(HeadgateError), session.client(_SECONDS) as client:
        names = [each.name for each in client.list_environments()]
        if kind == "deployment" and name in names:
            error.hint = f"{name} is an environment; its deployments: headgate deployments --env {name}"
            return
        likely = _environment(names, name) if kind == "environment" else _deployment(client, name)
        if likely:
            error.message = f"{error.message} (did you mean {likely}?)"


def _environment(names: list[str], name: str) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 -- only a mistake needs it

    begun = [each for each in names if each.startswith(name)]
    likely = begun if len(begun) == 1 else get_close_matches(name, names, 1)
    return likely[0] if likely else ""


def _deployment(client: Client, name: str) -> str:
    """Return the one that begins so; ids are too much alike for anything else to be likely."""
    newest = islice(client.list_deployments(page_size=_DEPLOYMENTS), _DEPLOYMENTS)
    begun = [each.deployment_id for each in newest if each.deployment_id.startswith(name)]
    return begun[0] if len(begun) == 1 else ""
