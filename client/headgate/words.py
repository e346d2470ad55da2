"""The words that records and people use for the protocol's enums: lower case, without the prefix.

`ENVIRONMENT_TYPE_STAGING` is `staging`. Two have a hyphen where the protocol can only have an underscore.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from functools import cache
from typing import Any, Protocol

_HYPHENATED = {
    "STRATEGY_IN_PLACE": "in-place",
    "DEPLOYMENT_TRIGGER_AUTO_SYNC": "auto-sync",
}


class Enum(Hashable, Protocol):
    """What every generated enum has."""

    def items(self) -> Any:  # noqa: ANN401 -- protobuf's own stubs differ in how they type the numbers
        """Return (name, number) for each value."""


@cache
def words(enum: Enum) -> Mapping[int, str]:
    """Return the word for each number; empty for what is unspecified."""
    names: list[tuple[str, int]] = list(enum.items())
    prefix = next(name for name, number in names if number == 0).removesuffix("UNSPECIFIED")
    return {
        number: _HYPHENATED.get(name, name.removeprefix(prefix).lower()) if number else ""
        for name, number in names
    }


@cache
def numbers(enum: Enum) -> Mapping[str, int]:
    """Return the number for each word."""
    return {word: number for number, word in words(enum).items() if word}


def word(enum: Enum, number: int) -> str:
    """Return the word for one number; a number that is newer than this client is shown as it is."""
    return words(enum).get(number, str(number))
