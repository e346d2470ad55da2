"""Known secrets are hidden however they are written."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, strategies as st

from headgated.core.redaction import Redactor

SECRET = 'p\u00e4ss "w0rd"/+\\&x'


@pytest.mark.parametrize(
    "written",
    [
        SECRET,
        json.dumps(SECRET),
        json.dumps(SECRET, ensure_ascii=False),
        quote(SECRET, safe=""),
        quote_plus(SECRET),
        repr(SECRET),
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("="),
        SECRET.encode().hex(),
    ],
)
def test_secret_is_hidden_in_every_writing(written: str) -> None:
    assert Redactor([SECRET.encode()]).hide(f"before {written} after").startswith("before ")
    hidden = Redactor([SECRET.encode()]).hide(f"before {written} after")
    assert "***" in hidden
    assert written not in hidden


@given(st.binary(min_size=6, max_size=40), st.binary(max_size=7), st.binary(max_size=7))
def test_secret_is_hidden_in_the_base64_of_what_holds_it(value: bytes, before: bytes, after: bytes) -> None:
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        whole = encode(before + value + after).decode()
        hidden = Redactor([value]).hide(whole)
        assert "***" in hidden
        # No more than a character at each end of it is left.
        left = hidden.partition("***")
        assert len(left[0]) <= (len(before) * 8 + 5) // 6 + 1
        assert len(hidden) - 3 <= len(whole) - (len(value) * 8 // 6 - 1)


def test_each_line_of_a_long_secret_is_hidden_by_itself() -> None:
    key = b"-----BEGIN KEY-----\nAAAABBBBCCCCDDDD\nEEEEFFFFGGGGHHHH\n-----END KEY-----"
    assert Redactor([key]).hide("  | EEEEFFFFGGGGHHHH") == "  | ***"


def test_longer_secret_wins_over_one_that_is_part_of_it() -> None:
    assert Redactor([b"secret", b"secret-and-more"]).hide("secret-and-more secret") == "*** ***"


def test_nothing_is_hidden_where_nothing_is_known() -> None:
    assert Redactor().hide("text") == "text"


@given(st.binary(min_size=4, max_size=30), st.text(), st.text())
def test_any_bytes_are_hidden(value: bytes, before: str, after: str) -> None:
    text = value.decode("utf-8", "surrogateescape")
    assert text not in Redactor([value]).hide(f"{before}\x00{text}\x00{after}") or text in "***"
