"""Mode and owner of a directory that stays: there and back."""

from __future__ import annotations

import os

from headgated.core.steps import Attributes
from headgated.effects.target.failure import moved
from headgated.effects.target.site import Site
from headgated.effects.target.survey import bits, bits_of


def change(site: Site, step: Attributes) -> None:
    """Give the directory what is wanted.

    Raises:
        TargetMovedError: it has not what was expected.
        OSError: it may not be changed, or cannot keep such bits.
    """
    fd = site.beneath.directory(step.path)
    live = bits(os.fstat(fd))
    if live != bits_of(step.expected, live):
        raise moved(step.path)
    if site.changed is not None:
        site.changed.add(step.path)
    _set(site, fd, live, bits_of(step.wanted, live))


def restore(site: Site, step: Attributes) -> None:
    """Give the directory back what we took; what somebody else has set since stays."""
    if site.changed is not None and step.path not in site.changed:
        return
    fd = site.beneath.directory(step.path)
    live = bits(os.fstat(fd))
    before, after = bits_of(step.expected, live), bits_of(step.wanted, live)
    ours = ({after[0], before[0] & after[0]}, {after[1]}, {after[2]})
    mode, uid, gid = (old if now in own else now for now, old, own in zip(live, before, ours, strict=True))
    _set(site, fd, live, (mode, uid, gid))


def _set(site: Site, fd: int, live: tuple[int, int, int], goal: tuple[int, int, int]) -> None:
    """Change owner and bits; in between there are only the bits that both sides have."""
    mode, uid, gid = goal
    if live[1:] != goal[1:]:
        if live[0] & mode != live[0]:
            site.acts.chmod(fd, live[0] & mode)
        site.acts.chown(fd, -1 if uid == live[1] else uid, -1 if gid == live[2] else gid)
    if bits(os.fstat(fd))[0] != mode:
        site.acts.chmod(fd, mode)
