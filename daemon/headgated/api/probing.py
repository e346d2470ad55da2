"""Asks another program's gRPC health service (grpc.health.v1) whether it serves, for health probes."""

from __future__ import annotations

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

_SERVING = HealthCheckResponse.SERVING
_SILENT = "no answer in time"


def ask_health(address: str, timeout: float) -> str:
    """Return why a service is not well; empty: it serves.

    Args:
        address: `HOST:PORT`, `HOST:PORT/SERVICE`, `unix:PATH` or `unix:PATH#SERVICE`.
        timeout: seconds.
    """
    where, service = _parts(address)
    with grpc.insecure_channel(where, options=(("grpc.use_local_subchannel_pool", 1),)) as channel:
        try:
            asked = channel.unary_unary(
                "/grpc.health.v1.Health/Check",
                request_serializer=HealthCheckRequest.SerializeToString,
                response_deserializer=HealthCheckResponse.FromString,
            ).future(HealthCheckRequest(service=service), timeout=timeout)
            answer = asked.result(timeout)  # gRPC's own threads may be late (effects/patience.py).
        except grpc.FutureTimeoutError:
            return _SILENT
        except grpc.RpcError as error:
            return _told(error)
    if answer.status == _SERVING:
        return ""
    return f"it says {HealthCheckResponse.ServingStatus.Name(answer.status)}"


def _parts(address: str) -> tuple[str, str]:
    if address.startswith("unix:"):
        where, _, service = address.partition("#")
    else:
        where, _, service = address.partition("/")
    return where, service


def _told(error: grpc.RpcError) -> str:
    asked = getattr(error, "code", None)  # Errors of calls have it; their base does not say so.
    code: grpc.StatusCode | None = asked() if callable(asked) else None
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return _SILENT
    if code == grpc.StatusCode.UNAVAILABLE:
        return "nobody answers"
    return f"it answers {code.name if code is not None else 'with an error'}"
