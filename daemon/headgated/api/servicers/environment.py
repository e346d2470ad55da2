"""EnvironmentService: environments and their auto-sync."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from headgate.v1 import environment_pb2 as wire
from headgate.v1.environment_pb2_grpc import EnvironmentServiceServicer
from headgated.api.access import Access, Sight
from headgated.api.convert.changes import (
    every_fault,
    read_draft,
    read_name,
    read_pause,
    read_update,
)
from headgated.api.convert.checks import Checks
from headgated.api.convert.environment import environment_message
from headgated.api.convert.pages import environments_page
from headgated.api.encoded import Encoded
from headgated.api.guard import Context
from headgated.api.watching import DELETED, About, watch
from headgated.engine.control import Control
from headgated.engine.views import EnvironmentView


class EnvironmentServicer(EnvironmentServiceServicer):
    """Answers for environments."""

    def __init__(self, control: Control, access: Access) -> None:
        self._control, self._access = control, access
        self._events = Encoded(_event)

    async def CreateEnvironment(
        self, request: wire.CreateEnvironmentRequest, context: Context
    ) -> wire.CreateEnvironmentResponse:
        """Check and save a new environment."""
        checks = Checks()
        draft = read_draft(checks, request)
        with every_fault(checks, f"create environment {draft.name:.63}".rstrip()):
            view = await self._control.create_environment(
                draft,
                self._access.caller(context),
                request_id=request.request_id,
                validate_only=request.validate_only or bool(checks),
                auto_sync_given=request.environment.HasField("auto_sync"),
            )
        return wire.CreateEnvironmentResponse(environment=environment_message(view))

    async def GetEnvironment(
        self, request: wire.GetEnvironmentRequest, context: Context
    ) -> wire.GetEnvironmentResponse:
        """Read one environment."""
        view = await self._control.get_environment(read_name(request.name, "get the environment"))
        return wire.GetEnvironmentResponse(environment=environment_message(view))

    async def ListEnvironments(
        self, request: wire.ListEnvironmentsRequest, context: Context
    ) -> wire.ListEnvironmentsResponse:
        """Read a page of environments, ordered by name."""
        sees = self._access.sight(self._access.caller(context))
        return environments_page(request, _seen(await self._control.list_environments(), sees))

    async def UpdateEnvironment(
        self, request: wire.UpdateEnvironmentRequest, context: Context
    ) -> wire.UpdateEnvironmentResponse:
        """Change the fields that the mask names."""
        checks = Checks()
        update = read_update(checks, request)
        with every_fault(checks, f"change environment {update.name:.63}".rstrip()):
            view = await self._control.update_environment(
                update.name,
                update.change,
                self._access.caller(context),
                expected_generation=None if checks else update.expected_generation,
                request_id=request.request_id,
                validate_only=request.validate_only or bool(checks),
            )
        return wire.UpdateEnvironmentResponse(environment=environment_message(view))

    async def DeleteEnvironment(
        self, request: wire.DeleteEnvironmentRequest, context: Context
    ) -> wire.DeleteEnvironmentResponse:
        """Forget an environment."""
        deployment_id = await self._control.delete_environment(
            read_name(request.name, "delete the environment", request_id=request.request_id),
            self._access.caller(context),
            remove_target_files=request.remove_target_files,
            request_id=request.request_id,
        )
        return wire.DeleteEnvironmentResponse(deployment_id=deployment_id)

    async def ResumeEnvironment(
        self, request: wire.ResumeEnvironmentRequest, context: Context
    ) -> wire.ResumeEnvironmentResponse:
        """End a pause, a hold or a halt."""
        name = read_name(request.name, "resume the environment", request_id=request.request_id)
        caller = self._access.caller(context)
        view = await self._control.resume_environment(name, caller, request_id=request.request_id)
        return wire.ResumeEnvironmentResponse(environment=environment_message(view))

    async def PauseEnvironment(
        self, request: wire.PauseEnvironmentRequest, context: Context
    ) -> wire.PauseEnvironmentResponse:
        """Stop auto-sync."""
        pause, caller = read_pause(request), self._access.caller(context)
        view = await self._control.pause_environment(
            pause.name, pause.reason, pause.until, caller, request_id=request.request_id
        )
        return wire.PauseEnvironmentResponse(environment=environment_message(view))

    async def WatchEnvironments(  # type: ignore[override] # writes to its context; an iterator would be cleaned up late
        self, request: wire.WatchEnvironmentsRequest, context: Context
    ) -> None:
        """Stream environments, all or one, and their changes."""
        name = read_name(request.name, "watch the environment") if request.name else ""
        sees = self._access.sight(self._access.caller(context))

        async def present() -> Sequence[EnvironmentView]:
            return (
                [await self._control.get_environment(name)]
                if name
                else _seen(await self._control.list_environments(), sees)
            )

        async def send(
            revision: int, kind: wire.WatchEventKind.ValueType, view: EnvironmentView | None
        ) -> None:
            await context.write(self._events.of(revision, kind, view))

        await watch(
            self._control.events,
            "environments",
            from_revision=request.from_revision,
            present=present,
            wanted=lambda view: (
                name in ("", view.environment.name) and sees(view.environment.name, view.environment.type)
            ),
            send=send,
            about=About(name, partial(self._control.get_environment, name)) if name else None,
        )


def _seen(views: Sequence[EnvironmentView], sees: Sight) -> list[EnvironmentView]:
    return [view for view in views if sees(view.environment.name, view.environment.type)]


def _event(
    revision: int, kind: wire.WatchEventKind.ValueType, view: EnvironmentView | None
) -> wire.WatchEnvironmentsResponse:
    message = wire.WatchEnvironmentsResponse(revision=revision, kind=kind)
    if view is not None and kind == DELETED:
        message.environment.name = view.environment.name
    elif view is not None:
        message.environment.CopyFrom(environment_message(view))
    return message
