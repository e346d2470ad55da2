"""Reading the ignore file of one directory."""

from __future__ import annotations

import os
import stat

from headgated.core.ignore import IGNORE_FILE, Rules
from headgated.core.paths import escape, join
from headgated.core.source import ScanFault
from headgated.effects.scan.reading import read_unmoved
from headgated.effects.signature import look, signature

_LIMIT = 65536


def find_ignore_file(directory: int) -> os.stat_result | None:
    """Return what is known of a directory's ignore file; None where there is none.

    Raises:
        OSError: the directory cannot be looked into.
    """
    try:
        return look(directory, IGNORE_FILE)
    except FileNotFoundError:
        return None


def read_ignore_file(
    directory: int, path: bytes, found: os.stat_result, inherited: Rules
) -> tuple[Rules | None, ScanFault | None]:
    """Return the rules that hold in the directory `path`, as far as the file makes sense, and what is wrong with it.

    Raises:
        MovedError: it is no longer what was found.
        OSError: it cannot be read.
    """
    if not stat.S_ISREG(found.st_mode) or found.st_size > _LIMIT:
        return None, _fault(path, "read", f"it is not a regular file of at most {_LIMIT} bytes")
    content = b"".join(read_unmoved(directory, IGNORE_FILE, signature(found)))
    rules, complaints = inherited.extended(path, content)
    return rules, _fault(path, "understand", "; ".join(complaints)) if complaints else None


def _fault(directory: bytes, verb: str, why: str) -> ScanFault:
    path = join(directory, IGNORE_FILE)
    return ScanFault(path, "IGNORE_FILE", f"cannot {verb} {escape(path)}: {why}")
