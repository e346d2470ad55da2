"""Reads Java properties: `key=value`, `key: value` or `key value`, with escapes and lines that go on after a backslash.

The rules are those of java.util.Properties.load: the first `=`, `:` or white space that is not escaped ends the key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from headgated.core.formats.node import Documents, UnclearError, unique

_NEW_LINE = re.compile(r"\r\n|\n|\r")
_KEY = re.compile(r"((?:[^\\=: \t\f]|\\.)*+)[ \t\f]*+(?:[=:][ \t\f]*+)?", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|(.))", re.DOTALL)
_NAMED = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_BLANK = " \t\f"


def read_properties(text: str) -> Documents:
    """Return the one mapping of a properties file.

    Raises:
        UnclearError: a key is given twice, or an escape is none.
    """
    settings = []
    for line in _logical_lines(text):
        key = _KEY.match(line)
        if key is None:
            raise UnclearError("a line has no key")
        settings.append((_unescaped(key[1]), _unescaped(line[key.end() :])))
    return [unique(settings)]


def _logical_lines(text: str) -> Iterator[str]:
    """Yield the lines that say something, each with those that it goes on in."""
    gathered: list[str] = []
    for line in _NEW_LINE.split(text):
        part = line.lstrip(_BLANK)
        if not gathered and (not part or part[0] in "#!"):
            continue
        backslashes = len(part) - len(part.rstrip("\\"))
        gathered.append(part[:-1] if backslashes % 2 else part)
        if backslashes % 2 == 0:
            yield "".join(gathered)
            gathered = []
    if gathered:
        yield "".join(gathered)


def _unescaped(text: str) -> str:
    if "\\" not in text:
        return text
    return _ESCAPE.sub(_character, text)


def _character(match: re.Match[str]) -> str:
    if match[1]:
        return chr(int(match[1], 16))
    if match[2] == "u":
        raise UnclearError("an escape is cut short")
    return _NAMED.get(match[2], match[2])
