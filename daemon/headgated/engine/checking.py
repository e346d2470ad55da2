"""Checks what a deployment brings, before any of it is put in place.

Several checks run in order, and the first that fails ends the deployment: the target is untouched. What comes from sources is checked;
what returns to a state that was there before is not, so that no check can bar the way back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from headgated.core.commands import Check, Commands
from headgated.core.deployment import ConfigDeployment, StepResult
from headgated.core.environment import Environment, Policies
from headgated.core.errors import DeploymentFailedError, Fault
from headgated.core.globs import globs
from headgated.core.paths import escape
from headgated.core.plan import Plan
from headgated.core.tree import Entry, Kind, walk
from headgated.effects.commands import Ending
from headgated.effects.rehearsal import Rehearsal, rehearsal
from headgated.engine.content import Content
from headgated.engine.means import Means

LARGEST = 16 * 1024 * 1024
"""Bytes; a longer file is not checked without a command, and that is an error."""
_FAULTS = 50
"""So many faults of one check are told."""
_REMEMBERED = 100_000

Tell = Callable[[StepResult], None]
"""Told of each check that has ended."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is checked."""

    target: str
    plan: Plan
    content: Content
    """Gives the content of everything that the plan leaves."""
    values: Mapping[str, str]
    """For a command's placeholders."""


def values_of(environment: Environment, record: ConfigDeployment) -> dict[str, str]:
    """Return what is put in for the placeholders of a command; `staged` is the target itself where nothing is staged."""
    return {
        "target": environment.config_path,
        "staged": environment.config_path,
        "environment": environment.name,
        "deployment_id": record.deployment_id,
    }


class CheckFailedError(DeploymentFailedError):
    """A check failed; nothing at the target was changed."""

    default_reason = "CHECK_FAILED"


class Checking:
    """Runs checks. Thread-safe.

    Args:
        means: what commands are run with.
    """

    def __init__(self, means: Means) -> None:
        self._commands, self._runner, self._base = means.commands, means.runner, means.directory
        self._passed: set[tuple[Check, bytes, bytes]] = set()
        """Files that are known to pass a check, by path and digest."""

    def missing(self, policies: Policies) -> list[Fault]:
        """Return a fault for each name in an environment's policies that nothing is defined for any more."""
        return self._commands().faults(policies)

    def run(
        self, names: tuple[str, ...], subject: Subject, tell: Tell, cancelled: Ending | None = None
    ) -> None:
        """Run checks in order; where it is `cancelled` not all, and the rest is for the caller to say.

        Raises:
            CheckFailedError: CHECK_FAILED, the first that failed, with its output.
            DeploymentFailedError: CHECK_UNDEFINED, CHECK_IMPOSSIBLE.
        """
        commands = self._commands()
        checks = [_defined(commands, name) for name in names]
        if not any(check.command for check in checks):
            for check in checks:
                self._look_at_files(check, subject, tell)
            return
        with rehearsal(self._base, subject.target, subject.plan.changes, subject.content) as copy:
            for check in checks:
                if check.command:
                    self._run_command(check, commands, subject, copy, tell, cancelled)
                else:
                    self._look_at_files(check, subject, tell)
                if cancelled is not None and cancelled.is_set():
                    return  # Whoever ended it says why.

    def _run_command(
        self,
        check: Check,
        commands: Commands,
        subject: Subject,
        copy: Rehearsal,
        tell: Tell,
        cancelled: Ending | None,
    ) -> None:
        values = {**subject.values, "staged": str(copy.staged), "changed": str(copy.changed)}
        ran = self._runner.run(commands.commands[check.command], values, cancelled)
        tell(
            StepResult(
                "check", check.name, ok=ran.ok, message=ran.why, output=ran.output, seconds=ran.seconds
            )
        )
        if not ran.ok and not ran.cancelled:
            raise CheckFailedError(
                f"cannot deploy: the check {check.name} failed: {ran.why}{_last_line(ran.output)}",
                hint="mend what it complains of; its whole output is in the record (headgate show)",
            )

    def _look_at_files(self, check: Check, subject: Subject, tell: Tell) -> None:
        began = monotonic()
        faults: dict[str, str] = {}
        judge = _judge(check)
        for path, entry in _files(check, subject.plan):
            key = (check, path, entry.digest + entry.seal)
            if key in self._passed and not check.schema:
                continue
            why = _too_large(entry) or judge(path, b"".join(subject.content(path, entry)))
            if why:
                faults[escape(path)] = why
                if len(faults) >= _FAULTS:
                    break
            else:
                self._remember(key)
        told = "\n".join(f"{path}: {why}" for path, why in faults.items())
        message = f"{len(faults)} file(s) do not pass" if faults else ""
        tell(
            StepResult(
                "check", check.name, ok=not faults, message=message, output=told, seconds=monotonic() - began
            )
        )
        if faults:
            first, why = next(iter(faults.items()))
            raise CheckFailedError(
                f"cannot deploy: the check {check.name} failed: {first} {why}",
                hint="mend the files at the source",
                paths=faults,
            )

    def _remember(self, key: tuple[Check, bytes, bytes]) -> None:
        if len(self._passed) >= _REMEMBERED:
            self._passed.clear()
        self._passed.add(key)


def _defined(commands: Commands, name: str) -> Check:
    check = commands.check(name)
    if check is None:
        raise DeploymentFailedError(
            f"cannot check: nothing is defined for the check {name} any more",
            reason="CHECK_UNDEFINED",
            hint="define it in the daemon's configuration, or take it off the environment (headgate env set --check ...)",
        )
    return check


def _files(check: Check, plan: Plan) -> Iterator[tuple[bytes, Entry]]:
    """Yield the files that a check looks at: of all that is managed afterwards, those that it covers."""
    from headgated.core.syntax import syntax_of  # noqa: PLC0415 - readers of all formats, for those alone who check

    rules = globs(check.files) if check.files else None
    for path, entry in walk(plan.result):
        if entry.kind != Kind.FILE or (rules is not None and not rules.covers(path)):
            continue
        if check.schema or syntax_of(path) in check.syntax or (rules is not None and len(check.syntax) == 1):
            yield path, entry


def _judge(check: Check) -> Callable[[bytes, bytes], str]:
    """Return what says why a file does not pass."""
    if not check.schema:
        from headgated.core.syntax import syntax_fault, syntax_of  # noqa: PLC0415 - as above

        only = check.syntax[0] if len(check.syntax) == 1 else ""
        return lambda path, content: syntax_fault(only or syntax_of(path), content)
    from headgated.core.schema import Schema  # noqa: PLC0415 - takes a tenth of a second, and few use it

    try:
        schema = Schema(Path(check.schema).read_bytes())
    except (OSError, ValueError) as error:
        raise DeploymentFailedError(
            f"cannot check: {check.schema} {error}",
            reason="CHECK_IMPOSSIBLE",
            hint=f"mend the schema that [checks.{check.name}] names",
        ) from error
    return lambda path, content: "; ".join(schema.faults(path, content))


def _too_large(entry: Entry) -> str:
    return f"is longer than {LARGEST} bytes; check it with a command" if entry.size > LARGEST else ""


def _last_line(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return f": {lines[-1][:200]}" if lines else ""
