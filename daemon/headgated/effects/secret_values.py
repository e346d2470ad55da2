"""Gets secrets from where references say they are. Nothing is kept here, and no error tells a value."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from headgated.core.commands import Command
from headgated.core.errors import DeploymentFailedError, HeadgateError
from headgated.core.sealing import LONGEST, SHORTEST
from headgated.core.secret_references import split
from headgated.effects.commands import CommandRunner
from headgated.effects.trusted_file import read_trusted


class SecretError(DeploymentFailedError):
    """A secret cannot be had."""

    default_reason = "SECRET_UNAVAILABLE"


def secret_value(
    reference: str,
    files: tuple[str, ...],
    providers: Mapping[str, Command],
    runner: CommandRunner,
    environ: Mapping[str, str] = os.environ,
) -> bytes:
    """Return the value that a reference stands for, without the end of its last line.

    Args:
        reference: one that `core.secret_references` has nothing against.
        files: directories that files must really be in, whatever symbolic links say.
        providers: root's, by name.
        runner: runs them.
        environ: the daemon's environment.

    Raises:
        SecretError: SECRET_UNAVAILABLE, it is not there, cannot be trusted, is too short or too long; with what to do.
    """
    kind, name = split(reference)
    read: Callable[[], bytes]
    if kind == "credential":
        read = lambda: _credential(reference, name, environ)  # noqa: E731 - one of four
    elif kind == "file":
        read = lambda: _file(reference, Path(name), files)  # noqa: E731
    elif kind == "env":
        read = lambda: _variable(reference, name, environ)  # noqa: E731
    else:
        read = lambda: _provided(reference, name, providers, runner)  # noqa: E731
    value = read()
    value = value.removesuffix(b"\n").removesuffix(b"\r") if kind != "env" else value
    if not SHORTEST <= len(value) <= LONGEST:
        raise SecretError(
            f"cannot use the secret {reference}: it has {len(value)} bytes, and must have {SHORTEST} to {LONGEST}",
            hint="a shorter one could not be kept out of what is shown" if len(value) < SHORTEST else "",
        )
    return value


def _credential(reference: str, name: str, environ: Mapping[str, str]) -> bytes:
    directory = environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        raise SecretError(
            f"cannot get the secret {reference}: systemd gave the daemon no credentials",
            hint=f"systemctl edit headgated: [Service] LoadCredential={name}:/PATH, then systemctl restart headgated",
        )
    return _read(
        reference,
        Path(directory, name),
        private=False,  # The directory is; systemd gives the files a mode and owner of its own.
        hint=f"add LoadCredential={name}:/PATH to the unit (systemctl edit headgated), then restart it",
    )


def _file(reference: str, path: Path, files: tuple[str, ...]) -> bytes:
    real = Path(os.path.realpath(path))
    if not any(real.is_relative_to(os.path.realpath(directory)) for directory in files):
        raise SecretError(
            f"cannot get the secret {reference}: a symbolic link leads to {real}, outside of what [secrets] files allows",
            hint="put the file itself there",
        )
    return _read(reference, path, private=True, hint="")


def _read(reference: str, path: Path, *, private: bool, hint: str) -> bytes:
    try:
        return read_trusted(path, private=private)
    except HeadgateError as error:
        raise SecretError(
            f"cannot get the secret {reference}: {error.message}", hint=hint or error.hint, paths=error.paths
        ) from error


def _variable(reference: str, name: str, environ: Mapping[str, str]) -> bytes:
    value = environ.get(name)
    if value is None:
        raise SecretError(
            f"cannot get the secret {reference}: the daemon's environment has no such variable",
            hint="set it where the daemon is started, and start it again",
        )
    return os.fsencode(value)


def _provided(reference: str, name: str, providers: Mapping[str, Command], runner: CommandRunner) -> bytes:
    provider = providers.get(name)
    if provider is None:
        raise SecretError(
            f"cannot get the secret {reference}: there is no [providers.{name}] any more",
            hint="define it in the daemon's configuration",
        )
    value, why = runner.ask(provider)
    if why:
        raise SecretError(
            f"cannot get the secret {reference}: its provider failed: {why}",
            hint=f"try by hand what [providers.{name}] runs; what it says is not shown here, it might be the secret",
        )
    return value
