"""Reads the values of a request and gathers what is wrong with them.

Each reader returns the value as the model wants it, or a harmless stand-in after noting a fault; `close` then raises one
error with every fault. Promises that nothing that cannot be right gets past it in silence. Knows no state: whether the
environment exists is not its business.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from headgated.api.convert.values import MEBIBYTE
from headgated.core.environment import name_faults
from headgated.core.errors import Fault, InvalidRequestError

T = TypeVar("T")

_DEPLOYMENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,199}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_SECOND, _LAST_SECOND = (
    -62_135_596_800,
    253_402_300_799,
)  # years 1 to 9999: google/protobuf/timestamp.proto
_MOST_SECONDS = 315_576_000_000  # google/protobuf/duration.proto
_NANOS = 1_000_000_000
_LISTED = 10_000
_TOKEN = 1024


class Checks:
    """What is wrong with one request."""

    def __init__(self) -> None:
        self._found: list[Fault] = []
        self._unread: set[str] = set()

    def __bool__(self) -> bool:
        """Tell whether anything is wrong."""
        return bool(self._found)

    def add(self, field: str, why: str) -> None:
        """Note that a field cannot be read; what stands in for its value has no faults of its own."""
        self._found.append(Fault(field, why))
        self._unread.add(field)

    def add_found(self, faults: Iterable[Fault]) -> None:
        """Note what was found wrong with what had been read, each fault once."""
        for fault in faults:
            if fault.field not in self._unread and fault not in self._found:
                self._found.append(fault)

    def close(self, what: str) -> None:
        """Raise InvalidRequestError ("cannot `what`: ...") if anything is wrong."""
        if self._found:
            raise InvalidRequestError(what, self._found)

    def environment_name(self, field: str, name: str) -> str:
        """Read the name of an environment."""
        if not name:
            self.add(field, "is missing")
            return name
        for fault in name_faults(name):
            self.add(field, fault.message)
        return name

    def deployment_id(self, field: str, value: str) -> str:
        """Read the id of a deployment; it becomes a file name."""
        if not value:
            self.add(field, "is missing")
        elif not _DEPLOYMENT_ID.fullmatch(value):
            self.add(field, f"is not the id of a deployment (got {value!r:.80})")
        return value

    def words(self, field: str, value: str, most: int = 1000) -> str:
        """Read free text of at most `most` characters."""
        if len(value) > most:
            self.add(field, f"is longer than {most} characters")
        if "\0" in value:
            self.add(field, "holds a NUL character")
        return value

    def request_id(self, value: str) -> str:
        """Read the id that makes a call repeatable."""
        return self.words("request_id", value, 128)

    def choice(self, field: str, number: int, choices: Mapping[Any, T], default: T | None = None) -> T | None:
        """Read an enum's value; 0 means `default`, and is a fault where there is none."""
        if number in choices:
            return choices[number]
        if number:
            self.add(field, f"is not a value that this daemon knows ({number})")
        elif default is None:
            self.add(field, "is missing")
        return default

    def seconds(self, field: str, span: Duration) -> float | None:
        """Read a duration as seconds; None where it cannot be read."""
        signs_differ = span.seconds * span.nanos < 0
        if abs(span.seconds) > _MOST_SECONDS or abs(span.nanos) >= _NANOS or signs_differ:
            self.add(field, f"is not a valid duration ({span.seconds} s and {span.nanos} ns)")
            return None
        seconds = span.seconds + span.nanos / _NANOS
        if seconds < 0:
            self.add(field, f"must not be negative (got {seconds} s)")
            return None
        return seconds

    def moment(self, field: str, stamp: Timestamp) -> datetime:
        """Read a timestamp, in UTC."""
        if not (_FIRST_SECOND <= stamp.seconds <= _LAST_SECOND and 0 <= stamp.nanos < _NANOS):
            self.add(field, f"is not a valid timestamp ({stamp.seconds} s and {stamp.nanos} ns since 1970)")
            return _EPOCH
        return _EPOCH + timedelta(seconds=stamp.seconds, microseconds=stamp.nanos // 1000)

    def listed(self, field: str, values: Sequence[str]) -> tuple[str, ...]:
        """Read a list of names, none of them empty, bounded in number and size."""
        if len(values) > _LISTED:
            self.add(field, f"names more than {_LISTED}")
        elif sum(map(len, values)) > MEBIBYTE:
            self.add(field, "is larger than 1 MiB")
        for index, value in enumerate(values[:_LISTED]):
            if not value:
                self.add(f"{field}[{index}]", "is empty")
            if "\0" in value:
                self.add(f"{field}[{index}]", "holds a NUL character")
        return tuple(values)

    def mapping(self, field: str, values: Mapping[str, str]) -> dict[str, str]:
        """Read values by name, bounded in size; ordered, so that equal ones look equal."""
        if sum(len(key) + len(value) for key, value in values.items()) > MEBIBYTE:
            self.add(field, "is larger than 1 MiB")
        return dict(sorted(values.items()))

    def page_size(self, value: int, *, default: int, most: int) -> int:
        """Read how many items a page shall have; 0 means `default`."""
        if value > most:
            self.add("page_size", f"must be at most {most} (got {value})")
        return value or default

    def page_token(self, value: str) -> str:
        """Read a token from an earlier page; what it means is for whoever made it."""
        if len(value) > _TOKEN or not value.isascii():
            self.add("page_token", "is not one that this daemon gave")
        return value
