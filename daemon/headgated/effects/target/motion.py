"""A step's renames, forwards and backwards."""

from __future__ import annotations

from headgated.core.steps import Put, Take
from headgated.core.tree import Kind
from headgated.effects.target.site import Site
from headgated.effects.target.swap import exchange, place, take


def arrive(site: Site, step: Put | Take) -> None:
    """Bring the temporary to the destination, where nothing is (else FileExistsError)."""
    directory, name, temp = _names(site, step)
    place(site.acts, directory, temp, name)
    _forget(site, step)


def leave(site: Site, step: Put | Take) -> None:
    """Bring what is at the destination away to the temporary name."""
    directory, name, temp = _names(site, step)
    take(site.acts, directory, name, temp)
    _forget(site, step)


def trade(site: Site, step: Put) -> None:
    """Let destination and temporary change places; its own inverse."""
    directory, name, temp = _names(site, step)
    exchange(site.acts, directory, temp, name)
    _forget(site, step)


def _names(site: Site, step: Put | Take) -> tuple[int, bytes, bytes]:
    directory, name = site.beneath.place(step.path)
    return directory, name, step.temp.rpartition(b"/")[2]


def _forget(site: Site, step: Put | Take) -> None:
    """A directory that was renamed is no longer where it was opened."""
    ends = (step.expected, step.wanted) if isinstance(step, Put) else (step.expected,)
    if any(entry is not None and entry.kind == Kind.DIRECTORY for entry in ends):
        site.beneath.forget(step.path)
        site.beneath.forget(step.temp)
