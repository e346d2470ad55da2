r"""Single values on their way to and from the protocol.

The protocol's text is valid UTF-8; the model's is not always: a directory's name may carry bytes that are not, as surrogates.
Names of directories travel in the escaped form that the protocol describes, other text with such bytes shown as `\xNN`.
Promises that what the model holds can be sent. Does not check what was received: see `checks`.
"""

from __future__ import annotations

import re
from datetime import datetime

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from headgated.core.paths import escape, unescape

MEBIBYTE = 1024 * 1024
MESSAGE_LIMIT = 16 * MEBIBYTE
"""Bytes; no message in either direction is larger."""
ANSWER_ROOM = 12 * MEBIBYTE
"""Bytes; answers that can be cut are cut to this, which leaves room for what is added around them."""

_SURROGATE = re.compile("[\ud800-\udfff]")


def text(value: str) -> str:
    """Return `value` as text that the protocol can carry; nearly always `value` itself."""
    if value.isascii():
        return value
    return _SURROGATE.sub(lambda match: f"\\x{ord(match[0]) & 0xFF:02x}", value)


def shortened(value: str, most: int) -> str:
    """Return `value` as sendable text of at most `most` bytes, ending in an ellipsis where it was cut."""
    raw = text(value).encode()
    if len(raw) <= most:
        return raw.decode()
    return raw[: most - 3].decode(errors="ignore") + "…"


def shown_path(path: str) -> str:
    """Return a directory's name in the protocol's escaped form."""
    return escape(path.encode("utf-8", "surrogateescape"))


def real_path(shown: str) -> str:
    """Return the directory's name that `shown_path` was given."""
    return unescape(shown).decode("utf-8", "surrogateescape")


def timestamp(moment: datetime | None) -> Timestamp | None:
    """Return a moment as the protocol has it; None stays unset."""
    if moment is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def duration(seconds: float | None) -> Duration | None:
    """Return seconds as the protocol has them; None stays unset."""
    if seconds is None:
        return None
    span = Duration()
    span.FromNanoseconds(round(seconds * 1e9))
    return span
