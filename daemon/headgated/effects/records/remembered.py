"""The lines of an environment's records as they were when last looked at: `config_deployments/ENVIRONMENT.index`.

Only a memory: the records are the truth. A line is believed where its record has the inode that it had, and believed for good
once `mark_of` its file says the same; what does not fit is read again, and an index that is missing, damaged or of another
version is as good as none. So it need be neither synced nor kept in step, and losing it costs one slower start.
"""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path

import msgspec

from headgated.effects.records.index import Line

log = logging.getLogger("headgated.records")

FEW = 1000
"""So many records are read faster than it is worth remembering them."""
_VERSION = b"headgate index 2\n"
_DIGEST_BYTES = 16
_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
_decoder = msgspec.msgpack.Decoder(list[Line])


class Remembered:
    """The index file of one environment.

    Args:
        directory: where its records are.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory.with_name(f"{directory.name}.index")

    def read(self) -> list[Line]:
        """Return the lines; none where there is no index that can be believed."""
        try:
            whole = memoryview(self._path.read_bytes())
            head, body = whole[: len(_VERSION) + _DIGEST_BYTES], whole[len(_VERSION) + _DIGEST_BYTES :]
            return _decoder.decode(body) if head == _VERSION + _digest(body) else []
        except (OSError, msgspec.MsgspecError):
            return []

    def write(self, lines: list[Line]) -> None:
        """Remember these lines; few are forgotten. Where that fails the next start takes longer, and nothing else."""
        temporary = self._path.with_name(
            f"{self._path.name}.tmp"
        )  # one name: what a kill leaves is overwritten
        try:
            if len(lines) < FEW:
                self._path.unlink(missing_ok=True)
                return
            body = msgspec.msgpack.encode(lines)
            descriptor = os.open(temporary, _NEW, 0o600)
            with open(descriptor, "wb") as file:
                file.write(_VERSION + _digest(body) + body)
            temporary.rename(self._path)
        except OSError as error:
            log.info("cannot write %s: %s; the next start takes longer", self._path, error.strerror)


def _digest(body: bytes | memoryview) -> bytes:
    return hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest()
