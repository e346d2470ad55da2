"""DaemonService: how the daemon itself is."""

from __future__ import annotations

from collections.abc import Callable

from headgate.v1 import daemon_pb2 as wire
from headgate.v1.daemon_pb2_grpc import DaemonServiceServicer
from headgated.api.convert.checks import Checks
from headgated.api.convert.status import collected_message, damages_message, status_message
from headgated.api.convert.values import text
from headgated.api.guard import Context
from headgated.core.orders import Caller
from headgated.engine.control import Control


class DaemonServicer(DaemonServiceServicer):
    """Answers for the daemon."""

    def __init__(self, control: Control, caller_of: Callable[[str], Caller]) -> None:
        self._control, self._caller_of = control, caller_of

    async def GetStatus(self, request: wire.GetStatusRequest, context: Context) -> wire.GetStatusResponse:
        """Tell how the daemon is."""
        return status_message(await self._control.status())

    async def Reload(self, request: wire.ReloadRequest, context: Context) -> wire.ReloadResponse:
        """Read the configuration again."""
        checks = Checks()
        checks.request_id(request.request_id)
        checks.close("reload")
        changed = await self._control.reload(self._caller_of(context.peer()))
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
        caller = self._caller_of(context.peer())
        return collected_message(await self._control.collect_history(caller, request_id=request.request_id))
