"""Somebody who acts at the very moment at which the code under test opens a file: races without luck.

Python tells audit hooks before it opens anything; a hook cannot be taken off, so there is one, idle unless it is used.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_listeners: list[Callable[[bytes], None]] = []


def _hook(event: str, args: tuple[object, ...]) -> None:
    if not _listeners or event != "open" or not isinstance(args[0], str | bytes):
        return
    listeners = tuple(_listeners)
    _listeners.clear()  # what they open themselves is their own business
    try:
        for listener in listeners:
            listener(os.fsencode(args[0]))
    finally:
        _listeners.extend(listeners)


sys.addaudithook(_hook)


@contextmanager
def on_open(listener: Callable[[bytes], None]) -> Iterator[None]:
    """Call `listener` with each name that is about to be opened, as it is given to open()."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


@contextmanager
def opens() -> Iterator[list[bytes]]:
    """Collect the names that are opened."""
    names: list[bytes] = []
    with on_open(names.append):
        yield names


@contextmanager
def before_open(name: bytes, act: Callable[[], object], *, times: int = 1) -> Iterator[None]:
    """Do `act` before `name` is opened, the first `times` times."""
    left = times

    def listen(opened: bytes) -> None:
        nonlocal left
        if opened == name and left > 0:
            left -= 1
            act()

    with on_open(listen):
        yield
