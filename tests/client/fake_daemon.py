"""A daemon without an engine: the generated servicers, on a real socket, answering from dicts that a test can look into.

It keeps what was asked (`requests`), answers a request id once, and can be told to fail (`failures`), to hang (`hanging`), and to stop
and come back on the same socket.
"""

from __future__ import annotations

import queue
import threading
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped] # generated without types
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from headgate.v1 import (
    daemon_pb2,
    daemon_pb2_grpc,
    deployment_pb2,
    deployment_pb2_grpc,
    environment_pb2,
    environment_pb2_grpc,
)

FINISHED = (
    deployment_pb2.DEPLOYMENT_STATUS_SUCCESS,
    deployment_pb2.DEPLOYMENT_STATUS_FAILED,
    deployment_pb2.DEPLOYMENT_STATUS_ROLLED_BACK,
)


@dataclass
class Refusal:
    """An error for a call to fail with."""

    code: grpc.StatusCode
    message: str
    reason: str = ""
    hint: str = ""
    paths: Iterable[str] = ()
    faults: Iterable[tuple[str, str]] = ()
    details: bool = True
    omitted: int = 0
    """Paths for which there was no room."""

    def raise_in(self, context: grpc.ServicerContext) -> None:
        if not self.details:
            context.abort(self.code, self.message)
        info = error_details_pb2.ErrorInfo(reason=self.reason, domain="headgate")
        info.metadata["hint"] = self.hint
        info.metadata["paths"] = "\n".join(self.paths)
        if self.omitted:
            info.metadata["paths_omitted"] = str(self.omitted)
        bad = error_details_pb2.BadRequest()
        for name, why in self.faults:
            bad.field_violations.add(field=name, description=why)
        status = status_pb2.Status(code=self.code.value[0], message=self.message)
        for detail in (info, bad):
            packed = Packed()
            packed.Pack(detail)
            status.details.append(packed)
        context.abort_with_status(rpc_status.to_status(status))


