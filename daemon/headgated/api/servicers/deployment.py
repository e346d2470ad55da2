"""DeploymentService: deployments, and what happened to them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from functools import partial

from headgate.v1 import deployment_pb2 as wire
from headgate.v1.deployment_pb2_grpc import DeploymentServiceServicer
from headgate.v1.environment_pb2 import WatchEventKind
from headgated.api.access import Access
from headgated.api.auditing import audited
from headgated.api.convert.deployment import brief_message, deployment_message, plan_message
from headgated.api.convert.orders import (
    Page,
    Watch,
    read_adopt,
    read_deploy,
    read_deployment_id,
    read_page,
    read_plan,
    read_restore,
    read_rollback,
    read_watch,
)
from headgated.api.encoded import Answers, Encoded
from headgated.api.guard import Context
from headgated.api.watching import DELETED, About, watch
from headgated.core.deployment import ConfigDeployment
from headgated.core.orders import Caller
from headgated.engine.control import Control

WATCHED = 50
"""A stream of many deployments begins with so many of the newest."""
_QUICK = 200
_REFILLS = 20
"""How often a page is filled up at most for somebody who may see little of what there is."""


class DeploymentServicer(DeploymentServiceServicer):
    """Answers for deployments."""

    def __init__(self, control: Control, access: Access) -> None:
        self._control, self._access = control, access
        self._events = Encoded(_event)
        self._answers = Answers(_answer)

    async def Deploy(self, request: wire.DeployRequest, context: Context) -> wire.DeployResponse:
        """Ask for a deployment."""
        record = await self._control.deploy(read_deploy(request), self._access.caller(context), audited())
        return wire.DeployResponse(deployment=deployment_message(record))

    async def PlanDeployment(
        self, request: wire.PlanDeploymentRequest, context: Context
    ) -> wire.PlanDeploymentResponse:
        """Tell what a deployment would change."""
        environment, files = read_plan(request)
        plan = await self._control.plan(environment, files, with_diff=not request.no_diff)
        return await asyncio.to_thread(plan_message, plan)

    async def Rollback(self, request: wire.RollbackRequest, context: Context) -> wire.RollbackResponse:
        """Undo a deployment."""
        record = await self._control.rollback(read_rollback(request), self._access.caller(context), audited())
        return wire.RollbackResponse(deployment=deployment_message(record))

    async def Restore(self, request: wire.RestoreRequest, context: Context) -> wire.RestoreResponse:
        """Return to what a deployment left."""
        record = await self._control.restore(read_restore(request), self._access.caller(context), audited())
        return wire.RestoreResponse(deployment=deployment_message(record))

    async def AdoptDrift(self, request: wire.AdoptDriftRequest, context: Context) -> wire.AdoptDriftResponse:
        """Take edits at a target over."""
        record = await self._control.adopt(read_adopt(request), self._access.caller(context), audited())
        return wire.AdoptDriftResponse(deployment=deployment_message(record))

    async def GetDeployment(  # type: ignore[override] # bytes are as good: see `Guard`
        self, request: wire.GetDeploymentRequest, context: Context
    ) -> wire.GetDeploymentResponse | bytes:
        """Read one deployment whole."""
        wanted = read_deployment_id(request.deployment_id, "get the deployment")
        record = await self._control.get_deployment(wanted)
        if record.changes.total <= _QUICK:
            return self._answers.of(wanted, record)
        return wire.GetDeploymentResponse(deployment=await _whole(record))

    async def ListDeployments(
        self, request: wire.ListDeploymentsRequest, context: Context
    ) -> wire.ListDeploymentsResponse:
        """Read a page of deployments, newest first."""
        page = read_page(request)
        records, token = await self._page(self._access.caller(context), page)
        return wire.ListDeploymentsResponse(deployments=map(brief_message, records), next_page_token=token)

    async def CancelDeployment(
        self, request: wire.CancelDeploymentRequest, context: Context
    ) -> wire.CancelDeploymentResponse:
        """Stop a deployment that has not changed anything yet."""
        record = await self._control.cancel(
            read_deployment_id(request.deployment_id, "cancel the deployment", request_id=request.request_id),
            self._access.caller(context),
            request_id=request.request_id,
        )
        return wire.CancelDeploymentResponse(deployment=deployment_message(record))

    async def ConfirmDeployment(
        self, request: wire.ConfirmDeploymentRequest, context: Context
    ) -> wire.ConfirmDeploymentResponse:
        """Keep a deployment that would be taken back otherwise."""
        record = await self._control.confirm(
            read_deployment_id(
                request.deployment_id, "confirm the deployment", request_id=request.request_id
            ),
            self._access.caller(context),
            request_id=request.request_id,
        )
        return wire.ConfirmDeploymentResponse(deployment=await _whole(record))

    async def ExportDeployment(  # type: ignore[override] # writes to its context; an iterator would be cleaned up late
        self, request: wire.ExportDeploymentRequest, context: Context
    ) -> None:
        """Stream the state that a deployment left."""
        deployment_id = read_deployment_id(request.deployment_id, "export the deployment")
        async with contextlib.aclosing(self._control.export_deployment(deployment_id)) as pieces:
            async for piece in pieces:
                await context.write(wire.ExportDeploymentResponse(tar=piece))

    async def WatchDeployments(  # type: ignore[override] # writes to its context; an iterator would be cleaned up late
        self, request: wire.WatchDeploymentsRequest, context: Context
    ) -> None:
        """Stream deployments, of all environments, one of them, or one alone, and their changes; without lists of files."""
        asked, caller = read_watch(request), self._access.caller(context)
        sees = self._access.sight(caller)
        environment = "" if asked.deployment_id else asked.environment

        async def send(
            revision: int, kind: WatchEventKind.ValueType, record: ConfigDeployment | None
        ) -> None:
            await context.write(self._events.of(revision, kind, record))

        await watch(
            self._control.events,
            "deployments",
            from_revision=asked.from_revision,
            present=lambda: self._present(asked, caller),
            wanted=lambda record: (
                asked.wants(record) and sees(record.environment, self._access.type_of(record.environment))
            ),
            send=send,
            over=(lambda record: record.status.finished) if asked.deployment_id else None,
            about=About(environment, partial(self._control.get_environment, environment))
            if environment
            else None,
        )

    async def _present(self, asked: Watch, caller: Caller) -> Sequence[ConfigDeployment]:
        if asked.deployment_id:
            return [await self._control.get_deployment(asked.deployment_id)]
        newest, _ = await self._page(caller, Page(asked.environment, WATCHED, "", frozenset()))
        return newest[::-1]

    async def _page(self, caller: Caller, page: Page) -> tuple[list[ConfigDeployment], str]:
        """Return what of a page the caller may see, filled up from what follows; where much is left out it may stay short."""
        sees, found, token = self._access.sight(caller), list[ConfigDeployment](), page.page_token
        for _ in range(1 if self._access.sees_all(caller) else _REFILLS):
            records, token = await self._control.list_deployments(
                page.environment,
                page_size=page.page_size - len(found),
                page_token=token,
                statuses=page.statuses,
            )
            found += [
                record
                for record in records
                if sees(record.environment, self._access.type_of(record.environment))
            ]
            if not token or len(found) >= page.page_size:
                break
        return found, token


def _event(
    revision: int, kind: WatchEventKind.ValueType, record: ConfigDeployment | None
) -> wire.WatchDeploymentsResponse:
    message = wire.WatchDeploymentsResponse(revision=revision, kind=kind)
    if record is not None and kind == DELETED:
        message.deployment.deployment_id = record.deployment_id
    elif record is not None:
        message.deployment.CopyFrom(brief_message(record))
    return message


def _answer(record: ConfigDeployment) -> wire.GetDeploymentResponse:
    return wire.GetDeploymentResponse(deployment=deployment_message(record))


async def _whole(record: ConfigDeployment) -> wire.ConfigDeployment:
    """Return a deployment whole; where that takes long, without holding up everybody else."""
    if record.changes.total <= _QUICK:
        return deployment_message(record)
    return await asyncio.to_thread(deployment_message, record)
