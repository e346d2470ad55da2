"""One entry or one file's content, verified."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator

from headgated.core.tree import Entry
from headgated.effects.beneath import GONE
from headgated.effects.target.failure import failed, moved
from headgated.effects.target.look import chunks, open_file
from headgated.effects.target.site import Site


def entry_at(site: Site, path: bytes) -> Entry | None:
    """Return what is at `path`; None where there is nothing, or no directory for it to be in.

    Raises:
        SpecialFileError, DeploymentFailedError, TargetMovedError: as `Lens.entry`.
    """
    try:
        return site.lens.entry(*site.beneath.place(path), path)
    except OSError as error:
        if error.errno in GONE or error.errno == errno.ENAMETOOLONG:
            return None
        raise failed("read", path, error) from error


def read_verified(site: Site, path: bytes, expected: Entry) -> Iterator[bytes]:
    """Yield the content of the file at `path`, at most 1 MiB at a time.

    Raises:
        TargetMovedError: it is not what was expected; perhaps only at the end.
        DeploymentFailedError: it cannot be read.
    """
    try:
        fd = open_file(*site.beneath.place(path))
    except OSError as error:
        raise failed("read", path, error) from error
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise moved(path)
        digest = hashlib.sha256()
        for chunk in chunks(fd):
            digest.update(chunk)
            yield chunk
    except OSError as error:
        raise failed("read", path, error) from error
    finally:
        os.close(fd)
    if digest.digest() != expected.digest:
        raise moved(path)
