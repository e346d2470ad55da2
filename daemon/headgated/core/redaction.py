"""Hides known secrets in text, wherever they stand: as they are, and as JSON, URLs and base64 write them.

The first line of defence is that secrets do not get into what is told at all (`core.sealing`); this is for what others say: a
program's output, an error's text, a traceback.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

from headgated.core.masking import MASK
from headgated.core.sealing import SHORTEST

_LINE = 8
"""Characters of a line of a longer secret that is hidden by itself."""


class Redactor:
    """Hides the values that it was told. Immutable."""

    def __init__(self, values: Iterable[bytes] = ()) -> None:
        forms = sorted({form for value in values for form in _forms(value)}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, forms))) if forms else None

    def hide(self, text: str) -> str:
        """Return text without the values."""
        return text if self._known is None else self._known.sub(MASK, text)


def _forms(value: bytes) -> Iterator[str]:
    text = value.decode("utf-8", "surrogateescape")
    lines = [line for line in text.splitlines() if len(line) >= _LINE]
    for part in (text, *lines):
        yield part
        yield json.dumps(part)[1:-1]
        yield json.dumps(part, ensure_ascii=False)[1:-1]
        yield repr(part)[1:-1]
        if part.isprintable():
            yield quote(part, safe="")
            yield quote_plus(part)
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield from _in_base64(encode(value).decode("ascii"))
    for form in (value.hex(), value.decode("utf-8", "backslashreplace")):
        if len(form) >= SHORTEST:
            yield form


def _in_base64(whole: str) -> Iterator[str]:
    yield whole
    yield whole.rstrip("=")
