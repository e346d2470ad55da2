from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from headgated.core.paths import escape, is_safe, join, parent, unescape

NAMES = st.binary(min_size=1, max_size=12).filter(lambda name: b"/" not in name)


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_escape_can_be_undone_for_any_bytes(path: bytes) -> None:
    assert unescape(escape(path)) == path


@settings(deadline=None)
@given(st.text(max_size=40))
def test_escape_can_be_undone_for_any_text(text: str) -> None:
    path = text.encode("utf-8", "surrogatepass")
    assert unescape(escape(path)) == path


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_escaped_path_is_one_line_that_can_be_encoded(path: bytes) -> None:
    """S13: a name with a newline breaks no log, a name that is not UTF-8 breaks no record."""
    shown = escape(path)
    shown.encode()
    assert len(f"x{shown}x".splitlines()) == 1
    assert not any(character < " " or "\x7f" <= character <= "\x9f" for character in shown)


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (b"nginx/site.conf", "nginx/site.conf"),
        ("naïve/日本.conf".encode(), "naïve/日本.conf"),
        (b"a\\b", "a\\\\b"),
        (b"a\nb", "a\\x0ab"),
        (b"\xff\xfe", "\\xff\\xfe"),
        ("a\u2028b".encode(), "a\\xe2\\x80\\xa8b"),
    ],
)
def test_escape_changes_only_what_cannot_be_shown(path: bytes, shown: str) -> None:
    assert escape(path) == shown


@pytest.mark.parametrize(
    ("text", "path"), [("a\\b", b"a\\b"), ("\\x4", b"\\x4"), ("\\xFF", b"\xff"), ("\\", b"\\")]
)
def test_unescape_takes_what_people_type(text: str, path: bytes) -> None:
    assert unescape(text) == path


@pytest.mark.parametrize("path", [b"a", b"a/b", b"...", b"a/..b", b"\xff", b"a\nb", b"-"])
def test_path_below_the_root_is_safe(path: bytes) -> None:
    assert is_safe(path)


@pytest.mark.parametrize(
    "path", [b"", b"/", b"/a", b"a/", b"a//b", b".", b"..", b"a/../b", b"a/..", b"./a", b"a\0b"]
)
def test_path_that_may_leave_the_root_is_not_safe(path: bytes) -> None:
    assert not is_safe(path)


@settings(deadline=None)
@given(st.lists(NAMES, max_size=4), NAMES)
def test_parent_undoes_join(directories: list[bytes], name: bytes) -> None:
    directory = b"/".join(directories)
    assert parent(join(directory, name)) == directory
