"""Writes the log: to the journal with fields where systemd reads it, to standard error with times elsewhere.

What is logged says in words what happened. Beside the words stand facts, set for a stretch of work with `about`: the
environment, the deployment, the reason. The journal can be asked for them (`journalctl HEADGATE_ENVIRONMENT=production`); on
standard error the words alone have to do. Nothing is added to what callers log, and a secret that is known is hidden in it.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar

from headgated.effects.journal import Journal
from headgated.effects.known_secrets import hide

_PRIORITY = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (0, 7))
_ABOUT: ContextVar[dict[str, str] | None] = ContextVar("about", default=None)
_KEY = "headgate"


@contextmanager
def about(**facts: str | None) -> Iterator[None]:
    """Say what the log lines of this thread or task are about until the end of the block: `environment="web"`, ...

    Each fact becomes a field `HEADGATE_<NAME>` of the journal. Empty ones are left out. What is said inside comes on top.
    """
    said = {name: value for name, value in facts.items() if value}
    token = _ABOUT.set({**(_ABOUT.get() or {}), **said})
    try:
        yield
    finally:
        _ABOUT.reset(token)


def facts(**given: object) -> dict[str, dict[str, str]]:
    """Return facts for one log line, to be passed as its `extra`. Empty ones are left out."""
    return {_KEY: {name: str(value) for name, value in given.items() if value not in (None, "")}}


def topic(name: str) -> str:
    """Return what `about` says of `name` here; empty where it says nothing."""
    return (_ABOUT.get() or {}).get(name, "")


def start_log(level: str) -> None:
    """Log from `level` (debug, info, warning, error) upwards: to the journal where it reads standard error, else there."""
    plain = logging.StreamHandler(sys.stderr)
    handler: logging.Handler = plain
    if _is_journal():
        plain.setFormatter(_PrefixFormatter("%(message)s"))
        with suppress(OSError):
            handler = JournalHandler(Journal(), plain)
    else:
        plain.setFormatter(_Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)


def complain(message: str, hint: str = "", details: Iterable[str] = ()) -> None:
    """Say on standard error why the program ends, before or without a log; the journal takes it for an error."""
    mark = f"<{_priority_of(logging.ERROR)}>" if _is_journal() else ""
    for line in (
        f"headgated: {message}",
        *(f"  {each}" for each in details),
        *([f"  try: {hint}"] if hint else []),
    ):
        sys.stderr.write(f"{mark}{line}\n")


class JournalHandler(logging.Handler):
    """Sends each log line to the journal with what it is about; what the journal does not take goes to `otherwise`."""

    def __init__(self, journal: Journal, otherwise: logging.Handler) -> None:
        super().__init__()
        self.setFormatter(_Formatter("%(message)s"))  # Or `basicConfig` would give it one of its own.
        self._journal, self._otherwise = journal, otherwise

    def emit(self, record: logging.LogRecord) -> None:
        """Send one line."""
        try:
            self._journal.send(_fields(record, self.format(record)))
        except OSError:
            self._otherwise.emit(record)
        except Exception:  # noqa: BLE001 - as every handler of the library does: logging ends nothing
            self.handleError(record)


class _Formatter(logging.Formatter):
    """Writes a line with all that belongs to it, tracebacks too, without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        return hide(super().format(record))


class _PrefixFormatter(_Formatter):
    """Puts `<priority>` before every line, so that journald knows the level of each (sd-daemon(3))."""

    def format(self, record: logging.LogRecord) -> str:
        text = f"{record.name}: {super().format(record)}"
        return "\n".join(f"<{_priority(record)}>{line}" for line in text.splitlines())


def _fields(record: logging.LogRecord, text: str) -> dict[str, str]:
    said = {**(_ABOUT.get() or {}), **getattr(record, _KEY, {})}
    return {
        "MESSAGE": text,
        "PRIORITY": str(_priority(record)),
        "SYSLOG_IDENTIFIER": "headgated",
        "LOGGER": record.name,
        "CODE_FILE": record.pathname,
        "CODE_LINE": str(record.lineno),
        "CODE_FUNC": record.funcName or "",
        "THREAD_NAME": record.threadName or "",
        **{f"HEADGATE_{name.upper()}": hide(value) for name, value in said.items()},
    }


def _priority(record: logging.LogRecord) -> int:
    return _priority_of(record.levelno)


def _priority_of(level: int) -> int:
    return next(number for least, number in _PRIORITY if level >= least)


def _is_journal() -> bool:
    """Tell whether standard error is journald's own stream (systemd.exec(5), JOURNAL_STREAM)."""
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM", "") == f"{status.st_dev}:{status.st_ino}"
