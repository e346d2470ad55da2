"""Entries of the audit log on their way to the protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from headgate.v1 import daemon_pb2 as wire
from headgated.api.convert.checks import Checks
from headgated.api.convert.values import text

_WORDS = (
    ("phase", "phase"),
    ("user", "user"),
    ("from", "origin"),
    ("method", "method"),
    ("environment", "environment"),
    ("deployment_id", "deployment_id"),
    ("reason", "reason"),
    ("on_behalf_of", "on_behalf_of"),
    ("request_id", "request_id"),
    ("changes", "changes"),
)
_NUMBERS = ("sequence", "call", "uid", "gid", "pid", "omitted")
_MOST = 2**32


def read_audit_page(request: wire.ListAuditRequest) -> tuple[int, int | None]:
    """Return how many entries are asked for, and below which number.

    Raises:
        InvalidRequestError: the size is too large, or the token is none of ours.
    """
    checks = Checks()
    size = checks.page_size(request.page_size, default=100, most=1000)
    token = checks.page_token(request.page_token)
    before = int(token) if token.isdecimal() else None
    if token and before is None:
        checks.add("page_token", "is not one that this daemon gave")
    checks.close("read the audit log")
    return size, before


def audit_page(entries: Sequence[Mapping[str, Any]], size: int) -> wire.ListAuditResponse:
    """Return a page; one entry more than fits says that there is another page."""
    page = wire.ListAuditResponse(entries=map(_message, entries[:size]))
    if len(entries) > size:
        page.next_page_token = str(page.entries[-1].sequence)
    return page


def _message(entry: Mapping[str, Any]) -> wire.AuditEntry:
    """Return an entry; what in it is not of the kind it should be is left out: the file may have been changed."""
    message = wire.AuditEntry()
    for name, field in _WORDS:
        if isinstance(entry.get(name), str):
            setattr(message, field, text(entry[name]))
    for name in _NUMBERS:
        number = entry.get(name)
        if isinstance(number, int) and 0 <= number < _MOST:
            setattr(message, name, number)
    certificates = entry.get("certificates")
    if isinstance(certificates, list):
        message.certificates.extend(text(name) for name in certificates if isinstance(name, str))
    outcome = entry.get("outcome")
    if isinstance(outcome, Mapping):
        message.code, message.message = (
            text(str(outcome.get("code", ""))),
            text(str(outcome.get("message", ""))),
        )
        message.deployment_id = message.deployment_id or text(str(outcome.get("deployment_id", "")))
    try:
        message.at.FromDatetime(datetime.fromisoformat(str(entry.get("at", ""))))
    except ValueError:
        message.ClearField("at")
    return message
