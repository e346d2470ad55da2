from __future__ import annotations

import time

import pytest

from headgated.core.ignore import DEFAULT_RULES, Rules


def rules(*lines: bytes, directory: bytes = b"") -> Rules:
    made, complaints = Rules().extended(directory, b"\n".join(lines))
    assert complaints == ()
    return made


@pytest.mark.parametrize(
    ("line", "path", "ignored"),
    [
        (b"x", b"x", True),
        (b"x", b"a/b/x", True),
        (b"x", b"xx", False),
        (b"/x", b"x", True),
        (b"/x", b"a/x", False),
        (b"a/x", b"a/x", True),
        (b"a/x", b"b/a/x", False),
        (b"*.log", b"a/b.log", True),
        (b"*.log", b"b.logs", False),
        (b"*", b"anything", True),
        (b"a*c*e", b"abcde", True),
        (b"a*c*e", b"acbe", True),
        (b"a*c*e", b"aecd", False),
        (b"?", b"x", True),
        (b"?", b"xy", False),
        (b"a/*", b"a/x", True),
        (b"a/*", b"a/x/y", False),
        (b"**/x", b"x", True),
        (b"**/x", b"a/b/x", True),
        (b"a/**", b"a", False),
        (b"a/**", b"a/b/c", True),
        (b"a/**/z", b"a/z", True),
        (b"a/**/z", b"a/b/c/z", True),
        (b"a/**/z", b"b/a/z", False),
        (b"a/**/m/**/z", b"a/m/b/m/z", True),
        (b"a**z", b"a/z", False),
        (b"***/x", b"a/b/x", True),
        (b"[a-c]x", b"bx", True),
        (b"[a-c]x", b"dx", False),
        (b"[!a-c]x", b"dx", True),
        (b"[^a-c]x", b"bx", False),
        (b"[]x]", b"]", True),
        (b"[]-]", b"-", True),
        (b"[[]", b"[", True),
        (b"[\\]]", b"]", True),
        (b"[z-a]", b"m", False),
        (b"[[:digit:]x]", b"7", True),
        (b"[[:digit:]x]", b"y", False),
        (b"\\#x", b"#x", True),
        (b"\\!x", b"!x", True),
        (b"\\*", b"*", True),
        (b"\\*", b"x", False),
        (b"x   ", b"x", True),
        (b"x\\ ", b"x ", True),
        (b"x\r", b"x", True),
        (b"  x", b"x", False),
        ("à".encode(), "à".encode(), True),
        (b"*.x", b"line\nbreak.x", True),
        (b"x", b"x\n", False),
        (b"x*", b"x\n", True),
        (b"\xff*", b"\xff\xfe", True),
        (b"#x", b"#x", False),
        (b"/", b"x", False),
        (b"!", b"x", False),
        (b"", b"x", False),
    ],
)
def test_pattern_matches_as_in_git(line: bytes, path: bytes, *, ignored: bool) -> None:
    assert rules(line).ignores(path, is_directory=False) is ignored


@pytest.mark.parametrize("line", [b"x/", b"/x/", b"**/x/", b"a/../x/", b"x*/"])
def test_pattern_with_a_slash_at_the_end_is_for_directories(line: bytes) -> None:
    assert not rules(line).ignores(b"x", is_directory=False)
    assert rules(line).ignores(b"x", is_directory=True) is (b".." not in line)


def test_last_line_that_matches_decides() -> None:
    assert not rules(b"*.log", b"!keep.log").ignores(b"keep.log", is_directory=False)
    assert rules(b"!keep.log", b"*.log").ignores(b"keep.log", is_directory=False)


def test_rules_of_a_directory_hold_below_it_and_come_first() -> None:
    both, _ = rules(b"*.log", b"*.bak").extended(b"a/b", b"!*.log\n/x\n")
    assert both.ignores(b"a/b/y.bak", is_directory=False)
    assert not both.ignores(b"a/b/y.log", is_directory=False)
    assert both.ignores(b"a/b/x", is_directory=False)
    assert not both.ignores(b"a/b/c/x", is_directory=False)


def test_byte_order_mark_is_no_part_of_the_first_pattern() -> None:
    assert rules(b"\xef\xbb\xbfx").ignores(b"x", is_directory=False)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"[a", "a bracket is not closed"),
        (b"x\\", "a backslash escapes nothing"),
        (b"[[:nonsense:]]", "there is no class [:nonsense:]"),
    ],
)
def test_line_that_makes_no_sense_is_named_and_harms_no_other(line: bytes, why: str) -> None:
    made, complaints = Rules().extended(b"", b"*.log\n" + line + b"\n*.bak")
    assert complaints == (f"line 2: {why}",)
    assert made == rules(b"*.log", b"*.bak")


@pytest.mark.parametrize("name", [b".git", b".headgate-0123456789ab-1"])
def test_what_is_never_deployed_cannot_be_brought_back(name: bytes) -> None:
    assert rules(b"!*").ignores(b"a/" + name, is_directory=True)


@pytest.mark.parametrize(
    "name",
    [
        *(
            b".headgateignore",
            b".hg",
            b".svn",
            b"CVS",
            b".x.conf.swp",
            b"x.swo",
            b"4913",
            b"x.conf~",
            b".#x",
            b"#x#",
        ),
        *(b"x.tmp", b".goutputstream-XYZ", b".DS_Store", b".nfs0001", b"x___jb_tmp___", b"lost+found"),
    ],
)
def test_what_editors_and_desktops_leave_is_ignored_unless_brought_back(name: bytes) -> None:
    """S3."""
    assert DEFAULT_RULES.ignores(b"a/" + name, is_directory=False)
    brought_back, _ = DEFAULT_RULES.extended(b"", b"!*")
    assert not brought_back.ignores(b"a/" + name, is_directory=False)


@pytest.mark.parametrize(
    "name", [b"x", b".env", b"x.tmpl", b"swp", b"tmp", b".gitignore", b".headgate", b"#x", b"x#", b"49130"]
)
def test_ordinary_names_are_not_ignored(name: bytes) -> None:
    assert not DEFAULT_RULES.ignores(name, is_directory=False)


def test_covers_looks_at_the_directories_above_too() -> None:
    made = rules(b"certs/", b"*.bin")
    assert made.covers(b"a/certs/x/y")
    assert made.covers(b"a/y.bin")
    assert not made.covers(b"a/certs")
    assert not made.covers(b"a/y")


@pytest.mark.parametrize(
    ("line", "path"),
    [
        (b"*a" * 40 + b"b", b"a" * 255),
        (b"[ab]*" * 40 + b"c", b"ab" * 120),
        (b"/".join([b"**", b"a*a"] * 40) + b"/b", b"/".join([b"aa"] * 1000)),
        (b"a" + b" " * 60_000 + b"b", b"a"),
        (b"*" * 60_000, b"a" * 255),
    ],
)
def test_no_pattern_takes_long(line: bytes, path: bytes) -> None:
    """Whoever may write a source shall not be able to stall the daemon with it."""
    made = rules(line)
    began = time.process_time()
    made.ignores(path, is_directory=False)
    assert time.process_time() - began < 0.5
