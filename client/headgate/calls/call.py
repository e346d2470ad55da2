"""What a call is."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypedDict, TypeVar

from google.protobuf.message import Message

from headgate.errors import Fault, refuse

Answer = TypeVar("Answer", bound=Message)
Value = TypeVar("Value")


class Asked(TypedDict, total=False):
    """What every request that changes something may say."""

    request_id: str
    """The same id again gives the first answer, also after a restart. Default: a new one for each call."""


@dataclass(frozen=True, slots=True)
class Call(Generic[Answer, Value]):
    """One request with one answer. Every one may be repeated: reads change nothing, the others carry a request id."""

    method: str
    """`/package.Service/Method`"""
    request: Message
    answer: type[Answer]
    value: Callable[[Answer], Value]
    """Picks what the caller wants from the answer."""
    what: str
    """As in "cannot {what}"."""
    at_least: float = 0.0
    """Seconds that it may take by its nature, whatever the client's timeout."""
    faults: Sequence[Fault] = ()
    """What is wrong with it already: it is made only to hear from the daemon what else is."""


@dataclass(frozen=True, slots=True)
class Stream(Generic[Answer]):
    """One request with many answers."""

    method: str
    request: Callable[[int], Message]
    """Makes the request, given the revision to continue after (0: from the beginning)."""
    answer: type[Answer]
    what: str
    seconds: float = 600.0
    """The longest that one stream lasts; a watch is made of as many as it takes, so that each call has a deadline."""


def new_request_id(asked: Asked | None = None) -> str:
    """Return the id that was given, or one that nobody has used."""
    return (asked or {}).get("request_id") or uuid.uuid4().hex


LARGEST_NUMBER = 2**32 - 1
"""Of what the protocol calls uint32."""
_LARGEST_LONG = 2**64 - 1


def whole(field: str, number: int | None, faults: list[Fault], most: int = _LARGEST_LONG) -> int | None:
    """Return a whole number that the protocol can carry; of another one nothing, and a fault."""
    if number is None or 0 <= number <= most:
        return number
    faults.append(Fault(field, f"must be a whole number between 0 and {most} (got {number})"))
    return None


def sized(size: int, what: str) -> int:
    """Return the size of a page, where it can be one; `what` is asked for goes into the error.

    Raises:
        InvalidRequestError: the protocol cannot carry it.
    """
    faults = list[Fault]()
    whole("page_size", size, faults, LARGEST_NUMBER)
    refuse(what, faults)
    return size
