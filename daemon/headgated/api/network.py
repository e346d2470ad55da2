"""The way in over the network: gRPC's own port, with mutual TLS and nothing else.

Promises that no port is shared with another program in silence, that a client has seconds to shake hands, and that a connection ends after a
while, so that trust that was taken away does not last. Who a client is, `certified` reads from its certificate.
"""

from __future__ import annotations

import grpc.aio

from headgated.api.certificates import Certificates
from headgated.api.convert.values import MESSAGE_LIMIT
from headgated.core.errors import UnavailableError

_HANDSHAKE_MS = 5000
_IDLE_MS = 5 * 60 * 1000
_AGE_MS, _AGE_GRACE_MS = 15 * 60 * 1000, 30 * 1000
_KEEPALIVE_MS, _KEEPALIVE_TIMEOUT_MS = 60 * 1000, 20 * 1000


def network_server(connections: int) -> grpc.aio.Server:
    """Return a server without services and ports that takes so many connections."""
    return grpc.aio.server(
        options=(
            ("grpc.max_receive_message_length", MESSAGE_LIMIT),
            ("grpc.max_send_message_length", MESSAGE_LIMIT),
            ("grpc.so_reuseport", 0),
            ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MS),
            ("grpc.http2.settings_timeout", _HANDSHAKE_MS),
            ("grpc.max_concurrent_streams", 200),
            ("grpc.max_allowed_incoming_connections", connections),
            ("grpc.max_connection_idle_ms", _IDLE_MS),
            ("grpc.max_connection_age_ms", _AGE_MS),
            ("grpc.max_connection_age_grace_ms", _AGE_GRACE_MS),
            ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
            ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
        )
    )


def listen(server: grpc.aio.Server, address: str, certificates: Certificates) -> None:
    """Have a server listen at `host:port`.

    Raises:
        UnavailableError: it cannot.
    """
    try:
        bound = server.add_secure_port(address, certificates.credentials())
    except RuntimeError:
        bound = 0
    if not bound:
        raise UnavailableError(
            f"cannot listen at {address}: another program may listen there, or this machine has no such address",
            reason="ADDRESS_NOT_BOUND",
            hint="choose another tcp.address in the configuration",
        )
