"""The asyncio client with the face of the other one, so that the same tests run on both."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine, Generator
from functools import cache
from typing import Any, Self

from headgate import AsyncClient
from headgate.remote import TlsFiles


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """A loop on a thread of its own, for as long as the tests last: gRPC likes to have one only."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    return loop


def _await(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run_coroutine_threadsafe(work, _loop()).result(90)


class Bridged:
    """`AsyncClient`, to be called from threads."""

    def __init__(
        self, address: str | None = None, *, timeout: float = 10.0, tls: TlsFiles | None = None
    ) -> None:
        self._inner = AsyncClient(address, timeout=timeout, tls=tls)
        self.address = self._inner.address

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            made = method(*args, **kwargs)
            return _each(made) if isinstance(made, AsyncGenerator) else _await(made)

        return call


def _each(events: AsyncGenerator[Any, None]) -> Generator[Any, None, None]:
    async def following() -> tuple[bool, Any]:
        try:
            return True, await anext(events)
        except StopAsyncIteration:
            return False, None

    try:
        while True:
            more, event = _await(following())
            if not more:
                return
            yield event
    finally:
        _await(events.aclose())
