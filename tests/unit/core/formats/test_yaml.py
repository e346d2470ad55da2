from __future__ import annotations

import pytest

from headgated.core.formats import read
from headgated.core.formats.node import Scalar, UnclearError
from headgated.core.formats.yaml import read_yaml


@pytest.mark.parametrize(
    ("text", "scalar"),
    [
        ("1", Scalar("1")),
        ("-1.5", Scalar("-1.5")),
        ("'1'", Scalar('"1"')),
        ("!!str 1", Scalar('"1"')),
        ("! 1", Scalar('"1"')),
        ("yes", Scalar("true")),
        ("Off", Scalar("false")),
        ("", Scalar("null")),
        ("~", Scalar("null")),
        ("text", Scalar('"text"')),
        ("0x1F", Scalar('"0x1F"', "int")),
        ("1_000", Scalar('"1_000"', "int")),
        (".inf", Scalar('".inf"', "float")),
        ("2024-01-01", Scalar('"2024-01-01"', "timestamp")),
        ("!vault x", Scalar('"x"', "!vault")),
        ("!!python/object/apply:os.system [x]", [Scalar('"x"')]),
        ("|\n  a\n  b\n", Scalar('"a\\nb\\n"')),
    ],
)
def test_scalar_is_read_as_yaml_1_1_has_it(text: str, scalar: Scalar) -> None:
    assert read_yaml(f"a: {text}") == [{"a": scalar}]


def test_alias_is_read_as_what_it_stands_for() -> None:
    assert read_yaml("a: &x {b: 1}\nc: *x\nd:\n  <<: *x\n") == [
        {"a": {"b": Scalar("1")}, "c": {"b": Scalar("1")}, "d": {"<<": {"b": Scalar("1")}}}
    ]


def test_every_document_is_read_and_anchors_end_with_theirs() -> None:
    assert read_yaml("a: &x 1\n---\n- 2\n---\n") == [{"a": Scalar("1")}, [Scalar("2")], Scalar("null")]
    assert read_yaml("") == []
    with pytest.raises(UnclearError, match="alias of nothing"):
        read_yaml("a: &x 1\n---\nb: *x\n")


def test_nesting_is_bounded() -> None:
    assert read_yaml("[" * 100 + "]" * 100)
    with pytest.raises(UnclearError, match="nested too deep"):
        read_yaml("[" * 101 + "]" * 101)


@pytest.mark.parametrize(
    "text", ["a: 1\na: 1", "{a: 1, 'a': 2}", "? [a]\n: 1", "? {a: 1}\n: 1", "a: [", "a: b: c", "\x07"]
)
def test_yaml_that_is_ambiguous_or_broken_is_unclear(text: str) -> None:
    with pytest.raises(UnclearError):
        read(b"a.yaml", text.encode())
