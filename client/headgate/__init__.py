"""Headgate's client: a thin gRPC client and the command line.

    from headgate import Client

    with Client() as client:
        deployment = client.wait_for_deployment(client.deploy("canal").deployment_id)

`AsyncClient` has the same methods for asyncio; `headgate.errors` is what they raise, `headgate.testing` a daemon for tests of your own.

Importing this package imports nothing else: gRPC comes with the first use of a client, so that programs which only might
talk to the daemon pay nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False  # what type checkers take for true, without importing `typing`

if TYPE_CHECKING:
    from headgate.async_client import AsyncClient
    from headgate.client import Client
    from headgate.errors import HeadgateError

__version__ = "0.1.0"
"""A literal: reading the installed package's metadata would take longer than all else that `headgate --version` does."""

__all__ = ["AsyncClient", "Client", "HeadgateError", "__version__"]

_HOMES = {
    "AsyncClient": "headgate.async_client",
    "Client": "headgate.client",
    "HeadgateError": "headgate.errors",
}


def __getattr__(name: str) -> object:
    """Import what is asked for when it is asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 -- nothing is imported before it is needed

    return getattr(import_module(_HOMES[name]), name)
