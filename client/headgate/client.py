"""The client: every RPC of the daemon as a method with plain arguments, a deadline, and errors with a type.

A call that the daemon's restart interrupts is made again; that is safe, because reads change nothing and all else carries a
request id which the daemon answers once. A client may be shared by threads. `headgate.async_client` has the same methods for
asyncio; a test compares the two.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from datetime import datetime
from types import TracebackType
from typing import Self, TypeVar, Unpack

from google.protobuf.message import Message

from headgate.address import Address
from headgate.calls import audit, daemon, deployments, environments
from headgate.calls.call import Asked, Call, Stream
from headgate.channel import grpc, open_channel
from headgate.errors import HeadgateError, TimedOutError, UnreachableError, told_together
from headgate.patience import Continuation, Repeating, closed, no_answer, still_running
from headgate.refusal import refusal
from headgate.remote import TlsFiles
from headgate.v1 import daemon_pb2, deployment_pb2, environment_pb2

__all__ = ["Client"]

_Answer = TypeVar("_Answer", bound=Message)
_Value = TypeVar("_Value")
_Event = TypeVar("_Event", environment_pb2.WatchEnvironmentsResponse, deployment_pb2.WatchDeploymentsResponse)


class Client:
    """A connection to the daemon.

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
        self._channel = open_channel(self.address)
        self._met = False
        self._closed = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection, and the watches that still run on it."""
        self._closed.set()
        self._channel.close()

    # Environments

    def create_environment(
        self, name: str, **wanted: Unpack[environments.Creation]
    ) -> environment_pb2.Environment:
        """Create an environment; with `validate_only=True` only check it."""
        return self._do(environments.create(name, wanted))

    def get_environment(self, name: str) -> environment_pb2.Environment:
        """Read an environment, with its sync state."""
        return self._do(environments.get(name))

    def list_environments(
        self, *, page_size: int = environments.LARGEST_PAGE
    ) -> Iterator[environment_pb2.Environment]:
        """Read all environments, ordered by name, page after page as they are asked for."""
        token = ""
        while True:
            page = self._do(environments.page(token, page_size))
            yield from page.environments
            token = page.next_page_token
            if not token:
                return

    def update_environment(
        self, name: str, **wanted: Unpack[environments.Update]
    ) -> environment_pb2.Environment:
        """Change exactly the settings that are given; of `policies` exactly those in it. A map or list is replaced whole."""
        return self._do(environments.update(name, wanted))

    def delete_environment(
        self, name: str, *, remove_target_files: bool = False, **asked: Unpack[Asked]
    ) -> str:
        """Forget an environment; return the id of the deployment that removed its files, empty where they were kept."""
        return self._do(environments.delete(name, asked, remove_target_files=remove_target_files))

    def pause_environment(
        self, name: str, reason: str, until: datetime | None = None, **asked: Unpack[Asked]
    ) -> environment_pb2.Environment:
        """Stop auto-sync, until somebody resumes or until a time (a naive one is local time)."""
        return self._do(environments.pause(name, asked, reason=reason, until=until))

    def resume_environment(self, name: str, **asked: Unpack[Asked]) -> environment_pb2.Environment:
        """End a pause, lift a hold, accept the sources as they are after a halt."""
        return self._do(environments.resume(name, asked))

    def watch_environments(
        self,
        name: str = "",
        *,
        from_revision: int = 0,
        on_lost: Callable[[UnreachableError], None] | None = None,
    ) -> Generator[environment_pb2.WatchEnvironmentsResponse, None, None]:
        """Tell of the present environments, then of each change; see `watch_deployments`.

        A watch of one environment tells that it is gone (DELETED) before it ends.
        """
        return self._watch(environments.watch(name), from_revision=from_revision, on_lost=on_lost)

    # Deployments

    def deploy(
        self, environment: str, config_files: Iterable[str] = (), **order: Unpack[deployments.DeployOrder]
    ) -> deployment_pb2.ConfigDeployment:
        """Ask for a deployment, of all or of some files; it is PENDING when this returns."""
        return self._do(deployments.deploy(environment, config_files, order))

    def plan(
        self, environment: str, config_files: Iterable[str] = (), *, diff: bool = True
    ) -> deployment_pb2.PlanDeploymentResponse:
        """Tell what `deploy` would change, and change nothing."""
        return self._do(deployments.plan(environment, config_files, diff=diff))

    def rollback(
        self, deployment_id: str, **order: Unpack[deployments.RollbackOrder]
    ) -> deployment_pb2.ConfigDeployment:
        """Ask for a deployment that undoes one; RefusedError with the list where later ones stand on it."""
        return self._do(deployments.rollback(deployment_id, order))

    def restore(
        self, deployment_id: str, **order: Unpack[deployments.Order]
    ) -> deployment_pb2.ConfigDeployment:
        """Ask for a deployment that returns to the state which one left."""
        return self._do(deployments.restore(deployment_id, order))

    def adopt(
        self, environment: str, paths: Iterable[str] = (), **order: Unpack[deployments.Order]
    ) -> deployment_pb2.ConfigDeployment:
        """Ask for a deployment that takes edits at the target over as they are; nothing there changes.

        Args:
            environment: whose target.
            paths: of the target, a directory for all below it; none: all that has drifted.
        """
        return self._do(deployments.adopt(environment, paths, order))

    def get_deployment(self, deployment_id: str) -> deployment_pb2.ConfigDeployment:
        """Read a deployment whole."""
        return self._do(deployments.get(deployment_id))

    def list_deployments(
        self, environment: str = "", *, statuses: Iterable[str] = (), page_size: int = 50
    ) -> Iterator[deployment_pb2.ConfigDeployment]:
        """Read deployments newest first, page after page as they are asked for; counts in place of the lists of files.

        Args:
            environment: only of this one; empty: of all.
            statuses: only in one of these (`success`, `failed`, ...); empty: in any.
            page_size: how many to fetch at a time, at most 1,000.
        """
        token, wanted = "", tuple(statuses)
        while True:
            page = self._do(deployments.page(environment, wanted, token, page_size))
            yield from page.deployments
            token = page.next_page_token
            if not token:
                return

    def cancel_deployment(
        self, deployment_id: str, **asked: Unpack[Asked]
    ) -> deployment_pb2.ConfigDeployment:
        """Stop a deployment that waits or is still before its first change to the target."""
        return self._do(deployments.cancel(deployment_id, asked))

    def confirm_deployment(
        self, deployment_id: str, **asked: Unpack[Asked]
    ) -> deployment_pb2.ConfigDeployment:
        """Keep a deployment that was asked for with `confirm_within` and would be rolled back by itself otherwise."""
        return self._do(deployments.confirm(deployment_id, asked))

    def export_deployment(self, deployment_id: str) -> Generator[bytes, None, None]:
        """Yield the state that a deployment left, as the pieces of a tar archive; whole only if nothing was raised at the end.

        Raises:
            RefusedError: the target never had it (NOT_REACHED), or history does not hold it (any more).
        """
        for answer in self._receive(deployments.export(deployment_id)):
            yield answer.tar

    def watch_deployments(
        self,
        environment: str = "",
        *,
        deployment_id: str = "",
        from_revision: int = 0,
        on_lost: Callable[[UnreachableError], None] | None = None,
    ) -> Generator[deployment_pb2.WatchDeploymentsResponse, None, None]:
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
        events = self._watch(stream, from_revision=from_revision, on_lost=on_lost)
        for event in events:
            yield event
            if deployment_id and deployments.is_finished(event):
                return

    def wait_for_deployment(
        self,
        deployment_id: str,
        timeout: float = 300.0,
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
        for event in self._watch(stream, seconds=timeout):
            if on_update is not None and event.HasField("deployment"):
                on_update(event.deployment)
            if deployments.is_finished(event):
                return self.get_deployment(deployment_id)
        raise (
            closed(stream.what, self.address.path)
            if self._closed.is_set()
            else still_running(deployment_id, timeout)
        )

    # The daemon

    def status(self) -> daemon_pb2.GetStatusResponse:
        """Read how the daemon and every environment stand."""
        return self._do(daemon.status())

    def reload(self, **asked: Unpack[Asked]) -> list[str]:
        """Make the daemon read its configuration again; return what is different now, a line each."""
        return self._do(daemon.reload(asked))

    def verify_history(self) -> daemon_pb2.VerifyHistoryResponse:
        """Have all of history read again; return each damage. Takes as long as it takes, an hour at most."""
        return self._do(daemon.verify_history())

    def collect_history(self, **asked: Unpack[Asked]) -> daemon_pb2.CollectHistoryResponse:
        """Drop what exceeds the limits of retention now; return what was dropped. An hour at most."""
        return self._do(daemon.collect_history(asked))

    def verify_audit(self) -> daemon_pb2.VerifyAuditResponse:
        """Have all of the audit log read again; return each damage, and the newest line's number and digest."""
        return self._do(audit.verify())

    def list_audit(self, *, page_size: int = 100) -> Iterator[daemon_pb2.AuditEntry]:
        """Read who asked for what and what came of it, newest first, page after page as they are asked for."""
        token = ""
        while True:
            page = self._do(audit.page(token, page_size))
            yield from page.entries
            token = page.next_page_token
            if not token:
                return

    def health(self) -> bool:
        """Tell whether the daemon says that it serves."""
        return self._do(daemon.health())

    # How

    def _do(self, call: Call[_Answer, _Value]) -> _Value:
        with told_together(call.what, call.faults):
            return self._repeat(call)

    def _repeat(self, call: Call[_Answer, _Value]) -> _Value:
        deadline = time.monotonic() + max(self._timeout, call.at_least)
        repeating = Repeating(deadline, met=self._met)
        while True:
            if self._closed.is_set():
                raise closed(call.what, self.address.path)
            try:
                answer = self._send(call, deadline - time.monotonic())
            except ValueError as error:  # gRPC's, of a channel that was closed
                raise closed(call.what, self.address.path) from error
            except grpc.RpcError as error:
                pause = repeating.after(refusal(error, call.what, self.address), time.monotonic())
            else:
                self._met = True
                return call.value(answer)
            time.sleep(pause)

    def _send(self, call: Call[_Answer, _Value], seconds: float) -> _Answer:
        ask = self._channel.unary_unary(
            call.method,
            request_serializer=_serialize,
            response_deserializer=call.answer.FromString,
        )
        answer: _Answer = ask(call.request, timeout=seconds)
        return answer

    def _watch(
        self,
        stream: Stream[_Event],
        *,
        seconds: float = math.inf,
        from_revision: int = 0,
        on_lost: Callable[[UnreachableError], None] | None = None,
    ) -> Generator[_Event, None, None]:
        """Yield the events of one stream after another, until `seconds` are over."""
        if self._closed.is_set():
            raise closed(stream.what, self.address.path)
        continuation = Continuation(from_revision)
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            failure: HeadgateError | None = None
            try:
                for event in self._receive(stream, continuation.revision, left):
                    continuation.seen(event.revision)
                    yield event
            except HeadgateError as error:
                failure = error
            if self._closed.is_set() or (isinstance(failure, TimedOutError) and time.monotonic() >= end):
                return
            pause = continuation.after(failure)
            if on_lost is not None and isinstance(failure, UnreachableError):
                on_lost(failure)
            if self._closed.wait(max(0.0, min(pause, end - time.monotonic()))):
                return

    def _receive(
        self, stream: Stream[_Answer], revision: int = 0, seconds: float = math.inf
    ) -> Iterator[_Answer]:
        """Yield the events of one stream. One that begins with the present state must begin within the client's timeout."""
        if self._closed.is_set():
            raise closed(stream.what, self.address.path)
        watch = self._channel.unary_stream(
            stream.method,
            request_serializer=_serialize,
            response_deserializer=stream.answer.FromString,
        )
        events = watch(stream.request(revision), timeout=min(seconds, stream.seconds))
        late = threading.Event()

        def give_up() -> None:
            late.set()
            events.cancel()

        timer = threading.Timer(self._timeout, give_up)
        timer.daemon = True
        if not revision:
            timer.start()
        try:
            for event in events:
                timer.cancel()
                self._met = True
                yield event
        except grpc.RpcError as error:
            if late.is_set():
                raise no_answer(stream.what, self._timeout) from error
            raise refusal(error, stream.what, self.address) from error
        finally:
            timer.cancel()
            events.cancel()


def _serialize(request: Message) -> bytes:
    return request.SerializeToString()
