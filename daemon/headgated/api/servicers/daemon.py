"""DaemonService: how the daemon itself is."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from headgate.v1 import daemon_pb2 as wire
from headgate.v1.daemon_pb2_grpc import DaemonServiceServicer
from headgated.api.access import Access, Sight
from headgated.api.convert.audit import audit_page, read_audit_page
from headgated.api.convert.checks import Checks
from headgated.api.convert.status import collected_message, damages_message, status_message
from headgated.api.convert.values import text
from headgated.api.guard import Context
from headgated.effects.audit_log import AuditLog
from headgated.engine.control import Control
from headgated.engine.views import StatusView


class DaemonServicer(DaemonServiceServicer):
    """Answers for the daemon."""

    def __init__(self, control: Control, access: Access, audit: AuditLog) -> None:
        self._control, self._access, self._audit = control, access, audit

    async def GetStatus(self, request: wire.GetStatusRequest, context: Context) -> wire.GetStatusResponse:
        """Tell how the daemon is."""
        caller = self._access.caller(context)
        status = await self._control.status()
        if not self._access.sees_all(caller):
            status = _narrowed(status, self._access.sight(caller))
        return status_message(status)

    async def Reload(self, request: wire.ReloadRequest, context: Context) -> wire.ReloadResponse:
        """Read the configuration again."""
        checks = Checks()
        checks.request_id(request.request_id)
        checks.close("reload")
        changed = await self._control.reload(self._access.caller(context))
        return wire.ReloadResponse(changed=map(text, changed))

    async def VerifyHistory(
        self, request: wire.VerifyHistoryRequest, context: Context
    ) -> wire.VerifyHistoryResponse:
        """Read all of history again."""
        return damages_message(await self._control.verify_history())

    async def CollectHistory(
        self, request: wire.CollectHistoryRequest, context: Context
    ) -> wire.CollectHistoryResponse:
        """Drop what history need not keep."""
        checks = Checks()
        checks.request_id(request.request_id)
        checks.close("collect history")
        caller = self._access.caller(context)
        return collected_message(await self._control.collect_history(caller, request_id=request.request_id))

    async def VerifyAudit(
        self, request: wire.VerifyAuditRequest, context: Context
    ) -> wire.VerifyAuditResponse:
        """Read all of the audit log again."""
        head = self._audit.head
        lines, damages = await asyncio.to_thread(self._audit.verify)
        return wire.VerifyAuditResponse(
            damages=map(text, damages), lines=lines, head_sequence=head.sequence, head_digest=head.digest
        )

    async def ListAudit(self, request: wire.ListAuditRequest, context: Context) -> wire.ListAuditResponse:
        """Read a page of the audit log."""
        size, before = read_audit_page(request)
        entries = await asyncio.to_thread(self._audit.newest, size + 1, before)
        return audit_page(entries, size)


def _narrowed(status: StatusView, sees: Sight) -> StatusView:
    """Return what of the status somebody may see who may not see all: problems may be of what they may not see, so none."""
    shown = tuple(view for view in status.environments if sees(view.environment.name, view.environment.type))
    names = {view.environment.name for view in shown}
    sources = (
        replace(source, environments=tuple(name for name in source.environments if name in names))
        for source in status.sources
    )
    return replace(
        status,
        environments=shown,
        sources=tuple(source for source in sources if source.environments),
        problems=(),
    )
