"""Makes empty files, of many some ahead of whoever fills them.

Making a file may take the kernel longer than all else about it takes Python, and needs no Python: so the next files are made
by a thread beside while some are filled. By one at a time: two in one directory wait for each other with a processor each.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future

from headgated.effects.target.acts import Acts
from headgated.effects.target.beside import beside


class Files:
    """Some empty files, handed out in the order in which they were asked for."""

    def __init__(
        self, acts: Acts, places: Sequence[tuple[int, bytes]], *, ahead: bool, after: Files | None = None
    ) -> None:
        """Begin to make them.

        Args:
            acts: makes them.
            places: the open directory that each is to be in, and its name there.
            ahead: by a thread; the directories must stay open until `close`.
            after: are made first.
        """
        self._made: deque[int] = deque()
        self._error: BaseException | None = None
        self._under_way: Future[None] | None = None
        if ahead:
            self._under_way = beside(self._make, acts, places, after)
        else:
            self._make(acts, places)

    def _make(self, acts: Acts, places: Sequence[tuple[int, bytes]], after: Files | None = None) -> None:
        if after is not None:
            after.wait()
        try:
            for directory, name in places:
                self._made.append(acts.create(directory, name))
        except BaseException as error:  # noqa: BLE001 - raised when it is this file's turn
            self._error = error

    def take(self) -> int:
        """Return the descriptor of the next file; whoever takes it closes it.

        Raises:
            OSError: it could not be made.
        """
        self.wait()
        if not self._made and self._error is not None:
            raise self._error
        return self._made.popleft()

    def close(self) -> None:
        """Close what was not taken, when all are made."""
        self.wait()
        while self._made:
            os.close(self._made.popleft())

    def wait(self) -> None:
        """Return when all are made, or one could not be."""
        if self._under_way is not None:
            self._under_way.result()
