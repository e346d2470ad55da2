"""Tables, times, and errors as text."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from headgate.cli.failure import exit_code
from headgate.cli.moments import Moment, Span, ago, moment, span
from headgate.cli.table import Column, cells, cut, table
from headgate.errors import (
    ConflictError,
    ForbiddenError,
    HeadgateError,
    InternalError,
    InvalidRequestError,
    LimitError,
    NotFoundError,
    RefusedError,
    TimedOutError,
    UnavailableError,
    UnreachableError,
)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (HeadgateError("x"), 1),
        (LimitError("x"), 1),
        (UnavailableError("x"), 1),
        (InternalError("x"), 1),
        (InvalidRequestError("x"), 2),
        (click.UsageError("x"), 2),
        (NotFoundError("x"), 3),
        (RefusedError("x"), 4),
        (ConflictError("x"), 4),
        (ForbiddenError("x"), 5),
        (UnreachableError("x", address="/"), 6),
        (TimedOutError("x"), 7),
        (ZeroDivisionError(), None),
    ],
)
def test_exit_code_is_that_of_the_error(error: Any, code: Any) -> None:
    """A5."""
    assert exit_code(error) == code


A, B, C = Column("A"), Column("B"), Column("C")


def test_table_is_aligned_and_ends_without_blanks() -> None:
    lines = list(table((A, Column("LONG")), [("xx", "1"), ("y", "")]))
    assert lines == ["A   LONG", "xx  1", "y"]


def test_table_fits_the_width_by_cutting_what_may_be_cut() -> None:
    columns = A, Column("B", least=8), Column("C", least=8)
    lines = list(table(columns, [("s" * 15, "x" * 50, "y" * 30)], width=40))
    assert all(cells(line) <= 40 for line in lines)
    assert lines[1].startswith("s" * 15 + "  x")
    assert lines[1].count("…") == 2
    assert list(table(columns, [("s" * 15, "x" * 50, "y" * 30)]))[1].count("…") == 0


def test_table_leaves_out_what_can_be_spared_before_a_name_is_cut() -> None:
    columns = A, Column("B", spare=1), Column("C", spare=2), Column("D")
    row = ("a" * 10, "b" * 10, "c" * 10, "d" * 10)
    assert list(table(columns, [row], width=46))[1] == "  ".join(row)
    assert [line.split() for line in table(columns, [row], width=45)] == [
        ["A", "B", "D"],
        [row[0], row[1], row[3]],
    ]
    assert [line.split() for line in table(columns, [row], width=22)] == [["A", "D"], [row[0], row[3]]]


def test_rows_become_lines_of_their_own_before_a_name_is_cut() -> None:
    columns = Column("ID"), Column("STATE", spare=1), Column("AGE"), Column("WHY", least=8)
    rows = [("i" * 24, "well", "5 min", ""), ("j" * 24, "failed", "6 min", "w" * 50)]
    assert list(table(columns, rows, width=30)) == [
        "i" * 24,
        "  state well  age 5 min",
        "j" * 24,
        "  state failed  age 6 min",
        f"  why {'w' * 23}…",
    ]
    assert list(table(columns, rows, width=20))[:3] == ["i" * 24, "  state well", "  age 5 min"]
    rows = [("1", "well", "5 min", "x" * 40), ("2", "", "", "")]
    columns = Column("NUMBER"), Column("STATE"), Column("AGE"), Column("WHY", least=30)
    assert list(table(columns, rows, width=30)) == ["1  state well  age 5 min", f"  why {'x' * 23}…", "2"]


def test_name_that_does_not_fit_beside_its_heading_stands_alone() -> None:
    lines = table((Column("N"), Column("DEPLOYMENT"), C), [("1", "d" * 28, "c" * 9)], width=30)
    assert list(lines) == ["1", f"  {'d' * 28}", f"  c {'c' * 9}"]


@pytest.mark.parametrize("width", [1, 8, 21, 40])
def test_no_line_is_wider_than_the_terminal_but_for_a_name_by_itself(width: int) -> None:
    columns = A, Column("B", least=9, style=lambda text: f"<{text}>"), Column("C", spare=1), Column("D")
    for row in (("日" * 9, "x" * 30, "c", "d"), ("", "", "", ""), ("a", "日本" * 9, "", "d" * 30)):
        for line in table(columns, [row], width=width):
            bare = line.replace("<", "").replace(">", "")
            assert cells(bare) <= width or len(bare.split()) <= 2, bare


def test_table_counts_wide_letters_as_the_terminal_does() -> None:
    lines = list(table((A, B), [("日本", "1"), ("abcd", "2")]))
    assert lines[1:] == ["日本  1", "abcd  2"]
    assert cells("e\u0301") == 1
    assert cells("a\u200db\ufe0f") == 2
    assert cut("日本語", 5) == "日本…"
    assert cut("日" * 200_000, 9) == "日日日日…"


def test_table_shows_control_characters() -> None:
    assert list(table((A,), [("a\x1bb\n",)]))[1] == r"a\x1bb\x0a"


def test_styles_do_not_move_columns() -> None:
    styled = Column("A", style=lambda text: f"<{text}>")
    lines = list(table((styled, B), [("x", "1"), ("yy", "2")]))
    assert lines == ["A   B", "<x>   1", "<yy>  2"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.0951, "95 ms"),
        (0.4, "0.4 s"),
        (9.94, "9.9 s"),
        (59, "59 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7200, "2 h"),
        (200_000, "2 d"),
        (-1, "0 ms"),
    ],
)
def test_span_is_in_the_unit_that_suits(seconds: Any, text: Any) -> None:
    assert span(seconds) == text


def test_moment_is_utc_and_a_dash_where_there_is_none() -> None:
    stamp = Timestamp(seconds=1_700_000_000)
    assert moment(stamp) == "2023-11-14 22:13:20Z"
    assert ago(stamp, datetime.fromtimestamp(1_700_000_600, UTC)) == "10 min"
    assert moment(Timestamp()) == ago(Timestamp()) == "-"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("300", 300), ("1.5s", 1.5), ("200ms", 0.2), ("5m", 300), ("2 h", 7200), ("1d", 86400)],
)
def test_span_is_read_with_its_unit(text: Any, seconds: Any) -> None:
    assert Span().convert(text, None, None) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "-1", "5x", "m"])
def test_span_that_is_none_is_refused(text: Any) -> None:
    with pytest.raises(click.BadParameter):
        Span().convert(text, None, None)


def test_moment_without_a_zone_is_local() -> None:
    assert Moment().convert("2030-01-01T12:00", None, None) == datetime(2030, 1, 1, 12).astimezone()
    assert Moment().convert("2030-01-01T12:00:00Z", None, None) == datetime(2030, 1, 1, 12, tzinfo=UTC)
