"""Writes the log to standard error: with systemd's level prefixes where journald reads it, with times elsewhere."""

from __future__ import annotations

import logging
import os
import sys

_PRIORITY = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (0, 7))


class _JournalFormatter(logging.Formatter):
    """Puts `<priority>` before every line, so that journald knows the level of each (sd-daemon(3))."""

    def format(self, record: logging.LogRecord) -> str:
        text = f"{record.name}: {super().format(record)}"
        priority = next(number for level, number in _PRIORITY if record.levelno >= level)
        return "\n".join(f"<{priority}>{line}" for line in text.splitlines())


def log_to_stderr(level: str) -> None:
    """Send what is logged from `level` (debug, info, warning, error) upwards to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    if _is_journal():
        handler.setFormatter(_JournalFormatter("%(message)s"))
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)


def _is_journal() -> bool:
    """Tell whether standard error is journald's own stream (systemd.exec(5), JOURNAL_STREAM)."""
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM", "") == f"{status.st_dev}:{status.st_ino}"
