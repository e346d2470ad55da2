"""The configuration file on disk: read only where nobody but root and the daemon's own user could have written it."""

from __future__ import annotations

from pathlib import Path

from headgated.core.config import Settings, parse
from headgated.core.errors import InvalidRequestError, RefusedError
from headgated.effects.trusted_file import read_trusted


def read_config(path: Path) -> Settings:
    """Return what the file says.

    Raises:
        RefusedError: it cannot be read, or others may write it.
        InvalidRequestError: with everything that is wrong with it.
    """
    try:
        return parse(read_trusted(path).decode())
    except InvalidRequestError as error:
        raise InvalidRequestError(f"read {path}", error.faults, hint=error.hint) from error
    except UnicodeDecodeError as error:
        raise RefusedError(
            f"cannot read {path}: it is not UTF-8 ({error.reason} at byte {error.start})",
            reason="FILE_NOT_READABLE",
        ) from error
