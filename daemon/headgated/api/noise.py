"""Keeps out of the log what gRPC says whenever a client goes away in the middle of a call. Nothing else is kept out."""

from __future__ import annotations

import logging

_NOISY = ("grpc._cython.cygrpc", "asyncio")
_NOISE = "ExecuteBatchError"


class _DeadClients(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether the record is of anything else than a message to a client that is gone."""
        kind = record.exc_info[0] if record.exc_info else None
        return not (kind is not None and kind.__name__ == _NOISE) and f"[{_NOISE}]" not in record.getMessage()


_FILTER = _DeadClients()


def quieten() -> None:
    """Keep it out from now on. Harmless when done twice."""
    for name in _NOISY:
        logging.getLogger(name).addFilter(_FILTER)
