"""Files that are to break who reads them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from headgated.core.schema import Schema
from headgated.core.syntax import syntax_fault

NESTED = """
import sys, threading
from headgated.core.syntax import syntax_fault
told = []
def look():
    for syntax, opening in (("json", b"["), ("toml", b"a = ["), ("xml", b"<a>"), ("yaml", b"["), ("yaml", b"- "), ("yaml", b"? ")):
        told.append(bool(syntax_fault(syntax, opening * 300_000)))
thread = threading.Thread(target=look)
thread.start()
thread.join()
sys.exit(0 if told == [True] * 6 else 1)
"""


def test_deep_nesting_is_a_fault_and_no_crash() -> None:
    """In a process of its own: what reads deep YAML by recursion in C takes the process with it."""
    assert subprocess.run([sys.executable, "-c", NESTED], timeout=60, check=False).returncode == 0


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"a: &x 1\nb: *x\n", ""),
        (b"a: !ours {b: [1, 2]}\n---\nb\n", ""),
        (b"", ""),
        (b"a: &x 1\n---\nb: *x\n", "undefined alias"),
        (b"a: 1\n b: 2\n", "line 2"),
        (b"a: [1\n", "line"),
    ],
)
def test_yaml_is_judged_by_its_form(content: bytes, fault: str) -> None:
    found = syntax_fault("yaml", content)
    assert fault in found
    assert bool(found) == bool(fault)


@pytest.mark.parametrize(
    "text", [b"3", b"null", b"[]", b'"x"', b'{"$schema": {}}', b'{"$schema": 3}', b"{", b"\xff"]
)
def test_what_is_no_schema_is_said_to_be_none(text: bytes) -> None:
    with pytest.raises(ValueError, match="is no JSON Schema"):
        Schema(text)
