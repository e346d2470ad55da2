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

_BASE64 = 6
"""Characters of base64 that are hidden; fewer stand in many a text by chance."""
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
    for offset in range(3):
        yield from _in_base64(value, offset)
    for form in (value.hex(), value.decode("utf-8", "backslashreplace")):
        if len(form) >= SHORTEST:
            yield form


def _in_base64(value: bytes, offset: int) -> Iterator[str]:
    """Yield what stands for a value in the base64 of a longer text, of which so many bytes (modulo 3) come before it.

    What else is in the first and last character depends on what is around it: these are left out, and with them some bits.
    """
    first, end = -(-offset * 8 // 6), (offset + len(value)) * 8 // 6
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        form = encode(bytes(offset) + value).decode("ascii")[first:end]
        if len(form) >= _BASE64:
            yield form
