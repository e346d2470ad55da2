"""Runs root's commands: without a shell, with bounded time and output, and so that nothing of one outlives its time limit.

Each runs in a session of its own. Under systemd, as root, each is a transient unit of its own besides (systemd-run(1)): outside of the
daemon's sandbox, with its own control group, so that whatever it starts is found again and killed with it. What it is given
is only what its definition says: of the daemon's environment nothing but PATH, LANG and TZ.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pwd
import secrets
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from headgated.core.commands import Command
from headgated.core.masking import USUAL, SecretNames, mask_text
from headgated.effects.known_secrets import hide

log = logging.getLogger("headgated.commands")

GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL."""
_PASSED_ON = ("PATH", "LANG", "TZ")
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_POLL = 0.1
"""Seconds after which a wait looks at what else may have happened."""
_PIPE = 64 * 1024
"""Bytes that a pipe holds: what a command has printed and nobody has read when it ends is no more."""
_UNSTARTED = 127
"""Exit code of what could not be started, as shells have it."""


class Ending(Protocol):
    """Says when a command is to end early; an Event does."""

    def is_set(self) -> bool:
        """Tell whether it is time."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of a command."""

    code: int
    """Exit code; a negative number is the signal that ended it."""
    output: str
    """Standard output and error as they came, bounded; bytes that are not UTF-8 are escaped, and what looks like a secret is hidden."""
    seconds: float
    timed_out: bool = False
    cancelled: bool = False

    @property
    def ok(self) -> bool:
        """Whether it did what it was to do."""
        return self.code == 0 and not self.timed_out and not self.cancelled

    @property
    def why(self) -> str:
        """Why not, in a few words; empty where it did."""
        if self.timed_out:
            return f"it was killed after {self.seconds:.1f} s, its time limit"
        if self.cancelled:
            return "it was ended because the deployment was"
        if self.code < 0:
            return f"it was ended by {_signal_name(-self.code)}"
        return f"it ended with exit code {self.code}" if self.code else ""


class CommandRunner:
    """Runs commands. Thread-safe.

    Args:
        scoped: run each as a transient unit of systemd; None: where that is possible.
        masking: says which settings are secret by their names, in what a command prints.
    """

    def __init__(
        self, *, scoped: bool | None = None, masking: Callable[[], SecretNames] = lambda: USUAL
    ) -> None:
        self._masking = masking
        self._scoped = _can_scope() if scoped is None else scoped

    def run(self, command: Command, values: Mapping[str, str], cancelled: Ending | None = None) -> Ran:
        """Run a command to its end.

        Args:
            command: what to run.
            values: what is put in for its placeholders; the command finds them in its environment as well, as HEADGATE_*.
            cancelled: ends it when set.
        """
        output = _Output(command.output_limit)
        ran = self._run(command, values, cancelled, output, subprocess.STDOUT)
        return replace(ran, output=ran.output or mask_text(hide(output.text()), self._masking()))

    def ask(self, command: Command) -> tuple[bytes, str]:
        """Run a command for what it prints on its standard output; what it complains of goes nowhere, for it might tell a secret.

        Returns:
            What it printed, and why that is not to be used; empty where it is.
        """
        output = _Output(command.output_limit)
        ran = self._run(command, {}, None, output, subprocess.DEVNULL)
        if ran.ok and output.is_cut:
            return b"", f"it printed more than {command.output_limit} bytes"
        return output.whole(), ran.why

    def _run(
        self,
        command: Command,
        values: Mapping[str, str],
        cancelled: Ending | None,
        output: _Output,
        errors: int,
    ) -> Ran:
        """Run a command to its end; what it prints goes to `output`, and what becomes of its standard error is said by `errors`."""
        unit = f"headgate-{command.name}-{secrets.token_hex(6)}.service" if self._scoped else ""
        environment = _environment(command, values)
        if unit:
            argv = _in_unit(unit, command, values, environment)
        else:
            argv = [*_as_user(command.user), *command.arguments(values)]
        began = time.monotonic()
        try:
            # No preexec_fn and no user=: both fork inside a process that serves gRPC, which has killed children before exec.
            child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=command.directory,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            what = error.filename or argv[0]
            return Ran(_UNSTARTED, f"cannot start {what}: {error.strerror}", time.monotonic() - began)
        with child:
            ended = _follow(child, output, began + command.timeout, cancelled)
            if not ended:
                _kill(child, unit)
            code = child.wait()
            _drain(child, output)
        is_cancelled = not ended and cancelled is not None and cancelled.is_set()
        return Ran(
            code,
            "",
            time.monotonic() - began,
            timed_out=not ended and not is_cancelled,
            cancelled=is_cancelled,
        )


def _can_scope() -> bool:
    return os.geteuid() == 0 and "INVOCATION_ID" in os.environ and os.path.isdir("/run/systemd/system")


def _environment(command: Command, values: Mapping[str, str]) -> dict[str, str]:
    told = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    told.setdefault("PATH", _DEFAULT_PATH)
    if command.user:
        told |= _of_user(command.user)
    told |= {f"HEADGATE_{name.upper()}": value for name, value in values.items()}
    return told | dict(command.environment)


