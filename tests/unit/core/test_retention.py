"""What history keeps, as tables: an environment is a row of deployments, newest first, each with its age in days and its size."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from headgated.core.retention import Limits, Past, kept

DAY = 86400.0
WIDE = Limits(count=1000, max_age=1000 * DAY)


def row(name: str, *days_and_sizes: tuple[float, int]) -> list[Past]:
    count = len(days_and_sizes)
    return [Past(f"{name}{count - n}", days * DAY, size) for n, (days, size) in enumerate(days_and_sizes)]


FIVE = row("a", (1, 10), (2, 10), (3, 10), (4, 10), (5, 10))


@pytest.mark.parametrize(
    ("limits", "live", "named", "expected"),
    [
        (WIDE, True, (), "a1 a2 a3 a4 a5"),
        (Limits(3, 1000 * DAY), True, (), "a3 a4 a5"),
        (Limits(1, 1000 * DAY), True, (), "a4 a5"),  # what is there and the state before it
        (Limits(1, 1000 * DAY), False, (), "a5"),
        (Limits(9, 3 * DAY), True, (), "a3 a4 a5"),
        (Limits(9, 0.5 * DAY), True, (), "a4 a5"),
        (Limits(9, 0.5 * DAY), False, (), ""),
        (Limits(3, 4 * DAY), True, (), "a3 a4 a5"),  # each limit is one
        (Limits(4, 3 * DAY), True, (), "a3 a4 a5"),
        (
            Limits(1, 1000 * DAY),
            True,
            ("a2",),
            "a2 a3 a4 a5",
        ),  # what is named, without a gap up to the newest
        (Limits(9, 1000 * DAY, room=50), True, (), "a1 a2 a3 a4 a5"),
        (Limits(9, 1000 * DAY, room=49), True, (), "a2 a3 a4 a5"),
        (Limits(9, 1000 * DAY, room=0), True, (), "a4 a5"),
        (Limits(9, 1000 * DAY, room=-7), True, ("a3",), "a3 a4 a5"),
        (Limits(9, 1000 * DAY, room=0), False, (), ""),
        (Limits(2, 1000 * DAY, room=50), True, (), "a4 a5"),
    ],
)
def test_each_limit_holds_and_what_is_needed_stays(
    limits: Limits, *, live: bool, named: Sequence[str], expected: str
) -> None:
    assert kept({"a": FIVE}, {"a"} if live else set(), named, limits) == frozenset(expected.split())


def test_room_goes_to_the_youngest_of_all_environments() -> None:
    past = {"a": row("a", (1, 5), (2, 5), (3, 5), (9, 5)), "b": row("b", (4, 5), (5, 5), (6, 5), (7, 5))}
    # The two newest of each cost 20.
    assert kept(past, past, (), Limits(9, 99 * DAY, room=30)) == {"a2", "a3", "a4", "b2", "b3", "b4"}
    assert kept(past, past, (), Limits(9, 99 * DAY, room=29)) == {"a2", "a3", "a4", "b3", "b4"}


def test_clock_that_was_set_back_makes_no_gap() -> None:
    past = {"a": row("a", (1, 5), (2, 5), (9, 5), (3, 5))}
    assert kept(past, past, (), Limits(9, 5 * DAY)) == {"a3", "a4"}
    assert kept(past, past, (), Limits(9, 99 * DAY, room=15)) == {"a2", "a3", "a4"}


def test_environment_that_was_never_deployed_is_no_trouble() -> None:
    assert kept({"a": []}, {"a"}, (), WIDE) == frozenset()


PASTS = st.dictionaries(
    st.sampled_from("abc"),
    st.lists(st.tuples(st.floats(0, 100), st.integers(0, 100)), max_size=8),
)


@given(PASTS, st.integers(1, 9), st.floats(0, 100), st.none() | st.integers(-10, 300))
def test_what_is_kept_is_a_run_of_the_newest(
    rows: dict[str, list[tuple[float, int]]], count: int, days: float, room: int | None
) -> None:
    """Undoing needs every later deployment too: a gap would restore something that never was."""
    past = {name: row(name, *cells) for name, cells in rows.items()}
    keep = kept(past, {"a"}, (), Limits(count, days * DAY, room))
    for name, deployments in past.items():
        here = [each.deployment_id in keep for each in deployments]
        assert not any(later and not newer for newer, later in pairwise(here))
        if name == "a":
            assert all(here[:2])
