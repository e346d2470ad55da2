"""From what lies at a step's two names: whether it was performed, and which way a cut-off deployment has to go.

How a step moves, by its own doing alone ("-": nothing; old: as expected; new: as wanted):

    Put over something    old,-  --stage-->  old,new  --apply-->  new,old  --finish-->  new,-
    Put of something new  -,-    --stage-->  -,new    --apply-->  new,-
    Take                  old,-              old,-    --apply-->  -,old    --finish-->  -,-

and back the same way. What stands at the destination may have been changed by somebody since; the temporary is ours
alone. So the temporary decides, and the destination only where there is none:

    Put over something            temp:  new       old        part of old  other    -
        dest: old                        STAGED    PERFORMED  FINISHED     SPOILED  UNDONE
        dest: new                        STAGED    PERFORMED  FINISHED     SPOILED  FINISHED
        dest: - or other                 STAGED    PERFORMED  FINISHED     SPOILED  UNKNOWN
    Put of something new          temp:  anything: STAGED;  -, by dest:  new PERFORMED, - UNDONE, other UNKNOWN
    Take                          temp:  old PERFORMED, other SPOILED;  -, by dest:  old UNDONE, - GONE, other UNKNOWN
    Attributes                    all wanted: PERFORMED, one still as expected: UNDONE, otherwise UNKNOWN
    RemoveDirectory               gone: GONE; otherwise it does not say

"other" also stands for a destination whose directory is gone. "part of old" is a directory some of which `finish` has
removed. SPOILED: what was taken away is not what the plan had
found; whoever wrote it has the only copy, so it must get back to its place.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, auto

from headgated.core.steps import Attributes, Put, RemoveDirectory, Step, Take


class State(Enum):
    """What lies at one of a step's names."""

    NONE = auto()
    OLD = auto()
    NEW = auto()
    PART = auto()
    """Some of an old directory, and nothing that was not in it."""
    OTHER = auto()


class Verdict(Enum):
    """How far a step got."""

    STAGED = auto()
    """Not performed; its temporary still waits."""
    UNDONE = auto()
    """Not performed, or undone; no temporary."""
    PERFORMED = auto()
    SPOILED = auto()
    """Performed on something that the plan had not found."""
    FINISHED = auto()
    """Performed, and what was there before is removed: the record had been written."""
    GONE = auto()
    """Finished, or removed by somebody else."""
    UNKNOWN = auto()
    """Somebody has changed the destination since, and nothing tells what we did before."""


def judge(step: Step, dest: State, temp: State) -> Verdict | None:
    """Return how far a step got, by the tables above; None: it does not say.

    For Attributes, `dest` is NEW, OLD or OTHER in the sense of the table, and `temp` is NONE. For RemoveDirectory, `dest` is
    NONE or OLD.
    """
    match step:
        case RemoveDirectory():
            return Verdict.GONE if dest is State.NONE else None
        case Attributes():
            return _ATTRIBUTES.get(dest, Verdict.UNKNOWN)
        case Put(expected=None):
            return _PUT_NEW.get(dest, Verdict.UNKNOWN) if temp is State.NONE else Verdict.STAGED
        case Put():
            return _BY_TEMP.get(temp) or _PUT_OVER.get(dest, Verdict.UNKNOWN)
        case Take():
            return _BY_TEMP.get(temp) or _TAKE.get(dest, Verdict.UNKNOWN)


def forward(verdicts: Iterable[Verdict | None]) -> bool:
    """Tell whether a cut-off deployment is to be completed; otherwise it is to be undone.

    The strongest evidence comes first. A waiting temporary: the renames were not all done. A finished step: they were, and
    this one cannot be undone any more. A step that is undone or spoiled: they were not, or must not have been. Without any
    of these, whatever was performed is all there was to perform; that something is gone is no evidence against it. Where
    nothing at all can be told, nothing was done.
    """
    found = set(verdicts) - {None}
    if Verdict.STAGED in found:
        return False
    if Verdict.FINISHED in found:
        return True
    if found & {Verdict.UNDONE, Verdict.SPOILED}:
        return False
    return not found or bool(found & {Verdict.PERFORMED, Verdict.GONE})


_BY_TEMP = {
    State.NEW: Verdict.STAGED,
    State.OLD: Verdict.PERFORMED,
    State.PART: Verdict.FINISHED,
    State.OTHER: Verdict.SPOILED,
}
_PUT_OVER = {State.OLD: Verdict.UNDONE, State.NEW: Verdict.FINISHED}
_PUT_NEW = {State.NONE: Verdict.UNDONE, State.NEW: Verdict.PERFORMED}
_TAKE = {State.OLD: Verdict.UNDONE, State.NONE: Verdict.GONE}
_ATTRIBUTES = {State.OLD: Verdict.UNDONE, State.NEW: Verdict.PERFORMED}