def _of_user(name: str) -> dict[str, str]:
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        return {}
    return {"HOME": user.pw_dir, "USER": name, "LOGNAME": name}


def _as_user(name: str) -> Sequence[str]:
    """Return what changes to a user before the command is executed; nothing where it already is that user."""
    if not name or name == _own_name():
        return ()
    return ("setpriv", f"--reuid={name}", f"--regid={_group_of(name)}", "--init-groups", "--")


def _group_of(name: str) -> str:
    try:
        return str(pwd.getpwnam(name).pw_gid)
    except KeyError:
        return name  # setpriv says that there is no such user


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return ""


def _in_unit(
    unit: str, command: Command, values: Mapping[str, str], environment: Mapping[str, str]
) -> list[str]:
    properties = [
        "KillMode=control-group",
        f"TimeoutStopSec={GRACE:g}",
        # The manager's own limit is the second line: it holds although the daemon is killed meanwhile.
        f"RuntimeMaxSec={command.timeout + GRACE:g}",
        f"WorkingDirectory={command.directory}",
    ]
    if command.user:
        properties.append(f"User={command.user}")
    return [
        "systemd-run",
        "--quiet",
        "--pipe",
        "--wait",
        "--collect",
        "--service-type=exec",
        f"--unit={unit}",
        f"--description=Headgate command {command.name}",
        *(f"--property={one}" for one in properties),
        # By name alone: systemd-run takes the values from its own environment, so that none is in an argument list.
        *(f"--setenv={name}" for name in environment),
        "--",
        *(argument.replace("$", "$$") for argument in command.arguments(values)),
    ]


def _follow(
    child: subprocess.Popen[bytes], output: _Output, deadline: float, cancelled: Ending | None
) -> bool:
    """Gather a child's output until it ends; tells whether it did so in time. What it left behind may still hold the pipe."""
    stream = _stream(child)
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or (cancelled is not None and cancelled.is_set()):
            return False
        if _readable(stream, min(left, _POLL)):
            chunk = os.read(stream, 65536)
            if not chunk:
                return _ends(child, deadline, cancelled)
            output.take(chunk)
        # It counts although there is more to read: what it left behind may print for ever.
        if _has_ended(child.pid):
            return True


def _ends(child: subprocess.Popen[bytes], deadline: float, cancelled: Ending | None) -> bool:
    """Wait for a child that has closed its output."""
    while (left := deadline - time.monotonic()) > 0:
        if cancelled is not None and cancelled.is_set():
            return False
        try:
            child.wait(min(left, _POLL))
        except subprocess.TimeoutExpired:
            continue
        return True
    return False


def _kill(child: subprocess.Popen[bytes], unit: str) -> None:
    """End a child with all that it started. It is not reaped meanwhile: its id, which is its group's, stays its own."""
    if unit:
        _stop_unit(unit)
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, number)
        until = time.monotonic() + GRACE
        while not _has_ended(child.pid) and time.monotonic() < until:
            time.sleep(_POLL / 10)


def _has_ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def _stop_unit(unit: str) -> None:
    try:
        subprocess.run(
            ["systemctl", "stop", unit],  # noqa: S607 - found where systemd-run was
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=GRACE + 10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        log.warning("cannot stop %s: %s", unit, error)


def _drain(child: subprocess.Popen[bytes], output: _Output) -> None:
    """Take what is in the pipe still, without waiting for those who hold its other end, and who may fill it without end."""
    stream, left = _stream(child), _PIPE
    while left > 0 and _readable(stream, 0) and (chunk := os.read(stream, 65536)):
        output.take(chunk)
        left -= len(chunk)


def _readable(descriptor: int, seconds: float) -> bool:
    """Wait until there is something to read, or the end. By poll: a daemon with many clients has descriptors beyond select's."""
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    return bool(waiting.poll(seconds * 1000))


def _stream(child: subprocess.Popen[bytes]) -> int:
    if child.stdout is None:
        raise TypeError("the child was started without a pipe")
    return child.stdout.fileno()


class _Output:
    """Keeps the first and the last part of what is too long as a whole."""

    def __init__(self, limit: int) -> None:
        self._half = max(limit // 2, 1)
        self._head, self._tail = bytearray(), bytearray()
        self._dropped = 0

    def take(self, chunk: bytes) -> None:
        room = self._half - len(self._head)
        self._head += chunk[:room]
        self._tail += chunk[room:] if room > 0 else chunk
        excess = len(self._tail) - self._half
        if excess > 0:
            del self._tail[:excess]
            self._dropped += excess

    @property
    def is_cut(self) -> bool:
        return self._dropped > 0

    def whole(self) -> bytes:
        return bytes(self._head) + bytes(self._tail)

    def text(self) -> str:
        middle = f"\n[{self._dropped} bytes left out]\n".encode() if self._dropped else b""
        return (bytes(self._head) + middle + bytes(self._tail)).decode("utf-8", "backslashreplace")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
