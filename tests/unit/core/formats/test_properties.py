from __future__ import annotations

import pytest

from headgated.core.formats.node import UnclearError
from headgated.core.formats.properties import read_properties


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("a=1\nb: 2\nc 3\n", {"a": "1", "b": "2", "c": "3"}),
        ("  a =  x y \n", {"a": "x y "}),
        ("# no\n! no\n\n a=1", {"a": "1"}),
        ("fruits = apple, \\\n    pear, \\\r\n  plum\nx=1", {"fruits": "apple, pear, plum", "x": "1"}),
        ("a\\=b\\:c\\ d=1", {"a=b:c d": "1"}),
        ("a=\\u00e9\\t\\n\\\\", {"a": "é\t\n\\"}),
        ("empty=\nalone", {"empty": "", "alone": ""}),
        ("path=c:\\\\temp", {"path": "c:\\temp"}),
        ("a=1\\\\\nb=2", {"a": "1\\", "b": "2"}),
        ("a = b = c", {"a": "b = c"}),
        ("a=x\\\n# not a comment", {"a": "x# not a comment"}),
    ],
)
def test_settings_are_read_as_java_does(text: str, settings: dict[str, str]) -> None:
    assert read_properties(text) == [settings]


@pytest.mark.parametrize("text", ["a=1\na=2", "a=\\u12"])
def test_what_is_unclear_is_not_read(text: str) -> None:
    with pytest.raises(UnclearError):
        read_properties(text)
