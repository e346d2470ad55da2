"""What the API may ask of the engine. Async at the rim: each method hands blocking work to a thread and awaits it.

Orders are accepted here and carried out by the environment's worker, so a caller that goes away cancels nothing.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from dataclasses import astuple, replace
from datetime import UTC, datetime
from functools import partial

from headgated.core.deployment import ConfigDeployment, DeploymentStatus
from headgated.core.environment import Environment, Pause, auto_sync_by_default
from headgated.core.errors import Fault, InvalidRequestError, NotFoundError, RefusedError
from headgated.core.orders import AdoptOrder, Caller, DeployOrder, Order, RestoreOrder, RollbackOrder
from headgated.core.report import emptied
from headgated.effects.history import Collected
from headgated.effects.logs import about
from headgated.effects.records import Cursor
from headgated.engine.answers import Answers
from headgated.engine.configuration import Configuration
from headgated.engine.deployer import ConfigurationDeployer
from headgated.engine.events import EventHub
from headgated.engine.fleet import Fleet
from headgated.engine.inspection import Inspection
from headgated.engine.jobs import Job
from headgated.engine.ledger import utc_now
from headgated.engine.overview import view
from headgated.engine.syncing import Syncing
from headgated.engine.views import EnvironmentView, PlanView, StatusView

log = logging.getLogger("headgated.control")

Audited = Callable[[], object]
"""Waits until the line of the audit log on an order is on disk; raises what it cannot be written for."""
_NEVER = datetime.fromtimestamp(0, UTC)


class Control:
    """The verbs of the API. Lives on the loop; every method raises `core.errors`."""

    def __init__(
        self,
        deployer: ConfigurationDeployer,
        fleet: Fleet,
        syncing: Syncing,
        inspection: Inspection,
        events: EventHub,
        configuration: Configuration,
    ) -> None:
        self.events = events
        self.problems = deployer.problems
        self._configuration = configuration
        self._deployer, self._fleet, self._syncing, self._inspection = deployer, fleet, syncing, inspection
        self._answers = Answers(deployer.history)
        self._turns: dict[str, asyncio.Lock] = {}
        self._under_way: set[asyncio.Task[str]] = set()

    async def create_environment(
        self,
        draft: Environment,
        caller: Caller,
        *,
        request_id: str = "",
        validate_only: bool = False,
        auto_sync_given: bool = True,
    ) -> EnvironmentView:
        """Create an environment and begin to work for it."""
        if not auto_sync_given:
            draft = replace(draft, auto_sync=auto_sync_by_default(draft.type))
        request = replace(draft, created_at=_NEVER, updated_at=_NEVER, generation=1)
        now = utc_now()
        draft = replace(request, created_at=now, updated_at=now)
        if validate_only:
            checked = await self._fleet.run(
                partial(self._deployer.add_environment, draft, validate_only=True)
            )
            return EnvironmentView(checked, Inspection.blank())

        def create() -> str:
            name = self._deployer.add_environment(draft).name
            log.info("%s created environment %s", caller.user, name)
            return name

        name = await self._once(
            draft.name, request_id, "create environment", request, create, after=self._begin_work
        )
        return await self.get_environment(name)

    def type_of(self, name: str) -> str | None:
        """Return the type of an environment; None where there is none of that name."""
        try:
            return self._deployer.get_environment_config(name).type
        except NotFoundError:
            return None

    async def get_environment(self, name: str) -> EnvironmentView:
        """Return one environment."""
        return view(self._deployer.get_environment_config(name), self._deployer.runtime(name))

    async def list_environments(self) -> list[EnvironmentView]:
        """Return every environment, ordered by name."""
        return self._inspection.environments()

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
        """Change an environment; waits for a deployment of it that runs."""
        update = partial(
            self._deployer.change_environment,
            name,
            change,
            expected_generation=expected_generation,
            validate_only=validate_only,
        )
        if validate_only:
            return EnvironmentView(await self._fleet.run(update), Inspection.blank())

        def save() -> str:
            changed = update()
            log.info("%s changed environment %s (generation %d)", caller.user, name, changed.generation)
            return name

        await self._once(name, request_id, "change environment", (name, change), save, after=self._begin_work)
        return await self.get_environment(name)

    async def delete_environment(
        self, name: str, caller: Caller, *, remove_target_files: bool = False, request_id: str = ""
    ) -> str:
        """Forget an environment; returns the deployment that removed its files, where that was asked for."""
        verb = "delete environment"
        known = await self._fleet.run(self._answers.recall, request_id, verb, name)
        if known is not None:
            return known
        environment = self._deployer.get_environment_config(name)

        def delete() -> str:
            deployment_id = (
                self._deployer.jobs.clear(name, caller).deployment_id if remove_target_files else ""
            )
            self._deployer.remove_environment(name)
            log.info("%s deleted environment %s", caller.user, name)
            return deployment_id

        try:
            return await self._once(
                name, request_id, verb, name, delete, before=partial(self._fleet.dismiss, name)
            )
        except BaseException:
            self._fleet.enlist(environment)
            raise

    async def pause_environment(
        self, name: str, reason: str, until: datetime | None, caller: Caller, *, request_id: str = ""
    ) -> EnvironmentView:
        """Stop auto-sync of an environment."""
        if until is not None and until <= utc_now():
            raise InvalidRequestError(f"pause {name}", [Fault("until", "is in the past")])
        pause = Pause(reason, caller.user, utc_now(), until)

        def note() -> str:
            self._deployer.note(name, lambda environment: replace(environment, pause=pause))
            log.info("%s paused environment %s: %s", caller.user, name, reason)
            return name

        await self._once(name, request_id, "pause environment", (name, reason, until), note)
        self._fleet.nudge(name)
        return await self.get_environment(name)

    async def resume_environment(self, name: str, caller: Caller, *, request_id: str = "") -> EnvironmentView:
        """End a pause, lift a hold, and take the sources as they are for meant."""

        def resume() -> str:
            self._deployer.note(
                name, lambda environment: replace(environment, pause=None, hold=None, halt=None)
            )
            self._deployer.planning.look_anew(self._deployer.get_environment_config(name))
            self._syncing.accept(self._deployer.runtime(name))
            log.info("%s resumed environment %s", caller.user, name)
            return name

        await self._once(name, request_id, "resume environment", name, resume)
        self._fleet.nudge(name)
        return await self.get_environment(name)

    async def deploy(self, order: DeployOrder, caller: Caller, audited: Audited) -> ConfigDeployment:
        """Accept a deployment; returns it in PENDING."""
        return await self._accept("deploy", order, caller, audited)

    async def rollback(self, order: RollbackOrder, caller: Caller, audited: Audited) -> ConfigDeployment:
        """Accept a rollback; returns it in PENDING."""
        return await self._accept("roll back", order, caller, audited)

    async def restore(self, order: RestoreOrder, caller: Caller, audited: Audited) -> ConfigDeployment:
        """Accept a return to an older state; returns it in PENDING."""
        return await self._accept("restore", order, caller, audited)

    async def adopt(self, order: AdoptOrder, caller: Caller, audited: Audited) -> ConfigDeployment:
        """Accept that edits at a target are taken over; returns it in PENDING."""
        return await self._accept("adopt", order, caller, audited)

    async def cancel(self, deployment_id: str, caller: Caller, *, request_id: str = "") -> ConfigDeployment:
        """Take a deployment back that has not changed anything yet."""
        record = await self.get_deployment(deployment_id)
        verb = "cancel deployment"
        if await self._fleet.run(self._answers.recall, request_id, verb, deployment_id) is not None:
            return record

        waiting = self._fleet.withdraw(record.environment, deployment_id)

        def note() -> str:
            log.info("%s cancelled %s", caller.user, deployment_id)
            if waiting is not None:
                self._deployer.jobs.withdraw(waiting)
            return deployment_id

        if waiting is None and not self._fleet.cancel(record.environment, deployment_id):
            raise _not_cancellable(record)
        await self._once(record.environment, request_id, verb, deployment_id, note)
        return await self.get_deployment(deployment_id)

    async def confirm(self, deployment_id: str, caller: Caller, *, request_id: str = "") -> ConfigDeployment:
        """Keep a deployment that would be taken back otherwise."""
        record = await self.get_deployment(deployment_id)

        def confirm() -> str:
            return self._deployer.jobs.confirm(deployment_id, caller).deployment_id

        await self._once(record.environment, request_id, "confirm deployment", deployment_id, confirm)
        self._fleet.nudge(record.environment)
        return await self.get_deployment(deployment_id)

    async def plan(
        self, environment: str, config_files: Sequence[str] = (), *, with_diff: bool = True
    ) -> PlanView:
        """Tell what a deployment would change now."""
        return await self._fleet.run(self._inspection.plan, environment, tuple(config_files), with_diff)

    async def get_deployment(self, deployment_id: str) -> ConfigDeployment:
        """Return one deployment whole."""
        at_hand = self._deployer.ledger.at_hand(deployment_id)
        if at_hand is not None:
            return at_hand
        return await self._fleet.run(self._deployer.get_deployment_status, deployment_id)

    async def list_deployments(
        self,
        environment: str = "",
        *,
        page_size: int = 50,
        page_token: str = "",
        statuses: Iterable[DeploymentStatus] = (),
    ) -> tuple[list[ConfigDeployment], str]:
        """Return a page of deployments, newest first, with counts in place of lists, and the next page's token."""
        if environment:
            self._known(environment)
        wanted = frozenset(statuses)
        return await self._fleet.run(self._page, environment or None, page_size, _cursor(page_token), wanted)

    async def status(self) -> StatusView:
        """Tell how the daemon is."""
        return await self._fleet.run(self._inspection.status)

    async def reload(self, caller: Caller) -> list[str]:
        """Read the configuration again, all or nothing, and scan every source. Returns what is different, a line each.

        Raises:
            RefusedError: CONFIG_REJECTED; what was in force still is.
        """
        log.info("%s asked to reload", caller.user)
        changed = await self._configuration.reload(self._fleet.run)
        await self._fleet.run(self._deployer.refit)
        for root in self._deployer.sources.all():
            source = self._deployer.sources.get(root)
            if source is not None:
                source.mark(None)
            self._fleet.changed(root)
        return changed

    async def verify_history(self) -> list[str]:
        """Read all of history again; returns a line for each damage."""
        return await self._fleet.run(self._deployer.housekeeping.verify)

    async def collect_history(self, caller: Caller, *, request_id: str = "") -> Collected:
        """Drop what history need not keep."""

        def collect() -> str:
            log.info("%s asked to collect history", caller.user)
            return json.dumps(astuple(self._deployer.housekeeping.collect()))

        return Collected(*json.loads(await self._once("", request_id, "collect history", None, collect)))

    async def export_deployment(self, deployment_id: str) -> AsyncGenerator[bytes, None]:
        """Yield the state that a deployment left, as a tar archive in pieces of at most 64 KiB."""
        pieces = self._deployer.housekeeping.export(deployment_id)
        try:
            while piece := await self._fleet.run(next, pieces, b""):
                yield piece
        finally:
            # While a thread still works on it, it cannot be closed; it ends when that thread lets go of it.
            with contextlib.suppress(ValueError):
                pieces.close()

    async def _accept(self, verb: str, order: Order, caller: Caller, audited: Audited) -> ConfigDeployment:
        """Give an order an id, and begin to carry it out or queue it; it is on disk when this returns.

        Orders of one environment are queued in the order of their sequences.
        """
        jobs, accepted, waiting = self._deployer.jobs, list[Job](), list[Job]()

        def accept() -> str:
            job = jobs.accept(order, caller)

            def noted() -> None:
                audited()
                # Before there is a record: whoever asks again after an error must not find the order carried out all the same.
                self._answers.remember(order.request_id, verb, order, job.record.deployment_id)

            begun = self._fleet.begin(job)
            try:
                jobs.record(job, noted)
            except BaseException:
                if not begun:
                    jobs.discard(job)
                raise
            accepted.append(job)
            if not begun:
                waiting.append(job)
            return job.record.deployment_id

        environment = self._environment_of(order)
        deployment_id = await self._once(
            environment, order.request_id, verb, order, accept, waiting, remembers=True
        )
        # As it was accepted: by now the worker may have begun, and the answer is PENDING.
        return accepted[0].record if accepted else await self.get_deployment(deployment_id)

    async def _once(  # noqa: PLR0913 - a turn and all that belongs to it
        self,
        name: str,
        request_id: str,
        verb: str,
        request: object,
        action: Callable[[], str],
        waiting: Sequence[Job] = (),
        *,
        remembers: bool = False,
        before: Callable[[], Awaitable[None]] | None = None,
        after: Callable[[str], None] | None = None,
    ) -> str:
        """Do `action` unless the same request was answered before; one at a time for each environment.

        Where it `remembers`, `action` keeps its answer for the next such request itself. What `before` and `after` (given the
        answer) do belongs to the turn: no order finds an environment half there or half gone.
        """

        def act() -> str:
            known = self._answers.recall(request_id, verb, request)
            if known is not None:
                return known
            answer = action()
            if not remembers:
                self._answers.remember(request_id, verb, request, answer)
            return answer

        async def take_turn() -> str:
            async with self._turns.setdefault(name, asyncio.Lock()):
                if before is not None:
                    await before()
                with about(environment=name):
                    answer = await self._fleet.run(act)
                if after is not None:
                    after(answer)
                for job in waiting:
                    self._fleet.submit(job)
                return answer

        # A task of its own: a caller that goes away must not leave an accepted order behind that nobody carries out.
        task = asyncio.create_task(take_turn())
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)

    def _begin_work(self, name: str) -> None:
        with contextlib.suppress(NotFoundError):  # An old answer, given again: it has been deleted since.
            self._fleet.enlist(self._deployer.get_environment_config(name))

    def _environment_of(self, order: Order) -> str:
        if isinstance(order, DeployOrder | AdoptOrder):
            return self._deployer.get_environment_config(order.environment).name
        return self._deployer.ledger.environment_of(order.deployment_id)

    def _known(self, environment: str) -> None:
        """Refuse a name that neither an environment nor any record has."""
        if self._deployer.ledger.store.last(environment) is None:
            self._deployer.get_environment_config(environment)

    def _page(
        self,
        environment: str | None,
        size: int,
        cursor: Cursor | None,
        statuses: frozenset[DeploymentStatus],
    ) -> tuple[list[ConfigDeployment], str]:
        records, following = self._deployer.ledger.store.page(
            environment, limit=size, before=cursor, statuses=statuses, brief=True
        )
        if cursor is None:
            shown = {record.deployment_id for record in records}
            fresh = [
                record
                for record in self._deployer.ledger.under_way()
                if record.deployment_id not in shown
                and environment in (None, record.environment)
                and (not statuses or record.status in statuses)
            ]
            records = [*fresh, *records]
        current = [self._deployer.ledger.current(record) for record in records]
        return [replace(record, changes=emptied(record.changes)) for record in current], _token(following)


def _not_cancellable(record: ConfigDeployment) -> RefusedError:
    name, done = record.deployment_id, record.status
    if done.finished:
        why, hint = f"it is over ({done})", f"look at it: headgate show {name}"
        if done == DeploymentStatus.SUCCESS:
            hint = f"undo it: headgate rollback {name}"
    else:
        why = "it puts back by itself what the target should have"
        hint = f"see how it ends: headgate show {name}; have auto-sync wait: headgate env pause {record.environment}"
    return RefusedError(f"cannot cancel {name}: {why}", reason="NOT_CANCELLABLE", hint=hint)


def _token(cursor: object) -> str:
    return "" if cursor is None else base64.urlsafe_b64encode(json.dumps(cursor).encode()).decode()


def _cursor(token: str) -> Cursor | None:
    if not token:
        return None
    try:
        at, sequence, deployment_id = json.loads(base64.urlsafe_b64decode(token.encode()))
        return int(at), int(sequence), str(deployment_id)
    except (ValueError, TypeError, binascii.Error):
        raise InvalidRequestError(
            "list deployments", [Fault("page_token", "is not a token that this daemon gave")]
        ) from None
