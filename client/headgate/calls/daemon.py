"""The calls of DaemonService, and the standard health check."""

from __future__ import annotations

from google.protobuf import wrappers_pb2

from headgate.calls.call import Asked, Call, new_request_id
from headgate.v1 import daemon_pb2 as pb

_SERVICE = "/headgate.v1.DaemonService/"
_SERVING = 1
_RELOAD_SECONDS = 120.0
_HISTORY_SECONDS = 3600.0
"""For what reads all of history, however much there is."""


def status() -> Call[pb.GetStatusResponse, pb.GetStatusResponse]:
    """GetStatus."""
    return Call(
        f"{_SERVICE}GetStatus",
        pb.GetStatusRequest(),
        pb.GetStatusResponse,
        lambda answer: answer,
        "read the status",
    )


def reload(asked: Asked) -> Call[pb.ReloadResponse, list[str]]:
    """Reload; the value says what is different now, a line each."""
    return Call(
        f"{_SERVICE}Reload",
        pb.ReloadRequest(request_id=new_request_id(asked)),
        pb.ReloadResponse,
        lambda answer: list(answer.changed),
        "reload the configuration",
        at_least=_RELOAD_SECONDS,
    )


def verify_history() -> Call[pb.VerifyHistoryResponse, pb.VerifyHistoryResponse]:
    """VerifyHistory."""
    return Call(
        f"{_SERVICE}VerifyHistory",
        pb.VerifyHistoryRequest(),
        pb.VerifyHistoryResponse,
        lambda answer: answer,
        "verify history",
        at_least=_HISTORY_SECONDS,
    )


def collect_history(asked: Asked) -> Call[pb.CollectHistoryResponse, pb.CollectHistoryResponse]:
    """CollectHistory."""
    return Call(
        f"{_SERVICE}CollectHistory",
        pb.CollectHistoryRequest(request_id=new_request_id(asked)),
        pb.CollectHistoryResponse,
        lambda answer: answer,
        "collect history",
        at_least=_HISTORY_SECONDS,
    )


def health() -> Call[wrappers_pb2.Int32Value, bool]:
    """grpc.health.v1 Check of the whole server.

    Its request is a text in field 1, its answer an enum in field 1: on the wire the same as the well-known wrappers, which
    spares the client a dependency.
    """
    return Call(
        "/grpc.health.v1.Health/Check",
        wrappers_pb2.StringValue(),
        wrappers_pb2.Int32Value,
        lambda answer: answer.value == _SERVING,
        "check the daemon's health",
    )
