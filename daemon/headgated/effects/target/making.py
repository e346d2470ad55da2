"""Makes empty files, of many some ahead of whoever fills them.

Making a file may take the kernel longer than all else about it takes Python, and needs no Python: so the next files are made
by a thread beside while some are filled.
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

    def __init__(self, acts: Acts, places: Sequence[tuple[int, bytes]], *, ahead: bool) -> None:
        """Begin to make them.

        Args:
            acts: makes them.
            places: the open directory that each is to be in, and its name there.
            ahead: by a thread; the directories must stay open until `close`.
        """
        self._made: deque[int] = deque()
        self._error: BaseException | None = None
        self._under_way: Future[None] | None = None
        if ahead:
            self._under_way = beside(self._make, acts, places)
        else:
            self._make(acts, places)

    def _make(self, acts: Acts, places: Sequence[tuple[int, bytes]]) -> None:
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
        self._wait()
        if not self._made and self._error is not None:
            raise self._error
        return self._made.popleft()

    def close(self) -> None:
        """Close what was not taken, when all are made."""
        self._wait()
        while self._made:
            os.close(self._made.popleft())

    def _wait(self) -> None:
        if self._under_way is not None:
            self._under_way.result()
            self._under_way = None
