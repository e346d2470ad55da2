"""The client for asyncio: the same methods as `headgate.client.Client`, to be awaited or iterated with `async for`.

    async with AsyncClient() as client:
        asked = await client.deploy("web")
        done = await client.wait_for_deployment(asked.deployment_id)

Requests, repeats, continuations and errors are those of the other client; here is only how they are carried out. A call whose task is
cancelled ends at once, a deployment that was asked for does not. Belongs to the loop of its first call.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing
from datetime import datetime
from types import TracebackType
from typing import Self, TypeVar, Unpack

from google.protobuf.message import Message

from headgate.address import Address
from headgate.calls import audit, daemon, deployments, environments
from headgate.calls.call import Asked, Call, Stream
from headgate.channel import grpc, open_async_channel
from headgate.errors import HeadgateError, TimedOutError, UnreachableError, told_together
from headgate.patience import Continuation, Repeating, closed, no_answer, still_running
from headgate.refusal import Failure, refusal
from headgate.remote import TlsFiles
from headgate.v1 import daemon_pb2, deployment_pb2, environment_pb2

__all__ = ["AsyncClient"]

_Answer = TypeVar("_Answer", bound=Message)
_Value = TypeVar("_Value")
_Event = TypeVar("_Event", environment_pb2.WatchEnvironmentsResponse, deployment_pb2.WatchDeploymentsResponse)


class AsyncClient:
    """A connection to the daemon, for asyncio.

    Args:
        address: path of the daemon's socket, plain or as `unix:PATH`, or `tls:HOST:PORT`; None: HEADGATE_ADDRESS, the system's,
            the user's.
        timeout: seconds that a call may take, repeats included.
        tls: certificates for an address on the network; None: those that HEADGATE_TLS_... name.

    Every method raises a class of `headgate.errors` and nothing else of the transport: UnreachableError and TimedOutError any
    of them, the others as documented there.
    """

    def __init__(
        self, address: str | None = None, *, timeout: float = 10.0, tls: TlsFiles | None = None
    ) -> None:
        self.address = Address.find(address, tls=tls)
        self._timeout = timeout
        self._opened: grpc.aio.Channel | None = None
        self._met = False
        self._closed = asyncio.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connection, and the watches that still run on it."""
        self._closed.set()
        if self._opened is not None:
            await self._opened.close()

    # Environments

    async def create_environment(
        self, name: str, **wanted: Unpack[environments.Creation]
    ) -> environment_pb2.Environment:
        """Create an environment; with `validate_only=True` only check it."""
        return await self._do(environments.create(name, wanted))

    async def get_environment(self, name: str) -> environment_pb2.Environment:
        """Read an environment, with its sync state."""
        return await self._do(environments.get(name))

    async def list_environments(
        self, *, page_size: int = environments.LARGEST_PAGE
    ) -> AsyncIterator[environment_pb2.Environment]:
        """Read all environments, ordered by name, page after page as they are asked for."""
        token = ""
        while True:
            page = await self._do(environments.page(token, page_size))
            for each in page.environments:
                yield each
            token = page.next_page_token
            if not token:
                return

    async def update_environment(
        self, name: str, **wanted: Unpack[environments.Update]
    ) -> environment_pb2.Environment:
        """Change exactly the settings that are given; of `policies` exactly those in it. A map or list is replaced whole."""
        return await self._do(environments.update(name, wanted))

    async def delete_environment(
        self, name: str, *, remove_target_files: bool = False, **asked: Unpack[Asked]
    ) -> str:
        """Forget an environment; return the id of the deployment that removed its files, empty where they were kept."""
        return await self._do(environments.delete(name, asked, remove_target_files=remove_target_files))

    async def pause_environment(
        self, name: str, reason: str, until: datetime | None = None, **asked: Unpack[Asked]
    ) -> environment_pb2.Environment:
        """Stop auto-sync, until somebody resumes or until a time (a naive one is local time)."""
        return await self._do(environments.pause(name, asked, reason=reason, until=until))

    async def resume_environment(self, name: str, **asked: Unpack[Asked]) -> environment_pb2.Environment:
        """End a pause, lift a hold, accept the sources as they are after a halt."""
        return await self._do(environments.resume(name, asked))

    async def watch_environments(
        self,
        name: str = "",
        *,
        from_revision: int = 0,
        on_lost: Callable[[UnreachableError], None] | None = None,
    ) -> AsyncGenerator[environment_pb2.WatchEnvironmentsResponse, None]:
        """Tell of the present environments, then of each change; see `watch_deployments`.

        A watch of one environment tells that it is gone (DELETED) before it ends.
        """
        stream = environments.watch(name)
        async with aclosing(self._watch(stream, from_revision=from_revision, on_lost=on_lost)) as events:
            async for event in events:
                yield event

    # Deployments

    async def deploy(
        self, environment: str, config_files: Iterable[str] = (), **order: Unpack[deployments.DeployOrder]
    ) -> deployment_pb2.ConfigDeployment:
        """Ask for a deployment, of all or of some files; it is PENDING when this returns."""
        return await self._do(deployments.deploy(environment, config_files, order))

    async def plan(
        self, environment: str, config_files: Iterable[str] = (), *, diff: bool = True
    ) -> deployment_pb2.PlanDeploymentResponse:
        """Tell what `deploy` would change, and change nothing."""
        return await self._do(deployments.plan(environment, config_files, diff=diff))

    async def rollback(
        self, deployment_id: str, **order: Unpack[deployments.RollbackOrder]
    ) -> deployment_pb2.ConfigDeployment:
        """Ask for a deployment that undoes one; RefusedError with the list where later ones stand on it."""
        return await self._do(deployments.rollback(deployment_id, order))

    async def restore(
        self, deployment_id: str, **order: Unpack[deployments.Order]
    ) -> deployment_pb2.ConfigDeployment:
        """Ask for a deployment that returns to the state which one left."""
        return await self._do(deployments.restore(deployment_id, order))

    async def adopt(
        self, environment: str, paths: Iterable[str] = (), **order: Unpack[deployments.Order]
    ) -> deployment_pb2.ConfigDeployment:
        """Ask for a deployment that takes edits at the target over as they are; nothing there changes.

        Args:
            environment: whose target.
            paths: of the target, a directory for all below it; none: all that has drifted.
        """
        return await self._do(deployments.adopt(environment, paths, order))

    async def get_deployment(self, deployment_id: str) -> deployment_pb2.ConfigDeployment:
        """Read a deployment whole."""
        return await self._do(deployments.get(deployment_id))

    async def list_deployments(
        self, environment: str = "", *, statuses: Iterable[str] = (), page_size: int = 50
    ) -> AsyncIterator[deployment_pb2.ConfigDeployment]:
        """Read deployments newest first, page after page as they are asked for; counts in place of the lists of files.

        Args:
            environment: only of this one; empty: of all.
            statuses: only in one of these (`success`, `failed`, ...); empty: in any.
            page_size: how many to fetch at a time, at most 1,000.
        """
        token, wanted = "", tuple(statuses)
        while True:
            page = await self._do(deployments.page(environment, wanted, token, page_size))
            for each in page.deployments:
                yield each
            token = page.next_page_token
            if not token:
                return

    async def cancel_deployment(
        self, deployment_id: str, **asked: Unpack[Asked]
    ) -> deployment_pb2.ConfigDeployment:
        """Stop a deployment that waits or is still before its first change to the target."""
        return await self._do(deployments.cancel(deployment_id, asked))

    async def confirm_deployment(
        self, deployment_id: str, **asked: Unpack[Asked]
    ) -> deployment_pb2.ConfigDeployment:
        """Keep a deployment that was asked for with `confirm_within` and would be rolled back by itself otherwise."""
        return await self._do(deployments.confirm(deployment_id, asked))

    async def export_deployment(self, deployment_id: str) -> AsyncGenerator[bytes, None]:
        """Yield the state that a deployment left, as the pieces of a tar archive; whole only if nothing was raised at the end.

        Raises:
            RefusedError: the target never had it (NOT_REACHED), or history does not hold it (any more).
        """
        async with aclosing(self._receive(deployments.export(deployment_id))) as answers:
            async for answer in answers:
                yield answer.tar

    async def watch_deployments(
        self,
        environment: str = "",
        *,
        deployment_id: str = "",
        from_revision: int = 0,
        on_lost: Callable[[UnreachableError], None] | None = None,
    ) -> AsyncGenerator[deployment_pb2.WatchDeploymentsResponse, None]:
        """Tell of the newest deployments (SNAPSHOT, SNAPSHOT_END), then of each change (UPDATED), without end.

        When the daemon restarts, or the watcher was too slow, the watch goes on where it was; where the daemon does not
        remember that any more, it tells the present state again. Nothing is left out in silence.

        Args:
            environment: only of this one, until it is deleted; empty: of all.
            deployment_id: only this one; the watch ends when it is finished.
            from_revision: continue after this revision of an earlier watch; 0: begin with the present state.
            on_lost: is told when a daemon that was there is gone, each time it is tried again.

        Raises:
            NotFoundError: there is no such environment or deployment, or not any more (ENVIRONMENT_DELETED).
            UnreachableError: there was no daemon to begin with.
        """
        stream = deployments.watch(environment, deployment_id)
        async with aclosing(self._watch(stream, from_revision=from_revision, on_lost=on_lost)) as events:
            async for event in events:
                yield event
                if deployment_id and deployments.is_finished(event):
                    return

    async def wait_for_deployment(
        self,
        deployment_id: str,
        timeout: float = 300.0,  # noqa: ASYNC109 -- as in Client; it says what becomes of the deployment
        *,
        on_update: Callable[[deployment_pb2.ConfigDeployment], None] | None = None,
    ) -> deployment_pb2.ConfigDeployment:
        """Wait until a deployment is finished, also over a restart of the daemon, and read it whole.

        Args:
            deployment_id: which.
            timeout: seconds.
            on_update: is given the deployment at each change of status or progress.

        Raises:
            TimedOutError: it still runs; it goes on.
        """
        stream = deployments.watch("", deployment_id)
        async with aclosing(self._watch(stream, seconds=timeout)) as events:
            async for event in events:
                if on_update is not None and event.HasField("deployment"):
                    on_update(event.deployment)
                if deployments.is_finished(event):
                    return await self.get_deployment(deployment_id)
        raise (
            closed(stream.what, self.address.path)
            if self._closed.is_set()
            else still_running(deployment_id, timeout)
        )

    # The daemon

    async def status(self) -> daemon_pb2.GetStatusResponse:
        """Read how the daemon and every environment stand."""
        return await self._do(daemon.status())

    async def reload(self, **asked: Unpack[Asked]) -> list[str]:
        """Make the daemon read its configuration again; return what is different now, a line each."""
        return await self._do(daemon.reload(asked))

    async def verify_history(self) -> daemon_pb2.VerifyHistoryResponse:
        """Have all of history read again; return each damage. Takes as long as it takes, an hour at most."""
        return await self._do(daemon.verify_history())

    async def collect_history(self, **asked: Unpack[Asked]) -> daemon_pb2.CollectHistoryResponse:
        """Drop what exceeds the limits of retention now; return what was dropped. An hour at most."""
        return await self._do(daemon.collect_history(asked))

    async def verify_audit(self) -> daemon_pb2.VerifyAuditResponse:
        """Have all of the audit log read again; return each damage, and the newest line's number and digest."""
        return await self._do(audit.verify())

    async def list_audit(self, *, page_size: int = 100) -> AsyncIterator[daemon_pb2.AuditEntry]:
        """Read who asked for what and what came of it, newest first, page after page as they are asked for."""
        token = ""
        while True:
            page = await self._do(audit.page(token, page_size))
            for each in page.entries:
                yield each
            token = page.next_page_token
            if not token:
                return

    async def health(self) -> bool:
        """Tell whether the daemon says that it serves."""
        return await self._do(daemon.health())

    # How

    @property
    def _channel(self) -> grpc.aio.Channel:
        """Opened with the first call: only then it is known which loop runs."""
        if self._opened is None:
            self._opened = open_async_channel(self.address)
        return self._opened

    async def _do(self, call: Call[_Answer, _Value]) -> _Value:
        with told_together(call.what, call.faults):
            return await self._repeat(call)

    async def _repeat(self, call: Call[_Answer, _Value]) -> _Value:
        deadline = time.monotonic() + max(self._timeout, call.at_least)
        repeating = Repeating(deadline, met=self._met)
        while not self._closed.is_set():
            try:
                answer = await self._send(call, deadline - time.monotonic())
            except grpc.aio.AioRpcError as error:
                pause = repeating.after(await self._refusal(error, call.what), time.monotonic())
            except (asyncio.CancelledError, grpc.aio.UsageError):
                if self._ended_here():
                    break
                raise
            else:
                self._met = True
                return call.value(answer)
            await self._rest(pause)
        raise closed(call.what, self.address.path)

    async def _send(self, call: Call[_Answer, _Value], seconds: float) -> _Answer:
        ask = self._channel.unary_unary(
            call.method,
            request_serializer=_serialize,
            response_deserializer=call.answer.FromString,
        )
        answer: _Answer = await ask(call.request, timeout=seconds)
        return answer

    async def _watch(
        self,
        stream: Stream[_Event],
        *,
        seconds: float = math.inf,
        from_revision: int = 0,
        on_lost: Callable[[UnreachableError], None] | None = None,
    ) -> AsyncGenerator[_Event, None]:
        """Yield the events of one stream after another, until `seconds` are over."""
        if self._closed.is_set():
            raise closed(stream.what, self.address.path)
        continuation = Continuation(from_revision)
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            failure: HeadgateError | None = None
            try:
                async with aclosing(self._receive(stream, continuation.revision, left)) as events:
                    async for event in events:
                        continuation.seen(event.revision)
                        yield event
            except HeadgateError as error:
                failure = error
            if self._closed.is_set() or (isinstance(failure, TimedOutError) and time.monotonic() >= end):
                return
            pause = continuation.after(failure)
            if on_lost is not None and isinstance(failure, UnreachableError):
                on_lost(failure)
            if await self._rest(min(pause, end - time.monotonic())):
                return

    async def _receive(
        self, stream: Stream[_Answer], revision: int = 0, seconds: float = math.inf
    ) -> AsyncGenerator[_Answer, None]:
        """Yield the events of one stream. One that begins with the present state must begin within the client's timeout."""
        if self._closed.is_set():
            raise closed(stream.what, self.address.path)
        watch = self._channel.unary_stream(
            stream.method,
            request_serializer=_serialize,
            response_deserializer=stream.answer.FromString,
        )
        events = watch(stream.request(revision), timeout=min(seconds, stream.seconds))
        patience: float | None = None if revision else self._timeout
        try:
            while True:
                async with asyncio.timeout(patience):
                    event = await events.read()
                if not isinstance(event, stream.answer):
                    return  # grpc.aio.EOF
                self._met, patience = True, None
                yield event
        except TimeoutError as error:
            raise no_answer(stream.what, self._timeout) from error
        except grpc.aio.AioRpcError as error:
            raise await self._refusal(error, stream.what) from error
        except asyncio.CancelledError as error:
            if self._ended_here():
                raise closed(stream.what, self.address.path) from error
            raise
        finally:
            events.cancel()

    async def _refusal(self, failure: Failure, what: str) -> HeadgateError:
        """Tell what a failed call means; that may take a knock at the socket, which is not for the loop."""
        return await asyncio.to_thread(refusal, failure, what, self.address)

    async def _rest(self, seconds: float) -> bool:
        """Wait, unless the client is closed meanwhile; tell whether it is."""
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                return await self._closed.wait()
        except TimeoutError:
            return False

    def _ended_here(self) -> bool:
        """Tell whether a call was cut off by closing the client, not by cancelling the task that made it."""
        task = asyncio.current_task()
        return self._closed.is_set() and (task is None or not task.cancelling())


def _serialize(request: Message) -> bytes:
    return request.SerializeToString()
