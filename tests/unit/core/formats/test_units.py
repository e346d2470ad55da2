from __future__ import annotations

import pytest

from headgated.core.formats.node import UnclearError
from headgated.core.formats.units import read_unit


def test_sections_and_keys_that_repeat() -> None:
    text = """
# comment
[Unit]
Description=The gate
[Service]
ExecStartPre=/bin/a
ExecStartPre=/bin/b
ExecStart=/bin/gate --one \\
# comment within
    --two
Environment=
; comment
[Unit]
After=network.target
"""
    assert read_unit(text) == [
        {
            "Unit": {"Description": "The gate", "After": "network.target"},
            "Service": {
                "ExecStartPre": ["/bin/a", "/bin/b"],
                "ExecStart": "/bin/gate --one  --two",
                "Environment": "",
            },
        }
    ]


def test_assigning_nothing_empties_what_was_before() -> None:
    assert read_unit("[S]\nA=1\nA=\nA=2\n") == [{"S": {"A": "2"}}]


@pytest.mark.parametrize("text", ["A=1", "[S]\nnonsense", "[S]\n=1"])
def test_what_is_no_unit_is_not_read(text: str) -> None:
    with pytest.raises(UnclearError):
        read_unit(text)
