r"""File names as the protocol writes them.

Linux names are bytes, the protocol's text is UTF-8: each byte that is not valid UTF-8, and each control character, is written
`\xNN`, a backslash `\\`. The daemon reads the same form back.
"""

from __future__ import annotations

import os
import re

_HIDDEN = re.compile(r"[\\\x00-\x1f\x7f\x80-\x9f\u2028\u2029\udc80-\udcff]")


_STEERING = re.compile(r"[\x00-\x1f\x7f\x80-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\udc80-\udcff]")
"""Control characters, and what turns the direction of writing: with it text can look like another."""


def escape(path: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> str:
    """Return a file name, as the operating system gives it, in the protocol's form."""
    return _HIDDEN.sub(_escape_one, os.fsdecode(path))


def shown(text: str) -> str:
    """Return text that somebody else wrote with its control characters made visible, so that it cannot steer a terminal.

    Backslashes stay as they are: names from the daemon are escaped already.
    """
    return _STEERING.sub(_escape_one, text)


def _escape_one(match: re.Match[str]) -> str:
    if match[0] == "\\":
        return "\\\\"
    return "".join(f"\\x{byte:02x}" for byte in match[0].encode("utf-8", "surrogateescape"))
