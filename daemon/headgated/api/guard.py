"""What stands before and behind every handler, so that none can forget it.

Before: the caller is known and may do that (see `access`), the call is within limits, the request is a message of its type. Behind: each of Headgate's errors
becomes its status, anything else INTERNAL with an id that the log has too and no word of what it was; an answer that is too
large says so. Cancellation always passes: gRPC leaks a call whose handler swallows it.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeAlias

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message

from headgated.api.access import Access
from headgated.api.auditing import Auditor
from headgated.api.calls import Calls
from headgated.api.convert.values import MEBIBYTE, MESSAGE_LIMIT
from headgated.api.errors import internal_status, status_of
from headgated.api.methods import RULES
from headgated.api.streams import Streams
from headgated.core.errors import Fault, ForbiddenError, HeadgateError, InvalidRequestError, LimitError
from headgated.core.orders import Caller

_log = logging.getLogger(__name__)
_READS = ("Get", "List", "Plan", "Check", "Verify")
"""How the names of RPCs begin that change nothing, so that a client that goes away ends them. All others go on."""

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class Guard:
    """Stands in for a server where handlers are added to it, and guards each of them."""

    def __init__(
        self, server: grpc.aio.Server, access: Access, calls: Calls, streams: Streams, audit: Auditor
    ) -> None:
        self._server, self._access, self._calls, self._streams = server, access, calls, streams
        self._audit = audit

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Do nothing: generated code gives the same handlers to `add_registered_method_handlers`."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        """Add the handlers of a service, by the names of its RPCs."""
        guarded = {name: self._guarded(f"/{service}/{name}", handler) for name, handler in handlers.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, guarded),))

    def _guarded(self, method: str, handler: Handler) -> Handler:
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(self._answering(method, handler))
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(
                self._streaming(method, handler), response_serializer=_serialized_once(handler)
            )
        if handler.stream_stream:
            return grpc.stream_stream_rpc_method_handler(
                self._conversing(method, handler), handler.request_deserializer, handler.response_serializer
            )
        raise TypeError(f"cannot guard {method}: no such kind of call is expected")

    def _answering(self, method: str, handler: Handler) -> Callable[[bytes, Context], Awaitable[bytes]]:
        handle: Any = handler.unary_unary
        reads = method.rpartition("/")[2].startswith(_READS)
        changes = method not in RULES or RULES[method].changes
        beside = method in RULES and RULES[method].order

        async def answer(raw: bytes, context: Context) -> bytes:
            try:
                caller = self._access.caller(context)
                with self._calls.answer(_counted(caller)):
                    request = _parsed(handler, raw)
                    self._admit(caller, method, request)
                    work = handle(request, context)
                    if changes:
                        work = self._audit.carry_out(caller, method, request, work, beside=beside)
                    return _sendable(await (work if reads else self._calls.change(work)))
            except (asyncio.CancelledError, grpc.aio.BaseError):
                raise
            except Exception as error:  # noqa: BLE001 - the outermost place there is
                status = _told(method, error)
            return await context.abort_with_status(status)

        return answer

    def _admit(self, caller: Caller, method: str, request: object) -> None:
        """Refuse, and note it, what the caller may not do."""
        try:
            self._access.demand(caller, method, request)
        except ForbiddenError as error:
            self._audit.refused(caller, method, request, error)
            raise

    def _streaming(self, method: str, handler: Handler) -> Callable[[bytes, Context], Awaitable[None]]:
        handle: Any = handler.unary_stream

        async def stream(raw: bytes, context: Context) -> None:
            async def work(caller: Caller) -> None:
                request = _parsed(handler, raw)
                self._admit(caller, method, request)
                with self._streams.open(caller, method, request):
                    await handle(request, context)

            await self._streamed(method, context, work)

        return stream

    def _conversing(
        self, method: str, handler: Handler
    ) -> Callable[[AsyncIterator[Any], Context], Awaitable[None]]:
        handle: Any = handler.stream_stream

        async def converse(requests: AsyncIterator[Any], context: Context) -> None:
            async def work(caller: Caller) -> None:
                self._admit(caller, method, None)
                with self._streams.open(caller, method, None):
                    async for answer in handle(requests, context):
                        await context.write(answer)

            await self._streamed(method, context, work)

        return converse

    async def _streamed(
        self, method: str, context: Context, work: Callable[[Caller], Awaitable[None]]
    ) -> None:
        try:
            caller = self._access.caller(context)
            with self._calls.stream(_counted(caller)):
                await work(caller)
                return
        except (asyncio.CancelledError, grpc.aio.BaseError):
            raise
        except Exception as error:  # noqa: BLE001 - the outermost place there is
            status = _told(method, error)
        await context.abort_with_status(status)


def _serialized_once(handler: Handler) -> Callable[[Any], bytes]:
    """Return the handler's serializer for answers that are messages; those that are bytes already (see `encoded`) stay."""
    serialize: Any = handler.response_serializer
    return lambda answer: answer if isinstance(answer, bytes) else serialize(answer)


def _counted(caller: Caller) -> int | str | None:
    return caller.user if caller.certificates else caller.uid


def _parsed(handler: Handler, raw: bytes) -> Any:  # noqa: ANN401 - a message of the handler's
    parse: Any = handler.request_deserializer
    try:
        return parse(raw)
    except DecodeError as error:
        why = "is not a message of the protocol, or holds text that is not UTF-8"
        raise InvalidRequestError("read the request", [Fault("request", why)]) from error


def _sendable(answer: Message | bytes) -> bytes:
    """Return an answer as it is sent; one that is bytes already (see `encoded`) stays."""
    raw = answer if isinstance(answer, bytes) else answer.SerializeToString()
    if len(raw) > MESSAGE_LIMIT:
        raise LimitError(
            f"cannot answer: the answer is too large ({len(raw) // MEBIBYTE} MiB, at most {MESSAGE_LIMIT // MEBIBYTE})",
            reason="ANSWER_TOO_LARGE",
            hint="ask for less, for example for smaller pages",
        )
    return raw


def _told(method: str, error: Exception) -> grpc.Status:
    if isinstance(error, HeadgateError):
        return status_of(error)
    log_id = secrets.token_hex(4)
    _log.error("cannot answer %s (log id %s)", method, log_id, exc_info=error)
    return internal_status(log_id)
