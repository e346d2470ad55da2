"""Whatever stands in root's tables of commands: it is understood, or every fault is told; nothing is raised."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from headgated.core import config
from headgated.core.command_tables import TABLES, read_commands
from headgated.core.errors import InvalidRequestError

WORDS = st.sampled_from(["a", "json", "", "/x", "x:1", "http://a/", "5s", "\n", "[", "!", "\0", "{staged}"])
LEAVES = WORDS | st.text(max_size=5) | st.integers() | st.floats() | st.booleans() | st.dates() | st.none()
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(
    [
        "argv",
        "timeout",
        "user",
        "directory",
        "environment",
        "output_limit",
        "command",
        "syntax",
        "schema",
        "files",
        "give_up_after",
        "http",
        "tcp",
        "grpc",
        "interval",
    ]
) | st.text(max_size=3)
NAMES = st.sampled_from(["a", "json", "b-2", "A", "", "x\ny"])
ANY = st.dictionaries(
    st.sampled_from(TABLES),
    st.dictionaries(NAMES, st.dictionaries(KEYS, VALUES, max_size=4) | VALUES, max_size=3) | VALUES,
)


@settings(max_examples=150, deadline=None)
@given(ANY)
def test_nonsense_is_told_and_never_raised(tables: dict[str, Any]) -> None:
    told: list[tuple[tuple[str, ...], str]] = []
    commands = read_commands(tables, lambda way, why: told.append((way, why)))
    assert all(way and why for way, why in told)
    whole = all(
        isinstance(table, dict) and len(table) == len(getattr(commands, kind))
        for kind, table in tables.items()
    )
    assert whole or told


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('[checks.a]\nsyntax = [["json"]]', "line 2: checks.a.syntax"),
        ("[checks.a]\nsyntax = [{}]", "line 2: checks.a.syntax"),
        ('[health.a]\nhttp = "http://a/ b"', "line 2: health.a.http"),
        ('[health.a]\nhttp = "http://\u00e9/"', "line 2: health.a.http"),
        (
            '[health.a]\ntcp = "a:1"\nsuccesses = 6\ndeadline = "5s"',
            "line 4: health.a.deadline: is too short",
        ),
        ('[health.a]\ntcp = "a:1"\nsuccesses = 31', "line 1: health.a.deadline: is too short"),
        ('[reloads.a]\ncommand = "b"', "line 2: reloads.a.command"),
    ],
)
def test_fault_is_told_with_its_line(text: str, where: str) -> None:
    with pytest.raises(InvalidRequestError, match=where):
        config.parse(text)
