r"""Unified diffs for people: what changed in a file, line by line, in bounded time and size.

Made to be read, not to be applied: long ones are cut, bytes that are not UTF-8 and control characters are shown as `\\xNN`, and what
looks like a secret is hidden (that it changed is not).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

from headgated.core.masking import USUAL, SecretNames, mask_lines
from headgated.core.paths import escape

COMPARED_BYTES = 1024 * 1024
"""A longer file is not compared."""
SHOWN_LINES = 2000
"""A longer diff is cut."""

_SHOWN_CHARACTERS = 128 * 1024
_SHOWN_IN_A_LINE = 2000
_CONTEXT = 3
_PAIRS = 25_000_000  # Of lines: comparing takes about a second for so many at worst.
_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\udc80-\udcff]")
_NO_END = "\\ No newline at end of file"

Opcode = tuple[str, int, int, int, int]


def unified(
    path: bytes, old: bytes | None, new: bytes | None, *, names: SecretNames = USUAL
) -> tuple[str, str]:
    """Return a unified diff and a note; the note says why there is no diff, or that it was cut.

    Args:
        path: relative; for the head of the diff.
        old, new: the contents; None: there is no file.
        names: say which settings are secret.
    """
    before, after = old or b"", new or b""
    if b"\0" in before or b"\0" in after:
        return "", f"binary: {_size(old)} before, {_size(new)} after"
    if max(len(before), len(after)) > COMPARED_BYTES:
        return "", f"too large to compare: {_size(old)} before, {_size(new)} after"
    if before == after:
        return "", "" if (old is None) == (new is None) else "empty"
    name = escape(path)
    head = [
        f"--- {'/dev/null' if old is None else 'a/' + name}",
        f"+++ {'/dev/null' if new is None else 'b/' + name}",
    ]
    hide_returns = all(content.count(b"\n") == content.count(b"\r\n") for content in (before, after))
    texts = (_Text(content, names, hide_returns=hide_returns) for content in (before, after))
    return _bounded([*head, *_hunks(*texts)])


def _size(content: bytes | None) -> str:
    return "no file" if content is None else f"{len(content)} bytes"


def _bounded(lines: Sequence[str]) -> tuple[str, str]:
    kept, room = 0, _SHOWN_CHARACTERS
    while kept < min(len(lines), SHOWN_LINES) and room > 0:
        room -= len(lines[kept]) + 1
        kept += 1
    text = "".join(f"{line}\n" for line in lines[:kept])
    return text, "" if kept == len(lines) else f"cut: {len(lines) - kept} more lines"


class _Text:
    """A file as lines: as they are, for comparing, and as they are shown."""

    def __init__(self, content: bytes, names: SecretNames, *, hide_returns: bool) -> None:
        text = content.decode("utf-8", "surrogateescape")
        plain = text.split("\n")
        if not plain[-1]:
            plain.pop()
        self.lines = plain.copy()
        if not text.endswith("\n") and plain:
            # Differs from the same line with an end; no file that gets here has a NUL byte.
            self.lines[-1] += "\0"
        shown = text.replace("\r\n", "\n").split("\n")[: len(plain)] if hide_returns else plain
        self._masked = mask_lines(shown, names)

    def show(self, sign: str, first: int, end: int) -> Iterator[str]:
        for index in range(first, end):
            yield sign + _showable(self._masked[index])
            if self.lines[index].endswith("\0"):
                yield _NO_END


def _showable(line: str) -> str:
    if len(line) > _SHOWN_IN_A_LINE:
        line = f"{line[:_SHOWN_IN_A_LINE]}… ({len(line)} characters)"
    return _HIDDEN.sub(
        lambda match: "".join(f"\\x{byte:02x}" for byte in match[0].encode("utf-8", "surrogateescape")), line
    )


def _hunks(old: _Text, new: _Text) -> Iterator[str]:
    for group in _grouped(_opcodes(old.lines, new.lines)):
        (_, old_first, _, new_first, _), (_, _, old_end, _, new_end) = group[0], group[-1]
        yield f"@@ -{_range(old_first, old_end)} +{_range(new_first, new_end)} @@"
        for tag, i1, i2, j1, j2 in group:
            if tag == "equal":
                yield from old.show(" ", i1, i2)
            else:
                yield from old.show("-", i1, i2)
                yield from new.show("+", j1, j2)


def _range(first: int, end: int) -> str:
    """Return a range as the unified format writes it: counted from 1; an empty one stands before its line."""
    length = end - first
    if length == 1:
        return str(first + 1)
    return f"{first + 1 if length else first},{length}"


def _opcodes(old: list[str], new: list[str]) -> list[Opcode]:
    """Return how `old` becomes `new`, as `difflib` does, but at once where that would take long.

    What is the same at both ends is set aside first: most changes are small, and then hardly anything is left to compare.
    """
    head = _same(old, new)
    tail = _same(old[head:][::-1], new[head:][::-1])
    old_rest, new_rest = old[head : len(old) - tail], new[head : len(new) - tail]
    if len(old_rest) * len(new_rest) > _PAIRS:
        middle: list[Opcode] = [("replace", 0, len(old_rest), 0, len(new_rest))]
    else:
        middle = list(SequenceMatcher(None, old_rest, new_rest).get_opcodes())
    shifted = [(tag, i1 + head, i2 + head, j1 + head, j2 + head) for tag, i1, i2, j1, j2 in middle]
    return [
        ("equal", 0, head, 0, head),
        *shifted,
        ("equal", len(old) - tail, len(old), len(new) - tail, len(new)),
    ]


def _same(old: list[str], new: list[str]) -> int:
    """Return how many lines are the same from the beginning."""
    for index, (before, after) in enumerate(zip(old, new, strict=False)):
        if before != after:
            return index
    return min(len(old), len(new))


def _grouped(opcodes: list[Opcode]) -> Iterator[list[Opcode]]:
    """Yield the opcodes of each hunk: changes with a few equal lines around, together where those would touch."""
    group: list[Opcode] = []
    for index, (tag, i1, i2, j1, j2) in enumerate(opcodes):
        first, last = index == 0, index == len(opcodes) - 1
        if tag != "equal":
            group.append((tag, i1, i2, j1, j2))
        elif first or last or i2 - i1 > 2 * _CONTEXT:
            after, before = min(_CONTEXT, i2 - i1), min(_CONTEXT, i2 - i1)
            if not first:
                yield [*group, (tag, i1, i1 + after, j1, j1 + after)]
            group = [(tag, i2 - before, i2, j2 - before, j2)]
        else:
            group.append((tag, i1, i2, j1, j2))
