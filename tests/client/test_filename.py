"""File names in the protocol's form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies

from headgate.filename import escape, shown
from headgated.core import paths


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (b"a/b", "a/b"),
        (b"\xff", r"\xff"),
        ("ü".encode(), "ü"),
        (b"a\nb", r"a\x0ab"),
        (b"a\\b", r"a\\b"),
        (b"\xc2\x9b", r"\xc2\x9b"),
    ],
)
def test_name_is_escaped_as_the_protocol_says(name: Any, text: Any) -> None:
    assert escape(name) == text


def test_path_and_text_are_taken_too() -> None:
    assert escape(Path("/a")) == escape("/a") == "/a"
    assert escape("\udcff") == r"\xff"


def test_text_that_turns_the_direction_of_writing_is_shown() -> None:
    assert shown("a\u202egpj.b\u2066") == r"a\xe2\x80\xaegpj.b\xe2\x81\xa6"
    assert shown("שלום é 日本 \\x") == "שלום é 日本 \\x"


@given(strategies.binary())
def test_daemon_reads_back_what_was_escaped(name: Any) -> None:
    assert escape(name) == paths.escape(name)
    assert paths.unescape(escape(name)) == name


def test_shown_text_cannot_steer_a_terminal_and_keeps_its_backslashes() -> None:
    assert shown("\x1b[31m\\xff\u009b\r\n") == r"\x1b[31m\xff\xc2\x9b\x0d\x0a"
