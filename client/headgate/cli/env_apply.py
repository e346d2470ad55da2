"""`headgate env apply`: make environments be what a file says.

The file is the whole truth about each environment in it: what it does not say is the default. Environments that it does not name
are left alone. Nothing is changed before everything was checked.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from headgate.cli import env_file
from headgate.cli.env_file import Written
from headgate.cli.session import Session, with_session
from headgate.cli.verb import Verb
from headgate.errors import (
    ConflictError,
    Fault,
    InvalidRequestError,
    NotFoundError,
    RefusedError,
    told_together,
)

if TYPE_CHECKING:
    from headgate.client import Client
    from headgate.v1.environment_pb2 import Environment


@click.command("apply", cls=Verb)
@click.option(
    "-f",
    "--file",
    "path",
    required=True,
    type=click.Path(dir_okay=False, allow_dash=True),
    help="The file; - for stdin.",
)
@click.option("--format", "form", type=click.Choice(env_file.FORMATS), help="Default: by the file's name.")
@click.option("--dry-run", is_flag=True, help="Check and tell, change nothing.")
@with_session
def apply(session: Session, path: str, *, form: str | None, dry_run: bool) -> None:
    """Make environments be what a file says.

    Those that it does not name stay as they are.
    """
    what = f"apply {'standard input' if path == '-' else path}"
    form = form or env_file.format_of(path)
    if form is None:
        raise click.UsageError(
            "--format is needed: the file's name does not tell", click.get_current_context()
        )
    written, faults = env_file.read(what, _content(what, path), form)
    with session.client() as client:
        steps = _checked(client, what, written, faults)
        if not dry_run:
            for step in steps:
                step.take(client)
    if session.json:
        session.print_json({"environments": [step.record() for step in steps]})
        return
    for step in steps:
        click.echo(step.line(done=not dry_run))


@dataclass(slots=True)
class Step:
    """What is to become of one environment."""

    written: Written
    settings: dict[str, Any]
    """Every setting, defaults included."""
    present: Environment | None
    changed: list[str] = field(default_factory=list)
    """Which settings are others now."""
    faults: list[Fault] = field(default_factory=list)
    """What cannot be sent as it is written; the default stands in for it."""

    @property
    def result(self) -> str:
        """What becomes of it: created, updated or unchanged."""
        if self.present is None:
            return "created"
        return "updated" if self.changed else "unchanged"

    def check(self, client: Client) -> None:
        """Ask the daemon whether it would do it."""
        with told_together(f"apply {self.written.name}", self.faults):
            self._send(client, validate_only=True)

    def take(self, client: Client) -> None:
        """Do it."""
        generation = self.present.generation if self.present is not None else None
        if self._send(client, validate_only=False).generation == generation:
            self.changed = []

    def _send(self, client: Client, *, validate_only: bool) -> Environment:
        if self.present is None:
            return client.create_environment(self.written.name, **self.settings, validate_only=validate_only)
        if not self.changed:
            return self.present
        return client.update_environment(
            self.written.name,
            **self._difference(),
            expected_generation=self.present.generation,
            validate_only=validate_only,
        )

    def _difference(self) -> dict[str, Any]:
        """Return the settings that are to change, policies one by one."""
        policies = {key: self.settings["policies"][key] for key in _below("policies.", self.changed)}
        top = {key.partition(".")[0] for key in self.changed} - {"policies"}
        return {key: self.settings[key] for key in top} | ({"policies": policies} if policies else {})

    def record(self) -> dict[str, Any]:
        """Return what became of it, for programs."""
        return {"name": self.written.name, "result": self.result, "changed": self.changed}

    def line(self, *, done: bool) -> str:
        """Return what became of it, for people."""
        what = f" ({', '.join(self.changed)})" if self.result == "updated" else ""
        return f"{self.written.name}: {'' if done else 'would be '}{self.result}{what}"


def _checked(client: Client, what: str, written: list[Written], faults: list[Fault]) -> list[Step]:
    """Return what is to be done, once everything in the file is right.

    Raises:
        InvalidRequestError: with every fault of every environment.
        RefusedError: where all that is wrong is that the daemon refuses it in the present state.
    """
    steps, refused = [], 0
    faults = faults + _clashes(written)
    for each in written:
        known = {fault.field for fault in faults}
        try:
            step = _step(client, each)
            step.check(client)
            steps.append(step)
        except (InvalidRequestError, RefusedError, ConflictError) as error:
            found = [fault.plain() for fault in error.faults]
            if not isinstance(error, InvalidRequestError) or not found:
                found = [Fault("", error.message), *found]
                refused += not isinstance(error, InvalidRequestError)
            told = [Fault(each.at(fault.field), fault.message) for fault in found]
            faults += [fault for fault in told if fault.field not in known]
    if faults and refused == len(faults):
        lines = "\n".join(f"  {fault}" for fault in faults)
        raise RefusedError(f"cannot {what}: nothing was changed\n{lines}")
    if faults:
        raise InvalidRequestError(what, faults, hint="nothing was changed; put it right and apply it again")
    return steps


def _step(client: Client, written: Written) -> Step:
    """Compare what is written with what there is."""
    from headgate.records import environment_record  # noqa: PLC0415 -- brings protobuf
    from headgate.settings import draft  # noqa: PLC0415 -- as above

    made = draft(written.name, written.settings)
    if not made.message.HasField("auto_sync"):
        made.message.auto_sync = written.settings.get("type") != "production"
    wanted = _settings(environment_record(made.message))
    try:
        present = client.get_environment(written.name) if written.name else None
    except NotFoundError:
        present = None
    changed = _changed(_settings(environment_record(present)), wanted) if present is not None else []
    return Step(written, wanted, present, changed, made.faults)


def _settings(record: dict[str, Any]) -> dict[str, Any]:
    """Return the settings in an environment's record, paths without what makes no difference."""
    from headgate.settings import KEYS  # noqa: PLC0415 -- brings protobuf

    settings = {key: record[key] for key in KEYS}
    settings["config_path"] = _plain(settings["config_path"])
    settings["sources"] = [_plain(source) for source in settings["sources"]]
    return settings


