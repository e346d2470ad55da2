"""Threads for what waits for the disk, or for the kernel, while something else is done."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

THREADS = 16
"""So many calls are in flight at most."""

_P = ParamSpec("_P")
_T = TypeVar("_T")


def beside(act: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
    """Have a call made by another thread; what it is given must be good until that is done."""
    global _pool  # noqa: PLW0603 - threads are the process's, whatever targets there are
    if _pool is None:
        _pool = ThreadPoolExecutor(THREADS, thread_name_prefix="disk")
    return _pool.submit(act, *args, **kwargs)


_pool: ThreadPoolExecutor | None = None


def _forget_threads() -> None:
    global _pool  # noqa: PLW0603 - see above; a child has none of its parent's threads
    _pool = None


os.register_at_fork(after_in_child=_forget_threads)
