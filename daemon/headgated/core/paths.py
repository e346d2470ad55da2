r"""Names of files: bytes inside, a reversible escape outside.

Linux names are bytes. Inside Headgate a path is `bytes`, relative, parts joined by `/`, never with `.` or `..`; the root is `b""`.
Records, API and messages show it as text: valid UTF-8 as it is, `\\` for a backslash, `\xNN` for every byte that is not valid
UTF-8 and for control characters (so that a newline in a name cannot break a line of a log).
"""

from __future__ import annotations

import re

_HIDDEN = re.compile(r"[\\\x00-\x1f\x7f\x80-\x9f\u2028\u2029\udc80-\udcff]")
_SHOWN = re.compile(rb"\\(\\|x[0-9a-fA-F]{2})")


def escape(path: bytes) -> str:
    """Return `path` as text that can be shown, stored as JSON, and given back to `unescape`."""
    return _HIDDEN.sub(_escape_one, path.decode("utf-8", "surrogateescape"))


def _escape_one(match: re.Match[str]) -> str:
    if match[0] == "\\":
        return "\\\\"
    return "".join(f"\\x{byte:02x}" for byte in match[0].encode("utf-8", "surrogateescape"))


def unescape(text: str) -> bytes:
    """Return the bytes that `escape` was given. A backslash that begins no escape stands for itself."""
    raw = text.encode("utf-8", "surrogateescape")
    return _SHOWN.sub(lambda match: b"\\" if match[1] == b"\\" else bytes([int(match[1][1:], 16)]), raw)


def is_safe(path: bytes) -> bool:
    """Tell whether `path` is a relative path that cannot leave its root and holds no NUL byte or empty part."""
    return b"\0" not in path and all(part not in (b"", b".", b"..") for part in path.split(b"/"))


def parent(path: bytes) -> bytes:
    """Return the directory that `path` is in; `b""` for a top-level name."""
    return path.rpartition(b"/")[0]


def join(directory: bytes, name: bytes) -> bytes:
    """Return `name` in `directory`, where `b""` is the root."""
    return directory + b"/" + name if directory else name
