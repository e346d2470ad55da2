"""Brings over what others changed in the old tree since it was carried along.

Only what is not the deployment's own: where others changed something at a path of the plan, or something that has no place in
the new tree, the plan is to be made anew.
"""

from __future__ import annotations

from collections.abc import Collection

from headgated.core.paths import join, parent
from headgated.effects.beneath import GONE
from headgated.effects.target.carry import Carrier
from headgated.effects.target.failure import failed, moved
from headgated.effects.target.inventory import Item, take_inventory
from headgated.effects.target.site import Site
from headgated.effects.target.swap import exchange, take


class CatchUp:
    """Makes the new tree follow the old one, once."""

    def __init__(
        self, old: Site, new: Site, carrier: Carrier, planned: Collection[bytes], temp: bytes
    ) -> None:
        """Take the trees, what carries from one to the other, the paths that the plan changes, and a free name of our own."""
        self._old, self._new, self._carrier = old, new, carrier
        self._planned, self._temp = planned, temp
        self._touched: set[bytes] = set()

    def run(self) -> frozenset[bytes]:
        """Bring over; return the directories of the new tree that were changed by it.

        Raises:
            TargetMovedError: it cannot be brought over.
            DeploymentFailedError: a call failed, or MOUNT_POINT.
        """
        try:
            now = take_inventory(self._old)
            before = dict(self._carrier.carried)
            for path, item in now.items():
                if before.get(path) != item:
                    self._follow(path, before.get(path), item)
            for path in sorted(before.keys() - now.keys(), reverse=True):
                self._drop(path, before[path])
        except OSError as error:
            raise failed("bring over what changed in", b"", error) from error
        return frozenset(self._touched)

    def _follow(self, path: bytes, before: Item | None, now: Item) -> None:
        if path in self._planned or (before is not None and before.kind != now.kind):
            raise moved(path)
        if path and self._new.look(parent(path) or b".") is None:
            raise moved(path)
        self._touched.add(parent(path))
        if before is None:
            if now.is_directory:
                self._carrier.make_directory(path)
            else:
                self._carrier.link(path)
        elif not now.is_directory:
            self._replace(path, before)
        if now.is_directory:
            self._carrier.dress(path)
            self._touched.add(path)

    def _replace(self, path: bytes, before: Item) -> None:
        """Put what stands in the old tree now in the place of what was carried along."""
        new = self._new
        directory, name = new.beneath.place(path)
        old_directory, _ = self._old.beneath.place(path)
        new.acts.link_to(old_directory, name, directory, self._temp)
        exchange(new.acts, directory, self._temp, name)
        self._remove_temp(path, before)
        self._note(path)

    def _drop(self, path: bytes, before: Item) -> None:
        """Take away what was carried along and is gone from the old tree."""
        if path in self._planned:
            raise moved(path)
        del self._carrier.carried[path]
        new = self._new
        try:
            there = new.look(path)
        except OSError as error:
            if error.errno in GONE:
                return
            raise
        if there is None:
            return
        self._touched.add(parent(path))
        directory, name = new.beneath.place(path)
        if before.is_directory:
            new.beneath.forget(path)
            new.acts.remove_directory(directory, name)
        elif there.st_ino == before.inode:
            take(new.acts, directory, name, self._temp)
            self._remove_temp(path, before)

    def _remove_temp(self, path: bytes, before: Item) -> None:
        """Remove what came out; if that was put there by somebody else in this instant, it goes back."""
        new = self._new
        temp = join(parent(path), self._temp)
        there = new.look(temp)
        directory, name = new.beneath.place(path)
        if there is None or there.st_ino != before.inode:
            if new.look(path) is None:
                take(new.acts, directory, self._temp, name)
            else:
                exchange(new.acts, directory, self._temp, name)
                new.acts.unlink(directory, self._temp)
            raise moved(path)
        new.acts.unlink(directory, self._temp)

    def _note(self, path: bytes) -> None:
        there = self._old.look(path)
        if there is None:
            raise moved(path)
        self._carrier.carried[path] = Item(there.st_mode & 0o170000, there.st_ino)
