from __future__ import annotations

import pytest

from headgated.core.formats import READ_BYTES, is_structured, read
from headgated.core.formats.node import Scalar, UnclearError


def test_json_numbers_stay_as_they_are_written() -> None:
    assert read(b"a.json", b'[1.00, 1e400, 123456789012345678901234567890, NaN, "x", true, null]') == [
        [
            Scalar("1.00"),
            Scalar("1e400"),
            Scalar("123456789012345678901234567890"),
            Scalar('"NaN"', "float"),
            "x",
            True,
            None,
        ]
    ]


@pytest.mark.parametrize(
    "text", ["", "{", "{} {}", "[1,]", '{"a": 1, "a": 1}', '[{"b": {"a": 1, "a": 2}}]', "'x'", "[" * 100_000]
)
def test_json_that_is_ambiguous_or_broken_is_unclear(text: str) -> None:
    with pytest.raises(UnclearError):
        read(b"a.json", text.encode())


@pytest.mark.parametrize(
    "text",
    ["a", "a = 1\na = 1", "a = [", "a = " + "[" * 100_000, "a." * 1000 + "a = 1", "a = " + "9" * 10_000],
)
def test_toml_that_is_broken_or_hostile_is_unclear(text: str) -> None:
    with pytest.raises(UnclearError):
        read(b"a.toml", text.encode())


@pytest.mark.parametrize(
    ("path", "structured"),
    [
        (b"a.json", True),
        (b"d.d/A.JSON", True),
        (b"a.b.yaml", True),
        (b".env", True),
        (b".env.local", True),
        (b"env", False),
        (b"json", False),
        (b"a.json/b", False),
        (b"a.json.bak", False),
        (b".envrc", False),
        (b"\xff.toml", True),
        (b"", False),
    ],
)
def test_format_is_told_by_the_name(path: bytes, *, structured: bool) -> None:
    assert is_structured(path) is structured


@pytest.mark.parametrize(
    "content", [b"[]" + b" " * READ_BYTES, b"[]\0", b'["\xff"]'], ids=["too large", "binary", "not UTF-8"]
)
def test_content_that_is_no_text_or_too_much_is_unclear(content: bytes) -> None:
    with pytest.raises(UnclearError):
        read(b"a.json", content)


def test_name_without_a_format_is_unclear() -> None:
    with pytest.raises(UnclearError):
        read(b"a.txt", b"{}")
