"""How records are written as JSON, and read back: one version number, one form of times, one kind of error.

A shape is a `msgspec.Struct`; its keys keep the order they have there. Text that is no text (a file name that is not UTF-8 in
somebody's error message) is escaped like any name rather than refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import msgspec

from headgated.core.errors import RecordError

SCHEMA_VERSION = 1
T = TypeVar("T")
S = TypeVar("S")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NO_LETTER = re.compile("[\ud800-\udfff]")


class _Version(msgspec.Struct):
    schema_version: int


def encode(shape: msgspec.Struct) -> bytes:
    """Return a shape as indented JSON."""
    try:
        raw = msgspec.json.encode(shape)
    except UnicodeEncodeError:
        raw = msgspec.json.encode(_mended(msgspec.to_builtins(shape)))
    return msgspec.json.format(raw, indent=2) + b"\n"


def decode(raw: bytes, shape: type[S], build: Callable[[S], T]) -> T:
    """Return what `build` makes of a record.

    Raises:
        RecordError: RECORD_CORRUPT, or RECORD_NEWER where a newer daemon wrote it.
    """
    try:
        version = msgspec.json.decode(raw, type=_Version).schema_version
        if version > SCHEMA_VERSION:
            raise RecordError(
                f"it has schema version {version}, and this headgated knows versions up to {SCHEMA_VERSION}",
                reason="RECORD_NEWER",
                hint="start the version of headgated that wrote it, or a newer one",
            )
        return build(msgspec.json.decode(raw, type=shape))
    except (msgspec.MsgspecError, ValueError) as error:
        raise RecordError(f"it is damaged: {error}", hint="restore it from a backup") from error


def time_text(moment: datetime) -> str:
    """Return a time as records have it: RFC 3339 in UTC with microseconds."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def time_or_none(moment: datetime | None) -> str | None:
    """Return a time that may be unset as records have it."""
    return None if moment is None else time_text(moment)


def moment(text: str) -> datetime:
    """Return the time that a record tells.

    Raises:
        ValueError: it is none, or says no zone.
    """
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(f"{text!r:.40} says no time zone")
    return found


def microseconds(moment: datetime) -> int:
    """Return a time as microseconds since the epoch, none lost to rounding."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def time_at(microseconds: int) -> datetime:
    """Return the time that is so many microseconds after the epoch."""
    return _EPOCH + timedelta(microseconds=microseconds)


def moment_or_none(text: str | None) -> datetime | None:
    """Return the time that a record tells, if it tells one; raises as `moment`."""
    return None if text is None else moment(text)


def _mended(value: Any) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, dict):
        return {_mended(key): _mended(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_mended(inner) for inner in value]
    return _NO_LETTER.sub(_shown, value) if isinstance(value, str) else value


def _shown(match: re.Match[str]) -> str:
    """A byte that could not be decoded as records show it; half a letter as what stands for no letter."""
    code = ord(match[0]) - 0xDC00
    return f"\\x{code:02x}" if code in range(0x80, 0x100) else "\ufffd"
