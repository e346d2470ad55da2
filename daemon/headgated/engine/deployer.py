"""`ConfigurationDeployer`: the engine's face. Deploys, rolls back and tells, with or without a daemon around it.

Blocking and thread-safe: one deployment at a time for each environment, environments side by side.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from headgated.core.commands import Commands
from headgated.core.config import LimitSettings, Settings
from headgated.core.deployment import ConfigDeployment
from headgated.core.environment import Environment, EnvironmentType, auto_sync_by_default
from headgated.core.errors import Fault, HeadgateError, InvalidRequestError, NotFoundError
from headgated.core.masking import SecretNames
from headgated.core.orders import AdoptOrder, Caller, DeployOrder, RestoreOrder, RollbackOrder
from headgated.effects.boot import BootMark, this_boot
from headgated.effects.commands import CommandRunner
from headgated.effects.history import History
from headgated.effects.lock import StateLock
from headgated.effects.probes import Prober
from headgated.effects.records import DeploymentStore, EnvironmentStore
from headgated.effects.rehearsal import sweep
from headgated.effects.scan import ScanLimits
from headgated.effects.target import Target
from headgated.engine.checking import Checking
from headgated.engine.deploying import Deploying
from headgated.engine.environments import Environments
from headgated.engine.following import Following
from headgated.engine.housekeeping import Housekeeping
from headgated.engine.jobs import Jobs
from headgated.engine.ledger import Ledger, utc_now
from headgated.engine.leftovers import Leftovers
from headgated.engine.means import Means
from headgated.engine.planning import Planning
from headgated.engine.recovery import Recovery
from headgated.engine.runtime import Runtime
from headgated.engine.secrecy import Secrecy
from headgated.engine.sources import Sources
from headgated.engine.vault import SecretMeans, Vault
from headgated.engine.views import Problem

log = logging.getLogger("headgated")
WORTH_WRITING = 1000
"""So many records that are not remembered yet are written down at once, not only at the end."""


def _nobody(_told: object) -> None:
    """Nobody listens."""


class ConfigurationDeployer:
    """Deploys configuration to environments, all or nothing and reversibly.

    Args:
        workspace_dir: where records and history are kept; made if need be, and locked: one deployer at a time.
        settings: limits and allowed roots; default: the defaults.
        on_deployment: told of each deployment that is new or has changed (counts in place of lists).
        on_environment: told of each environment that is new, has changed or is gone, by name.
        watch, unwatch: told of each source directory that is first or no longer subscribed to.
        open_target: makes what looks at and changes a target directory; for tests.
        boot: what tells this start of the machine from others; for tests.

    Raises:
        RefusedError: STATE_LOCKED, another deployer has the directory.
        RecordError, UnavailableError: its history cannot be opened.
    """

    def __init__(  # noqa: PLR0913 - the last two are for tests alone
        self,
        workspace_dir: str | Path,
        *,
        settings: Settings | None = None,
        on_deployment: Callable[[ConfigDeployment], None] = _nobody,
        on_environment: Callable[[str], None] = _nobody,
        watch: Callable[[str], None] = _nobody,
        unwatch: Callable[[str], None] = _nobody,
        open_target: Callable[[str], Target] = Target,
        boot: str | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.workspace_dir = Path(workspace_dir).absolute()
        self._on_environment = on_environment
        self.problems: list[Problem] = []
        self._runtimes: dict[str, Runtime] = {}
        self._lock = StateLock(self.workspace_dir)
        self._lock.acquire()
        try:
            self.history = History(self.workspace_dir / "history.db")
            self.ledger = Ledger(DeploymentStore(self.workspace_dir), on_deployment)
            runner = CommandRunner(masking=self._masking)
            self.vault = Vault(self.workspace_dir, self._secret_means, runner, self.problems)
            self.secrecy = Secrecy(self.vault, self.history)
            roots, limits = self.settings.roots, self.settings.limits
            store = EnvironmentStore(self.workspace_dir)
            self.environments = Environments(
                store,
                self.workspace_dir,
                roots.sources,
                roots.targets,
                limits.max_environments,
                defined=self._definition_faults,
                check_directory=self.settings.daemon.check_directory,
            )
            self.sources = Sources(_scan_limits(limits), watch, unwatch)
            self.planning = Planning(
                self.sources,
                self.history,
                open_target,
                secrecy=self.secrecy,
                stream_above=limits.stream_above,
            )
            self.deploying = Deploying(
                self.environments,
                self._runtimes,
                self.planning,
                self.history,
                self.ledger,
                tell=on_environment,
                recover=lambda name: self._recovery.recover(name),  # noqa: PLW0108 - made only below
            )
            self._leftovers = Leftovers(self.history, self.planning.open_target)
            self._boot = BootMark(self.workspace_dir, this_boot() if boot is None else boot)
            self._equip(runner)
            self.jobs = Jobs(
                self.environments, self._runtimes, self.planning, self.history, self.ledger, self.deploying
            )
            self.housekeeping = Housekeeping(
                self.environments, self.ledger, self.history, self.settings.retention
            )
            self._recovery = Recovery(
                self.history,
                self.ledger,
                self.deploying.succeed_interrupted,
                self.deploying.to_follow,
                self._leftovers,
                self.planning.open_target,
            )
            self._open()
        except BaseException:
            self._lock.release()
            raise

    def go_by(self, settings: Settings) -> None:
        """Go by other settings from now on. Where the state is kept cannot change; `refit` has to follow."""
        self.settings, roots, limits = settings, settings.roots, settings.limits
        self.environments.confine(roots.sources, roots.targets, limits.max_environments)
        self.sources.limit(_scan_limits(limits))
        self.planning.stream_above = limits.stream_above
        self.housekeeping.keep_by(settings.retention)

    def refit(self) -> None:
        """Look at every environment's places again: one that has left the allowed roots is not deployed any more."""
        misfits = self.environments.misfits()
        for environment in self.list_environments():
            with suppress(NotFoundError):  # It is being deleted.
                runtime = self.runtime(environment.name)
                why = misfits.get(environment.name, "")
                if why != runtime.misfit:
                    runtime.synced_version, runtime.misfit = None, why
                    self._on_environment(environment.name)

    def close(self) -> None:
        """Release the workspace. Running deployments must have ended."""
        self.ledger.store.remember()
        self.history.close()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def create_environment(
        self,
        name: str,
        env_type: EnvironmentType | str,
        config_path: str | Path,
        variables: Mapping[str, str] | None = None,
        *,
        sources: Sequence[str | Path] = (),
        secrets: Mapping[str, str] | None = None,
        auto_sync: bool | None = None,
    ) -> Environment:
        """Create an environment whose target is the directory `config_path`; `secrets` are references, never values.

        Raises:
            InvalidRequestError: with every fault.
            AlreadyExistsError: the name is taken.
        """
        known = env_type in tuple(EnvironmentType)
        kind, now = EnvironmentType(env_type) if known else EnvironmentType.TESTING, utc_now()
        environment = Environment(
            name=name,
            type=kind,
            config_path=str(config_path),
            created_at=now,
            updated_at=now,
            sources=tuple(map(str, sources)),
            variables=dict(variables or {}),
            secrets=dict(secrets or {}),
            auto_sync=auto_sync_by_default(kind) if auto_sync is None else auto_sync,
        )
        if not known:
            fault = Fault("type", f"must be one of {', '.join(EnvironmentType)} (got {env_type!r:.80})")
            found = [fault, *self.environments.faults_of(environment)]
            raise InvalidRequestError(f"create environment {name!r:.80}", found)
        return self.add_environment(environment)

    def add_environment(self, environment: Environment, *, validate_only: bool = False) -> Environment:
        """Create an environment given whole."""
        created = self.environments.create(environment, validate_only=validate_only)
        if not validate_only:
            self._enlist(created)
            self._on_environment(created.name)
        return created

    def change_environment(
        self,
        name: str,
        change: Callable[[Environment], Environment],
        *,
        expected_generation: int | None = None,
        validate_only: bool = False,
    ) -> Environment:
        """Change an environment; waits for a deployment of it that runs, except where it is only to be checked."""
        runtime = self.runtime(name)
        with contextlib.nullcontext() if validate_only else runtime.lock:
            old = self.environments.get(name)
            new = self.environments.change(
                name,
                change(old),
                utc_now(),
                expected_generation=expected_generation,
                validate_only=validate_only,
            )
            if new is not old and not validate_only:
                self.sources.subscribe(new)
                runtime.synced_version, runtime.misfit = None, ""
                self._on_environment(name)
            return new

    def note(self, name: str, change: Callable[[Environment], Environment]) -> Environment:
        """Save what is noted on an environment beside its definition (hold, halt, pause), and tell of it."""
        runtime = self.runtime(name)
        with runtime.lock:
            new = change(self.environments.get(name))
            self.environments.note(new)
        self._on_environment(name)
        return new

    def remove_environment(self, name: str) -> None:
        """Forget an environment. Its target and its deployments' records stay."""
        runtime = self.runtime(name)
        with runtime.lock:
            self.deploying.give_up(runtime)
            self.environments.delete(name)
            self.history.forget(name)
            self.sources.unsubscribe(name)
            self._runtimes.pop(name, None)
            self.vault.forget(name)
        self._on_environment(name)

    def list_environments(self) -> list[Environment]:
        """Return every environment, ordered by name."""
        return self.environments.all()

    def get_environment_config(self, name: str) -> Environment:
        """Return one environment.

        Raises:
            NotFoundError: ENVIRONMENT_NOT_FOUND.
        """
        return self.environments.get(name)

    def deploy_configuration(
        self,
        environment_name: str,
        config_files: Sequence[str | Path] | None = None,
        deployed_by: str = "system",
    ) -> ConfigDeployment:
        """Deploy now: the files named (absolute, or relative to the environment's sources), or all of the sources.

        Raises:
            DeploymentFailedError: why not; the record is saved as FAILED and the target is as it was before.
            InvalidRequestError, NotFoundError, RefusedError: nothing was begun.
        """
        order = DeployOrder(environment_name, config_files=tuple(map(str, config_files or ())))
        return self.jobs.run(self.jobs.prepare(order, Caller(deployed_by)), loose=True)

    def rollback_deployment(
        self, deployment_id: str, *, include_later: bool = False, deployed_by: str = "system"
    ) -> ConfigDeployment:
        """Undo a deployment, as a new one.

        Raises:
            NotFoundError: there is no such deployment.
            RefusedError: it was never reached, is undone already, or later ones stand on it.
            DeploymentFailedError: why not; the target is as it was before.
        """
        order = RollbackOrder(deployment_id, include_later=include_later)
        return self.jobs.run(self.jobs.prepare(order, Caller(deployed_by)))

    def restore_deployment(self, deployment_id: str, *, deployed_by: str = "system") -> ConfigDeployment:
        """Return to the state that a deployment left, as a new one. Raises as `rollback_deployment` does."""
        return self.jobs.run(self.jobs.prepare(RestoreOrder(deployment_id), Caller(deployed_by)))

    def adopt_drift(
        self, environment_name: str, paths: Sequence[str | Path] = (), *, deployed_by: str = "system"
    ) -> ConfigDeployment:
        """Take edits by hand at a target into history as they are, as a deployment that changes nothing there.

        Args:
            environment_name: whose target.
            paths: relative to the target, or absolute and inside it; none: all that has drifted.
            deployed_by: who asks.

        Raises:
            NotFoundError: there is no such environment.
            RefusedError: NOT_DRIFTED, there is nothing to adopt.
            DeploymentFailedError: why not; nothing has changed.
        """
        order = AdoptOrder(environment_name, tuple(map(str, paths)))
        return self.jobs.run(self.jobs.prepare(order, Caller(deployed_by)))

    def get_deployment_status(self, deployment_id: str) -> ConfigDeployment:
        """Return a deployment as it stands.

        Raises:
            NotFoundError: DEPLOYMENT_NOT_FOUND.
        """
        return self.ledger.get(deployment_id)

    def list_deployments(self, environment: str | None = None) -> list[ConfigDeployment]:
        """Return every deployment (of one environment), newest first."""
        records, cursor = self.ledger.store.page(environment, limit=1000, before=None, statuses=frozenset())
        while cursor is not None:
            more, cursor = self.ledger.store.page(
                environment, limit=1000, before=cursor, statuses=frozenset()
            )
            records += more
        return [self.ledger.current(record) for record in records]

    def runtime(self, name: str) -> Runtime:
        """Return an environment's working state.

        Raises:
            NotFoundError: ENVIRONMENT_NOT_FOUND.
        """
        self.environments.get(name)
        try:
            return self._runtimes[name]
        except KeyError:  # It is being created, or deleted, at this moment.
            raise NotFoundError(
                f"there is no environment {name!r:.80}",
                reason="ENVIRONMENT_NOT_FOUND",
                hint="list them: headgate env list",
            ) from None

    def runtimes(self) -> list[Runtime]:
        """Return the working state of every environment."""
        return list(self._runtimes.values())

    def _equip(self, runner: CommandRunner) -> None:
        """Make what checks deployments and follows them up."""
        self.prober = Prober(runner)
        directory = Path(self.settings.daemon.check_directory or self.workspace_dir / "checks")
        sweep(directory)
        means = Means(self._commands, runner, self.prober, directory)
        self.following = Following(means, self.planning, self.history, self.ledger, self.deploying)
        self.deploying.equip(Checking(means), self.following, self._masking, self._leftovers)

    def _commands(self) -> Commands:
        return self.settings.commands

    def _masking(self) -> SecretNames:
        return self.settings.masking

    def _definition_faults(self, environment: Environment) -> list[Fault]:
        """Return what an environment names that root has not defined, or not allowed."""
        return [*self._commands().faults(environment.policies), *self.vault.faults(environment)]

    def _secret_means(self) -> SecretMeans:
        rules = self.settings.secrets
        return SecretMeans(rules.files, rules.environment, rules.refresh, self.settings.commands.providers)

    def _open(self) -> None:
        """Read what is on disk and make right what a crash left."""
        set_aside = self.environments.load()
        set_aside += [f"{aside.path}: {aside.why}" for aside in self.ledger.store.open()]
        self._tell_set_aside(set_aside)
        for environment in self.environments.all():
            self._runtimes[environment.name] = Runtime(environment.name)
        broken = self._recovery.run()
        misfits = self.environments.misfits()
        for environment in self.environments.all():
            self._enlist(environment, misfits.get(environment.name, ""))
        for name, why in broken.items():
            if name in self._runtimes:
                self._runtimes[name].needs_recovery, self._runtimes[name].recovery_problem = True, why
            else:
                self.problems.append(
                    Problem("RECOVERY_FAILED", why, "its environment is gone; look at its target")
                )

        if self._boot.is_another():
            self._leftovers.suspect(self._runtimes, self._boot.note)

    def check_records(self, stopping: Callable[[], bool]) -> None:
        """Look at the records that were taken as remembered when this was opened; to be called once, by whoever has the time."""
        self._tell_set_aside([f"{aside.path}: {aside.why}" for aside in self.ledger.store.check(stopping)])
        self.ledger.store.remember(WORTH_WRITING)

    def _tell_set_aside(self, sentences: Sequence[str]) -> None:
        for sentence in sentences:
            self.problems.append(
                Problem("RECORD_CORRUPT", sentence, "look at the file; the daemon goes on without it")
            )
            log.error("%s", sentence)

    def _enlist(self, environment: Environment, misfit: str = "") -> None:
        """Begin to work for an environment."""
        runtime = self._runtimes.setdefault(environment.name, Runtime(environment.name))
        runtime.misfit = misfit
        try:
            head = self.history.head(environment.name)
            if head is not None:
                runtime.managed, runtime.current_id = head.managed, head.deployment_id
                runtime.sequence = head.sequence
        except HeadgateError as error:
            runtime.misfit = runtime.misfit or error.message
            log.exception("cannot deploy to %s", environment.name)
        runtime.last = self.ledger.store.last(environment.name)
        if runtime.last is not None:
            runtime.sequence = max(runtime.sequence, runtime.last.sequence)
        self.ledger.store.pass_over(environment.name, runtime.sequence)
        if runtime.current_id:
            with suppress(HeadgateError):  # its record is damaged, and named; what is deployed is in history
                current = self.ledger.store.brief(runtime.current_id)
                if current is not None:
                    runtime.last_success_at = current.finished_at
                    runtime.unconfirmed = current if current.awaits_confirmation else None
                    if current.must_be_taken_back:
                        self.deploying.to_take_back(runtime, self.ledger.store.get(runtime.current_id))
        self.sources.subscribe(environment)


def _scan_limits(limits: LimitSettings) -> ScanLimits:
    return ScanLimits(max_files=limits.max_files, max_file_bytes=limits.max_file_size)


def deploy_configuration(
    workspace_dir: str | Path,
    environment_name: str,
    config_files: Sequence[str | Path] | None = None,
    deployed_by: str = "system",
) -> ConfigDeployment:
    """Open a workspace, deploy to one of its environments, close it. Raises as the deployer's method does."""
    with ConfigurationDeployer(workspace_dir) as deployer:
        return deployer.deploy_configuration(environment_name, config_files, deployed_by)
