"""Tables as plain aligned text, no boxes; where there is a terminal, as wide as that.

Names and ids are there to be copied: a column is cut only where it says that it may be. What then has no room makes way, column
by column, and where that does not help either, each row becomes a few lines of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from headgate.filename import shown

_GAP = "  "
_CUT = "…"


@dataclass(frozen=True, slots=True)
class Column:
    """A column, and how it makes way where there is not room for all."""

    heading: str
    least: int = 0
    """Columns of the terminal to which its text may be cut; 0: it is never cut."""
    spare: int = 0
    """Where there is no room it is left out; the one with the highest number first, one with 0 never."""
    style: Callable[[str], str] | None = None
    """Colours its text."""


def table(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], *, width: int | None = None
) -> Iterator[str]:
    """Yield the lines of a table.

    Args:
        columns: what they are.
        rows: text for each column; control characters are made visible.
        width: columns of the terminal to fit into; None: as wide as it is. One name alone may be wider.
    """
    texts = [[shown(cell) for cell in row] for row in rows]
    kept = list(range(len(columns)))
    while True:
        widths = [max(cells(text) for text in (columns[n].heading, *(row[n] for row in texts))) for n in kept]
        if width is None or _fit(widths, [columns[n].least for n in kept], width):
            break
        spare = max(kept, key=lambda n: columns[n].spare)
        if not columns[spare].spare:
            yield from _records(columns, texts, width)
            return
        kept.remove(spare)
    yield _line([replace(columns[n], style=None) for n in kept], [columns[n].heading for n in kept], widths)
    for row in texts:
        yield _line([columns[n] for n in kept], [row[n] for n in kept], widths)


def cells(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    import unicodedata  # noqa: PLC0415 -- rarely needed

    return sum(
        0
        if unicodedata.category(char) in {"Mn", "Me", "Cf"}
        else 2
        if unicodedata.east_asian_width(char) in "WF"
        else 1
        for char in text
    )


def cut(text: str, width: int) -> str:
    """Return a text in at most so many columns, with a sign where it was cut."""
    if cells(text) <= width:
        return text
    room, end = width - 1, 0
    for char in text:
        room -= cells(char)
        if room < 0:
            break
        end += 1
    return text[:end] + _CUT


def _fit(widths: list[int], least: Sequence[int], width: int) -> bool:
    """Make the widest of the columns that may be cut narrower until all fit; tell whether they do."""
    over = sum(widths) + len(_GAP) * (len(widths) - 1) - width
    while over > 0:
        wide = [n for n, size in enumerate(widths) if least[n] and size > least[n]]
        if not wide:
            return False
        widths[max(wide, key=widths.__getitem__)] -= 1
        over -= 1
    return True


def _line(columns: Sequence[Column], row: Sequence[str], widths: Sequence[int]) -> str:
    parts = []
    for column, text, width in zip(columns, row, widths, strict=True):
        fitted = cut(text, width)
        parts.append(_styled(column, fitted) + " " * (width - cells(fitted)))
    parts[-1] = parts[-1].rstrip()
    return _GAP.join(parts).rstrip()


def _records(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """Yield a few lines for each row: it begins with the first column's text; the others follow with their headings."""
    for row in rows:
        line, room = _styled(columns[0], row[0]), width - cells(row[0])
        for column, text in zip(columns[1:], row[1:], strict=True):
            if not text:
                continue
            item, size = _item(column, text, width - len(_GAP))
            if size + len(_GAP) > room:
                yield line
                line, room = "", width
            line, room = line + _GAP + item, room - size - len(_GAP)
        yield line


def _item(column: Column, text: str, width: int) -> tuple[str, int]:
    """Return a text with its heading, and the columns of the terminal that both take; without the heading where it then fits."""
    name = f"{column.heading.lower()} "
    if column.least:
        text = cut(text, width - len(name))
    elif len(name) + cells(text) > width:
        name = ""
    return name + _styled(column, text), len(name) + cells(text)


def _styled(column: Column, text: str) -> str:
    return column.style(text) if column.style is not None else text
