"""The fake daemon: a socket, a worker, and the knobs that a test turns."""

from __future__ import annotations

import getpass
import queue
import tempfile
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from headgate.channel import grpc
from headgate.errors import ConflictError, HeadgateError
from headgate.testing.deployments import FINISHED, Deployments, awaits_confirmation
from headgate.testing.environments import Environments
from headgate.testing.feed import Feed

if TYPE_CHECKING:
    from headgate.client import Client
    from headgate.v1.deployment_pb2 import ConfigDeployment

_THREADS = 48  # A watch takes one; Feed bounds how many there are.
_OPTIONS = (("grpc.max_metadata_size", 1024 * 1024), ("grpc.so_reuseport", 0))


class FakeDaemon:
    """A daemon in memory. Use it as a context manager, or call `start` and `stop`.

    Args:
        socket: where to listen; None: a socket of its own in a temporary directory.
        user: what `deployed_by` says; None: whoever runs this.
    """

    def __init__(self, socket: Path | str | None = None, *, user: str | None = None) -> None:
        self._home = tempfile.TemporaryDirectory(prefix="hg-") if socket is None else None
        self.socket = Path(self._home.name, "headgate.sock") if self._home else Path(socket or "")
        self.user = user or getpass.getuser()
        self.lock = threading.RLock()
        self.feed = Feed(self.lock)
        self.environments = Environments(self.feed, self.user)
        self.deployments = Deployments(self.environments, self.feed, self.user)
        self.answers: dict[str, tuple[bytes, str]] = {}
        self.requests: list[Message] = []
        """Every request that was made, oldest first."""
        self.started_at = Timestamp()
        self._failures: dict[str, deque[HeadgateError]] = defaultdict(deque)
        self._free = threading.Event()
        self._free.set()
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._worker: threading.Thread | None = None
        self._server: grpc.Server | None = None
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
        if self._home is not None:
            self._home.cleanup()

    @property
    def address(self) -> str:
        """Where clients find it: `unix:PATH`."""
        return f"unix:{self.socket}"

    def client(self) -> Client:
        """Return a new client."""
        from headgate.client import Client  # noqa: PLC0415 -- a test may bring its own

        return Client(self.address)

    def start(self) -> Self:
        """Listen, and begin to work."""
        from headgate.testing.servicers import serve  # noqa: PLC0415 -- it needs this module

        self.started_at.GetCurrentTime()
        self._pool = ThreadPoolExecutor(_THREADS)
        self._server = grpc.server(self._pool, options=_OPTIONS)
        serve(self, self._server)
        self._server.add_insecure_port(self.address)
        self._server.start()
        self._worker = threading.Thread(target=self._work_on, daemon=True)
        self._worker.start()
        return self

    def stop(self) -> None:
        """End every call and stop listening; what is known stays."""
        if self._server is None or self._pool is None or self._worker is None:
            return
        self.feed.interrupt(forget=True)
        self._server.stop(0.5).wait()
        self._work.put(None)
        self._free.set()
        self._worker.join()
        self._pool.shutdown()
        self._server = None

    def restart(self) -> None:
        """Stop and start: watches are cut, revisions of before mean nothing any more, all else is as it was."""
        self.stop()
        self.start()

    # What a test does to the world

    def write(self, source: str, path: str, content: str | bytes) -> None:
        """Put a file into a source; auto-sync follows."""
        with self.lock:
            raw = content.encode() if isinstance(content, str) else content
            self.environments.sources.setdefault(source, {})[path] = raw
        self.sync()

    def remove(self, source: str, path: str) -> None:
        """Take a file out of a source; auto-sync follows."""
        with self.lock:
            del self.environments.sources[source][path]
        self.sync()

    def edit(self, target: str, path: str, content: str | bytes | None) -> None:
        """Change a file at a target by hand; None: remove it."""
        with self.lock:
            files = self.environments.targets.setdefault(target, {})
            if content is None:
                files.pop(path, None)
            else:
                files[path] = content.encode() if isinstance(content, str) else content

    def files(self, target: str) -> dict[str, bytes]:
        """Return what is at a target."""
        with self.lock:
            return dict(self.environments.targets.get(target, {}))

    # What a test makes go wrong

    def fail_next(self, method: str, error: HeadgateError) -> None:
        """Answer the next call of a method (`Deploy`, `GetStatus`, ...) with an error of `headgate.errors`."""
        self._failures[method].append(error)

    def fail_deployments(self, *errors: HeadgateError) -> None:
        """Let the next deployments end FAILED, one for each error."""
        with self.lock:
            self.deployments.failures += errors

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Carry out nothing meanwhile: what is asked for stays PENDING."""
        self._free.clear()
        try:
            yield
        finally:
            self._free.set()

    # What servicers need

    def enter(self, request: Message) -> None:
        """Note a request, and fail it where a test wants that."""
        self.requests.append(request)
        failures = self._failures[type(request).__name__.removesuffix("Request")]
        if failures:
            raise failures.popleft()

    def once(self, request: Message, act: Callable[[], str]) -> str:
        """Do what a request asks for, or give the answer that it had before."""
        request_id: str = getattr(request, "request_id", "")
        if not request_id or getattr(request, "validate_only", False):
            return act()
        asked = type(request).__name__.encode() + request.SerializeToString(deterministic=True)
        known = self.answers.get(request_id)
        if known is None:
            known = self.answers[request_id] = (asked, act())
        if known[0] != asked:
            raise ConflictError(
                f"cannot answer: the request id {request_id!r} was used for another request",
                reason="REQUEST_ID_REUSED",
                hint="use a new id for each request, and the same one only to repeat it",
            )
        return known[1]

    def carry_out(self, deployment_id: str) -> None:
        """Queue a deployment that was accepted."""

        def work() -> None:
            record = self.deployments.records[deployment_id]
            if record.environment in self.environments.places and record.status not in FINISHED:
                self.deployments.carry_out(record)
                if awaits_confirmation(record):
                    self._expire_later(record)

        self._work.put(work)

    def _expire_later(self, record: ConfigDeployment) -> None:
        seconds = record.confirm_within.ToTimedelta().total_seconds()
        timer = threading.Timer(
            seconds, lambda: self._work.put(lambda: self.deployments.expire(record.deployment_id))
        )
        timer.daemon = True
        timer.start()

    def sync(self) -> None:
        """Let auto-sync look at every environment."""
        with self.lock:
            for place in self.environments.places.values():
                self.environments.told(place)
        self._work.put(self._sync)

    def _sync(self) -> None:
        for place in list(self.environments.places.values()):
            if self.deployments.due(place):
                self.deployments.carry_out(self.deployments.begin(place, None))

    def _work_on(self) -> None:
        while (work := self._work.get()) is not None:
            self._free.wait()
            with self.lock:
                work()
