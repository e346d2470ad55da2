"""Streams that are open, and their end when the roles that they were opened by are replaced.

A stream whose caller may do something else than when it began is ended: refused where it may not be open any more, else told to begin
anew, with what its caller may see now. Nothing is sent on it after that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from headgated.api.access import Access
from headgated.core.errors import ConflictError, ForbiddenError, HeadgateError
from headgated.core.orders import Caller
from headgated.core.roles import Rights


@dataclass(slots=True)
class _Open:
    caller: Caller
    method: str
    request: object
    rights: Rights
    error: HeadgateError | None = None


class Streams:
    """Lives on one asyncio loop."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._open: dict[asyncio.Task[object], _Open] = {}

    @contextmanager
    def open(self, caller: Caller, method: str, request: object) -> Iterator[None]:
        """Have the present task be a stream.

        Raises:
            ForbiddenError: the caller may not open it, or may not have it open any more.
            ConflictError: ROLES_CHANGED, it has to begin anew.
        """
        self._access.demand(caller, method, request)
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("cannot open a stream outside a task")
        stream = _Open(caller, method, request, self._access.rights(caller))
        self._open[task] = stream
        try:
            yield
        except asyncio.CancelledError:
            if stream.error is None:
                raise
            task.uncancel()
            raise stream.error from None
        finally:
            del self._open[task]

    def look_anew(self) -> None:
        """End the streams that other roles concern."""
        for task, stream in self._open.items():
            if stream.error is None and self._access.rights(stream.caller) != stream.rights:
                stream.error = self._why(stream)
                task.cancel()

    def _why(self, stream: _Open) -> HeadgateError:
        try:
            self._access.demand(stream.caller, stream.method, stream.request)
        except ForbiddenError as error:
            return error
        return ConflictError(
            "cannot go on: your roles have changed",
            reason="ROLES_CHANGED",
            hint="watch again; the stream begins with what you may see now",
        )