def _plain(path: str) -> str:
    return os.path.normpath(path) if path else path


def _changed(present: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Return which settings differ: names, keys of tables one by one."""
    found = []
    for key, value in wanted.items():
        if isinstance(value, dict):
            old = cast("dict[str, Any]", present[key])
            found += [
                f"{key}.{each}"
                for each in sorted(value.keys() | old.keys())
                if value.get(each, _NOTHING) != old.get(each, _NOTHING)
            ]
        elif value != present[key]:
            found.append(key)
    return found


_NOTHING = object()


def _clashes(written: list[Written]) -> list[Fault]:
    """Return what environments of one file have against each other; the daemon only sees one at a time."""
    names = Counter(each.name for each in written)
    faults = [Fault(name, f"is there {times} times") for name, times in names.items() if name and times > 1]
    for number, each in enumerate(written):
        for other in written[:number]:
            if other.name != each.name:
                faults += _between(each, other)
    return faults


def _between(each: Written, other: Written) -> Iterator[Fault]:
    """Yield where one environment's target is in the way of another's directories, or the other way round."""
    target, its = _target(each), _target(other)
    for path in _overlapping(target, its):
        yield Fault(each.at("config_path"), f"overlaps the target of {other.name} ({path})")
    for path in _overlapping(target, _sources(other)):
        yield Fault(each.at("config_path"), f"overlaps a source of {other.name} ({path})")
    for path in _overlapping(_sources(each), its):
        yield Fault(each.at("sources"), f"overlaps the target of {other.name} ({path})")


def _target(written: Written) -> list[Path]:
    """Return the target, if it is a directory's name; what is none is the daemon's to tell."""
    return _directories([written.settings.get("config_path")])


def _sources(written: Written) -> list[Path]:
    return _directories(written.settings.get("sources"))


def _directories(values: object) -> list[Path]:
    several = values if isinstance(values, list) else []
    return [Path(each) for each in several if isinstance(each, str) and each.startswith("/")]


def _overlapping(ours: list[Path], theirs: list[Path]) -> list[Path]:
    return [its for its in theirs if any(_overlap(each, its) for each in ours)]


def _overlap(one: Path, other: Path) -> bool:
    return one.is_relative_to(other) or other.is_relative_to(one)


def _below(prefix: str, keys: list[str]) -> list[str]:
    return [key.removeprefix(prefix) for key in keys if key.startswith(prefix)]


def _content(what: str, path: str) -> bytes:
    try:
        if path == "-":
            return sys.stdin.buffer.read()
        return Path(path).read_bytes()
    except OSError as error:
        raise InvalidRequestError(what, message=f"cannot {what}: {error.strerror}") from error
