"""What a deployment changes, as bytes: MessagePack, in batches of bounded size.

The shape is history's own: renaming a field of the core changes nothing on disk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from headgated.core.plan import Change
from headgated.core.tree import Entry, Kind

BATCH = 2000
"""Changes in one batch: some hundred kilobytes."""


class _Entry(msgspec.Struct, array_like=True):
    kind: int
    mode: int | None
    digest: bytes
    size: int
    target: bytes
    uid: int | None
    gid: int | None
    template: bool
    seal: bytes = b""


_Change = tuple[bytes, _Entry | None, _Entry | None]
_changes = msgspec.msgpack.Decoder(list[_Change])
_paths = msgspec.msgpack.Decoder(list[bytes])


def encode_changes(changes: Sequence[Change]) -> Iterator[bytes]:
    """Yield the batches of a deployment, at least one."""
    for at in range(0, len(changes) or 1, BATCH):
        batch = changes[at : at + BATCH]
        yield msgspec.msgpack.encode([(c.path, _flat(c.expected), _flat(c.wanted)) for c in batch])


def decode_changes(encoded: bytes) -> list[Change]:
    """Return the changes of one batch.

    Raises:
        ValueError: these bytes are no batch.
    """
    return [
        Change(path, _entry(expected), _entry(wanted)) for path, expected, wanted in _changes.decode(encoded)
    ]


def encode_paths(paths: Sequence[bytes]) -> bytes:
    """Return paths as bytes."""
    return msgspec.msgpack.encode(paths)


def decode_paths(encoded: bytes) -> tuple[bytes, ...]:
    """Return what `encode_paths` was given.

    Raises:
        ValueError: these bytes are no paths.
    """
    return tuple(_paths.decode(encoded))


def _flat(entry: Entry | None) -> _Entry | None:
    if entry is None:
        return None
    return _Entry(
        int(entry.kind),
        entry.mode,
        entry.digest,
        entry.size,
        entry.target,
        entry.uid,
        entry.gid,
        entry.template,
        entry.seal,
    )


def _entry(flat: _Entry | None) -> Entry | None:
    if flat is None:
        return None
    return Entry(
        Kind(flat.kind),
        flat.mode,
        flat.digest,
        flat.size,
        flat.target,
        flat.uid,
        flat.gid,
        flat.template,
        flat.seal,
    )
