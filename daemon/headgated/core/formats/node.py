"""What is read from a structured file: mappings, lists and scalars."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time

_UNSHOWABLE = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class UnclearError(ValueError):
    """The file is not of the format that its name says, or may be understood in more than one way."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value, as JSON text.

    `kind` tells values apart that are written the same in JSON: a date is shown as a string, but is none.
    """

    text: str
    kind: str = ""


Node = Scalar | Mapping[str, "Node"] | Sequence["Node"] | str | float | date | time | None
Documents = list[Node]


def json_text(value: str | float | None) -> str:
    """Return `value` as JSON; characters that would change how text around them is shown are escaped."""
    return _UNSHOWABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(value, ensure_ascii=False))


def scalar(value: Node) -> Scalar:
    """Return the scalar that a node without children is; empty mappings and lists are scalars, too."""
    if isinstance(value, Scalar):
        return value
    if isinstance(value, float) and not math.isfinite(value):
        return Scalar(json_text(str(value)), "float")
    if isinstance(value, date | time):
        return Scalar(json_text(value.isoformat()), type(value).__name__)
    if isinstance(value, Mapping):
        return Scalar("{}")
    if value is None or isinstance(value, str | int | float):
        return Scalar(json_text(value))
    return Scalar("[]")


def unique(pairs: Sequence[tuple[str, Node]]) -> dict[str, Node]:
    """Return a mapping of `pairs`.

    Raises:
        UnclearError: a key is given twice; which of the values counts depends on who reads it.
    """
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        raise UnclearError("a key is given twice")
    return mapping
