"""Tables, times, and errors as text."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from headgate.cli.failure import exit_code
from headgate.cli.moments import Moment, Span, ago, moment, span
from headgate.cli.table import cells, cut, table
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


def test_table_is_aligned_and_ends_without_blanks() -> None:
    lines = list(table(("A", "LONG"), [("xx", "1"), ("y", "")]))
    assert lines == ["A   LONG", "xx  1", "y"]


def test_table_fits_the_width_by_cutting_what_is_widest() -> None:
    lines = list(table(("A", "B", "C"), [("short", "x" * 50, "y" * 30)], width=40))
    assert all(cells(line) <= 40 for line in lines)
    assert lines[1].startswith("short  ")
    assert lines[1].count("…") == 2


def test_table_counts_wide_letters_as_the_terminal_does() -> None:
    lines = list(table(("A", "B"), [("日本", "1"), ("abcd", "2")]))
    assert lines[1:] == ["日本  1", "abcd  2"]
    assert cells("e\u0301") == 1
    assert cut("日本語", 5) == "日本…"


def test_table_shows_control_characters() -> None:
    assert list(table(("A",), [("a\x1bb\n",)]))[1] == r"a\x1bb\x0a"


def test_styles_do_not_move_columns() -> None:
    lines = list(table(("A", "B"), [("x", "1"), ("yy", "2")], styles={0: lambda text: f"<{text}>"}))
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
