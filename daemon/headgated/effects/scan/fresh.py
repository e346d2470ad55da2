"""Small contents that were read a moment ago, for whoever renders or writes them next. Bounded; what is not here is read again."""

from __future__ import annotations

LARGEST = 1 << 16
"""Bytes of a content that is kept."""
ROOM = 1 << 24
"""Bytes of all that are kept."""
LITTLE = 1 << 20
"""Bytes that may stay when nobody needs them any more."""


class Fresh:
    """Contents by SHA-256. One thread puts them in; any may ask."""

    def __init__(self) -> None:
        self._contents: dict[bytes, bytes] = {}
        self._size = 0

    def keep(self, digest: bytes, content: bytes) -> None:
        """Keep a content, if it is small and there is room."""
        if len(content) > LARGEST or self._size + len(content) > ROOM or digest in self._contents:
            return
        self._contents[digest] = content
        self._size += len(content)

    def get(self, digest: bytes) -> bytes | None:
        """Return a content that is still kept."""
        return self._contents.get(digest)

    def shrink(self) -> bool:
        """Let all go, unless it is little; tell whether it went."""
        much = self._size > LITTLE
        if much:
            self._contents, self._size = {}, 0
        return much
