"""What one run of the command line knows: which daemon, which form of output."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from headgate.client import Client

_Result = TypeVar("_Result")


@dataclass(slots=True)
class Session:
    """One run. Made by click; the options that every verb has set its fields."""

    address: str | None = None
    json: bool = False

    def client(self, timeout: float = 10.0) -> Client:
        """Return a new client; use it as a context manager."""
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what goes wrong is said once, by us
        from headgate.client import Client  # noqa: PLC0415 -- brings gRPC

        return Client(self.address, timeout=timeout)

    def print_json(self, record: dict[str, Any], *, lines: bool = False) -> None:
        """Print a record, indented or as one line."""
        import json  # noqa: PLC0415 -- people do not need it

        click.echo(json.dumps(record, indent=None if lines else 2))


def with_session(function: Callable[..., _Result]) -> Callable[..., _Result]:
    """Give a verb the session as its first argument."""
    return click.make_pass_decorator(Session, ensure=True)(function)
