"""Promise 4: a rollback sticks until the sources ask for something else at every path of it."""

from __future__ import annotations

import hashlib

from headgated.core.hold import ABSENT, lifts, rejected
from headgated.core.plan import Change
from headgated.core.tree import Entry, Kind, build, encode

ONE, TWO, THREE = (Entry(Kind.FILE, 0o644, bytes([n]) * 32, n) for n in (1, 2, 3))
FOLDER = Entry(Kind.DIRECTORY, 0o755)
LINK = Entry(Kind.SYMLINK, target=b"x")


def test_hold_stays_until_each_path_has_other_content() -> None:
    refused = rejected([[Change(b"a", ONE, TWO), Change(b"b", None, TWO)]])
    assert not lifts(refused, build({b"a": TWO, b"b": TWO}))
    assert not lifts(refused, build({b"a": THREE, b"b": TWO}))
    assert lifts(refused, build({b"a": THREE, b"b": THREE}))
    assert lifts(refused, build({b"a": ONE})), "gone from the sources is other content"


def test_hold_of_a_removal_stays_while_the_file_is_absent() -> None:
    refused = rejected([[Change(b"a", ONE, None)]])
    assert not lifts(refused, build({}))
    assert lifts(refused, build({b"a": ONE}))


def test_mode_and_link_count_and_owner_does_not() -> None:
    refused = rejected([[Change(b"a", ONE, TWO), Change(b"l", None, LINK)]])
    owned = Entry(Kind.FILE, 0o644, TWO.digest, TWO.size, uid=7, gid=7)
    assert not lifts(refused, build({b"a": owned, b"l": Entry(Kind.SYMLINK, target=b"y")}))
    wider = Entry(Kind.FILE, 0o600, TWO.digest, TWO.size)
    assert lifts(refused, build({b"a": wider, b"l": Entry(Kind.SYMLINK, target=b"y")}))


def test_mode_that_is_not_ours_to_say_is_as_good_as_any() -> None:
    unsaid = Entry(Kind.FILE, None, TWO.digest, TWO.size)
    for refused in (rejected([[Change(b"a", ONE, TWO)]]), rejected([[Change(b"a", ONE, unsaid)]])):
        assert not lifts(refused, build({b"a": TWO}))
        assert not lifts(refused, build({b"a": unsaid}))
        assert lifts(refused, build({b"a": THREE}))
        assert lifts(refused, build({b"a": Entry(Kind.FILE, None, ONE.digest, ONE.size)}))


def test_hold_of_an_earlier_version_stays() -> None:
    written = {"a": hashlib.sha256(encode(b"", TWO, TWO.digest)).hexdigest(), "b": ABSENT}
    assert not lifts(written, build({b"a": TWO}))
    assert lifts(written, build({b"a": ONE, b"b": ONE}))


def test_newest_undone_content_is_what_was_rejected() -> None:
    refused = rejected([[Change(b"a", TWO, THREE)], [Change(b"a", ONE, TWO)]])
    assert lifts(refused, build({b"a": TWO}))
    assert not lifts(refused, build({b"a": THREE}))


def test_directory_that_holds_the_mended_files_does_not_hold() -> None:
    refused = rejected([[Change(b"d", None, FOLDER), Change(b"d/a", None, ONE)]])
    assert lifts(refused, build({b"d": FOLDER, b"d/a": TWO}))


def test_directories_alone_are_held() -> None:
    refused = rejected([[Change(b"d", None, FOLDER)]])
    assert not lifts(refused, build({b"d": FOLDER}))
    assert lifts(refused, build({}))


def test_mode_of_a_directory_that_stays_is_held_until_another_is_asked_for() -> None:
    closed, open_ = Entry(Kind.DIRECTORY, 0o700), Entry(Kind.DIRECTORY, 0o777)
    refused = rejected([[Change(b"d", FOLDER, open_), Change(b"d/a", ONE, TWO)]])
    assert not lifts(refused, build({b"d": open_, b"d/a": THREE}))
    assert not lifts(refused, build({b"d": FOLDER, b"d/a": TWO}))
    assert lifts(refused, build({b"d": closed, b"d/a": THREE}))


def test_hold_of_a_directory_of_whatever_mode_stays_while_there_is_one() -> None:
    """As holds from before modes of directories were told apart."""
    refused = rejected([[Change(b"d", ONE, Entry(Kind.DIRECTORY))]])
    assert not lifts(refused, build({b"d": FOLDER}))
    assert lifts(refused, build({b"d": ONE}))
