"""The audit log's lines: one JSON object each, chained by SHA-256, and what is wrong with a run of them.

Each line carries the digest of the line before and a number that grows by one. So a line that was changed, taken out, put in or moved shows at
the line after it; lines cut off at the end show against the head, which is kept elsewhere. Whoever may write both can make a new
chain: keep a head somewhere else to be safe from root too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

GENESIS = "0" * 64
"""What the first line of all carries as the digest before."""
LONGEST = 64 * 1024
"""Bytes; no line is longer."""


@dataclass(frozen=True, slots=True)
class Head:
    """The newest line: its number and its digest."""

    sequence: int = 0
    digest: str = GENESIS


@dataclass(frozen=True, slots=True)
class Place:
    """A line as it stands on disk."""

    file: str
    number: int
    """From 1."""
    raw: bytes
    """Without the line's end."""
    whole: bool = True
    """It has an end."""


def line_of(entry: Mapping[str, Any], head: Head) -> tuple[bytes, Head]:
    """Return the line of an entry that follows `head`, with its end, and the head that it makes."""
    sequence = head.sequence + 1
    full = {"sequence": sequence, **entry, "previous": head.digest}
    raw = json.dumps(full, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")
    return raw + b"\n", Head(sequence, digest_of(raw))


def digest_of(raw: bytes) -> str:
    """Return the digest of a line, without its end."""
    return sha256(raw).hexdigest()


def entry_of(raw: bytes) -> dict[str, Any] | None:
    """Return what a line says; None where it is none of ours."""
    try:
        entry = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict) or not isinstance(entry.get("previous"), str):
        return None
    return entry if isinstance(entry.get("sequence"), int) else None


class Check:
    """Reads lines in order, and says what is wrong with them."""

    def __init__(self) -> None:
        self.lines = 0
        self._last: Head | None = None
        self._torn = ""
        self._began_after: tuple[Place, Head] | None = None
        self._dropped: set[tuple[int, str]] = set()

    def run(self, places: Iterable[Place], head: Head) -> Iterator[str]:
        """Yield a sentence for each damage; `head` must be among the lines."""
        met = head.sequence == 0
        for place in places:
            if not place.whole:
                if not met:
                    yield f"{place.file}: line {place.number} is cut off"
                continue
            yield from self._line(place)
            met = met or (self._last is not None and self._last == head)
        if self._torn:
            yield f"the last line but one is none of the log's ({self._torn})"
        if self._began_after is not None:
            place, before = self._began_after
            if (before.sequence, before.digest) not in self._dropped:
                yield f"{place.file}: line {place.number} is not the first of all: {before.sequence} before it are missing"
        if not met:
            last = self._last.sequence if self._last else 0
            yield f"lines are missing at the end: {head.sequence} were written, the last one there is {last}, or it is another one"

    def _line(self, place: Place) -> Iterator[str]:
        entry = entry_of(place.raw)
        where = f"{place.file}: line {place.number}"
        if entry is None:
            self._torn = f"{where}; {digest_of(place.raw)}"
            return
        self.lines += 1
        if self._torn:
            if entry.get("torn") != self._torn.rpartition(" ")[2]:
                yield f"{self._torn.rpartition(';')[0]} is none of the log's: it was changed or put in"
            self._torn = ""
        before = Head(entry["sequence"] - 1, entry["previous"])
        if self._last is None:
            if before != Head():
                self._began_after = (place, before)
        elif before.sequence != self._last.sequence:
            yield f"{where} is number {entry['sequence']} and follows number {self._last.sequence}: lines are missing or in another order"
        elif before.digest != self._last.digest:
            yield f"{where} does not follow from the line before: one of the two was changed"
        if entry.get("phase") == "dropped":
            self._dropped.add((int(entry.get("through", 0)), str(entry.get("digest"))))
        self._last = Head(entry["sequence"], digest_of(place.raw))
