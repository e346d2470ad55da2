"""Tables as plain aligned text, no boxes; cut to the terminal's width where there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from headgate.filename import shown

_GAP = "  "
_NARROWEST = 8
_CUT = "…"


def table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    width: int | None = None,
    styles: Mapping[int, Callable[[str], str]] | None = None,
) -> Iterator[str]:
    """Yield the lines of a table.

    Args:
        headings: one for each column.
        rows: text for each column; control characters are made visible.
        width: columns to fit into, by cutting the widest; None: as wide as it is.
        styles: what colours a column's text, by the column's number.
    """
    texts = [[shown(cell) for cell in row] for row in rows]
    widths = [max(map(cells, column)) for column in zip(headings, *texts, strict=True)]
    if width is not None:
        _shrink(widths, width - len(_GAP) * (len(widths) - 1))
    yield _line(headings, widths, {})
    for row in texts:
        yield _line(row, widths, styles or {})


def cells(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    import unicodedata  # noqa: PLC0415 -- rarely needed

    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def cut(text: str, width: int) -> str:
    """Return a text in at most so many columns, with a sign where it was cut."""
    if cells(text) <= width:
        return text
    while text and cells(text) > width - 1:
        text = text[:-1]
    return text + _CUT


def _shrink(widths: list[int], room: int) -> None:
    """Make the widest columns narrower until all fit, or none can be narrower."""
    while sum(widths) > room and max(widths) > _NARROWEST:
        widths[widths.index(max(widths))] -= 1


def _line(row: Sequence[str], widths: Sequence[int], styles: Mapping[int, Callable[[str], str]]) -> str:
    last, parts = len(row) - 1, []
    for number, (text, width) in enumerate(zip(row, widths, strict=True)):
        fitted = cut(text, width)
        styled = styles[number](fitted) if number in styles else fitted
        parts.append(styled if number == last else styled + " " * (width - cells(fitted)))
    return _GAP.join(parts).rstrip()
