"""Programs that `api` runs as processes of their own.

python -m benchmarks.beside echo ADDRESS ANSWER           a bare grpc.aio server that answers the same bytes (hex) always
python -m benchmarks.beside watchers ADDRESS N CHANGES    N streams of deployments; prints when each was told of each
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import defaultdict

import grpc

from headgate.v1 import deployment_pb2, environment_pb2

STREAMS_A_CHANNEL = 50
LATEST = 120.0
"""Seconds until whoever was not told by then counts as not told."""
WATCH = "/headgate.v1.DeploymentService/WatchDeployments"


class _Echo(grpc.GenericRpcHandler):
    def __init__(self, answer: bytes) -> None:
        async def respond(_request: bytes, _context: object) -> bytes:
            return answer

        self._handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(respond)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        """Answer every method alike."""
        del handler_call_details
        return self._handler


async def echo(address: str, answer: bytes) -> None:
    """Serve until ended."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_Echo(answer),))
    server.add_insecure_port(address)
    await server.start()
    print("ready", flush=True)
    await server.wait_for_termination()


async def watchers(address: str, count: int, changes: int) -> None:
    """Watch with `count` streams; say when all have begun, and then when each was told of each success."""
    told: defaultdict[str, list[int]] = defaultdict(list)
    waiting, done = count, asyncio.Event()
    begun = asyncio.Event()
    request = deployment_pb2.WatchDeploymentsRequest().SerializeToString()

    async def watch(channel: grpc.aio.Channel) -> None:
        nonlocal waiting
        live, heard = False, 0
        stream: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(WATCH)
        async for raw in stream(request):
            at = time.monotonic_ns()
            event = deployment_pb2.WatchDeploymentsResponse.FromString(raw)
            if event.kind == environment_pb2.WATCH_EVENT_KIND_SNAPSHOT_END:
                live = True
                waiting -= 1
                if not waiting:
                    begun.set()
            elif live and event.deployment.status == deployment_pb2.DEPLOYMENT_STATUS_SUCCESS:
                told[event.deployment.deployment_id].append(at)
                heard += 1
                if heard == changes and all(len(times) == count for times in told.values()):
                    done.set()

    channels = [
        grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        for _ in range(-(-count // STREAMS_A_CHANNEL))
    ]
    tasks = [asyncio.create_task(watch(channels[index // STREAMS_A_CHANNEL])) for index in range(count)]
    await asyncio.wait_for(begun.wait(), LATEST)
    print("ready", flush=True)
    try:
        await asyncio.wait_for(done.wait(), LATEST)
    finally:
        print(json.dumps(told), flush=True)
        for task in tasks:
            task.cancel()


def main() -> None:
    """Run one of them."""
    what, address, *others = sys.argv[1:]
    if what == "echo":
        asyncio.run(echo(address, bytes.fromhex(others[0])))
    else:
        asyncio.run(watchers(address, *map(int, others)))


if __name__ == "__main__":
    main()
