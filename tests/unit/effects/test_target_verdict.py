"""The truth table of recovery, cell by cell."""

from __future__ import annotations

import itertools

import pytest

from headgated.core.steps import Attributes, Put, RemoveDirectory, Step, Take
from headgated.core.tree import Entry, Kind
from headgated.effects.target.verdict import State, Verdict, forward, judge

FILE = Entry(Kind.FILE, 0o644, b"1" * 32, 1)
OTHER_FILE = Entry(Kind.FILE, 0o644, b"2" * 32, 1)
DIRECTORY = Entry(Kind.DIRECTORY, 0o755)

OVER = Put(b"f", b"t", FILE, OTHER_FILE)
NEW = Put(b"f", b"t", None, FILE)
TAKE = Take(b"f", b"t", FILE)
ATTRIBUTES = Attributes(b"d", DIRECTORY, DIRECTORY)
REMOVE = RemoveDirectory(b"d", DIRECTORY)

# One row for each destination; columns: what is at the temporary.
COLUMNS = [State.NEW, State.OLD, State.PART, State.OTHER, State.NONE]
TABLE: dict[str, tuple[Step, dict[State, str]]] = {
    "put over": (
        OVER,
        {
            State.OLD: "staged performed finished spoiled undone",
            State.NEW: "staged performed finished spoiled finished",
            State.NONE: "staged performed finished spoiled unknown",
            State.OTHER: "staged performed finished spoiled unknown",
        },
    ),
    "put new": (
        NEW,
        {
            State.NEW: "staged staged staged staged performed",
            State.NONE: "staged staged staged staged undone",
            State.OTHER: "staged staged staged staged unknown",
        },
    ),
    "take": (
        TAKE,
        {
            State.OLD: "staged performed finished spoiled undone",
            State.NONE: "staged performed finished spoiled gone",
            State.OTHER: "staged performed finished spoiled unknown",
        },
    ),
}
CELLS = [
    pytest.param(step, dest, temp, Verdict[word.upper()], id=f"{name}-{dest.name}-{temp.name}")
    for name, (step, rows) in TABLE.items()
    for dest, row in rows.items()
    for temp, word in zip(COLUMNS, row.split(), strict=True)
]


@pytest.mark.parametrize(("step", "dest", "temp", "verdict"), CELLS)
def test_judge_follows_the_table(step: Step, dest: State, temp: State, verdict: Verdict) -> None:
    assert judge(step, dest, temp) is verdict


@pytest.mark.parametrize(
    ("step", "dest", "verdict"),
    [
        (ATTRIBUTES, State.NEW, Verdict.PERFORMED),
        (ATTRIBUTES, State.OLD, Verdict.UNDONE),
        (ATTRIBUTES, State.OTHER, Verdict.UNKNOWN),
        (REMOVE, State.NONE, Verdict.GONE),
        (REMOVE, State.OLD, None),
    ],
)
def test_judge_of_steps_without_a_temporary(step: Step, dest: State, verdict: Verdict | None) -> None:
    assert judge(step, dest, State.NONE) is verdict


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ("", True),
        ("performed", True),
        ("performed performed gone unknown", True),
        ("gone", True),
        ("unknown", False),
        ("undone", False),
        ("performed undone", False),
        ("performed gone undone", False),
        ("performed spoiled", False),
        ("performed finished spoiled undone unknown gone", True),
        ("finished staged", False),
        ("performed staged", False),
    ],
)
def test_forward_weighs_the_evidence(verdicts: str, expected: bool) -> None:  # noqa: FBT001 - a column
    assert forward([Verdict[word.upper()] for word in verdicts.split()]) is expected
    assert forward([None, *(Verdict[word.upper()] for word in reversed(verdicts.split()))]) is expected


def test_forward_is_never_true_while_a_temporary_waits_and_always_when_one_step_is_finished() -> None:
    for found in itertools.product(Verdict, repeat=3):
        if Verdict.STAGED in found:
            assert not forward(found)
        elif Verdict.FINISHED in found:
            assert forward(found)
