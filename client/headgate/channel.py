"""The gRPC channel, and gRPC itself: what needs `grpc` takes it from here, because it must be told something first.

Fork support is off: gRPC's handlers would slow down every child process that the program starts, and a forked child could not
use the channel all the same. A program that wants them sets GRPC_ENABLE_FORK_SUPPORT itself.
"""

from __future__ import annotations

import os

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import grpc

from headgate import __version__
from headgate.address import Address

__all__ = ["grpc", "open_async_channel", "open_channel"]

_OPTIONS = (
    ("grpc.primary_user_agent", f"headgate/{__version__}"),
    # A record lists up to 10,000 files; the default of 4 MiB is less than that.
    ("grpc.max_receive_message_length", 256 * 1024 * 1024),
    # Error details (every fault, every path) travel as metadata; the default of 8 KiB would hide the error itself.
    ("grpc.max_metadata_size", 1024 * 1024),
    ("grpc.absolute_max_metadata_size", 2 * 1024 * 1024),
    # The daemon is local: when it is back, it is back now. Milliseconds. (The minimum is left alone: it is how long a busy
    # daemon may take to greet.)
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 400),
    # Repeating is decided in `headgate.patience`, by what is safe.
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
)


def open_channel(address: Address) -> grpc.Channel:
    """Return a channel to the daemon at `address`. Connects with the first call."""
    identity = address.identity()
    if identity is not None:
        return grpc.secure_channel(address.target, grpc.ssl_channel_credentials(*identity), _OPTIONS)
    return grpc.insecure_channel(address.target, options=_OPTIONS)


def open_async_channel(address: Address) -> grpc.aio.Channel:
    """Return a channel for the asyncio loop that runs now. Connects with the first call."""
    import grpc.aio  # noqa: PLC0415 -- brings asyncio, which the command line does without

    identity = address.identity()
    if identity is not None:
        return grpc.aio.secure_channel(address.target, grpc.ssl_channel_credentials(*identity), _OPTIONS)
    return grpc.aio.insecure_channel(address.target, options=_OPTIONS)
