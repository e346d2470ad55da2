"""The secrets that this process knows, so that they are hidden in all that it says.

The process's and not a deployer's: a log line does not know whose secret it is about to tell.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from headgated.core.redaction import Redactor

_REMEMBERED = 10_000
_lock = threading.Lock()
_values: dict[bytes, None] = {}
_redactor = Redactor()


def learn(values: Iterable[bytes]) -> None:
    """Hide these values from now on, for as long as the process lives; of very many the oldest are forgotten."""
    global _redactor  # noqa: PLW0603 - the process's, as said above
    with _lock:
        news = [value for value in values if value not in _values]
        if not news:
            return
        _values.update(dict.fromkeys(news))
        while len(_values) > _REMEMBERED:
            del _values[next(iter(_values))]
        _redactor = Redactor(_values)


def hide(text: str) -> str:
    """Return text without any secret that is known."""
    return _redactor.hide(text)
