"""Acts that fail, lie or die at one point; and children to die in."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headgated.effects import kernel
from headgated.effects.target.acts import Acts

VERBS = tuple(name for name in vars(Acts) if not name.startswith("_"))


class DeadError(BaseException):
    """As good as killed."""


@dataclass(frozen=True)
class Fault:
    """What happens at the `at`-th act (from 1), or at that and all later ones of the same verb."""

    at: int = 0
    code: int | None = None
    """errno; None: SIGKILL to ourselves."""
    done: bool = False
    """The act is performed before it fails, as over a network."""
    persistent: bool = False
    dead: bool = False
    """Nothing is performed from then on: what a kill leaves, without a process to kill."""
    meanwhile: Callable[[], object] | None = None
    """No fault, but what somebody else does just before."""


@dataclass
class Faulty(Acts):
    """Counts acts, and fails at one of them."""

    fault: Fault = Fault()
    flagged: bool = True
    log: list[str] = field(default_factory=list)
    fired: str = ""

    def __post_init__(self) -> None:
        super().__init__(flagged_renames=self.flagged)
        self._lock = threading.Lock()

    def fail(self, verb: str, code: int) -> None:
        """From now on, let this verb fail."""
        self.fault, self.fired = Fault(code=code, persistent=True), verb

    def act(self, verb: str, perform: Callable[[], Any]) -> Any:
        with self._lock:
            self.log.append(verb)
            due = len(self.log) == self.fault.at or (self.fault.persistent and self.fired == verb)
            dead = self.fault.dead and bool(self.fired)
            if due and not dead:
                self.fired = verb
        if dead:
            raise DeadError
        if due and self.fault.meanwhile:
            self.fault.meanwhile()
        if not due or self.fault.meanwhile:
            return perform()
        if self.fault.done:
            with suppress(OSError):
                perform()
        if self.fault.dead:
            raise DeadError
        if self.fault.code is None:
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(self.fault.code, os.strerror(self.fault.code or 0))


def _faulty(verb: str) -> Callable[..., Any]:
    real = getattr(Acts, verb)

    def act(self: Faulty, *arguments: Any) -> Any:
        return self.act(verb, lambda: real(self, *arguments))

    return act


for _verb in VERBS:
    setattr(Faulty, _verb, _faulty(_verb))


def in_child(work: Callable[[Callable[[bytes], None]], None]) -> tuple[int, bytes]:
    """Run `work` in a child; it may say things. Return the signal that ended it (0: none), and all that it said."""
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(out)
            work(lambda word: void(os.write(into, word)))
            code = 0
        finally:
            os._exit(code)
    os.close(into)
    with open(out, "rb") as file:
        said = file.read()
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the child failed"
    return (os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0), said


@contextmanager
def swapping(directory: Path, one: bytes, other: bytes) -> Iterator[None]:
    """Have another process let two names change places all the time."""
    fd = os.open(directory, os.O_RDONLY)
    child = os.fork()
    if child == 0:
        try:
            while True:
                kernel.rename(fd, one, other, kernel.RENAME_EXCHANGE)
        finally:
            os._exit(1)
    os.close(fd)
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def void(_: object) -> None:
    """Say that a result does not matter."""
