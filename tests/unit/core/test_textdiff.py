from __future__ import annotations

import difflib
import re

from hypothesis import given, settings, strategies as st

from headgated.core import textdiff
from headgated.core.textdiff import unified


def body(old: bytes | None, new: bytes | None) -> list[str]:
    text, note = unified(b"app.conf", old, new)
    assert note == ""
    return text.splitlines()[2:]


def test_diff_is_in_the_unified_format() -> None:
    old = b"".join(b"line %d\n" % number for number in range(1, 31))
    new = old.replace(b"line 5\n", b"line five\n").replace(b"line 20\n", b"") + b"line 31\n"
    text, note = unified(b"etc/app.conf", old, new)
    expected = difflib.unified_diff(
        old.decode().splitlines(), new.decode().splitlines(), "a/etc/app.conf", "b/etc/app.conf", lineterm=""
    )
    assert (text.splitlines(), note) == (list(expected), "")


def test_diff_of_a_new_and_of_a_removed_file_names_dev_null() -> None:
    assert unified(b"a", None, b"x\n") == ("--- /dev/null\n+++ b/a\n@@ -0,0 +1 @@\n+x\n", "")
    assert unified(b"a", b"x\ny\n", None) == ("--- a/a\n+++ /dev/null\n@@ -1,2 +0,0 @@\n-x\n-y\n", "")


def test_nothing_to_show_is_no_diff() -> None:
    assert unified(b"a", b"x\n", b"x\n") == ("", "")
    assert unified(b"a", None, None) == ("", "")
    assert unified(b"a", None, b"") == ("", "empty")


def test_missing_end_of_the_last_line_is_shown() -> None:
    assert body(b"a\nb\n", b"a\nb") == ["@@ -1,2 +1,2 @@", " a", "-b", "+b", "\\ No newline at end of file"]


def test_binary_file_is_noted_and_not_shown() -> None:
    assert unified(b"a", b"x\0", b"longer") == ("", "binary: 2 bytes before, 6 bytes after")
    assert unified(b"a", None, b"\0") == ("", "binary: no file before, 1 bytes after")


def test_too_large_file_is_noted_and_not_shown() -> None:
    text, note = unified(b"a", b"", b"x" * (textdiff.COMPARED_BYTES + 1))
    assert (text, note) == ("", "too large to compare: 0 bytes before, 1048577 bytes after")


def test_bytes_that_cannot_be_shown_are_escaped() -> None:
    assert body(b"", b"caf\xc3\xa9 \xff\xfe \x1b[31m \xc2\x9b tab\t \xe2\x80\xae\n") == [
        "@@ -0,0 +1 @@",
        "+caf\u00e9 \\xff\\xfe \\x1b[31m \\xc2\\x9b tab\t \\xe2\\x80\\xae",
    ]
    assert unified(b"a\n\xff", None, b"x\n")[0].startswith("--- /dev/null\n+++ b/a\\x0a\\xff\n@@")


def test_carriage_returns_are_shown_where_they_change() -> None:
    assert body(b"a\r\nb\r\n", b"a\r\nc\r\n") == ["@@ -1,2 +1,2 @@", " a", "-b", "+c"]
    assert body(b"a\r\n", b"a\n") == ["@@ -1 +1 @@", "-a\\x0d", "+a"]


def test_secret_is_hidden_and_its_change_is_not() -> None:
    old = b"user: me\npassword: hunter2\nkey: |\n  x\n"
    lines = body(old, old.replace(b"hunter2", b"hunter3"))
    assert lines == ["@@ -1,4 +1,4 @@", " user: me", "-password: ***", "+password: ***", " key: |", "   x"]


def test_secret_is_hidden_where_its_key_is_outside_the_hunk() -> None:
    old = b"secrets:\n" + b"".join(b"  s%d: canary%d\n" % (number, number) for number in range(20))
    text = unified(b"a.yaml", old, old.replace(b"canary15", b"canary99"))[0]
    assert "canary" not in text
    assert "-  ***" in text.splitlines()


def test_long_diff_is_cut_and_says_so() -> None:
    text, note = unified(b"a", None, b"x\n" * 5000)
    assert text.count("\n") == textdiff.SHOWN_LINES
    assert note == "cut: 3003 more lines"
    wide, note = unified(b"a", None, (b"y" * 5000 + b"\n") * 100)
    assert len(wide) < 200_000
    assert note.startswith("cut: ")
    assert "\u2026 (5000 characters)" in wide


def test_files_that_differ_all_over_are_not_compared_line_by_line() -> None:
    """It would take minutes; what is shown is right all the same."""
    old = [f"{number}\n" for number in range(60_000)]
    new = ["x\n" if number % 10 == 5 else line for number, line in enumerate(old)]
    text, note = unified(b"a", "".join(old).encode(), "".join(new).encode())
    assert note.startswith("cut: ")
    assert text.splitlines()[2:7] == ["@@ -3,59997 +3,59997 @@", " 2", " 3", " 4", "-5"]
    assert all(line.startswith("-") for line in text.splitlines()[6:])


def test_change_in_a_long_file_is_found_however_long_it_is() -> None:
    old = b"".join(b"%d\n" % number for number in range(50_000))
    assert body(old, old.replace(b"\n25000\n", b"\nx\n")) == [
        "@@ -24998,7 +24998,7 @@", " 24997", " 24998", " 24999", "-25000", "+x", " 25001", " 25002", " 25003",
    ]  # fmt: skip


def apply(text: str, old: list[str]) -> list[str]:
    """Do what a unified diff says, checking every line that it mentions."""
    new: list[str] = []
    at = 0
    for line in text.splitlines()[2:]:
        if line.startswith("@@"):
            head = re.fullmatch(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@", line)
            assert head is not None
            begin = int(head[1]) - (head[2] != "0")
            new += old[at:begin]
            at = begin
            assert len(new) == int(head[3]) - (head[4] != "0")
        elif line.startswith("+"):
            new.append(line[1:])
        else:
            assert old[at] == line[1:]
            if line.startswith(" "):
                new.append(line[1:])
            at += 1
    return new + old[at:]


LINES = st.lists(st.sampled_from("abcd"), max_size=40)


@settings(max_examples=300, deadline=None)
@given(LINES, LINES, LINES, LINES)
def test_diff_tells_all_that_changed(
    head: list[str], old: list[str], new: list[str], tail: list[str]
) -> None:
    before, after = head + old + tail, head + new + tail
    text, _ = unified(b"a", *("".join(f"{line}\n" for line in lines).encode() for lines in (before, after)))
    assert apply(text, before) == after
