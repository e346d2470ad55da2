"""Finds out what lies at a step's two names."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

from headgated.core.plan import Change
from headgated.core.steps import Attributes, Put, RemoveDirectory, Step, Take
from headgated.core.tree import Entry, Kind
from headgated.effects.beneath import GONE
from headgated.effects.target.look import SpecialFileError
from headgated.effects.target.site import Site
from headgated.effects.target.verdict import State


def survey(site: Site, step: Step) -> tuple[State, State]:
    """Return what is at a step's destination and at its temporary.

    What this operation itself has moved is known by its inode; all else is compared by content and attributes.

    Raises:
        OSError, TargetMovedError: it cannot be read.
    """
    try:
        match step:
            case Put() | Take():
                dest, temp = state_at(site, step, step.path), state_at(site, step, step.temp)
                return dest, State.OTHER if _is_not_ours(site, step, dest, temp) else temp
            case Attributes():
                return _attributes(site, step), State.NONE
            case RemoveDirectory():
                return State.NONE if site.look(step.path) is None else State.OLD, State.NONE
    except OSError as error:
        if error.errno not in GONE:
            raise
    # The directory that it was in is gone, and what we did there with it.
    return State.NONE if isinstance(step, RemoveDirectory) else State.OTHER, State.NONE


def _is_not_ours(site: Site, step: Put | Take, dest: State, temp: State) -> bool:
    """Whether a directory that looks like part of ours is somebody else's: ours is at its place, and there is only one."""
    if not isinstance(step, Put) or step.expected is None or step.wanted.kind != Kind.DIRECTORY:
        return False
    return dest is temp is State.NEW and _mark(site, site.look(step.temp)) is None


def _mark(site: Site, there: os.stat_result | None) -> State | None:
    return None if there is None else site.marks.get((there.st_dev, there.st_ino))


def state_at(site: Site, step: Put | Take, path: bytes) -> State:
    """Return what is at one of the step's two names."""
    there = site.look(path)
    if there is None:
        return State.NONE
    return _mark(site, there) or state_of_content(site, step, path)


def state_of_content(site: Site, step: Put | Take, path: bytes) -> State:
    """Return what is at one of the step's two names, whoever brought it there."""
    directory, name = site.beneath.place(path)
    try:
        live = site.lens.entry(directory, name, path)
    except SpecialFileError:
        return State.OTHER
    if live is None:
        return State.NONE
    wanted = step.wanted if isinstance(step, Put) else None
    if live.kind == Kind.DIRECTORY:
        return _directory(site, step, path, wanted)
    if wanted is not None and wanted.matches(live):
        return State.NEW
    return State.OLD if step.expected is not None and step.expected.matches(live) else State.OTHER


def _directory(site: Site, step: Put | Take, path: bytes, wanted: Entry | None) -> State:
    if not isinstance(step, Put):
        return State.OTHER
    if wanted is not None and wanted.kind == Kind.DIRECTORY:
        is_ours = _is_part_of_new if path == step.temp else _holds_new
        return State.NEW if is_ours(site, path, step) else State.OTHER
    if step.expected is not None and step.expected.kind == Kind.DIRECTORY:
        return _old_directory(site, path, step)
    return State.OTHER


def _holds_new(site: Site, path: bytes, step: Put) -> bool:
    """Whether the directory at `path` has all that the step's new directory has; others may have put more into it."""
    live = site.lens.below(site.beneath, path)
    return all(
        change.wanted is None or change.wanted.matches(live.get(inner)) for inner, change in _inside(step)
    )


def _is_part_of_new(site: Site, path: bytes, step: Put) -> bool:
    """Whether the directory at `path` has nothing that the step's new directory has not; some may have been removed."""
    known = new_content(step)
    return all(
        _belongs(known.get(inner), entry) for inner, entry in site.lens.below(site.beneath, path).items()
    )


def _belongs(known: Entry | None, live: Entry | None) -> bool:
    if known is None or live is None:
        return False
    return known.matches(live) or known.kind == live.kind == Kind.DIRECTORY


def _old_directory(site: Site, path: bytes, step: Put) -> State:
    live = site.lens.below(site.beneath, path)
    expected = {inner: change.expected for inner, change in _inside(step) if change.expected is not None}
    for inner, entry in live.items():
        known = expected.get(inner)
        if known is None or not known.matches(entry):
            return State.OTHER
    if len(live) == len(expected):
        return State.OLD
    return State.PART if path == step.temp else State.OTHER


def old_content(step: Put | Take) -> dict[bytes, Entry]:
    """Return what the step replaces, by path from its own."""
    known = {} if step.expected is None else {b"": step.expected}
    if isinstance(step, Put):
        known |= {inner: change.expected for inner, change in _inside(step) if change.expected is not None}
    return known


def new_content(step: Put) -> dict[bytes, Entry]:
    """Return what the step puts, by path from its own."""
    return {b"": step.wanted} | {
        inner: change.wanted for inner, change in _inside(step) if change.wanted is not None
    }


def _inside(step: Put) -> Iterable[tuple[bytes, Change]]:
    return ((change.path[len(step.path) + 1 :], change) for change in step.members)


def _attributes(site: Site, step: Attributes) -> State:
    live = bits(os.fstat(site.beneath.directory(step.path)))
    before, after = bits_of(step.expected, live), bits_of(step.wanted, live)
    if live == after:
        return State.NEW
    # On the way the bits are those that both sides have.
    on_the_way = (before[0] & after[0], *before[1:])
    still = [
        now != new and now in (old, half)
        for now, old, new, half in zip(live, before, after, on_the_way, strict=True)
        if old != new
    ]
    return State.OLD if any(still) else State.OTHER


def bits(there: os.stat_result) -> tuple[int, int, int]:
    """Return mode, uid and gid."""
    return stat.S_IMODE(there.st_mode), there.st_uid, there.st_gid


def bits_of(entry: Entry, live: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return mode, uid and gid that an entry asks for; what it does not say is as it is."""
    asked = (entry.mode, entry.uid, entry.gid)
    mode, uid, gid = (have if want is None else want for want, have in zip(asked, live, strict=True))
    return mode, uid, gid