@dataclass
class FakeDaemon:
    """The state that the servicers share."""

    socket: Path
    environments: dict[str, environment_pb2.Environment] = field(default_factory=dict)
    deployments: dict[str, deployment_pb2.ConfigDeployment] = field(default_factory=dict)
    status: daemon_pb2.GetStatusResponse = field(default_factory=daemon_pb2.GetStatusResponse)
    plan: deployment_pb2.PlanDeploymentResponse = field(default_factory=deployment_pb2.PlanDeploymentResponse)
    outcome: deployment_pb2.ConfigDeployment | None = field(
        default_factory=lambda: deployment_pb2.ConfigDeployment(
            status=deployment_pb2.DEPLOYMENT_STATUS_SUCCESS
        )
    )
    """What becomes of a deployment that is asked for; None: it stays pending."""
    requests: list[Any] = field(default_factory=list)
    failures: dict[str, deque[Refusal | None]] = field(default_factory=lambda: defaultdict(deque))
    """By method name; each call takes one; None: that one goes well."""
    hanging: set[str] = field(default_factory=set)
    """Methods that do not answer before the daemon stops."""
    revision: int = 1000
    changed: list[str] = field(default_factory=list)
    damages: list[str] = field(default_factory=list)
    refusals: list[daemon_pb2.AuditEntry] = field(default_factory=list)
    """What the audit log holds besides seven orders, oldest first."""
    pieces: list[bytes] = field(default_factory=list)
    torn: bool = False
    """An export ends with an error after its pieces."""

    def __post_init__(self) -> None:
        self._answers: dict[str, Message] = {}
        self._watchers: list[queue.SimpleQueue[Any]] = []
        self._backlog: list[Any] = []
        self._lock = threading.RLock()
        self._released = threading.Event()
        self._server: grpc.Server | None = None

    def start(self) -> None:
        self._released = threading.Event()
        self._pool = ThreadPoolExecutor(16)
        server = grpc.server(self._pool)
        environment_pb2_grpc.add_EnvironmentServiceServicer_to_server(Environments(self), server)
        deployment_pb2_grpc.add_DeploymentServiceServicer_to_server(Deployments(self), server)
        daemon_pb2_grpc.add_DaemonServiceServicer_to_server(Daemon(self), server)
        checks = health.HealthServicer()
        checks.set("", health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(checks, server)
        server.add_insecure_port(f"unix:{self.socket}")
        server.start()
        self._server = server

    def stop(self) -> None:
        if self._server is None:
            return
        self._released.set()
        for watcher in self._watchers:
            watcher.put(None)
        self._server.stop(0).wait()
        self._server.wait_for_termination()
        self._pool.shutdown()
        self._server = None
        self._watchers.clear()

    def forget_revisions(self) -> None:
        """Be like a daemon that was restarted: revisions of before mean nothing any more."""
        self._backlog.clear()
        self.revision += 1000

    @property
    def watchers(self) -> int:
        return len(self._watchers)

    def enter(self, request: Message, context: grpc.ServicerContext) -> None:
        """Note a request; fail or hang where the test wants it."""
        method = type(request).__name__.removesuffix("Request")
        self.requests.append(request)
        if self.failures[method]:
            failure = self.failures[method].popleft()
            if failure is not None:
                failure.raise_in(context)
        if method in self.hanging:
            self._released.wait(30)

    def once(self, request: Any, make: Any) -> Any:
        """Return the first answer again where the request id is known."""
        with self._lock:
            if request.request_id not in self._answers:
                self._answers[request.request_id] = make()
            return self._answers[request.request_id]

    def publish(self, deployment: deployment_pb2.ConfigDeployment) -> None:
        """Make a deployment be as given, and tell the watchers."""
        with self._lock:
            self.deployments[deployment.deployment_id] = deployment
            self.revision += 1
            event = deployment_pb2.WatchDeploymentsResponse(
                revision=self.revision, kind=environment_pb2.WATCH_EVENT_KIND_UPDATED, deployment=deployment
            )
            self._backlog.append(event)
            for watcher in self._watchers:
                watcher.put(event)

    def events(
        self, request: deployment_pb2.WatchDeploymentsRequest, context: grpc.ServicerContext
    ) -> Iterator[deployment_pb2.WatchDeploymentsResponse]:
        with self._lock:
            mine: queue.SimpleQueue[Any] = queue.SimpleQueue()
            present = self._present(request) if not request.from_revision else []
            if request.from_revision:
                self._catch_up(mine, request.from_revision, context)
            self._watchers.append(mine)
            context.add_callback(lambda: self._leave(mine))
            revision = self.revision
        for deployment in present:
            yield deployment_pb2.WatchDeploymentsResponse(
                revision=revision, kind=environment_pb2.WATCH_EVENT_KIND_SNAPSHOT, deployment=deployment
            )
        if not request.from_revision:
            yield deployment_pb2.WatchDeploymentsResponse(
                revision=revision, kind=environment_pb2.WATCH_EVENT_KIND_SNAPSHOT_END
            )
        if request.deployment_id and present[0].status in FINISHED:
            return
        while (event := mine.get()) is not None:
            if isinstance(event, Refusal):
                event.raise_in(context)
            if not asked_for(request, event.deployment):
                continue
            yield event
            if request.deployment_id and event.deployment.status in FINISHED:
                return
        if context.is_active():
            Refusal(grpc.StatusCode.UNAVAILABLE, "the daemon stops", "STOPPING").raise_in(context)

    def _catch_up(
        self, watcher: queue.SimpleQueue[Any], revision: int, context: grpc.ServicerContext
    ) -> None:
        if revision not in {event.revision for event in self._backlog} | {self.revision}:
            gone = Refusal(grpc.StatusCode.ABORTED, "cannot watch from there", "REVISION_TOO_OLD")
            gone.raise_in(context)
        for event in self._backlog:
            if event.revision > revision:
                watcher.put(event)

    def _leave(self, watcher: queue.SimpleQueue[Any]) -> None:
        with self._lock:
            if watcher in self._watchers:
                self._watchers.remove(watcher)
        watcher.put(None)

    def interrupt(self, refusal: Refusal) -> None:
        """End the streams of all watchers with an error."""
        with self._lock:
            for watcher in self._watchers:
                watcher.put(refusal)
            self._watchers.clear()

    def _present(
        self, request: deployment_pb2.WatchDeploymentsRequest
    ) -> list[deployment_pb2.ConfigDeployment]:
        return [each for each in self.deployments.values() if asked_for(request, each)]

    def ask(self, kind: int, environment: str, request: Any) -> deployment_pb2.ConfigDeployment:
        """Make a deployment, pending; what becomes of it is told at once."""
        word = {1: "deploy", 2: "rollback", 3: "restore", 4: "adopt"}[kind]
        sequence = len(self.deployments) + 1
        asked = deployment_pb2.ConfigDeployment(
            deployment_id=f"{word}_{environment}_{1_700_000_000 + sequence}",
            environment=environment,
            kind=kind,  # type: ignore[arg-type] # a number will do
            status=deployment_pb2.DEPLOYMENT_STATUS_PENDING,
            sequence=sequence,
            reason=request.reason,
            deployed_by="alice",
            trigger=deployment_pb2.DEPLOYMENT_TRIGGER_REQUEST,
        )
        asked.deployed_at.FromSeconds(1_700_000_000 + sequence)
        self.publish(asked)
        if self.outcome is not None:
            done = deployment_pb2.ConfigDeployment()
            done.CopyFrom(asked)
            done.MergeFrom(self.outcome)
            done.finished_at.FromMilliseconds((1_700_000_000 + sequence) * 1000 + 400)
            self.publish(done)
        return asked


def asked_for(
    request: deployment_pb2.WatchDeploymentsRequest, deployment: deployment_pb2.ConfigDeployment
) -> bool:
    return request.environment in ("", deployment.environment) and request.deployment_id in (
        "",
        deployment.deployment_id,
    )


def _take(name: str, source: Any, target: Any) -> None:
    """Make one field of a message be as in another, set or not."""
    part = type(source)()
    part.CopyFrom(source)
    for field_, _ in source.ListFields():
        if field_.name != name:
            part.ClearField(field_.name)
    target.ClearField(name)
    target.MergeFrom(part)


class Environments(environment_pb2_grpc.EnvironmentServiceServicer):
    def __init__(self, daemon: FakeDaemon) -> None:
        self.daemon = daemon

    def CreateEnvironment(
        self, request: environment_pb2.CreateEnvironmentRequest, context: grpc.ServicerContext
    ) -> environment_pb2.CreateEnvironmentResponse:
        self.daemon.enter(request, context)
        wanted = request.environment
        self._check(wanted, context)
        made = environment_pb2.Environment()
        made.CopyFrom(wanted)
        made.generation = 1
        if not wanted.HasField("auto_sync"):
            made.auto_sync = wanted.type != environment_pb2.ENVIRONMENT_TYPE_PRODUCTION
        if request.validate_only:
            return environment_pb2.CreateEnvironmentResponse(environment=made)

        def create() -> environment_pb2.Environment:
            if wanted.name in self.daemon.environments:
                Refusal(
                    grpc.StatusCode.ALREADY_EXISTS,
                    f"cannot create environment {wanted.name}: the name is taken",
                    "TAKEN",
                ).raise_in(context)
            self.daemon.environments[wanted.name] = made
            return made

        return environment_pb2.CreateEnvironmentResponse(environment=self.daemon.once(request, create))

    def _check(self, wanted: environment_pb2.Environment, context: grpc.ServicerContext) -> None:
        faults = []
        if not wanted.name.islower():
            faults.append(("environment.name", "must be lower-case"))
        if not wanted.config_path.startswith("/"):
            faults.append(("environment.config_path", "must be an absolute path"))
        if faults:
            why = "; ".join(f"{name}: {what}" for name, what in faults)
            Refusal(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"cannot create environment {wanted.name}: {why}",
                "INVALID_ARGUMENT",
                faults=faults,
            ).raise_in(context)
        for other in self.daemon.environments.values():
            if other.name != wanted.name and other.config_path == wanted.config_path:
                Refusal(
                    grpc.StatusCode.FAILED_PRECONDITION,
                    f"cannot create environment {wanted.name}: its target is that of {other.name}",
                    "TARGET_OVERLAP",
                    "choose another target",
                    [wanted.config_path],
                ).raise_in(context)

    def _find(self, name: str, context: grpc.ServicerContext) -> environment_pb2.Environment:
        if name not in self.daemon.environments:
            Refusal(
                grpc.StatusCode.NOT_FOUND,
                f"cannot find environment {name}: there is no environment {name!r}",
                "ENVIRONMENT_NOT_FOUND",
                "see which there are: headgate env list",
            ).raise_in(context)
        return self.daemon.environments[name]

    def GetEnvironment(
        self, request: environment_pb2.GetEnvironmentRequest, context: grpc.ServicerContext
    ) -> environment_pb2.GetEnvironmentResponse:
        self.daemon.enter(request, context)
        return environment_pb2.GetEnvironmentResponse(environment=self._find(request.name, context))

    def ListEnvironments(
        self, request: environment_pb2.ListEnvironmentsRequest, context: grpc.ServicerContext
    ) -> environment_pb2.ListEnvironmentsResponse:
        self.daemon.enter(request, context)
        names = sorted(self.daemon.environments)
        first = int(request.page_token or 0)
        page, rest = names[first : first + request.page_size], names[first + request.page_size :]
        return environment_pb2.ListEnvironmentsResponse(
            environments=[self.daemon.environments[name] for name in page],
            next_page_token=str(first + request.page_size) if rest else "",
        )

    def UpdateEnvironment(
        self, request: environment_pb2.UpdateEnvironmentRequest, context: grpc.ServicerContext
    ) -> environment_pb2.UpdateEnvironmentResponse:
        self.daemon.enter(request, context)
        present = self._find(request.environment.name, context)
        if request.HasField("expected_generation") and request.expected_generation != present.generation:
            Refusal(grpc.StatusCode.ABORTED, "cannot update: it has changed since", "GENERATION").raise_in(
                context
            )
        changed = environment_pb2.Environment()
        changed.CopyFrom(present)
        for path in request.update_mask.paths:
            if path.startswith("policies."):
                _take(path.removeprefix("policies."), request.environment.policies, changed.policies)
            else:
                _take(path, request.environment, changed)
        self._check(changed, context)
        changed.generation += 1
        if not request.validate_only:
            self.daemon.environments[changed.name] = changed
        return environment_pb2.UpdateEnvironmentResponse(environment=changed)

    def DeleteEnvironment(
        self, request: environment_pb2.DeleteEnvironmentRequest, context: grpc.ServicerContext
    ) -> environment_pb2.DeleteEnvironmentResponse:
        self.daemon.enter(request, context)
        self._find(request.name, context)
        del self.daemon.environments[request.name]
        removed = f"deploy_{request.name}_9" if request.remove_target_files else ""
        return environment_pb2.DeleteEnvironmentResponse(deployment_id=removed)

    def PauseEnvironment(
        self, request: environment_pb2.PauseEnvironmentRequest, context: grpc.ServicerContext
    ) -> environment_pb2.PauseEnvironmentResponse:
        self.daemon.enter(request, context)
        found = self._find(request.name, context)
        found.sync.pause.reason = request.reason
        found.sync.pause.paused_by = "alice"
        if request.HasField("until"):
            found.sync.pause.until.CopyFrom(request.until)
        return environment_pb2.PauseEnvironmentResponse(environment=found)

    def ResumeEnvironment(
        self, request: environment_pb2.ResumeEnvironmentRequest, context: grpc.ServicerContext
    ) -> environment_pb2.ResumeEnvironmentResponse:
        self.daemon.enter(request, context)
        found = self._find(request.name, context)
        found.sync.ClearField("pause")
        return environment_pb2.ResumeEnvironmentResponse(environment=found)

    def WatchEnvironments(
        self, request: environment_pb2.WatchEnvironmentsRequest, context: grpc.ServicerContext
    ) -> Iterator[environment_pb2.WatchEnvironmentsResponse]:
        self.daemon.enter(request, context)
        for environment in self.daemon.environments.values():
            yield environment_pb2.WatchEnvironmentsResponse(
                revision=1, kind=environment_pb2.WATCH_EVENT_KIND_SNAPSHOT, environment=environment
            )
        yield environment_pb2.WatchEnvironmentsResponse(
            revision=1, kind=environment_pb2.WATCH_EVENT_KIND_SNAPSHOT_END
        )


class Deployments(deployment_pb2_grpc.DeploymentServiceServicer):
    def __init__(self, daemon: FakeDaemon) -> None:
        self.daemon = daemon

    def Deploy(
        self, request: deployment_pb2.DeployRequest, context: grpc.ServicerContext
    ) -> deployment_pb2.DeployResponse:
        self.daemon.enter(request, context)
        made = self.daemon.once(
            request,
            lambda: self.daemon.ask(deployment_pb2.DEPLOYMENT_KIND_DEPLOY, request.environment, request),
        )
        return deployment_pb2.DeployResponse(deployment=made)

    def PlanDeployment(
        self, request: deployment_pb2.PlanDeploymentRequest, context: grpc.ServicerContext
    ) -> deployment_pb2.PlanDeploymentResponse:
        self.daemon.enter(request, context)
        return self.daemon.plan

    def Rollback(
        self, request: deployment_pb2.RollbackRequest, context: grpc.ServicerContext
    ) -> deployment_pb2.RollbackResponse:
        self.daemon.enter(request, context)
        environment = self._find(request.deployment_id, context).environment
        made = self.daemon.ask(deployment_pb2.DEPLOYMENT_KIND_ROLLBACK, environment, request)
        return deployment_pb2.RollbackResponse(deployment=made)

    def Restore(
        self, request: deployment_pb2.RestoreRequest, context: grpc.ServicerContext
    ) -> deployment_pb2.RestoreResponse:
        self.daemon.enter(request, context)
        environment = self._find(request.deployment_id, context).environment
        made = self.daemon.ask(deployment_pb2.DEPLOYMENT_KIND_RESTORE, environment, request)
        return deployment_pb2.RestoreResponse(deployment=made)

    def AdoptDrift(
        self, request: deployment_pb2.AdoptDriftRequest, context: grpc.ServicerContext
    ) -> deployment_pb2.AdoptDriftResponse:
        self.daemon.enter(request, context)
        made = self.daemon.ask(deployment_pb2.DEPLOYMENT_KIND_ADOPT, request.environment, request)
        return deployment_pb2.AdoptDriftResponse(deployment=made)

    def _find(self, deployment_id: str, context: grpc.ServicerContext) -> deployment_pb2.ConfigDeployment:
        if deployment_id not in self.daemon.deployments:
            Refusal(
                grpc.StatusCode.NOT_FOUND,
                f"cannot find deployment {deployment_id}: there is no deployment {deployment_id!r}",
                "DEPLOYMENT_NOT_FOUND",
            ).raise_in(context)
        return self.daemon.deployments[deployment_id]

    def GetDeployment(
        self, request: deployment_pb2.GetDeploymentRequest, context: grpc.ServicerContext
    ) -> deployment_pb2.GetDeploymentResponse:
        self.daemon.enter(request, context)
        return deployment_pb2.GetDeploymentResponse(deployment=self._find(request.deployment_id, context))

    def ListDeployments(
        self, request: deployment_pb2.ListDeploymentsRequest, context: grpc.ServicerContext
    ) -> deployment_pb2.ListDeploymentsResponse:
        self.daemon.enter(request, context)
        every = [
            each
            for each in reversed(self.daemon.deployments.values())
            if request.environment in ("", each.environment)
            and (not request.statuses or each.status in request.statuses)
        ]
        first = int(request.page_token or 0)
        last = first + request.page_size
        return deployment_pb2.ListDeploymentsResponse(
            deployments=every[first:last], next_page_token=str(last) if every[last:] else ""
        )

    def CancelDeployment(
        self, request: deployment_pb2.CancelDeploymentRequest, context: grpc.ServicerContext
    ) -> deployment_pb2.CancelDeploymentResponse:
        self.daemon.enter(request, context)
        found = self._find(request.deployment_id, context)
        answer = deployment_pb2.CancelDeploymentResponse(deployment=found)
        if found.status == deployment_pb2.DEPLOYMENT_STATUS_IN_PROGRESS:
            found.status = deployment_pb2.DEPLOYMENT_STATUS_FAILED
            found.error.reason = "CANCELLED"
        return answer

    def ConfirmDeployment(
        self, request: deployment_pb2.ConfirmDeploymentRequest, context: grpc.ServicerContext
    ) -> deployment_pb2.ConfirmDeploymentResponse:
        self.daemon.enter(request, context)
        return deployment_pb2.ConfirmDeploymentResponse(deployment=self._find(request.deployment_id, context))

    def ExportDeployment(
        self, request: deployment_pb2.ExportDeploymentRequest, context: grpc.ServicerContext
    ) -> Iterator[deployment_pb2.ExportDeploymentResponse]:
        self.daemon.enter(request, context)
        self._find(request.deployment_id, context)
        for piece in self.daemon.pieces:
            yield deployment_pb2.ExportDeploymentResponse(tar=piece)
        if self.daemon.torn:
            context.abort(grpc.StatusCode.DATA_LOSS, "cannot read a content from history")

    def WatchDeployments(
        self, request: deployment_pb2.WatchDeploymentsRequest, context: grpc.ServicerContext
    ) -> Iterator[deployment_pb2.WatchDeploymentsResponse]:
        self.daemon.enter(request, context)
        if request.deployment_id:
            self._find(request.deployment_id, context)
        yield from self.daemon.events(request, context)


class Daemon(daemon_pb2_grpc.DaemonServiceServicer):
    def __init__(self, daemon: FakeDaemon) -> None:
        self.daemon = daemon

    def GetStatus(
        self, request: daemon_pb2.GetStatusRequest, context: grpc.ServicerContext
    ) -> daemon_pb2.GetStatusResponse:
        self.daemon.enter(request, context)
        return self.daemon.status

    def Reload(
        self, request: daemon_pb2.ReloadRequest, context: grpc.ServicerContext
    ) -> daemon_pb2.ReloadResponse:
        self.daemon.enter(request, context)
        return daemon_pb2.ReloadResponse(changed=self.daemon.changed)

    def VerifyHistory(
        self, request: daemon_pb2.VerifyHistoryRequest, context: grpc.ServicerContext
    ) -> daemon_pb2.VerifyHistoryResponse:
        self.daemon.enter(request, context)
        return daemon_pb2.VerifyHistoryResponse(damages=self.daemon.damages)

    def VerifyAudit(
        self, request: daemon_pb2.VerifyAuditRequest, context: grpc.ServicerContext
    ) -> daemon_pb2.VerifyAuditResponse:
        self.daemon.enter(request, context)
        return daemon_pb2.VerifyAuditResponse(
            damages=self.daemon.damages, lines=7, head_sequence=7, head_digest="ab"
        )

    def ListAudit(
        self, request: daemon_pb2.ListAuditRequest, context: grpc.ServicerContext
    ) -> daemon_pb2.ListAuditResponse:
        self.daemon.enter(request, context)
        last = int(request.page_token or 8)
        first = max(1, last - request.page_size)
        entries = [
            daemon_pb2.AuditEntry(sequence=number, phase="asked", user="ann", uid=0, method="Deploy")
            for number in range(first, last)
        ]
        return daemon_pb2.ListAuditResponse(
            entries=[*self.daemon.refusals[::-1], *entries[::-1]],
            next_page_token=str(first) if first > 1 else "",
        )

    def CollectHistory(
        self, request: daemon_pb2.CollectHistoryRequest, context: grpc.ServicerContext
    ) -> daemon_pb2.CollectHistoryResponse:
        self.daemon.enter(request, context)
        return daemon_pb2.CollectHistoryResponse(deployments=3, contents=20, bytes_returned=4096)
