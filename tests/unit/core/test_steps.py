"""Which steps a plan becomes, and in which order."""

from __future__ import annotations

import random

import pytest

from headgated.core.plan import Change
from headgated.core.steps import Attributes, Put, RemoveDirectory, Step, Take, parents, steps, touched
from headgated.core.tree import Entry, Kind

TOKEN = "0123456789ab"
ONE = Entry(Kind.FILE, 0o644, b"1" * 32, 1, uid=0, gid=0)
TWO = Entry(Kind.FILE, 0o644, b"2" * 32, 2)
LINK = Entry(Kind.SYMLINK, target=b"x", uid=0, gid=0)
FOLDER = Entry(Kind.DIRECTORY, 0o755, uid=0, gid=0)
OPEN = Entry(Kind.DIRECTORY, 0o777)
CLOSED = Entry(Kind.DIRECTORY, 0o700)


def temp(number: int, above: bytes = b"") -> bytes:
    return above + b".headgate-0123456789ab-%d" % number


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (None, TWO, Put(b"d/p", temp(0, b"d/"), None, TWO)),
        (ONE, TWO, Put(b"d/p", temp(0, b"d/"), ONE, TWO)),
        (ONE, LINK, Put(b"d/p", temp(0, b"d/"), ONE, LINK)),
        (LINK, ONE, Put(b"d/p", temp(0, b"d/"), LINK, ONE)),
        (None, FOLDER, Put(b"d/p", temp(0, b"d/"), None, FOLDER)),
        (ONE, FOLDER, Put(b"d/p", temp(0, b"d/"), ONE, FOLDER)),
        (FOLDER, ONE, Put(b"d/p", temp(0, b"d/"), FOLDER, ONE)),
        (ONE, None, Take(b"d/p", temp(0, b"d/"), ONE)),
        (LINK, None, Take(b"d/p", temp(0, b"d/"), LINK)),
        (FOLDER, None, RemoveDirectory(b"d/p", FOLDER)),
        (FOLDER, CLOSED, Attributes(b"d/p", FOLDER, CLOSED)),
        (None, None, None),
        (ONE, Entry(Kind.FILE, 0o644, b"1" * 32, 1), None),
        (FOLDER, Entry(Kind.DIRECTORY), None),
        (LINK, Entry(Kind.SYMLINK, target=b"x"), None),
    ],
)
def test_each_kind_of_change_has_its_step(
    before: Entry | None, after: Entry | None, expected: Step | None
) -> None:
    assert steps([Change(b"d/p", before, after)], TOKEN) == (() if expected is None else (expected,))


def test_temporary_of_a_top_level_path_is_in_the_root() -> None:
    (step,) = steps([Change(b"p", None, ONE)], TOKEN)
    assert isinstance(step, Put)
    assert step.temp == b".headgate-0123456789ab-0"


def test_new_directory_is_one_step_with_all_that_is_in_it() -> None:
    below = (
        Change(b"d/e", None, FOLDER),
        Change(b"d/e/f", None, ONE),
        Change(b"d/x", None, LINK),
    )
    others = (Change(b"d-", None, ONE), Change(b"d.e/f", ONE, TWO))
    made = steps([Change(b"d", None, FOLDER), *below, *others], TOKEN)
    assert made == (
        Put(b"d", temp(0), None, FOLDER, below),
        Put(b"d-", temp(1), None, ONE),
        Put(b"d.e/f", temp(2, b"d.e/"), ONE, TWO),
    )


def test_directory_that_gives_way_is_one_step_with_all_that_was_in_it() -> None:
    below = (Change(b"d/e", FOLDER, None), Change(b"d/e/f", ONE, None))
    assert steps([Change(b"d", FOLDER, TWO), *below], TOKEN) == (Put(b"d", temp(0), FOLDER, TWO, below),)


def test_directory_that_goes_is_removed_after_what_is_in_it_the_deepest_first() -> None:
    made = steps(
        [
            Change(b"d", FOLDER, None),
            Change(b"d/e", FOLDER, None),
            Change(b"d/e/f", ONE, None),
            Change(b"d/g", ONE, None),
        ],
        TOKEN,
    )
    assert made == (
        Take(b"d/e/f", temp(0, b"d/e/"), ONE),
        Take(b"d/g", temp(1, b"d/"), ONE),
        RemoveDirectory(b"d/e", FOLDER),
        RemoveDirectory(b"d", FOLDER),
    )


def test_new_things_come_before_removals() -> None:
    """A file that moves is never missing."""
    made = steps([Change(b"a", ONE, None), Change(b"b", None, ONE)], TOKEN)
    assert [type(step) for step in made] == [Put, Take]


def test_directories_close_first_and_open_last() -> None:
    """On the way nobody may read what he may read neither before nor after."""
    made = steps(
        [
            Change(b"closes", FOLDER, CLOSED),
            Change(b"opens", FOLDER, OPEN),
            Change(b"both", FOLDER, Entry(Kind.DIRECTORY, 0o770)),
            Change(b"owner", FOLDER, Entry(Kind.DIRECTORY, 0o755, uid=5)),
            Change(b"ours", FOLDER, Entry(Kind.DIRECTORY, 0o555)),
            Change(b"file", ONE, TWO),
        ],
        TOKEN,
    )
    assert [step.path for step in made] == [b"closes", b"file", b"both", b"opens", b"ours", b"owner"]


def test_order_and_iteration_of_changes_do_not_matter() -> None:
    changes = [
        Change(b"d", None, FOLDER),
        Change(b"d/e", None, ONE),
        Change(b"g", ONE, None),
        Change(b"h", FOLDER, CLOSED),
        Change(b"i/j", ONE, TWO),
        Change(b"i", FOLDER, OPEN),
    ]
    expected = steps(changes, TOKEN)
    for seed in range(20):
        random.Random(seed).shuffle(changes)
        assert steps(iter(changes), TOKEN) == expected


def test_parents_are_where_temporaries_lie_and_touched_is_what_is_to_be_synced() -> None:
    made = steps(
        [
            Change(b"a", None, ONE),
            Change(b"b", ONE, None),
            Change(b"d/x", ONE, TWO),
            Change(b"e", FOLDER, CLOSED),
            Change(b"f/g", FOLDER, None),
        ],
        TOKEN,
    )
    assert parents(made) == [b"", b"d"]
    assert sorted(touched(made)) == [b"", b"d", b"e"]


def test_paths_that_are_not_text_are_kept() -> None:
    (step,) = steps([Change(b"caf\xe9/\n", None, ONE)], TOKEN)
    assert (step.path, isinstance(step, Put) and step.temp) == (b"caf\xe9/\n", temp(0, b"caf\xe9/"))
