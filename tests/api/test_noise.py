from __future__ import annotations

import logging

import pytest

from headgated.api.noise import quieten


class ExecuteBatchError(Exception):
    """Named like gRPC's."""


@pytest.mark.parametrize("name", ["grpc._cython.cygrpc", "asyncio"])
def test_noise_of_dead_clients_is_kept_out_and_nothing_else(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    quieten()
    quieten()
    log = logging.getLogger(name)
    log.error("a client is gone", exc_info=ExecuteBatchError("x"))
    log.error("Unexpected [ExecuteBatchError] raised by servicer method [/x]")
    log.error("something else", exc_info=ValueError("x"))
    log.error("and another thing")
    assert [record.getMessage() for record in caplog.records] == ["something else", "and another thing"]
