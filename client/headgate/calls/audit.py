"""The calls of DaemonService about the audit log."""

from __future__ import annotations

from headgate.calls.call import Call, sized
from headgate.v1 import daemon_pb2 as pb

_SERVICE = "/headgate.v1.DaemonService/"
_VERIFY_SECONDS = 600.0
"""For what reads all of the log."""


def verify() -> Call[pb.VerifyAuditResponse, pb.VerifyAuditResponse]:
    """VerifyAudit."""
    return Call(
        f"{_SERVICE}VerifyAudit",
        pb.VerifyAuditRequest(),
        pb.VerifyAuditResponse,
        lambda answer: answer,
        "verify the audit log",
        at_least=_VERIFY_SECONDS,
    )


def page(token: str, size: int) -> Call[pb.ListAuditResponse, pb.ListAuditResponse]:
    """ListAudit: one page."""
    return Call(
        f"{_SERVICE}ListAudit",
        pb.ListAuditRequest(page_size=sized(size, "read the audit log"), page_token=token),
        pb.ListAuditResponse,
        lambda answer: answer,
        "read the audit log",
    )
