"""A control that keeps everything in memory, with knobs: it can be told to fail, to wait, and shows what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from headgated.core.deployment import (
    ConfigDeployment,
    DeploymentKind,
    DeploymentStatus,
    FileChange,
)
from headgated.core.environment import Environment, EnvironmentType, Halt, Hold, Pause, auto_sync_by_default
from headgated.core.errors import AlreadyExistsError, ConflictError, NotFoundError
from headgated.core.orders import AdoptOrder, Caller, DeployOrder, RestoreOrder, RollbackOrder
from headgated.core.tree import Entry, Kind
from headgated.effects.history import Collected
from headgated.engine.control import Audited, Control
from headgated.engine.events import EventHub
from headgated.engine.views import (
    EnvironmentView,
    FileDiff,
    PlanView,
    Problem,
    SourceView,
    StatusView,
    SyncState,
    SyncView,
)

NOW = datetime(2026, 3, 4, 5, 6, 7, 891011, tzinfo=UTC)
LATER = datetime(2026, 3, 4, 6, 0, 0, tzinfo=UTC)
FILE = Entry(Kind.FILE, 0o644, bytes(range(32)), 12)


def environment(name: str = "web", **fields: object) -> Environment:
    """Return an environment that is in order."""
    plain = Environment(name, EnvironmentType.STAGING, f"/srv/{name}", NOW, NOW, sources=(f"/src/{name}",))
    return replace(plain, **fields)  # type: ignore[arg-type]


def deployment(number: int = 1, name: str = "web", **fields: object) -> ConfigDeployment:
    """Return a deployment that waits."""
    plain = ConfigDeployment(
        f"deploy_{name}_{number}", name, DeploymentKind.DEPLOY, DeploymentStatus.PENDING, number, NOW, "alice"
    )
    return replace(plain, **fields)  # type: ignore[arg-type]


def _checked(made: Environment) -> EnvironmentView:
    return EnvironmentView(made, SyncView(SyncState.SYNCED, sequence=7))


class MemoryControl(Control):
    """Answers like the engine, from two dicts."""

    def __init__(self) -> None:
        self.problems = []
        self.events = EventHub()
        self.events.bind(asyncio.get_running_loop())
        self.environments: dict[str, Environment] = {}
        self.deployments: dict[str, ConfigDeployment] = {}
        self.asked: list[tuple[Any, ...]] = []
        self.failure: BaseException | None = None
        self.open = asyncio.Event()
        self.open.set()
        self.ended: list[str] = []
        self.diffs: tuple[FileDiff, ...] = ()
        self.damages: list[str] = []
        self.pieces: tuple[bytes, ...] = (b"tar", b"ball")

    async def _enter(self, verb: str, *asked: object) -> None:
        self.asked.append((verb, *asked))
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.ended.append(f"{verb} cancelled")
            raise
        if self.failure is not None:
            raise self.failure
        self.ended.append(verb)

    def _view(self, name: str) -> EnvironmentView:
        if name not in self.environments:
            raise NotFoundError(
                f"cannot find environment {name}: there is none of that name",
                reason="ENVIRONMENT_NOT_FOUND",
                hint="headgate env list",
            )
        return EnvironmentView(self.environments[name], SyncView(SyncState.SYNCED, sequence=7))

    def put(self, changed: Environment) -> EnvironmentView:
        """Have an environment be as given, and tell the watchers."""
        self.environments[changed.name] = changed
        view = self._view(changed.name)
        self.events.publish("environments", "updated", view)
        return view

    def tell(self, record: ConfigDeployment) -> ConfigDeployment:
        """Have a deployment be as given, and tell the watchers."""
        self.deployments[record.deployment_id] = record
        self.events.publish("deployments", "updated", record)
        return record

    async def create_environment(
        self,
        draft: Environment,
        caller: Caller,
        *,
        request_id: str = "",
        validate_only: bool = False,
        auto_sync_given: bool = True,
    ) -> EnvironmentView:
        await self._enter("create", draft, caller, request_id, validate_only, auto_sync_given)
        if draft.name in self.environments:
            raise AlreadyExistsError(f"cannot create environment {draft.name}: the name is taken")
        auto_sync = draft.auto_sync if auto_sync_given else auto_sync_by_default(draft.type)
        made = replace(draft, auto_sync=auto_sync, created_at=NOW, updated_at=NOW)
        return _checked(made) if validate_only else self.put(made)

    def type_of(self, name: str) -> str | None:
        return self.environments[name].type if name in self.environments else None

    async def get_environment(self, name: str) -> EnvironmentView:
        await self._enter("get environment", name)
        return self._view(name)

    async def list_environments(self) -> list[EnvironmentView]:
        await self._enter("list environments")
        return [self._view(name) for name in sorted(self.environments)]

    async def update_environment(
        self,
        name: str,
        change: Callable[[Environment], Environment],
        caller: Caller,
        *,
        expected_generation: int | None = None,
        request_id: str = "",
        validate_only: bool = False,
    ) -> EnvironmentView:
        await self._enter("update", name, change, caller, expected_generation, request_id, validate_only)
        present = self._view(name).environment
        if expected_generation not in (None, present.generation):
            raise ConflictError(f"cannot update {name}: its generation is {present.generation}")
        changed = replace(change(present), generation=present.generation + 1)
        return _checked(changed) if validate_only else self.put(changed)

    async def delete_environment(
        self, name: str, caller: Caller, *, remove_target_files: bool = False, request_id: str = ""
    ) -> str:
        await self._enter("delete", name, caller, remove_target_files, request_id)
        self.events.publish("environments", "deleted", self._view(name))
        del self.environments[name]
        return f"deploy_{name}_9" if remove_target_files else ""

    async def pause_environment(
        self, name: str, reason: str, until: datetime | None, caller: Caller, *, request_id: str = ""
    ) -> EnvironmentView:
        await self._enter("pause", name, reason, until, caller, request_id)
        return self.put(replace(self._view(name).environment, pause=Pause(reason, caller.user, NOW, until)))

    async def resume_environment(self, name: str, caller: Caller, *, request_id: str = "") -> EnvironmentView:
        await self._enter("resume", name, caller, request_id)
        return self.put(replace(self._view(name).environment, pause=None, hold=None, halt=None))

    async def deploy(self, order: DeployOrder, caller: Caller, audited: Audited) -> ConfigDeployment:
        await asyncio.to_thread(audited)
        await self._enter("deploy", order, caller)
        return self.tell(deployment(len(self.deployments) + 1, order.environment, deployed_by=caller.user))

    async def rollback(self, order: RollbackOrder, caller: Caller, audited: Audited) -> ConfigDeployment:
        await asyncio.to_thread(audited)
        await self._enter("rollback", order, caller)
        return self.tell(
            deployment(len(self.deployments) + 1, kind=DeploymentKind.ROLLBACK, deployed_by=caller.user)
        )

    async def restore(self, order: RestoreOrder, caller: Caller, audited: Audited) -> ConfigDeployment:
        await asyncio.to_thread(audited)
        await self._enter("restore", order, caller)
        return self.tell(
            deployment(len(self.deployments) + 1, kind=DeploymentKind.RESTORE, deployed_by=caller.user)
        )

    async def adopt(self, order: AdoptOrder, caller: Caller, audited: Audited) -> ConfigDeployment:
        await asyncio.to_thread(audited)
        await self._enter("adopt", order, caller)
        return self.tell(
            deployment(len(self.deployments) + 1, kind=DeploymentKind.ADOPT, deployed_by=caller.user)
        )

    async def cancel(self, deployment_id: str, caller: Caller, *, request_id: str = "") -> ConfigDeployment:
        await self._enter("cancel", deployment_id, caller, request_id)
        return self.tell(replace(self.deployments[deployment_id], status=DeploymentStatus.FAILED))

    async def confirm(self, deployment_id: str, caller: Caller, *, request_id: str = "") -> ConfigDeployment:
        await self._enter("confirm", deployment_id, caller, request_id)
        return self.tell(replace(self.deployments[deployment_id], status=DeploymentStatus.FAILED))

    async def plan(
        self, environment: str, config_files: Sequence[str] = (), *, with_diff: bool = True
    ) -> PlanView:
        await self._enter("plan", environment, config_files, with_diff)
        changes = deployment().changes
        return PlanView(environment, "sha256:00", changes, self.diffs, (FileChange("a.conf", FILE, None),))

    async def get_deployment(self, deployment_id: str) -> ConfigDeployment:
        await self._enter("get deployment", deployment_id)
        if deployment_id not in self.deployments:
            raise NotFoundError(f"cannot find deployment {deployment_id}", reason="DEPLOYMENT_NOT_FOUND")
        return self.deployments[deployment_id]

    async def list_deployments(
        self,
        environment: str = "",
        *,
        page_size: int = 50,
        page_token: str = "",
        statuses: Iterable[DeploymentStatus] = (),
    ) -> tuple[list[ConfigDeployment], str]:
        wanted = frozenset(statuses)
        found = [
            record
            for record in sorted(self.deployments.values(), key=lambda record: -record.sequence)
            if environment in ("", record.environment) and (not wanted or record.status in wanted)
        ]
        start = int(page_token or 0)
        end = start + page_size
        await self._enter("list deployments", environment, page_size, page_token, statuses)
        return found[start:end], str(end) if end < len(found) else ""

    async def status(self) -> StatusView:
        await self._enter("status")
        source = SourceView("/src/web", "events", "", 3, NOW, None, ("web",))
        views = tuple(self._view(name) for name in sorted(self.environments))
        return StatusView(
            "1.2.3", 42, NOW, "/var/lib/headgate", (source,), views, (Problem("SLOW", "slow", "wait"),)
        )

    async def reload(self, caller: Caller) -> list[str]:
        await self._enter("reload", caller)
        return ["one thing"]

    async def verify_history(self) -> list[str]:
        await self._enter("verify history")
        return list(self.damages)

    async def collect_history(self, caller: Caller, *, request_id: str = "") -> Collected:
        await self._enter("collect history", caller, request_id)
        return Collected(3, 20, 4096)

    async def export_deployment(self, deployment_id: str) -> AsyncGenerator[bytes, None]:
        try:
            for piece in self.pieces:
                await self._enter("export", deployment_id)
                yield piece
        finally:
            self.ended.append("export closed")


HELD = environment(
    "held",
    hold=Hold("rollback_held_1", NOW, {"b.conf": "00", "a.conf": "absent"}),
    halt=Halt("SOURCE_MISSING", "cannot read /src/held: it is missing", NOW),
    pause=Pause("holidays", "alice", NOW, LATER),
)
