"""Times and spans, for people and from people. Times are shown in UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?")


def moment(stamp: Timestamp) -> str:
    """Return a time to the second: `2025-01-31 12:00:00Z`; a dash where there is none."""
    if not stamp.ByteSize():
        return "-"
    return stamp.ToDatetime(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def ago(stamp: Timestamp, now: datetime | None = None) -> str:
    """Return how long ago a time was: `5 min`; a dash where there is none."""
    if not stamp.ByteSize():
        return "-"
    return span(((now or datetime.now(UTC)) - stamp.ToDatetime(UTC)).total_seconds())


def span(seconds: float) -> str:
    """Return a length of time in the unit that suits it."""
    seconds = max(0.0, seconds)
    if seconds < 0.1:  # noqa: PLR2004 -- where tenths begin to tell something
        return f"{seconds * 1000:.0f} ms"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"  # noqa: PLR2004 -- where tenths stop to matter


class Span(click.ParamType[float]):
    """A length of time: `300`, `90s`, `5m`, `2h`; seconds."""

    name = "time"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it."""
        if isinstance(value, int | float):
            return float(value)
        match = _SPAN.fullmatch(value.strip())
        if match is None:
            self.fail(f"{value!r} is no length of time; write 300, 90s, 5m, 2h or 1d", param, ctx)
        return float(match[1]) * _UNITS[match[2] or "s"]


class Moment(click.ParamType[datetime]):
    """A time: RFC 3339; local time where it names no zone."""

    name = "when"

    def convert(
        self, value: str | datetime, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Read it."""
        if isinstance(value, datetime):
            return value
        try:
            return datetime.fromisoformat(value).astimezone()
        except ValueError:
            self.fail(f"{value!r} is no time; write 2025-01-31T18:00 or 2025-01-31T17:00:00Z", param, ctx)
