"""The protocol's services over the daemon in memory."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf import wrappers_pb2

from headgate import __version__
from headgate.errors import HeadgateError, RefusedError
from headgate.testing import checks
from headgate.testing.daemon import FakeDaemon
from headgate.testing.deployments import FINISHED, REACHED, Order, brief
from headgate.testing.feed import About, Event
from headgate.testing.refusals import abort
from headgate.v1 import (
    daemon_pb2 as ap,
    daemon_pb2_grpc,
    deployment_pb2 as dp,
    deployment_pb2_grpc,
    environment_pb2 as ep,
    environment_pb2_grpc,
)

_WATCHED = 50
_PIECE = 64 * 1024
_SERVING = 1  # grpc.health.v1.HealthCheckResponse.ServingStatus


def serve(daemon: FakeDaemon, server: grpc.Server) -> None:
    """Add the services to a server."""
    environment_pb2_grpc.add_EnvironmentServiceServicer_to_server(EnvironmentServicer(daemon), server)
    deployment_pb2_grpc.add_DeploymentServiceServicer_to_server(DeploymentServicer(daemon), server)
    daemon_pb2_grpc.add_DaemonServiceServicer_to_server(DaemonServicer(daemon), server)
    check = grpc.unary_unary_rpc_method_handler(
        lambda _request, _context: wrappers_pb2.Int32Value(value=_SERVING),
        request_deserializer=wrappers_pb2.StringValue.FromString,
        response_serializer=wrappers_pb2.Int32Value.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": check}),)
    )


class _Servicer:
    def __init__(self, daemon: FakeDaemon) -> None:
        self.daemon = daemon

    @contextmanager
    def _answering(self, request: Any, context: grpc.ServicerContext) -> Iterator[None]:
        """Note a request and answer it under the lock; an error ends the call."""
        try:
            with self.daemon.lock:
                self.daemon.enter(request)
                yield
        except HeadgateError as error:
            abort(context, error)

    def _watch(
        self,
        request: Any,
        context: grpc.ServicerContext,
        topic: str,
        present: Callable[[], list[Any]],
        wanted: Callable[[Any], bool],
        environment: str,
    ) -> Iterator[Event]:
        about = (
            About(environment, lambda: self.daemon.environments.find(environment)) if environment else None
        )
        try:
            self.daemon.enter(request)
            yield from self.daemon.feed.watch(
                topic, request.from_revision, present, wanted, context.is_active, about
            )
        except HeadgateError as error:
            abort(context, error)


class EnvironmentServicer(_Servicer, environment_pb2_grpc.EnvironmentServiceServicer):
    """EnvironmentService."""

    def CreateEnvironment(self, request: ep.CreateEnvironmentRequest, context: grpc.ServicerContext) -> Any:
        """Create one."""
        with self._answering(request, context):
            all_ = self.daemon.environments
            name = self.daemon.once(request, lambda: all_.create(request))
            if request.validate_only:
                return ep.CreateEnvironmentResponse(environment=all_.complete(request.environment))
            self.daemon.sync()
            return ep.CreateEnvironmentResponse(environment=all_.shown(all_.find(name)))

    def GetEnvironment(self, request: ep.GetEnvironmentRequest, context: grpc.ServicerContext) -> Any:
        """Read one."""
        with self._answering(request, context):
            all_ = self.daemon.environments
            return ep.GetEnvironmentResponse(environment=all_.shown(all_.find(request.name)))

    def ListEnvironments(self, request: ep.ListEnvironmentsRequest, context: grpc.ServicerContext) -> Any:
        """Read a page."""
        with self._answering(request, context):
            all_ = self.daemon.environments
            names, token = checks.page(
                sorted(all_.places), request.page_size, request.page_token, 100, "list environments"
            )
            shown = [all_.shown(all_.places[name]) for name in names]
            return ep.ListEnvironmentsResponse(environments=shown, next_page_token=token)

    def UpdateEnvironment(self, request: ep.UpdateEnvironmentRequest, context: grpc.ServicerContext) -> Any:
        """Change one."""
        with self._answering(request, context):
            all_ = self.daemon.environments
            name = self.daemon.once(request, lambda: all_.update(request))
            self.daemon.sync()
            return ep.UpdateEnvironmentResponse(environment=all_.shown(all_.find(name)))

    def DeleteEnvironment(self, request: ep.DeleteEnvironmentRequest, context: grpc.ServicerContext) -> Any:
        """Forget one."""

        def delete() -> str:
            place = self.daemon.environments.find(request.name)
            done = self.daemon.deployments.clear(place) if request.remove_target_files else ""
            self.daemon.environments.delete(request)
            return done

        with self._answering(request, context):
            return ep.DeleteEnvironmentResponse(deployment_id=self.daemon.once(request, delete))

    def PauseEnvironment(self, request: ep.PauseEnvironmentRequest, context: grpc.ServicerContext) -> Any:
        """Stop auto-sync."""
        with self._answering(request, context):
            all_ = self.daemon.environments
            name = self.daemon.once(request, lambda: all_.pause(request))
            return ep.PauseEnvironmentResponse(environment=all_.shown(all_.find(name)))

    def ResumeEnvironment(self, request: ep.ResumeEnvironmentRequest, context: grpc.ServicerContext) -> Any:
        """End a pause, a hold, a halt."""
        with self._answering(request, context):
            all_ = self.daemon.environments
            name = self.daemon.once(request, lambda: all_.resume(request))
            self.daemon.sync()
            return ep.ResumeEnvironmentResponse(environment=all_.shown(all_.find(name)))

    def WatchEnvironments(self, request: ep.WatchEnvironmentsRequest, context: grpc.ServicerContext) -> Any:
        """Stream them and their changes."""
        all_ = self.daemon.environments

        def present() -> list[ep.Environment]:
            names = [request.name] if request.name else sorted(all_.places)
            return [all_.shown(all_.find(name)) for name in names]

        def wanted(message: ep.Environment) -> bool:
            return request.name in ("", message.name)

        for event in self._watch(request, context, "environments", present, wanted, request.name):
            yield ep.WatchEnvironmentsResponse(
                revision=event.revision, kind=event.kind, environment=event.item
            )


class DeploymentServicer(_Servicer, deployment_pb2_grpc.DeploymentServiceServicer):
    """DeploymentService."""

    def _ask(self, request: Order, context: grpc.ServicerContext, answer: type[Any]) -> Any:
        def accept() -> str:
            deployment_id = self.daemon.deployments.accept(request)
            self.daemon.carry_out(deployment_id)
            return deployment_id

        with self._answering(request, context):
            return answer(deployment=self.daemon.deployments.find(self.daemon.once(request, accept)))

    def Deploy(self, request: dp.DeployRequest, context: grpc.ServicerContext) -> Any:
        """Ask for a deployment."""
        return self._ask(request, context, dp.DeployResponse)

    def Rollback(self, request: dp.RollbackRequest, context: grpc.ServicerContext) -> Any:
        """Ask for a rollback."""
        return self._ask(request, context, dp.RollbackResponse)

    def Restore(self, request: dp.RestoreRequest, context: grpc.ServicerContext) -> Any:
        """Ask for a restore."""
        return self._ask(request, context, dp.RestoreResponse)

    def AdoptDrift(self, request: dp.AdoptDriftRequest, context: grpc.ServicerContext) -> Any:
        """Ask for an adoption."""
        return self._ask(request, context, dp.AdoptDriftResponse)

    def PlanDeployment(self, request: dp.PlanDeploymentRequest, context: grpc.ServicerContext) -> Any:
        """Tell what would change."""
        with self._answering(request, context):
            return self.daemon.deployments.plan(request)

    def GetDeployment(self, request: dp.GetDeploymentRequest, context: grpc.ServicerContext) -> Any:
        """Read one."""
        with self._answering(request, context):
            found = self.daemon.deployments.find(request.deployment_id)
            return dp.GetDeploymentResponse(deployment=found)

    def ListDeployments(self, request: dp.ListDeploymentsRequest, context: grpc.ServicerContext) -> Any:
        """Read a page, newest first."""
        with self._answering(request, context):
            found = {
                each.deployment_id: each
                for each in self.daemon.deployments.newest_first(request.environment)
                if not request.statuses or each.status in request.statuses
            }
            if request.environment and not found:
                self.daemon.environments.find(request.environment)
            ids, token = checks.page(
                list(found), request.page_size, request.page_token, 50, "list deployments"
            )
            shown = [brief(found[each]) for each in ids]
            return dp.ListDeploymentsResponse(deployments=shown, next_page_token=token)

    def CancelDeployment(self, request: dp.CancelDeploymentRequest, context: grpc.ServicerContext) -> Any:
        """Take one back that waits."""
        with self._answering(request, context):
            all_ = self.daemon.deployments
            done = self.daemon.once(request, lambda: all_.cancel(request.deployment_id))
            return dp.CancelDeploymentResponse(deployment=all_.find(done))

    def ConfirmDeployment(self, request: dp.ConfirmDeploymentRequest, context: grpc.ServicerContext) -> Any:
        """Keep one that would be taken back otherwise."""
        with self._answering(request, context):
            all_ = self.daemon.deployments
            done = self.daemon.once(request, lambda: all_.confirm(request.deployment_id))
            return dp.ConfirmDeploymentResponse(deployment=all_.find(done))

    def ExportDeployment(self, request: dp.ExportDeploymentRequest, context: grpc.ServicerContext) -> Any:
        """Stream what one left, as a tar archive."""
        with self._answering(request, context):
            record = self.daemon.deployments.find(request.deployment_id)
            if record.status not in REACHED:
                raise RefusedError(
                    f"cannot export {record.deployment_id}: the target never had its state",
                    reason="NOT_REACHED",
                )
            raw = _archive(dict(self.daemon.deployments.applied[record.deployment_id].step.managed))
        for at in range(0, len(raw), _PIECE):
            yield dp.ExportDeploymentResponse(tar=raw[at : at + _PIECE])

    def WatchDeployments(self, request: dp.WatchDeploymentsRequest, context: grpc.ServicerContext) -> Any:
        """Stream them and their changes."""
        alone = request.deployment_id

        def present() -> list[dp.ConfigDeployment]:
            if alone:
                return [brief(self.daemon.deployments.find(alone))]
            newest = self.daemon.deployments.newest_first(request.environment)[:_WATCHED]
            return [brief(each) for each in reversed(newest)]

        def wanted(message: dp.ConfigDeployment) -> bool:
            return (
                message.deployment_id == alone if alone else request.environment in ("", message.environment)
            )

        over, environment = False, "" if alone else request.environment
        for event in self._watch(request, context, "deployments", present, wanted, environment):
            yield dp.WatchDeploymentsResponse(revision=event.revision, kind=event.kind, deployment=event.item)
            over = over or (event.item is not None and event.item.status in FINISHED)
            if alone and over and event.kind != ep.WATCH_EVENT_KIND_SNAPSHOT:
                return


class DaemonServicer(_Servicer, daemon_pb2_grpc.DaemonServiceServicer):
    """DaemonService."""

    def GetStatus(self, request: ap.GetStatusRequest, context: grpc.ServicerContext) -> Any:
        """Tell how it is."""
        with self._answering(request, context):
            all_ = self.daemon.environments
            answer = ap.GetStatusResponse(version=__version__, pid=os.getpid(), state_directory="(memory)")
            answer.started_at.CopyFrom(self.daemon.started_at)
            answer.environments.extend(all_.shown(all_.places[name]) for name in sorted(all_.places))
            for path in sorted({each for place in all_.places.values() for each in place.message.sources}):
                names = [name for name, place in all_.places.items() if path in place.message.sources]
                mode = ap.WATCH_MODE_EVENTS if path in all_.sources else ap.WATCH_MODE_ABSENT
                answer.sources.add(path=path, mode=mode, environments=sorted(names))
            return answer

    def Reload(self, request: ap.ReloadRequest, context: grpc.ServicerContext) -> Any:
        """Look at every source."""
        with self._answering(request, context):
            self.daemon.sync()
            return ap.ReloadResponse()

    def VerifyHistory(self, request: ap.VerifyHistoryRequest, context: grpc.ServicerContext) -> Any:
        """Find no damage: there is no disk."""
        with self._answering(request, context):
            return ap.VerifyHistoryResponse()

    def VerifyAudit(self, request: ap.VerifyAuditRequest, context: grpc.ServicerContext) -> Any:
        """Find nothing wrong: it keeps no log of who asked, everybody is the same to it."""
        with self._answering(request, context):
            return ap.VerifyAuditResponse()

    def ListAudit(self, request: ap.ListAuditRequest, context: grpc.ServicerContext) -> Any:
        """Show nothing, as above."""
        with self._answering(request, context):
            return ap.ListAuditResponse()

    def CollectHistory(self, request: ap.CollectHistoryRequest, context: grpc.ServicerContext) -> Any:
        """Drop nothing: there are no limits."""
        with self._answering(request, context):
            return ap.CollectHistoryResponse()


def _archive(files: dict[str, bytes]) -> bytes:
    whole, directories = io.BytesIO(), set()
    with tarfile.open(fileobj=whole, mode="w") as archive:
        for path, content in sorted(files.items()):
            parts = path.split("/")
            for depth in range(1, len(parts)):
                if (above := "/".join(parts[:depth])) not in directories:
                    directories.add(above)
                    entry = tarfile.TarInfo(above)
                    entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                    archive.addfile(entry)
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    return whole.getvalue()
