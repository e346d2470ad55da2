from __future__ import annotations

import array
import logging
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from headgated.effects.journal import Journal
from headgated.effects.logs import JournalHandler, about, facts


class Heard:
    """A journal of our own, which speaks the protocol as journald does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(5)

    def entry(self) -> dict[str, str]:
        """Return the next entry."""
        raw, ancillary, _, _ = self._socket.recvmsg(1 << 20, socket.CMSG_SPACE(4))
        if ancillary:
            passed = array.array("i", ancillary[0][2])[0]
            raw = os.pread(passed, 1 << 24, 0)
            os.close(passed)
        return _parse(raw)

    def close(self) -> None:
        self._socket.close()


def _parse(raw: bytes) -> dict[str, str]:
    entry = {}
    while raw:
        line, _, rest = raw.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (length,) = struct.unpack_from("<Q", rest)
            value, rest = rest[8 : 8 + length], rest[9 + length :]
        entry[name.decode()], raw = value.decode(), rest
    return entry


@pytest.fixture
def heard(tmp_path: Path) -> Iterator[Heard]:
    heard = Heard(tmp_path / "j")
    yield heard
    heard.close()


@pytest.fixture
def log(heard: Heard) -> Iterator[logging.Logger]:
    log = logging.getLogger("headgated.test-journal")
    journal = Journal(str(heard.path))
    handler = JournalHandler(journal, logging.NullHandler())
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    log.propagate = False
    yield log
    log.removeHandler(handler)
    journal.close()


def test_journal_gets_every_byte_of_a_value(heard: Heard) -> None:
    journal = Journal(str(heard.path))
    journal.send({"MESSAGE": "one\ntwo\n", "PLAIN": "a=b", "EMPTY": "", "ODD": "\udcff"})
    assert heard.entry() == {"MESSAGE": "one\ntwo\n", "PLAIN": "a=b", "EMPTY": "", "ODD": "\\udcff"}
    journal.close()


def test_journal_gets_what_is_longer_than_a_datagram(heard: Heard) -> None:
    journal = Journal(str(heard.path))
    text = "x" * 3_000_000 + "\nend"
    journal.send({"MESSAGE": text, "AFTER": "it"})
    assert heard.entry() == {"MESSAGE": text, "AFTER": "it"}
    journal.close()


def test_journal_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Journal(str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("level", "priority"),
    [("debug", "7"), ("info", "6"), ("warning", "4"), ("error", "3"), ("critical", "2")],
)
def test_log_line_has_the_priority_of_its_level(
    heard: Heard, log: logging.Logger, level: str, priority: str
) -> None:
    getattr(log, level)("hello %s", "world")
    entry = heard.entry()
    assert (entry["PRIORITY"], entry["MESSAGE"], entry["SYSLOG_IDENTIFIER"]) == (
        priority,
        "hello world",
        "headgated",
    )


def test_log_line_says_what_it_is_about(heard: Heard, log: logging.Logger) -> None:
    with about(environment="web", deployment_id=""):
        with about(deployment_id="deploy_web_1"):
            log.error("cannot", extra=facts(reason="NO_SPACE", user=None))
        log.info("goes on")
    log.info("nothing more")
    first, second, third = heard.entry(), heard.entry(), heard.entry()
    assert (first["HEADGATE_ENVIRONMENT"], first["HEADGATE_DEPLOYMENT_ID"]) == ("web", "deploy_web_1")
    assert first["HEADGATE_REASON"] == "NO_SPACE"
    assert "HEADGATE_USER" not in first
    assert second["HEADGATE_ENVIRONMENT"] == "web"
    assert "HEADGATE_DEPLOYMENT_ID" not in second
    assert not [name for name in third if name.startswith("HEADGATE_")]


def test_log_line_with_an_error_has_its_traceback(heard: Heard, log: logging.Logger) -> None:
    try:
        int("no good")
    except ValueError:
        log.exception("cannot")
    message = heard.entry()["MESSAGE"]
    assert message.startswith("cannot\nTraceback")
    assert message.endswith("'no good'")


def test_log_goes_elsewhere_when_the_journal_is_gone(heard: Heard, tmp_path: Path) -> None:
    kept: list[logging.LogRecord] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            kept.append(record)

    journal = Journal(str(heard.path))
    handler = JournalHandler(journal, Kept())
    heard.close()
    handler.handle(logging.LogRecord("headgated", logging.INFO, __file__, 1, "still here", None, None))
    assert [record.getMessage() for record in kept] == ["still here"]
    journal.close()
