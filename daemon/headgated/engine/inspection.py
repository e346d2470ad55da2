"""Looks without touching: plans, status, how environments stand."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice

from headgated.core.deployment import Changes, DeploymentError
from headgated.core.environment import Environment
from headgated.core.errors import NotFoundError, UnavailableError
from headgated.core.plan import Change
from headgated.core.report import changes_of, file_change, version_of
from headgated.core.tree import Entry, lookup, own
from headgated.effects.watch import Watcher
from headgated.engine.comparing import changed_settings, line_diffs
from headgated.engine.concealing import unrevealing
from headgated.engine.deployer import ConfigurationDeployer
from headgated.engine.drift import in_the_way, look_at_all, refusal
from headgated.engine.ledger import utc_now
from headgated.engine.overview import view
from headgated.engine.planning import Allowed, Planned, UnsoundError, again_when_moved
from headgated.engine.runtime import Runtime
from headgated.engine.views import EnvironmentView, PlanView, Problem, SourceView, StatusView, SyncView

DRIFT_LISTED = 1000


class Inspection:
    """Answers questions. Blocking; call it away from the loop."""

    def __init__(self, deployer: ConfigurationDeployer, watcher: Watcher, version: str) -> None:
        self._deployer, self._watcher, self._version = deployer, watcher, version
        self._started_at = utc_now()

    @staticmethod
    def blank() -> SyncView:
        """Return the state of an environment that does not exist yet."""
        return SyncView()

    def environments(self) -> list[EnvironmentView]:
        """Return every environment and how it stands, ordered by name."""
        views = []
        for environment in self._deployer.list_environments():
            with contextlib.suppress(NotFoundError):  # It is being created, or deleted, at this moment.
                views.append(view(environment, self._deployer.runtime(environment.name)))
        return views

    def status(self) -> StatusView:
        """Return how the daemon is. Tries whether the state directory can be written."""
        watched = {state.root: state for state in self._watcher.states()}
        sources = []
        for path, names in self._deployer.sources.all().items():
            state, source = watched.get(path), self._deployer.sources.get(path)
            scanned = source.scanned_at if source is not None else None
            sources.append(
                SourceView(
                    path=path,
                    mode="absent" if state is None else str(state.mode.value),
                    message="" if state is None else state.message,
                    directories=0 if state is None else state.directories,
                    last_event_at=_when(state.last_event_at if state is not None else None),
                    last_scan_at=_when(scanned),
                    environments=names,
                )
            )
        return StatusView(
            version=self._version,
            pid=os.getpid(),
            started_at=self._started_at,
            state_directory=str(self._deployer.workspace_dir),
            sources=tuple(sources),
            environments=tuple(self.environments()),
            problems=(*self._deployer.problems, *self._unwritable(), *self._unrecovered()),
        )

    def _unrecovered(self) -> Iterator[Problem]:
        """Yield a problem for each environment whose last deployment could not be brought to its end."""
        for environment in self._deployer.list_environments():
            try:
                runtime = self._deployer.runtime(environment.name)
            except NotFoundError:  # As above.
                continue
            if runtime.needs_recovery:
                why = (
                    runtime.recovery_problem
                    or f"the last deployment of {environment.name} has not come to its end"
                )
                yield Problem("RECOVERY_FAILED", why, "mend the cause; it is tried again by itself")

    def _unwritable(self) -> list[Problem]:
        """Return why nothing can be deployed anywhere, if that is so now; what environments found in history, if records can be written."""
        try:
            self._deployer.ledger.store.check_writable()
        except UnavailableError as error:
            return [Problem(error.reason, f"nothing is deployed: {error.message}", error.hint)]
        found = dict.fromkeys(runtime.unwritable for runtime in self._deployer.runtimes())
        hint = "look at its file system (df), and for disk errors in the kernel log"
        return [Problem("STATE_NOT_WRITABLE", why, hint) for why in found if why]

    def plan(self, name: str, config_files: tuple[str, ...], with_diff: bool) -> PlanView:  # noqa: FBT001 - called through a pool
        """Return what a deployment would change now, and what would stand in its way."""
        environment, runtime = self._deployer.get_environment_config(name), self._deployer.runtime(name)
        with runtime.lock:
            planning = self._deployer.planning
            planning.look_anew(environment)
            verdict = planning.unsound(runtime, environment, planning.look(environment))
            if verdict is not None and verdict.reason != "SOURCE_EMPTY":
                unsound = DeploymentError(verdict.reason, verdict.message, verdict.hint)
                return PlanView(name, version_of(runtime.managed), Changes(), blocked=unsound)
            planned = again_when_moved(lambda: self._planned(runtime, environment, config_files))
            blocked = self._blocked(runtime, environment, planned)
            look_at_all(runtime, environment, self._deployer.planning)
            drifted = tuple(
                file_change(Change(path, unrevealing(live), own(node)), runtime.managed)
                for path, live in islice(sorted(runtime.edits.known.items()), DRIFT_LISTED)
                if (node := lookup(runtime.managed, path)) is not None
            )
            edited = in_the_way(runtime, environment)
            if edited:
                blocked = DeploymentError.of(refusal(name, edited))
            changes = changes_of(planned.plan, runtime.managed)
            target = self._deployer.planning.target(runtime, environment)

            def old(path: bytes, entry: Entry) -> Iterable[bytes]:
                if not entry.seal:
                    return target.read(path, entry)
                kept = planned.kept.get(entry.digest)
                return self._deployer.history.read(entry.digest) if kept is None else (kept,)

            seen = (planned.plan, old, planned.content, self._deployer.settings.masking)
            changes = replace(changes, settings_changed=changed_settings(*seen))
            diffs = line_diffs(*seen) if with_diff else ()
        return PlanView(name, version_of(planned.plan.result), changes, diffs, drifted, blocked)

    def _planned(self, runtime: Runtime, environment: Environment, config_files: tuple[str, ...]) -> Planned:
        planning = self._deployer.planning
        if config_files:
            return planning.plan_files(runtime, environment, config_files, loose=False)
        return planning.plan_sources(
            runtime, environment, planning.read(runtime, environment), full=True, allowed=None
        )

    def _blocked(
        self, runtime: Runtime, environment: Environment, planned: Planned
    ) -> DeploymentError | None:
        """Return what would make a deployment refuse, or auto-sync wait, first things first."""
        if runtime.misfit:
            return DeploymentError("ENVIRONMENT_UNUSABLE", runtime.misfit)
        if planned.wanted is not None:
            try:
                self._deployer.planning.check_losses(runtime, planned, Allowed())
            except UnsoundError as error:
                return DeploymentError.of(error)
        if environment.hold is not None:
            text = f"auto-sync waits: {environment.hold.deployment_id} is kept"
            return DeploymentError("HELD", text, f"headgate deploy {environment.name} lifts the hold")
        if environment.pause is not None:
            text = f"auto-sync waits: paused by {environment.pause.paused_by}: {environment.pause.reason}"
            return DeploymentError("PAUSED", text, f"headgate env resume {environment.name}")
        return None


def _when(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
